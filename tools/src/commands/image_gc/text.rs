//! The plan for people.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use docker_format::ago::ago;
use docker_format::size::size;
use docker_format::table::align;
use snapshot::gc::{GcItem, Spared, StayCause, Thing};
use snapshot::ids::ImageId;
use snapshot::liveness::StillAlive;

use super::{Shown, json};
use crate::output::{self, counted, escape};
use crate::{columns, steps};

/// How many entries of a kind are named; if there are more, they are only counted.
const NAMED: usize = 20;

/// Characters of a build's step that are shown.
const STEP: usize = 40;

pub(super) fn print(shown: &Shown<'_>) -> anyhow::Result<()> {
    let mut out = String::new();
    going(shown, &mut out);
    staying(shown, &mut out);
    sum(shown, &mut out);
    output::page(&out)?;
    Ok(())
}

/// Cells of one line, each ended by a tab but the last.
fn cells(cells: &[String]) -> String {
    // A tab or an end of line in a name would be another cell.
    cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join("\t") + "\n"
}

fn going(shown: &Shown<'_>, out: &mut String) {
    let items = shown.plan.items();
    // The layers that go with an image are counted with it, and listed by themselves only if everything is named.
    let mut with: HashMap<ImageId, (u64, u64)> = HashMap::new();
    for item in items {
        if let Thing::Layer { with: Some(image), .. } = &item.thing {
            let (bytes, count) = with.entry(*image).or_default();
            *bytes += item.bytes;
            *count += 1;
        }
    }
    let mut rows: Vec<[String; 4]> = Vec::new();
    let mut more: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut named: HashMap<&str, usize> = HashMap::new();
    for item in items {
        let is_within = matches!(&item.thing, Thing::Layer { with: Some(_), .. });
        if is_within && !shown.verbose {
            continue;
        }
        let count = named.entry(item.thing.code()).or_default();
        *count += 1;
        if *count > NAMED && !shown.verbose {
            let (number, bytes) = more.entry(item.thing.code()).or_default();
            (*number, *bytes) = (*number + 1, *bytes + item.bytes);
            continue;
        }
        rows.push(row(item, &with, shown));
    }
    rows.extend(
        more.into_iter()
            .map(|(kind, (number, bytes))| [kind.to_owned(), format!("{number} more"), String::new(), size(bytes)]),
    );
    if rows.is_empty() {
        return;
    }
    let title = if shown.applied { "GONE" } else { "TO GO" };
    let mut table = format!("{title}\tNAME\tFREES\tREASON\n");
    rows.iter().for_each(|[kind, name, reason, bytes]| {
        table.push_str(&cells(&[kind.clone(), name.clone(), bytes.clone(), reason.clone()]));
    });
    out.push_str(&align(&table));
    out.push('\n');
}

fn row(item: &GcItem, with: &HashMap<ImageId, (u64, u64)>, shown: &Shown<'_>) -> [String; 4] {
    let (mut bytes, mut reason) = (item.bytes, item.reason.to_string());
    if let Thing::Image { id, .. } = &item.thing {
        if let Some(used) = item.last_used {
            let mut ago = ago(used, shown.now);
            // Docker begins a cell with some of them.
            ago.get_mut(..1).into_iter().for_each(str::make_ascii_lowercase);
            let _ = write!(reason, "; last used {ago}");
        }
        if let Some(step) = shown.steps.get(id) {
            let _ = write!(reason, "; build cache of {}", columns::end(&steps::readable(step), STEP));
        }
        if let Some((more, layers)) = with.get(id).filter(|_| !shown.verbose) {
            bytes += more;
            let _ = write!(reason, "; with {}", counted(*layers, "layer"));
        }
    }
    [item.thing.code().to_owned(), name(&item.thing, &shown.driver), reason, size(bytes)]
}

/// The name by which people know a thing.
fn name(thing: &Thing, driver: &str) -> String {
    match thing {
        Thing::Image { id, names } if names.is_empty() => id.0.short(),
        Thing::Image { id, names } => format!("{} ({})", names.join(", "), id.0.short()),
        Thing::Layer { chain_id, .. } => chain_id.0.short(),
        Thing::Remains(remains) => remains.place(driver).display().to_string(),
        Thing::Change(_) | Thing::Odd(_) => json::id(thing),
    }
}

