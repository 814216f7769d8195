//! `--html`: the report as a page to click through.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use docker_format::size::size;
use layerfs::ChainId;
use snapshot::usage::df::UsageRow;
use snapshot::usage::files::TreeNode;
use snapshot::usage::report::{ContainerUsage, DiskReport, LayerUsage, RestKind as Rest, Sizes, VolumeUsage};
use snapshot::usage::steps::StepUsage;
use snapshot::usage::walk::Usage;
use snapshot::usage::{Account, Part};

use super::files::FileReport;
use super::text;
use crate::html::{Page, PageNode, PageNodeKind, render};
use crate::steps;

/// Writes the page; a file that is there is replaced.
pub(super) fn write(
    path: &Path,
    account: &Account<'_>,
    report: &DiskReport,
    rows: &[(&str, UsageRow)],
    files: Option<&FileReport>,
) -> anyhow::Result<()> {
    let catalog = account.view.catalog();
    let read = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let facts = [
        ("Data-root", root_of(account)),
        ("Storage driver", catalog.driver().to_owned()),
        ("Read", read),
        ("Unaccounted", format!("{} B", report.unaccounted)),
    ];
    let facts = facts.map(|(label, value)| (label.to_owned(), value)).into();
    let title = match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(host) if !host.trim().is_empty() => format!("Docker storage on {}", host.trim()),
        _ => "Docker storage".to_owned(),
    };
    let head = std::iter::once(text::ROWS.map(str::to_owned));
    let rows = head.chain(rows.iter().map(|(kind, row)| text::row_cells(kind, row))).collect();
    let page = Page { title, facts, rows, root: Tree { account, report, files }.tree() };
    std::fs::write(path, render(&page)).with_context(|| format!("writing {}", path.display()))
}

/// The absolute path of the data-root.
fn root_of(account: &Account<'_>) -> String {
    let root = account.view.catalog().root();
    std::path::absolute(root).unwrap_or_else(|_| root.to_owned()).display().to_string()
}

fn node(
    name: impl Into<String>,
    kind: PageNodeKind,
    usage: &Usage,
    note: Option<String>,
    children: Vec<PageNode>,
) -> PageNode {
    let (allocated, apparent, files) = (usage.allocated, usage.apparent, usage.files);
    PageNode { name: name.into(), kind, allocated, apparent, files, unique: None, note, children }
}

/// Adds to the box of something that can be removed how many bytes this would free.
fn removable(node: PageNode, sizes: &Sizes) -> PageNode {
    let mut node = node;
    node.unique = Some(sizes.unique);
    node
}

/// A box that is as large as its children together.
fn group(name: &str, kind: PageNodeKind, children: Vec<PageNode>) -> Option<PageNode> {
    if children.is_empty() {
        return None;
    }
    let sum = |of: fn(&PageNode) -> u64| children.iter().map(of).sum();
    let usage = Usage {
        allocated: sum(|child| child.allocated),
        apparent: sum(|child| child.apparent),
        files: sum(|child| child.files),
        ..Usage::default()
    };
    Some(node(name, kind, &usage, None, children))
}

/// About how many directories and files of layers a page has: more would make it slow.
const FILE_NODES: u64 = 4_000;

/// What the tree is made of.
struct Tree<'a> {
    account: &'a Account<'a>,
    report: &'a DiskReport,
    files: Option<&'a FileReport>,
}

