//! `layerfs image`: `docker image`, offline.

mod document;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
mod select;
pub(crate) use select::seconds;
pub(crate) mod tree;

use std::process::ExitCode;

use anyhow::anyhow;
use snapshot::catalog::Catalog;
use snapshot::reference::{Reference, ReferenceError};

use super::layerfs::NAME;
use crate::output;

/// What dockerd says of a name that no image has, and of a text that is none.
pub(crate) fn no_such_image(text: &str) -> anyhow::Error {
    if layerfs::Digest::from_hex(text.strip_prefix("sha256:").unwrap_or(text)).is_ok() {
        return anyhow!("No such image: {text}");
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
