//! File bodies, written by any thread: into files that are already open, or into new ones of which nobody else knows yet.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::error::ApplyError;
use super::metadata::Metadata;
use super::regular::Planned;
use crate::bytes::Bytes;
use crate::error::MemberError;
use crate::meter::{self, UnpackStage};
use crate::pool::{Outstanding, Pool};
use crate::warning::{Warning, Warnings};
use crate::xattr::{self, Skipped};

/// A batch is handed out when it holds this many bytes, or as many parts as [`BATCH_PARTS`].
const BATCH_BYTES: usize = 1 << 20;
const BATCH_PARTS: usize = 32;

/// What a file is to become besides its content.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) metadata: Metadata,
    pub(crate) set_owner: bool,
    pub(crate) set_mode: bool,
    /// Final length, where writing the parts does not reach it: a file that ends in a hole.
    pub(crate) set_len: Option<u64>,
    /// The member's name and its position in the tar, for messages.
    pub(crate) name: Vec<u8>,
    pub(crate) position: u64,
}

impl Wanted {
    /// An error about this file.
    pub(crate) fn failed(&self, source: ApplyError) -> MemberError {
        MemberError { position: self.position, name: self.name.clone(), source }
    }
}

/// A created file whose content or metadata is still to be set.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    wanted: Wanted,
    /// Parts not yet written. The pass over the tar counts as one until it has added the last.
    parts: AtomicUsize,
}

impl OpenFile {
    pub(crate) fn new(file: File, wanted: Wanted) -> Self {
        Self { file, wanted, parts: AtomicUsize::new(1) }
    }
}

/// Something to write.
#[derive(Debug)]
enum Part<'a> {
    /// One contiguous piece of a file.
    Piece { file: Arc<OpenFile>, offset: u64, data: Bytes<'a> },
    /// All of a file that is not created yet.
    Whole { file: Planned, data: Bytes<'a> },
}

/// What the threads that fill one layer's files share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    failed: AtomicBool,
    /// The failure that comes first in the archive, of those that happened.
    failure: Mutex<Option<MemberError>>,
    warnings: Mutex<Warnings>,
}

impl Shared {
    pub(crate) fn warn(&self, name: &[u8], warning: Warning) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(name, warning);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn fail(&self, error: MemberError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.as_ref().is_none_or(|first| error.position < first.position) {
            *failure = Some(error);
        }
        self.failed.store(true, Ordering::Release);
    }

    /// Takes what the threads left. Call once all are done; they may still hold their handles.
    pub(crate) fn take_result(&self) -> Result<Warnings, MemberError> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failure),
            None => Ok(std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }
}

/// Gathers parts and hands them out in batches.
pub(crate) struct Filler<'a> {
    shared: Arc<Shared>,
    jobs: Arc<Outstanding>,
    batch: Vec<Part<'a>>,
    batch_bytes: usize,
    /// Files were handed out that may not be created yet.
    creating: bool,
}

impl<'a> Filler<'a> {
    pub(crate) fn new(shared: Arc<Shared>, jobs: Arc<Outstanding>) -> Self {
        Self { shared, jobs, batch: Vec::new(), batch_bytes: 0, creating: false }
    }

    /// Adds a piece of `file`.
    pub(crate) fn add(&mut self, file: &Arc<OpenFile>, offset: u64, data: Bytes<'a>, pool: &Pool<'a>) {
        file.parts.fetch_add(1, Ordering::Relaxed);
        let bytes = data.as_slice().len();
        self.push(Part::Piece { file: Arc::clone(file), offset, data }, bytes, pool);
    }

    /// Adds a file with all its content.
    pub(crate) fn add_whole(&mut self, file: Planned, data: Bytes<'a>, pool: &Pool<'a>) {
        self.creating = true;
        let bytes = data.as_slice().len();
        self.push(Part::Whole { file, data }, bytes, pool);
    }

    fn push(&mut self, part: Part<'a>, bytes: usize, pool: &Pool<'a>) {
        self.batch_bytes += bytes;
        self.batch.push(part);
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_PARTS {
            self.flush(pool);
        }
    }

    /// Ends `file`: no piece follows. The thread that writes its last piece sets the metadata.
    pub(crate) fn end(&mut self, file: Arc<OpenFile>) {
        end_part(file, &self.shared);
    }

