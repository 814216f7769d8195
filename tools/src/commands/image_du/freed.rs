//! What would be freed if images went, and for whom the rest stays.

use std::fmt::Write as _;

use docker_format::size::size;
use snapshot::catalog::Catalog;
use snapshot::ids::{ContainerId, ImageId};
use snapshot::liveness::removal_plan::ImageStays;
use snapshot::usage::{NeededBy, StayingLayer};

use super::Shown;
use crate::columns::{Fit, Table};
use crate::output::{counted, escape};

/// How many names of each kind are shown.
const NAMES: usize = 3;

pub(super) fn print(shown: &Shown<'_>, room: Option<usize>, out: &mut String) {
    let Some((freed, stays)) = &shown.freed else { return };
    let catalog = shown.account.view.catalog();
    let removal = &freed.removal;
    let [images, layers] =
        [(removal.images.len(), "image"), (removal.layers.len(), "layer")].map(|(n, what)| counted(n as u64, what));
    let bytes = freed.allocated;
    let _ = writeln!(out, "\nRemoving would free {} ({bytes} B): {images}, {layers}", size(bytes));
    for (id, reason) in &removal.kept {
        let _ = writeln!(out, "{} stays: {}", escape(&name(catalog, *id)), escape(&why(catalog, *id, reason)));
    }
    let staying: u64 = stays.iter().map(|stay| stay.allocated).sum();
    let mut table = Table::new([("LAYERS", Fit::Whole), ("ALLOCATED", Fit::Whole), ("NEEDED BY", Fit::End)]);
    for group in stays.chunk_by(|a, b| a.needed_by == b.needed_by) {
        let bytes = group.iter().map(|stay| stay.allocated).sum();
        table.push([layers_of(group), size(bytes), needed_by(catalog, &group[0].needed_by)]);
    }
    if !table.is_empty() {
        let _ = write!(
            out,
            "{} in {} would stay:\n{}",
            size(staying),
            counted(stays.len() as u64, "layer"),
            table.render(room)
        );
    }
}

fn layers_of(group: &[StayingLayer]) -> String {
    let id = |stay: &StayingLayer| stay.layer.0.short();
    match group {
        [first, .., last] if group.len() > 2 => format!("{} to {} ({})", id(first), id(last), group.len()),
        _ => group.iter().map(id).collect::<Vec<_>>().join(", "),
    }
}

/// What people call an image.
pub(super) fn name(catalog: &Catalog, id: ImageId) -> String {
    catalog.names_of(id).first().map_or_else(|| id.0.short(), |name| (*name).to_owned())
}

/// What people call some images: those that have names first.
pub(super) fn names(catalog: &Catalog, ids: impl Iterator<Item = ImageId>) -> Vec<String> {
    let mut ids: Vec<ImageId> = ids.collect();
    ids.sort_by_cached_key(|id| (catalog.names_of(*id).is_empty(), name(catalog, *id)));
    ids.into_iter().map(|id| name(catalog, id)).collect()
}

/// Why an image stays, with the names of those who need it.
fn why(catalog: &Catalog, id: ImageId, reason: &ImageStays) -> String {
    match reason {
        ImageStays::HasChildren => {
            let children = catalog.images().get(&id).map(|image| image.children.as_slice()).unwrap_or_default();
            let children = names(catalog, children.iter().copied());
            some("image", &children).map_or_else(|| reason.to_string(), |names| format!("built on it: {names}"))
        }
        ImageStays::UsedByRunning(container) => {
            format!("the running container {} uses it", container_name(catalog, container))
        }
        ImageStays::UsedBy(container) => format!("the container {} uses it", container_name(catalog, container)),
        reason => reason.to_string(),
    }
}

/// What people call a container.
fn container_name(catalog: &Catalog, id: &ContainerId) -> String {
    match catalog.container(id) {
        Some(container) if !container.name.is_empty() => container.name.clone(),
        _ => id.short().to_owned(),
    }
}

fn needed_by(catalog: &Catalog, needed_by: &NeededBy) -> String {
    let images = names(catalog, needed_by.images.iter().copied());
    let containers: Vec<String> = needed_by.containers.iter().map(|id| container_name(catalog, id)).collect();
    let mounts: Vec<String> = needed_by.mounts.iter().map(|name| name.chars().take(12).collect()).collect();
    let lists = [("image", images), ("container", containers), ("writable layer", mounts)];
    let mut reasons: Vec<String> = lists.iter().filter_map(|(what, names)| some(what, names)).collect();
    if needed_by.build_cache {
        reasons.push("the build cache".to_owned());
    }
    if reasons.is_empty() {
        reasons.push("a layer that no image has, or an image that stays".to_owned());
    }
    reasons.join("; ")
}

/// [`first_of`] some names, with what they name.
fn some(what: &str, names: &[String]) -> Option<String> {
    let plural = if names.len() == 1 { "" } else { "s" };
    (!names.is_empty()).then(|| format!("{what}{plural} {}", first_of(names)))
}

/// The first names, and how many more there are.
pub(super) fn first_of(names: &[String]) -> String {
    let first = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
