//! `layerfs container start`, `restart`, `attach`: docker's, offline.

use std::path::Path;
use std::process::ExitCode;

use containers::{ContainerError, Store};

use super::create::{message, store};
use super::keys;
use super::run::status;
use super::session::{self, How};
use crate::commands::layerfs::NAME;
use crate::output;
use crate::unsupported::unsupported;

unsupported! { struct Unsupported; switches: ; values: checkpoint checkpoint_dir }

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what the container writes, pass signals on, and end with its exit status
    #[arg(short, long)]
    attach: bool,

    /// Keys by which a user of a terminal leaves the container running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Pass input on
    #[arg(short, long)]
    interactive: bool,

    /// Runtime: auto, builtin, or a program's name or path
    #[arg(long, default_value = "auto")]
    runtime: String,

    #[command(flatten)]
    unsupported: Unsupported,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    let store = store(root, driver)?;
    if args.attach || args.interactive {
        if args.containers.len() > 1 {
            anyhow::bail!("you cannot start and attach multiple containers at once");
        }
        return start_attached(args, &store);
    }
    let mut failed = Vec::new();
    for name in &args.containers {
        match start(&store, name, &args.runtime) {
            Ok(()) => output::say(name)?,
            Err(error) => {
                output::complain(NAME, &message(&error.into()));
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!("failed to start containers: {}", failed.join(", "))
}

/// Starts a container; one that runs already stays as it is.
fn start(store: &Store, name: &str, runtime: &str) -> Result<(), ContainerError> {
    let id = store.find(name)?;
    if store.attach(name).is_ok() {
        return Ok(());
    }
    store.prepare_start(&id, runtime, None)?.start()
}

fn start_attached(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let keys = keys::parse(args.detach_keys.as_deref())?;
    let id = store.find(&args.containers[0])?;
    let config = store.files(&id)?.config.config.unwrap_or_default();
    let how = How { input: args.interactive && config.open_stdin, tty: config.tty, signals: args.attach };
    session::check_terminal(how)?;
    let mut attached = store.prepare_start(&id, &args.runtime, session::window())?;
    session::forward_signals(&attached, how)?;
    attached.start()?;
    Ok(status(session::may_detach(session::follow(attached, how, keys))?))
}

unsupported! { struct UnsupportedByRestart; switches: ; values: signal -'s' }

#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// Seconds to wait before it is killed
    #[arg(short, long, alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    time: Option<i64>,

    #[command(flatten)]
    unsupported: UnsupportedByRestart,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn restart(args: &RestartArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    let store = store(root, driver)?;
    super::verbs::each(&args.containers, |name| {
        store.stop(name, args.time)?;
        start(&store, name, "auto")
    })
}

#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// Keys by which a user of a terminal leaves the container running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Do not pass input on
    #[arg(long)]
    no_stdin: bool,

    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value = "true", hide_default_value = true)]
    sig_proxy: String,

    /// The container, by name or id
    container: String,
}

pub(crate) fn attach(args: &AttachArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    let keys = keys::parse(args.detach_keys.as_deref())?;
    let (id, attached) = store.attach(&args.container)?;
    let config = store.files(&id)?.config.config.unwrap_or_default();
    let signals = crate::flags::parse_bool(&args.sig_proxy).unwrap_or(true);
    let how = How { input: !args.no_stdin && config.open_stdin, tty: config.tty, signals };
    session::check_terminal(how)?;
    session::forward_signals(&attached, how)?;
    Ok(status(session::follow(attached, how, keys)?))
}
