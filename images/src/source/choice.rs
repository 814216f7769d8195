//! Which of the images of an archive is meant.

use super::image::{SourceContents, SourceImage};
use snapshot::reference::Reference;

/// The archive does not have exactly the image that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// It has none at all.
    #[error("the archive has no image")]
    NoImage,
    /// It has images, but not the one that is wanted.
    #[error("the archive has no image {wanted}; it has {}", images.join(", "))]
    NoSuchImage {
        /// The name or id asked for.
        wanted: String,
        /// What it has.
        images: Vec<String>,
    },
    /// More than one image has this name, or an id that begins like this.
    #[error("{wanted} means several images: {}", images.join(", "))]
    Ambiguous {
        /// The name or the beginning of an id asked for.
        wanted: String,
        /// Those that fit.
        images: Vec<String>,
    },
    /// One image is needed, the archive has several, and the user chose none.
    #[error("the archive has several images: {}", images.join(", "))]
    SeveralImages {
        /// What it has.
        images: Vec<String>,
    },
    /// A name can be given to one image only.
    #[error("a name can be given to one image, and the archive has {found}")]
    NameForSeveral {
        /// How many it has.
        found: usize,
    },
}

impl SourceContents {
    /// The image that `wanted` names, by a name or by the beginning of its id; the only one, if nothing is wanted.
    ///
    /// # Errors
    /// [`SelectionError`] if it is not exactly one.
    pub fn one(&self, wanted: Option<&str>) -> Result<&SourceImage, SelectionError> {
        let Some(wanted) = wanted else {
            return match self.images.as_slice() {
                [image] => Ok(image),
                [] => Err(SelectionError::NoImage),
                several => Err(SelectionError::SeveralImages { images: labels(several) }),
            };
        };
        let reference = Reference::parse(wanted).ok().map(Reference::with_default_tag);
        // A name that cannot be used still tells which image is meant.
        let has_name = |image: &&SourceImage| {
            reference.as_ref().is_some_and(|reference| image.tags.contains(reference))
                || image.unusable_names.iter().any(|unusable| unusable.name == wanted)
        };
        let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        let has_id = |image: &&SourceImage| !hex.is_empty() && image.id.hex().starts_with(hex);
        let mut found: Vec<&SourceImage> = self.images.iter().filter(has_name).collect();
        if found.is_empty() {
            found = self.images.iter().filter(has_id).collect();
            // One image may be described more than once.
            found.dedup_by_key(|image| image.id);
        }
        let wanted = wanted.to_owned();
        match found.as_slice() {
            [image] => Ok(image),
            [] if self.images.is_empty() => Err(SelectionError::NoImage),
            [] => Err(SelectionError::NoSuchImage { wanted, images: labels(&self.images) }),
            several => {
                Err(SelectionError::Ambiguous { wanted, images: several.iter().map(|image| label(image)).collect() })
            }
        }
    }
}

fn labels(images: &[SourceImage]) -> Vec<String> {
    images.iter().map(label).collect()
}

/// What a person can call an image by.
fn label(image: &SourceImage) -> String {
    image.tags.first().map_or_else(|| image.id.short(), Reference::familiar)
}
