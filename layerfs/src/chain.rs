//! The digest of a stream, made beside the work on it: bytes wait here until some thread hashes them, if possible
//! together with those of other streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bytes::Bytes;
use crate::digest::{Digest, Hasher};
use crate::meter::{self, UnpackStage};
use crate::pool::Pool;

/// How many pieces may wait. A thread that brings one more hashes first: pieces that wait take up memory, and leave the
/// processor's cache.
const MAX_PENDING: usize = 4;

/// How many pieces may wait without being offered to the pool.
const MAX_KEPT: usize = 2 * MAX_PENDING;

/// One stream's digest. A thread takes the two locks of a chain in the order of the fields. Only [`hash`] holds the
/// hashers of several chains. A chain is in the hands of one such call at a time (see [`Pending::queued`]), so no two
/// of these calls wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Chain<'a> {
    hasher: Mutex<Hasher>,
    pending: Mutex<Pending<'a>>,
}

#[derive(Debug, Default)]
struct Pending<'a> {
    pieces: Vec<Bytes<'a>>,
    /// The pool has this chain, or [`hash`] is at work on it and will look for more pieces in the end.
    queued: bool,
}

impl<'a> Chain<'a> {
    fn hasher(&self) -> MutexGuard<'_, Hasher> {
        if let Ok(hasher) = self.hasher.try_lock() {
            return hasher;
        }
        let _waiting = meter::enter(UnpackStage::Digest);
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Pending<'a>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first `most` pieces, or all there are. The caller holds the hasher.
    fn take(&self, most: usize) -> Vec<Bytes<'a>> {
        let mut pending = self.pending();
        let most = most.min(pending.pieces.len());
        pending.pieces.drain(..most).collect()
    }

    /// Adds the next bytes of the stream.
    pub(crate) fn add(self: &Arc<Self>, piece: Bytes<'a>, pool: &Pool<'a>) {
        let mut pending = self.pending();
        pending.pieces.push(piece);
        let full = pending.pieces.len() > MAX_PENDING;
        drop(pending);
        self.offer(pool);
        if full {
            pool.help_hashing();
            // Another thread may be hashing this very stream; it will be done soon.
            drop(self.hasher());
        }
    }

    /// Adds the next bytes where there is no pool at hand; the caller [offers](Self::offer) them later. If too many wait,
    /// all of them are hashed here.
    pub(crate) fn keep(&self, piece: Bytes<'a>) {
        let mut pending = self.pending();
        pending.pieces.push(piece);
        let full = pending.pieces.len() > MAX_KEPT;
        drop(pending);
        if full {
            drop(self.hash_all());
        }
    }

    /// Gives this chain to the pool, if pieces wait and the pool does not have the chain already.
    pub(crate) fn offer(self: &Arc<Self>, pool: &Pool<'a>) {
        let mut pending = self.pending();
        let queue = !pending.pieces.is_empty() && !std::mem::replace(&mut pending.queued, true);
        drop(pending);
        if queue {
            pool.submit_chain(Arc::clone(self));
        }
    }

    /// Hashes all that waits, alone.
    fn hash_all(&self) -> MutexGuard<'_, Hasher> {
        let mut hasher = self.hasher();
        let pieces = self.take(usize::MAX);
        let _hashing = meter::enter(UnpackStage::Hash);
        for piece in pieces {
            meter::count(UnpackStage::Hash, piece.as_slice().len());
            hasher.update(piece.as_slice());
        }
        hasher
    }

    /// The digest of everything added. Nothing may be added afterwards.
    pub(crate) fn finish(&self) -> Digest {
        std::mem::take(&mut *self.hash_all()).finish()
    }
}

/// How much of what waits is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// As many pieces of each chain as all of them have: no lane stays empty.
    Even,
    /// All of it.
    All,
}

/// Hashes what waits in `chains`, and gives back to the pool the chains for which more pieces wait by then.
pub(crate) fn hash<'a>(chains: &[Arc<Chain<'a>>], extent: Extent, pool: &Pool<'a>) {
    let hashers: Vec<_> = chains.iter().map(|chain| chain.hasher()).collect();
    // Only the thread that holds the hasher takes pieces away; others may add more.
    let waiting = chains.iter().map(|chain| chain.pending().pieces.len()).filter(|&pieces| pieces > 0);
    let turns = match extent {
        Extent::Even => waiting.min(),
        Extent::All => waiting.max(),
    };
    let turns = turns.unwrap_or(0);
    let mut held: Vec<_> = hashers.into_iter().zip(chains.iter().map(|chain| chain.take(turns))).collect();
    let hashing = meter::enter(UnpackStage::Hash);
    for turn in 0..turns {
        let mut streams: Vec<(&mut Hasher, &[u8])> = held
            .iter_mut()
            .filter_map(|(hasher, pieces)| Some((&mut **hasher, pieces.get(turn)?.as_slice())))
            .collect();
        meter::count(UnpackStage::Hash, streams.iter().map(|(_, bytes)| bytes.len()).sum());
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

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::pool::{BoxedTask, Task};

    /// Adds a piece to its chain at every step, of lengths that begin anywhere in the sequence.
    struct Adding<'a> {
        pieces: std::vec::IntoIter<&'a [u8]>,
        chain: Arc<Chain<'a>>,
        digest: &'a Mutex<Option<Digest>>,
    }

    impl<'a> Task<'a> for Adding<'a> {
        fn step(&mut self, pool: &Pool<'a>) -> ControlFlow<()> {
            match self.pieces.next() {
                Some(piece) => {
                    self.chain.add(Bytes::Borrowed(piece), pool);
                    ControlFlow::Continue(())
                }
                None => {
                    *self.digest.lock().unwrap() = Some(self.chain.finish());
                    ControlFlow::Break(())
                }
            }
        }
    }

    #[test]
    fn chains_of_any_number_and_length_are_hashed_in_order() {
        let bytes: Vec<u8> = (0..900_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for threads in [1, 2, 3, 8] {
            for streams in [1, 2, 3, 5, 9] {
                let pieces: Vec<Vec<&[u8]>> = (0..streams)
                    .map(|stream| bytes[stream * 1000..].chunks(700 + stream * 4001).take(20 + stream * 37).collect())
                    .collect();
                let digests: Vec<Mutex<Option<Digest>>> = pieces.iter().map(|_| Mutex::new(None)).collect();
                let tasks = pieces.iter().zip(&digests).map(|(pieces, digest)| -> BoxedTask<'_> {
                    Box::new(Adding { pieces: pieces.clone().into_iter(), chain: Arc::default(), digest })
                });
                Pool::run(threads, tasks.collect(), None);
                for (pieces, digest) in pieces.iter().zip(digests) {
                    let expected = <sha2::Sha256 as sha2::Digest>::digest(pieces.concat());
                    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
                    let found = digest.into_inner().unwrap().map(|digest| digest.hex());
                    assert_eq!(found, Some(expected), "{streams} on {threads}");
                }
            }
        }
    }
}
