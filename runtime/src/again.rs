//! Calls that fail because of what others do meanwhile, and are tried again.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// The kernel asks to try again where something was renamed or mounted meanwhile, wherever that was.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    const TIMES: usize = 128;
    for _ in 0..TIMES {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    call()
}

/// Makes something below directories that another command may remove at any moment as long as nothing is in them.
///
/// Each turn may be lost: who removes the directory waits for the same lock as who makes something in it, and gets it next.
/// So turns are counted in time, not in numbers, with a pause that grows.
///
/// # Errors
/// That of the last attempt, after five seconds.
pub fn make_below<T>(mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const LONGEST: Duration = Duration::from_secs(5);
    const LONGEST_PAUSE: Duration = Duration::from_millis(1);
    let begun = Instant::now();
    let mut pause = Duration::from_micros(10);
    loop {
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && begun.elapsed() < LONGEST => {
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often the other command is faster, and only for the error that tells of it.
    #[test]
    fn what_another_removes_is_made_again() {
        let mut left = 300;
        let made = make_below(|| {
            left -= 1;
            if left > 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(left) }
        });
        assert_eq!(made.unwrap(), 0);
        let mut calls = 0;
        let failed = make_below(|| {
            calls += 1;
            Err::<(), _>(io::ErrorKind::PermissionDenied.into())
        });
        assert_eq!((failed.unwrap_err().kind(), calls), (io::ErrorKind::PermissionDenied, 1));
    }
}
