//! One blob on its way into its file, and the readers that read it meanwhile.
//!
//! Several pulls may want one blob. Whoever writes to its file holds `flock(2)` on it; the others read what it writes. A
//! file only grows, so what is in it is never written again. It may be removed while others have it open: they go on with what
//! they have.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use images::source::Fetch;
use layerfs::Digest;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::parts::{Parts, are_worth_it};
use super::{Queue, Shared};
use crate::blob::{ATTEMPTS, Blob, Coming};
use crate::body::At;
use crate::error::RegistryError;
use crate::lock;
use crate::transport::broken;
use crate::wait::{Backoff, pause};

/// Bytes that are read and written at once.
const PIECE: usize = 256 << 10;

/// A connection that brings fewer bytes than this in the time of `ClientOptions::stall` is given up, as a silent one
/// is.
const SLOWEST: u64 = 1024;

/// How long a reader waits before it looks whether the user has asked to stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often one looks how far another process has come with a blob.
const LOOK: Duration = Duration::from_millis(20);

/// How often a file is opened whose directory is being removed by another pull that has ended.
const TRIES: usize = 20;

/// One blob.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(super) path: PathBuf,
    file: File,
    /// Whether the blob is still to be fetched.
    wanted: AtomicBool,
    pub(super) progress: Mutex<Progress>,
    changed: Condvar,
    pub(super) queue: Arc<Queue>,
}

/// How far a blob has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes in the file.
    pub(super) there: u64,
    /// Bytes that another pull has brought, an earlier one or one that goes on at the same time.
    pub(super) kept: u64,
    /// Whether all of it is there, and the server has sent nothing beyond it.
    ended: bool,
    pub(super) error: Option<Arc<RegistryError>>,
}

impl Transfer {
    /// Opens the file of a blob, with what other pulls have put into it.
    pub(super) fn open(digest: Digest, size: u64, queue: Arc<Queue>) -> Result<Self, RegistryError> {
        let path = queue.shared.dir.join(digest.hex());
        let failed = |source| RegistryError::File { path: path.clone(), source };
        let file = open_in(&queue.shared.dir, &path).map_err(failed)?;
        let there = usable(file.metadata().map_err(failed)?.len(), size);
        let progress = Mutex::new(Progress { there, kept: there, ..Progress::default() });
        let wanted = AtomicBool::new(true);
        Ok(Self { digest, size, path, file, wanted, progress, changed: Condvar::new(), queue })
    }

