//! A large blob over several connections at once, where one of them is slower than the way here: many registries and their caches
//! bound the rate of each connection.
//!
//! The rest of the blob is cut into parts. Each connection takes the next part; the first of those that are on their way goes
//! straight into the file, the others are kept in memory until it is their turn. So the file has no holes, and is gone on with
//! like any other if the work ends early; and what is kept is less than a part for each connection but one.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::transfer::{Pace, Transfer};
use crate::blob::{ATTEMPTS, Coming};
use crate::error::RegistryError;
use crate::lock;
use crate::transport::broken;
use crate::wait::{Backoff, pause};

/// The length of a part.
pub(super) const PART: u64 = 8 << 20;

/// The most connections for one blob.
const MOST: usize = 4;

/// How long a rate is measured before it is believed.
pub(super) const MEASURED: Duration = Duration::from_secs(1);

/// A blob that is here within this time at the measured rate is not worth a further connection.
const WORTH: Duration = Duration::from_secs(2);

/// How much faster one more connection must have made the whole for the next one to be tried.
const GAIN: f64 = 1.2;

/// How long somebody waits before it looks whether the work is still wanted.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Whether further connections may bring `left` bytes sooner, of which `bytes` came in `time`.
pub(super) fn are_worth_it(left: u64, bytes: u64, time: Duration) -> bool {
    let rate = bytes as f64 / time.as_secs_f64().max(0.001);
    time >= MEASURED && left >= 2 * PART && left as f64 > rate * WORTH.as_secs_f64()
}

/// The parts of one blob.
pub(super) struct Parts {
    transfer: Arc<Transfer>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Where the next part begins.
    next: u64,
    connections: usize,
    /// Bytes that have come, in the file or kept.
    received: u64,
    /// Whether nothing more is written: all is there, or the work has ended early.
    ended: bool,
    /// Why it has ended early; the first reason counts. `None` also if the server has ignored a range.
    failed: Option<RegistryError>,
    /// When the last connection was added, what had come by then, and the rate before.
    added: (Instant, u64, f64),
    /// Whether one more connection may be tried.
    may_grow: bool,
}

impl Parts {
    /// Brings the rest of a blob, which has come at `rate` bytes per second so far. Ends early, without an error, if the server
    /// ignores a range.
    pub(super) fn bring(transfer: &Arc<Transfer>, rate: f64) -> Result<(), RegistryError> {
        let there = transfer.there();
        let state = State {
            next: there,
            connections: 1,
            received: 0,
            ended: false,
            failed: None,
            added: (Instant::now(), 0, rate),
            may_grow: true,
        };
        let parts =
            Arc::new(Self { transfer: Arc::clone(transfer), state: Mutex::new(state), changed: Condvar::new() });
        parts.add();
        parts.work(true);
        let mut state = lock(&parts.state);
        // The last parts may be others' to bring.
        while !state.ended && transfer.there() < transfer.size {
            if transfer.is_stopped() {
                state.failed.get_or_insert(RegistryError::Interrupted);
                break;
            }
            state = parts.wait(state);
        }
        state.ended = true;
        state.failed.take().map_or(Ok(()), Err)
    }

    /// Adds a connection if the blob may have one more.
    fn add(self: &Arc<Self>) {
        if !self.transfer.queue.lend() {
            return;
        }
        lock(&self.state).connections += 1;
        let parts = Arc::clone(self);
        let work = move || {
            parts.work(false);
            lock(&parts.state).connections -= 1;
            parts.changed.notify_all();
            parts.transfer.queue.work();
        };
        if std::thread::Builder::new().name("download".into()).spawn(work).is_err() {
            lock(&self.state).connections -= 1;
            self.transfer.queue.work();
        }
    }

    /// Adds one more connection if the last one was worth it.
    fn grow(self: &Arc<Self>) {
        {
            let mut state = lock(&self.state);
            let (since, before, rate) = state.added;
            if since.elapsed() < MEASURED || !state.may_grow || state.connections >= MOST {
                return;
            }
            let now = (state.received - before) as f64 / since.elapsed().as_secs_f64();
            state.may_grow = now > rate * GAIN && self.transfer.size - state.next > PART;
            state.added = (Instant::now(), state.received, now);
            if !state.may_grow {
                return;
            }
        }
        self.add();
    }

