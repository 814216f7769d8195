//! `layerfs image tree`: the layers as they stand on each other, with their images and containers.
//!
//! ```text
//! 5f70bf18a086  1.24MB  ADD rootfs.tar.xz
//! a8d3c1b0e5f2  12.3MB of 13.5MB  in 2 images  RUN make
//! ├─ 0c2e95ffb77a  4.1kB of 13.5MB  app:1 (c871e047f1cb)  COPY app
//! └─ 77ab10d3c9e4  8.2kB of 13.5MB  in 1 image
//!    e11c03d58a6f  1.1kB of 13.5MB  app:2 (9f2c41d07b3e)
//! ```
//!
//! Only where several layers stand on one layer are lines indented, so that a chain of a hundred layers is a plain list.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::ExitCode;

use layerfs::ChainId;
use serde::Serialize;
use snapshot::catalog::Catalog;
use snapshot::ids::ImageId;
use snapshot::parallel;
use snapshot::view::{Needs, View};

use crate::columns::{self, Fit, Table};
use crate::commands::layerfs::NAME;
use crate::exit::until_the_end;
use crate::{damage, hints, output, steps};
use docker_format::size;
use unicode_width::UnicodeWidthStr;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images whose layers to show [default: all]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// As a tree, in which only branches are indented, or as a table
    #[arg(long, value_enum, default_value = "tree", value_name = "FORM", hide_possible_values = true)]
    format: Form,

    /// Do not cut ids and commands short
    #[arg(long)]
    no_trunc: bool,

    /// Report as JSON: a list of layers, each after the one it stands on
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How layers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Tree,
    Flat,
}

/// One layer of the tree.
#[derive(Debug, Serialize)]
struct Node<'c> {
    chain_id: ChainId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<ChainId>,
    /// The number of layers below it.
    depth: usize,
    /// Its own size in bytes.
    size: u64,
    /// The size of it and all layers below it, in bytes.
    total: u64,
    /// The number of images that have it.
    shared_by: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<&'c str>,
    /// Images whose last layer it is.
    images: Vec<Named<'c>>,
    /// Containers that stand on it.
    containers: Vec<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    /// The branch that it is on.
    #[serde(skip)]
    branch: Option<Branch>,
}

/// A place where the tree branches: one of several layers on one parent.
#[derive(Debug, Clone, Copy)]
struct Branch {
    /// The place in the list of the layer with which this branch begins.
    first: usize,
    /// The place in the list of the layer on which the branch stands.
    below: Option<usize>,
    /// Whether it is the last one on its parent.
    last: bool,
}

#[derive(Debug, Serialize)]
struct Named<'c> {
    id: ImageId,
    names: Vec<&'c str>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = until_the_end(View::read(root, driver, Needs::LAYERS)?);
    view.root().expect_images()?;
    let catalog = view.catalog();
    let mut missing = false;
    let mut wanted = Vec::new();
    for text in &args.images {
        match catalog.resolve(text) {
            snapshot::catalog::Resolved::Image(id) => wanted.push(id),
            snapshot::catalog::Resolved::Damaged(id) => {
                missing = true;
                output::complain(NAME, &hints::with_hint(&damage::damaged_image(catalog, text, id)));
            }
            snapshot::catalog::Resolved::Nothing => {
                missing = true;
                output::complain(NAME, &format!("No such image: {text}"));
            }
        }
    }
    let nodes = if missing && wanted.is_empty() { Vec::new() } else { tree(catalog, &wanted) };
    match args.format {
        _ if args.json => output::json(&nodes)?,
        Form::Tree => {
            let room = columns::room().filter(|_| !args.no_trunc);
            let places: Vec<usize> = (0..nodes.len()).collect();
            let some = places.chunks(MADE_TOGETHER);
            output::lines(
                some.flat_map(|some| parallel::map(some, |place| line(&nodes, *place, args.no_trunc, room))),
            )?;
        }
        Form::Flat => output::page(&flat(&nodes, args.no_trunc))?,
    }
    crate::damage::report(NAME, &view);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The layers of some images, or all layers: each after the one it stands on.
fn tree<'c>(catalog: &'c Catalog, wanted: &[ImageId]) -> Vec<Node<'c>> {
    let chosen: HashSet<ChainId> = wanted.iter().flat_map(|id| catalog.images()[id].chain.iter().copied()).collect();
    let shown = |chain: &ChainId| wanted.is_empty() || chosen.contains(chain);
    let mut children: BTreeMap<Option<ChainId>, Vec<ChainId>> = BTreeMap::new();
    for (chain, layer) in catalog.layers().iter().filter(|(chain, _)| shown(chain)) {
        // A damaged layer has no parent that is known.
        let parent = layer.as_ref().ok().and_then(|layer| layer.parent);
        children.entry(parent).or_default().push(*chain);
    }
    let placed = arrange(children);
    let mut nodes = parallel::map(&placed, |placed| node(catalog, placed));
    for (at, placed) in placed.iter().enumerate() {
        let below = placed.below.map_or(0, |below| nodes[below].total);
        nodes[at].total = below.saturating_add(nodes[at].size);
    }
    nodes
}

