//! The report for people.

use std::fmt::Write as _;

use snapshot::usage::df::UsageRow;
use snapshot::usage::report::Sizes;

use super::Shown;
use crate::output::{self, escape};
use docker_format::size::{human_size, size, size4};
use docker_format::table::align;

/// Characters of a command that are shown.
const COMMAND: usize = 60;

pub(super) fn print(shown: &Shown<'_>) -> anyhow::Result<()> {
    let mut out = String::new();
    rows(shown, &mut out);
    images(shown, &mut out);
    layers(shown, &mut out);
    containers(shown, &mut out);
    volumes(shown, &mut out);
    rest(shown, &mut out);
    freed(shown, &mut out);
    files(shown, &mut out);
    output::page(&out)?;
    Ok(())
}

/// Cells of one line, each ended by a tab but the last.
fn cells(cells: &[String]) -> String {
    // A tab or an end of line in a name would be another cell.
    cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join("\t") + "\n"
}

/// docker's own table.
fn rows(shown: &Shown<'_>, out: &mut String) {
    let mut table = String::from("TYPE\tTOTAL\tACTIVE\tSIZE\tRECLAIMABLE\n");
    for (kind, row) in &shown.rows {
        let line = [(*kind).into(), row.total.to_string(), row.active.to_string(), size4(row.size), reclaimable(row)];
        table.push_str(&cells(&line));
    }
    out.push_str(&align(&table));
}

fn reclaimable(row: &UsageRow) -> String {
    let bytes = human_size(row.reclaimable as f64, 4);
    row.percent().map_or_else(|| bytes.clone(), |percent| format!("{bytes} ({percent}%)"))
}

/// The cells that all have.
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

const NUMBERS: &str = "ALLOCATED\tAPPARENT\tSHARED\tUNIQUE\tFILES\tINODES";

/// A table with a title; none if there is nothing in it.
fn table(out: &mut String, title: &str, first: &str, last: &str, lines: Vec<(Vec<String>, &Sizes, String)>) {
    if lines.is_empty() {
        return;
    }
    let mut table = format!("{first}\t{NUMBERS}\t{last}\n");
    for (start, sizes, end) in lines {
        let all: Vec<String> = start.into_iter().chain(numbers(sizes)).chain([end]).collect();
        table.push_str(&cells(&all));
    }
    let _ = write!(out, "\n{title}\n{}", align(&table));
}

fn images(shown: &Shown<'_>, out: &mut String) {
    let lines = shown.report.images.iter().map(|image| {
        let name = if image.names.is_empty() { "<none>".into() } else { image.names.join(", ") };
        let note = match (&image.damage, &image.kept) {
            (Some(reason), _) => format!("damaged: {reason}"),
            (None, Some(reason)) => format!("stays: {reason}"),
            (None, None) => String::new(),
        };
        (vec![image.id.0.short(), name], &image.sizes, note)
    });
    table(out, "Images", "IMAGE ID\tNAMES", "NOTE", lines.collect());
}

fn layers(shown: &Shown<'_>, out: &mut String) {
    let lines = shown.report.layers.iter().map(|layer| {
        let mut note = match &layer.damage {
            Some(reason) => format!("damaged: {reason}"),
            None if layer.images == 0 => "in no image".to_owned(),
            None if layer.names.is_empty() => "<none>".to_owned(),
            None => some(&layer.names),
        };
        if layer.damage.is_none() && !layer.created_by.is_empty() {
            note = format!("{note}: {}", shortened(&layer.created_by));
        }
        (vec![layer.id.0.short()], &layer.sizes, note.trim_end().to_owned())
    });
    table(out, "Layers", "LAYER ID", "MADE FOR AND BY", lines.collect());
}

