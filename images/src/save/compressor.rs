//! Blocks of a stream, compressed by several threads, in order. `layerfs::compress::encode` says how long a block is and how it is
//! compressed.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use layerfs::compress::encode::{Encoding, Sum};
use layerfs::pool::spawn_helpers;
use layerfs::{Digest, Hasher};

/// A block to compress, and where the answer goes.
struct Job {
    before: Option<Arc<Vec<u8>>>,
    block: Arc<Vec<u8>>,
    reply: SyncSender<io::Result<Done>>,
}

/// A compressed block, and the checksum of the uncompressed bytes.
struct Done {
    bytes: Vec<u8>,
    sum: Sum,
}

/// Compresses a stream on several threads, which end when this is dropped.
pub(super) struct Compressor {
    encoding: Encoding,
    jobs: Option<SyncSender<Job>>,
    /// Blocks that were handed out, in order.
    waiting: VecDeque<Receiver<io::Result<Done>>>,
    most: usize,
    before: Option<Arc<Vec<u8>>>,
    sum: Sum,
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
                let Ok(Job { before, block, reply }) = job else { return };
                // Ignore the error: the receiver may have given up after an error of its own.
                let _ = reply.send(compress(encoding, before.as_ref(), &block));
            }
        };
        let helpers = if threads > 1 { spawn_helpers(scope, threads, work) } else { Vec::new() };
        Self {
            encoding,
            jobs: (!helpers.is_empty()).then_some(jobs),
            waiting: VecDeque::new(),
            most: helpers.len() + 2,
            before: None,
            sum: Sum::default(),
            hasher: Hasher::default(),
            size: 0,
            begun: false,
        }
    }

    /// Takes the next block of the stream. Returns what can be written now.
    pub(super) fn add(&mut self, block: &Arc<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
        let mut ready = self.begin();
        let before = self.before.replace(Arc::clone(block));
        let (reply, done) = sync_channel(1);
        match &self.jobs {
            Some(jobs) => {
                let job = Job { before, block: Arc::clone(block), reply };
                jobs.send(job).expect("the threads receive until the sender is gone");
            }
            None => drop(reply.send(compress(self.encoding, before.as_ref(), block))),
        }
        self.waiting.push_back(done);
        while self.waiting.len() > self.most || self.jobs.is_none() && !self.waiting.is_empty() {
            ready.extend(self.next()?);
        }
        Ok(ready)
    }

    fn begin(&mut self) -> Vec<Vec<u8>> {
        let header = self.encoding.header();
        if std::mem::replace(&mut self.begun, true) || header.is_empty() {
            return Vec::new();
        }
        vec![self.count(header.to_vec())]
    }

    fn count(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.hasher.update(&bytes);
        self.size += bytes.len() as u64;
        bytes
    }

    /// Waits for the next block in order.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(waiting) = self.waiting.pop_front() else { return Ok(None) };
        let done = waiting.recv().map_err(|_| io::Error::other("a thread that compresses has ended"))??;
        self.sum.append(&done.sum);
        Ok(Some(self.count(done.bytes)))
    }

    /// Writes what is left.
    pub(super) fn finish(mut self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Compressed> {
        if self.before.is_none() && self.encoding.needs_a_block() {
            for block in self.add(&Arc::default())? {
                write(&block)?;
            }
        }
        for block in self.begin() {
            write(&block)?;
        }
        while let Some(block) = self.next()? {
            write(&block)?;
        }
        let trailer = self.encoding.trailer(&self.sum);
        let trailer = self.count(trailer);
        write(&trailer)?;
        Ok(Compressed { digest: self.hasher.finish(), size: self.size })
    }
}

fn compress(encoding: Encoding, before: Option<&Arc<Vec<u8>>>, block: &[u8]) -> io::Result<Done> {
    let bytes = encoding.block(before.map(|before| before.as_slice()), block)?;
    Ok(Done { bytes, sum: Sum::of_block(block) })
}
