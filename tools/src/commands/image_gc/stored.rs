//! What containerd itself will delete of its store: a plan that only containerd carries out.

use std::process::ExitCode;

use anyhow::bail;
use docker_format::size::size;
use docker_format::table::align;
use serde_json::{Value, json};
use snapshot::gc::{Policy, StoredGcItem, StoredGcPlan};
use snapshot::view::View;

use super::{Cli, NAME};
use crate::exit::UsageError;
use crate::output::{self, escape};

/// How many entries are named of what goes and of what stays; if there are more, they are only counted.
const NAMED: usize = 20;

const WHEN: &str = "containerd deletes what goes when it starts, and after `docker rmi` or `docker rm` has removed something of its kind";

pub(super) fn run(cli: &Cli, view: &View, policy: &Policy) -> anyhow::Result<ExitCode> {
    if cli.apply {
        bail!("containerd's store is not written: {WHEN}");
    }
    if *policy != Policy::new(policy.now) {
        let text = "the images are in containerd's store, of which image-gc tells what containerd deletes by itself: it takes no policy";
        return Err(UsageError(text.into()).into());
    }
    let plan = StoredGcPlan::make(view)?;
    if cli.json {
        output::json(&document(view, &plan))?;
    } else {
        print(cli, &plan)?;
    }
    if let Some(path) = &plan.blocked_by {
        output::complain(NAME, &format!("containerd deletes no blob while this file is there: {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn document(view: &View, plan: &StoredGcPlan) -> Value {
    let item = |item: &StoredGcItem| {
        let paths: Vec<String> = item.place.iter().map(|place| place.display().to_string()).collect();
        json!({"kind": item.kind, "id": item.name, "paths": paths, "bytes": item.bytes, "reason": item.reason})
    };
    json!({
        "root": view.root().dir().path().display().to_string(),
        "storage_driver": view.root().driver_name(),
        "applied": false,
        "bytes": plan.bytes(),
        "items": plan.items.iter().map(item).collect::<Vec<_>>(),
        "stays": plan.stays.iter().map(item).collect::<Vec<_>>(),
        "blocked_by": plan.blocked_by.as_ref().map(|path| path.display().to_string()),
    })
}

fn print(cli: &Cli, plan: &StoredGcPlan) -> anyhow::Result<()> {
    let mut out = String::new();
    for (title, items) in [("TO GO", &plan.items), ("STAYS", &plan.stays)] {
        if items.is_empty() {
            continue;
        }
        let named = if cli.verbose { items.len() } else { NAMED };
        let bytes = if title == "TO GO" { "FREES" } else { "TAKES" };
        let mut table = format!("{title}\tNAME\t{bytes}\tREASON\n");
        for item in items.iter().take(named) {
            let cells = [item.kind.to_owned(), item.name.clone(), size(item.bytes), item.reason.to_owned()];
            table.push_str(&cells.map(|cell| escape(&cell)).join("\t"));
            table.push('\n');
        }
        out.push_str(&align(&table));
        if let Some(more) = items.len().checked_sub(named).filter(|more| *more > 0) {
            out.push_str(&format!("and {more} more; --verbose names them\n"));
        }
        out.push('\n');
    }
    if plan.items.is_empty() {
        out.push_str("containerd has nothing to delete\n");
    } else {
        out.push_str(&format!("{}: {WHEN}\n", size(plan.bytes())));
    }
    output::page(&out)?;
    Ok(())
}
