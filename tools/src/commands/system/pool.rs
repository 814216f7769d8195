//! `layerfs system pool`: the thin pool of the storage driver devicemapper, read without the kernel's device mapper.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use images::output::NewFile;
use rustix::io::Errno;
use snapshot::catalog::Resolved;
use snapshot::driver::{AnyDriver, DeviceMapper, InactivePool};
use snapshot::ids::CacheId;
use snapshot::schema::devicemapper::DeviceFile;
use snapshot::usage::pool::PoolUsage;
use snapshot::view::{Needs, View};

use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::output;
use docker_format::size;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,

    /// Report as JSON, with sizes in bytes
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    what: Option<What>,
}

/// Where a pool is that is not in the data-root.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The file or block device with the pool's metadata, where it is not in the data-root
    #[arg(long, value_name = "FILE", global = true)]
    metadata: Option<PathBuf>,

    /// The file or block device with the pool's data, where it is not in the data-root
    #[arg(long, value_name = "FILE", global = true)]
    data: Option<PathBuf>,
}

impl Place {
    /// The metadata and the data, if they are named.
    pub(super) fn both(&self) -> Result<Option<(&Path, &Path)>, UsageError> {
        match (&self.metadata, &self.data) {
            (Some(metadata), Some(data)) => Ok(Some((metadata, data))),
            (None, None) => Ok(None),
            _ => Err(UsageError("--metadata and --data name the two parts of one pool: give both".into())),
        }
    }
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Copy the file system of a layer or container out of the pool, as an image of its block device
    Copy(CopyArgs),
    /// Make the files of the pool larger, also while it is active. A pool never shrinks
    Grow(GrowArgs),
}

#[derive(Debug, clap::Args)]
struct GrowArgs {
    /// Bytes of the data from now on; k, m, g and t stand for powers of 1024
    #[arg(long, value_name = "SIZE", value_parser = parse_size, required_unless_present = "metadata_size")]
    data_size: Option<u64>,

    /// Bytes of the metadata from now on
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    metadata_size: Option<u64>,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = size::ram_in_bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "no size such as 100G".into())
}

#[derive(Debug, clap::Args)]
struct CopyArgs {
    /// An image, a container, a cache id or its first digits, or the number of a device
    #[arg(value_name = "IMAGE|CONTAINER|CACHE-ID|NUMBER")]
    what: String,

