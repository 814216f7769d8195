//! Exit statuses: 0 done, 1 the request failed, 2 usage or could not start, 130 interrupted.

use std::process::ExitCode;

use images::export::ExportError;
use images::load::ImportError;
use images::save::SaveError;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::hints;
use crate::output::{self, Lost};

/// A request that cannot even start; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Runs a command and turns its result into an exit status. Errors go to standard error with all their causes, and with
/// what to do about it where that is known.
///
/// What was printed has left the program when this returns: a standard output that is full or closed is status 1. A
/// reader that hangs up has read enough: that is success.
#[must_use]
pub fn run(name: &str, command: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    allow_descriptors();
    let result = command().and_then(|code| {
        output::finish()?;
        Ok(code)
    });
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    if error.downcast_ref().is_some_and(Lost::is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let hint = hints::hint(&error).map_or_else(String::new, |hint| format!("; {hint}"));
    output::complain(name, &format!("{error:#}{hint}"));
    let interrupted = matches!(error.downcast_ref(), Some(ImportError::Interrupted))
        || matches!(error.downcast_ref(), Some(SaveError::Interrupted))
        || matches!(error.downcast_ref(), Some(ExportError::Interrupted));
    ExitCode::from(match () {
        () if interrupted => 130,
        () if error.is::<Usage>() => 2,
        () => 1,
    })
}

/// Allows as many open files as the system lets us have. The usual limit of 1,024 is for programs that still use `select`.
fn allow_descriptors() {
    // Where it is refused, what there is may do.
    let _ = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
}
