//! A fixed number of threads that work through layers, and through the pieces that layers hand out.
//!
//! A *task* unpacks one layer and runs from beginning to end on one thread. While it runs it may `submit`
//! *jobs*, small pieces of work that any idle thread takes. When nobody is idle and the queue is full, the task does the
//! job itself: so all threads are busy, memory is bounded by the queue, and nothing ever waits for a thread that is not
//! running. With one thread every job is done on the spot.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// A piece of work without a result.
pub(crate) type Job<'env> = Box<dyn FnOnce() + Send + 'env>;

/// A layer's work from beginning to end.
pub type Task<'env> = Box<dyn for<'pool> FnOnce(&'pool Pool<'env>) + Send + 'env>;

enum Message<'env> {
    Job(Job<'env>),
    Stop,
}

/// The threads and the queue between them.
pub struct Pool<'env> {
    sender: Sender<Message<'env>>,
    receiver: Receiver<Message<'env>>,
    /// Jobs that run as long as their layer: never done by a thread that also waits for them.
    long_sender: Sender<Job<'env>>,
    long_receiver: Receiver<Job<'env>>,
    tasks: Mutex<VecDeque<Task<'env>>>,
    /// Tasks not yet ended.
    unfinished: AtomicUsize,
    /// Threads that wait for a job.
    idle: AtomicUsize,
    threads: usize,
}

impl std::fmt::Debug for Pool<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl<'env> Pool<'env> {
    /// Runs `tasks`, started in order, on `threads` threads (at least one). Returns when all are done.
    ///
    /// # Panics
    /// With the panic of a task or a job, after all threads have ended.
    pub fn run(threads: usize, tasks: Vec<Task<'env>>) {
        if tasks.is_empty() {
            return;
        }
        let threads = threads.max(1);
        let (sender, receiver) = bounded(2 * threads);
        let (long_sender, long_receiver) = bounded(threads);
        let pool = Self {
            sender,
            receiver,
            long_sender,
            long_receiver,
            unfinished: AtomicUsize::new(tasks.len()),
            tasks: Mutex::new(tasks.into()),
            idle: AtomicUsize::new(0),
            threads,
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| pool.work());
            }
            pool.work();
        });
    }

    /// Hands out a job, or does it.
    pub(crate) fn submit(&self, job: Job<'env>) {
        if self.threads == 1 {
            return job();
        }
        match self.sender.try_send(Message::Job(job)) {
            Ok(()) => {}
            Err(TrySendError::Full(Message::Job(job)) | TrySendError::Disconnected(Message::Job(job))) => job(),
            Err(_) => {}
        }
    }

    /// Whether a thread has nothing to do.
    pub(crate) fn has_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// Hands out a job that runs as long as its layer. Call only where [`Pool::has_idle`]; it may still have to wait
    /// for a thread, but never for the one that submits it.
    pub(crate) fn submit_long(&self, job: Job<'env>) {
        // With room for one job per thread this never blocks: a task submits at most one.
        let _ = self.long_sender.send(job);
    }

    /// Does one waiting job. Returns false if there was none.
    pub(crate) fn help(&self) -> bool {
        // A stop is sent only when no task, and so nobody who helps, is left.
        let Ok(Message::Job(job)) = self.receiver.try_recv() else { return false };
        job();
        true
    }

    fn work(&self) {
        loop {
            let task = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(task) = task {
                let _ended = Ended(self);
                task(self);
                continue;
            }
            if self.unfinished.load(Ordering::Acquire) == 0 {
                return;
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            let message = crossbeam_channel::select! {
                recv(self.receiver) -> message => message,
                recv(self.long_receiver) -> job => job.map(Message::Job),
            };
            self.idle.fetch_sub(1, Ordering::Relaxed);
            match message {
                Ok(Message::Job(job)) => job(),
                Ok(Message::Stop) | Err(_) => return,
            }
        }
    }
}

/// Counts a task as ended, also when it panics, and stops the idle threads after the last one.
struct Ended<'pool, 'env>(&'pool Pool<'env>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        if self.0.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            for _ in 1..self.0.threads {
                // There is room: all jobs were done before their tasks ended.
                let _ = self.0.sender.try_send(Message::Stop);
            }
        }
    }
}

/// Counts jobs that are still to be done.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    count: Mutex<usize>,
    zero: Condvar,
}

impl Outstanding {
    /// One more; it counts until the guard is dropped.
    pub(crate) fn add(self: &std::sync::Arc<Self>) -> OutstandingGuard {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        OutstandingGuard(std::sync::Arc::clone(self))
    }

    /// Waits until none is left, doing waiting jobs meanwhile.
    pub(crate) fn wait(&self, pool: &Pool<'_>) {
        while *self.count.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            if pool.help() {
                continue;
            }
            // The queue is empty: what is left of ours is being done by other threads.
            let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            while *count > 0 {
                count = self.zero.wait(count).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// One outstanding job.
#[derive(Debug)]
pub(crate) struct OutstandingGuard(std::sync::Arc<Outstanding>);

impl Drop for OutstandingGuard {
    fn drop(&mut self) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.0.zero.notify_all();
        }
    }
}
