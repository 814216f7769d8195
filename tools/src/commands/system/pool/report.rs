//! What `layerfs system pool` says of a pool.

use dm::{Details, METADATA_BLOCK, MetadataDamage};
use serde::Serialize;
use snapshot::liveness::Claim;
use snapshot::schema::devicemapper::BASE;
use snapshot::usage::pool::{PoolDevice, PoolUsage};
use snapshot::view::View;

use crate::columns::{self, Fit, Table};
use crate::output;
use docker_format::size;

/// A device as it is reported. Sizes are bytes.
#[derive(Debug, Serialize)]
pub(super) struct DeviceReport {
    pub(super) device: u64,
    /// The names of the files that say which layer it holds.
    files: Vec<String>,
    /// Bytes of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mapped: u64,
    /// Mapped, and by no other device: what its removal frees.
    exclusive: u64,
    shared: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<u64>,
    used_by: Vec<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) damage: Vec<String>,
}

/// The file that holds the data.
#[derive(Debug, Serialize)]
pub(super) struct PoolFileReport {
    apparent: u64,
    allocated: u64,
}

/// The pool as it is reported. Sizes are bytes.
#[derive(Debug, Serialize)]
pub(super) struct PoolReport {
    block_size: u64,
    transaction: u64,
    data_total: u64,
    data_used: u64,
    /// In use, but by no device that could be read.
    data_unaccounted: u64,
    metadata_total: u64,
    metadata_used: u64,
    needs_check: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_file: Option<PoolFileReport>,
    pub(super) devices: Vec<DeviceReport>,
    pub(super) damage: Vec<String>,
}

/// Percent of a pool from which on it is worth a word: with dockerd's defaults no layer is made from 90 percent on.
const NEARLY_FULL: u64 = 85;

impl PoolReport {
    /// What is to be said of a pool that has little left.
    pub(super) fn nearly_full(&self) -> Option<String> {
        let parts = [("data", self.data_used, self.data_total), ("metadata", self.metadata_used, self.metadata_total)];
        let full = |used: u64, total: u64| used >= (u128::from(total) * u128::from(NEARLY_FULL) / 100) as u64;
        let (what, used, total) = parts.into_iter().find(|(_, used, total)| *total > 0 && full(*used, *total))?;
        Some(format!(
            "the pool is nearly full: {} of {} of its {what} are in use, and from 90% on no layer is made; \
             `layerfs system pool grow --{what}-size SIZE` makes it larger",
            size::size(used),
            size::size(total)
        ))
    }
}

pub(super) fn report(usage: &PoolUsage, view: Option<&View>) -> PoolReport {
    let superblock = &usage.superblock;
    let block = superblock.block_size;
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    let of_metadata = |blocks: u64| blocks.saturating_mul(METADATA_BLOCK as u64);
    let mut damage: Vec<String> =
        usage.lost.iter().map(|lost| format!("devices {} may be lost: {lost}", keys(lost))).collect();
    if superblock.needs_check {
        damage.push("the kernel asks for a check of the pool: thin_check does it".into());
    }
    PoolReport {
        block_size: block,
        transaction: superblock.transaction,
        data_total: bytes(superblock.data_blocks),
        data_used: bytes(superblock.data_used),
        data_unaccounted: bytes(superblock.data_used.saturating_sub(usage.mapped)),
        metadata_total: of_metadata(superblock.metadata_blocks),
        metadata_used: of_metadata(superblock.metadata_used),
        needs_check: superblock.needs_check,
        data_file: usage.data_file.map(|(apparent, allocated)| PoolFileReport { apparent, allocated }),
        devices: usage
            .devices
            .iter()
            .map(|(id, device)| DeviceReport {
                device: *id,
                files: device.files.keys().cloned().collect(),
                size: device.files.values().map(|file| file.size).max(),
                mapped: bytes(device.share.exclusive + device.share.shared),
                exclusive: bytes(device.share.exclusive),
                shared: bytes(device.share.shared),
                transaction: device.details.map(|details: Details| details.transaction),
                used_by: device.files.keys().flat_map(|name| users(name, view)).collect(),
                damage: faults(device, view),
            })
            .collect(),
        damage,
    }
}

/// The first and the last key that may be lost.
pub(super) fn keys(lost: &MetadataDamage) -> String {
    format!("{} to {}", lost.keys.start, lost.keys.end.saturating_sub(1))
}

