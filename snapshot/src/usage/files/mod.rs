//! The files of layers: the largest ones, those that upper layers hide, those that are in several layers.
//!
//! This works only for drivers like overlay2, where each layer's directory holds only its own changes.

mod identical;
mod tree;
mod waste;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use layerfs::ChainId;
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, Stat};

pub use identical::{Identical, IdenticalFiles, MAX_HOLES, compare_files};
pub(crate) use tree::build_tree;
pub use tree::{PathSize, TreeNode, largest_directories};
pub use waste::{Repeated, Waste, measure_chain, waste};

use super::account::path_below;
use super::walk::Visit;
use crate::view::View;

/// One of the largest files. They are ordered as they are shown: by size, the largest first, then by path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Large {
    allocated: Reverse<u64>,
    /// Its path below the root that was walked; for a file with several links, the first by name.
    pub path: Vec<u8>,
    /// Bytes long.
    pub apparent: u64,
    inode: u64,
}

impl Large {
    /// Bytes allocated.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.allocated.0
    }
}

/// What a layer's tree has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A file, symlink or device. All but regular files count as empty, as in a layer's tar.
    File,
    /// The layer deletes what the layers below have at this path.
    Whiteout,
    /// A directory that hides what the layers below have in it.
    Opaque,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LayerFile {
    path: Box<[u8]>,
    what: What,
    size: u64,
    /// Bytes allocated. If a file has several links in a layer, each link has all of the bytes, until [`Files::merge`]
    /// leaves them to the first link by path.
    allocated: u64,
    /// The inode of a regular file; 0 for others.
    inode: u64,
}

/// The files of all layers, and the largest of the data-root.
#[derive(Debug, Default)]
pub struct Files {
    /// By path.
    layers: BTreeMap<ChainId, Vec<LayerFile>>,
    /// The largest first.
    pub largest: Vec<Large>,
}

/// Collects files: a visitor of the walk.
#[derive(Debug)]
pub struct Collector {
    /// The driver's home below the directory that is walked, with a slash.
    home: Vec<u8>,
    /// Where a layer's files are in its directory, between slashes.
    content: Vec<u8>,
    /// Layers by their directories.
    directories: HashMap<Vec<u8>, ChainId>,
    layers: BTreeMap<ChainId, Vec<LayerFile>>,
    largest: BTreeSet<Large>,
    keep: usize,
}

impl Collector {
    /// Makes a collector for the data-root of `view`, found at `path`, that keeps the `keep` largest files.
    #[must_use]
    pub fn new(path: &Path, view: &View, keep: usize) -> Self {
        let (root, catalog) = (&view.root, &view.catalog);
        let layout = root.home_layout().filter(|layout| layout.changes);
        let home: std::path::PathBuf = layout.iter().flat_map(|layout| layout.home).collect();
        let home = path_below(&root.dir.path().join(home), path);
        let mut home = home.as_os_str().as_bytes().to_vec();
        home.push(b'/');
        // Skip drivers whose layer directories hold more than the layer's own changes.
        let records = catalog.layers.values().flatten().filter(|_| layout.is_some());
        let directories = records.map(|layer| (layer.cache_id.as_str().as_bytes().to_vec(), layer.chain_id)).collect();
        // For all of these drivers, the path of the content in a layer's directory has one component.
        let content = layout.and_then(|layout| layout.content.first().copied()).unwrap_or_default();
        let content = format!("/{content}/").into_bytes();
        Self { home, content, directories, layers: BTreeMap::new(), largest: BTreeSet::new(), keep }
    }

    /// Records a file that lies in the content of a layer; every other path is ignored.
    fn add(&mut self, path: &[u8], what: What, (size, allocated): (u64, u64), inode: u64) {
        let found = path.strip_prefix(self.home.as_slice()).and_then(|rest| {
            let slash = rest.iter().position(|byte| *byte == b'/')?;
            let below = rest[slash..].strip_prefix(self.content.as_slice())?;
            Some((*self.directories.get(&rest[..slash])?, below))
        });
        if let Some((layer, path)) = found {
            self.layers.entry(layer).or_default().push(LayerFile { path: path.into(), what, size, allocated, inode });
        }
    }

    /// Keeps a file if it is one of the largest. What is kept does not depend on the order in which files are found.
    fn rank(&mut self, stat: &Stat, path: &[u8]) {
        let allocated = Reverse(allocated_of(stat));
        let is_full = self.largest.len() >= self.keep;
        if is_full && self.largest.last().is_none_or(|last| (allocated, path) > (last.allocated, &last.path)) {
            return;
        }
        let inode = stat.st_ino;
        if stat.st_nlink > 1
            && let Some(other) = self.largest.iter().find(|large| large.inode == inode)
        {
            if other.path.as_slice() <= path {
                return;
            }
            let other = other.clone();
            self.largest.remove(&other);
        }
        let apparent = u64::try_from(stat.st_size).unwrap_or_default();
        self.largest.insert(Large { allocated, path: path.to_vec(), apparent, inode });
        if self.largest.len() > self.keep {
            self.largest.pop_last();
        }
    }
}