/// A layer in its place.
#[derive(Debug)]
struct Placed {
    chain: ChainId,
    /// The one it stands on, by its place in the list.
    below: Option<usize>,
    /// Layers below it.
    depth: usize,
    branch: Option<Branch>,
}

/// Each layer after the one it stands on. Takes no more memory than there are layers, whatever stands on what.
fn arrange(mut children: BTreeMap<Option<ChainId>, Vec<ChainId>>) -> Vec<Placed> {
    let mut arranged: Vec<Placed> = Vec::new();
    // The layers that are still to be placed: each with the place of its parent, and, if it is one of several on that parent,
    // whether it is the last.
    let mut left: Vec<(ChainId, Option<usize>, Option<bool>)> = Vec::new();
    let push = |left: &mut Vec<_>, on: Vec<ChainId>, below: Option<usize>| {
        let several = on.len() > 1;
        let places = on.into_iter().rev().enumerate();
        left.extend(places.map(|(place, chain)| (chain, below, several.then_some(place == 0))));
    };
    push(&mut left, children.remove(&None).unwrap_or_default(), None);
    while let Some((chain, below, last)) = left.pop() {
        let first = arranged.len();
        let parent = below.map(|below| &arranged[below]);
        let around = parent.and_then(|parent| parent.branch);
        let branch = last.map(|last| Branch { first, below, last }).or(around);
        let depth = parent.map_or(0, |parent| parent.depth + 1);
        arranged.push(Placed { chain, below, depth, branch });
        push(&mut left, children.remove(&Some(chain)).unwrap_or_default(), Some(first));
    }
    arranged
}

/// All of a layer but what is below it.
fn node<'c>(catalog: &'c Catalog, placed: &Placed) -> Node<'c> {
    let Placed { chain, depth, branch, .. } = *placed;
    let layer = catalog.layer(chain);
    let uses = catalog.uses(chain);
    let size = layer.map_or(0, |layer| layer.size);
    let tops = uses.clone().filter(|used| used.place + 1 == used.image.chain.len());
    let containers = catalog.containers_on(chain);
    Node {
        chain_id: chain,
        parent: layer.and_then(|layer| layer.parent),
        depth,
        size,
        total: size,
        shared_by: uses.len(),
        created_by: uses.clone().find_map(|used| used.command()),
        images: tops.map(|used| Named { id: used.image.id, names: catalog.names_of(used.image.id) }).collect(),
        containers: containers.map(|container| container.name.as_str()).collect(),
        damage: catalog.layers().get(&chain).and_then(|layer| layer.as_ref().err()).map(ToString::to_string),
        branch,
    }
}

/// The most branches that are drawn before a layer, so that a line does not get longer, however deep the layer stands.
const DRAWN: usize = 20;

/// What is drawn before a layer: a rail for each branch that goes on below its line.
fn rails(branch_at: impl Fn(usize) -> Option<Branch>, place: usize) -> String {
    let mut rails = Vec::new();
    let mut next = branch_at(place);
    while let Some(branch) = next.take() {
        if rails.len() == DRAWN {
            rails.push("… ");
            break;
        }
        rails.push(match (branch.first == place, branch.last) {
            (true, true) => "└─ ",
            (true, false) => "├─ ",
            (false, true) => "   ",
            (false, false) => "│  ",
        });
        next = branch.below.and_then(&branch_at);
    }
    rails.into_iter().rev().collect()
}

/// Characters of a command that are shown, and that are shown even where a line gets too long for the terminal.
const COMMAND: usize = 60;
const LEAST_OF_COMMAND: usize = 24;

/// Lines that several threads make before they are written.
const MADE_TOGETHER: usize = 8192;

/// Containers that are named on one line.
const CONTAINERS: usize = 3;

