//! Files of the same content in several layers.

use std::collections::BTreeMap;
use std::io::Read;

use layerfs::ChainId;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use super::Files;
use crate::view::View;

/// Files of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identical {
    /// The BLAKE3 digest of the content.
    pub digest: [u8; 32],
    /// Bytes of each of the files.
    pub size: u64,
    /// Where the files are: the layer, and the path in it.
    pub places: Vec<(ChainId, Vec<u8>)>,
}

impl Identical {
    /// Bytes that one copy would save.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.size.saturating_mul(self.places.len() as u64 - 1)
    }
}

/// What comparing files has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdenticalFiles {
    /// Contents that several layers have, those first with which one copy would save most.
    pub identical: Vec<Identical>,
    /// Files that could not be read.
    pub unread: u64,
    /// Files that were not compared since more than [`MAX_HOLES`] bytes of them are holes.
    pub sparse: u64,
}

/// Files with more bytes of holes than this are not compared. Holes are not read, but they are hashed as part of the
/// content, and that takes time.
pub const MAX_HOLES: u64 = 64 << 20;

/// Places by length and digest.
type ByContent<'f> = BTreeMap<(u64, [u8; 32]), Vec<(ChainId, &'f [u8])>>;

/// Finds files of the same content in different layers, with `threads` threads. A file is read only if another layer
/// has a file of the same length; holes are not read. Each thread has one descriptor open.
#[must_use]
pub fn compare_files(files: &Files, view: &View, threads: usize) -> IdenticalFiles {
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
    let digests = layerfs::pool::map(candidates.len(), threads, |at| {
        let (size, layer, path) = candidates[at];
        Some(place_in_home(view, layer, path).and_then(|(home, place)| digest(home, &place, size)))
    });
    let (mut unread, mut sparse) = (0, 0);
    let mut found = ByContent::new();
    for ((size, layer, path), digest) in candidates.into_iter().zip(digests) {
        match digest {
            Some(Ok(Some(digest))) => found.entry((size, digest)).or_default().push((layer, path)),
            Some(Ok(None)) => sparse += 1,
            Some(Err(_)) | None => unread += 1,
        }
    }
    let mut identical: Vec<Identical> = found
        .into_iter()
        .filter(|(_, places)| places.iter().any(|(layer, _)| *layer != places[0].0))
        .map(|((size, digest), mut places)| {
            places.sort_unstable();
            let places = places.into_iter().map(|(layer, path)| (layer, path.to_vec())).collect();
            Identical { digest, size, places }
        })
        .collect();
    identical.sort_by(|a, b| b.saved().cmp(&a.saved()).then_with(|| a.places.cmp(&b.places)));
    IdenticalFiles { identical, unread, sparse }
}

/// The driver's home, and the path in it of a file of a layer.
fn place_in_home<'v>(view: &'v View, layer: ChainId, path: &[u8]) -> Result<(BorrowedFd<'v>, Vec<u8>), Errno> {
    let record = view.catalog.layer(layer).ok_or(Errno::NOENT)?;
    let (home, layout) = view.root.home.as_ref().zip(view.root.home_layout()).ok_or(Errno::NOENT)?;
    let mut place = record.cache_id.as_str().as_bytes().to_vec();
    for part in layout.content.iter().map(|part| part.as_bytes()).chain([path]) {
        place.push(b'/');
        place.extend(part);
    }
    Ok((home.as_fd(), place))
}

/// The digest of a file's content; `None` if it has too many holes, an error if the file has changed since it was
/// found.
fn digest(home: BorrowedFd<'_>, path: &[u8], size: u64) -> Result<Option<[u8; 32]>, Errno> {
    let file = std::fs::File::from(open(home, path)?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || u64::try_from(stat.st_size) != Ok(size) {
        return Err(Errno::STALE);
    }
    let mut hasher = blake3::Hasher::new();
    let mut holes = 0;
    while hasher.count() < size {
        let at = hasher.count();
        // A file system without holes reports the whole file as data.
        let data = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno),
        };
        holes += data - at;
        if holes > MAX_HOLES {
            return Ok(None);
        }
        hash_zeros(&mut hasher, data - at);
        if data < size {
            let end = rustix::fs::seek(&file, SeekFrom::Hole(data))?.min(size);
            rustix::fs::seek(&file, SeekFrom::Start(data))?;
            // Read no further than the length found before: a log may grow meanwhile.
            let read = hasher.update_reader((&file).take(end - data));
            read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            if hasher.count() != end {
                return Err(Errno::STALE);
            }
        }
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while count > 0 {
        let part = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(&ZEROS[..part]);
        count -= part as u64;
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Holes count as the zeros that a read of them gives, and files with too many holes are left out without reading
    /// them.
    #[test]
    fn holes_are_content_and_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let home = std::fs::File::open(dir.path()).unwrap();
        let make = |name: &str, length: u64, data: &[(u64, &[u8])]| {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_len(length).unwrap();
            for (at, bytes) in data {
                file.write_all_at(bytes, *at).unwrap();
            }
            digest(home.as_fd(), name.as_bytes(), length)
        };
        let length = 1 << 20;
        let sparse = make("sparse", length, &[(300_000, b"x")]).unwrap().unwrap();
        let mut whole = vec![0; 1 << 20];
        whole[300_000] = b'x';
        assert_eq!(make("dense", length, &[(0, &whole)]).unwrap(), Some(sparse));
        assert_eq!(sparse, *blake3::hash(&whole).as_bytes());
        assert_eq!(make("hole", length, &[]).unwrap(), Some(*blake3::hash(&[0; 1 << 20]).as_bytes()));
        assert_eq!(make("huge", 1 << 42, &[(1 << 41, b"x")]), Ok(None));
        assert_eq!(digest(home.as_fd(), b"sparse", 7), Err(Errno::STALE));
    }
}
