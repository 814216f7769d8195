//! `layerfs image`: `docker image`, offline.

mod document;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
mod select;
pub(crate) mod tree;

use std::process::ExitCode;

use snapshot::catalog::Catalog;

use super::layerfs::NAME;
use crate::output;

/// What docker says of a name that no image has.
pub(crate) fn no_such_image(text: &str) -> anyhow::Error {
    anyhow::anyhow!("No such image: {text}")
}

/// Says what docker would not: images and containers that are there and that no listing shows. The exit status of a
/// command that has shown the others.
pub(crate) fn report_damage(catalog: &Catalog) -> ExitCode {
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
    ExitCode::SUCCESS
}
