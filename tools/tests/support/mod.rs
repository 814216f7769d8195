//! Shared by the tests against a real dockerd: private daemons, scratch roots, comparisons.
//!
//! Comparisons return lines that say what differs, none if nothing does; [`assert_none`] turns them into a failure.
// Every test binary compiles all of this and uses a part.
#![allow(dead_code)]

pub(crate) mod archive;
#[path = "../../../layerfs/tests/support/cases.rs"]
pub(crate) mod cases;
pub(crate) mod dockerd;
pub(crate) mod flow;
pub(crate) mod live;
pub(crate) mod root;
pub(crate) mod saved;
#[path = "../../../layerfs/tests/support/tier.rs"]
pub(crate) mod tier;
#[path = "../../../layerfs/tests/support/tree.rs"]
pub(crate) mod tree;
pub(crate) mod zoo;
pub(crate) mod zoo_archive;
pub(crate) mod zoo_home;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;
use tier::tier;

/// The goldens that dockerd 20.10 can load.
pub(crate) const GOLDENS: [&str; 5] =
    ["busybox-20.10.tar", "hybrid-26.tar", "layers-20.10.tar", "shared-20.10.tar", "docker-archive-skopeo.tar"];

/// Room for the roots of all tests but the big image's.
const USUAL_ROOM: u64 = 1 << 30;

/// The turn of one test: daemons are heavy, so that the tests of a binary run one after the other.
pub(crate) type Turn = MutexGuard<'static, ()>;

/// Waits for the turn of this test, or says why there is no dockerd to test with.
pub(crate) fn docker() -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::new(());
    let found = rustix::process::geteuid().is_root() && dockerd::installed();
    let need = "run as root, with /usr/sbin/dockerd and /usr/bin/docker (Debian: docker.io)";
    tier("docker", found, need).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A golden archive.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/goldens").join(name)
}

/// A directory for data-roots.
pub(crate) fn scratch() -> TempDir {
    scratch_for(USUAL_ROOM)
}

/// A directory for data-roots of `room` bytes: below `LAYERFS_TEST_DIR` if that is set; else in memory, where that holds
/// all that a layer can set; else on disk.
pub(crate) fn scratch_for(room: u64) -> TempDir {
    if let Some(base) = std::env::var_os("LAYERFS_TEST_DIR") {
        return tempdir_in(Path::new(&base)).unwrap();
    }
    let in_memory = tempdir_in(Path::new("/dev/shm")).filter(|dir| {
        let free = rustix::fs::statvfs(dir.path()).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= room);
        // User attributes came to tmpfs with Linux 6.6.
        free && rustix::fs::setxattr(dir.path(), "user.probe", b"", rustix::fs::XattrFlags::empty()).is_ok()
    });
    in_memory.unwrap_or_else(|| tempdir_in(&std::env::temp_dir()).unwrap())
}

fn tempdir_in(base: &Path) -> Option<TempDir> {
    // Without the dot of tempfile's default: dockerd's paths get into messages.
    tempfile::Builder::new().prefix("layerfs-docker-").tempdir_in(base).ok()
}

/// An empty directory `name` below `dir`, for a data-root.
pub(crate) fn empty_root(dir: &TempDir, name: &str) -> PathBuf {
    let root = dir.path().join(name);
    std::fs::create_dir(&root).unwrap();
    root
}

/// `layer-unpack ARCHIVE --root ROOT --no-sync`
pub(crate) fn layer_unpack(archive: &Path, root: &Path) -> Output {
    let binary = env!("CARGO_BIN_EXE_layer-unpack");
    Command::new(binary).arg(archive).arg("--root").arg(root).arg("--no-sync").output().unwrap()
}

/// [`layer_unpack`] that must succeed; returns its standard output.
pub(crate) fn import(archive: &Path, root: &Path) -> String {
    succeeded("layer-unpack", layer_unpack(archive, root))
}

/// `layerfs ARGUMENTS`, which must succeed; returns its standard output.
pub(crate) fn layerfs<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    succeeded("layerfs", Command::new(env!("CARGO_BIN_EXE_layerfs")).args(arguments).output().unwrap())
}

/// The standard output of a program that must have succeeded.
pub(crate) fn succeeded(program: &str, output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Every name below Docker's image store and below the layers' home, contents of the layers included, as far as a path
/// can name them.
pub(crate) fn listing(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.join("image"), root.join("overlay2")];
    while let Some(dir) = left.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()) => continue,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            found.insert(entry.path().strip_prefix(root).unwrap().to_owned());
        }
    }
    found
}

/// What two sets of names do not have in common.
pub(crate) fn changes(before: &BTreeSet<PathBuf>, after: &BTreeSet<PathBuf>) -> Vec<String> {
    let gone = before.difference(after).map(|path| format!("gone: {}", path.display()));
    gone.chain(after.difference(before).map(|path| format!("new: {}", path.display()))).collect()
}

/// Fails with all the lines, if there are any.
pub(crate) fn assert_none(what: &str, lines: &[String]) {
    assert!(lines.is_empty(), "{what}: {} differences\n{}", lines.len(), lines.join("\n"));
}