    /// Waits until every file handed in is filled.
    pub(crate) fn barrier(&mut self, pool: &Pool<'a>) {
        self.flush(pool);
        self.jobs.wait(pool);
        self.creating = false;
    }

    /// Waits until every file handed in is created.
    pub(crate) fn settle(&mut self, pool: &Pool<'a>) {
        if self.creating {
            self.barrier(pool);
        }
    }

    /// Hands out what was gathered.
    pub(crate) fn flush(&mut self, pool: &Pool<'a>) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let counted = self.jobs.add();
        pool.submit(Box::new(move |_| {
            let _counted = counted;
            batch.into_iter().for_each(|part| part.write(&shared));
        }));
    }
}

impl Part<'_> {
    fn write(self, shared: &Shared) {
        match self {
            Self::Piece { file, offset, data } => {
                if !shared.has_failed()
                    && let Err(source) = write(&file.file, offset, data.as_slice())
                {
                    shared.fail(file.wanted.failed(source));
                }
                end_part(file, shared);
            }
            Self::Whole { file, data } => {
                if !shared.has_failed()
                    && let Err(source) = write_whole(&file, data.as_slice(), shared)
                {
                    shared.fail(file.wanted.failed(source));
                }
            }
        }
    }
}

fn write_whole(planned: &Planned, data: &[u8], shared: &Shared) -> Result<(), ApplyError> {
    let creating = meter::enter(UnpackStage::Create);
    let file = planned.create().map_err(ApplyError::system("creating the file"))?;
    drop(creating);
    if !data.is_empty() {
        write(&file, 0, data)?;
    }
    let _setting = meter::enter(UnpackStage::Metadata);
    finish(&file, &planned.wanted, shared)?;
    drop(file);
    Ok(())
}

fn write(file: &File, offset: u64, data: &[u8]) -> Result<(), ApplyError> {
    let _writing = meter::enter(UnpackStage::Write);
    meter::count(UnpackStage::Write, data.len());
    meter::copied(data.len());
    let written = file.write_all_at(data, offset);
    written.map_err(|source| ApplyError::System { call: "writing", errno: errno_of(&source) })
}

/// Ends one part of `file`. The thread that ends the last one sets the file's metadata.
fn end_part(file: Arc<OpenFile>, shared: &Shared) {
    if file.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
        let _setting = meter::enter(UnpackStage::Metadata);
        if !shared.has_failed()
            && let Err(source) = finish(&file.file, &file.wanted, shared)
        {
            shared.fail(file.wanted.failed(source));
        }
        drop(file);
    }
}

/// Sets what a file is to have besides its content: owner before attributes, because `chown` drops capabilities;
/// attributes before mode, because the mode rewrites an ACL's mask; times last.
fn finish(file: &File, wanted: &Wanted, shared: &Shared) -> Result<(), ApplyError> {
    let fd = file.as_fd();
    let metadata = &wanted.metadata;
    let Metadata { uid, gid, xattrs, mode, times } = metadata;
    if let Some(length) = wanted.set_len {
        rustix::fs::ftruncate(fd, length).map_err(ApplyError::system("setting the size"))?;
    }
    if wanted.set_owner {
        rustix::fs::fchown(fd, *uid, *gid).map_err(metadata.chown_failed())?;
    }
    set_xattrs(xattrs, &wanted.name, shared, |name, value| xattr::set_on_fd(fd, name, value))?;
    if wanted.set_mode {
        rustix::fs::fchmod(fd, *mode).map_err(ApplyError::system("chmod"))?;
    }
    rustix::fs::futimens(fd, times).map_err(ApplyError::system("setting times"))
}

/// Sets the attributes of `member` with `set`; those that may be left out become warnings.
pub(crate) fn set_xattrs(
    xattrs: &[(Vec<u8>, Vec<u8>)],
    member: &[u8],
    shared: &Shared,
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
) -> Result<(), ApplyError> {
    let skipped = |name: &[u8], why| {
        let attribute = name.to_vec();
        shared.warn(
            member,
            match why {
                Skipped::Overlay => Warning::OverlayXattr { attribute },
                Skipped::Refused(errno) => Warning::XattrRefused { attribute, errno },
            },
        );
    };
    xattr::set_all(xattrs, set, skipped).map_err(|(name, errno)| ApplyError::Xattr { name, errno })
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
