//! The plan as one JSON object. Numbers are bytes, or seconds since 1970; fields may be added, none changes its meaning.
//!
#![doc = concat!("```text\n", include_str!("json.txt"), "```")]
//!
//! `bytes` of an item are those that go with it after the items before it: an inode with several links is counted where its last
//! link goes. `names` is empty but for images; `image` is the last image that had a layer, else null; `last_used` is known of
//! images alone. `paths` are below `root`.

use serde::Serialize;
use serde_json::{Value, json};
use snapshot::edit::Remains;
use snapshot::gc::{GcItem, Spared, Thing};
use snapshot::liveness::Doubt;

use super::Shown;
use crate::output::{self, Each};

pub(super) fn print(shown: &Shown<'_>) -> anyhow::Result<()> {
    let plan = shown.plan;
    let goal =
        plan.goal().map(|goal| json!({"wanted": goal.wanted, "freed": goal.freed, "reached": goal.is_reached()}));
    output::json(&Document {
        root: shown.root.display().to_string(),
        storage_driver: &shown.driver,
        applied: shown.applied,
        bytes: plan.bytes(),
        may_share_blocks: plan.may_share_blocks(),
        unread: plan.unread(),
        items: Each(plan.items(), item),
        spared: Each(plan.spared(), spared),
        doubts: Each(plan.doubts(), |doubt| json!({"code": doubt.code(), "text": doubt.to_string()})),
        goal,
        quarantine: shown.quarantine.as_ref().map(|path| path.display().to_string()),
        refusal: shown.refusal.as_deref(),
    })
}

#[derive(Serialize)]
struct Document<'a> {
    root: String,
    storage_driver: &'a str,
    applied: bool,
    bytes: u64,
    may_share_blocks: bool,
    unread: u64,
    items: Each<'a, GcItem>,
    spared: Each<'a, Spared>,
    doubts: Each<'a, Doubt>,
    goal: Option<Value>,
    quarantine: Option<String>,
    refusal: Option<&'a str>,
}

fn item(item: &GcItem) -> Value {
    let paths: Vec<String> = item.paths.iter().map(|path| path.display().to_string()).collect();
    let image = if let Thing::Layer { with, .. } = &item.thing { *with } else { None };
    json!({
        "kind": item.thing.code(),
        "id": id(&item.thing),
        "names": names(&item.thing),
        "reason": item.reason.code(),
        "reason_text": item.reason.to_string(),
        "bytes": item.bytes,
        "paths": paths,
        "last_used": item.last_used,
        "image": image,
    })
}

fn spared(spared: &Spared) -> Value {
    json!({
        "kind": spared.thing.code(),
        "id": id(&spared.thing),
        "names": names(&spared.thing),
        "cause": spared.cause.code(),
        "cause_text": spared.cause.to_string(),
    })
}

fn names(thing: &Thing) -> &[String] {
    if let Thing::Image { names, .. } = thing { names } else { &[] }
}

/// The id by which the store knows a thing.
pub(super) fn id(thing: &Thing) -> String {
    match thing {
        Thing::Image { id, .. } => id.to_string(),
        Thing::Layer { chain_id, .. } => chain_id.to_string(),
        Thing::Remains(remains) => match remains {
            Remains::Mount(name) => name.to_string(),
            Remains::Removal(name) | Remains::Registration(name) | Remains::Link(name) => name.clone(),
            Remains::Directory(id) => id.to_string(),
            Remains::Metadata(id) => id.to_string(),
            Remains::Sources(id) => id.to_string(),
            Remains::Blob(digest) => digest.to_string(),
            Remains::Temporary { name, .. } => name.clone(),
        },
        Thing::Change(name) | Thing::Odd(name) => name.clone(),
    }
}
