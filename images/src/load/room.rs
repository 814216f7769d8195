//! Whether a file system has room, before the first byte is written.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::Path;

use layerfs::compress::Compression;
use layerfs::path::LayerPath;
use tarsplit::frame::{Frame, Framer};
use tarsplit::{Member, MemberKind};

use super::error::ImportError;
use crate::source::{Blob, BlobReader};
use snapshot::driver::Room;

/// What layers will take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Need {
    /// Bytes, in whole blocks of the file system.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Some layer is compressed and counts with its compressed length: the need may be greater.
    pub lower_bound: bool,
}

impl Need {
    /// Adds a layer to be unpacked on a file system with blocks of `block` bytes.
    ///
    /// Of an uncompressed layer, the headers are read and nothing else. If one cannot be read, the layer counts as far as it
    /// was read: unpacking will report the error.
    pub(crate) fn add(&mut self, layer: &Blob, block: u64) {
        self.add_until(layer, block, |_, _| false);
    }

    /// Adds a file of this length.
    pub(crate) fn add_file(&mut self, length: u64, block: u64) {
        self.bytes = self.bytes.saturating_add(length.div_ceil(block).saturating_mul(block));
        self.inodes = self.inodes.saturating_add(1);
    }

    /// Like [`Need::add`], but stops when `enough` returns true. `enough` is given the need so far and the number of bytes of
    /// the layer that this need covers. Returns whether it stopped.
    fn add_until(&mut self, layer: &Blob, block: u64, enough: impl Fn(&Self, u64) -> bool) -> bool {
        if layer.compression() != Compression::None {
            self.bytes = self.bytes.saturating_add(layer.len() as u64);
            self.lower_bound = true;
            return false;
        }
        let mut headers = Headers::new(layer);
        let mut directories = Directories::default();
        while let Some(member) = headers.next() {
            let new = directories.add(&member);
            self.bytes = self.bytes.saturating_add(new.saturating_mul(block));
            self.inodes = self.inodes.saturating_add(new);
            if member.kind != MemberKind::Directory {
                self.bytes = self.bytes.saturating_add(member.stored.div_ceil(block).saturating_mul(block));
                self.inodes += u64::from(!matches!(member.kind, MemberKind::HardLink | MemberKind::GlobalHeader));
            }
            if enough(self, headers.framer.position()) {
                return true;
            }
        }
        false
    }

    /// The most that the rest of a layer, `left` bytes that are not read yet, may need.
    ///
    /// A member may need many directories that have no member of their own. The rest of a long layer is assumed to have one
    /// such directory at most for each file with content: a header and a block of content for a file and a directory, so that
    /// each block of 512 bytes still stands for one node and wastes less than one block. The assumption holds for every
    /// layer that a usual program wrote. Without it, all headers of every layer would have to be read.
    fn most(left: u64, block: u64) -> Self {
        let blocks = left / 512;
        let nodes = if left <= SHORT { blocks.saturating_mul(1 + MOST_IMPLIED) } else { blocks };
        Self { bytes: left.saturating_add(nodes.saturating_mul(block)), inodes: nodes, lower_bound: false }
    }

    fn and(&self, other: &Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
            lower_bound: self.lower_bound || other.lower_bound,
        }
    }
}

/// A layer of at most this many bytes is short: all of its headers can be read quickly.
const SHORT: u64 = 16 << 20;

/// The most directories that 512 bytes of a layer can imply without a member for each. A path of [`layerfs::path::MAX_PATH`]
/// bytes names half as many directories as it has bytes, and takes up ten blocks with its headers.
const MOST_IMPLIED: u64 = (layerfs::path::MAX_PATH as u64 / 2).div_ceil(10);

/// The directories of a layer, each known by a keyed hash of its path, so that a path costs time in proportion to its
/// length.
#[derive(Default)]
struct Directories {
    seen: HashSet<u64>,
    key: RandomState,
    /// The parent of the last member that was no directory: the next one mostly has the same.
    parent: Vec<u8>,
}

impl Directories {
    /// How many directories a member adds: those parents that are not there yet, and itself if it is a directory.
    fn add(&mut self, member: &Member) -> u64 {
        let Ok(Some(path)) = LayerPath::parse(&member.name) else { return 0 };
        let path = path.as_bytes();
        if path.len() > layerfs::path::MAX_PATH || member.kind == MemberKind::GlobalHeader {
            return 0;
        }
        let directory = member.kind == MemberKind::Directory;
        if !directory {
            let parent = path.iter().rposition(|&byte| byte == b'/').map_or(&path[..0], |slash| &path[..slash]);
            if parent == self.parent {
                return 0;
            }
            self.parent.clear();
            self.parent.extend_from_slice(parent);
        }
        let (mut hasher, mut new) = (self.key.build_hasher(), 0);
        let mut parts = path.split(|&byte| byte == b'/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() && !directory {
                break;
            }
            hasher.write(part);
            hasher.write_u8(b'/');
            new += u64::from(self.seen.insert(hasher.finish()));
        }
        new
    }
}