/// What is wrong with a device.
fn faults(device: &PoolDevice, view: Option<&View>) -> Vec<String> {
    let mut faults: Vec<String> =
        device.share.lost.iter().map(|lost| format!("its blocks {} may be lost: {lost}", keys(lost))).collect();
    if !device.exists {
        faults.push("a file names it, but the pool does not have it".into());
    }
    if view.is_some() && device.files.is_empty() {
        faults.push("no file names it, so nothing can use it; `layerfs system trim` deletes it".into());
    }
    if device.files.len() > 1 {
        faults.push("several files name it".into());
    }
    faults
}

/// Who uses the layer `name`, in words.
fn users(name: &str, view: Option<&View>) -> Vec<String> {
    if name == BASE {
        return vec!["all layers without a parent were made from it".into()];
    }
    let Some(view) = view else { return Vec::new() };
    let container = |mount: &str, role: &str| {
        let known = view.catalog().container_of_mount(mount);
        known.map_or_else(|| format!("{role} of {mount}"), |container| format!("{role} of {}", container.name))
    };
    let mut users = Vec::new();
    for claim in view.liveness().entry(name).iter().flat_map(|entry| &entry.claims) {
        match claim {
            Claim::Layer(chain) => {
                for used in view.catalog().uses(*chain) {
                    let names = view.catalog().names_of(used.image.id);
                    users.push(names.first().map_or_else(|| used.image.id.0.short(), |name| (*name).to_owned()));
                }
            }
            Claim::Mount(mount) => users.push(container(mount.as_str(), "container layer")),
            Claim::Init(mount) => users.push(container(mount.as_str(), "init layer")),
            other => users.push(other.to_string()),
        }
    }
    users.sort();
    users.dedup();
    users
}

pub(super) fn print(report: &PoolReport) -> anyhow::Result<()> {
    let of = |used: u64, total: u64| {
        let percent = if total == 0 { 0.0 } else { used as f64 * 100.0 / total as f64 };
        format!("{} of {} ({percent:.1}%)", size::size(used), size::size(total))
    };
    output::say(&format!(
        "Data:      {}, in blocks of {}",
        of(report.data_used, report.data_total),
        size::size(report.block_size)
    ))?;
    output::say(&format!("Metadata:  {}", of(report.metadata_used, report.metadata_total)))?;
    if let Some(PoolFileReport { apparent, allocated }) = report.data_file {
        let wasted = allocated.saturating_sub(report.data_used);
        let wasted = if wasted > 0 { format!(", {} of it not in use", size::size(wasted)) } else { String::new() };
        output::say(&format!(
            "File:      {} allocated, {} apparent{wasted}",
            size::size(allocated),
            size::size(apparent)
        ))?;
    }
    if report.data_unaccounted > 0 {
        output::say(&format!("Lost:      {} in use by no device", size::size(report.data_unaccounted)))?;
    }
    output::say(&format!("Devices:   {}, at transaction {}", report.devices.len(), report.transaction))?;
    output::say("")?;
    let mut table = Table::new([
        ("DEVICE", Fit::Whole),
        ("CACHE ID", Fit::Whole),
        ("SIZE", Fit::Drop(2)),
        ("MAPPED", Fit::Whole),
        ("EXCLUSIVE", Fit::Whole),
        ("SHARED", Fit::Drop(1)),
        ("USED BY", Fit::End),
    ]);
    for device in &report.devices {
        let names: Vec<String> = device.files.iter().map(|name| short(name)).collect();
        table.push([
            device.device.to_string(),
            names.join(", "),
            device.size.map(size::size).unwrap_or_default(),
            size::size(device.mapped),
            size::size(device.exclusive),
            size::size(device.shared),
            device.used_by.join(", "),
        ]);
    }
    if !table.is_empty() {
        output::page(&table.render(columns::room()))?;
    }
    Ok(())
}

/// A cache id as docker shortens ids, but with what sets an init layer apart.
fn short(name: &str) -> String {
    const WHOLE: usize = 64;
    const INIT: &str = "-init";
    let (id, rest) = name.strip_suffix(INIT).map_or((name, ""), |id| (id, INIT));
    if id.len() == WHOLE && id.is_ascii() { format!("{}{rest}", &id[..12]) } else { name.to_owned() }
}
