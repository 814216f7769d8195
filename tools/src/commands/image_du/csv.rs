//! The report as comma-separated values (RFC 4180): `kind,id,name,allocated,apparent,shared,unique,files,directories,inodes,
//! damage,name_raw`. The last line is the total. `name_raw` is base64, for names that are not UTF-8.

use std::io::Write;

use snapshot::usage::report::{Kind, Sizes};
use snapshot::usage::walk::Usage;

use super::{Shown, json};

pub(super) fn print(shown: &Shown<'_>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "kind,id,name,allocated,apparent,shared,unique,files,directories,inodes,damage,name_raw")?;
    let report = &shown.report;
    for image in &report.images {
        line(&mut out, "image", &image.id.to_string(), &image.names.join(" "), &image.sizes, image.damage.as_deref())?;
    }
    for layer in &report.layers {
        line(&mut out, "layer", &layer.id.to_string(), &layer.names.join(" "), &layer.sizes, layer.damage.as_deref())?;
    }
    for container in &report.containers {
        let damage = container.damage.as_deref();
        line(&mut out, "container", &container.id, &container.name, &container.sizes, damage)?;
    }
    for volume in &report.volumes {
        line(&mut out, "volume", "", &volume.name, &volume.sizes, None)?;
    }
    for rest in &report.lines {
        let raw = if let Kind::Other(path) = &rest.kind { json::raw(path) } else { None };
        usage(&mut out, ["unowned", "", &rest.kind.title()], &rest.usage, None, ["", &raw.unwrap_or_default()])?;
    }
    usage(&mut out, ["total", "", ""], &report.total, None, ["", ""])
}

fn line(
    out: &mut impl Write,
    kind: &str,
    id: &str,
    name: &str,
    sizes: &Sizes,
    damage: Option<&str>,
) -> anyhow::Result<()> {
    usage(out, [kind, id, name], &sizes.usage, Some(sizes), [damage.unwrap_or_default(), ""])
}

fn usage(
    out: &mut impl Write,
    start: [&str; 3],
    usage: &Usage,
    sizes: Option<&Sizes>,
    end: [&str; 2],
) -> anyhow::Result<()> {
    let [kind, id, name] = start.map(quoted);
    let [damage, raw] = end.map(quoted);
    let shared = sizes.map(|sizes| sizes.shared.to_string()).unwrap_or_default();
    let unique = sizes.map(|sizes| sizes.unique.to_string()).unwrap_or_default();
    let Usage { allocated, apparent, files, directories, inodes } = usage;
    writeln!(
        out,
        "{kind},{id},{name},{allocated},{apparent},{shared},{unique},{files},{directories},{inodes},{damage},{raw}"
    )?;
    Ok(())
}

/// In quotes where it needs them.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