/// Bytes that the file system has given to a file.
fn allocated_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}

impl Visit for Collector {
    fn file(&mut self, stat: &Stat, path: &dyn Fn() -> Vec<u8>) {
        let path = path();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                self.rank(stat, &path);
                let sizes = (u64::try_from(stat.st_size).unwrap_or_default(), allocated_of(stat));
                self.add(&path, What::File, sizes, stat.st_ino);
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => self.add(&path, What::Whiteout, (0, 0), 0),
            _ => self.add(&path, What::File, (0, allocated_of(stat)), 0),
        }
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, path: &dyn Fn() -> Vec<u8>) {
        let is = |name| rustix::fs::fgetxattr(dir, name, &mut [0; 8]).is_ok_and(|length| length == 1);
        if is("trusted.overlay.opaque") || is("user.overlay.opaque") {
            self.add(&path(), What::Opaque, (0, 0), 0);
        }
    }
}

/// What a layer's tar has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry(LayerFile);

impl LayerEntry {
    /// What a member of a layer's tar means; `path` is relative and clean. It is a file of `size` bytes, or a whiteout
    /// by its name. `None` for a name that looks like a whiteout and means nothing.
    #[must_use]
    pub fn of_member(path: &[u8], size: u64) -> Option<Self> {
        const WHITEOUT: &[u8] = b".wh.";
        const OPAQUE: &[u8] = b".wh..wh..opq";
        let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, name) = path.split_at(start);
        let (path, what, size) = match name.strip_prefix(WHITEOUT) {
            None => (path.to_vec(), What::File, size),
            Some(_) if name == OPAQUE => (directory.strip_suffix(b"/").unwrap_or(directory).to_vec(), What::Opaque, 0),
            Some(b"" | b"." | b"..") => return None,
            Some(hidden) => ([directory, hidden].concat(), What::Whiteout, 0),
        };
        Some(Self(LayerFile { path: path.into(), what, size, allocated: size, inode: 0 }))
    }

    /// The path that it is about: for a whiteout, what is deleted.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.0.path
    }
}

impl Files {
    /// Adds a layer by the members of its tar, which are sorted by path, each path once.
    pub fn add_layer(&mut self, layer: ChainId, entries: Vec<LayerEntry>) {
        self.layers.insert(layer, entries.into_iter().map(|entry| entry.0).collect());
    }

    /// Joins what several threads have found.
    #[must_use]
    pub fn merge(found: Vec<Collector>, keep: usize) -> Self {
        let mut files = Self::default();
        for collector in found {
            for (layer, entries) in collector.layers {
                files.layers.entry(layer).or_default().extend(entries);
            }
            files.largest.extend(collector.largest);
        }
        for entries in files.layers.values_mut() {
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            // A hard link has no content in a layer's tar.
            let mut seen = HashSet::new();
            for entry in entries.iter_mut().filter(|entry| entry.inode != 0) {
                if !seen.insert(entry.inode) {
                    (entry.size, entry.allocated) = (0, 0);
                }
            }
        }
        files.largest.sort_unstable();
        let mut seen = HashSet::new();
        files.largest.retain(|large| seen.insert(large.inode));
        files.largest.truncate(keep);
        files
    }

    /// The tree of a layer's own files, without those smaller than `smallest` bytes. If a file has several hard links,
    /// the first by name counts.
    #[must_use]
    pub fn tree_of(&self, layer: ChainId, smallest: u64) -> TreeNode {
        let files = self.files_of(layer).iter().filter(|file| file.what == What::File);
        let files = files.map(|file| PathSize { path: &file.path, allocated: file.allocated, apparent: file.size });
        build_tree(files, smallest)
    }

    /// The largest files of some layers, the largest first: layer, path, and bytes.
    #[must_use]
    pub fn largest_of(&self, layers: &BTreeSet<ChainId>, most: usize) -> Vec<(ChainId, PathSize<'_>)> {
        let mut largest: Vec<(ChainId, PathSize<'_>)> = Vec::new();
        let order = |(layer, file): &(ChainId, PathSize<'_>)| (Reverse(file.allocated), *layer);
        let keep = |largest: &mut Vec<(ChainId, PathSize<'_>)>| {
            largest.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.1.path.cmp(b.1.path)));
            largest.truncate(most);
        };
        for layer in layers {
            for file in self.files_of(*layer).iter().filter(|file| file.what == What::File) {
                let LayerFile { path, size, allocated, .. } = file;
                largest.push((*layer, PathSize { path, allocated: *allocated, apparent: *size }));
                // Sort and cut the list only now and then: that costs little for each file, and the list stays short.
                if largest.len() > 2 * most + 1_000 {
                    keep(&mut largest);
                }
            }
        }
        keep(&mut largest);
        largest
    }

    fn files_of(&self, layer: ChainId) -> &[LayerFile] {
        self.layers.get(&layer).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
