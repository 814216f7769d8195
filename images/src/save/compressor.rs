//! Blocks of a stream, compressed by several threads, in order. `layerfs::compress::encode` says how long a block is and how it is
//! compressed.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use layerfs::compress::encode::Encoding;
use layerfs::pool::spawn_helpers;
use layerfs::{Digest, Hasher};

/// A block to compress, and where the answer goes.
struct Job {
    block: Arc<Vec<u8>>,
    reply: SyncSender<io::Result<Vec<u8>>>,
}

/// Compresses a stream on several threads, which end when this is dropped.
pub(super) struct Compressor {
    encoding: Encoding,
    jobs: Option<SyncSender<Job>>,
    /// Blocks that were handed out, in order.
    waiting: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most: usize,
    /// The digest of the compressed bytes so far.
    hasher: Hasher,
    size: u64,
    begun: bool,
}

/// A stream that was compressed.
pub(super) struct Compressed {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Compressor {
    pub(super) fn start<'s, 'e>(scope: &'s Scope<'s, 'e>, encoding: Encoding, threads: usize) -> Self {
        let (jobs, received) = sync_channel::<Job>(threads);
        let received = Arc::new(Mutex::new(received));
        let work = move || {
            loop {
                let job = received.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(Job { block, reply }) = job else { return };
                // Ignore the error: the receiver may have given up after an error of its own.
                let _ = reply.send(encoding.block(&block));
            }
        };
        let helpers = if threads > 1 { spawn_helpers(scope, threads, work) } else { Vec::new() };
        Self {
            encoding,
            jobs: (!helpers.is_empty()).then_some(jobs),
            waiting: VecDeque::new(),
            most: helpers.len() + 2,
            hasher: Hasher::default(),
            size: 0,
            begun: false,
        }
    }

    /// Takes the next block of the stream. Returns what can be written now.
    pub(super) fn add(&mut self, block: &Arc<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
        self.begun = true;
        let mut ready = Vec::new();
        let (reply, done) = sync_channel(1);
        match &self.jobs {
            Some(jobs) => {
                let job = Job { block: Arc::clone(block), reply };
                jobs.send(job).expect("the threads receive until the sender is gone");
            }
            None => drop(reply.send(self.encoding.block(block))),
        }
        self.waiting.push_back(done);
        while self.waiting.len() > self.most || self.jobs.is_none() && !self.waiting.is_empty() {
            ready.extend(self.next()?);
        }
        Ok(ready)
    }

    /// Waits for the next block in order.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(waiting) = self.waiting.pop_front() else { return Ok(None) };
        let done = waiting.recv().map_err(|_| io::Error::other("a thread that compresses has ended"))??;
        self.hasher.update(&done);
        self.size += done.len() as u64;
        Ok(Some(done))
    }

    /// Writes what is left.
    pub(super) fn finish(mut self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Compressed> {
        if !self.begun {
            for block in self.add(&Arc::default())? {
                write(&block)?;
            }
        }
        while let Some(block) = self.next()? {
            write(&block)?;
        }
        Ok(Compressed { digest: self.hasher.finish(), size: self.size })
    }
}
