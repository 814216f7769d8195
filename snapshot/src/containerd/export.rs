//! Which blobs of an image go into an archive, as `docker save` decides it (moby v28.5.2 `daemon/containerd/image_exporter.go`;
//! containerd v2.1.9 `core/images/archive/exporter.go`).
//!
//! ```text
//! target: an index -> manifests that have a record -> config and layers, if all of them have records
//!         a manifest -> the same
//! ```
//!
//! A manifest of which something is absent stays, and nothing that it names: so a receiver knows the platform, and takes no half
//! of it. Whether a blob's file is there, and has the blob's digest, is found out when it is read.

use std::collections::BTreeMap;

use layerfs::Digest;

use super::Store;
use super::content::{BlobFault, MAX_DOCUMENT};
use super::documents::{self, Descriptor, Kind, Manifest};
use super::images::{StoredImage, StoredManifest};
use super::metadata::Target;
use crate::catalog::budget::{self, Budget};
use crate::platform::Platform;

/// How deep indexes are followed into each other.
const MAX_DEPTH: usize = 8;

/// Layers that containerd leaves out of archives, since their licence does not let them be passed on (image-spec v1.0
/// `layer.md`, "Non-Distributable Layers").
const NOT_PASSED_ON: [&str; 2] =
    ["application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar"];

/// A blob that is needed, and why it cannot be used.
pub type Faulty = (Digest, BlobFault);

/// What an archive holds of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// The blobs, with the lengths of their records.
    pub blobs: BTreeMap<Digest, u64>,
}

impl Store {
    /// The blobs of an image that go into an archive.
    ///
    /// # Errors
    /// The document that cannot be read.
    pub fn exported(&self, target: &Target) -> Result<Exported, Faulty> {
        let mut walk = Walk { store: self, budget: Budget::default(), found: Exported::default() };
        walk.follow(&descriptor(target), 0)?;
        Ok(walk.found)
    }

    /// The manifest of an image for this very platform, if all that it needs has records.
    #[must_use]
    pub fn whole_manifest<'i>(&self, image: &'i StoredImage, platform: &Platform) -> Option<&'i StoredManifest> {
        let is_meant = |part: &&StoredManifest| part.platform.as_ref().is_some_and(|own| platform.is_same(own));
        image.manifests.iter().filter(|part| !part.is_attestation()).filter(is_meant).find(|part| self.is_whole(part))
    }

    /// Whether all that a manifest needs has records.
    #[must_use]
    pub fn is_whole(&self, part: &StoredManifest) -> bool {
        let is_there =
            |child: &Descriptor| child.blob().is_some_and(|digest| self.metadata.blobs.contains_key(&digest));
        part.manifest
            .as_ref()
            .is_some_and(|manifest| std::iter::once(&manifest.config).chain(&manifest.layers).all(is_there))
    }

    /// The manifest by which docker's own document in an archive describes an image: the one for this machine, else the first.
    /// `None` if the index has none.
    ///
    /// # Errors
    /// The index or manifest that is absent or cannot be read; docker saves nothing then.
    pub fn described(&self, target: &Target) -> Result<Option<(Digest, Manifest)>, Faulty> {
        let mut walk = Walk { store: self, budget: Budget::default(), found: Exported::default() };
        let manifest = match Kind::of(&target.media_type) {
            Kind::Manifest => Some(descriptor(target)),
            Kind::Index => {
                let host = Platform::host();
                let rank =
                    |child: &Descriptor| child.platform.as_ref().map(|written| host.rank(&Platform::from(written)));
                let children = walk.read(target.digest, documents::index)?.into_iter().enumerate();
                children.max_by_key(|(at, child)| (rank(child), std::cmp::Reverse(*at))).map(|(_, child)| child)
            }
            Kind::Other => None,
        };
        let Some(digest) = manifest.as_ref().and_then(Descriptor::blob) else { return Ok(None) };
        Ok(Some((digest, walk.read(digest, documents::manifest)?)))
    }
}

fn descriptor(target: &Target) -> Descriptor {
    Descriptor {
        media_type: target.media_type.clone(),
        digest: target.digest.to_string(),
        size: i64::try_from(target.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    }
}

struct Walk<'s> {
    store: &'s Store,
    /// How much more is read into memory.
    budget: Budget,
    found: Exported,
}

impl Walk<'_> {
    fn follow(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), Faulty> {
        let recorded = |digest: &Digest| self.store.metadata.blobs.get(digest).copied();
        let Some((digest, size)) = descriptor.blob().and_then(|digest| Some((digest, recorded(&digest)?))) else {
            return Ok(());
        };
        if NOT_PASSED_ON.iter().any(|kind| descriptor.media_type.starts_with(kind)) {
            return Ok(());
        }
        if self.found.blobs.insert(digest, size).is_some() {
            return Ok(());
        }
        let children = match Kind::of(&descriptor.media_type) {
            Kind::Index | Kind::Manifest if depth >= MAX_DEPTH => {
                let cause = format!("it is the {MAX_DEPTH}th index in a row");
                return Err((digest, BlobFault::Invalid { cause }));
            }
            Kind::Index => self.read(digest, documents::index)?,
            Kind::Manifest => {
                let manifest = self.read(digest, documents::manifest)?;
                let children: Vec<Descriptor> = std::iter::once(manifest.config).chain(manifest.layers).collect();
                let is_there = |child: &Descriptor| {
                    child.blob().is_some_and(|digest| self.store.metadata.blobs.contains_key(&digest))
                };
                if children.iter().all(is_there) { children } else { Vec::new() }
            }
            Kind::Other => Vec::new(),
        };
        children.iter().try_for_each(|child| self.follow(child, depth + 1))
    }

    fn read<T>(&mut self, digest: Digest, decode: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, Faulty> {
        let size = *self.store.metadata.blobs.get(&digest).ok_or((digest, BlobFault::NoRecord))?;
        if !self.budget.admit(size) {
            return Err((digest, BlobFault::Unreadable { cause: budget::refusal(size) }));
        }
        let bytes = self.store.content.read(digest, size, MAX_DOCUMENT).map_err(|fault| (digest, fault))?;
        decode(&bytes).map_err(|cause| (digest, BlobFault::Invalid { cause }))
    }
}
