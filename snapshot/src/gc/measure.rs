//! Measures the bytes that the file system gets back.
//!
//! An inode is freed with its last link. So an inode with a link that stays frees nothing, and an inode whose links are
//! all removed is counted where the last of them is. For that, only what is removed has to be read: an inode says how
//! many links it has.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::dir::Dir;
use crate::error::StoreError;
use crate::parallel;
use crate::usage::walk::{self, BucketChoice, Visit};

/// An inode on its file system.
type Inode = (u64, u64);

/// What a thing takes up.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    /// Bytes of inodes with one link.
    alone: u64,
    /// Inodes with several links.
    linked: HashMap<Inode, Linked>,
    /// Entries that could not be read.
    pub(super) unread: u64,
}

#[derive(Debug, Clone, Copy)]
struct Linked {
    /// Links seen.
    seen: u64,
    /// Links that the inode has in all.
    links: u64,
    bytes: u64,
}

/// Bytes of a block as `stat` counts them.
const BLOCK: u64 = 512;

fn bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK)
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ between platforms")]
fn links(stat: &Stat) -> u64 {
    stat.st_nlink as u64
}

impl Measured {
    fn add(&mut self, stat: &Stat) {
        if links(stat) < 2 {
            self.alone += bytes(stat);
            return;
        }
        let first = Linked { seen: 0, links: links(stat), bytes: bytes(stat) };
        self.linked.entry((stat.st_dev, stat.st_ino)).or_insert(first).seen += 1;
    }

    fn join(&mut self, other: Self) {
        self.alone += other.alone;
        self.unread += other.unread;
        for (inode, linked) in other.linked {
            self.linked.entry(inode).and_modify(|own| own.seen += linked.seen).or_insert(linked);
        }
    }
}

/// For inodes with several links, how many links were removed with the things before.
#[derive(Debug, Default)]
pub(super) struct LinksRemoved(HashMap<Inode, u64>);

impl LinksRemoved {
    /// The bytes that are freed with a thing, when it is removed after those added before.
    pub(super) fn add(&mut self, measured: &Measured) -> u64 {
        let mut freed = measured.alone;
        for (inode, linked) in &measured.linked {
            let seen = self.0.entry(*inode).or_default();
            *seen += linked.seen;
            if *seen == linked.links {
                freed += linked.bytes;
            }
        }
        freed
    }
}

impl LinksRemoved {
    /// The bytes that things take up together, even if their files have links elsewhere.
    pub(super) fn total(measured: &[Measured]) -> u64 {
        let mut linked = HashMap::new();
        let mut alone = 0_u64;
        for one in measured {
            alone = alone.saturating_add(one.alone);
            linked.extend(one.linked.iter().map(|(inode, linked)| (*inode, linked.bytes)));
        }
        linked.into_values().fold(alone, u64::saturating_add)
    }
}

/// Collects what is below a directory. A directory has several links as well, but none of them can be elsewhere, so
/// only other files need care.
#[derive(Debug, Default)]
struct Finder(Measured);

impl Visit for Finder {
    fn file(&mut self, stat: &Stat, _path: &dyn Fn() -> Vec<u8>) {
        self.0.add(stat);
    }
}

/// Measures things. Each is given by its paths below the root; a path that does not exist takes up nothing.
pub(super) fn measure<T: Sync>(root: &Dir, things: &[T], paths: impl Fn(&T) -> &[PathBuf] + Sync) -> Vec<Measured> {
    parallel::map(things, |thing| {
        let mut measured = Measured::default();
        for path in paths(thing) {
            match measure_path(root, path) {
                Ok(one) => measured.join(one),
                Err(_) => measured.unread += 1,
            }
        }
        measured
    })
}

fn measure_path(root: &Dir, path: &Path) -> Result<Measured, StoreError> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let mut measured = Measured::default();
    let Some((name, parents)) = parts.split_last() else { return Ok(measured) };
    let Some(parent) = root.descend(parents)? else { return Ok(measured) };
    let Some(stat) = parent.stat(*name)? else { return Ok(measured) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        measured.add(&stat);
        return Ok(measured);
    }
    let Some(dir) = parent.sub(*name)? else { return Ok(measured) };
    let all = BucketChoice { bucket: 0, ask_below: false };
    let (walked, finders) = walk::walk(&dir, 1, &|_, _| all, Finder::default)?;
    finders.into_iter().for_each(|finder| measured.join(finder.0));
    // The rest of what the walk has counted are directories.
    let total: u64 = walked.buckets.iter().map(|usage| usage.allocated).sum();
    let files = measured.alone + measured.linked.values().map(|linked| linked.bytes).sum::<u64>();
    measured.alone += total.saturating_sub(files);
    measured.unread += walked.error_count;
    Ok(measured)
}

/// Whether files on this file system may share blocks without any link between them. Then removing files frees at most
/// what they take up, and perhaps less.
pub(super) fn may_share_blocks(dir: &Dir) -> bool {
    /// btrfs, xfs, bcachefs, overlayfs over either, ocfs2, zfs (statfs(2), and the kernel's `magic.h`).
    const SHARING: [i64; 6] = [0x9123_683e, 0x5846_5342, 0xca45_1a4e, 0x794c_7630, 0x7461_636f, 0x2fc1_2fc1];
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ between platforms")]
    rustix::fs::fstatfs(dir).map_or(true, |stat| SHARING.contains(&(stat.f_type as i64)))
}
