//! Where images come from, read where they are: nothing is unpacked to a temporary directory.
//!
//! ```text
//! manifest.json  <id>.json  <v1 id>/layer.tar      docker save before 25: docker-archive
//! manifest.json  index.json  blobs/sha256/<hex>    docker save since 25: both
//!                index.json  blobs/sha256/<hex>    OCI image layout
//! manifest.json  version  <hex>                    skopeo's dir: transport
//! ```
//!
//! Each in a tar, which may be compressed or come through a pipe, or in a directory. Where there is a `manifest.json` of
//! docker's, it counts, and the index is only asked for a platform that it lacks, and what of it is no image.
//!
//! All of them are read through one door, [`ImageSource`]: which images are there, and where the bytes of a layer come
//! from. [`Archive::open`] tells what a path is, and is the source for everything that can be read by offset; a source for
//! what must be read from the front is made by the importer, which unpacks its layers as they come.
//!
//! A file that is made shorter by someone else while its headers or documents are looked at ends the process with SIGBUS.

mod archive;
mod blob;
mod choice;
mod containerd;
mod distinct;
mod docker;
mod error;
mod image;
mod index;
mod json;
mod layout;
mod map;
mod names;
mod namespace;
mod oci;
mod platform;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use archive::{Archive, Opened, is_endless};
pub use blob::Blob;
pub(crate) use blob::BlobReader;
pub use choice::SelectionError;
pub use containerd::ContainerdImages;
pub use error::ArchiveError;
pub use image::{
    Descriptor, Format, LayerRef, Select, SourceContents, SourceDocument, SourceImage, SourceIndex, SourceManifest,
    SourceTarget, contents,
};
pub(crate) use index::is_archive_name;
pub use json::MAX_JSON;
pub use names::{NameProblem, UnusableName};
pub use namespace::NameError;
pub(crate) use namespace::{ArchiveEntry, Namespace};
pub use snapshot::platform::{InvalidPlatform, Platform};
pub(crate) use steps::steps;

/// Where images come from: an archive, a layout, a pipe.
pub trait ImageSource: std::fmt::Debug {
    /// The images that are described, none of their layers read. What a document names is looked at only when its layer is
    /// asked for: a layer that is stored already need not be there, and its name need not mean anything.
    ///
    /// # Errors
    /// Any [`ArchiveError`] about the documents.
    fn images(&self, select: &Select) -> Result<SourceContents, ArchiveError>;

    /// Where the bytes of a layer come from. Their number is checked against the descriptor. Their digest is checked
    /// here only if they are in memory; the digest of other bytes has to be checked while they are read.
    ///
    /// # Errors
    /// [`ArchiveError::Name`] if the file is missing or cannot be resolved, [`ArchiveError::ForeignLayer`] if it is left
    /// out by design, [`ArchiveError::Size`] and [`ArchiveError::Digest`] if it is not what its descriptor says,
    /// [`ArchiveError::NotALayer`] if it cannot be one.
    fn layer(&self, layer: &LayerRef) -> Result<LayerBytes, ArchiveError>;

    /// These layers, and no others, will be asked for, as far as that can be known now. A source that has to fetch them
    /// may begin to, and give up what it has begun in vain.
    fn expect(&self, _layers: &[&LayerRef]) {}

    /// Whether layers have to be fetched from elsewhere, and so take up room before they are unpacked.
    fn is_remote(&self) -> bool {
        false
    }
}

/// A layer that is on its way here. It can be read several times, each time from its beginning.
pub trait Fetch: std::fmt::Debug + Send + Sync {
    /// The length of its file in bytes.
    fn size(&self) -> u64;

    /// Reads it, and waits for what is still to come.
    fn reader(&self) -> Box<dyn std::io::Read + Send>;
}

/// Where the bytes of a layer come from.
#[derive(Debug, Clone)]
pub enum LayerBytes {
    /// From a file, perhaps compressed.
    File(Blob),
    /// From memory, perhaps compressed: small files of what was read from the front.
    Memory(Arc<Vec<u8>>),
    /// On its way from elsewhere, perhaps compressed.
    Fetched(Arc<dyn Fetch>),
    /// The layer came through a pipe and is unpacked already, under this number.
    Unpacked(usize),
    /// The layer came through a pipe, and a dry run passed over it: the length of its file, which may be compressed.
    PassedOver(u64),
}

impl LayerRef {
    /// The error for a layer that cannot be had: [`ArchiveError::ForeignLayer`] if its licence forbids to pass it on, else
    /// `error`.
    pub(crate) fn or_foreign(&self, error: impl Into<ArchiveError>) -> ArchiveError {
        let url = || self.descriptor.as_ref()?.urls.first().cloned();
        match (error.into(), url()) {
            (ArchiveError::Name(NameError::Missing { file }), Some(url)) => ArchiveError::ForeignLayer { file, url },
            (error, _) => error,
        }
    }

    /// Checks the length of the layer's file against the descriptor, where there is one.
    pub(crate) fn check_size(&self, found: u64) -> Result<(), ArchiveError> {
        match &self.descriptor {
            Some(descriptor) if descriptor.size != found => {
                Err(ArchiveError::Size { file: self.name.clone(), expected: descriptor.size, found })
            }
            _ => Ok(()),
        }
    }

    /// Checks the digest of the layer's file against the descriptor, where there is one.
    pub(crate) fn check_digest(&self, found: layerfs::Digest) -> Result<(), ArchiveError> {
        self.descriptor.as_ref().map_or(Ok(()), |descriptor| self.expect_digest(descriptor.digest, found))
    }

    /// Checks a digest of the layer against the one that it must have.
    pub(crate) fn expect_digest(&self, expected: layerfs::Digest, found: layerfs::Digest) -> Result<(), ArchiveError> {
        if expected == found { Ok(()) } else { Err(ArchiveError::Digest { file: self.name.clone(), expected, found }) }
    }
}
