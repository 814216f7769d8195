//! `layer-run`: a command in an image; nothing of it stays.
//!
//! Everything is mounted in a name space of mounts of this process's own, on a file system in memory: what was written is gone
//! with the last process, however this one ends.

mod attach;
mod fuse;
mod kept;
mod place;
mod settings;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use images::source::Platform;
use runtime::{Runtime, RuntimeError, Stdio};

use crate::generate::Generate;
use crate::manual::Manual;
use crate::registries::SourceFlags;
use crate::storage_options::StorageFlags;
use crate::{output, rootless};
pub(crate) use kept::Kept;
use place::Place;

pub(crate) const NAME: &str = "layer-run";

/// Run a command in an image, without a daemon; nothing of it stays
///
/// SOURCE is an archive (`docker save`, an OCI layout as a tar or a directory), a directory with a root file system, an image of a
/// registry as docker://NAME[:TAG|@DIGEST], or, if no such file exists, an image of DATA_ROOT. What the command writes is in
/// memory and gone at the end, unless --keep is given.
///
/// There is no network but a loop-back device, unless --network host is given. Without root, a user namespace is used.
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100)]
pub(super) struct Cli {
    /// An archive, a layout, a directory, docker://NAME, or an image of the data-root
    #[arg(required_unless_present_any = ["generate", "bundle"])]
    source: Option<String>,

    /// Command and arguments, behind -- if they begin with a dash [default: the image's]
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,

    /// Docker data-root
    #[arg(long, value_name = "DATA_ROOT", default_value = "/var/lib/docker")]
    root: PathBuf,

    /// Storage driver of the data-root [default: what the root holds]
    #[arg(long, value_name = "DRIVER")]
    storage_driver: Option<String>,

    #[command(flatten)]
    storage: StorageFlags,

    /// Image to take of an archive with several, by name or id
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// Image to take of an archive with several platforms [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Keep what is written in DIR/diff, as overlay2 would hold it; DIR is new or empty (see `layerfs image commit`)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Runtime: builtin, auto (crun, runc or youki, else builtin), or a program
    #[arg(long, value_name = "RUNTIME", default_value = "builtin")]
    runtime: String,

    #[command(flatten, next_help_heading = "The command")]
    wanted: settings::Flags,

    /// Run this OCI bundle instead, for tests and measurements
    #[arg(long, value_name = "DIR", hide = true, conflicts_with_all = ["source", "keep"])]
    bundle: Option<PathBuf>,

    /// Print the manual page, or a shell's completions
    #[arg(long, value_name = "WHAT")]
    generate: Option<Generate>,

    #[command(flatten, next_help_heading = "The registry of docker://")]
    registry: SourceFlags,
}

const MANUAL: Manual = Manual {
    name: NAME,
    examples: &[
        ("layer-run app.tar -ti -- sh", "a shell in the image of an archive, with nothing imported"),
        ("layer-run alpine:3 -- cat /etc/os-release", "a command in an image of /var/lib/docker"),
        ("layer-run docker://alpine:3 -- cat /etc/os-release", "the same, straight from a registry"),
        ("layer-run app.tar -v \"$PWD:/work\" -w /work -- make", "with a directory of the host"),
        ("layer-run app:1 --keep changes -- apk add curl", "keep what it writes in changes/diff"),
        ("layerfs image commit changes app:2", "make an image of that"),
        ("layer-run /mnt/disk --read-only -- ls /", "in a directory with a root file system"),
    ],
    more: ("", &[]),
    statuses: &[
        (0, "done"),
        (2, "usage"),
        (125, "the container could not be set up"),
        (126, "the command cannot be executed"),
        (127, "the command was not found"),
        (128, "and more: the command ended by a signal"),
    ],
    see_also: &["layerfs", "layer-unpack"],
    report: "",
};

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match MANUAL.parse::<Cli>(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let mut failed = None;
    let code = crate::run(NAME, || match run(&cli) {
        Err(error) if !error.is::<crate::exit::UsageError>() => {
            // Docker's statuses: 125 and more tell a failure of ours from one of the command.
            let status = error.downcast_ref::<RuntimeError>().map_or(125, RuntimeError::status);
            failed = Some(status);
            Err(error)
        }
        result => result,
    });
    failed.map_or(code, ExitCode::from)
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(what) = cli.generate {
        return what.print::<Cli>(&MANUAL);
    }
    cli.storage.choose()?;
    if let Some(code) = rootless::enter()? {
        return Ok(code);
    }
    rootless::end_with_parent()?;
    let mut used: Vec<PathBuf> = cli.wanted.host_paths();
    used.extend([&cli.keep, &cli.bundle].into_iter().flatten().cloned());
    used.extend([cli.root.clone(), PathBuf::from(cli.source.as_deref().unwrap_or_default())]);
    used.extend(cli.registry.paths());
    let place = Place::make(&used)?;
    let runtime = Runtime::find(&cli.runtime, &place.dir("state")?)?.tied();
    let id = format!("layer-run-{}", std::process::id());
    // Another program takes a while to say its version: nobody waits for that.
    let (status, deleted) = std::thread::scope(|scope| {
        if runtime.is_program() {
            scope.spawn(|| {
                if let Some(warning) = runtime.version().ok().and_then(|version| version.warning) {
                    output::complain(NAME, &format!("warning: {warning}"));
                }
            });
        }
        let status = (|| {
            let bundle = cli.bundle.clone().map_or_else(|| bundle(cli, &place), Ok)?;
            let stdio = attach::stdio(cli.wanted.tty, cli.wanted.interactive)?;
            run_in(&runtime, &bundle, &id, stdio, cli.wanted.interactive)
        })();
        (status, runtime.delete(&id, true))
    });
    let status = status?;
    deleted?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(125)))
}

fn run_in(runtime: &Runtime, bundle: &Path, id: &str, stdio: Stdio, input: bool) -> anyhow::Result<i32> {
    let signals = attach::Signals::hold()?;
    let mut created = runtime.create_to_run(bundle, id, stdio)?;
    let attached = attach::Attached::begin(created.terminal.take(), input)?;
    if let Err(error) = runtime.start(id, &mut created) {
        let _ = runtime.wait(created.pid);
        return Err(error.into());
    }
    let passing_on = signals.pass_on(created.pid, attached.terminal());
    let exit = runtime.wait(created.pid)?;
    drop(passing_on);
    drop(attached);
    Ok(created.outcome(exit)?.code())
}

/// Makes the root file system and the bundle.
fn bundle(cli: &Cli, place: &Place) -> anyhow::Result<PathBuf> {
    let text = cli.source.as_deref().unwrap_or_default();
    let found = source::find(cli, text, place)?;
    let bundle = place.dir("bundle")?;
    let settings = cli.wanted.settings(&found, place, &cli.command)?;
    if let Some(dir) = &cli.keep {
        let (image, command, mapped) = (found.image, settings.args.clone(), place::in_user_namespace());
        Kept { image, command, mapped }.write(dir)?;
    }
    let mut spec = runtime::spec::make(&settings)?;
    cli.wanted.finish(&mut spec);
    let json = serde_json::to_vec(&spec)?;
    std::fs::write(bundle.join("config.json"), json).context("writing config.json")?;
    Ok(bundle)
}
