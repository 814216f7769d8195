//! What the receiver of an archive has already.

use std::collections::BTreeSet;
use std::path::Path;

use layerfs::ChainId;
use snapshot::schema::config::ImageConfig;

use super::error::SaveError;
use crate::source::{Archive, ArchiveError, ImageSource, Opened, Platform, Select};

/// The chain ids of the layers of all images in an archive or a layout that can be read by offset.
///
/// A layer counts if a document names it, whether its file is there or not.
///
/// # Errors
/// [`SaveError::Archive`]
pub fn chains_of(path: &Path, platform: Option<Platform>) -> Result<BTreeSet<ChainId>, SaveError> {
    let Opened::Archive(archive) = Archive::open(path)? else {
        return Err(ArchiveError::NotAnImageArchive { path: path.to_owned() }.into());
    };
    let contents = archive.images(&Select { platform, ..Select::default() })?;
    let configs = contents.images.iter().map(|image| ImageConfig::parse(&image.config));
    // An image that cannot be loaded brings no layer.
    Ok(configs.flatten().flat_map(|config| ChainId::chain(&config.diff_ids)).collect())
}
