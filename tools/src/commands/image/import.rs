//! `layerfs image import`: `docker image import`, offline.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use images::load::{ImportRequest, NewImage, OnStored, store_image, store_image_in_containerd};
use images::make::imported_config;
use images::source::{ArchiveError, Platform, Select, is_endless};
use jiff::Zoned;
use jiff::tz::TimeZone;
use layerfs::{DiffId, Digest};
use snapshot::reference::Reference;
use snapshot::schema::runconfig::RunConfig;

use super::change::reference_error;
use super::stored;
use super::tag::rfc3339_nano;
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::flags::writable;
use crate::progress::Progress;
use crate::{input, output, rootless, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A tar of files, perhaps compressed; `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,

    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,

    /// Change what containers of it run with: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, USER, VOLUME or WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// What to say about the image
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,

    /// The platform that the files are for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let in_containerd = stored::goes_to_containerd(root, driver);
    let driver = if in_containerd { None } else { writable(driver)? };
    if args.file.to_string_lossy().contains("://") && !args.file.exists() {
        return Err(UsageError("no URL is imported; download it and import the file".into()).into());
    }
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    if platform.os != "linux" {
        bail!("operating system is not supported");
    }
    let name = args.name.as_deref().map(parse_name).transpose()?;
    let mut config = RunConfig::default();
    build::apply_changes(&mut config, &args.change)?;
    if args.file.as_os_str() == "-" && std::io::stdin().is_terminal() {
        return Err(UsageError("refusing to read a tar from a terminal: give a file, or redirect".into()).into());
    }
    rootless::check(root, "")?;
    let interrupted = signals::interrupted()?;
    let progress = Progress::new(NAME, false);
    let mut options = images::load::ImportOptions::new(&interrupted);
    (options.driver, options.sync) = (driver, !args.no_sync);
    let request = ImportRequest {
        archive: input::called(&args.file),
        select: &Select::default(),
        options: &options,
        observer: &progress,
    };
    let stream: Box<dyn BufRead + Send> = if args.file.as_os_str() == "-" {
        Box::new(BufReader::with_capacity(128 << 10, std::io::stdin()))
    } else {
        let file = File::open(&args.file).with_context(|| args.file.display().to_string())?;
        if file.metadata().is_ok_and(|metadata| is_endless(&metadata)) {
            return Err(ArchiveError::Zeros { path: input::called(&args.file).into() }.into());
        }
        Box::new(BufReader::with_capacity(128 << 10, file))
    };
    let now = Zoned::now();
    let describe = |layer: Option<DiffId>| {
        let layer = layer.unwrap_or_else(|| DiffId(Digest::hash(b"")));
        // docker uses this comment for files, too.
        let comment = if args.message.is_empty() { "Imported from -" } else { &args.message };
        let config = imported_config(layer, &config, comment, &created(&now), &platform);
        NewImage { config, parent: None, names: name.map(|name| (vec![name], rfc3339_nano(&now))) }
    };
    let id = if in_containerd {
        let on = OnStored { base: None, container_config: None };
        store_image_in_containerd(root, &on, Some(stream), &request, describe)
    } else {
        store_image(root, &[], Some(stream), &request, describe)
    };
    let id = id.map_err(input::with_name(&args.file))?;
    drop(progress);
    output::say(&id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The time as image configs have it.
pub(crate) fn created(now: &Zoned) -> String {
    rfc3339_nano(&now.with_time_zone(TimeZone::UTC))
}

/// Reads the name to be given to an image. The error for a name that cannot be given is docker's.
pub(crate) fn parse_name(text: &str) -> anyhow::Result<Reference> {
    match Reference::parse(text) {
        Ok(name) if name.digest().is_some() => bail!("cannot import digest reference"),
        Ok(name) => Ok(name.with_default_tag()),
        Err(error) => bail!(reference_error(&error)),
    }
}
