//! Exit statuses: 0 done, 1 the request failed, 2 usage or could not start, 130 interrupted.

use std::process::ExitCode;

use images::load::ImportError;

/// A request that cannot even start; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Runs a command and turns its result into an exit status. Errors go to standard error with all their causes.
#[must_use]
pub fn run(name: &str, command: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    let error = match command() {
        Ok(code) => return code,
        Err(error) => error,
    };
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    crate::output::complain(name, &format!("{error:#}"));
    let interrupted = matches!(error.downcast_ref(), Some(ImportError::Interrupted));
    ExitCode::from(match () {
        () if interrupted => 130,
        () if error.is::<Usage>() => 2,
        () => 1,
    })
}
