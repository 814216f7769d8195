//! One layer in one pass: hash, frame, journal and apply, piece by piece, while other threads write the bodies.

use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::write::GzEncoder;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use tarsplit::disassemble::{Disassembler, Failure};
use tarsplit::journal::{EntryReader, gzip, inline_bodies};

use crate::apply::{Applier, Filler, Outcome, Shared, Target};
use crate::digest::{DiffId, Hasher};
use crate::error::UnpackError;
use crate::pool::{Outstanding, Pool};
use crate::source::{Pieces, Source};
use crate::warning::{Warning, Warnings};

/// What unpacking needs besides the layer.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// Becomes true when the user asks to stop.
    pub interrupted: &'c AtomicBool,
    /// Hears of each piece of the uncompressed layer that was read, in bytes.
    pub progress: &'c (dyn Fn(u64) + Sync),
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("interrupted", &self.interrupted).finish_non_exhaustive()
    }
}

/// Where the journal of a layer goes.
#[derive(Debug)]
pub struct JournalFile {
    /// The directory that holds it.
    pub dir: OwnedFd,
    /// Its name there.
    pub name: &'static str,
}

/// A layer that was unpacked.
#[derive(Debug)]
pub struct Unpacked {
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Length of the uncompressed tar in bytes.
    pub tar_bytes: u64,
    /// Members of the tar.
    pub members: u64,
    /// What `docker` calls the layer's size: the lengths of all files and symlinks, each inode once.
    pub size: u64,
    /// What was left out.
    pub warnings: Warnings,
    /// What the caller has to know about the tree.
    pub outcome: Outcome,
}

/// Unpacks `source` into `target`, and writes its journal, gzipped, if there is a place for it.
///
/// On failure the target holds part of the layer; the caller removes it.
///
/// # Errors
/// [`UnpackError`]
pub fn unpack<'a>(
    source: Source<'a>,
    target: Target,
    journal: Option<&JournalFile>,
    context: Context<'_>,
    pool: &Pool<'a>,
) -> Result<Unpacked, UnpackError> {
    let shared = Arc::new(Shared::default());
    // Two counts: a hard link waits for all bodies, and must not wait for the reader, which waits for it.
    let (bodies, reader) = (Arc::new(Outstanding::default()), Arc::new(Outstanding::default()));
    let (root, scratch) = (duplicate(&target.root)?, duplicate(&target.scratch)?);
    let passed = pass(source, target, journal, context, pool, &shared, [&bodies, &reader]);
    // Whatever happened, nobody may write to the target after this returns.
    bodies.wait(pool);
    reader.wait(pool);
    let warnings = shared.take_result().map_err(|source| UnpackError::Member { source: Box::new(source) })?;
    let (diff_id, tar_bytes, members, outcome) = passed?;
    if !outcome.stashed.is_empty() {
        if let Some(journal) = journal {
            inline_replaced(journal, &scratch, &outcome)?;
        }
        for (_, name) in &outcome.stashed {
            let unlinked = rustix::fs::unlinkat(&scratch, name, AtFlags::empty());
            unlinked.map_err(|errno| UnpackError::Target { call: "cleaning", errno })?;
        }
    }
    let walked = || crate::usage::tree_size(&root).map_err(|errno| UnpackError::Target { call: "measuring", errno });
    let size = outcome.size.map_or_else(walked, Ok)?;
    Ok(Unpacked { diff_id, tar_bytes, members, size, warnings, outcome })
}

