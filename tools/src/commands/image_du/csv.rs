//! The report as comma-separated values (RFC 4180): `kind,id,name,allocated,apparent,shared,unique,files,directories,inodes,
//! damage,name_raw`. The last line is the total. `name_raw` is base64, for names that are not UTF-8, and for those that a
//! cell cannot show as they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use snapshot::usage::report::{RestKind, Sizes};
use snapshot::usage::walk::Usage;

use super::{Shown, json};
use crate::output;

const HEADER: [&str; 12] = [
    "kind",
    "id",
    "name",
    "allocated",
    "apparent",
    "shared",
    "unique",
    "files",
    "directories",
    "inodes",
    "damage",
    "name_raw",
];

pub(super) fn print(shown: &Shown<'_>) -> anyhow::Result<()> {
    output::csv(&HEADER)?;
    let report = &shown.report;
    for image in &report.images {
        line("image", &image.id.to_string(), &image.names.join(" "), &image.sizes, image.damage.as_deref())?;
    }
    for layer in &report.layers {
        line("layer", &layer.id.to_string(), &layer.names.join(" "), &layer.sizes, layer.damage.as_deref())?;
    }
    for container in &report.containers {
        let damage = container.damage.as_deref();
        line("container", &container.id, &container.name, &container.sizes, damage)?;
    }
    for volume in &report.volumes {
        line("volume", "", &volume.name, &volume.sizes, None)?;
    }
    for step in &report.steps {
        line("step", &step.id.to_string(), &step.created_by, &step.sizes, None)?;
    }
    for mount in &report.cache_mounts {
        line("cache_mount", "", &mount.name, &mount.sizes, None)?;
    }
    for rest in &report.lines {
        let raw = if let RestKind::Other(path) = &rest.kind { json::raw(path) } else { None };
        usage(["unowned", "", &rest.kind.title()], &rest.usage, None, ["", &raw.unwrap_or_default()])?;
    }
    usage(["total", "", ""], &report.total, None, ["", ""])
}

fn line(kind: &str, id: &str, name: &str, sizes: &Sizes, damage: Option<&str>) -> anyhow::Result<()> {
    usage([kind, id, name], &sizes.usage, Some(sizes), [damage.unwrap_or_default(), ""])
}

fn usage(start: [&str; 3], usage: &Usage, sizes: Option<&Sizes>, end: [&str; 2]) -> anyhow::Result<()> {
    let ([kind, id, name], [damage, raw]) = (start, end);
    // If the cell had to be changed, the raw name is given as well, so that a program still gets the name.
    let changed = output::csv_cell(name) != output::csv_cell("") && output::escape(name) != name
        || name.starts_with(['=', '+', '-', '@']);
    let raw = if raw.is_empty() && changed { STANDARD.encode(name) } else { raw.to_owned() };
    let shared = sizes.map(|sizes| sizes.shared.to_string()).unwrap_or_default();
    let unique = sizes.map(|sizes| sizes.unique.to_string()).unwrap_or_default();
    let Usage { allocated, apparent, files, directories, inodes } = usage;
    let numbers = [*allocated, *apparent].map(|bytes| bytes.to_string());
    let counts = [files, directories, inodes].map(ToString::to_string);
    output::csv(&[
        kind,
        id,
        name,
        &numbers[0],
        &numbers[1],
        &shared,
        &unique,
        &counts[0],
        &counts[1],
        &counts[2],
        damage,
        &raw,
    ])?;
    Ok(())
}
