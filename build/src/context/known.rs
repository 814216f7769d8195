//! Digests of the files of a context that were read for an earlier build: a file that `stat` shows as it was then is not read again.
//!
//! What counts is the file system, inode, mode, length, and both times to the nanosecond. A program can set the time of a change of
//! content back, but not that of a change of the inode. A file that was changed less than [`MARGIN`] before it was read is not
//! remembered: it might be changed again without a new time. As for git and BuildKit, a change by way of a memory map that the file
//! system has not written back yet is no change. File systems of the network, and those that programs make, are not trusted.

mod file;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use images::tree::{NodeId, NodeKind, Tree, TreeError};
use layerfs::{Digest, HashingReader, LayerFiles};
use rustix::fd::OwnedFd;
use rustix::fs::Statx;

pub use self::file::forget;

/// How much older than the begin of a build the last change of a file must be, in seconds: some file systems count in steps of two.
const MARGIN: i64 = 2;

/// File systems whose times this machine's kernel sets: ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS, bcachefs, ZFS.
const TRUSTED: [u64; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1];

/// What tells whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mode: u32,
    /// Seconds and nanoseconds of the last change of the content.
    pub(super) mtime: (i64, u32),
    /// Of the inode.
    pub(super) ctime: (i64, u32),
}

impl Stat {
    pub(super) fn of(stat: &Statx) -> Self {
        Self {
            device: (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            mode: stat.stx_mode.into(),
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }
}

/// A file that was read for an earlier build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stat: Stat,
    pub(super) digest: Digest,
    /// The value of its capability; empty for none.
    pub(super) capability: Vec<u8>,
}

/// What is known of the files of one context.
#[derive(Debug)]
pub(super) struct KnownFiles {
    /// Where it is kept; the file need not exist.
    file: PathBuf,
    /// What was known before this build, by path.
    before: HashMap<Vec<u8>, Known>,
    /// Files of this build, as they were when their directory was read.
    stats: HashMap<NodeId, Stat>,
    /// What is in them, as far as anybody has asked.
    digests: Mutex<HashMap<NodeId, Digest>>,
    /// When the build began, in seconds.
    begun: i64,
    /// The last file system that was asked about, and whether it is trusted.
    trusted: Option<(u64, bool)>,
    /// How many files are as they were.
    recalled: usize,
    /// How many files were read.
    read: std::sync::atomic::AtomicUsize,
}

impl KnownFiles {
    /// What the data-root `root` knows of the context in the directory `context`; nothing, if that cannot be read.
    pub(super) fn read(root: &Path, context: &Path) -> Self {
        let file = file::path(root, context);
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let before = file::read(&file);
        Self {
            file,
            stats: HashMap::with_capacity(before.len()),
            digests: Mutex::new(HashMap::with_capacity(before.len())),
            before,
            begun: i64::try_from(begun).unwrap_or(i64::MAX),
            trusted: None,
            recalled: 0,
            read: Default::default(),
        }
    }

