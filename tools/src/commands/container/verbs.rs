//! `layerfs container stop`, `kill`, `wait`, `rename`, `rm`, `prune`, `top`: docker's, offline.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use containers::ContainerError;
use docker_format::filter::Command;
use jiff::Timestamp;
use snapshot::usage::sizes;
use snapshot::view::{Needs, View};

use super::create::{message, store};
use crate::commands::layerfs::NAME;
use crate::pruning::{self, is_sure};
use crate::unsupported::unsupported;
use crate::{output, signals};

const TITLE: &str = "Deleted Containers:";

/// Does something with each container, prints the names of those with which it worked, and reports the others.
pub(super) fn each(
    names: &[String],
    mut work: impl FnMut(&str) -> Result<(), ContainerError>,
) -> anyhow::Result<ExitCode> {
    let mut status = ExitCode::SUCCESS;
    for name in names {
        match work(name) {
            Ok(()) => output::say(name)?,
            Err(error) => {
                output::complain(NAME, &message(&error.into()));
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

unsupported! { struct UnsupportedByStop; switches: ; values: signal -'s' }

#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before it is killed [default: the container's own, or 10]
    #[arg(short, long, alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    time: Option<i64>,

    #[command(flatten)]
    unsupported: UnsupportedByStop,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn stop(args: &StopArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    let store = store(root, driver)?;
    each(&args.containers, |name| store.stop(name, args.time))
}

#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// The signal: a name, with or without SIG, or a number
    #[arg(short, long, default_value = "KILL")]
    signal: String,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn kill(args: &KillArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    each(&args.containers, |name| {
        let number = runtime::signal_number(&args.signal);
        let number = number.ok_or_else(|| ContainerError::Invalid(format!("Invalid signal: {}", args.signal)))?;
        store.kill(name, number)
    })
}

#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn wait(args: &WaitArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    let mut status = ExitCode::SUCCESS;
    for name in &args.containers {
        match store.wait(name) {
            Ok(code) => output::say(&code.to_string())?,
            Err(error) => {
                output::complain(NAME, &message(&error.into()));
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// The container, by name or id
    container: String,

    /// Its new name
    new_name: String,
}

pub(crate) fn rename(args: &RenameArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    if let Err(error) = store(root, driver)?.rename(&args.container, &args.new_name) {
        output::complain(NAME, &message(&error.into()));
        anyhow::bail!("failed to rename container named {}", args.container);
    }
    Ok(ExitCode::SUCCESS)
}

unsupported! { struct Unsupported; switches: link -'l'; values: }

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Kill a running container first
    #[arg(short, long)]
    force: bool,

    /// Remove its anonymous volumes, too
    #[arg(short, long)]
    volumes: bool,

    #[command(flatten)]
    unsupported: Unsupported,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn rm(args: &RmArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    let store = store(root, driver)?;
    signals::wait_for_the_end()?;
    let mut status = ExitCode::SUCCESS;
    for name in &args.containers {
        match store.remove(name.trim_end_matches('/'), args.force, args.volumes) {
            Ok(()) => output::say(name)?,
            Err(error) => {
                if !(args.force && matches!(error, ContainerError::NoContainer(_) | ContainerError::Damaged { .. })) {
                    status = ExitCode::FAILURE;
                }
                output::complain(NAME, &message(&error.into()));
            }
        }
    }
    Ok(status)
}

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Only containers that: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn prune(args: &PruneArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let filters = pruning::filters(&args.filter)?;
    if !args.force && !is_sure("all stopped containers")? {
        return pruning::say_removed(TITLE, &[], 0);
    }
    filters.check(Command::ContainerPrune)?;
    signals::wait_for_the_end()?;
    let until = filters.until(Timestamp::now())?;
    let store = store(root, driver)?;
    let view = View::read(root, driver, Needs::LISTING)?;
    let selects = |container: &snapshot::catalog::Container| {
        until.is_none_or(|until| container.created.moment().is_none_or(|created| created <= until))
            && filters.labels_match(&container.labels)
    };
    let going = view.catalog().live_containers().filter(|container| !container.status().is_up() && selects(container));
    let sizes: std::collections::BTreeMap<_, _> =
        going.map(|one| (one.id.clone(), sizes::measure_container(&view, one).written.unwrap_or(0))).collect();
    let gone = store.prune(selects)?;
    let reclaimed: u64 = gone.iter().filter_map(|id| sizes.get(id)).sum();
    let lines: Vec<String> = gone.iter().map(ToString::to_string).collect();
    pruning::say_removed(TITLE, &lines, reclaimed)
}

#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// The container, by name or id
    container: String,

    /// Options for ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS_OPTION")]
    options: Vec<String>,
}

/// The processes of a container, as the host's `ps` shows them (moby v20.10.24 `daemon/top_unix.go`).
pub(crate) fn top(args: &TopArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    let id = store.find(&args.container)?;
    if store.attach(id.as_str()).is_err() {
        anyhow::bail!("Container {id} is not running");
    }
    let pids = store.runtime_of(&id)?.processes(id.as_str())?;
    let options = if args.options.is_empty() { vec!["-ef".to_owned()] } else { args.options.clone() };
    let shown = std::process::Command::new("ps").args(&options).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("ps: exec: \"ps\": executable file not found in $PATH"),
        _ => anyhow::Error::new(error).context("ps"),
    })?;
    if !shown.status.success() {
        // As dockerd does: its first line says why, and what follows explains its options.
        match String::from_utf8_lossy(&shown.stderr).lines().next() {
            Some(line) => anyhow::bail!("ps: {line}"),
            None => anyhow::bail!("ps: {}", shown.status.to_string().replace(": ", " ")),
        }
    }
    let text = String::from_utf8_lossy(&shown.stdout);
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let Some(column) = titles.iter().position(|title| *title == "PID") else {
        anyhow::bail!("Couldn't find PID field in ps output: PS_OPTION has to have ps show it, as in `-o pid,comm`");
    };
    let mut rows = vec![titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>()];
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(column).and_then(|pid| pid.parse::<i32>().ok()).is_some_and(|pid| pids.contains(&pid)) {
            let (head, tail) = fields.split_at(titles.len().saturating_sub(1).min(fields.len()));
            let mut row: Vec<String> = head.iter().map(|field| (*field).to_owned()).collect();
            row.push(tail.join(" "));
            rows.push(row);
        }
    }
    let widths: Vec<usize> = (0..titles.len())
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(at, cell)| {
            let width = if at + 1 == row.len() { 0 } else { (widths[at].max(19) + 1).max(20) };
            format!("{cell:width$}")
        });
        output::say(&cells.collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}
