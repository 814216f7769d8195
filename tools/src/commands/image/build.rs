//! `layerfs image build`: `docker build` with docker's classic builder, offline.

mod flags;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use ::build::{BuildError, Context, Place, build};
use images::load::ImportError;
use images::source::Platform;
use jiff::Zoned;
use snapshot::ids::ImageId;

pub(crate) use self::flags::Args;
use super::pull;
use super::tag::rfc3339_nano;
use crate::commands::layerfs::NAME;
use crate::exit::is_interrupted;
use crate::flags::writable;
use crate::{hints, output, rootless, signals};

/// The exit status of docker's client for a flag whose value is wrong.
const BAD_FLAG: u8 = 125;

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.refuse_unsupported()?;
    let options = match args.options() {
        Ok(options) => options,
        Err(reason) => {
            output::complain(NAME, &reason);
            return Ok(ExitCode::from(BAD_FLAG));
        }
    };
    let driver_name = writable(driver)?;
    rootless::check(root, "")?;
    let interrupted = signals::interrupted()?;
    if let Some(file) = &args.iidfile {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                anyhow::bail!("removing image ID file: {}: {error}", file.display())
            }
            _ => {}
        }
    }
    let mut talk = Talk::new(args.quiet)?;
    let fetch = |name: &str, platform: Option<&Platform>| {
        let fetched = pull::fetch(name, platform, root, driver, &args.registry, options.sync, &interrupted);
        fetched.map_err(|error| match is_interrupted(&error) {
            true => BuildError::Interrupted,
            false => BuildError::NoBase(hints::with_hint(&error)),
        })
    };
    let place = Place {
        root: root.to_path_buf(),
        driver: driver_name,
        interrupted: &interrupted,
        fetch: &fetch,
        now: rfc3339_nano(&Zoned::now()),
    };
    let made = attempt(args, &place, &options, &mut talk);
    talk.end(made.is_ok())?;
    match made {
        Ok(id) => {
            if let Some(file) = &args.iidfile {
                std::fs::write(file, id.to_string())?;
            }
            if args.quiet {
                output::say(&id.to_string())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let status = match &error {
                BuildError::Interrupted | BuildError::Import(ImportError::Interrupted) => 130,
                error => error.status(),
            };
            output::complain(NAME, &hints::with_hint(&error.into()));
            Ok(ExitCode::from(status))
        }
    }
}

fn attempt(args: &Args, place: &Place<'_>, options: &::build::Options, talk: &mut Talk) -> Result<ImageId, BuildError> {
    let context = Context::open(&args.context, args.file.as_deref(), std::io::stdin())?;
    for socket in &context.sockets {
        let socket = socket.display();
        output::complain(NAME, &format!("Can't add file {socket} to tar: archive/tar: sockets not supported"));
    }
    let size = docker_format::size::size4(context.sent);
    // docker's client writes this line over and over while it sends.
    let line = format!("Sending build context to Docker daemon {size:>8}\r\r\n");
    talk.write_all(line.as_bytes()).map_err(|source| BuildError::Io { doing: "writing the output", source })?;
    build(place, &context, options, talk)
}

/// Where the lines of a build go: to standard output, or nowhere with `--quiet`, unless it fails.
#[derive(Debug)]
struct Talk {
    out: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Talk {
    fn new(quiet: bool) -> anyhow::Result<Self> {
        let out = if quiet { None } else { Some(output::binary()?) };
        Ok(Self { out, kept: Vec::new() })
    }

    /// What was kept is shown if the build has failed.
    fn end(&mut self, succeeded: bool) -> anyhow::Result<()> {
        if !succeeded {
            std::io::stderr().write_all(&self.kept)?;
        }
        Ok(())
    }
}

impl Write for Talk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(bytes),
            None => {
                self.kept.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
