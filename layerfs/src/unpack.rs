//! One layer in one pass, piece by piece: frame, journal and apply, while other threads write bodies and make the
//! digest.

use std::collections::{HashMap, VecDeque};
use std::io::BufReader;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::write::GzEncoder;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use tarsplit::disassemble::{Disassembler, Failure};
use tarsplit::journal::{EntryReader, gzip, inline_bodies};

use crate::apply::{Applier, Applying, Filler, Outcome, Shared, Target};
use crate::chain::Chain;
use crate::digest::{DiffId, Digest};
use crate::error::UnpackError;
use crate::meter::{self, UnpackStage};
use crate::pool::{Outstanding, Pool, Task};
use crate::source::{Next, Pieces, Source};
use crate::warning::{Warning, Warnings};

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
    /// The digest of a [`Source::Blob`].
    pub blob_digest: Option<Digest>,
    /// Length of the uncompressed tar in bytes.
    pub tar_bytes: u64,
    /// Members of the tar.
    pub members: u64,
    /// What `docker` calls the layer's size: the lengths of all files and symlinks, each inode once; where whiteouts delete,
    /// the sizes of all headers.
    pub size: u64,
    /// What was left out.
    pub warnings: Warnings,
    /// What the caller has to know about the tree.
    pub outcome: Outcome,
}

/// What a step did.
#[derive(Debug)]
pub enum Step {
    /// This many more bytes of the tar are unpacked; zero if the thread did something else for the layer.
    More(u64),
    /// The layer is unpacked.
    Done(Box<Unpacked>),
}

/// A layer being unpacked, a piece at a time.
///
/// One [task](crate::pool::Task) must drive it to its end, to its first error, or to [`Unpacking::abandon`]: only then
/// has every thread stopped writing to the target.
pub struct Unpacking<'a> {
    /// `None` after the end.
    pass: Option<Pass<'a>>,
    shared: Arc<Shared>,
    /// Jobs not yet done.
    bodies: Arc<Outstanding>,
    root: OwnedFd,
    scratch: OwnedFd,
    journal: Option<JournalFile>,
}

/// The pass over the tar.
struct Pass<'a> {
    pieces: Pieces<'a>,
    chain: Arc<Chain<'a>>,
    disassembler: Disassembler<GzEncoder<std::fs::File>>,
    applier: Applier<'a>,
    tar_bytes: u64,
}

impl std::fmt::Debug for Unpacking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacking").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl<'a> Unpacking<'a> {
    /// Unpacks `source` into `target`, and writes its journal, gzipped, if there is a place for it.
    ///
    /// On failure the target holds part of the layer; the caller removes it.
    ///
    /// # Errors
    /// [`UnpackError::Target`], [`UnpackError::Member`], [`UnpackError::Read`]
    pub fn begin(source: Source<'a>, target: Target, journal: Option<JournalFile>) -> Result<Self, UnpackError> {
        let shared = Arc::new(Shared::default());
        let bodies = Arc::new(Outstanding::default());
        let (root, scratch) = (duplicate(&target.root)?, duplicate(&target.scratch)?);
        let filler = Filler::new(Arc::clone(&shared), Arc::clone(&bodies));
        let applier = Applier::new(target, journal.is_some(), filler, Arc::clone(&shared)).map_err(whole)?;
        let out = journal.as_ref().map(|file| create(file).map(gzip)).transpose()?;
        let pass = Pass {
            pieces: Pieces::new(source).map_err(|source| UnpackError::Read { source })?,
            chain: Arc::default(),
            disassembler: Disassembler::new(out),
            applier,
            tar_bytes: 0,
        };
        Ok(Self { pass: Some(pass), shared, bodies, root, scratch, journal })
    }

    /// Unpacks the next piece.
    ///
    /// # Errors
    /// [`UnpackError`]
    ///
    /// # Panics
    /// After the end or an error.
    pub fn step(&mut self, pool: &Pool<'a>) -> Result<Step, UnpackError> {
        let pass = self.pass.as_mut().expect("a layer that ended is not unpacked further");
        // The failure of a worker is reported when all workers have ended.
        let stepped = if self.shared.has_failed() { Ok(None) } else { pass.step(pool) };
        match stepped {
            Ok(Some(bytes)) => Ok(Step::More(bytes)),
            Ok(None) => self.finish(pool).map(|unpacked| Step::Done(Box::new(unpacked))),
            Err(error) => {
                self.abandon(pool);
                self.result()?;
                Err(error)
            }
        }
    }

    /// Unpacks all of it, on `threads` threads of its own.
    ///
    /// # Errors
    /// [`UnpackError`]
    pub fn run(self, threads: usize) -> Result<Unpacked, UnpackError> {
        let result = Arc::new(Mutex::new(None));
        Pool::run(threads, vec![Box::new(Alone { unpacking: self, result: Arc::clone(&result) })], None);
        let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
        result.take().expect("a task breaks with a result")
    }

    /// Waits until no thread writes to the target any more. What is there stays.
    pub fn abandon(&mut self, pool: &Pool<'a>) {
        if let Some(mut pass) = self.pass.take() {
            pass.pieces.close(pool);
        }
        self.bodies.wait(pool);
    }

    /// What the threads that wrote bodies left: their warnings, or the first failure.
    fn result(&self) -> Result<Warnings, UnpackError> {
        self.shared.take_result().map_err(|source| UnpackError::Member { source: Box::new(source) })
    }

    fn finish(&mut self, pool: &Pool<'a>) -> Result<Unpacked, UnpackError> {
        let pass = self.pass.take().expect("a layer ends once");
        let ended = pass.finish(&self.shared, pool);
        // Whatever happened, no thread may write to the target after this returns.
        self.bodies.wait(pool);
        let warnings = self.result()?;
        let Ended { diff_id, blob_digest, tar_bytes, members, outcome } = ended?;
        if !outcome.stashed.is_empty() {
            if let Some(journal) = &self.journal {
                inline_replaced(journal, &self.scratch, &outcome)?;
            }
            for (_, name) in &outcome.stashed {
                let unlinked = rustix::fs::unlinkat(&self.scratch, name, AtFlags::empty());
                unlinked.map_err(|errno| UnpackError::Target { call: "cleaning", errno })?;
            }
        }
        let measured = |errno| UnpackError::Target { call: "measuring", errno };
        let size = outcome.size.map_or_else(|| crate::usage::tree_size(&self.root).map_err(measured), Ok)?;
        Ok(Unpacked { diff_id, blob_digest, tar_bytes, members, size, warnings, outcome })
    }
}

