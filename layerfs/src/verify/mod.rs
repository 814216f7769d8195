//! Whether the files of a layer are those of its tar: silent corruption, found and named.
//!
//! One pass over the layer's journal makes the tar again. Its digest says whether the layer is what it was; the checksum of each
//! file in the journal says which file is not, and the headers in it say what each file must be. Then a walk finds what
//! the journal does not know.
//!
//! What changes in normal life is no fault: times of directories, directories that no member describes, attributes
//! other than capabilities, sockets (which no tar can hold), and times by a fraction of a second where either side
//! keeps none.
//!
//! Nothing is held of a layer but a hash for each of its names and what is wrong so far. A later member may replace what an
//! earlier one made, so a fault counts if no later member explains it: the last member of a path, or of an inode, is right
//! (`apply` gives the rules).

mod fault;
mod headers;
mod node;
mod place;
mod walk;

use std::io::{BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use tarsplit::crc64::Crc64;
use tarsplit::frame::{Frame, Framer};
use tarsplit::journal::EntryReader;
use tarsplit::names::shown;
use tarsplit::{Entry, Member};

pub use fault::{FaultKind, FileFault};

use crate::digest::{DiffId, Hasher};
use headers::Headers;

/// How a layer's directory is to be compared.
#[derive(Debug)]
pub struct Comparison<'l> {
    /// The directory with the layer's own files.
    pub tree: BorrowedFd<'l>,
    /// What the directory shows besides.
    pub shows: Shows,
    /// Whether files must have the owners that the tar says. They need not where users are mapped, or where the unpacking
    /// process could not set owners.
    pub owners: bool,
    /// The number of faults to list. If there are more, they are only counted.
    pub most: usize,
}

/// What a layer's directory shows besides the layer.
#[derive(Debug)]
pub enum Shows {
    /// Nothing: a whiteout is a device 0:0, as overlayfs has it.
    LayerAlone,
    /// Everything below, from which the layer's whiteouts have deleted: the directory of the layer below, if there is one.
    Below(Option<OwnedFd>),
}

/// What a comparison found.
#[derive(Debug)]
pub struct Verified {
    /// The digest of the tar that the files make, if all could be read and are as they were.
    pub diff_id: Option<DiffId>,
    /// Bytes of that tar.
    pub bytes: u64,
    /// Files that are not as they were, in the order of their paths, up to [`Comparison::most`].
    pub faults: Vec<FileFault>,
    /// How many more faults there are.
    pub more: u64,
}

/// Why a layer could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The journal cannot be read, or does not make a tar.
    #[error("{reason}")]
    Journal {
        /// Why.
        reason: String,
    },
    /// The layer's directory cannot be read.
    #[error("{call} {}: {errno}", in_tree(.path))]
    Tree {
        /// What was being done.
        call: &'static str,
        /// The path in the layer.
        path: Vec<u8>,
        /// The system's answer.
        errno: Errno,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Whether a system call failed because this process, or the machine, has no descriptor or memory left, whatever the
/// call was about.
#[must_use]
pub fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// Turns an error of reading a file into a fault of the layer, unless descriptors or memory have run out.
fn unreadable(error: &std::io::Error, path: &[u8]) -> Result<FaultKind, VerifyError> {
    match Errno::from_io_error(error) {
        Some(errno) if is_shortage(errno) => Err(VerifyError::tree("opening", path)(errno)),
        _ => Ok(FaultKind::Unreadable { cause: error.to_string() }),
    }
}

/// A function that is told how many more bytes were read.
pub(crate) type OnProgress<'p> = &'p (dyn Fn(u64) + Sync);

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Compares a layer's directory with its journal.
///
/// # Errors
/// [`VerifyError`]. A file that is wrong is no error, but a fault.
pub fn verify(
    journal: impl BufRead,
    comparison: &Comparison<'_>,
    progress: OnProgress<'_>,
    interrupted: &AtomicBool,
) -> Result<Verified, VerifyError> {
    let mut pass = Pass {
        hasher: Some(Hasher::default()),
        framer: Framer::new(),
        headers: Headers::new(comparison)?,
        buffer: vec![0; PIECE],
        bytes: 0,
        progress,
        inline: None,
    };
    for entry in EntryReader::new(journal) {
        if interrupted.load(Ordering::Relaxed) {
            return Err(VerifyError::Interrupted);
        }
        match entry.map_err(|error| VerifyError::Journal { reason: in_words(&error) })? {
            Entry::Unknown => {}
            Entry::Segment(bytes) => pass.literal(&bytes)?,
            Entry::File { size: 0, .. } => {}
            Entry::File { name, size, crc64 } => pass.file(&name, size.unsigned_abs(), crc64)?,
        }
    }
    pass.framer.finish().map_err(|error| VerifyError::Journal { reason: error.to_string() })?;
    let Pass { hasher, headers, bytes, .. } = pass;
    let faults = walk::finish(headers, interrupted)?;
    let diff_id = hasher.map(|hasher| DiffId(hasher.finish()));
    let more = faults.len().saturating_sub(comparison.most) as u64;
    let faults = faults.into_iter().take(comparison.most).collect();
    Ok(Verified { diff_id, bytes, faults, more })
}

/// A path in a layer, for messages.
fn in_tree(path: &[u8]) -> String {
    if path.is_empty() { "the layer's directory".to_owned() } else { format!("\"{}\"", shown(path)) }
}

fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
    std::iter::once(error.to_string()).chain(causes).collect()
}

