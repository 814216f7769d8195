//! `layerfs container cp`: `docker container cp`, offline: out of a container without a mount, and into one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use containers::CopyIn;
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
    /// What to copy: a container, by name or id, and a path in it, or a path of the host, or `-` for a tar on standard input; behind a directory `/.` means what is in it
    #[arg(value_name = "CONTAINER:PATH|PATH|-")]
    source: OsString,

    /// Where to: a path of the host, `-` for a tar on standard output, or a container and a path in it
    #[arg(value_name = "DEST|-|CONTAINER:PATH")]
    destination: OsString,

    /// What is copied into a container belongs to its user; what is copied out of it belongs to the caller with it and without
    #[arg(short, long)]
    archive: bool,

    /// If what is to be copied is a symlink, copy what it leads to
    #[arg(short = 'L', long)]
    follow_link: bool,

    /// Accepted for docker's sake: nothing is said about progress
    #[arg(short, long, hide = true)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let copy = Copy::check(&args.source, &args.destination, args.follow_link)?;
    let (name, path) = match (split(&args.source), split(&args.destination)) {
        (Some(_), Some(_)) => bail!("copying between containers is not supported"),
        (None, Some((name, to))) => return copy_in(args, name, to, root, driver),
        (None, None) => bail!("must specify at least one container source"),
        (Some(source), None) => source,
    };
    copy.check_destination()?;
    let name = String::from_utf8_lossy(name);
    // The flag is accepted and has no effect in this direction, as with docker's client.
    let _ = (args.archive, args.quiet);
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

fn copy_in(args: &Args, name: &[u8], to: &[u8], root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let is_tar = args.source == "-";
    if to.is_empty() && !is_tar {
        bail!("no such directory");
    }
    let how = CopyIn { follow_link: args.follow_link, as_user: args.archive };
    let store = super::create::store(root, driver)?;
    crate::signals::wait_for_the_end()?;
    let name = String::from_utf8_lossy(name);
    if is_tar {
        store.copy_tar_in(&name, std::io::BufReader::with_capacity(128 << 10, std::io::stdin()), to, args.archive)?;
    } else {
        store.copy_in(&name, Path::new(&args.source), to, how)?;
    }
    Ok(ExitCode::SUCCESS)
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
    layerfs::path::absolute(path).split_off(1)
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
