//! Tells a thing that is not there from a thing that cannot be read, which proves nothing: it may be what is looked
//! for.

use std::error::Error;

use crate::catalog::with_causes;
use crate::error::{StoreError, leaves_open};

/// What was found; `None` if it is not there. A file of the wrong kind counts as not there.
///
/// # Errors
/// Why it cannot be told whether it is there.
pub(super) fn readable<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, String> {
    found.or_else(|error| if error.leaves_open() { Err(with_causes(&error)) } else { Ok(None) })
}

/// Whether one of an error's causes is a system call that [leaves open](leaves_open) what is there.
pub(super) fn failed_to_read(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|cause| cause.downcast_ref().is_some_and(leaves_open))
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn only_an_answer_proves_that_something_is_not_there() {
        let failed = |errno: Errno| StoreError::io("x", "opening")(errno);
        for errno in [Errno::IO, Errno::MFILE, Errno::ACCESS, Errno::NOMEM, Errno::STALE, Errno::UCLEAN] {
            assert!(readable::<()>(Err(failed(errno))).is_err() && failed_to_read(&failed(errno)), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::LOOP] {
            assert_eq!(readable::<()>(Err(failed(errno))), Ok(None), "{errno}");
            assert!(!failed_to_read(&failed(errno)), "{errno}");
        }
        let invalid = StoreError::Invalid { path: "x".into(), reason: "not a regular file".into() };
        assert_eq!(readable::<()>(Err(invalid)), Ok(None));
    }
}
