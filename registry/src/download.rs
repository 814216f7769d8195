//! Blobs on their way into files, several at once, each resumed from what is there.
//!
//! A blob's file is named by its digest. It is read while it grows: the reader waits for the bytes that are still to
//! come, and makes the digest of all of them, also of those that another pull has brought.

mod parts;
mod transfer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use layerfs::Digest;

pub(crate) use self::transfer::Layer;
use self::transfer::Transfer;
use crate::client::RegistryClient;
use crate::error::RegistryError;
use crate::lock;

/// How long transfers may take to end after a layer could not be unpacked.
const SETTLING: Duration = Duration::from_secs(10);

/// Something that is told how blobs arrive; calls come from any thread.
pub trait BlobListener: Send + Sync {
    /// `bytes` of the blob are there, of `size`.
    fn advance(&self, _blob: Digest, _bytes: u64, _size: u64) {}
    /// All of the blob is there; `kept` of its bytes were brought by another pull.
    fn complete(&self, _blob: Digest, _kept: u64) {}
    /// An attempt has failed after `at` bytes; the next one follows after a pause.
    fn retry(&self, _blob: Digest, _at: u64, _pause: Duration, _error: &RegistryError) {}
}

/// What all transfers of one image have in common.
pub(crate) struct Shared {
    pub(crate) client: Arc<RegistryClient>,
    pub(crate) listener: Arc<dyn BlobListener>,
    /// The repository's path at the registry; `name` is the image's name, for messages.
    pub(crate) repository: String,
    pub(crate) name: String,
    pub(crate) scope: String,
    /// Where the files are.
    pub(crate) dir: PathBuf,
    /// Transfers at once.
    pub(crate) most: usize,
}

/// The transfers of one image.
#[derive(Debug)]
pub(crate) struct Downloads {
    queue: Arc<Queue>,
    transfers: Mutex<HashMap<Digest, Arc<Transfer>>>,
}

pub(super) struct Queue {
    pub(super) shared: Shared,
    state: Mutex<State>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Transfer>>,
    running: usize,
    /// Whether the rest is not wanted any more.
    stopped: bool,
}

impl Downloads {
    pub(crate) fn new(shared: Shared) -> Self {
        let queue = Arc::new(Queue { shared, state: Mutex::default() });
        Self { queue, transfers: Mutex::default() }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.queue.shared
    }

    /// Begins to fetch a blob, or finds that this was begun.
    pub(crate) fn fetch(&self, digest: Digest, size: u64) -> Result<Arc<Transfer>, RegistryError> {
        let mut transfers = lock(&self.transfers);
        if let Some(transfer) = transfers.get(&digest) {
            return Ok(Arc::clone(transfer));
        }
        let transfer = Arc::new(Transfer::open(digest, size, Arc::clone(&self.queue))?);
        transfers.insert(digest, Arc::clone(&transfer));
        drop(transfers);
        self.queue.add(Arc::clone(&transfer));
        Ok(transfer)
    }

    /// Begins to fetch these blobs, and gives up all others. A file that cannot be opened is reported by
    /// [`fetch`](Self::fetch).
    pub(crate) fn expect(&self, wanted: &[(Digest, u64)]) {
        let digests: HashSet<Digest> = wanted.iter().map(|(digest, _)| *digest).collect();
        for transfer in lock(&self.transfers).values().filter(|transfer| !digests.contains(&transfer.digest)) {
            transfer.give_up();
        }
        for (digest, size) in wanted {
            let _ = self.fetch(*digest, *size);
        }
    }

    /// Lets no further transfer begin, and each running one end at its next piece.
    pub(crate) fn stop(&self) {
        let mut state = lock(&self.queue.state);
        state.stopped = true;
        state.waiting.clear();
    }

