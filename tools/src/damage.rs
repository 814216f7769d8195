//! What is wrong with a store, in words, beside what a command prints.

use snapshot::catalog::Catalog;
use snapshot::findings::{self, LayerFinding, Leftover};
use snapshot::ids::ImageId;
use snapshot::liveness::{self, Ownership, Verdict};
use snapshot::root::DataRoot;
use snapshot::schema::volume::OPTIONS;

use crate::output;

/// Leftovers that are named; of more only the number is said.
const NAMED: usize = 20;

/// Says what docker would not: images and containers that are there and that no listing shows, and layers that it shows
/// although they are of no use.
pub(crate) fn report(name: &str, root: &DataRoot, catalog: &Catalog) {
    if let Some(reason) = &catalog.damaged_references {
        output::complain(name, &format!("damaged: dockerd would not start: {reason}"));
    }
    for volume in &catalog.volumes {
        if let Some(fault) = &volume.fault {
            let what = format!("damaged volume {}: dockerd would not start: {OPTIONS}: {fault}", volume.name);
            output::complain(name, &what);
        }
    }
    for (id, reason) in &catalog.damaged_images {
        output::complain(name, &format!("damaged image {}: {reason}", named(catalog, *id)));
    }
    for LayerFinding { layer, what } in findings::of_layers(root, catalog) {
        let images: Vec<String> = liveness::uses(catalog, layer).map(|used| named(catalog, used.image.id)).collect();
        let of = if images.is_empty() { String::new() } else { format!(" of {}", images.join(", ")) };
        output::complain(name, &format!("damaged layer {layer}{of}: {what}"));
    }
    for container in &catalog.containers {
        if let Some(reason) = &container.damage {
            let of = if container.name.is_empty() { &container.id } else { &container.name };
            output::complain(name, &format!("damaged container {of}: {reason}"));
        }
    }
}

fn named(catalog: &Catalog, id: ImageId) -> String {
    let names = catalog.names_of(id).join(", ");
    if names.is_empty() { id.to_string() } else { format!("{names} ({id})") }
}

/// Says what crashes have left, and directories that nobody owns.
pub(crate) fn report_leftovers(name: &str, root: &DataRoot, ownership: &Ownership) -> anyhow::Result<()> {
    let mut left: Vec<String> = findings::leftovers(root)?
        .into_iter()
        .map(|Leftover { path, what }| format!("{}: {what}, left by a crash", path.display()))
        .collect();
    let links = root.form().and_then(|form| form.links).unwrap_or_default();
    let orphans = ownership.entries.iter().filter(|(_, entry)| entry.verdict == Verdict::Orphan);
    let stale = ownership.links.iter().filter(|(_, entry)| entry.is_none());
    if let Some(home) = &root.home {
        left.extend(orphans.map(|(entry, _)| format!("{}: nobody owns it", home.join(entry).display())));
        left.extend(stale.map(|(link, _)| format!("{}: it leads nowhere", home.join(links).join(link).display())));
    }
    for line in left.iter().take(NAMED) {
        output::complain(name, line);
    }
    if let Some(more) = left.len().checked_sub(NAMED).filter(|more| *more > 0) {
        output::complain(name, &format!("{more} more leftovers"));
    }
    Ok(())
}
