//! `--html`: the report as a page to click through.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use layerfs::ChainId;
use snapshot::usage::report::{DiskReport, LayerUsage, RestKind as Rest};
use snapshot::usage::walk::Usage;
use snapshot::usage::{Account, Part};

use crate::html::{Kind, Node, Page, render};

/// Writes the page; a file that is there is replaced.
pub(super) fn write(path: &Path, account: &Account<'_>, report: &DiskReport) -> anyhow::Result<()> {
    let catalog = &account.view.catalog;
    let read = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let facts = [
        ("Data-root", catalog.root.display().to_string()),
        ("Storage driver", catalog.driver.clone()),
        ("Read", read),
        ("Unaccounted", format!("{} B", report.unaccounted)),
    ];
    let facts = facts.map(|(label, value)| (label.to_owned(), value)).into();
    let page = Page { title: "Docker storage".to_owned(), facts, root: tree(account, report) };
    std::fs::write(path, render(&page)).with_context(|| format!("writing {}", path.display()))
}

fn node(name: impl Into<String>, kind: Kind, usage: &Usage, note: Option<String>, children: Vec<Node>) -> Node {
    let (allocated, apparent, files) = (usage.allocated, usage.apparent, usage.files);
    Node { name: name.into(), kind, allocated, apparent, files, note, children }
}

/// One that is as large as its children are.
fn group(name: &str, kind: Kind, children: Vec<Node>) -> Option<Node> {
    if children.is_empty() {
        return None;
    }
    let sum = |of: fn(&Node) -> u64| children.iter().map(of).sum();
    let usage = Usage {
        allocated: sum(|child| child.allocated),
        apparent: sum(|child| child.apparent),
        files: sum(|child| child.files),
        ..Usage::default()
    };
    Some(node(name, kind, &usage, None, children))
}

/// Every byte once: a layer that several images have stands beside them, not in one of them.
fn tree(account: &Account<'_>, report: &DiskReport) -> Node {
    let mut shared: Vec<Node> = Vec::new();
    let mut alone: Vec<Node> = Vec::new();
    for layer in report.layers.iter().filter(|layer| layer.images != 1) {
        let place = if layer.images > 1 { &mut shared } else { &mut alone };
        place.push(layer_node(layer));
    }
    let by_id: HashMap<ChainId, &LayerUsage> = report.layers.iter().map(|layer| (layer.id, layer)).collect();
    let mut images: Vec<Node> = report
        .images
        .iter()
        .map(|image| {
            let own = image.layers.iter().filter_map(|id| by_id.get(id)).filter(|layer| layer.images == 1);
            let children: Vec<Node> = own.map(|layer| layer_node(layer)).collect();
            let records = account.usage(&Part::Image(image.id));
            let usage = Usage {
                allocated: records.allocated + children.iter().map(|child| child.allocated).sum::<u64>(),
                apparent: records.apparent + children.iter().map(|child| child.apparent).sum::<u64>(),
                files: records.files + children.iter().map(|child| child.files).sum::<u64>(),
                ..Usage::default()
            };
            let name = if image.names.is_empty() { image.id.0.short() } else { image.names.join(", ") };
            let note = image.damage.as_ref().map(|reason| format!("damaged: {reason}"));
            node(name, Kind::Image, &usage, note.or_else(|| Some(image.id.to_string())), children)
        })
        .collect();
    images.extend(group("layers of several images", Kind::Layer, shared));
    images.extend(group("layers of no image", Kind::Layer, alone));
    let containers = report.containers.iter().map(|container| {
        let mut usage = container.sizes.usage;
        let logs = account.usage(&Part::Log(container.id.clone()));
        // Logs stand with the logs.
        usage.allocated -= logs.allocated;
        usage.apparent -= logs.apparent;
        usage.files -= logs.files;
        let note = container.damage.as_ref().map(|reason| format!("damaged: {reason}"));
        let name = if container.name.is_empty() { container.id.as_str() } else { &container.name };
        node(name, Kind::Container, &usage, note.or_else(|| Some(container.image.clone())), Vec::new())
    });
    let volumes = report.volumes.iter().map(|volume| {
        let note = (volume.containers == 0).then(|| "in no container".to_owned());
        node(volume.name.as_str(), Kind::Volume, &volume.sizes.usage, note, Vec::new())
    });
    let mut children: Vec<Node> = [
        group("images", Kind::Images, images),
        group("containers", Kind::Container, containers.collect()),
        group("local volumes", Kind::Volume, volumes.collect()),
    ]
    .into_iter()
    .flatten()
    .collect();
    children.extend(report.lines.iter().map(|line| {
        let kind = match line.kind {
            Rest::BuildCache => Kind::BuildCache,
            Rest::Logs => Kind::Logs,
            Rest::Orphans | Rest::Unfinished | Rest::Removing | Rest::Mounts | Rest::StaleLinks => Kind::Orphan,
            Rest::Referred | Rest::Unknown | Rest::Store | Rest::Other(_) => Kind::Other,
        };
        node(line.kind.title(), kind, &line.usage, None, Vec::new())
    }));
    node(account.view.catalog.root.display().to_string(), Kind::DataRoot, &report.total, None, children)
}

fn layer_node(layer: &LayerUsage) -> Node {
    let made = Some(layer.created_by.clone()).filter(|made| !made.is_empty());
    let note = layer.damage.as_ref().map(|reason| format!("damaged: {reason}")).or(made);
    node(layer.id.0.short(), Kind::Layer, &layer.sizes.usage, note, Vec::new())
}