    /// Whether changes of files on the file system of a directory show.
    fn is_trusted(&mut self, device: u64, dir: &OwnedFd) -> bool {
        if let Some((known, trusted)) = self.trusted
            && known == device
        {
            return trusted;
        }
        let trusted = rustix::fs::fstatfs(dir)
            .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| TRUSTED.contains(&kind)));
        self.trusted = Some((device, trusted));
        trusted
    }

    /// Whether a file in the directory `dir` is as it was, and what was known of it then.
    pub(super) fn recall(&mut self, path: &[u8], stat: &Stat, dir: &OwnedFd) -> Option<&Known> {
        if !self.is_trusted(stat.device, dir) {
            return None;
        }
        let known = self.before.get(path).filter(|known| known.stat == *stat)?;
        self.recalled += 1;
        Some(known)
    }

    /// Notes a file of this build, and its digest, if that is known.
    pub(super) fn note(&mut self, id: NodeId, stat: Stat, digest: Option<Digest>) {
        if self.trusted.is_some_and(|(device, trusted)| trusted && device == stat.device) {
            self.stats.insert(id, stat);
        }
        if let Some(digest) = digest {
            self.digests.get_mut().unwrap_or_else(PoisonError::into_inner).insert(id, digest);
        }
    }

    fn digest(&self, id: NodeId) -> Option<Digest> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// Reads a file, and remembers its digest, if it stayed as it was when its directory was read.
    fn hash(&self, files: &LayerFiles, path: &[u8], id: NodeId) -> Result<Digest, TreeError> {
        use std::sync::atomic::Ordering::Relaxed;
        let failed = |source| TreeError::File { path: path.to_vec(), source };
        self.read.fetch_add(1, Relaxed);
        let (file, _) = files.open_sized(path).map_err(failed)?;
        let stat = |file: &std::fs::File| {
            let flags = rustix::fs::AtFlags::EMPTY_PATH;
            rustix::fs::statx(file, "", flags, rustix::fs::StatxFlags::BASIC_STATS).ok().map(|stat| Stat::of(&stat))
        };
        let wanted = self.stats.get(&id).copied();
        let before = stat(&file);
        let mut reader = HashingReader::new(&file);
        io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
        let digest = reader.finish().0;
        if wanted.is_some() && before == wanted && stat(&file) == wanted {
            self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(id, digest);
        }
        Ok(digest)
    }

    /// Writes down what is known now, for the next build, if that is more or something else than before. A store that has no cache of
    /// builds gets no file. What cannot be written is read again the next time.
    pub(super) fn write(&self, tree: &Tree) {
        // Most builds learn nothing.
        if self.recalled == self.before.len() && self.count_read() == 0 {
            file::touch(&self.file);
            return;
        }
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = |stat: &Stat| stat.mtime.0.max(stat.ctime.0) < self.begun.saturating_sub(MARGIN);
        let was_known = |path: &[u8], stat: &Stat| self.before.get(path).is_some_and(|known| known.stat == *stat);
        let (mut same, mut count) = (true, 0);
        let mut walk = tree.walk_below(Tree::ROOT, b"");
        while let Some((path, id)) = walk.next() {
            let Some(stat) = self.stats.get(&id).filter(|_| digests.contains_key(&id)) else { continue };
            let was_known = was_known(path, stat);
            same &= was_known || !settled(stat);
            count += usize::from(was_known);
        }
        if same && count == self.before.len() {
            file::touch(&self.file);
            return;
        }
        let mut all: Vec<(Vec<u8>, Known)> = Vec::new();
        let mut walk = tree.walk_below(Tree::ROOT, b"");
        while let Some((path, id)) = walk.next() {
            let (Some(stat), Some(digest)) = (self.stats.get(&id), digests.get(&id)) else { continue };
            if was_known(path, stat) || settled(stat) {
                let capability = tree.node(id).xattrs.first().map(|(_, value)| value.clone()).unwrap_or_default();
                all.push((path.to_vec(), Known { stat: *stat, digest: *digest, capability }));
            }
        }
        let _ = file::write(&self.file, &all);
    }

    /// How many files were read in this build.
    pub(super) fn count_read(&self) -> usize {
        self.read.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// The files of a context in a directory, and what is known of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents<'c> {
    pub(super) files: &'c LayerFiles,
    pub(super) known: &'c KnownFiles,
}

impl Contents<'_> {
    /// The digest of a file, if it is known without reading it.
    pub(crate) fn known(&self, id: NodeId) -> Option<Digest> {
        self.known.digest(id)
    }

    /// Finds out the digests of these files, the unknown ones with all processors.
    ///
    /// # Errors
    /// [`TreeError::File`] for the first file that cannot be read.
    pub(crate) fn learn(&self, tree: &Tree, all: &[(Vec<u8>, NodeId)]) -> Result<Vec<Digest>, TreeError> {
        let is_file = |id: NodeId| matches!(tree.node(id).kind, NodeKind::File { .. });
        debug_assert!(all.iter().all(|(_, id)| is_file(*id)), "only files have digests");
        let digest = |(path, id): &(Vec<u8>, NodeId)| match self.known.digest(*id) {
            Some(digest) => Ok(digest),
            None => self.known.hash(self.files, path, *id),
        };
        snapshot::parallel::map(all, digest).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