/// How many bytes are read at once: a header with its extensions, and the headers of the next members where files are small.
const WINDOW: usize = 4096;

/// Reads the headers of a tar, and passes over the bodies.
struct Headers<'a> {
    layer: BufReader<BlobReader<'a>>,
    framer: Framer,
}

impl<'a> Headers<'a> {
    fn new(layer: &'a Blob) -> Self {
        Self { layer: BufReader::with_capacity(WINDOW, layer.reader()), framer: Framer::new() }
    }

    /// The next member; the body of the last one is passed over. `None` at the end, and where the tar cannot be read any
    /// further.
    fn next(&mut self) -> Option<Box<Member>> {
        loop {
            let buffer = self.layer.fill_buf().ok()?;
            let at_end = buffer.is_empty();
            let (taken, frame) = self.framer.next(buffer).ok()?;
            let member = match frame {
                Some(Frame::Member(member)) => Some(member),
                Some(Frame::End) => return None,
                None if at_end => return None,
                _ => None,
            };
            self.layer.consume(taken);
            if member.is_some() {
                // Bytes that the buffer holds already are skipped there, and the rest by a seek.
                let body = i64::try_from(self.framer.skip_body()).unwrap_or(i64::MAX);
                self.layer.seek_relative(body).ok()?;
                return member;
            }
        }
    }
}

/// Whether `room` is enough for `need`.
fn holds(room: &Room, need: &Need) -> bool {
    lacks(room, need).is_none()
}

/// What there is too little of, bytes or inodes: its name, how much is needed, how much is free.
fn lacks(room: &Room, need: &Need) -> Option<(&'static str, u64, u64)> {
    [("bytes", need.bytes, room.bytes), ("inodes", need.inodes, room.inodes)]
        .into_iter()
        .find(|(_, need, free)| need > free)
}

/// Checks that `layers` fit into the room at `path`. Headers are read only until it is certain that the unread rest fits as
/// well.
///
/// # Errors
/// [`ImportError::Space`]
pub(crate) fn check(layers: &[&Blob], path: &Path, room: Room) -> Result<(), ImportError> {
    match unless_sure(layers, &room).and_then(|need| lacks(&room, &need)) {
        None => Ok(()),
        Some((what, need, free)) => Err(ImportError::Space { path: path.to_path_buf(), what, need, free }),
    }
}

/// Checks that files of these lengths fit into the room at `path`: layers of which nothing else is known need at least that.
///
/// # Errors
/// [`ImportError::Space`]
pub(crate) fn check_lengths(lengths: impl Iterator<Item = u64>, path: &Path, room: Room) -> Result<(), ImportError> {
    let need = Need { bytes: lengths.fold(0, u64::saturating_add), ..Need::default() };
    match lacks(&room, &need) {
        None => Ok(()),
        Some((what, need, free)) => Err(ImportError::Space { path: path.to_path_buf(), what, need, free }),
    }
}

