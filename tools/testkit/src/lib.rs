//! What the tests of all crates share: private daemons, stores to test on, archives good and bad, tiers.
//!
//! Comparisons return lines that say what differs, none if nothing does; [`assert_none`] turns them into a failure.
//! Whatever goes wrong here is a panic that says so: this crate is for tests alone.
//!
//! - [`tier()`], [`is_root`], [`docker`], [`has_device_groups`]: whether a test can run on this machine
//! - [`engines::engines`]: newer versions of Docker that are unpacked beside the system's
//! - [`vm`]: a virtual machine whose kernel has the device mapper; [`write_log`]: what a power cut could leave of its disk
//! - [`dockerd::Dockerd`]: a daemon on a data-root of the test's own; [`zoo`]: a store with one of everything
//! - [`archive`], [`image`], [`platforms`], [`synthetic`], [`tarfile`]: archives to import; [`bad`], [`cut`]: such as
//!   must be refused
//! - [`run`], [`user`], [`mounts`], [`kill`]: our programs, as whom and where they run, and how they are stopped
//! - [`littered`]: a store with litter of every kind, and what of it somebody needs; [`bolt`]: databases, made and changed
//! - [`store`], [`root`], [`live`], [`saved`]: what is in a data-root, by its files or by a daemon's word
//! - [`thin_store`]: stores of devicemapper that dockerd has written
//! - [`quiet`], [`TreeState`], [`listing()`]: what has changed
//! - [`cachegrind`]: how much work something is
//! - [`cases`], [`tree`]: the layer cases, and a full walk of a tree
//! - [`flow`]: one archive through this program and through dockerd
//! - [`registry`], [`fault_registry`]: registries, sound and misbehaving; [`chromium`]: a browser for our page
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

pub mod archive;
pub mod bad;
pub mod bolt;
pub mod cachegrind;
pub mod cases;
pub mod chromium;
pub mod cut;
pub mod dockerd;
pub mod engines;
pub mod fault_registry;
pub mod flow;
pub mod image;
mod initramfs;
pub mod kill;
mod listing;
pub mod littered;
pub mod live;
pub mod mounts;
pub mod platforms;
mod programs;
pub mod quiet;
mod random;
pub mod registry;
pub mod root;
pub mod run;
pub mod saved;
mod scratch;
pub mod store;
pub mod synthetic;
pub mod tarfile;
pub mod thin_store;
mod tier;
pub mod tree;
mod tree_state;
pub mod user;
pub mod vm;
pub mod write_log;
pub mod zoo;
mod zoo_archive;
mod zoo_home;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use listing::{changes, listing};
pub use programs::{
    import, layer_unpack, layerfs, layerfs_on, made_by_layerfs, printed_by_layerfs, program, succeeded,
};
pub use random::Random;
pub use scratch::{USUAL_ROOM, empty_root, scratch, scratch_for};
pub use tier::{Turn, docker, has_device_groups, is_root, tier};
pub use tree_state::{TreeState, lasting_walk, tree_changes};

/// The goldens that dockerd 20.10 can load.
pub const GOLDENS: [&str; 5] =
    ["busybox-20.10.tar", "hybrid-26.tar", "layers-20.10.tar", "shared-20.10.tar", "docker-archive-skopeo.tar"];

/// A file of the repository's `testdata/`.
pub fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

/// A golden archive.
pub fn golden(name: &str) -> PathBuf {
    testdata("goldens").join(name)
}

/// Whether everything is to be tried, and not a sample of it.
pub fn full_sweep() -> bool {
    std::env::var("LAYERFS_SWEEP").is_ok_and(|sweep| sweep == "full")
}

/// Now, in seconds since 1970.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// What `work` makes of each of the items, in their order. Two at a time: most tests wait for other programs, which this machine
/// may have a second processor for.
pub fn two_at_a_time<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    several_at_a_time(2, items, work)
}

/// [`two_at_a_time`] for work that mostly waits: for a daemon to come up and to end.
pub fn several_at_a_time<T: Sync, R: Send>(several: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let made = layerfs::pool::map(items.len(), several, |at| Some(work(&items[at])));
    made.into_iter().map(|made| made.expect("each item has its turn")).collect()
}

/// Fails with the first lines, if there are any.
pub fn assert_none(what: &str, lines: &[String]) {
    let first: Vec<&str> = lines.iter().take(100).map(String::as_str).collect();
    assert!(lines.is_empty(), "{what}: {} findings\n{}", lines.len(), first.join("\n"));
}
