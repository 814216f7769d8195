//! `layerfs image tree`: the layers as they stand on each other, with their images and containers.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::ExitCode;

use layerfs::ChainId;
use serde::Serialize;
use snapshot::catalog::Catalog;
use snapshot::ids::ImageId;
use snapshot::view::{Needs, View};

use crate::commands::layerfs::NAME;
use crate::output;
use docker_format::size;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images whose layers to show [default: all]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Do not cut ids and commands short
    #[arg(long)]
    no_trunc: bool,

    /// Report as JSON: a list of layers, each after the one it stands on
    #[arg(long)]
    json: bool,
}

/// One layer of the tree.
#[derive(Debug, Serialize)]
struct Node {
    chain_id: ChainId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<ChainId>,
    /// Layers below it.
    depth: usize,
    /// Its own size in bytes.
    size: u64,
    /// With all below it.
    total: u64,
    /// Images that have it.
    shared_by: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    /// Images whose last layer it is.
    images: Vec<Named>,
    /// Containers that stand on it.
    containers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    /// Whether it is the last one on its parent, for each layer below it and itself.
    #[serde(skip)]
    last: Vec<bool>,
}

#[derive(Debug, Serialize)]
struct Named {
    id: ImageId,
    names: Vec<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::LISTING)?;
    let catalog = &view.catalog;
    let mut missing = false;
    let mut wanted = Vec::new();
    for text in &args.images {
        match catalog.resolve(text) {
            snapshot::catalog::Resolved::Image(id) => wanted.push(id),
            snapshot::catalog::Resolved::Damaged(id) => {
                missing = true;
                output::complain(NAME, &format!("{text}: damaged: {}", catalog.damaged_images[&id]));
            }
            snapshot::catalog::Resolved::Nothing => {
                missing = true;
                output::complain(NAME, &format!("No such image: {text}"));
            }
        }
    }
    let nodes = if missing && wanted.is_empty() { Vec::new() } else { tree(catalog, &wanted) };
    if args.json {
        output::json(&nodes)?;
    } else {
        for node in &nodes {
            output::say(&line(node, args.no_trunc))?;
        }
    }
    crate::damage::report(NAME, &view);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The layers of some images, or all layers: each after the one it stands on, the largest branch last.
fn tree(catalog: &Catalog, wanted: &[ImageId]) -> Vec<Node> {
    let chosen: HashSet<ChainId> = wanted.iter().flat_map(|id| catalog.images[id].chain.iter().copied()).collect();
    let shown = |chain: &ChainId| wanted.is_empty() || chosen.contains(chain);
    let mut children: BTreeMap<Option<ChainId>, Vec<ChainId>> = BTreeMap::new();
    for (chain, layer) in catalog.layers.iter().filter(|(chain, _)| shown(chain)) {
        // What is damaged stands nowhere.
        let parent = layer.as_ref().ok().and_then(|layer| layer.parent);
        children.entry(parent).or_default().push(*chain);
    }
    let mut nodes: Vec<Node> = Vec::new();
    let bases = children.remove(&None).unwrap_or_default();
    let mut left: Vec<(ChainId, Vec<bool>, u64)> = Vec::new();
    let push = |left: &mut Vec<(ChainId, Vec<bool>, u64)>, on: Vec<ChainId>, last: &[bool], below: u64| {
        let count = on.len();
        for (place, chain) in on.into_iter().enumerate().rev() {
            left.push((chain, [last, &[place + 1 == count]].concat(), below));
        }
    };
    push(&mut left, bases, &[], 0);
    while let Some((chain, last, below)) = left.pop() {
        let node = node(catalog, chain, last, below);
        push(&mut left, children.remove(&Some(chain)).unwrap_or_default(), &node.last, node.total);
        nodes.push(node);
    }
    nodes
}

fn node(catalog: &Catalog, chain: ChainId, last: Vec<bool>, below: u64) -> Node {
    let layer = catalog.layer(chain);
    let uses: Vec<_> = catalog.uses(chain).collect();
    let size = layer.map_or(0, |layer| layer.size);
    let tops = uses.iter().filter(|used| used.place + 1 == used.image.chain.len());
    let containers = catalog.containers_on(chain);
    Node {
        chain_id: chain,
        parent: layer.and_then(|layer| layer.parent),
        depth: last.len() - 1,
        size,
        total: below.saturating_add(size),
        shared_by: uses.len(),
        created_by: uses.iter().find_map(snapshot::catalog::LayerUse::step).map(|step| step.created_by.clone()),
        images: tops
            .map(|used| Named {
                id: used.image.id,
                names: catalog.names_of(used.image.id).into_iter().map(str::to_owned).collect(),
            })
            .collect(),
        containers: containers.map(|container| container.name.clone()).collect(),
        damage: catalog.layers.get(&chain).and_then(|layer| layer.as_ref().err()).map(ToString::to_string),
        last,
    }
}

/// Characters of a command that are shown.
const COMMAND: usize = 60;

fn line(node: &Node, whole: bool) -> String {
    let mut text = String::new();
    for (depth, last) in node.last.iter().enumerate() {
        text.push_str(match (depth + 1 == node.last.len(), last) {
            (true, true) => "└─ ",
            (true, false) => "├─ ",
            (false, true) => "   ",
            (false, false) => "│  ",
        });
    }
    let hex = node.chain_id.0.hex();
    text.push_str(if whole { &hex } else { &hex[..12] });
    text.push_str(&format!("  {}", size::size(node.size)));
    if node.total != node.size {
        text.push_str(&format!(" of {}", size::size(node.total)));
    }
    if node.shared_by > 1 {
        text.push_str(&format!("  in {} images", node.shared_by));
    }
    for image in &node.images {
        let hex = image.id.0.hex();
        let id = if whole { hex.as_str() } else { &hex[..12] };
        let names = if image.names.is_empty() { "<none>".to_owned() } else { image.names.join(", ") };
        text.push_str(&format!("  {names} ({id})"));
    }
    for container in &node.containers {
        text.push_str(&format!("  [{container}]"));
    }
    // What the builder puts in front of every command.
    let bare = |command: &str| command.strip_prefix("/bin/sh -c #(nop) ").unwrap_or(command).trim().to_owned();
    if let Some(command) = node.created_by.as_deref().map(bare).filter(|command| !command.is_empty()) {
        let cut: String = command.chars().take(COMMAND).collect();
        let more = command.chars().nth(COMMAND).is_some() && !whole;
        text.push_str(&format!("  {}{}", if whole { &command } else { &cut }, if more { "…" } else { "" }));
    }
    match &node.damage {
        Some(damage) => text.push_str(&format!("  damaged: {damage}")),
        None if node.shared_by == 0 => text.push_str("  no image has it"),
        None => {}
    }
    text
}
