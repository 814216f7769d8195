//! Ctrl-C while a name is looked up, while a registry does not take the connection, and while it is silent: exit status 130, soon.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::registry::{anonymous, with_mounted};
use testkit::run::{self, Input};

/// Less than the 5 seconds after which a lookup is tried again, and the 30 after which an attempt to connect is given up.
const SOON: Duration = Duration::from_secs(20);

/// Less than the 30 seconds after which a silent server is given up.
const BEFORE_LIMITS: Duration = Duration::from_secs(25);

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

/// When a server says nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silent {
    /// When it should begin to prove who it is.
    Handshake,
    /// When it should answer a request.
    Answer,
    /// When it should give a token.
    Token,
    /// When it should connect to the registry.
    Proxy,
}

/// A server that falls silent, at this address, and what tells that it has been asked for what it does not say.
fn silent(when: Silent) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let sender = sender.clone();
            // A client that has hung up is no fault of the server.
            std::thread::spawn(move || drop(client.and_then(|client| serve(client, address, when, &sender))));
        }
    });
    (address, receiver)
}

fn serve(mut client: TcpStream, address: SocketAddr, when: Silent, asked: &Sender<()>) -> std::io::Result<()> {
    let mut first = [0];
    client.peek(&mut first)?;
    let is_handshake = first[0] == 0x16;
    if is_handshake && when != Silent::Handshake {
        return client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }
    let mut head = Vec::new();
    while !is_handshake && !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if when == Silent::Token && !head.starts_with(b"GET /token?") {
        let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"s\",scope=\"x\"");
        let head = format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n");
        return client.write_all((head + "Connection: close\r\n\r\n").as_bytes());
    }
    let _ = asked.send(());
    // Until the client hangs up.
    client.read_to_end(&mut head).map(drop)
}

#[test]
fn root_signal_while_a_registry_is_silent() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let password = dir.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let mut wrong = Vec::new();
    for (phase, when) in [Silent::Handshake, Silent::Answer, Silent::Token, Silent::Proxy].into_iter().enumerate() {
        let (address, asked) = silent(when);
        let host = if when == Silent::Proxy { "registry.layerfs.test:5000".to_owned() } else { address.to_string() };
        let name = format!("{host}/t/image:1");
        testkit::made_by_layerfs(&root, &["tag", "layerfs-test/busybox:1", &name]);
        let (term, layout) = (format!("{host}/term"), format!("oci:{}", dir.path().join("layout").display()));
        let commands: [&[&str]; 7] = [
            &["pull", &name],
            &["push", &name],
            &["login", "-u", "somebody", "--password-stdin", &host],
            &["search", &term],
            &["image", "tags", &name[..name.len() - 2]],
            &["image", "inspect", "--remote", &name],
            &["registry", "copy", &name, &layout],
        ];
        for (number, arguments) in commands.into_iter().enumerate() {
            // There are no tokens for searching.
            if when == Silent::Token && arguments[0] == "search" {
                continue;
            }
            let proxied = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
            let mut command = anonymous(&root, arguments);
            if when == Silent::Proxy {
                command.envs(proxied.map(|name| (name, format!("http://{address}"))));
                command.env_remove("NO_PROXY").env_remove("no_proxy");
            }
            let input = if arguments[0] == "login" { Input::File(&password) } else { Input::Nothing };
            let started = Instant::now();
            let child = run::start(command, input);
            asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{when:?}, {arguments:?}: nothing is asked for"));
            let signalled = Instant::now();
            let signal = if (number + phase).is_multiple_of(2) { Signal::INT } else { Signal::TERM };
            kill_process(Pid::from_child(&child), signal).unwrap();
            let ran = run::finish(child, started);
            let took = signalled.elapsed();
            if ran.code != Some(130) || !ran.stderr.contains("interrupted") || took > BEFORE_LIMITS {
                wrong.push(format!("{when:?}, {arguments:?}, after {took:?}: {ran:?}"));
            }
            // What was asked besides, by other connections.
            while asked.try_recv().is_ok() {}
        }
    }
    testkit::assert_none("commands", &wrong);
}