fn pass<'a>(
    source: Source<'a>,
    target: Target,
    journal: Option<&JournalFile>,
    context: Context<'_>,
    pool: &Pool<'a>,
    shared: &Arc<Shared>,
    [bodies, reader]: [&Arc<Outstanding>; 2],
) -> Result<(DiffId, u64, u64, Outcome), UnpackError> {
    let member = |source| UnpackError::Member { source: Box::new(source) };
    let whole = |source| member(crate::MemberError { position: 0, name: Vec::new(), source });
    let filler = Filler::new(pool, Arc::clone(shared), Arc::clone(bodies));
    let mut applier = Applier::new(target, filler, Arc::clone(shared)).map_err(whole)?;
    let out = journal.map(|file| create(file).map(gzip)).transpose()?;
    let mut disassembler = Disassembler::new(JournalOut(out));
    let mut hasher = Hasher::default();
    let ignored = Arc::default();
    let mut pieces = Pieces::new(source, &ignored);
    let mut tar_bytes = 0;
    while let Some(piece) = pieces.next(pool, reader).map_err(|source| UnpackError::Read { source })? {
        if context.interrupted.load(Ordering::Relaxed) {
            return Err(UnpackError::Interrupted);
        }
        // The failure of a worker is reported when all have ended.
        if shared.has_failed() {
            break;
        }
        applier.input = piece.clone();
        let bytes = piece.as_slice();
        hasher.update(bytes);
        disassembler.push(bytes, &mut applier).map_err(failed)?;
        tar_bytes += bytes.len() as u64;
        (context.progress)(bytes.len() as u64);
    }
    let members = disassembler.members();
    if !shared.has_failed() {
        disassembler.finish().map_err(failed)?.finish()?;
    }
    drop(pieces);
    match ignored.load(Ordering::Relaxed) {
        0 => {}
        bytes => shared.warn(b"", Warning::TrailingGarbage { bytes }),
    }
    let outcome = applier.finish().map_err(whole)?;
    Ok((DiffId(hasher.finish()), tar_bytes, members, outcome))
}

/// The journal's file, or nothing.
struct JournalOut(Option<GzEncoder<std::fs::File>>);

impl JournalOut {
    /// Writes the gzip trailer: on a full disk this is where it shows.
    fn finish(self) -> Result<(), UnpackError> {
        let finished = self.0.map_or(Ok(()), |gzip| gzip.finish().map(drop));
        finished.map_err(|source| UnpackError::Journal { source: tarsplit::JournalError::Write { source } })
    }
}

impl Write for JournalOut {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.as_mut().map_or(Ok(bytes.len()), |gzip| gzip.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.as_mut().map_or(Ok(()), GzEncoder::flush)
    }
}

fn failed(failure: Failure<crate::MemberError>) -> UnpackError {
    match failure {
        Failure::Tar(source) => UnpackError::Tar { source },
        Failure::Journal(source) => UnpackError::Journal { source },
        Failure::Sink(source) => UnpackError::Member { source: Box::new(source) },
    }
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, UnpackError> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| UnpackError::Target { call: "opening", errno })
}

fn create(file: &JournalFile) -> Result<std::fs::File, UnpackError> {
    let created = open(file.dir.as_fd(), file.name, OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY)?;
    // Whatever the umask says.
    let chmod = rustix::fs::fchmod(&created, Mode::from_raw_mode(0o644));
    chmod.map_err(|errno| UnpackError::Target { call: "setting a mode in", errno })?;
    Ok(created)
}

fn open(dir: rustix::fd::BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<std::fs::File, UnpackError> {
    let opened = rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(0o644));
    opened.map(Into::into).map_err(|errno| UnpackError::Target { call: "opening a file in", errno })
}

/// Writes the journal anew with the content of files that a later member replaced.
fn inline_replaced(journal: &JournalFile, scratch: &OwnedFd, outcome: &Outcome) -> Result<(), UnpackError> {
    const OLD: &str = "replaced-journal";
    let failed = |source| UnpackError::Journal { source };
    let moved = rustix::fs::renameat(&journal.dir, journal.name, scratch, OLD);
    moved.map_err(|errno| UnpackError::Target { call: "rewriting the journal of", errno })?;
    let old = EntryReader::new(BufReader::new(open(scratch.as_fd(), OLD, OFlags::RDONLY)?));
    // One path may have been replaced several times, under several names: bodies went aside in the journal's order.
    let mut stashed: HashMap<&[u8], VecDeque<&str>> = HashMap::new();
    for (path, stash) in &outcome.stashed {
        stashed.entry(path).or_default().push_back(stash);
    }
    let written = inline_bodies(old, gzip(create(journal)?), |name| {
        let path = name.strip_prefix(b"/").unwrap_or(name);
        let Some(stash) = stashed.get_mut(path).and_then(VecDeque::pop_front) else { return Ok(None) };
        let file = open(scratch.as_fd(), stash, OFlags::RDONLY).map_err(std::io::Error::other)?;
        Ok(Some(file))
    });
    let finished = written.map_err(failed)?.finish();
    finished.map_err(|source| failed(tarsplit::JournalError::Write { source }))?;
    let unlinked = rustix::fs::unlinkat(scratch, OLD, AtFlags::empty());
    unlinked.map_err(|errno| UnpackError::Target { call: "cleaning", errno })
}