impl Tree<'_> {
    /// The tree has every byte once: a layer that several images have stands beside them, and not in one of them.
    fn tree(&self) -> PageNode {
        let Self { account, report, .. } = self;
        let all: u64 = report.layers.iter().map(|layer| layer.sizes.usage.allocated).sum();
        let smallest = (all / FILE_NODES).max(4096);
        let mut shared: Vec<PageNode> = Vec::new();
        let mut alone: Vec<PageNode> = Vec::new();
        let mut cached: HashMap<ChainId, PageNode> = HashMap::new();
        for layer in report.layers.iter().filter(|layer| layer.images != 1) {
            let node = self.layer(layer, smallest);
            match layer.images {
                0 if layer.build_cache => drop(cached.insert(layer.id, node)),
                0 => alone.push(node),
                _ => shared.push(node),
            }
        }
        let by_id: HashMap<ChainId, &LayerUsage> = report.layers.iter().map(|layer| (layer.id, layer)).collect();
        let images = report.images.iter().map(|image| {
            let own = image.layers.iter().filter_map(|id| by_id.get(id)).filter(|layer| layer.images == 1);
            let children: Vec<PageNode> = own.map(|layer| self.layer(layer, smallest)).collect();
            let records = account.usage(&Part::Image(image.id));
            let usage = Usage {
                allocated: records.allocated + children.iter().map(|child| child.allocated).sum::<u64>(),
                apparent: records.apparent + children.iter().map(|child| child.apparent).sum::<u64>(),
                files: records.files + children.iter().map(|child| child.files).sum::<u64>(),
                ..Usage::default()
            };
            let name = if image.names.is_empty() { image.id.0.short() } else { image.names.join(", ") };
            let shared = image.sizes.shared;
            let also = (shared > 0).then(|| format!("shares {} with others", size(shared)));
            let kept = image.kept.as_ref().map(|reason| format!("stays if removed: {reason}"));
            let damage = image.damage.as_ref().map(|reason| format!("damaged: {reason}"));
            let note: Vec<String> = [Some(image.id.to_string()), damage, also, kept].into_iter().flatten().collect();
            removable(node(name, PageNodeKind::Image, &usage, Some(note.join(" · ")), children), &image.sizes)
        });
        let mut images: Vec<PageNode> = images.collect();
        images.extend(group("layers of several images", PageNodeKind::Layer, shared));
        images.extend(group("layers of no image", PageNodeKind::Layer, alone));
        let groups = [
            group("images", PageNodeKind::Images, images),
            group("containers", PageNodeKind::Container, self.containers()),
            group("local volumes", PageNodeKind::Volume, self.volumes(&report.volumes)),
            group("build cache of layerfs build", PageNodeKind::BuildCache, self.build_cache(cached)),
        ];
        let mut children: Vec<PageNode> = groups.into_iter().flatten().collect();
        children.extend(report.lines.iter().map(|line| {
            let kind = match line.kind {
                Rest::BuildCache => PageNodeKind::BuildCache,
                Rest::Logs => PageNodeKind::Logs,
                Rest::Orphans | Rest::Unfinished | Rest::Removing | Rest::Mounts | Rest::StaleLinks => {
                    PageNodeKind::Orphan
                }
                Rest::Referred | Rest::Unknown | Rest::Store | Rest::Other(_) => PageNodeKind::Other,
            };
            node(line.kind.title(), kind, &line.usage, None, Vec::new())
        }));
        node(root_of(account), PageNodeKind::DataRoot, &report.total, None, children)
    }

    fn containers(&self) -> Vec<PageNode> {
        let one = |container: &ContainerUsage| {
            let mut usage = container.sizes.usage;
            let logs = self.account.usage(&Part::Log(container.id.clone()));
            // Logs have a box of their own, so they are not counted here.
            usage.allocated -= logs.allocated;
            usage.apparent -= logs.apparent;
            usage.files -= logs.files;
            let note = container.damage.as_ref().map(|reason| format!("damaged: {reason}"));
            let name = if container.name.is_empty() { container.id.as_str() } else { &container.name };
            let note = note.or_else(|| Some(format!("of the image {}", container.image)));
            removable(node(name, PageNodeKind::Container, &usage, note, Vec::new()), &container.sizes)
        };
        self.report.containers.iter().map(one).collect()
    }

    /// Steps, each with its layer if no image has that, and caches of commands. Of two steps with one layer, the first has it.
    fn build_cache(&self, mut cached: HashMap<ChainId, PageNode>) -> Vec<PageNode> {
        let one = |step: &StepUsage| {
            let records = self.account.usage(&Part::Image(step.id));
            let mut layer = step.layer.and_then(|layer| cached.remove(&layer));
            let mut usage = records;
            usage.allocated += layer.as_ref().map_or(0, |layer| layer.allocated);
            usage.apparent += layer.as_ref().map_or(0, |layer| layer.apparent);
            usage.files += layer.as_ref().map_or(0, |layer| layer.files);
            let name = steps::readable(&step.created_by);
            let children = layer.as_mut().map(|layer| std::mem::take(&mut layer.children)).unwrap_or_default();
            removable(node(name, PageNodeKind::BuildCache, &usage, Some(step.id.to_string()), children), &step.sizes)
        };
        let mut nodes: Vec<PageNode> = self.report.steps.iter().map(one).collect();
        // What no step has is in the middle of one that was put together of several.
        nodes.extend(cached.into_values());
        nodes.extend(self.volumes(&self.report.cache_mounts));
        nodes
    }

    fn volumes(&self, volumes: &[VolumeUsage]) -> Vec<PageNode> {
        let one = |volume: &VolumeUsage| {
            let note = (volume.containers == 0).then(|| "in no container".to_owned());
            removable(
                node(volume.name.as_str(), PageNodeKind::Volume, &volume.sizes.usage, note, Vec::new()),
                &volume.sizes,
            )
        };
        volumes.iter().map(one).collect()
    }

    /// A layer, named after the step that made it, with its files if they were read.
    fn layer(&self, layer: &LayerUsage, smallest: u64) -> PageNode {
        let id = layer.id.0.short();
        let step = steps::readable(&layer.created_by);
        let name = if step.is_empty() { id.clone() } else { step };
        let damage = layer.damage.as_ref().map(|reason| format!("damaged: {reason}"));
        let made = Some(layer.created_by.clone()).filter(|made| !made.is_empty());
        let cache = layer.build_cache.then(|| "in the build cache".to_owned());
        let note: Vec<String> = [Some(id), damage, cache, made].into_iter().flatten().collect();
        let children = self.files.map(|files| from_tree(files.files.tree_of(layer.id, smallest))).unwrap_or_default();
        removable(node(name, PageNodeKind::Layer, &layer.sizes.usage, Some(note.join(" · ")), children), &layer.sizes)
    }
}

/// The boxes of what is in a directory. The tree of directories is not deep, so recursion is safe.
fn from_tree(tree: TreeNode) -> Vec<PageNode> {
    let one = |child: TreeNode| {
        let kind = if child.is_directory { PageNodeKind::Directory } else { PageNodeKind::File };
        PageNode {
            name: String::from_utf8_lossy(&child.name).into_owned(),
            kind,
            allocated: child.allocated,
            apparent: child.apparent,
            files: child.files,
            unique: None,
            note: None,
            children: from_tree(child),
        }
    };
    tree.children.into_iter().map(one).collect()
}
