//! `layerfs image`: `docker image`, offline.

pub(crate) mod load;
pub(crate) mod tree;

use snapshot::catalog::Catalog;

use super::layerfs::NAME;
use crate::output;

/// Says what docker would not: images and containers that are there and that no listing shows.
pub(crate) fn report_damage(catalog: &Catalog) {
    if let Some(reason) = &catalog.damaged_references {
        output::complain(NAME, &format!("damaged: dockerd would not start: {reason}"));
    }
    for (id, reason) in &catalog.damaged_images {
        let names = catalog.names_of(*id).join(", ");
        let name = if names.is_empty() { id.to_string() } else { format!("{names} ({id})") };
        output::complain(NAME, &format!("damaged image {name}: {reason}"));
    }
    for container in &catalog.containers {
        if let Some(reason) = &container.damage {
            let name = if container.name.is_empty() { &container.id } else { &container.name };
            output::complain(NAME, &format!("damaged container {name}: {reason}"));
        }
    }
}
