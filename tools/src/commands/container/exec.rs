//! `layerfs container exec`: `docker container exec`, for containers that run here.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use containers::ContainerError;
use runtime::Stdio;
use runtime::spec::Exec;

use super::create::{message, store};
use super::run::status;
use super::session::{self, How};
use crate::commands::layerfs::NAME;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave it running
    #[arg(short, long)]
    detach: bool,

    /// Set an environment variable
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,

    /// Pass input on
    #[arg(short, long)]
    interactive: bool,

    /// Give it all rights
    #[arg(long)]
    privileged: bool,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// User: NAME|UID[:GROUP|GID]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    user: String,

    /// Working directory
    #[arg(short, long, default_value = "", hide_default_value = true)]
    workdir: String,

    /// The container, by name or id
    container: String,

    /// Command and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    let id = store.find(&args.container)?;
    let wanted = Exec {
        args: args.command.clone(),
        env: environment(&args.env),
        cwd: args.workdir.clone(),
        user: args.user.clone(),
        privileged: args.privileged,
        tty: args.tty,
    };
    if args.detach {
        return store.exec_detached(&id, &wanted).map(|()| ExitCode::SUCCESS).or_else(failed);
    }
    let how = How { input: args.interactive, tty: args.tty, signals: false };
    session::check_terminal(how)?;
    let stdio = if args.tty { Stdio::Terminal { size: session::window() } } else { Stdio::inherit(args.interactive)? };
    let running = match store.exec(&id, &wanted, stdio) {
        Ok(running) => running,
        Err(error) => return failed(error),
    };
    let terminal = running.created.terminal.as_ref().map(OwnedFd::try_clone).transpose()?;
    if let Some(terminal) = terminal {
        session::show_terminal(terminal.into(), how)?;
    }
    Ok(status(Some(running.wait()?)))
}

/// The variables to set; a name alone takes the caller's value.
fn environment(given: &[String]) -> Vec<String> {
    let value = |text: &String| match (text.contains('='), std::env::var(text)) {
        (false, Ok(value)) => format!("{text}={value}"),
        _ => text.clone(),
    };
    given.iter().map(value).collect()
}

/// Docker's statuses: 126 and 127 for a program that cannot be run or is not there, 1 for everything else.
fn failed(error: ContainerError) -> anyhow::Result<ExitCode> {
    let status = error.status();
    output::complain(NAME, &message(&error.into()));
    Ok(ExitCode::from(if status == 125 { 1 } else { status }))
}
