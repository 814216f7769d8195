//! The file that keeps the digests of a context, in the volume with the key of the cache, so that whoever removes the cache removes it.
//!
//! ```text
//! MAGIC
//! (length of path u16, path, device u64, inode u64, size u64, mode u32, mtime i64 u32, ctime i64 u32, digest 32,
//!  length of capability u8, capability)*                                                          all little-endian
//! SHA-256 of everything before
//! ```
//!
//! A file that is damaged in any way counts as none.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use layerfs::Digest;

use super::{Known, Stat};
use crate::key_volume::key_dir;

const MAGIC: &[u8] = b"layerfs: digests of a context, 1\n";
/// How the names of these files begin.
const PREFIX: &str = "context-";
/// The longest file that is written and read: some 500,000 files of a context.
const LONGEST: usize = 64 << 20;
/// How many contexts are remembered.
const MOST: usize = 32;
const DIGEST: usize = 32;
/// What a file takes without its path and its capability.
const ENTRY: usize = 2 + 3 * 8 + 4 + 2 * 12 + DIGEST + 1;

/// Where a data-root keeps what is known of the context in a directory.
pub(super) fn path(root: &Path, context: &Path) -> PathBuf {
    let name = Digest::hash(context.as_os_str().as_bytes()).hex();
    key_dir(root).join(format!("{PREFIX}{}", &name[..32]))
}

/// Reads a file; nothing, if it is not there or damaged.
pub(super) fn read(file: &Path) -> HashMap<Vec<u8>, Known> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(file)?.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    read().ok().and_then(|bytes| parse(&bytes)).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Option<HashMap<Vec<u8>, Known>> {
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    let mut left = content.strip_prefix(MAGIC)?;
    if Digest::hash(content).as_bytes().as_slice() != digest {
        return None;
    }
    // Room for as many as there can be with paths of a usual length: growing takes longer than all the rest.
    let mut all = HashMap::with_capacity(left.len() / (ENTRY + 16));
    while !left.is_empty() {
        let length = u16::from_le_bytes(take(&mut left)?);
        let path = take_slice(&mut left, length.into())?.to_vec();
        let stat = Stat {
            device: u64::from_le_bytes(take(&mut left)?),
            inode: u64::from_le_bytes(take(&mut left)?),
            size: u64::from_le_bytes(take(&mut left)?),
            mode: u32::from_le_bytes(take(&mut left)?),
            mtime: (i64::from_le_bytes(take(&mut left)?), u32::from_le_bytes(take(&mut left)?)),
            ctime: (i64::from_le_bytes(take(&mut left)?), u32::from_le_bytes(take(&mut left)?)),
        };
        let digest = Digest::from_bytes(take(&mut left)?);
        let [length] = take(&mut left)?;
        let capability = take_slice(&mut left, length.into())?.to_vec();
        all.insert(path, Known { stat, digest, capability });
    }
    Some(all)
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(*first)
}

fn take_slice<'b>(left: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (first, rest) = left.split_at_checked(length)?;
    *left = rest;
    Some(first)
}

fn bytes_of(all: &[(Vec<u8>, Known)]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (path, Known { stat, digest, capability }) in all {
        let (Ok(length), Ok(capability_length)) = (u16::try_from(path.len()), u8::try_from(capability.len())) else {
            continue;
        };
        if bytes.len() + path.len() + capability.len() > LONGEST - 256 {
            break;
        }
        bytes.extend(length.to_le_bytes());
        bytes.extend_from_slice(path);
        for number in [stat.device, stat.inode, stat.size] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(stat.mode.to_le_bytes());
        for (seconds, nanoseconds) in [stat.mtime, stat.ctime] {
            bytes.extend(seconds.to_le_bytes());
            bytes.extend(nanoseconds.to_le_bytes());
        }
        bytes.extend(digest.as_bytes());
        bytes.push(capability_length);
        bytes.extend_from_slice(capability);
    }
    let digest = Digest::hash(&bytes);
    bytes.extend(digest.as_bytes());
    bytes
}

/// Replaces a file. Of more than [`MOST`], those that were used last stay.
///
/// # Errors
/// Those of the system, also where there is no directory for it.
pub(super) fn write(file: &Path, all: &[(Vec<u8>, Known)]) -> io::Result<()> {
    let new = file.with_extension(format!("{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = out.write_all(&bytes_of(all)).and_then(|()| std::fs::rename(&new, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    let dir = file.parent().unwrap_or(Path::new("/"));
    let mut there = list(dir);
    there.sort_by_key(|(_, used, _)| std::cmp::Reverse(*used));
    for (old, ..) in there.into_iter().skip(MOST) {
        let _ = std::fs::remove_file(old);
    }
    written
}

/// Notes that a file was used.
pub(super) fn touch(file: &Path) {
    if let Ok(file) = std::fs::OpenOptions::new().append(true).open(file) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// All such files of a directory, with the time of their last use, and their lengths.
fn list(dir: &Path) -> Vec<(PathBuf, SystemTime, u64)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()));
    let described = ours.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some((entry.path(), metadata.modified().ok()?, metadata.len()))
    });
    described.collect()
}

/// Removes what a data-root knows of the files of contexts, so that they are all read again; with `until` only what was used at that
/// time or earlier. Returns how many bytes that were.
///
/// # Errors
/// [`io::Error`] of the first file that cannot be removed.
pub fn forget(root: &Path, until: Option<SystemTime>) -> io::Result<u64> {
    let mut bytes = 0;
    for (file, used, length) in list(&key_dir(root)) {
        if until.is_none_or(|until| used <= until) {
            std::fs::remove_file(file)?;
            bytes += length;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<(Vec<u8>, Known)> {
        let stat = |number: u32| Stat {
            device: 1 << 40,
            inode: number.into(),
            size: 7,
            mode: 0o100_644,
            mtime: (-1, number),
            ctime: (i64::MAX, 999_999_999),
        };
        let known = |number: u32| Known {
            stat: stat(number),
            digest: Digest::hash(&number.to_le_bytes()),
            capability: vec![1; number as usize],
        };
        (0..20).map(|number| (format!("d/{number}\n\u{ff}").into_bytes(), known(number))).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let all = some();
        assert_eq!(parse(&bytes_of(&all)).unwrap(), all.into_iter().collect());
        assert_eq!(parse(&bytes_of(&[])).unwrap(), HashMap::new());
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let bytes = bytes_of(&some());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&bytes[..at]), None, "the first {at} bytes");
        }
        // A text that ends in the middle of an entry, with the right digest.
        let mut cut = bytes[..bytes.len() - DIGEST - 1].to_vec();
        cut.extend(Digest::hash(&cut).as_bytes());
        assert_eq!(parse(&cut), None);
    }

    #[test]
    fn few_contexts_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MOST as u64 + 3 {
            let file = dir.path().join(format!("{PREFIX}{number}"));
            write(&file, &some()).unwrap();
            let file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number)).unwrap();
        }
        // The newest has the time of now while it is written, and so is never the one that goes.
        let left = list(dir.path());
        assert_eq!(left.len(), MOST);
        assert!(!dir.path().join(format!("{PREFIX}0")).exists());
        assert!(dir.path().join(format!("{PREFIX}{}", MOST + 2)).exists());
    }
}
