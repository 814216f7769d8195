//! `layerfs image`: `docker image`, offline.

pub(crate) mod build;
pub(crate) mod cat;
pub(crate) mod change;
pub(crate) mod commit;
mod content;
pub(crate) mod cp;
pub(crate) mod diff;
mod document;
mod events;
pub(crate) mod export;
pub(crate) mod files;
pub(crate) mod flatten;
mod for_platform;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
mod remote;
pub(crate) mod rm;
pub(crate) mod save;
mod select;
pub(crate) use content::JsonPath;
pub(crate) use document::inspect_image;
pub(crate) use select::{seconds, tag};
pub(crate) mod stored;
pub(crate) mod tag;
pub(crate) mod tags;
pub(crate) mod tree;

use anyhow::anyhow;
use snapshot::ids::ImageId;
use snapshot::reference::{Reference, ReferenceError};

/// An image's id as docker lists it: the first twelve digits, or all of it.
pub(crate) fn shown_id(id: ImageId, whole: bool) -> String {
    if whole { id.to_string() } else { id.0.short() }
}

/// What dockerd says if no image has this name, or if the text is no name.
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
        // No image has such a name, but it may be the beginning of an id.
        Err(ReferenceError::NamedLikeAlgorithm { .. }) => {
            let tag = if text.contains(':') { "" } else { ":latest" };
            anyhow!("No such image: {text}{tag}")
        }
        Err(other) => other.into(),
    }
}
