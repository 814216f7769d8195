//! One image: which part of the store it is.

use std::collections::HashMap;
use std::fmt::Write as _;

use docker_format::size::size;
use layerfs::ChainId;
use snapshot::ids::ImageId;
use snapshot::liveness::removal_plan::{Certainty, RemovalRequest};
use snapshot::usage::report::LayerUsage;

use super::Shown;
use super::freed::{first_of, names};
use crate::columns::{self, Fit, Table};
use crate::output::{counted, escape};
use crate::steps;

/// How many names of other images are shown for a layer.
const OTHERS: usize = 2;

pub(super) fn print(shown: &Shown<'_>, id: ImageId, room: Option<usize>, out: &mut String) {
    let Some(image) = shown.asked.iter().find(|image| image.id == id) else { return };
    let catalog = shown.account.view.catalog();
    let called = if image.names.is_empty() { "<none>".to_owned() } else { image.names.join(", ") };
    let (usage, sizes) = (&image.sizes.usage, &image.sizes);
    let _ = writeln!(out, "\n{}  {}", escape(&called), id.0.short());
    if let Some(reason) = &image.damage {
        let _ = writeln!(out, "  damaged   {}", escape(reason));
    }
    let layers = counted(image.layers.len() as u64, "layer");
    let (files, apparent) = (counted(usage.files, "file"), size(usage.apparent));
    let _ = writeln!(out, "  allocated {}, apparent {apparent}: {files} in {layers}", size(usage.allocated));
    let _ = writeln!(out, "  unique    {}, which `docker rmi -f` of it would free", size(sizes.unique));
    let _ = writeln!(out, "  shared    {}, which would stay", size(sizes.shared));
    let total = shown.report.total.allocated;
    if total > 0 {
        let share = usage.allocated as f64 * 100.0 / total as f64;
        let _ = writeln!(out, "  of all    {share:.1}%");
    }
    let containers: Vec<String> = catalog.containers_of(id).map(|container| container.name.clone()).collect();
    if !containers.is_empty() {
        let _ = writeln!(out, "  used by   {}", escape(&first_of(&containers)));
    }
    let mut table = Table::new([
        ("LAYER ID", Fit::Whole),
        ("ALLOCATED", Fit::Whole),
        ("APPARENT", Fit::Drop(1)),
        ("FREED", Fit::Whole),
        ("FILES", Fit::Drop(2)),
        ("ALSO IN", Fit::Middle),
        ("MADE BY", Fit::End),
    ]);
    let request = RemovalRequest { images: vec![id], containers: Vec::new(), certainty: Certainty::AsDockerd };
    let going = shown.account.view.holders().if_removed(&request);
    let by_id: HashMap<ChainId, &LayerUsage> = shown.layers.iter().map(|layer| (layer.id, layer)).collect();
    for layer in image.layers.iter().filter_map(|layer| by_id.get(layer)) {
        let usage = &layer.sizes.usage;
        let freed = if going.layers.contains(&layer.id) { usage.allocated } else { 0 };
        let users = catalog
            .uses(layer.id)
            .map(|used| used.image.id)
            .filter(|user| *user != id && !shown.kept.images.contains(user));
        let mut others = names(catalog, users);
        others.truncate(OTHERS);
        if layer.images > OTHERS + 1 {
            others.push(format!("{} more", layer.images - OTHERS - 1));
        }
        if layer.build_cache {
            others.push("build cache".to_owned());
        }
        table.push([
            layer.id.0.short(),
            size(usage.allocated),
            size(usage.apparent),
            size(freed),
            usage.files.to_string(),
            others.join(", "),
            columns::end(&steps::readable(&layer.created_by), super::text::COMMAND),
        ]);
    }
    if !table.is_empty() {
        out.push_str("\nIts layers, base first\n");
        out.push_str(&table.render(room));
    }
}
