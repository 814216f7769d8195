//! The report for people.

use std::fmt::Write as _;

use snapshot::usage::df::UsageRow;
use snapshot::usage::report::Sizes;

use super::freed::first_of;
use super::{BUILD_CACHE, Question, Shown, freed, image, text_files};
use crate::columns::{self, Fit, Table};
use crate::output::{self, counted, escape};
use crate::steps;
use docker_format::size::{human_size, size};
use docker_format::table::align;

/// Characters of a command that are shown.
pub(super) const COMMAND: usize = 60;

pub(super) fn print(shown: &Shown<'_>) -> anyhow::Result<()> {
    let mut out = String::new();
    let room = columns::room();
    match &shown.question {
        Question::Everything => {
            rows(shown, &mut out);
            images(shown, room, &mut out);
            layers(shown, room, &mut out);
            containers(shown, room, &mut out);
            volumes(shown, room, &mut out);
            build_cache(shown, room, &mut out);
            rest(shown, room, &mut out);
            out.push('\n');
            total(shown, &mut out);
        }
        Question::Images(ids) => {
            ids.iter().for_each(|id| image::print(shown, *id, room, &mut out));
            freed::print(shown, room, &mut out);
        }
        Question::Freed => freed::print(shown, room, &mut out),
        Question::Files => {
            if let Some(report) = &shown.files {
                text_files::print(report, shown.top, room, &mut out);
            }
            freed::print(shown, room, &mut out);
        }
        Question::Page(path) => {
            rows(shown, &mut out);
            total(shown, &mut out);
            let _ = writeln!(out, "Page: {}", escape(&path.display().to_string()));
            freed::print(shown, room, &mut out);
        }
    }
    output::page(out.strip_prefix('\n').unwrap_or(&out))?;
    Ok(())
}

/// Cells of one line, each ended by a tab but the last.
fn cells(cells: &[String]) -> String {
    // A tab or an end of line in a name would be another cell.
    cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join("\t") + "\n"
}

/// The head of docker's own table.
pub(super) const ROWS: [&str; 5] = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];

/// One of docker's rows.
pub(super) fn row_cells(kind: &str, row: &UsageRow) -> [String; 5] {
    [kind.into(), row.total.to_string(), row.active.to_string(), human_size(row.size as f64, 4), reclaimable(kind, row)]
}

fn rows(shown: &Shown<'_>, out: &mut String) {
    let elsewhere = shown.account.view.catalog().images_elsewhere();
    let known = shown.rows.iter().filter(|(kind, _)| !elsewhere || !matches!(*kind, "Images" | BUILD_CACHE));
    let mut table = ROWS.join("\t") + "\n";
    for (kind, row) in known {
        table.push_str(&cells(&row_cells(kind, row)));
    }
    out.push_str(&align(&table));
}

/// The reclaimable bytes with their share of the total; without the share for the build cache, as docker prints it.
fn reclaimable(kind: &str, row: &UsageRow) -> String {
    let bytes = human_size(row.reclaimable as f64, 4);
    let percent = row.percent().filter(|_| kind != BUILD_CACHE);
    percent.map_or_else(|| bytes.clone(), |percent| format!("{bytes} ({percent}%)"))
}

/// The columns that all tables have, after the names and before the remarks.
const ALLOCATED: (&str, Fit) = ("ALLOCATED", Fit::Whole);
const APPARENT: (&str, Fit) = ("APPARENT", Fit::Drop(1));
const SHARED: (&str, Fit) = ("SHARED", Fit::Drop(0));
const UNIQUE: (&str, Fit) = ("UNIQUE", Fit::Whole);
const FILES: (&str, Fit) = ("FILES", Fit::Drop(2));
const INODES: (&str, Fit) = ("INODES", Fit::Drop(3));

fn numbers(sizes: &Sizes) -> [String; 6] {
    let usage = &sizes.usage;
    [
        size(usage.allocated),
        size(usage.apparent),
        size(sizes.shared),
        size(sizes.unique),
        usage.files.to_string(),
        usage.inodes.to_string(),
    ]
}

/// A table with a title; nothing if the table is empty.
pub(super) fn titled<const N: usize>(title: &str, table: &Table<N>, room: Option<usize>, out: &mut String) {
    if !table.is_empty() {
        let _ = write!(out, "\n{title}\n{}", table.render(room));
    }
}

fn images(shown: &Shown<'_>, room: Option<usize>, out: &mut String) {
    let (id, names, note) = (("IMAGE ID", Fit::Whole), ("NAMES", Fit::Middle), ("NOTE", Fit::End));
    let mut table = Table::new([id, names, ALLOCATED, APPARENT, SHARED, UNIQUE, FILES, INODES, note]);
    table.fill(&shown.report.images, |image| {
        let name = if image.names.is_empty() { "<none>".into() } else { image.names.join(", ") };
        let note = match (&image.damage, &image.kept) {
            (Some(reason), _) => format!("damaged: {reason}"),
            (None, Some(reason)) => format!("stays: {reason}"),
            (None, None) => String::new(),
        };
        let [a, b, c, d, e, f] = numbers(&image.sizes);
        [image.id.0.short(), name, a, b, c, d, e, f, note]
    });
    titled("Images", &table, room, out);
}