    /// The new file. Blocks that are not in use become holes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Bytes of the device, where no file of the data-root says it
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let named = args.place.both()?;
    // A pool that is named needs no data-root, but if there is one, it says what the devices hold.
    let view = match View::read(root, driver, Needs::LIVENESS) {
        Ok(view) => Some(view),
        Err(_) if named.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let mapper = view.as_ref().and_then(|view| match view.root().driver() {
        Some(AnyDriver::DeviceMapper(mapper)) => Some(mapper),
        _ => None,
    });
    if let (Some(What::Grow(_)), Some((metadata, _))) = (&args.what, named) {
        bail!("{}: only a pool in files of a data-root can be made larger, not one that is named", metadata.display());
    }
    if let (Some(What::Grow(grow)), Some(mapper)) = (&args.what, mapper) {
        return make_larger(grow, mapper);
    }
    let pool = match (named, mapper) {
        (Some((metadata, data)), _) => {
            if std::fs::metadata(metadata).is_ok_and(|file| file.is_file() && file.len() == 0) {
                bail!("{}: is empty: no metadata of a pool", metadata.display());
            }
            InactivePool::open(metadata, data)?
        }
        (None, Some(mapper)) => mapper.pool()?,
        _ => bail!("{} has no thin pool: only data-roots of the storage driver devicemapper have one", root.display()),
    };
    let store = view.as_ref().zip(mapper);
    match &args.what {
        Some(What::Copy(copy)) => copy_out(copy, &pool, store),
        _ => list(args, &pool, store),
    }
}

fn make_larger(args: &GrowArgs, mapper: &DeviceMapper) -> anyhow::Result<ExitCode> {
    let grown = mapper.grow(args.data_size, args.metadata_size)?;
    for (what, grown) in ["data", "metadata"].into_iter().zip(grown) {
        let Some(grown) = grown else { continue };
        let when =
            if grown.is_active { "the pool has them already" } else { "the pool takes them when it is used next" };
        let (before, now) = (size::size(grown.size.0), size::size(grown.size.1));
        output::say(&format!("{what}: {now} instead of {before}; {when}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Args, pool: &InactivePool, store: Option<(&View, &DeviceMapper)>) -> anyhow::Result<ExitCode> {
    let usage = PoolUsage::read(pool, store.map(|(_, mapper)| mapper))?;
    let report = report::report(&usage, store.map(|(view, _)| view));
    if args.json {
        output::json(&report)?;
    } else {
        report::print(&report)?;
    }
    let devices = report.devices.iter();
    let damage = report.damage.iter().cloned().chain(devices.flat_map(|device| {
        let number = device.device;
        device.damage.iter().map(move |damage| format!("device {number}: {damage}"))
    }));
    if let Some(warning) = report.nearly_full() {
        output::complain(NAME, &warning);
    }
    let mut sound = true;
    for damage in damage {
        sound = false;
        output::complain(NAME, &damage);
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn copy_out(args: &CopyArgs, pool: &InactivePool, store: Option<(&View, &DeviceMapper)>) -> anyhow::Result<ExitCode> {
    let mut file = find(&args.what, pool, store)?;
    if let Some(size) = args.size {
        file.size = size;
    }
    if file.size == 0 {
        return Err(UsageError(format!(
            "no file of a data-root says how large device {} is; give its size with --size",
            file.id
        ))
        .into());
    }
    let shown = || args.output.display().to_string();
    // This is checked before anything is copied. If somebody makes the file meanwhile, `finish_new` finds it.
    if args.output.symlink_metadata().is_ok() {
        return Err(std::io::Error::from(Errno::EXIST)).with_context(shown);
    }
    let to = NewFile::create(args.output.clone())?;
    let volume = pool.copy(&file, to.file())?;
    to.file().sync_all().with_context(shown)?;
    to.finish_new()?;
    for lost in volume.lost() {
        output::complain(NAME, &format!("device {}: its blocks {} are zeros: {lost}", file.id, report::keys(lost)));
    }
    let (mapped, all) = (size::size(volume.mapped()), size::size(volume.size()));
    output::say(&format!("{}: device {}, {all}, {mapped} of it in use", args.output.display(), file.id))?;
    Ok(if volume.lost().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The device that the user means.
fn find(what: &str, pool: &InactivePool, store: Option<(&View, &DeviceMapper)>) -> anyhow::Result<DeviceFile> {
    if let Some((view, mapper)) = store {
        if let Some(name) = layer_of(what, view) {
            return mapper.device(name.as_str())?.with_context(|| {
                format!(
                    "{what}: the storage driver's file that says which device holds {name} is gone; `layerfs system \
                         pool` lists the devices, and `copy NUMBER --size BYTES` copies one of them"
                )
            });
        }
        let files = mapper.files()?;
        if let Some(file) = files.get(what) {
            return Ok(file.clone());
        }
        if let Ok(number) = what.parse::<i64>()
            && let Some(file) = files.values().find(|file| file.id == number)
        {
            return Ok(file.clone());
        }
        let begin: Vec<_> = files.iter().filter(|(name, _)| name.starts_with(what)).collect();
        match begin.as_slice() {
            [(_, file)] => return Ok((*file).clone()),
            [] => {}
            _ => bail!("{what}: {} begin so; more of one chooses it", output::counted(begin.len() as u64, "cache id")),
        }
    }
    let devices = pool.thin()?;
    let found = what.parse::<u64>().ok().filter(|id| devices.devices().by_id.contains_key(id));
    let found = found.with_context(|| format!("{what}: no such image, container, cache id or device"))?;
    Ok(DeviceFile { id: i64::try_from(found)?, ..DeviceFile::default() })
}

/// The layer that shows all of an image or a container.
fn layer_of(what: &str, view: &View) -> Option<CacheId> {
    if let Resolved::Image(image) = view.catalog().resolve(what) {
        let top = view.catalog().images().get(&image).and_then(|image| image.chain.last().copied());
        return top.and_then(|top| view.catalog().layer(top)).map(|layer| layer.cache_id.clone());
    }
    let container = containers::find(view.catalog(), what).ok()?;
    container.mount.as_ref().and_then(|mount| mount.mount_id.clone())
}
