//! `layerfs container cp`: `docker container cp`, offline: out of a container, with what docker mounts over its layers, and into one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use containers::{CopyIn, Covers};
use images::copy::read_mounted;
use images::tree::{Bind, Mounted};

use super::content::with_layers;
use crate::commands::image::cp::Copy;

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
    with_layers(&name, root, driver, |view, container, layers| {
        let covers = Covers::find(view.root(), container)?;
        let bind = |(at, source): (&str, Result<&Path, &str>)| Bind {
            at: at.as_bytes().to_vec(),
            source: source.map(Path::to_path_buf).map_err(str::to_owned),
        };
        let mut layers = Mounted::new(layers, covers.iter().map(bind).collect());
        let tree = read_mounted(&mut layers, path, args.follow_link)?;
        copy.run(&tree, &layers, path, &format!("container:path: {name}"))?;
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
