//! Exit statuses: 0 done, 1 the request failed, 2 usage or could not start, 130 interrupted.

use std::mem::ManuallyDrop;
use std::process::ExitCode;

use images::copy::CopyError;
use images::export::ExportError;
use images::load::ImportError;
use images::migrate::MigrateError;
use images::rescue::RescueError;
use images::save::SaveError;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use registry::RegistryError;

use crate::hints;
use crate::output::{self, Lost};

/// A request that cannot even begin; its exit status is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The user asked to stop, and the command has its own words for what that left behind; its exit status is 130.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Interrupted(pub(crate) &'static str);

/// Whether a command failed because the user asked it to stop.
pub(crate) fn is_interrupted(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>()
        || matches!(error.downcast_ref(), Some(ImportError::Interrupted))
        || matches!(error.downcast_ref(), Some(SaveError::Interrupted))
        || matches!(error.downcast_ref(), Some(MigrateError::Save(SaveError::Interrupted)))
        || matches!(
            error.downcast_ref(),
            Some(
                RescueError::Save(SaveError::Interrupted)
                    | RescueError::Import(ImportError::Interrupted)
                    | RescueError::Export(ExportError::Interrupted)
            )
        )
        || matches!(error.downcast_ref(), Some(ExportError::Interrupted))
        || matches!(error.downcast_ref(), Some(CopyError::Interrupted))
        || matches!(
            error.downcast_ref(),
            Some(RegistryError::Interrupted | RegistryError::Layer(SaveError::Interrupted))
        )
}

/// Runs a command and turns its result into an exit status. An error goes to standard error with all its causes, and with a
/// hint what to do about it, if there is one.
///
/// When this returns, everything that was printed has left the program. If standard output is full or closed, the status
/// is 1; but a reader that hangs up has read enough, and that is success.
#[must_use]
pub fn run(name: &str, command: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    allow_descriptors();
    let program = name.to_owned();
    dm::when_udev_is_silent(move |silent| output::complain(&program, &format!("warning: {silent}")));
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
    output::complain(name, &hints::with_hint(&error));
    ExitCode::from(match () {
        () if is_interrupted(&error) => 130,
        () if error.is::<UsageError>() => 2,
        () => 1,
    })
}

/// Leaves a value to the end of the process: to free the records of 50,000 layers one by one takes longer than to print some of them.
pub(crate) fn until_the_end<T>(value: T) -> ManuallyDrop<T> {
    ManuallyDrop::new(value)
}

/// Raises the limit of open files as far as the system allows. The usual limit of 1,024 is for programs that still use
/// `select`.
fn allow_descriptors() {
    // If that is refused, the present limit may be enough.
    let _ = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
}
