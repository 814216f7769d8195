//! Which image a user means: as dockerd decides it (moby v20.10.24 `daemon/images/image.go: GetImage`).
//!
//! dockerd tries a whole id first; then a name, if its image is there; then the beginning of an id, if only one image has
//! it. So a tag hides the id that begins like it.

use std::collections::BTreeSet;

use super::Catalog;
use crate::ids::ImageId;
use crate::reference::Reference;
use crate::schema::references::References;

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// An image that dockerd would show.
    Image(ImageId),
    /// An image that is named or stored, and that dockerd would not show.
    Damaged(ImageId),
    /// Nothing, or ids of several images.
    Nothing,
}

/// The images that [`Catalog::resolve`] has to look at to find the one that `text` means; `stored` are those with a config.
pub(super) fn candidates(text: &str, references: &References, stored: &BTreeSet<ImageId>) -> Vec<ImageId> {
    let mut found = Vec::new();
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    // An id that is neither stored nor named means no image; it does not mean a damaged one.
    if let Ok(id) = layerfs::Digest::from_hex(hex).map(ImageId)
        && (stored.contains(&id) || references.iter().any(|(_, named)| named == id))
    {
        found.push(id);
    }
    if let Ok(reference) = Reference::parse(text) {
        found.extend(references.get(&reference.with_default_tag()));
    }
    if is_prefix(hex) {
        found.extend(stored.iter().filter(|id| id.0.hex().starts_with(hex)));
    }
    found
}

/// Whether a text can be the beginning of an id.
fn is_prefix(hex: &str) -> bool {
    !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Catalog {
    /// Finds the image that `text` means.
    #[must_use]
    pub fn resolve(&self, text: &str) -> Resolved {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() == 64
            && let Ok(digest) = layerfs::Digest::from_hex(hex)
        {
            return self.verdict(ImageId(digest));
        }
        let mut damaged = Resolved::Nothing;
        if let Ok(reference) = Reference::parse(text)
            && let Some(id) = self.references.get(&reference.with_default_tag())
        {
            match self.verdict(id) {
                Resolved::Damaged(id) => damaged = Resolved::Damaged(id),
                found => return found,
            }
        }
        if is_prefix(hex) {
            let mut matching = self.images.keys().filter(|id| id.0.hex().starts_with(hex));
            if let (Some(id), None) = (matching.next(), matching.next()) {
                return Resolved::Image(*id);
            }
        }
        damaged
    }

    fn verdict(&self, id: ImageId) -> Resolved {
        match () {
            () if self.images.contains_key(&id) => Resolved::Image(id),
            () if self.damaged_images.contains_key(&id) => Resolved::Damaged(id),
            () => Resolved::Nothing,
        }
    }
}
