//! Shared by the tests that give the tools what they cannot use, or take away what they need.
// Every test binary compiles all of this and uses a part.
#![allow(dead_code)]

pub(crate) mod bad;
#[path = "../../../layerfs/tests/support/cases.rs"]
pub(crate) mod cases;
pub(crate) mod cut;
pub(crate) mod image;
pub(crate) mod kill;
pub(crate) mod mounts;
pub(crate) mod run;
pub(crate) mod store;
pub(crate) mod synthetic;
pub(crate) mod tar;
#[path = "../../../layerfs/tests/support/tier.rs"]
pub(crate) mod tier;
#[path = "../../../layerfs/tests/support/tree.rs"]
pub(crate) mod tree;
pub(crate) mod user;

use std::path::{Path, PathBuf};

use cases::Expected;
use tempfile::TempDir;
#[allow(unused_imports, reason = "not every test binary needs both")]
pub(crate) use tier::{is_root, tier};

/// Whether everything is to be tried, and not a sample of it.
pub(crate) fn full_sweep() -> bool {
    std::env::var("LAYERFS_SWEEP").is_ok_and(|sweep| sweep == "full")
}

/// A golden archive.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/goldens").join(name)
}

/// A directory of the test's own: in memory where that holds all that a layer can set, else on disk.
pub(crate) fn scratch() -> TempDir {
    let new = |base: &Path| tempfile::Builder::new().prefix("layerfs-fault-").tempdir_in(base).ok();
    let in_memory = new(Path::new("/dev/shm")).filter(|dir| {
        // User attributes came to tmpfs with Linux 6.6.
        let probe = || rustix::fs::setxattr(dir.path(), "user.probe", b"", rustix::fs::XattrFlags::empty());
        let free = rustix::fs::statvfs(dir.path()).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= 1 << 30);
        free && probe().is_ok() && rustix::fs::removexattr(dir.path(), "user.probe").is_ok()
    });
    in_memory.unwrap_or_else(|| new(&std::env::temp_dir()).unwrap())
}

/// What is at a path: nothing, or a tree with all that can be seen of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot(Option<Vec<Expected>>);

impl Snapshot {
    pub(crate) fn of(path: &Path) -> Self {
        Self(path.symlink_metadata().is_ok().then(|| tree::walk(path)))
    }

    /// The same without the times of directories, which change when something is made in them and removed again.
    pub(crate) fn without_directory_times(mut self) -> Self {
        for entry in self.0.iter_mut().flatten().filter(|entry| entry.kind == 'd') {
            entry.mtime = None;
        }
        self
    }

    /// What is different now.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        match (&self.0, &now.0) {
            (None, None) => Vec::new(),
            (None, Some(_)) => vec!["it exists now".into()],
            (Some(_), None) => vec!["it is gone".into()],
            (Some(before), Some(now)) => tree_changes(before, now),
        }
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// A full walk without the times that are not from an archive but from after `since`.
pub(crate) fn lasting_walk(root: &Path, since: i64) -> Vec<Expected> {
    let mut tree = tree::walk(root);
    for entry in &mut tree {
        entry.mtime = entry.mtime.filter(|mtime| mtime.0 < since);
    }
    tree
}

/// What two trees do not have in common.
pub(crate) fn tree_changes(before: &[Expected], now: &[Expected]) -> Vec<String> {
    let missing = |these: &[Expected], those: &[Expected], mark: &str| -> Vec<String> {
        let there: std::collections::BTreeMap<_, _> = those.iter().map(|entry| (&entry.path, entry)).collect();
        let only = these.iter().filter(|entry| there.get(&entry.path) != Some(entry));
        only.map(|entry| format!("{mark} {}", describe(entry))).collect()
    };
    let mut changes = missing(before, now, "-");
    changes.extend(missing(now, before, "+"));
    changes
}

/// An entry on one line, its content only where it is short.
fn describe(entry: &Expected) -> String {
    let mut entry = entry.clone();
    entry.data = entry.data.map(|data| data.into_iter().take(40).collect());
    let (path, data) = (entry.path.escape_ascii().to_string(), entry.data.as_deref().unwrap_or_default());
    format!(
        "{} {path} {:04o} {:?} size {} links {} mtime {:?} target {:?} device {:?} xattrs {:?} data {}",
        entry.kind,
        entry.mode,
        entry.owner,
        entry.size,
        entry.links,
        entry.mtime,
        entry.target.map(|target| target.escape_ascii().to_string()),
        entry.device,
        entry.xattrs,
        data.escape_ascii(),
    )
}

/// Fails with the first lines, if there are any.
pub(crate) fn assert_none(what: &str, lines: &[String]) {
    let first: Vec<&str> = lines.iter().take(40).map(String::as_str).collect();
    assert!(lines.is_empty(), "{what}: {} findings\n{}", lines.len(), first.join("\n"));
}

/// Numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