/// The first names, and how many more there are.
fn some(names: &[String]) -> String {
    const NAMES: usize = 3;
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().checked_sub(NAMES) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// On one line, and not too long.
fn shortened(command: &str) -> String {
    let plain: String = command.split_whitespace().collect::<Vec<_>>().join(" ");
    match plain.char_indices().nth(COMMAND) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}

fn containers(shown: &Shown<'_>, out: &mut String) {
    let lines = shown.report.containers.iter().map(|container| {
        let id = container.id.chars().take(12).collect();
        let logs = if container.logs > 0 { format!("logs {}", size(container.logs)) } else { String::new() };
        let note = container.damage.as_ref().map_or(logs, |reason| format!("damaged: {reason}"));
        (vec![id, container.name.clone(), container.image.clone()], &container.sizes, note)
    });
    table(out, "Containers", "CONTAINER ID\tNAME\tIMAGE", "NOTE", lines.collect());
}

fn volumes(shown: &Shown<'_>, out: &mut String) {
    let lines = shown.report.volumes.iter().map(|volume| {
        let note = if volume.containers == 0 { "in no container" } else { "" };
        (vec![volume.name.clone()], &volume.sizes, note.to_owned())
    });
    table(out, "Local Volumes", "VOLUME NAME", "NOTE", lines.collect());
}

/// What nobody owns, and the sum.
fn rest(shown: &Shown<'_>, out: &mut String) {
    let mut table = String::from("WHAT\tCOUNT\tALLOCATED\tAPPARENT\tFILES\tINODES\n");
    for line in &shown.report.lines {
        let usage = &line.usage;
        table.push_str(&cells(&[
            line.kind.title(),
            line.count.to_string(),
            size(usage.allocated),
            size(usage.apparent),
            usage.files.to_string(),
            usage.inodes.to_string(),
        ]));
    }
    let total = &shown.report.total;
    let _ = write!(out, "\nBesides images, containers and volumes\n{}", align(&table));
    let (allocated, apparent) = (total.allocated, total.apparent);
    let _ = writeln!(
        out,
        "\nTotal: {} allocated ({allocated} B), {} apparent ({apparent} B), {} inodes; unaccounted {} B",
        size(allocated),
        size(apparent),
        total.inodes,
        shown.report.unaccounted
    );
}

fn freed(shown: &Shown<'_>, out: &mut String) {
    let Some(freed) = &shown.freed else { return };
    let removal = &freed.removal;
    let (images, layers) = (removal.images.len(), removal.layers.len());
    let bytes = freed.allocated;
    let _ = writeln!(out, "Removing would free {} ({bytes} B): {images} images, {layers} layers", size(bytes));
    for (id, reason) in &removal.kept {
        let _ = writeln!(out, "{} stays: {}", id.0.short(), escape(&reason.to_string()));
    }
}

/// A path of bytes, as far as it is text.
fn path(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn files(shown: &Shown<'_>, out: &mut String) {
    let Some(report) = &shown.files else { return };
    let mut table = String::from("ALLOCATED\tAPPARENT\tPATH\n");
    for large in &report.files.largest {
        table.push_str(&cells(&[size(large.allocated), size(large.apparent), path(&large.path)]));
    }
    let _ = write!(out, "\nLargest files\n{}", align(&table));
    table = String::from("IMAGE ID\tEFFICIENCY\tWASTED\tOF ADDED\tHIDDEN\tHIDDEN FILES\tNAMES\n");
    for image in &report.images {
        let waste = &image.waste;
        let share = if waste.user == 0 && waste.wasted == 0 { 0.0 } else { waste.user_share() * 100.0 };
        table.push_str(&cells(&[
            image.id.trim_start_matches("sha256:").chars().take(12).collect(),
            format!("{:.2}%", waste.efficiency * 100.0),
            size(waste.wasted),
            format!("{share:.2}%"),
            size(waste.hidden),
            waste.hidden_files.to_string(),
            image.names.join(", "),
        ]));
    }
    let _ = write!(out, "\nWasted space\n{}", align(&table));
    for image in &report.images {
        let name = image.names.first().unwrap_or(&image.id);
        for verdict in &image.verdicts {
            let word = if verdict.failed { "FAIL" } else { "PASS" };
            let _ = writeln!(out, "{word} {} {}: {}", escape(name), verdict.rule, verdict.reason);
        }
        if image.waste.wasted == 0 {
            continue;
        }
        table = String::from("BYTES\tLAYERS\tPATH\n");
        for repeated in image.waste.repeated.iter().take(shown.top).filter(|repeated| repeated.bytes > 0) {
            table.push_str(&cells(&[size(repeated.bytes), repeated.layers.to_string(), path(&repeated.path)]));
        }
        let _ = write!(out, "\nPaths of {} in several layers\n{}", escape(name), align(&table));
    }
    table = String::from("WOULD SAVE\tCOPIES\tEACH\tFIRST\n");
    for same in report.identical.iter().take(shown.top) {
        let (layer, first) = &same.places[0];
        let first = format!("{}:{}", layer.0.short(), path(first));
        table.push_str(&cells(&[size(same.saved()), same.places.len().to_string(), size(same.size), first]));
    }
    let all: u64 = report.identical.iter().map(snapshot::usage::files::Identical::saved).sum();
    let _ = write!(out, "\nThe same content in several layers: {} more than once\n{}", size(all), align(&table));
    if report.sparse > 0 {
        let most = size(snapshot::usage::files::MAX_HOLES);
        let _ = writeln!(out, "Not compared: {} files with more than {most} of holes", report.sparse);
    }
}
