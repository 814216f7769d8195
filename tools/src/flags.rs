//! Flags that several commands share.

use std::sync::atomic::AtomicBool;

use clap::Args;
use images::load::ImportOptions;
use images::source::{Platform, Select};
use snapshot::driver::WRITABLE;
use snapshot::reference::Reference;

use crate::exit::UsageError;

/// Flags of every command that unpacks.
#[derive(Debug, Clone, Args)]
pub(crate) struct UnpackFlags {
    /// Do not wait until the data is on the disk
    ///
    /// A power cut soon after may leave layers whose files are empty although the store lists them.
    #[arg(long)]
    pub(crate) no_sync: bool,

    /// Do not check first whether there is room
    #[arg(long)]
    pub(crate) no_preflight: bool,

    /// Image to take of an archive with several platforms [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    /// Do not show progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl UnpackFlags {
    /// If `threads` is not given, all processors are used.
    pub(crate) fn options<'o>(&self, threads: Option<u16>, interrupted: &'o AtomicBool) -> ImportOptions<'o> {
        let mut options = ImportOptions::new(interrupted);
        options.threads = threads.map_or(options.threads, Into::into);
        options.sync = !self.no_sync;
        options.preflight = !self.no_preflight;
        options
    }

    pub(crate) fn select(&self) -> Select {
        Select { platform: self.platform.clone(), ..Select::default() }
    }
}

/// Flags of every command that imports into a data-root.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreFlags {
    /// Leave tags that belong to other images where they are
    #[arg(long)]
    pub(crate) no_retag: bool,

    /// Storage driver to use; if given, a root that may belong to containerd's image store is written, too [default: the root's]
    #[arg(long, value_name = "DRIVER")]
    pub(crate) storage_driver: Option<String>,

    /// Report what would be stored and what it takes up, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl StoreFlags {
    pub(crate) fn apply(&self, options: &mut ImportOptions<'_>) -> Result<(), UsageError> {
        options.driver = writable(self.storage_driver.as_deref())?;
        options.retag = !self.no_retag;
        Ok(())
    }
}

/// The storage driver to write for, if the user named one.
pub(crate) fn writable(driver: Option<&str>) -> Result<Option<&'static str>, UsageError> {
    let Some(wanted) = driver else { return Ok(None) };
    let known = WRITABLE.into_iter().find(|name| *name == wanted);
    let [others @ .., last] = &WRITABLE;
    let known = known.map(Some);
    known.ok_or_else(|| {
        UsageError(format!("storage driver {wanted} cannot be written; {} and {last} can", others.join(", ")))
    })
}

/// A truth value, in the forms that Go's flags accept.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    docker_format::parse_bool(text).ok_or_else(|| "not a truth value".into())
}

/// A name to give to an image; the tag defaults to `latest`.
pub(crate) fn parse_tag(text: &str) -> Result<Reference, String> {
    let reference = Reference::parse(text).map_err(|error| error.to_string())?;
    if reference.digest().is_some() {
        return Err("a name with a digest cannot be given to an image".into());
    }
    Ok(reference.with_default_tag())
}
