//! dockerd on roots where layer-unpack was stopped halfway, and dockerd that starts while layer-unpack writes.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use testkit::archive::{self, ArchiveImage};
use testkit::dockerd::Dockerd;
use testkit::live;
use testkit::run::until;

const BUSYBOX: &str = "layerfs-test/busybox:1";

/// An import that has stored a layer and waits for the rest of the archive.
struct Halfway {
    import: Child,
    input: ChildStdin,
    rest: Vec<u8>,
}

impl Halfway {
    /// Imports the busybox golden into `root`, up to the middle of its largest layer.
    fn start(root: &Path) -> Self {
        let archive = fs::read(testkit::golden("busybox-20.10.tar")).unwrap();
        let before = overlays(root);
        let mut import = Command::new(env!("CARGO_BIN_EXE_layer-unpack"));
        import.args(["-", "--no-sync", "--root"]).arg(root);
        let mut import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = import.stdin.take().unwrap();
        let (first, rest) = archive.split_at(archive.len() / 2);
        input.write_all(first).unwrap();
        assert!(until(|| overlays(root) != before), "layers are stored as they arrive");
        Self { import, input, rest: rest.to_vec() }
    }

    /// Gives it the rest; returns its exit code and its errors.
    fn finish(mut self) -> (Option<i32>, String) {
        let _ = self.input.write_all(&self.rest);
        drop(self.input);
        let output = self.import.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Sends it a signal while it waits for input.
    fn kill(mut self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.import), signal).unwrap();
        self.ends(signal);
    }

    /// Sends it a signal while it reads.
    fn kill_busy(mut self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.import), signal).unwrap();
        for piece in self.rest.chunks(512) {
            if self.input.write_all(piece).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.ends(signal);
    }

    /// The pipe stays open: the end of the archive is not what ends it.
    fn ends(&mut self, signal: Signal) {
        if !until(|| self.import.try_wait().unwrap().is_some()) {
            self.import.kill().unwrap();
            self.import.wait().unwrap();
            panic!("{signal:?} does not end it");
        }
    }
}

/// What is in the layers' home.
fn overlays(root: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(root.join("overlay2")).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// A root with an image of dockerd's.
fn used(dir: &tempfile::TempDir) -> PathBuf {
    let root = testkit::empty_root(dir, "root");
    let file = dir.path().join("first.tar");
    let (layer, digest) = archive::layer("first", "first");
    let image =
        ArchiveImage { tag: "first:1".into(), layers: vec![layer], diff_ids: vec![digest], comment: String::new() };
    archive::write(&file, &[image]);
    let daemon = Dockerd::start(&root);
    daemon.load(&file);
    daemon.stop();
    root
}

fn runs(daemon: &Dockerd) {
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", BUSYBOX, "echo", "hi"]), "hi\n");
}

/// Interrupts imports into a root of dockerd's, which then is as before and works.
fn interrupt(end: impl Fn(Halfway, Signal)) {
    let dir = testkit::scratch();
    let root = used(&dir);
    let before = testkit::listing(&root);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        end(Halfway::start(&root), signal);
        testkit::assert_none(&format!("{signal:?}"), &testkit::changes(&before, &testkit::listing(&root)));
    }
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.ok(&["images", "--format", "{{.Repository}}"]), "first\n");
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    runs(&daemon);
}

#[test]
fn docker_root_is_as_before_an_interrupt() {
    if let Some(_turn) = testkit::docker() {
        interrupt(Halfway::kill_busy);
    }
}

/// A pipe may stall for long, and nothing comes through it that would wake its reader.
#[test]
fn docker_root_is_as_before_an_interrupt_without_input() {
    if let Some(_turn) = testkit::docker() {
        interrupt(Halfway::kill);
    }
}

#[test]
fn docker_works_after_a_killed_import() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = used(&dir);
    Halfway::start(&root).kill(Signal::KILL);
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.ok(&["images", "--format", "{{.Repository}}"]), "first\n");
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    runs(&daemon);
    daemon.remove_everything();
    daemon.stop();
    // What the killed one left, dockerd never removes, but the next import does.
    Halfway::start(&root).kill(Signal::KILL);
    assert!(!live::leftovers(&root).is_empty(), "a killed import leaves something");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let daemon = Dockerd::start(&root);
    runs(&daemon);
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&root));
}

#[test]
fn docker_does_not_start_while_we_write() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = used(&dir);
    let halfway = Halfway::start(&root);
    let log = Dockerd::try_start(&root, Duration::from_secs(20)).expect_err("dockerd gives up");
    assert!(log.contains("metadata database: timeout"), "{log}");
    let (code, said) = halfway.finish();
    assert_eq!(code, Some(0), "{said}\n{log}");
    let daemon = Dockerd::start(&root);
    runs(&daemon);
    assert_eq!(daemon.images().len(), 2);
}

#[test]
fn docker_finds_the_work_of_one_at_a_time() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = used(&dir);
    let halfway = Halfway::start(&root);
    let second = testkit::layer_unpack(&testkit::golden("shared-20.10.tar"), &root);
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another layerfs process"), "{said}");
    assert_eq!(halfway.finish().0, Some(0));
    testkit::import(&testkit::golden("shared-20.10.tar"), &root);
    let daemon = Dockerd::start(&root);
    runs(&daemon);
    assert_eq!(daemon.images().len(), 1 + 1 + 4);
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&root));
}

/// A new root has no databases whose locks could keep a daemon away.
#[test]
fn docker_started_meanwhile_is_noticed() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let halfway = Halfway::start(&root);
    let Ok(daemon) = Dockerd::try_start(&root, Duration::from_secs(20)) else {
        // As good: it cannot start.
        assert_eq!(halfway.finish().0, Some(0));
        return;
    };
    let (code, said) = halfway.finish();
    assert_eq!(code, Some(1), "imported below a running daemon: {said}");
    assert!(said.contains("stop the daemon"), "{said}");
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    runs(&daemon);
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&root));
}