/// One pass over a journal.
struct Pass<'l, 'p> {
    /// Hashes the tar. `None` as soon as a file is not what it was, because there is no tar to hash any more.
    hasher: Option<Hasher>,
    framer: Framer,
    headers: Headers<'l>,
    buffer: Vec<u8>,
    bytes: u64,
    progress: OnProgress<'p>,
    /// The body of the current member, if it stands in the journal: bytes left, and the checksum so far.
    inline: Option<(u64, Crc64)>,
}

impl Pass<'_, '_> {
    /// Takes bytes of the tar that stand in the journal.
    fn literal(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        self.hash(bytes);
        self.frame(bytes, true)
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        (self.progress)(bytes.len() as u64);
    }

    /// Finds the headers. Bodies are passed over, except those that stand in the journal.
    fn frame(&mut self, bytes: &[u8], literal: bool) -> Result<(), VerifyError> {
        let mut at = 0;
        loop {
            let framed = self.framer.next(&bytes[at..]);
            let (taken, frame) = framed.map_err(|error| VerifyError::Journal { reason: error.to_string() })?;
            match frame {
                None => return Ok(()),
                Some(Frame::Member(member)) => {
                    let compared = is_compared_inline(&member).then(|| (member.stored, Crc64::default()));
                    self.inline = compared;
                    self.headers.member(*member)?;
                }
                Some(Frame::Body(body)) if literal => {
                    if let Some((left, crc64)) = &mut self.inline {
                        crc64.update(body);
                        *left -= body.len() as u64;
                        if *left == 0 {
                            let crc64 = crc64.finish();
                            self.inline = None;
                            self.headers.body_in_journal(crc64, &mut self.buffer)?;
                        }
                    }
                }
                Some(Frame::Body(_) | Frame::Raw(_) | Frame::End) => {}
            }
            at += taken;
        }
    }

    /// Compares a body that stands in a file with its checksum in the journal.
    fn file(&mut self, name: &[u8], size: u64, crc64: Option<[u8; 8]>) -> Result<(), VerifyError> {
        self.inline = None;
        let mut read = 0;
        let fault = match self.headers.open(name)? {
            Ok(mut file) => {
                let mut crc = Crc64::default();
                loop {
                    match file.read(&mut self.buffer) {
                        Ok(0) => break,
                        Ok(count) => {
                            let piece = &self.buffer[..count.min(usize::try_from(size - read).unwrap_or(count))];
                            read += piece.len() as u64;
                            crc.update(piece);
                            self.bytes += piece.len() as u64;
                            if let Some(hasher) = &mut self.hasher {
                                hasher.update(piece);
                            }
                            (self.progress)(piece.len() as u64);
                            if read == size {
                                break;
                            }
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => {
                            self.headers.fault_in(name, unreadable(&error, name)?);
                            break;
                        }
                    }
                }
                let length = file.metadata().map_or(read, |found| found.len());
                match () {
                    () if length != size => Some(FaultKind::Size { expected: size, found: length }),
                    () if read == size && crc64 != Some(crc.finish()) => Some(FaultKind::Content),
                    () => None,
                }
            }
            Err(fault) => Some(fault),
        };
        if read < size || fault.is_some() {
            self.hasher = None;
        }
        if let Some(fault) = fault {
            self.headers.fault_in(name, fault);
        }
        // The framer need not see the body, only count it.
        let passed = self.framer.skip_body();
        if passed == size {
            return Ok(());
        }
        let reason = format!("it has {size} bytes for \"{}\", whose header has {passed}", shown(name));
        Err(VerifyError::Journal { reason })
    }
}

/// Whether the body of a member is the content of its file.
fn is_compared_inline(member: &Member) -> bool {
    member.kind == tarsplit::MemberKind::Regular && member.sparse.is_none() && member.stored > 0
}

/// A descriptor of the layer's directory.
fn anchor(tree: impl AsFd) -> Result<OwnedFd, VerifyError> {
    crate::sys::beneath::open_dir(tree, b"").map_err(VerifyError::tree("opening", b""))
}

impl VerifyError {
    /// The system's answer, if it means that this process, or the machine, has no descriptor or memory left. Such a
    /// failure says nothing about the layer.
    #[must_use]
    pub fn shortage(&self) -> Option<Errno> {
        match self {
            Self::Tree { errno, .. } => Some(*errno).filter(|errno| is_shortage(*errno)),
            Self::Journal { .. } | Self::Interrupted => None,
        }
    }

    pub(crate) fn tree(call: &'static str, path: &[u8]) -> impl Fn(Errno) -> Self + use<> {
        let path = path.to_vec();
        move |errno| Self::Tree { call, path: path.clone(), errno }
    }
}
