//! Calls that fail because of what others do meanwhile, and are tried again.

use std::io;

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
/// # Errors
/// That of the last attempt.
pub fn make_below<T>(mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const TIMES: usize = 100;
    for _ in 0..TIMES {
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    make()
}
