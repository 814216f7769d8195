//! The digest of a stream, made beside the work on it: bytes wait here until some thread hashes them, if possible
//! together with those of other streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bytes::Bytes;
use crate::digest::{Digest, Hasher};
use crate::meter::{self, Stage};
use crate::pool::Pool;

/// Pieces that may wait: beyond, whoever brings one more hashes first. They are held in memory, or leave the cache.
const MAX_PENDING: usize = 4;

/// One stream's digest. The two locks are taken in the order of the fields, and a thread waits for the first one with
/// nothing in its hands that others wait for.
#[derive(Debug, Default)]
pub(crate) struct Chain<'a> {
    hasher: Mutex<Hasher>,
    pending: Mutex<Pending<'a>>,
}

#[derive(Debug, Default)]
struct Pending<'a> {
    pieces: Vec<Bytes<'a>>,
    /// The pool has it, or a thread is about to look for pieces.
    queued: bool,
}

impl<'a> Chain<'a> {
    fn hasher(&self) -> MutexGuard<'_, Hasher> {
        if let Ok(hasher) = self.hasher.try_lock() {
            return hasher;
        }
        let _waiting = meter::enter(Stage::Digest);
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Pending<'a>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Bytes<'a>> {
        std::mem::take(&mut self.pending().pieces)
    }

    /// Adds the next bytes of the stream.
    pub(crate) fn add(self: &Arc<Self>, piece: Bytes<'a>, pool: &Pool<'a>) {
        let mut pending = self.pending();
        pending.pieces.push(piece);
        let full = pending.pieces.len() > MAX_PENDING;
        let queue = !std::mem::replace(&mut pending.queued, true);
        drop(pending);
        if queue {
            pool.submit_chain(Arc::clone(self));
        }
        if full {
            pool.help_hashing();
            // If another thread has this one, it will not be long.
            drop(self.hasher());
        }
    }

    /// The digest of everything added. Nothing may be added afterwards.
    pub(crate) fn finish(&self) -> Digest {
        let mut hasher = self.hasher();
        let pieces = self.take();
        let _hashing = meter::enter(Stage::Hash);
        for piece in pieces {
            meter::count(Stage::Hash, piece.as_slice().len());
            hasher.update(piece.as_slice());
        }
        std::mem::take(&mut *hasher).finish()
    }
}

/// Hashes what waits in `chains`, and gives back to the pool those to which more was added meanwhile.
pub(crate) fn hash<'a>(chains: &[Arc<Chain<'a>>], pool: &Pool<'a>) {
    let mut held: Vec<_> = chains.iter().map(|chain| (chain.hasher(), chain.take())).collect();
    let longest = held.iter().map(|(_, pieces)| pieces.len()).max().unwrap_or(0);
    let hashing = meter::enter(Stage::Hash);
    for turn in 0..longest {
        let mut streams: Vec<(&mut Hasher, &[u8])> = held
            .iter_mut()
            .filter_map(|(hasher, pieces)| Some((&mut **hasher, pieces.get(turn)?.as_slice())))
            .collect();
        meter::count(Stage::Hash, streams.iter().map(|(_, bytes)| bytes.len()).sum());
        Hasher::update_together(&mut streams);
    }
    drop(hashing);
    drop(held);
    for chain in chains {
        let mut pending = chain.pending();
        pending.queued = !pending.pieces.is_empty();
        if pending.queued {
            drop(pending);
            pool.submit_chain(Arc::clone(chain));
        }
    }
}