    /// One error of the transfers: the first in the order of their texts, so that threads do not decide which.
    pub(crate) fn error(&self) -> Option<Arc<RegistryError>> {
        let transfers = lock(&self.transfers);
        let wanted = transfers.values().filter(|transfer| transfer.is_wanted());
        let errors = wanted.filter_map(|transfer| lock(&transfer.progress).error.clone());
        let mut errors: Vec<_> = errors.collect();
        errors.sort_by_key(ToString::to_string);
        errors.into_iter().next()
    }

    /// The error for a blob that is all there and has another digest than it must have, and whether an earlier pull
    /// left some of its bytes. Its file is removed.
    pub(crate) fn wrong(&self) -> Option<(RegistryError, bool)> {
        self.queue.settle();
        let transfers = lock(&self.transfers);
        let mut whole: Vec<&Arc<Transfer>> = transfers.values().filter(|transfer| transfer.is_complete()).collect();
        whole.sort_by_key(|transfer| transfer.digest.hex());
        whole.into_iter().find_map(|transfer| {
            let found = transfer.digest_of_file().ok()?;
            (found != transfer.digest).then(|| {
                transfer.remove();
                let Shared { client, name, .. } = &transfer.queue.shared;
                let (host, name) = (client.host().address().to_owned(), name.clone());
                let kept = lock(&transfer.progress).kept;
                (RegistryError::BlobDigest { host, name, expected: transfer.digest, found }, kept > 0)
            })
        })
    }

    /// Removes the files: all, or those in which there is nothing that can be used.
    pub(crate) fn clean(&self, all: bool) {
        for transfer in lock(&self.transfers).values() {
            // Bytes of a blob that has the wrong length are not the beginning of the right one.
            let is_of_use = {
                let progress = lock(&transfer.progress);
                progress.there > 0 && !matches!(progress.error.as_deref(), Some(RegistryError::BlobSize { .. }))
            };
            if all || !is_of_use {
                transfer.remove();
            }
        }
        // The directory stays while anything is in it.
        let _ = std::fs::remove_dir(&self.shared().dir);
    }
}

impl Queue {
    fn add(self: &Arc<Self>, transfer: Arc<Transfer>) {
        let mut state = lock(&self.state);
        state.waiting.push_back(transfer);
        if state.running < self.shared.most.max(1) {
            state.running += 1;
            let queue = Arc::clone(self);
            // Nobody waits for the thread: it ends with its connection at the latest. Where the system refuses a thread, this
            // one does the work.
            let work = move || queue.work();
            drop(state);
            if std::thread::Builder::new().name("download".into()).spawn(work).is_err() {
                self.work();
            }
        }
    }

    /// Takes one connection more if there may be one, and no blob waits for it.
    pub(super) fn lend(&self) -> bool {
        let mut state = lock(&self.state);
        let is_free = state.waiting.is_empty() && state.running < self.shared.most && !state.stopped;
        state.running += usize::from(is_free);
        is_free
    }

    /// Whether a blob waits for a connection.
    pub(super) fn is_waited_for(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    /// Whether [`lend`](Self::lend) would take one.
    pub(super) fn has_room(&self) -> bool {
        let state = lock(&self.state);
        state.waiting.is_empty() && state.running < self.shared.most
    }

    /// Gives a connection back, and uses it for blobs that wait.
    pub(super) fn work(&self) {
        loop {
            let next = {
                let mut state = lock(&self.state);
                let next = state.waiting.pop_front();
                if next.is_none() {
                    state.running -= 1;
                }
                next
            };
            let Some(transfer) = next else { return };
            if transfer.is_wanted() {
                transfer.run();
            }
        }
    }

    /// Begins no further transfer, and gives those that run a while to end: bytes that cannot be unpacked may be the first half
    /// of a wrong blob.
    fn settle(&self) {
        lock(&self.state).waiting.clear();
        let begun = Instant::now();
        while lock(&self.state).running > 0 && begun.elapsed() < SETTLING && !self.is_stopped() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.shared.client.is_interrupted() || lock(&self.state).stopped
    }
}
