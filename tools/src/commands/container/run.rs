//! `layerfs container run`: `docker run`, offline.

use std::path::Path;
use std::process::ExitCode;

use containers::ContainerError;

use super::create::{complain, make, store};
use super::flags::CreateFlags;
use super::keys;
use super::session::{self, How};
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave the container running, and print its id
    #[arg(short, long)]
    detach: bool,

    /// Keys by which a user of a terminal leaves the container running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Do not pass signals on to the container
    #[arg(long = "no-sig-proxy", hide = true)]
    no_sig_proxy: bool,

    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value = "true", hide_default_value = true)]
    sig_proxy: String,

    #[command(flatten)]
    flags: CreateFlags,
}

/// The exit status of a command that could not start a container.
pub(super) const FAILED: u8 = 125;

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let ran = attempt(args, root, driver);
    ran.or_else(|error| {
        let status = error.downcast_ref().map_or(FAILED, ContainerError::status);
        complain(&error, &args.flags);
        Ok(ExitCode::from(status))
    })
}

fn attempt(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let flags = &args.flags;
    let signals = crate::flags::parse_bool(&args.sig_proxy).unwrap_or(true) && !args.no_sig_proxy;
    let how = How { input: flags.interactive && !args.detach, tty: flags.tty, signals };
    if !args.detach
        && let Err(error) = session::check_terminal(how)
    {
        crate::output::complain(crate::commands::layerfs::NAME, &error.to_string());
        return Ok(ExitCode::FAILURE);
    }
    let keys = keys::parse(args.detach_keys.as_deref())?;
    let store = store(root, driver)?;
    let id = make(&store, flags, args.detach, true)?;
    let started = store.prepare_start(&id, &flags.runtime, session::window()).and_then(|mut attached| {
        if !args.detach {
            // Without the signals, the container still runs.
            let _ = session::forward_signals(&attached, how);
        }
        attached.start().map(|()| attached)
    });
    let attached = match started {
        Ok(attached) => attached,
        Err(error) => {
            if flags.rm {
                let _ = store.remove(id.as_str(), true, true);
            }
            return Err(error.into());
        }
    };
    if args.detach {
        output::say(&id)?;
        return Ok(ExitCode::SUCCESS);
    }
    let code = session::may_detach(session::follow(attached, how, keys))?;
    Ok(status(code))
}

/// The exit status for a container's exit code.
pub(super) fn status(code: Option<i32>) -> ExitCode {
    ExitCode::from(code.map_or(0, |code| u8::try_from(code & 0xff).unwrap_or(FAILED)))
}
