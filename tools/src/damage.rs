//! What is wrong with a store, in words, beside what a command prints.

use snapshot::catalog::{Catalog, ContainerDamage, Damage};
use snapshot::ids::ImageId;
use snapshot::view::View;

use crate::output;

/// An image that was asked for and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{text}: damaged image {image}: {cause}")]
pub(crate) struct DamagedImage {
    text: String,
    image: ImageId,
    cause: String,
}

/// The error for a command that needs the image `text`, which is among the damaged ones of `catalog`.
pub(crate) fn damaged_image(catalog: &Catalog, text: &str, image: ImageId) -> anyhow::Error {
    let cause = catalog.damaged_images().get(&image).map(ToString::to_string).unwrap_or_default();
    DamagedImage { text: text.to_owned(), image, cause }.into()
}

/// How many leftovers are named; if there are more, they are only counted.
const NAMED: usize = 20;

/// Reports what docker would not: images and containers that are in the store and that no listing shows, and layers that are
/// listed although they cannot be used.
pub(crate) fn report(name: &str, view: &View) {
    report_two_stores(name, view);
    for damage in view.damage() {
        output::complain(name, &in_words(view.catalog(), &damage));
    }
}

/// Warns where a root has the images of a storage driver and containerd's: dockerd shows only those of one.
pub(crate) fn report_two_stores(name: &str, view: &View) {
    if let Some(note) = two_stores(view) {
        output::complain(name, &note);
    }
}

/// Which images dockerd shows, where those of a storage driver and containerd's are in one root.
fn two_stores(view: &View) -> Option<String> {
    let root = view.root();
    let containerd = root.containerd()?;
    let config = containerd.config.as_ref().map(|(path, uses)| (path.display(), *uses));
    if root.is_containerd_only() {
        let others = root.other_drivers().unwrap_or_default().join(" and ");
        let used = match config {
            Some((path, true)) => format!("{path} says that dockerd uses these"),
            Some((path, false)) => format!("{path} says that dockerd uses {others}'s: it shows none of these"),
            None => format!("dockerd uses {others}'s unless its configuration has features.containerd-snapshotter"),
        };
        let both = || {
            format!(
                "there are two image stores: these are containerd's, and {others}'s is read with --storage-driver; {used}"
            )
        };
        return (!others.is_empty()).then(both);
    }
    let (driver, empty) = (root.driver_name(), root.home().is_none());
    let (place, way) = match &containerd.store {
        Some(store) => (format!(" in {}", store.display()), "read with --storage-driver overlayfs"),
        None => (String::new(), "not read"),
    };
    let used = match config {
        Some((path, true)) => format!("{path} says that dockerd uses containerd's: it shows none of these"),
        Some((path, false)) => format!("{path} says that dockerd uses these"),
        None if empty => {
            "a dockerd up to version 28 uses these unless its configuration has features.containerd-snapshotter, \
                          a later one uses containerd's"
                .into()
        }
        None => "dockerd uses these unless its configuration has features.containerd-snapshotter".into(),
    };
    Some(format!("there are two image stores: these are {driver}'s, and containerd's{place} is {way}; {used}"))
}

/// Says where the images are, if a listing of other things does not have them.
pub(crate) fn report_elsewhere(name: &str, view: &View) {
    if let Err(error) = view.root().expect_images() {
        output::complain(name, &format!("{error}; {}", crate::hints::IN_CONTAINERD));
    }
}

/// A damage in words, with the names by which people know the thing.
fn in_words(catalog: &Catalog, damage: &Damage) -> String {
    match damage {
        Damage::References { .. } | Damage::NameRecord { .. } => format!("damaged: {damage}"),
        Damage::Image { image, cause } => format!("damaged image {}: {cause}", named(catalog, *image)),
        Damage::Blob { image, blob, fault } => {
            format!("damaged image {}: blob {blob}: {fault}", named(catalog, *image))
        }
        Damage::Layer { layer, cause } => format!("damaged layer {layer}: {cause}"),
        Damage::LayerFault { layer, fault } => {
            let images: Vec<String> = catalog.uses(*layer).map(|used| named(catalog, used.image.id)).collect();
            let of = if images.is_empty() { String::new() } else { format!(" of {}", images.join(", ")) };
            format!("damaged layer {layer}{of}: {fault}")
        }
        Damage::Container { container, cause } => {
            let known = catalog.container(container).map(|known| known.name.as_str()).unwrap_or_default();
            let name = if known.is_empty() { container.as_str() } else { known };
            match cause {
                // Nothing is wrong with this container: it is of another driver.
                ContainerDamage::OtherDriver { .. } => format!("container {name} is not listed: {cause}"),
                _ => format!("damaged container {name}: {cause}"),
            }
        }
        Damage::WritableLayer { container, cause } => {
            let known = catalog.container(container).map(|known| known.name.as_str()).unwrap_or_default();
            let name = if known.is_empty() { container.as_str() } else { known };
            format!("damaged container {name}: it cannot be mounted: {cause}")
        }
        Damage::Mount { mount, cause } => format!("damaged: layerdb/mounts/{mount}: {cause}"),
        Damage::Volume { .. } => format!("damaged {damage}"),
        Damage::BuildCache { .. }
        | Damage::Database { .. }
        | Damage::DatabaseMissing { .. }
        | Damage::Misplaced { .. } => damage.to_string(),
    }
}

fn named(catalog: &Catalog, id: ImageId) -> String {
    let names = catalog.names_of(id).join(", ");
    if names.is_empty() { id.to_string() } else { format!("{names} ({id})") }
}

/// Reports what crashes have left, and directories that nobody owns.
pub(crate) fn report_leftovers(name: &str, view: &View) -> anyhow::Result<()> {
    let leftovers = view.leftovers()?.into_iter();
    let why = view.writer().map_or_else(|| "left by a crash".into(), |writer| format!("{writer} is writing now"));
    let mut left: Vec<String> =
        leftovers.map(|left| format!("{}: {}, {why}", left.path.display(), left.kind)).collect();
    let links = view.root().home_layout().and_then(|layout| layout.links).unwrap_or_default();
    let stale = view.liveness().links().iter().filter(|(_, entry)| entry.is_none());
    if let Some(home) = view.root().home() {
        left.extend(view.liveness().orphans().map(|entry| format!("{}: nobody owns it", home.join(entry).display())));
        left.extend(stale.map(|(link, _)| format!("{}: it leads nowhere", home.join(links).join(link).display())));
    }
    for one in view.root().elsewhere()? {
        let what = one
            .leads_to
            .map_or_else(|| "is a file system of its own".into(), |to| format!("leads to {}", to.display()));
        let (place, counted) =
            (one.place.display(), if one.counted { "what is there is counted" } else { "not counted" });
        left.push(format!("{place} {what}: {counted}"));
    }
    for line in left.iter().take(NAMED) {
        output::complain(name, line);
    }
    if let Some(more) = left.len().checked_sub(NAMED).filter(|more| *more > 0) {
        output::complain(name, &format!("{more} more leftovers"));
    }
    Ok(())
}
