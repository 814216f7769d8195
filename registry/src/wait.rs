//! Pauses between attempts.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::RegistryError;

/// How often a pause looks whether it is still wanted.
const SLICE: Duration = Duration::from_millis(50);

/// The longest pause that this program chooses by itself.
const LONGEST: Duration = Duration::from_secs(15);

/// The longest pause that a registry may ask for.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// Bytes of one attempt after whose end the next one need not wait: a server that brings so many is not overloaded, and only the
/// connection is gone.
const MANY: u64 = 1 << 20;

/// Attempts that brought nothing, and the pauses between them: each twice as long as the one before, less a random part.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: u32,
    pub(crate) attempts: u32,
    at_once: bool,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: u32) -> Self {
        Self { first, most, attempts: 0, at_once: false }
    }

    /// The last attempt has brought some bytes: those before it do not count any more.
    pub(crate) fn has_brought(&mut self, bytes: u64) {
        if bytes > 0 {
            self.attempts = 0;
            self.at_once = bytes >= MANY;
        }
    }

    /// How long to wait after `error` before the next attempt; `None` if there is none.
    pub(crate) fn next(&mut self, error: &RegistryError) -> Option<Duration> {
        self.attempts += 1;
        if self.attempts >= self.most {
            return None;
        }
        if let RegistryError::TooManyRequests { retry_after, .. } = error
            && let Some(asked) = retry_after
        {
            return (*asked <= LONGEST_ASKED).then_some(*asked);
        }
        let at_once = std::mem::take(&mut self.at_once) && matches!(error, RegistryError::Transport { .. });
        error.is_transient().then(|| {
            if at_once {
                return Duration::ZERO;
            }
            let whole = self.first.saturating_mul(1 << (self.attempts - 1).min(16)).min(LONGEST);
            whole - whole.mul_f64(random() / 2.0)
        })
    }
}

/// A number from 0 to 1. Nothing depends on its being hard to guess.
fn random() -> f64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    f64::from(nanos % 1000) / 1000.0
}

/// Waits, unless nobody wants what comes after it any more: `is_stopped` is asked again and again.
///
/// # Errors
/// [`RegistryError::Interrupted`]
pub(crate) fn pause(time: Duration, is_stopped: impl Fn() -> bool) -> Result<(), RegistryError> {
    let begun = Instant::now();
    loop {
        if is_stopped() {
            return Err(RegistryError::Interrupted);
        }
        let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { return Ok(()) };
        std::thread::sleep(left.min(SLICE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> RegistryError {
        RegistryError::Transport { method: "Get", url: String::new(), reason: "EOF".into(), transient: true }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = Backoff::new(Duration::from_millis(100), 4);
        for whole in [100, 200, 400] {
            let pause = backoff.next(&lost()).unwrap();
            assert!(pause <= Duration::from_millis(whole) && pause >= Duration::from_millis(whole / 2), "{pause:?}");
        }
        assert_eq!(backoff.next(&lost()), None);
    }

    #[test]
    fn after_many_bytes_the_next_attempt_comes_at_once() {
        let mut backoff = Backoff::new(Duration::from_millis(100), 3);
        backoff.has_brought(MANY);
        assert_eq!(backoff.next(&lost()), Some(Duration::ZERO));
        assert!(backoff.next(&lost()).unwrap() >= Duration::from_millis(50));
        assert_eq!(backoff.next(&lost()), None);
        for _ in 0..9 {
            backoff.has_brought(MANY - 1);
            assert!(backoff.next(&lost()).unwrap() >= Duration::from_millis(50));
        }
    }

    #[test]
    fn a_registry_is_left_alone_for_as_long_as_it_asks_within_reason() {
        let busy = |seconds: Option<u64>| RegistryError::TooManyRequests {
            message: String::new(),
            retry_after: seconds.map(Duration::from_secs),
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), 9);
        assert_eq!(backoff.next(&busy(Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(backoff.next(&busy(Some(3600))), None);
        assert!(backoff.next(&busy(None)).is_some());
        assert_eq!(backoff.next(&RegistryError::Interrupted), None);
    }
}
