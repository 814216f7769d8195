//! `layerfs image`: `docker image`, offline.

mod document;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
mod select;
pub(crate) use select::seconds;
pub(crate) mod tree;

use anyhow::anyhow;
use snapshot::catalog::Catalog;
use snapshot::findings::{self, LayerFinding};
use snapshot::ids::ImageId;
use snapshot::owner;
use snapshot::reference::{Reference, ReferenceError};
use snapshot::root::DataRoot;

use super::layerfs::NAME;
use crate::output;

/// What dockerd says of a name that no image has, and of a text that is none.
pub(crate) fn no_such_image(text: &str) -> anyhow::Error {
    if layerfs::Digest::from_hex(text.strip_prefix("sha256:").unwrap_or(text)).is_ok() {
        return anyhow!("No such image: sha256:{}", text.strip_prefix("sha256:").unwrap_or(text));
    }
    match Reference::parse(text) {
        Ok(reference) => anyhow!("No such image: {}", reference.with_default_tag()),
        Err(ReferenceError::Uppercase { .. }) => {
            anyhow!("invalid reference format: repository name must be lowercase")
        }
        Err(ReferenceError::Format { .. } | ReferenceError::Digest { .. }) => anyhow!("invalid reference format"),
        Err(other) => other.into(),
    }
}

/// Says what docker would not: images and containers that are there and that no listing shows, and layers that it shows
/// although they are of no use.
pub(crate) fn report_damage(root: &DataRoot, catalog: &Catalog) {
    if let Some(reason) = &catalog.damaged_references {
        output::complain(NAME, &format!("damaged: dockerd would not start: {reason}"));
    }
    for (id, reason) in &catalog.damaged_images {
        output::complain(NAME, &format!("damaged image {}: {reason}", named(catalog, *id)));
    }
    for LayerFinding { layer, what } in findings::of_layers(root, catalog) {
        let images: Vec<String> = owner::uses(catalog, layer).map(|used| named(catalog, used.image.id)).collect();
        let of = if images.is_empty() { String::new() } else { format!(" of {}", images.join(", ")) };
        output::complain(NAME, &format!("damaged layer {layer}{of}: {what}"));
    }
    for container in &catalog.containers {
        if let Some(reason) = &container.damage {
            let name = if container.name.is_empty() { &container.id } else { &container.name };
            output::complain(NAME, &format!("damaged container {name}: {reason}"));
        }
    }
}

fn named(catalog: &Catalog, id: ImageId) -> String {
    let names = catalog.names_of(id).join(", ");
    if names.is_empty() { id.to_string() } else { format!("{names} ({id})") }
}
