//! The report of `--files` for people.

use std::fmt::Write as _;

use docker_format::size::size;

use super::files::FileReport;
use super::text::titled;
use crate::columns::{Fit, Table};
use crate::output::{counted, escape};

/// A path as text; bytes that are no UTF-8 are replaced.
fn path(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Of how many images the repeated paths are shown if no image was asked for.
const WORST: usize = 3;

pub(super) fn print(report: &FileReport, top: usize, room: Option<usize>, out: &mut String) {
    // An archive allocates nothing on disk, and an empty column is not shown.
    let allocated = |bytes: u64| if report.archived { String::new() } else { size(bytes) };
    let mut table = Table::new([
        ("ALLOCATED", Fit::Whole),
        ("APPARENT", Fit::Whole),
        ("FILES", Fit::Whole),
        ("LAYER ID", Fit::Whole),
        ("DIRECTORY", Fit::Middle),
    ]);
    for one in &report.directories {
        table.push([
            allocated(one.allocated),
            size(one.apparent),
            one.files.to_string(),
            one.layer.0.short(),
            path(&one.path),
        ]);
    }
    titled("Largest directories of layers", &table, room, out);
    let mut table = Table::new([
        ("ALLOCATED", Fit::Whole),
        ("APPARENT", Fit::Whole),
        ("LAYER ID", Fit::Whole),
        ("PATH", Fit::Middle),
    ]);
    if report.chosen {
        for (layer, file) in report.files.largest_of(&report.layers, top) {
            table.push([allocated(file.allocated), size(file.apparent), layer.0.short(), path(file.path)]);
        }
    } else {
        for large in &report.files.largest {
            table.push([size(large.allocated()), size(large.apparent), String::new(), path(&large.path)]);
        }
    }
    titled("Largest files", &table, room, out);
    let mut table = Table::new([
        ("IMAGE ID", Fit::Whole),
        ("EFFICIENCY", Fit::Whole),
        ("WASTED", Fit::Whole),
        ("OF ADDED", Fit::Drop(2)),
        ("HIDDEN", Fit::Whole),
        ("HIDDEN FILES", Fit::Drop(1)),
        ("NAMES", Fit::Middle),
    ]);
    for image in report.images.iter().take(top) {
        let waste = &image.waste;
        let share = if waste.user == 0 && waste.wasted == 0 { 0.0 } else { waste.user_share() * 100.0 };
        table.push([
            image.id.trim_start_matches("sha256:").chars().take(12).collect(),
            format!("{:.2}%", waste.efficiency * 100.0),
            size(waste.wasted),
            format!("{share:.2}%"),
            size(waste.hidden),
            waste.hidden_files.to_string(),
            if image.names.is_empty() { "<none>".to_owned() } else { image.names.join(", ") },
        ]);
    }
    titled("Wasted space", &table, room, out);
    if report.images.len() > top {
        let _ = writeln!(out, "{} more; --top shows as many as it says", report.images.len() - top);
    }
    for (place, image) in report.images.iter().enumerate() {
        let name = image.names.first().unwrap_or(&image.id);
        for verdict in &image.verdicts {
            let word = if verdict.failed { "FAIL" } else { "PASS" };
            let _ = writeln!(out, "{word} {} {}: {}", escape(name), verdict.rule, verdict.reason);
        }
        if image.waste.wasted == 0 || !report.chosen && place >= WORST {
            continue;
        }
        let mut table = Table::new([("BYTES", Fit::Whole), ("LAYERS", Fit::Whole), ("PATH", Fit::Middle)]);
        for repeated in image.waste.repeated.iter().take(top).filter(|repeated| repeated.bytes > 0) {
            table.push([size(repeated.bytes), repeated.layers.to_string(), path(&repeated.path)]);
        }
        titled(&format!("Paths of {} in several layers", escape(name)), &table, room, out);
    }
    let mut table = Table::new([
        ("WOULD SAVE", Fit::Whole),
        ("COPIES", Fit::Whole),
        ("EACH", Fit::Whole),
        ("LAYER ID", Fit::Whole),
        ("FIRST", Fit::Middle),
    ]);
    for same in report.identical.iter().take(top) {
        let (layer, first) = &same.places[0];
        table.push([size(same.saved()), same.places.len().to_string(), size(same.size), layer.0.short(), path(first)]);
    }
    let all: u64 = report.identical.iter().map(snapshot::usage::files::Identical::saved).sum();
    titled(&format!("The same content in several layers: {} more than once", size(all)), &table, room, out);
    if report.sparse > 0 {
        let most = size(snapshot::usage::files::MAX_HOLES);
        let sparse = counted(report.sparse, "file");
        let _ = writeln!(out, "Not compared: {sparse} with more than {most} of holes");
    }
}