/// Things that stay although one might expect them to go. The rest, such as images that containers use, is listed only if
/// everything is named.
fn staying(shown: &Shown<'_>, out: &mut String) {
    let mut rows = Vec::new();
    let mut more: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for spared in shown.plan.spared() {
        // If it cannot be told who needs what, this is said once and not of each thing.
        let is_doubted = matches!(spared.cause, StayCause::Doubt(_) | StayCause::Needed(StillAlive::Unknown(_)));
        let is_shown = shown.verbose || (is_surprising(spared) && !is_doubted && rows.len() < NAMED);
        if is_shown {
            let kind = spared.thing.code().to_owned();
            rows.push([kind, name(&spared.thing, &shown.driver), spared.cause.to_string()]);
        } else {
            *more.entry(in_short(spared)).or_default() += 1;
        }
    }
    if !rows.is_empty() {
        let mut table = String::from("STAYS\tNAME\tREASON\n");
        rows.iter().for_each(|row| table.push_str(&cells(row)));
        out.push_str(&align(&table));
    }
    for ((what, why), count) in more {
        let _ = writeln!(out, "{what}: {count}, as {why}");
    }
    if !shown.plan.spared().is_empty() {
        out.push('\n');
    }
}

fn is_surprising(spared: &Spared) -> bool {
    !matches!(spared.thing, Thing::Image { .. })
        || matches!(spared.cause, StayCause::MayBeUsedBy(_) | StayCause::OddName(_) | StayCause::Children)
}

/// The cause in general words, without what is true of one thing only.
fn in_short(spared: &Spared) -> (&'static str, String) {
    let what = match spared.thing {
        Thing::Image { .. } => "images that stay",
        _ => "other things that stay",
    };
    let why = match &spared.cause {
        StayCause::UsedBy(_) => "containers use them".to_owned(),
        StayCause::MayBeUsedBy(_) => "containers may use them".to_owned(),
        StayCause::Named => "they have names; --all takes those that no container uses".to_owned(),
        StayCause::Kept(_) => "--keep means them".to_owned(),
        StayCause::Label(_) => "--keep-label means them".to_owned(),
        StayCause::Excluded => "the file of excludes has them".to_owned(),
        StayCause::AmongLast(_) => "they are the newest of their repositories".to_owned(),
        StayCause::TooNew => "they were made more recently than --until allows".to_owned(),
        StayCause::UsedRecently => "they were used more recently than --unused-for allows".to_owned(),
        StayCause::EnoughGoes => "enough is freed without them".to_owned(),
        StayCause::Children => "images that stay were built from them".to_owned(),
        StayCause::Young(_) => "they changed more recently than --min-age allows".to_owned(),
        StayCause::Doubt(_) | StayCause::Needed(StillAlive::Unknown(_)) => {
            "it cannot be told who needs what".to_owned()
        }
        other => other.to_string(),
    };
    (what, why)
}

fn sum(shown: &Shown<'_>, out: &mut String) {
    let plan = shown.plan;
    let freed = size(plan.bytes());
    let _ = match (shown.applied, plan.items().is_empty()) {
        (_, true) => writeln!(out, "Nothing goes from {}.", escape(&shown.root.display().to_string())),
        (true, false) => match &shown.quarantine {
            None => writeln!(out, "Freed {freed}."),
            Some(path) => {
                let path = escape(&path.display().to_string());
                writeln!(out, "Moved to {path}; --restore puts it back, and {freed} are freed if it is removed.")
            }
        },
        (false, false) => writeln!(out, "{freed} would be freed; --apply does it."),
    };
    if let Some(goal) = plan.goal() {
        let _ = match () {
            () if goal.wanted == 0 => writeln!(out, "Enough is free already."),
            () if goal.is_reached() => writeln!(out, "{} was to be freed.", size(goal.wanted)),
            () => writeln!(out, "{} was to be freed: no more can go.", size(goal.wanted)),
        };
    }
}
