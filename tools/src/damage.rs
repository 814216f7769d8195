//! What is wrong with a store, in words, beside what a command prints.

use snapshot::catalog::{Catalog, Damage};
use snapshot::ids::ImageId;
use snapshot::view::View;

use crate::output;

/// Leftovers that are named; of more only the number is said.
const NAMED: usize = 20;

/// Says what docker would not: images and containers that are there and that no listing shows, and layers that it shows
/// although they are of no use.
pub(crate) fn report(name: &str, view: &View) {
    for damage in view.damage() {
        output::complain(name, &in_words(&view.catalog, &damage));
    }
}

/// A damage with the names that people know the thing by.
fn in_words(catalog: &Catalog, damage: &Damage) -> String {
    match damage {
        Damage::References { .. } => format!("damaged: {damage}"),
        Damage::Image { image, cause } => format!("damaged image {}: {cause}", named(catalog, *image)),
        Damage::Layer { layer, cause } => format!("damaged layer {layer}: {cause}"),
        Damage::LayerFault { layer, fault } => {
            let images: Vec<String> = catalog.uses(*layer).map(|used| named(catalog, used.image.id)).collect();
            let of = if images.is_empty() { String::new() } else { format!(" of {}", images.join(", ")) };
            format!("damaged layer {layer}{of}: {fault}")
        }
        Damage::Container { container, cause } => {
            let known = catalog.container(container).map(|known| known.name.as_str()).unwrap_or_default();
            format!("damaged container {}: {cause}", if known.is_empty() { container } else { known })
        }
        Damage::Mount { mount, cause } => format!("damaged: layerdb/mounts/{mount}: {cause}"),
        Damage::Volume { .. } => format!("damaged {damage}"),
        Damage::BuildCache { .. } => damage.to_string(),
    }
}

fn named(catalog: &Catalog, id: ImageId) -> String {
    let names = catalog.names_of(id).join(", ");
    if names.is_empty() { id.to_string() } else { format!("{names} ({id})") }
}

/// Says what crashes have left, and directories that nobody owns.
pub(crate) fn report_leftovers(name: &str, view: &View) -> anyhow::Result<()> {
    let leftovers = view.leftovers()?.into_iter();
    let why = view.writer().map_or_else(|| "left by a crash".into(), |writer| format!("{writer} is writing now"));
    let mut left: Vec<String> =
        leftovers.map(|left| format!("{}: {}, {why}", left.path.display(), left.kind)).collect();
    let links = view.root.home_layout().and_then(|layout| layout.links).unwrap_or_default();
    let stale = view.liveness.links().iter().filter(|(_, entry)| entry.is_none());
    if let Some(home) = &view.root.home {
        left.extend(view.liveness.orphans().map(|entry| format!("{}: nobody owns it", home.join(entry).display())));
        left.extend(stale.map(|(link, _)| format!("{}: it leads nowhere", home.join(links).join(link).display())));
    }
    for (place, target) in view.root.elsewhere()? {
        left.push(format!("{} is not counted: it leads to {}", place.display(), target.display()));
    }
    for line in left.iter().take(NAMED) {
        output::complain(name, line);
    }
    if let Some(more) = left.len().checked_sub(NAMED).filter(|more| *more > 0) {
        output::complain(name, &format!("{more} more leftovers"));
    }
    Ok(())
}
