//! `layerfs container exec`: `docker container exec`, for containers that run here.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use containers::ContainerError;
use runtime::Stdio;
use runtime::spec::Exec;

use super::create::{message, store};
use super::flags::environment;
use super::keys;
use super::run::status;
use super::session::{self, How};
use crate::commands::layerfs::NAME;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave it running
    #[arg(short, long)]
    detach: bool,

    /// Keys by which a user of a terminal leaves the command running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Set an environment variable: NAME=VALUE, or NAME to pass one on
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,

    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

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
    let keys = keys::parse(args.detach_keys.as_deref())?;
    let environment = environment(&args.env_file, &args.env)?;
    let store = store(root, driver)?;
    let id = store.find(&args.container)?;
    let wanted = Exec {
        args: args.command.clone(),
        env: environment,
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
    if let Some(terminal) = terminal
        && let Err(error) = session::show_terminal(terminal.into(), how, keys)
    {
        if error.is::<session::Detached>() {
            running.leave()?;
        }
        return Err(error);
    }
    Ok(status(Some(running.wait()?)))
}

/// Docker's statuses: 126 and 127 for a program that cannot be run or is not there, 1 for everything else.
fn failed(error: ContainerError) -> anyhow::Result<ExitCode> {
    let status = error.status();
    output::complain(NAME, &message(&error.into()));
    Ok(ExitCode::from(if status == 125 { 1 } else { status }))
}
