//! Sources of good content: archives, layouts, other stores.

use std::io::Read;

use layerfs::DiffId;

use crate::ids::ImageId;
use crate::reference::Reference;

/// Why a source cannot be read: an error of any type.
pub type DonorError = Box<dyn std::error::Error + Send + Sync>;

/// A source of good content. Content from a source is checked before it replaces anything.
pub trait Donor: std::fmt::Debug + Sync {
    /// Its name in messages, such as its path.
    fn name(&self) -> String;

    /// The config of an image; `None` if the source does not have it.
    ///
    /// # Errors
    /// [`DonorError`]
    fn config(&self, image: ImageId) -> Result<Option<Vec<u8>>, DonorError>;

    /// The names of its images.
    fn names(&self) -> Vec<(Reference, ImageId)>;

    /// Whether it claims to have a layer.
    fn has_layer(&self, diff_id: DiffId) -> bool;

    /// The uncompressed tar of a layer; `None` if it has none.
    ///
    /// # Errors
    /// [`DonorError`]
    fn layer(&self, diff_id: DiffId) -> Result<Option<Box<dyn Read + Send + '_>>, DonorError>;
}

/// All sources, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Donors(Vec<Box<dyn Donor>>);

impl Donors {
    /// Makes the list of these sources.
    #[must_use]
    pub fn new(donors: Vec<Box<dyn Donor>>) -> Self {
        Self(donors)
    }

    pub(super) fn has_layer(&self, diff_id: DiffId) -> bool {
        self.0.iter().any(|donor| donor.has_layer(diff_id))
    }

    /// The sources that claim to have a layer.
    pub(super) fn with_layer(&self, diff_id: DiffId) -> impl Iterator<Item = &dyn Donor> {
        self.0.iter().map(AsRef::as_ref).filter(move |donor| donor.has_layer(diff_id))
    }

    /// The config of an image, from the first source whose config has the right digest. A source that cannot be read is
    /// passed over.
    pub(super) fn config(&self, image: ImageId) -> Option<Vec<u8>> {
        let configs = self.0.iter().filter_map(|donor| donor.config(image).ok().flatten());
        configs.into_iter().find(|config| layerfs::Digest::hash(config) == image.0)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (Reference, ImageId)> {
        self.0.iter().flat_map(|donor| donor.names())
    }
}
