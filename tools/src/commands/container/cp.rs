//! `layerfs container cp`: `docker container cp` out of a container, offline and without a mount.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use images::copy::CopySource;
use images::tree::read_tree;
use snapshot::catalog::Container;

use super::content::with_layers;
use crate::commands::image::cp::Copy;
use crate::commands::image::shown;
use crate::commands::layerfs::NAME;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id, and what to copy; behind a directory `/.` means what is in it
    #[arg(value_name = "CONTAINER:PATH")]
    source: OsString,

    /// Where to, or `-` for a tar on standard output
    #[arg(value_name = "DEST|-")]
    destination: OsString,

    /// Accepted as docker does: what is copied to the host belongs to the caller with it and without
    #[arg(short, long)]
    archive: bool,

    /// If PATH is a symlink, copy what it leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let copy = Copy::check(&args.source, &args.destination, args.follow_link)?;
    let (name, path) = match (split(&args.source), split(&args.destination)) {
        (Some(_), Some(_)) => bail!("copying between containers is not supported"),
        (None, Some(_)) => bail!(
            "copying into a container is not supported: what a container has written is changed by the daemon alone; \
             `docker cp` does it"
        ),
        (None, None) => bail!("must specify at least one container source"),
        (Some(source), None) => source,
    };
    copy.check_destination()?;
    let name = String::from_utf8_lossy(name);
    // What docker takes as it is in both forms.
    let _ = args.archive;
    with_layers(&name, root, driver, |_, container, layers| {
        let tree = read_tree(layers, None)?;
        let mounts = mounts(container);
        let found = CopySource::find(&tree, path, args.follow_link).ok().map(|source| source.path);
        for path in found.into_iter().chain([clean(path)]) {
            if let Some(mount) = mounts.iter().find(|mount| is_below(&path, &mount.at)) {
                bail!(
                    "{}: {} is mounted there, whose files are not in the container's layers",
                    shown(&mount.at),
                    mount.what
                );
            }
        }
        let copied = copy.run(&tree, layers, path, &format!("container:path: {name}"))?;
        for mount in mounts.iter().filter(|mount| is_below(&mount.at, &copied)) {
            output::complain(
                NAME,
                &format!("left out: what is in {}, as {} is mounted there", shown(&mount.at), mount.what),
            );
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `CONTAINER:PATH`, but neither `/a:b` nor `./a:b` (docker/cli v20.10.24 `cli/command/container/cp.go: splitCpArg`).
fn split(argument: &OsStr) -> Option<(&[u8], &[u8])> {
    let bytes = argument.as_bytes();
    let colon = bytes.iter().position(|&byte| byte == b':')?;
    let is_path = bytes.starts_with(b"/") || bytes.starts_with(b".") || colon == 0;
    (!is_path).then(|| (&bytes[..colon], &bytes[colon + 1..]))
}

/// Something that docker mounts over the layers while it copies.
struct Mount {
    /// Its path in the container, without a slash in front.
    at: Vec<u8>,
    /// What it is.
    what: String,
}

fn mounts(container: &Container) -> Vec<Mount> {
    let points = container.mount_points.iter().filter(|point| point.kind != "tmpfs").map(|point| {
        let what = if point.name.is_empty() {
            format!("{} of the host", output::escape(&point.source))
        } else {
            format!("the volume {}", output::escape(&point.name))
        };
        Mount { at: clean(point.destination.as_bytes()), what }
    });
    // docker makes these when it starts a container for the first time.
    let started = !container.state.started.is_zero();
    let own = ["etc/hosts", "etc/hostname", "etc/resolv.conf"].into_iter().filter(|_| started);
    let own = own.map(|path| Mount { at: clean(path.as_bytes()), what: "a file of docker's own".to_owned() });
    points.chain(own).collect()
}

/// A path by its text alone, without a slash in front.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join(&b'/')
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
