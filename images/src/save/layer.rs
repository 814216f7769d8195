//! One layer's tar, put together from its journal and its files, and verified while it is written.
//!
//! ```text
//! journal + files -> pieces -> hashed on a thread beside          -> must be the diff id
//!                           -> written, or compressed by N threads and written in order
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use layerfs::compress::encode::Encoding;
use layerfs::{DiffId, Digest, Hasher, LayerFiles};
use rustix::fd::OwnedFd;
use tarsplit::assemble::Assembler;
use tarsplit::journal::EntryReader;

use super::compressor::{Compressed, Compressor};
use super::error::SaveError;
use super::output::Output;

/// Pieces that wait to be hashed.
const WAITING: usize = 8;

/// A layer of a store.
pub(super) struct Stored {
    pub(super) diff_id: DiffId,
    pub(super) journal: File,
    pub(super) files: OwnedFd,
}

/// How a layer is written.
pub(super) struct Writing<'w> {
    pub(super) encoding: Encoding,
    pub(super) threads: usize,
    pub(super) interrupted: &'w AtomicBool,
    /// Is told the number of bytes of each piece of the tar.
    pub(super) advance: &'w (dyn Fn(u64) + Sync),
}

/// Where the bytes of a layer's file go.
pub(super) enum To<'o, 'd> {
    /// Into the blob that was begun.
    Output(&'o mut Output<'d>),
    /// Into a file of their own.
    Spool(&'o mut File),
}

impl To<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Output(output) => output.write(bytes),
            Self::Spool(file) => file.write_all(bytes),
        }
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> SaveError + use<> {
        let (path, call) = match self {
            Self::Output(output) => (output.path().to_owned(), "writing"),
            Self::Spool(_) => (std::env::temp_dir(), "writing to a temporary file in"),
        };
        SaveError::output(&path, call)
    }
}

/// Writes the layer's file. Returns its digest and its length.
pub(super) fn write(stored: Stored, to: To<'_, '_>, writing: &Writing<'_>) -> Result<(Digest, u64), SaveError> {
    let Stored { diff_id, journal, files } = stored;
    let files = LayerFiles::new(files);
    std::thread::scope(|scope| {
        let hashing = Beside::start(scope, writing.threads);
        let compressor = match writing.encoding {
            Encoding::None => None,
            encoding => Some(Compressor::start(scope, encoding, writing.threads)),
        };
        let length = writing.encoding.block_len();
        let mut pieces = Pieces { length, spare: VecDeque::new(), to, hashing, compressor, written: 0, writing };
        let mut assembler = Assembler::new(EntryReader::new(BufReader::new(journal)), &files);
        loop {
            let mut piece = pieces.take_spare();
            let filled = assembler.fill(&mut piece).map_err(|source| SaveError::Layer { diff_id, source })?;
            piece.truncate(filled);
            if filled > 0 {
                pieces.send(piece)?;
            }
            if filled < length {
                break;
            }
        }
        pieces.finish(diff_id)
    })
}

/// Takes the tar in pieces of one length, and gives each piece to the hasher and to the output.
struct Pieces<'s, 'o, 'd, 'w> {
    length: usize,
    /// Pieces to be used again. The hasher and the compressor may still hold some of them.
    spare: VecDeque<Arc<Vec<u8>>>,
    to: To<'o, 'd>,
    hashing: Beside<'s>,
    compressor: Option<Compressor>,
    written: u64,
    writing: &'w Writing<'w>,
}

impl Pieces<'_, '_, '_, '_> {
    fn send(&mut self, piece: Vec<u8>) -> Result<(), SaveError> {
        if self.writing.interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted);
        }
        let piece = Arc::new(piece);
        self.hashing.add(&piece);
        (self.writing.advance)(piece.len() as u64);
        match &mut self.compressor {
            None => {
                self.to.write(&piece).map_err(self.to.failed())?;
                self.written += piece.len() as u64;
            }
            Some(compressor) => {
                for block in compressor.add(&piece).map_err(self.to.failed())? {
                    self.to.write(&block).map_err(self.to.failed())?;
                }
            }
        }
        self.spare.push_back(piece);
        Ok(())
    }

    /// A buffer of the length of a piece: that of the oldest piece if nobody else holds it any more, else a new one.
    fn take_spare(&mut self) -> Vec<u8> {
        match self.spare.pop_front().map(Arc::try_unwrap) {
            Some(Ok(piece)) => piece,
            Some(Err(held)) => {
                // Pieces are let go of in this order, so if this one is held, the others are, too.
                self.spare.push_front(held);
                vec![0; self.length]
            }
            None => vec![0; self.length],
        }
    }

    fn finish(mut self, diff_id: DiffId) -> Result<(Digest, u64), SaveError> {
        let ended = match self.compressor.take() {
            None => Ok(None),
            Some(compressor) => compressor.finish(|block| self.to.write(block)).map(Some),
        };
        let compressed = ended.map_err(self.to.failed())?;
        let found = self.hashing.finish();
        if found != diff_id.0 {
            return Err(SaveError::Differs { diff_id, found });
        }
        Ok(compressed.map_or((found, self.written), |Compressed { digest, size }| (digest, size)))
    }
}

/// Computes the digest of a stream, on a thread of its own where there may be one, else on the calling thread.
enum Beside<'s> {
    Thread(SyncSender<Arc<Vec<u8>>>, ScopedJoinHandle<'s, Digest>),
    Here(Box<Hasher>),
}

impl<'s> Beside<'s> {
    fn start<'e>(scope: &'s Scope<'s, 'e>, threads: usize) -> Self {
        let (sender, receiver): (_, Receiver<Arc<Vec<u8>>>) = sync_channel(WAITING);
        let hash = move || {
            let mut hasher = Hasher::default();
            for piece in receiver {
                hasher.update(&piece);
            }
            hasher.finish()
        };
        let thread = if threads > 1 { Builder::new().spawn_scoped(scope, hash).ok() } else { None };
        thread.map_or_else(|| Self::Here(Box::default()), |thread| Self::Thread(sender, thread))
    }

    fn add(&mut self, piece: &Arc<Vec<u8>>) {
        match self {
            // The thread ends only when the sender is dropped.
            Self::Thread(sender, _) => {
                sender.send(Arc::clone(piece)).expect("the thread receives until the sender is gone");
            }
            Self::Here(hasher) => hasher.update(piece),
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Thread(sender, thread) => {
                drop(sender);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Self::Here(hasher) => hasher.finish(),
        }
    }
}
