//! `layerfs container create`: `docker container create`, offline.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use containers::{ContainerError, Request, Store};
use snapshot::ids::ContainerId;
use snapshot::reference::Reference;

use super::flags::{CreateFlags, Pull};
use super::run::FAILED;
use crate::commands::image::pull;
use crate::commands::layerfs::NAME;
use crate::{flags, output, rootless, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: CreateFlags,
}

/// The store that the command line names.
pub(crate) fn store(root: &Path, driver: Option<&str>) -> anyhow::Result<Store> {
    rootless::check(root, "")?;
    signals::writes_fail()?;
    Ok(Store { root: root.to_path_buf(), driver: flags::writable(driver)? })
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    signals::wait_for_the_end()?;
    match make(&store, &args.flags, false, false) {
        Ok(id) => {
            output::say(&id)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            complain(&error, &args.flags);
            Ok(if error.is::<BadFlags>() { FAILED.into() } else { ExitCode::FAILURE })
        }
    }
}

/// Flags whose values cannot be meant: what docker's client refuses, and not its daemon, has an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("{}", message(.0))]
struct BadFlags(anyhow::Error);

/// Makes the container that the flags describe.
pub(super) fn make(store: &Store, flags: &CreateFlags, detach: bool, is_run: bool) -> anyhow::Result<ContainerId> {
    let request = flags.request(detach, is_run).map_err(BadFlags)?;
    let mut file = match &flags.cidfile {
        None => None,
        Some(path) => {
            if path.exists() {
                anyhow::bail!(
                    "container ID file found, make sure the other container isn't running or delete {}",
                    path.display()
                );
            }
            let made = std::fs::File::create_new(path);
            Some(made.with_context(|| format!("failed to create the container ID file: {}", path.display()))?)
        }
    };
    let made = fetched(store, flags, request);
    if made.is_err()
        && let Some(path) = &flags.cidfile
    {
        let _ = std::fs::remove_file(path);
    }
    let id = made?;
    if flags.is_restarted() {
        output::complain(
            NAME,
            "warning: the restart policy is written down for dockerd; nothing starts the container again here",
        );
    }
    if let Some(file) = &mut file {
        file.write_all(id.as_str().as_bytes())?;
    }
    Ok(id)
}

/// Makes a container; its image is fetched when `--pull` says so.
fn fetched(store: &Store, flags: &CreateFlags, request: Request) -> anyhow::Result<ContainerId> {
    let request = Request { platform: flags.wanted_platform()?, ..request };
    let fetch = || {
        // Who is asked to stop meanwhile ends at once; the next command takes back what is not complete.
        let interrupted = Arc::default();
        let (image, platform) = (flags.image(), request.platform.as_ref());
        pull::fetch(image, platform, &store.root, store.driver, &flags.registry, true, &interrupted)
    };
    if flags.pull == Pull::Always {
        fetch()?;
    }
    match containers::create(&store.root, store.driver, request.clone()) {
        Err(ContainerError::NoImage(_) | ContainerError::Platform { .. }) if flags.pull == Pull::Missing => {
            say_missing(flags);
            fetch()?;
            Ok(containers::create(&store.root, store.driver, request)?)
        }
        made => Ok(made?),
    }
}

/// Says why there is no container.
pub(super) fn complain(error: &anyhow::Error, flags: &CreateFlags) {
    match error.downcast_ref() {
        Some(ContainerError::NoImage(_)) => say_missing(flags),
        _ => output::complain(NAME, &message(error)),
    }
}

/// Says, as docker's client does, that the store does not have the image.
fn say_missing(flags: &CreateFlags) {
    if flags.image().is_empty() {
        output::complain(NAME, "invalid reference format");
        return;
    }
    let name = Reference::parse(flags.image()).map(|name| name.with_default_tag().familiar());
    let name = name.unwrap_or_else(|_| flags.image().to_owned());
    output::complain(NAME, &format!("Unable to find image '{name}' locally"));
}

/// An error with its causes, each once.
pub(super) fn message(error: &anyhow::Error) -> String {
    crate::hints::with_hint(error)
}
