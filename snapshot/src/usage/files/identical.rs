//! Files of the same content in several layers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use layerfs::ChainId;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Files;
use crate::catalog::Catalog;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::root::DataRoot;

/// Files of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identical {
    /// The BLAKE3 digest of the content.
    pub digest: [u8; 32],
    /// Bytes of each.
    pub size: u64,
    /// Where it is: layers, and paths in them.
    pub places: Vec<(ChainId, Vec<u8>)>,
}

impl Identical {
    /// Bytes that one copy would save.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.size * (self.places.len() as u64 - 1)
    }
}

/// Places by length and digest.
type ByContent<'f> = BTreeMap<(u64, [u8; 32]), Vec<(ChainId, &'f [u8])>>;

/// Finds files of the same content in different layers, with `threads` threads. Only files of which several layers have one
/// of the same length are read. Returns the contents, those first that would save most, and how many files could not be read.
///
/// # Errors
/// [`StoreError::Io`] if a layer's directory cannot be opened.
pub fn identical(
    files: &Files,
    root: &DataRoot,
    catalog: &Catalog,
    threads: usize,
) -> Result<(Vec<Identical>, u64), StoreError> {
    let mut by_size: BTreeMap<u64, Vec<(ChainId, &[u8])>> = BTreeMap::new();
    for (layer, entries) in &files.layers {
        for entry in entries.iter().filter(|entry| entry.size > 0 && entry.inode != 0) {
            by_size.entry(entry.size).or_default().push((*layer, &entry.path));
        }
    }
    by_size.retain(|_, places| places.iter().any(|(layer, _)| *layer != places[0].0));
    let candidates: Vec<(u64, ChainId, &[u8])> = by_size
        .into_iter()
        .flat_map(|(size, places)| places.into_iter().map(move |(layer, path)| (size, layer, path)))
        .collect();
    let mut directories = BTreeMap::new();
    for layer in candidates.iter().map(|(_, layer, _)| *layer).collect::<BTreeSet<_>>() {
        let Some(record) = catalog.layer(layer) else { continue };
        directories.extend(root.content(&record.cache_id)?.map(|content| (layer, content)));
    }
    let (next, unread) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let found: Mutex<ByContent<'_>> = Mutex::default();
    let work = || {
        while let Some((size, layer, path)) = candidates.get(next.fetch_add(1, Ordering::Relaxed)) {
            let digest = directories.get(layer).ok_or(Errno::NOENT).and_then(|dir| digest(dir, path, *size));
            match digest {
                Ok(digest) => {
                    let mut found = found.lock().expect("nothing panics that holds it");
                    found.entry((*size, digest)).or_default().push((*layer, path));
                }
                Err(_) => drop(unread.fetch_add(1, Ordering::Relaxed)),
            }
        }
    };
    std::thread::scope(|scope| {
        layerfs::pool::spawn_helpers(scope, threads.saturating_sub(1), work);
        work();
    });
    let found = found.into_inner().expect("nothing panics that holds it").into_iter();
    let mut found: Vec<Identical> = found
        .filter(|(_, places)| places.iter().any(|(layer, _)| *layer != places[0].0))
        .map(|((size, digest), mut places)| {
            places.sort_unstable();
            let places = places.into_iter().map(|(layer, path)| (layer, path.to_vec())).collect();
            Identical { digest, size, places }
        })
        .collect();
    found.sort_by(|a, b| b.saved().cmp(&a.saved()).then_with(|| a.places.cmp(&b.places)));
    Ok((found, unread.into_inner() as u64))
}

/// The digest of a file's content; an error where it is not what it was any more.
fn digest(dir: &Dir, path: &[u8], size: u64) -> Result<[u8; 32], Errno> {
    let file = std::fs::File::from(open(dir.as_fd(), path)?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || u64::try_from(stat.st_size) != Ok(size) {
        return Err(Errno::STALE);
    }
    let mut hasher = blake3::Hasher::new();
    // No further than it was long: a log may grow.
    let read = hasher.update_reader(file.take(size));
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if hasher.count() != size {
        return Err(Errno::STALE);
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Opens a file far below, following no symlink.
fn open(dir: BorrowedFd<'_>, path: &[u8]) -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(dir, path, flags | OFlags::NOATIME, Mode::empty(), inside) {
        Err(Errno::PERM) => rustix::fs::openat2(dir, path, flags, Mode::empty(), inside),
        opened => opened,
    }
}
