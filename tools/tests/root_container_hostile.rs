//! What processes in a container have left in its directory: read as what it is, or refused with its name, and nothing outside is
//! read through it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags};
use tempfile::TempDir;

const IMAGE: &str = "layerfs-test/busybox:1";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A container in a store of its own.
struct HostileStore {
    dir: TempDir,
    root: PathBuf,
    /// What the container has written.
    upper: PathBuf,
}

impl HostileStore {
    fn new() -> Self {
        let dir = testkit::scratch();
        let root = dir.path().join("root");
        testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
        let run = |arguments: &[&str]| testkit::layerfs(&[&["--root", text(&root)], arguments].concat());
        run(&["container", "create", "--name", "box", IMAGE, "sh"]);
        let upper = run(&["inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "box"]);
        Self { upper: upper.trim().into(), root, dir }
    }

    /// With a limit: nothing may wait for ever.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.arg("300").arg(testkit::program("layerfs")).arg("--root").arg(&self.root).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn layerfs(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The commands that read what the container has written, with their outputs.
    fn readers(&self) -> Vec<(&'static str, Output)> {
        let to = self.dir.path().join("to");
        std::fs::create_dir_all(&to).unwrap();
        vec![
            ("diff", self.layerfs(&["container", "diff", "box"])),
            ("commit", self.layerfs(&["commit", "box", "made:1"])),
            ("export", self.layerfs(&["export", "box"])),
            ("cp", self.layerfs(&["container", "cp", "box:/etc", text(&to)])),
        ]
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn images(store: &HostileStore) -> String {
    String::from_utf8(store.layerfs(&["image", "ls", "-q"]).stdout).unwrap()
}

/// Of a directory that was renamed, or of a file whose metadata was changed, overlayfs may keep the rest in another layer.
#[test]
fn what_is_elsewhere_too_is_refused_by_its_name() {
    if !testkit::is_root() {
        return;
    }
    for attribute in ["trusted.overlay.redirect", "trusted.overlay.metacopy"] {
        let store = HostileStore::new();
        let before = images(&store);
        std::fs::create_dir(store.upper.join("moved")).unwrap();
        rustix::fs::setxattr(store.upper.join("moved"), attribute, b"/etc", XattrFlags::empty()).unwrap();
        for (command, output) in store.readers() {
            let said = said(&output);
            let named = said.contains("moved") && said.contains("redirect_dir or metacopy");
            assert!(output.status.code() == Some(1) && named, "{command}: {said}");
        }
        assert_eq!(images(&store), before, "{attribute}");
    }
}

#[test]
fn odd_files_of_a_container_lead_nowhere() {
    if !testkit::is_root() {
        return;
    }
    let store = HostileStore::new();
    let secret = store.dir.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("file"), "TOP SECRET").unwrap();
    let at = |name: &str| store.upper.join(name);
    symlink(&secret, at("out")).unwrap();
    symlink("../../../../../../../../../../..", at("up")).unwrap();
    symlink("circle", at("circle")).unwrap();
    for (name, kind, device) in [
        ("pipe", FileType::Fifo, 0),
        ("zero", FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
        ("disk", FileType::BlockDevice, rustix::fs::makedev(7, 200)),
        ("socket", FileType::Socket, 0),
    ] {
        rustix::fs::mknodat(CWD, at(name), kind, Mode::RWXU, device).unwrap();
    }
    std::fs::write(at("real"), "real").unwrap();
    for (command, output) in store.readers() {
        assert!(output.status.success(), "{command}: {}", said(&output));
        assert!(!output.stdout.windows(10).any(|part| part == b"TOP SECRET"), "{command}");
        if command == "diff" {
            let mut lines: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, ["A /circle", "A /disk", "A /out", "A /pipe", "A /real", "A /up", "A /zero"]);
        }
    }
    // Through a link, it is a path of the container.
    let to = store.dir.path().join("copied");
    std::fs::create_dir(&to).unwrap();
    for path in ["box:/out/file", "box:/up/../secret/file", "box:/circle/x"] {
        let output = store.layerfs(&["container", "cp", path, text(&to)]);
        assert_eq!(output.status.code(), Some(1), "{path}: {}", said(&output));
    }
    assert!(std::fs::read_dir(&to).unwrap().next().is_none());
}

/// In a layer a file has no holes: one that does not fit is refused before the disk is full.
#[test]
fn holes_that_do_not_fit_are_refused_before_they_are_written() {
    if !testkit::is_root() {
        return;
    }
    let store = HostileStore::new();
    let before = (images(&store), testkit::TreeState::read(&store.root.join("overlay2")));
    // Half of what ext4 takes. A second name needs no more room.
    std::fs::File::create(store.upper.join("holes")).unwrap().set_len(1 << 43).unwrap();
    let output = store.layerfs(&["commit", "box", "made:1"]);
    let said = said(&output);
    assert!(output.status.code() == Some(1) && said.contains("8796093022208 bytes"), "{said}");
    let output = store.layerfs(&["container", "diff", "box"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "A /holes\n");
    std::fs::remove_file(store.upper.join("holes")).unwrap();
    let after = testkit::TreeState::read(&store.root.join("overlay2"));
    let changes = before.1.without_directory_times().changes(&after.without_directory_times());
    assert_eq!((images(&store), changes), (before.0, Vec::<String>::new()));
    // What fits is taken, holes and all.
    std::fs::File::create(store.upper.join("holes")).unwrap().set_len(1 << 20).unwrap();
    std::fs::hard_link(store.upper.join("holes"), store.upper.join("more")).unwrap();
    let output = store.layerfs(&["commit", "box", "made:1"]);
    assert!(output.status.success(), "{}", self::said(&output));
}

/// dockerd cannot name what is so deep, and neither can anybody who unpacks the layer.
#[test]
fn directories_deeper_than_a_path_are_refused() {
    if !testkit::is_root() {
        return;
    }
    let store = HostileStore::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(&store.upper, flags, Mode::empty()).unwrap();
    // On a disk, to remove many levels takes minutes.
    let levels = if testkit::full_sweep() { 100_000 } else { 5_000 };
    for _ in 0..levels {
        rustix::fs::mkdirat(&dir, "deep", Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "deep", flags, Mode::empty()).unwrap();
    }
    drop(dir);
    let ran = store.readers();
    // What removes the scratch directory goes down by recursion.
    assert!(Command::new("rm").arg("-rf").arg(store.upper.join("deep")).status().unwrap().success());
    for (command, output) in ran {
        let said = said(&output);
        assert!(output.status.code() == Some(1) && said.contains("File name too long"), "{command}: {said}");
    }
}

/// A file that becomes shorter or longer while the container's tree is written is an error with its name.
#[test]
fn files_that_change_while_they_are_exported_are_named() {
    if !testkit::is_root() {
        return;
    }
    let store = HostileStore::new();
    let last = store.upper.join("zzz");
    // More than all buffers on the way hold, so that the last file is not read before somebody reads the output.
    std::fs::write(store.upper.join("zz"), vec![b'x'; 16 << 20]).unwrap();
    for length in [10, 300_000] {
        std::fs::write(&last, vec![b'y'; 100_000]).unwrap();
        let mut child =
            store.command(&["export", "box"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 1024]).unwrap();
        std::fs::File::options().write(true).open(&last).unwrap().set_len(length).unwrap();
        std::io::copy(&mut output, &mut std::io::sink()).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = said(&ended);
        assert!(ended.status.code() == Some(1) && said.contains("zzz"), "{length}: {said}");
        assert!(said.contains("expected 100000"), "{length}: {said}");
    }
}