    /// Brings one part after the other. Whoever is not the first leaves when other blobs wait for a connection.
    fn work(self: &Arc<Self>, is_first: bool) {
        loop {
            if !is_first && self.transfer.queue.is_waited_for() {
                return;
            }
            let (from, to) = {
                let mut state = lock(&self.state);
                let from = state.next;
                if state.ended || from == self.transfer.size {
                    return;
                }
                state.next = self.transfer.size.min(from + PART);
                (from, state.next)
            };
            if let Err(error) = self.part(from, to, is_first) {
                self.end(Some(error));
                return;
            }
        }
    }

    /// Ends the work early.
    fn end(&self, error: Option<RegistryError>) {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.ended, true) {
            state.failed = error;
        }
        self.changed.notify_all();
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Brings a part, in several attempts if need be.
    fn part(self: &Arc<Self>, from: u64, to: u64, is_first: bool) -> Result<(), RegistryError> {
        let blob = self.transfer.blob();
        let mut backoff = Backoff::new(blob.client.options().first_pause, ATTEMPTS);
        let mut kept = Kept { at: from, bytes: Vec::new() };
        while kept.end() < to {
            let (before, mut ranges) = (kept.end(), true);
            let asked = blob.ask(before, Some(to), &mut ranges);
            if !ranges {
                self.end(None);
            }
            let Err(error) = asked.and_then(|coming| self.take(coming, &mut kept, to, is_first)) else { continue };
            let at = kept.end();
            backoff.has_brought(at - before);
            let Some(time) = backoff.next(&error) else { return Err(blob.stuck(at, backoff.attempts, error)) };
            self.check(&lock(&self.state))?;
            self.transfer.tell_retry(at, time, &error);
            pause(time, || self.check(&lock(&self.state)).is_err())?;
        }
        let mut state = lock(&self.state);
        while !self.hand_over(&state, &mut kept)? {
            state = self.wait(state);
        }
        Ok(())
    }

    /// Takes the bytes of a part up to `to`.
    fn take(self: &Arc<Self>, coming: Coming, kept: &mut Kept, to: u64, is_first: bool) -> Result<(), RegistryError> {
        let Coming { mut body, url, .. } = coming;
        let mut buffer = vec![0; PIECE];
        let mut pace = Pace::new(self.transfer.blob().client.options().stall);
        while kept.end() < to {
            let most = usize::try_from(to - kept.end()).unwrap_or(PIECE).min(PIECE);
            let read = body.read(&mut buffer[..most]).map_err(|error| broken("Get", &url, &error))?;
            if read == 0 {
                let reason = "unexpected EOF".to_owned();
                return Err(RegistryError::Transport { method: "Get", url, reason, transient: true });
            }
            pace.check(read, &url)?;
            kept.bytes.extend_from_slice(&buffer[..read]);
            {
                let mut state = lock(&self.state);
                state.received += read as u64;
                self.hand_over(&state, kept)?;
            }
            if is_first {
                self.grow();
            }
        }
        // The connection can be used again when the end of the body was seen.
        let _ = body.read(&mut buffer[..1]);
        Ok(())
    }

    /// Writes what is kept into the file if it is its turn. Returns whether nothing is kept any more. Only one at a time does
    /// this, and nobody after the end.
    fn hand_over(&self, state: &MutexGuard<'_, State>, kept: &mut Kept) -> Result<bool, RegistryError> {
        self.check(state)?;
        if kept.bytes.is_empty() {
            return Ok(true);
        }
        if self.transfer.there() != kept.at {
            return Ok(false);
        }
        self.transfer.append(kept.at, &kept.bytes)?;
        kept.at = kept.end();
        kept.bytes.clear();
        self.changed.notify_all();
        Ok(true)
    }

    /// Whether the work is still wanted.
    fn check(&self, state: &MutexGuard<'_, State>) -> Result<(), RegistryError> {
        if self.transfer.is_stopped() || state.ended { Err(RegistryError::Interrupted) } else { Ok(()) }
    }
}

/// Bytes of a part that are not in the file.
struct Kept {
    /// Where they begin.
    at: u64,
    bytes: Vec<u8>,
}

impl Kept {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_connections_are_for_what_takes_long() {
        let (second, most) = (Duration::from_secs(1), 1 << 30);
        assert!(are_worth_it(most, 10 << 20, second));
        // Nearly all of it is there, or it will be soon, or too little is known.
        assert!(!are_worth_it(PART, 1 << 10, second));
        assert!(!are_worth_it(most, 600 << 20, second));
        assert!(!are_worth_it(most, 1 << 20, second / 2));
    }
}
