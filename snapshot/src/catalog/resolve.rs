//! Which image a user means: as dockerd decides it (moby v20.10.24 `daemon/images/image.go: GetImage`).
//!
//! A whole id first; then a name, if its image is there; then the beginning of an id, if only one image has it. So a tag
//! hides the id that begins like it.

use super::Catalog;
use crate::ids::ImageId;
use crate::reference::Reference;

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// An image that dockerd would show.
    Image(ImageId),
    /// An image that is named or stored, and that it would not show.
    Damaged(ImageId),
    /// Nothing, or ids of several images.
    Nothing,
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
        if !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
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