fn line(nodes: &[Node<'_>], place: usize, whole: bool, room: Option<usize>) -> String {
    let node = &nodes[place];
    let mut text = rails(|place| nodes[place].branch, place);
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
    let named = if whole { node.containers.len() } else { CONTAINERS };
    for container in node.containers.iter().take(named) {
        text.push_str(&format!("  [{container}]"));
    }
    let more = node.containers.len().saturating_sub(named);
    if more > 0 {
        text.push_str(&format!("  and {}", output::counted(more as u64, "more container")));
    }
    let command = step(node);
    if !command.is_empty() {
        text.push_str("  ");
        let left = room.map_or(COMMAND, |room| room.saturating_sub(text.width()).clamp(LEAST_OF_COMMAND, COMMAND));
        text.push_str(&if whole { command } else { columns::end(&command, left) });
    }
    match &node.damage {
        Some(damage) => text.push_str(&format!("  damaged: {damage}")),
        None if node.shared_by == 0 => text.push_str("  no image has it"),
        None => {}
    }
    text
}

/// What made a layer.
fn step(node: &Node<'_>) -> String {
    steps::readable(node.created_by.unwrap_or_default())
}

/// A table, a line for each layer.
fn flat(nodes: &[Node<'_>], whole: bool) -> String {
    let mut table = Table::new([
        ("LAYER ID", Fit::Whole),
        ("PARENT", Fit::Drop(2)),
        ("SIZE", Fit::Whole),
        ("TOTAL", Fit::Whole),
        ("IMAGES", Fit::Drop(1)),
        ("TOP OF", Fit::Middle),
        ("CONTAINERS", Fit::Middle),
        ("MADE BY", Fit::End),
    ]);
    let id = |chain: &ChainId| if whole { chain.0.hex() } else { chain.0.short() };
    for node in nodes {
        let tops = node.images.iter().map(|image| match image.names.as_slice() {
            [] => image.id.0.short(),
            names => names.join(", "),
        });
        let made = match &node.damage {
            Some(damage) => format!("damaged: {damage}"),
            None if whole => step(node),
            None => columns::end(&step(node), COMMAND),
        };
        table.push([
            id(&node.chain_id),
            node.parent.as_ref().map(id).unwrap_or_default(),
            size::size(node.size),
            size::size(node.total),
            node.shared_by.to_string(),
            tops.collect::<Vec<_>>().join(", "),
            node.containers.join(", "),
            made,
        ]);
    }
    if table.is_empty() { String::new() } else { table.render(columns::room().filter(|_| !whole)) }
}

#[cfg(test)]
mod tests {
    use layerfs::Digest;

    use super::*;

    fn chain(number: usize) -> ChainId {
        ChainId(Digest::hash(&number.to_le_bytes()))
    }

    /// The lines drawn for these pairs of a layer and its parent, in the order of their numbers where the order is
    /// free.
    fn drawn(pairs: &[(usize, Option<usize>)]) -> Vec<String> {
        let mut children: BTreeMap<Option<ChainId>, Vec<ChainId>> = BTreeMap::new();
        for (layer, parent) in pairs {
            children.entry(parent.map(chain)).or_default().push(chain(*layer));
        }
        let arranged = arrange(children);
        assert_eq!(arranged.len(), pairs.len());
        let number = |id: ChainId| pairs.iter().find(|(number, _)| chain(*number) == id).unwrap().0;
        let line = |at: usize| rails(|place| arranged[place].branch, at) + &number(arranged[at].chain).to_string();
        (0..arranged.len()).map(line).collect()
    }

    #[test]
    fn only_branches_are_indented() {
        assert_eq!(drawn(&[(1, None), (2, Some(1)), (3, Some(2))]), ["1", "2", "3"]);
        let pairs = [
            (1, None),
            (2, Some(1)),
            (3, Some(2)),
            (4, Some(3)),
            (5, Some(2)),
            (6, Some(5)),
            (7, Some(6)),
            (8, Some(5)),
            (9, Some(8)),
        ];
        assert_eq!(drawn(&pairs), ["1", "2", "├─ 3", "│  4", "└─ 5", "   ├─ 6", "   │  7", "   └─ 8", "      9"]);
        // Several base layers are drawn as branches.
        assert_eq!(drawn(&[(1, None), (2, Some(1)), (3, None)]), ["├─ 1", "│  2", "└─ 3"]);
    }

    fn peak_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn memory_and_lines_stay_small_however_layers_stand() {
        const LAYERS: usize = 50_000;
        let before = peak_kib();
        for comb in [false, true] {
            let mut children: BTreeMap<Option<ChainId>, Vec<ChainId>> = BTreeMap::new();
            for layer in 0..LAYERS {
                // A single chain, or a chain with a second layer on each of its layers.
                let parent = if comb { layer.checked_sub(2).map(|two| two / 2 * 2) } else { layer.checked_sub(1) };
                children.entry(parent.map(chain)).or_default().push(chain(layer));
            }
            let arranged = arrange(children);
            assert_eq!(arranged.len(), LAYERS);
            let longest = (0..LAYERS).map(|at| rails(|place| arranged[place].branch, at).chars().count()).max();
            assert_eq!(longest, Some(if comb { 3 * DRAWN + 2 } else { 0 }));
        }
        let used = peak_kib() - before;
        assert!(used < 100_000, "{used} KiB");
    }
}
