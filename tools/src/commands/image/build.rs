//! `layerfs image build`: `docker build`, offline, in BuildKit's way or in that of docker's classic builder.

mod attest;
mod cache;
mod check;
mod flags;
mod output;
mod terminal;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use ::build::{BuildError, Context, Made, Place, Way, build, build_shown};
use images::source::Platform;
use jiff::Zoned;
use registry::RegistryError;

pub(crate) use self::flags::Args;
use self::output::Output;
use self::terminal::Terminal;
use super::pull;
use super::tag::rfc3339_nano;
use crate::commands::layerfs::NAME;
use crate::exit::is_interrupted;
use crate::flags::writable;
use crate::{hints, output as out, rootless, signals};

/// The exit status of docker's client for a flag whose value is wrong.
const BAD_FLAG: u8 = 125;

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.refuse_unsupported()?;
    let chosen = || Ok::<_, String>((args.options()?, args.outputs()?, args.caches()?, args.only_checks()?));
    let (mut options, outputs, (cache_from, cache_to), only_checks) = match chosen() {
        Ok(chosen) => chosen,
        Err(reason) => {
            out::complain(NAME, &reason);
            return Ok(ExitCode::from(BAD_FLAG));
        }
    };
    let names = options.tags.clone();
    if !outputs.contains(&Output::Store) {
        // What goes elsewhere leaves no name in the store.
        options.tags.clear();
    }
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
    let caches = cache::Store {
        root,
        driver: driver_name,
        sync: options.sync,
        flags: &args.registry,
        interrupted: &interrupted,
    };
    for place in &cache_from {
        match caches.read(place) {
            Ok(records) => options.trusted.extend(records),
            Err(error) if is_interrupted(&error) => return Err(error),
            // As with BuildKit, the build takes longer then, and nothing else.
            Err(error) => out::complain(NAME, &format!("warning: {}", hints::with_hint(&error))),
        }
    }
    let mut talk = Talk::new(args.quiet, options.classic)?;
    let fetch = |name: &str, platform: Option<&Platform>| {
        let fetched = pull::fetch(name, platform, root, driver, &args.registry, options.sync, &interrupted);
        fetched.map_err(|error| match is_interrupted(&error) {
            true => BuildError::Interrupted,
            false => BuildError::NoBase(hints::with_hint(&error)),
        })
    };
    let download = |url: &str, out: &mut dyn Write| {
        let fetched = registry::fetch_file(url, &args.registry.options(&interrupted), out);
        fetched.map(|file| file.modified).map_err(|error| match error {
            RegistryError::Interrupted => BuildError::Interrupted,
            error => BuildError::Invalid(error.to_string()),
        })
    };
    let place = Place {
        root: root.to_path_buf(),
        driver: driver_name,
        interrupted: &interrupted,
        fetch: &fetch,
        download: &download,
        now: rfc3339_nano(&Zoned::now()),
    };
    if only_checks {
        return check::run(args, &place, &options);
    }
    let shown = !options.classic && args.wants_terminal()?;
    let made = attempt(args, &place, &options, &mut talk, shown);
    talk.end(made.is_ok())?;
    match made {
        Ok(made) => {
            let id = made.image;
            for output in &outputs {
                output.write(root, driver, id, &names, &interrupted)?;
            }
            for to in &cache_to {
                caches.write(&made, to)?;
            }
            if let Some(file) = &args.iidfile {
                std::fs::write(file, id.to_string())?;
            }
            if args.quiet && !outputs.iter().any(Output::is_stream) {
                out::say(&id.to_string())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let status = if error.is_interrupt() { 130 } else { error.status() };
            out::complain(NAME, &hints::with_hint(&error.into()));
            Ok(ExitCode::from(status))
        }
    }
}

fn attempt(
    args: &Args,
    place: &Place<'_>,
    options: &::build::Options,
    talk: &mut Talk,
    shown: bool,
) -> Result<Made, BuildError> {
    let way = if options.classic { Way::Classic } else { Way::Modern { root: &place.root } };
    let context = Context::open(&args.context, args.file.as_deref(), std::io::stdin(), way)?;
    if !options.classic {
        // BuildKit leaves sockets out without a word.
        return match shown {
            true => build_shown(place, &context, options, Box::new(Terminal::new())),
            false => build(place, &context, options, talk),
        };
    }
    for socket in &context.sockets {
        let socket = socket.display();
        out::complain(NAME, &format!("Can't add file {socket} to tar: archive/tar: sockets not supported"));
    }
    let size = docker_format::size::size4(context.sent);
    // docker's client writes this line over and over while it sends.
    let line = format!("Sending build context to Docker daemon {size:>8}\r\r\n");
    talk.write_all(line.as_bytes()).map_err(|source| BuildError::Io { doing: "writing the output", source })?;
    build(place, &context, options, talk)
}

/// Where the lines of a build go: those of the classic builder to standard output, BuildKit's to standard error, and with
/// `--quiet` nowhere, unless it fails.
struct Talk {
    out: Option<Box<dyn Write + Send>>,
    kept: Vec<u8>,
}

impl Talk {
    fn new(quiet: bool, classic: bool) -> anyhow::Result<Self> {
        let out: Option<Box<dyn Write + Send>> = match (quiet, classic) {
            (true, _) => None,
            (false, true) => Some(Box::new(out::binary()?)),
            (false, false) => Some(Box::new(std::io::stderr())),
        };
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