fn layers(shown: &Shown<'_>, room: Option<usize>, out: &mut String) {
    let (id, names, made) = (("LAYER ID", Fit::Whole), ("IMAGES", Fit::Middle), ("MADE BY", Fit::End));
    let mut table = Table::new([id, ALLOCATED, APPARENT, SHARED, UNIQUE, FILES, INODES, names, made]);
    table.fill(&shown.report.layers, |layer| {
        let names = match layer.images {
            0 if layer.build_cache => "build cache".to_owned(),
            0 => "in no image".to_owned(),
            _ if layer.names.is_empty() => "<none>".to_owned(),
            _ => first_of(&layer.names),
        };
        let made = match &layer.damage {
            Some(reason) => format!("damaged: {reason}"),
            None => columns::end(&steps::readable(&layer.created_by), COMMAND),
        };
        let [a, b, c, d, e, f] = numbers(&layer.sizes);
        [layer.id.0.short(), a, b, c, d, e, f, names, made]
    });
    titled("Layers", &table, room, out);
}

fn containers(shown: &Shown<'_>, room: Option<usize>, out: &mut String) {
    let (id, name) = (("CONTAINER ID", Fit::Whole), ("NAME", Fit::Middle));
    let (image, note) = (("IMAGE", Fit::Middle), ("NOTE", Fit::End));
    let mut table = Table::new([id, name, image, ALLOCATED, APPARENT, SHARED, UNIQUE, FILES, INODES, note]);
    for container in &shown.report.containers {
        let id = container.id.chars().take(12).collect();
        let logs = if container.logs > 0 { format!("logs {}", size(container.logs)) } else { String::new() };
        let note = container.damage.as_ref().map_or(logs, |reason| format!("damaged: {reason}"));
        let [a, b, c, d, e, f] = numbers(&container.sizes);
        table.push([id, container.name.clone(), container.image.clone(), a, b, c, d, e, f, note]);
    }
    titled("Containers", &table, room, out);
}

fn volumes(shown: &Shown<'_>, room: Option<usize>, out: &mut String) {
    let (name, note) = (("VOLUME NAME", Fit::Middle), ("NOTE", Fit::End));
    let mut table = Table::new([name, ALLOCATED, APPARENT, SHARED, UNIQUE, FILES, INODES, note]);
    for volume in &shown.report.volumes {
        let note = if volume.containers == 0 { "in no container" } else { "" };
        let [a, b, c, d, e, f] = numbers(&volume.sizes);
        table.push([volume.name.to_string(), a, b, c, d, e, f, note.to_owned()]);
    }
    titled("Local Volumes", &table, room, out);
}

/// What builds made here have left for others: steps with the layers that they have made, and caches of commands.
fn build_cache(shown: &Shown<'_>, room: Option<usize>, out: &mut String) {
    let (id, kind, what) = (("CACHE ID", Fit::Whole), ("TYPE", Fit::Whole), ("DESCRIPTION", Fit::End));
    let mut table = Table::new([id, kind, ALLOCATED, APPARENT, SHARED, UNIQUE, FILES, INODES, what]);
    for step in &shown.report.steps {
        let [a, b, c, d, e, f] = numbers(&step.sizes);
        let made = columns::end(&steps::readable(&step.created_by), COMMAND);
        table.push([step.id.0.short(), "step".into(), a, b, c, d, e, f, made]);
    }
    let volumes = shown.account.view.catalog().volumes();
    for mount in &shown.report.cache_mounts {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let (digits, id) = volume.and_then(build::cache_of_volume).unwrap_or_default();
        let [a, b, c, d, e, f] = numbers(&mount.sizes);
        let digits = digits.chars().take(12).collect();
        table.push([digits, "cache mount".into(), a, b, c, d, e, f, id.to_owned()]);
    }
    titled("Build cache of layerfs build", &table, room, out);
}

/// What nobody owns.
fn rest(shown: &Shown<'_>, room: Option<usize>, out: &mut String) {
    let (what, count) = (("WHAT", Fit::Middle), ("COUNT", Fit::Whole));
    let mut table = Table::new([what, count, ALLOCATED, APPARENT, FILES, INODES]);
    for line in &shown.report.lines {
        let usage = &line.usage;
        table.push([
            line.kind.title(),
            line.count.to_string(),
            size(usage.allocated),
            size(usage.apparent),
            usage.files.to_string(),
            usage.inodes.to_string(),
        ]);
    }
    titled("Besides images, containers and volumes", &table, room, out);
}

fn total(shown: &Shown<'_>, out: &mut String) {
    let total = &shown.report.total;
    let (allocated, apparent) = (total.allocated, total.apparent);
    let _ = writeln!(
        out,
        "Total: {} allocated ({allocated} B), {} apparent ({apparent} B), {}; unaccounted {} B",
        size(allocated),
        size(apparent),
        counted(total.inodes, "inode"),
        shown.report.unaccounted
    );
}