/// What `layers` need, or `None` as soon as it is certain that there is room for all of them.
fn unless_sure(layers: &[&Blob], room: &Room) -> Option<Need> {
    let most = |layer: &Blob| match layer.compression() {
        Compression::None => Need::most(layer.len() as u64, room.block),
        // A compressed layer may unpack to any size. Ask for its compressed length, the only known figure.
        _ => Need { bytes: layer.len() as u64, ..Need::default() },
    };
    // Short layers first: until their headers are read, each may need very many directories.
    let (short, long): (Vec<&Blob>, Vec<&Blob>) = layers.iter().partition(|layer| layer.len() as u64 <= SHORT);
    let layers = [short, long].concat();
    // For each layer, the most that all layers after it may need.
    let mut later: Vec<Need> = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        let behind = later.last().copied().unwrap_or_default();
        later.push(behind.and(&most(layer)));
    }
    let mut need = Need::default();
    for layer in layers {
        later.pop();
        let later = later.last().copied().unwrap_or_default();
        let enough = |need: &Need, counted: u64| {
            let left = Need::most((layer.len() as u64).saturating_sub(counted), room.block);
            holds(room, &need.and(&left).and(&later))
        };
        if need.add_until(layer, room.block, enough) {
            return None;
        }
    }
    Some(need)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn blob(bytes: &[u8]) -> Blob {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Blob::map(file).unwrap()
    }

    /// A layer of a directory, a link and files of these lengths.
    fn layer(lengths: &[usize]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind, data: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.set_entry_type(kind);
            tar.append_data(&mut header, name, data).unwrap();
        };
        add("d/", tar::EntryType::Directory, b"");
        for (at, &length) in lengths.iter().enumerate() {
            add(&format!("d/{at}"), tar::EntryType::Regular, &vec![1; length]);
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn stopping_early_changes_no_answer() {
        let long: Vec<usize> = (0..40).map(|at| at * 997).collect();
        let layers = [layer(&long), layer(&[]), layer(&[5_000_000]), layer(&[1; 300])].map(|layer| blob(&layer));
        let layers: Vec<&Blob> = layers.iter().collect();
        let mut sure = 0;
        // All of them, and the one whose members take up the most for their length in the archive.
        for layers in [&layers[..], &layers[3..]] {
            let mut all = Need::default();
            layers.iter().for_each(|layer| all.add(layer, 4096));
            for bytes in (0..3 * all.bytes).step_by(40_961).chain([all.bytes - 1, all.bytes, u64::MAX]) {
                for inodes in [0, all.inodes - 1, all.inodes, 2 * all.inodes, 20_000, u64::MAX] {
                    let room = Room { block: 4096, bytes, inodes };
                    match unless_sure(layers, &room) {
                        None => {
                            sure += 1;
                            assert!(holds(&room, &all), "{bytes} bytes, {inodes} inodes");
                        }
                        Some(need) => assert_eq!(need, all),
                    }
                }
            }
        }
        assert!(sure > 100, "{sure}");
    }

    /// Bodies of all lengths, so that headers are anywhere in a window, and across two of them.
    #[test]
    fn no_member_is_passed_over() {
        let lengths: Vec<usize> = (0..60).map(|at| at * 173).chain([0, 512, 0, 1536, 2048, 4096, 1 << 20, 0]).collect();
        let whole = layer(&lengths);
        // As it is, and ending with the header of an empty file.
        for tar in [&whole[..], &whole[..whole.len() - 1024]] {
            let (mut bytes, mut inodes) = (0, 0);
            for entry in tar::Archive::new(tar).entries().unwrap() {
                let entry = entry.unwrap();
                let data = if entry.header().entry_type().is_dir() { 1 } else { entry.size() };
                bytes += data.div_ceil(4096) * 4096;
                inodes += 1;
            }
            assert_eq!(inodes, lengths.len() as u64 + 1);
            let mut need = Need::default();
            need.add(&blob(tar), 4096);
            assert_eq!(need, Need { bytes, inodes, lower_bound: false });
        }
    }

    /// Each path of the archive, and how many directories and other nodes it adds to those before.
    #[test]
    fn directories_without_a_member_count() {
        let deep = format!("{}f", "a/".repeat(2000));
        let too_deep = format!("{}f", "b/".repeat(10_000));
        let cases = [
            ("x/y/f", 3),
            ("x/y/g", 1),
            ("x/y/", 0),
            ("./x//y/../z/", 1),
            ("/x/z/w/f", 2),
            (&deep, 2001),
            (&too_deep, 1),
        ];
        let mut tar = tar::Builder::new(Vec::new());
        for (name, inodes) in cases {
            let before = count(&tar);
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            let kind = if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular };
            header.set_entry_type(kind);
            let mut records = vec![("path", name.as_bytes())];
            tar.append_pax_extensions(records.drain(..)).unwrap();
            header.set_cksum();
            tar.append(&header, &b""[..]).unwrap();
            assert_eq!(count(&tar) - before, inodes, "{name:.20}");
        }
        let layer = blob(tar.get_ref());
        let (needed, room) = (2000 * 4096, Room { block: 4096, bytes: 1 << 20, inodes: u64::MAX });
        assert!(unless_sure(&[&layer], &room).is_some_and(|need| need.bytes > needed), "a megabyte does not do");
    }

    fn count(tar: &tar::Builder<Vec<u8>>) -> u64 {
        let mut need = Need::default();
        need.add(&blob(tar.get_ref()), 4096);
        need.inodes
    }

    #[test]
    fn a_file_that_has_become_shorter_counts_up_to_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&layer(&[100_000, 100_000, 100_000])).unwrap();
        let same = file.try_clone().unwrap();
        let layer = Blob::map(file).unwrap();
        // Within the second file's content, and before anything.
        for (length, bytes, inodes) in [(150_000, 4096 + 2 * 102_400, 3), (0, 0, 0)] {
            same.set_len(length).unwrap();
            let mut need = Need::default();
            need.add(&layer, 4096);
            assert_eq!(need, Need { bytes, inodes, lower_bound: false });
        }
    }

    #[test]
    fn claims_beyond_all_numbers_need_all_room() {
        let mut huge = layer(&[]);
        let mut header = tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_size((1 << 63) - 1);
        header.set_cksum();
        huge.truncate(512);
        huge.extend_from_slice(header.as_bytes());
        let huge = blob(&huge);
        let need = unless_sure(&[&huge, &huge], &Room { block: 4096, bytes: 6000, inodes: 100 });
        assert_eq!(need.map(|need| need.bytes), Some(u64::MAX));
    }
}
