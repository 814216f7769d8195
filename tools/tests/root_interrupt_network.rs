//! Ctrl-C while a name is looked up, and while a registry does not take the connection: exit status 130, soon.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::registry::{anonymous, with_mounted};
use testkit::run::{self, Input};

/// Less than the 5 seconds after which a lookup is tried again, and the 30 after which an attempt to connect is given up.
const SOON: Duration = Duration::from_secs(4);

/// For what a busy machine needs until it asks.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stops a pull that waits, and tells what is wrong with how it ended.
fn stop(child: Child, started: Instant, root: &Path) {
    let signalled = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = run::finish(child, started);
    let took = signalled.elapsed();
    assert!(ran.code == Some(130) && ran.stderr.contains("interrupted") && took < SOON, "after {took:?}: {ran:?}");
    assert!(!root.exists(), "the pull left something behind");
}

#[test]
fn root_signal_while_a_registry_takes_no_connection() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts them, and when the queue is full, the kernel answers nothing more.
    let wait = Duration::from_millis(500);
    let queue: Vec<_> = std::iter::from_fn(|| TcpStream::connect_timeout(&address, wait).ok()).take(900).collect();
    assert!(queue.len() < 900, "the queue is never full");
    let started = Instant::now();
    let child = run::start(anonymous(&root, &["pull", &format!("{address}/t/image:1")]), Input::Nothing);
    // SYN_SENT, to this port.
    let remote = format!("0100007F:{:04X} 02", address.port());
    while !std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&remote) {
        assert!(started.elapsed() < PATIENCE, "it does not connect");
        std::thread::sleep(Duration::from_millis(5));
    }
    stop(child, started, &root);
}

#[test]
fn root_signal_while_a_name_is_looked_up() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    // Another address than that of a test at the same time.
    let [.., high, low] = std::process::id().to_be_bytes();
    let server = UdpSocket::bind((Ipv4Addr::new(127, 53, high, low.clamp(1, 254)), 53)).unwrap();
    let configuration = dir.path().join("resolv.conf");
    std::fs::write(&configuration, format!("nameserver {}\n", server.local_addr().unwrap().ip())).unwrap();
    let pull = anonymous(&root, &["pull", "registry.layerfs.test/t/image:1"]);
    let pull = with_mounted(&pull, &configuration, "/etc/resolv.conf");
    let started = Instant::now();
    let child = run::start(pull, Input::Nothing);
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    server.recv(&mut [0; 512]).expect("it asks no server of names");
    stop(child, started, &root);
}