/// The only layer of a pool.
struct Alone<'a> {
    unpacking: Unpacking<'a>,
    result: Arc<Mutex<Option<Result<Unpacked, UnpackError>>>>,
}

impl<'a> Task<'a> for Alone<'a> {
    fn step(&mut self, pool: &Pool<'a>) -> ControlFlow<()> {
        let result = match self.unpacking.step(pool) {
            Ok(Step::More(_)) => return ControlFlow::Continue(()),
            Ok(Step::Done(unpacked)) => Ok(*unpacked),
            Err(error) => Err(error),
        };
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        ControlFlow::Break(())
    }
}

/// A pass that came to its end.
struct Ended {
    diff_id: DiffId,
    blob_digest: Option<Digest>,
    tar_bytes: u64,
    members: u64,
    outcome: Outcome,
}

impl<'a> Pass<'a> {
    /// Takes a piece, if there is one; returns its length, or nothing at the end.
    fn step(&mut self, pool: &Pool<'a>) -> Result<Option<u64>, UnpackError> {
        let next = self.pieces.next(pool).map_err(|source| UnpackError::Read { source })?;
        let piece = match next {
            Next::Piece(piece) => piece,
            Next::Later => return Ok(Some(0)),
            Next::End => return Ok(None),
        };
        let bytes = piece.as_slice();
        let mut applying = Applying { applier: &mut self.applier, piece: &piece, pool };
        {
            let _framing = meter::enter(UnpackStage::Journal);
            meter::count(UnpackStage::Journal, bytes.len());
            self.disassembler.push(bytes, &mut applying).map_err(failed)?;
        }
        applying.end();
        let length = bytes.len() as u64;
        self.tar_bytes += length;
        self.chain.add(piece, pool);
        Ok(Some(length))
    }

    fn finish(mut self, shared: &Shared, pool: &Pool<'a>) -> Result<Ended, UnpackError> {
        let ignored = self.pieces.close(pool);
        if ignored > 0 {
            shared.warn(b"", Warning::TrailingGarbage { bytes: ignored });
        }
        let members = self.disassembler.members();
        if !shared.has_failed() {
            let _journal = meter::enter(UnpackStage::Journal);
            if let Some(gzip) = self.disassembler.finish().map_err(failed)? {
                // This writes the end of the gzip file. On a full disk, the write may fail only here.
                let finished = gzip.finish();
                finished.map_err(|source| UnpackError::Journal { source: tarsplit::JournalError::Write { source } })?;
            }
        }
        let outcome = self.applier.finish(pool).map_err(whole)?;
        // Nobody asks for the digest of a blob whose layer has failed, and the rest of the blob may be long.
        let blob_digest = if shared.has_failed() { Ok(None) } else { self.pieces.blob_digest() };
        let blob_digest = blob_digest.map_err(|source| UnpackError::Read { source })?;
        let diff_id = DiffId(self.chain.finish());
        Ok(Ended { diff_id, blob_digest, tar_bytes: self.tar_bytes, members, outcome })
    }
}

/// Wraps an error that is about no single member.
fn whole(source: crate::apply::ApplyError) -> UnpackError {
    UnpackError::Member { source: Box::new(crate::MemberError { position: 0, name: Vec::new(), source }) }
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
    // The umask has taken bits from the mode that the file was created with.
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
