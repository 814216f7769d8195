//! The outer tar of an archive: where each member's bytes are. One pass over the headers, no body is touched.
//!
//! Read by the parser that reads layers, which follows Go's `archive/tar`: what is listed here is what dockerd unpacks.

use std::ops::Range;
use std::path::Path;

use tarsplit::MemberKind;
use tarsplit::frame::{Frame, Framer};

use super::error::ArchiveError;
use super::namespace::{ArchiveEntry, NameError, Namespace};

/// The members of a mapped tar.
#[derive(Debug)]
pub(super) struct Index {
    /// Where each file's content is.
    pub(super) names: Namespace<Range<usize>>,
    /// The first member with a name that dockerd refuses; only an image archive must not have one.
    pub(super) refused: Option<NameError>,
}

/// If none of this many members at its beginning looks like part of an image archive, a tar is taken for something else and
/// is not read further.
const FOREIGN: usize = 256;

/// Whether `name` begins as the members of image archives do: what `docker save`, skopeo and OCI tools write.
pub(crate) fn is_archive_name(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let first = name.split(|&b| b == b'/').next().unwrap_or_default();
    let stem = first.strip_suffix(b".json").or(first.strip_suffix(b".tar")).unwrap_or(first);
    let id = stem.len() == 64 && stem.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    id || matches!(first, b"blobs" | b"index.json" | b"manifest.json" | b"oci-layout" | b"repositories")
}

/// Reads the headers of the tar `bytes`, which was found at `path`: all of them, if it is an image archive.
pub(super) fn index(path: &Path, bytes: &[u8]) -> Result<Index, ArchiveError> {
    let mut index = Index { names: Namespace::default(), refused: None };
    let mut framer = Framer::new();
    let mut at = 0;
    // The members of a bare layer are not indexed: there may be a hundred thousand, and they are read when it is unpacked.
    let (mut members, mut familiar) = (0, false);
    loop {
        let not_a_tar = at == 0 && !bytes.is_empty();
        let (taken, frame) = framer.next(&bytes[at..]).map_err(|source| match source {
            source if not_a_tar => ArchiveError::NotATar { path: path.into(), source },
            source => ArchiveError::Tar { path: path.into(), source },
        })?;
        at += taken;
        match frame {
            Some(Frame::Member(member)) => {
                let end = usize::try_from(member.stored).ok().and_then(|stored| at.checked_add(stored));
                let Some(end) = end.filter(|&end| end <= bytes.len()) else {
                    return Err(ArchiveError::Truncated {
                        path: path.into(),
                        entry: String::from_utf8_lossy(&member.name).into_owned(),
                        end: (at as u64).saturating_add(member.stored),
                        length: bytes.len() as u64,
                    });
                };
                let entry = match member.kind {
                    MemberKind::GlobalHeader => continue,
                    _ if member.sparse.is_some() => ArchiveEntry::Other("sparse file"),
                    MemberKind::Regular => ArchiveEntry::File(at..end),
                    MemberKind::Directory => ArchiveEntry::Directory,
                    MemberKind::Symlink => ArchiveEntry::Symlink(member.linkname),
                    MemberKind::HardLink => ArchiveEntry::HardLink(member.linkname),
                    MemberKind::CharDevice | MemberKind::BlockDevice => ArchiveEntry::Other("device"),
                    MemberKind::Fifo => ArchiveEntry::Other("named pipe"),
                    MemberKind::GnuSparse => ArchiveEntry::Other("sparse file"),
                    MemberKind::Other(_) => ArchiveEntry::Other("member of an unknown type"),
                };
                members += 1;
                familiar |= is_archive_name(&member.name);
                if members == FOREIGN && !familiar {
                    return Ok(Index { names: Namespace::default(), refused: None });
                }
                if let Err(error) = index.names.add(&member.name, entry) {
                    index.refused.get_or_insert(error);
                }
            }
            Some(Frame::End) => return Ok(index),
            Some(_) => {}
            None => break,
        }
    }
    match framer.finish() {
        Ok(_) => Ok(index),
        Err(source) if bytes.len() < tarsplit::block::BLOCK => Err(ArchiveError::NotATar { path: path.into(), source }),
        Err(source) => Err(ArchiveError::Tar { path: path.into(), source }),
    }
}
