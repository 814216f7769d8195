//! `layerfs system trim`: what a pool in files has allocated and does not use goes back to the disk.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use docker_format::size::size;
use snapshot::driver::{AnyDriver, Driver};
use snapshot::edit::{Transaction, WriteOptions};
use snapshot::root::DataRoot;

use crate::flags;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Report as JSON, with sizes in bytes
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    // Fails if there is no root: this must not make one.
    DataRoot::find(root, driver)?.expect_storage_driver()?;
    let transaction =
        Transaction::begin(root, WriteOptions { driver: flags::writable(driver)?, ..WriteOptions::default() })?;
    let AnyDriver::DeviceMapper(mapper) = transaction.root().driver() else {
        bail!(
            "the storage driver {} keeps layers in directories: nothing is to be trimmed",
            transaction.root().driver().name()
        );
    };
    let trimmed = mapper.trim()?;
    let (before, after) = trimmed.allocated;
    if args.json {
        let report = serde_json::json!({
            "allocated_before": before,
            "allocated": after,
            "used_before": trimmed.used.0,
            "used": trimmed.used.1,
            "file_systems": trimmed.file_systems,
            "devices": trimmed.devices,
        });
        output::json(&report)?;
    } else {
        if trimmed.devices > 0 {
            let devices = output::counted(trimmed.devices, "device");
            output::say(&format!("{devices} deleted that no file named"))?;
        }
        output::say(&format!(
            "{} given back: {} allocated, {} before; {} of the pool in use, {} before",
            size(before.saturating_sub(after)),
            size(after),
            size(before),
            size(trimmed.used.1),
            size(trimmed.used.0)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