    /// Removes the file, unless another pull is writing to it or has begun another one of this name.
    pub(super) fn remove(&self) {
        let is_busy = flock(&self.file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
        let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let is_own = || {
            let at_path = std::fs::symlink_metadata(&self.path).map(place);
            at_path.is_ok_and(|found| self.file.metadata().map(place).is_ok_and(|own| own == found))
        };
        if !is_busy && is_own() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// The blob turned out not to be needed.
    pub(super) fn give_up(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// How many bytes are in the file.
    pub(super) fn there(&self) -> u64 {
        lock(&self.progress).there
    }

    /// Writes the next bytes of the blob into the file.
    pub(super) fn append(&self, at: u64, bytes: &[u8]) -> Result<(), RegistryError> {
        let written = self.file.write_all_at(bytes, at);
        written.map_err(|source| RegistryError::File { path: self.path.clone(), source })?;
        let at = at + bytes.len() as u64;
        lock(&self.progress).there = at;
        self.changed.notify_all();
        self.queue.shared.listener.advance(self.digest, at, self.size);
        Ok(())
    }

    /// Tells the listener of an attempt that has failed.
    pub(super) fn tell_retry(&self, at: u64, pause: Duration, error: &RegistryError) {
        self.queue.shared.listener.retry(self.digest, at, pause, error);
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopped(&self) -> bool {
        !self.is_wanted() || self.queue.is_stopped()
    }

    pub(super) fn is_complete(&self) -> bool {
        lock(&self.progress).there == self.size
    }

    pub(super) fn digest_of_file(&self) -> io::Result<Digest> {
        let mut hashed = layerfs::HashingReader::new(At::new(&self.file));
        io::copy(&mut hashed, &mut io::sink())?;
        Ok(hashed.finish().0)
    }

    /// Brings the rest of the blob, and tells those who read it if that fails.
    pub(super) fn run(self: &Arc<Self>) {
        let brought = self.take_turn().and_then(|()| self.bring());
        {
            let mut progress = lock(&self.progress);
            progress.ended = brought.is_ok();
            progress.error = brought.err().map(Arc::new);
        }
        self.changed.notify_all();
        // Others need not wait until this pull ends, which goes on with the file open.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }

    /// Waits until nobody else writes to the file, or until all of the blob is there. What others bring can be read
    /// meanwhile.
    fn take_turn(&self) -> Result<(), RegistryError> {
        loop {
            let is_busy = flock(&self.file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
            let failed = |source| RegistryError::File { path: self.path.clone(), source };
            let length = self.file.metadata().map_err(failed)?.len();
            if length > self.size && !is_busy {
                self.file.set_len(0).map_err(failed)?;
            }
            let there = usable(length, self.size);
            {
                let mut progress = lock(&self.progress);
                (progress.there, progress.kept) = (there, there);
            }
            self.changed.notify_all();
            if !is_busy || there == self.size {
                return Ok(());
            }
            self.queue.shared.listener.advance(self.digest, there, self.size);
            pause(LOOK, || self.is_stopped())?;
        }
    }

    fn bring(self: &Arc<Self>) -> Result<(), RegistryError> {
        let (blob, listener) = (self.blob(), &self.queue.shared.listener);
        let options = blob.client.options();
        let mut backoff = Backoff::new(options.first_pause, ATTEMPTS);
        let (mut ranges, mut in_parts) = (true, true);
        loop {
            let Progress { there: before, kept, .. } = *lock(&self.progress);
            if before == self.size {
                listener.complete(self.digest, kept);
                return Ok(());
            }
            let asked = blob.ask(before, None, &mut ranges);
            let error = match asked.and_then(|coming| self.take(coming, before, in_parts)) {
                Ok(None) => continue,
                Ok(Some(rate)) => {
                    // If that ends early, the server has ignored a range.
                    in_parts = false;
                    Parts::bring(self, rate)?;
                    continue;
                }
                Err(error) => error,
            };
            let at = lock(&self.progress).there;
            backoff.has_brought(at.saturating_sub(before));
            let Some(time) = backoff.next(&error) else {
                return Err(blob.stuck(at, backoff.attempts, error));
            };
            if self.is_stopped() {
                return Err(RegistryError::Interrupted);
            }
            listener.retry(self.digest, at, time, &error);
            pause(time, || self.is_stopped())?;
        }
    }

    /// Writes what comes into the file. Returns early, with the rate so far, if the rest would come sooner over several
    /// connections, `in_parts`.
    fn take(&self, coming: Coming, from: u64, in_parts: bool) -> Result<Option<f64>, RegistryError> {
        let Coming { mut body, mut skip, ranges, url } = coming;
        let mut buffer = vec![0; PIECE];
        let mut at = from;
        let mut pace = Pace::new(self.blob().client.options().stall);
        let begun = Instant::now();
        loop {
            if self.is_stopped() {
                return Err(RegistryError::Interrupted);
            }
            let read = body.read(&mut buffer).map_err(|error| broken("Get", &url, &error))?;
            if read == 0 {
                break;
            }
            pace.check(read, &url)?;
            let skipped = skip.min(read as u64);
            skip -= skipped;
            let new = &buffer[usize::try_from(skipped).unwrap_or(usize::MAX).min(read)..read];
            if at + new.len() as u64 > self.size {
                return Err(self.blob().wrong_size(at + new.len() as u64));
            }
            if new.is_empty() {
                continue;
            }
            self.append(at, new)?;
            at += new.len() as u64;
            let time = begun.elapsed();
            if in_parts && ranges && are_worth_it(self.size - at, at - from, time) && self.queue.has_room() {
                return Ok(Some((at - from) as f64 / time.as_secs_f64()));
            }
        }
        if at < self.size {
            let reason = "unexpected EOF".to_owned();
            return Err(RegistryError::Transport { method: "Get", url, reason, transient: true });
        }
        Ok(None)
    }

    pub(super) fn blob(&self) -> Blob<'_> {
        let Shared { client, repository, name, scope, .. } = &self.queue.shared;
        Blob { client, repository, name, scope, digest: self.digest, size: self.size }
    }
}

/// Notices a connection that is not silent and brings next to nothing.
pub(super) struct Pace {
    stall: Duration,
    since: Instant,
    lately: u64,
}

impl Pace {
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall, since: Instant::now(), lately: 0 }
    }

    /// Counts bytes that have come.
    pub(super) fn check(&mut self, read: usize, url: &str) -> Result<(), RegistryError> {
        self.lately += read as u64;
        if self.since.elapsed() > self.stall {
            if self.lately < SLOWEST {
                let reason = format!("{} bytes in {} s are no transfer", self.lately, self.since.elapsed().as_secs());
                return Err(RegistryError::Transport { method: "Get", url: url.into(), reason, transient: true });
            }
            (self.since, self.lately) = (Instant::now(), 0);
        }
        Ok(())
    }
}

fn flock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    rustix::fs::flock(file, operation)
}

/// How many of the bytes in a file can be the beginning of a blob.
fn usable(length: u64, size: u64) -> u64 {
    if length > size { 0 } else { length }
}

/// Opens a file, and makes it and its directory if they are not there.
fn open_in(dir: &Path, path: &Path) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow);
    for _ in 1..TRIES {
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).and_then(|()| options.open(path)) {
            // Another pull has ended, and removed the directory because it was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    options.open(path)
}

/// A blob as a layer that can be unpacked while it arrives.
#[derive(Debug)]
pub(crate) struct Layer(pub(crate) Arc<Transfer>);

impl Fetch for Layer {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn reader(&self) -> Box<dyn Read + Send> {
        Box::new(Arriving { transfer: Arc::clone(&self.0), at: 0 })
    }
}

/// Reads a blob while it arrives.
struct Arriving {
    transfer: Arc<Transfer>,
    at: u64,
}

impl Read for Arriving {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let transfer = &self.transfer;
        let mut progress = lock(&transfer.progress);
        // The end is the server's to say: what sends more than the blob is an error, however soon the blob was unpacked.
        while progress.there <= self.at && !progress.ended {
            if let Some(error) = &progress.error {
                return Err(io::Error::other(error.to_string()));
            }
            if transfer.queue.is_stopped() {
                return Err(io::Error::other("interrupted"));
            }
            let waited = transfer.changed.wait_timeout(progress, PATIENCE);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let most = usize::try_from(progress.there - self.at).unwrap_or(usize::MAX).min(output.len());
        drop(progress);
        if most == 0 {
            return Ok(0);
        }
        let read = transfer.file.read_at(&mut output[..most], self.at)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob's file became shorter"));
        }
        self.at += read as u64;
        Ok(read)
    }
}
