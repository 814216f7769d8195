//! One run: its time, its processor time, its memory.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// What one run took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) wall: f64,
    pub(super) user: f64,
    pub(super) system: f64,
}

/// Runs `work` and measures it. What is measured is this whole process, which does nothing else meanwhile.
pub(super) fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Sample)> {
    let before = usage()?;
    let start = Instant::now();
    let done = work()?;
    let wall = start.elapsed().as_secs_f64();
    let after = usage()?;
    let passed = |time: fn(&Usage) -> TimeVal| duration(time(&after)).saturating_sub(duration(time(&before)));
    let (user, system) = (passed(Usage::user_time).as_secs_f64(), passed(Usage::system_time).as_secs_f64());
    Ok((done, Sample { wall, user, system }))
}

fn usage() -> anyhow::Result<Usage> {
    getrusage(UsageWho::RUSAGE_SELF).context("getrusage")
}

fn duration(time: TimeVal) -> Duration {
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(positive(time.tv_sec())) + Duration::from_micros(positive(time.tv_usec()))
}

/// Runs `work`, and returns the most anonymous memory that this process had, as seen by a thread that looks every few
/// milliseconds.
pub(super) fn with_peak_memory<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, stopped) = channel::<()>();
    std::thread::scope(|scope| {
        let watch = move || {
            let mut peak = anonymous_memory();
            // The loop ends when the other end of the channel is dropped, also by a panic.
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                peak = peak.max(anonymous_memory());
            }
            peak.max(anonymous_memory())
        };
        // Where the system refuses to make a thread, only the memory held at the end is known.
        let watching = std::thread::Builder::new().spawn_scoped(scope, watch).ok();
        let done = {
            let _stop = stop;
            work()
        };
        let peak = watching.and_then(|watching| watching.join().ok());
        (done, peak.unwrap_or_else(anonymous_memory))
    })
}

/// Bytes of this process's memory that no file backs; zero if the kernel does not say.
fn anonymous_memory() -> u64 {
    parse_status(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn parse_status(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_seen_while_it_is_held() {
        assert_eq!(parse_status("VmRSS:\t 9000 kB\nRssAnon:\t    3124 kB\nRssFile:\t 1 kB\n"), 3124 * 1024);
        let before = anonymous_memory();
        let hold = || {
            let held = vec![1_u8; 64 << 20];
            std::thread::sleep(10 * INTERVAL);
            held.len()
        };
        let (held, peak) = with_peak_memory(hold);
        assert!(peak >= before.max(held as u64), "{peak} after {before}");
    }

    #[test]
    fn time_is_told_apart_from_work() {
        let sleep = || {
            std::thread::sleep(Duration::from_millis(20));
            Ok(7)
        };
        let (done, Sample { wall, user, system }) = timed(sleep).unwrap();
        assert_eq!(done, 7);
        assert!(wall >= 0.02 && user >= 0.0 && system >= 0.0);
    }
}
