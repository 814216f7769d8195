//! Tells whose the blobs and the snapshots of containerd's store are.
//!
//! ```text
//! io.containerd.content.v1.content/blobs/sha256/<hex>        the layer, where it was unpacked, else the first image that needs it
//! io.containerd.snapshotter.v1.overlayfs/snapshots/<number>  the layer or the container
//! ```

use std::collections::HashMap;

use layerfs::Digest;

use super::parts::Part;
use super::place::{ASK, Found, SETTLED, text};
use crate::catalog::Catalog;
use crate::ids::ImageId;
use crate::schema::paths::{CONTAINERD_CONTENT, CONTAINERD_METADATA, OVERLAYFS_SNAPSHOTTER};

const CONTENT: &[u8] = CONTAINERD_CONTENT.as_bytes();
const SNAPSHOTTER: &[u8] = OVERLAYFS_SNAPSHOTTER.as_bytes();

/// containerd's images: their content, their records, and their layers with what containers have written.
pub(super) const CONTAINERD_PARTS: [&[u8]; 3] = [CONTENT, CONTAINERD_METADATA.as_bytes(), SNAPSHOTTER];

/// The owners of blobs and snapshots, by the names of their files and directories.
#[derive(Debug, Default)]
pub(super) struct ContainerdOwners {
    blobs: HashMap<String, Part>,
    snapshots: HashMap<String, Part>,
}

impl ContainerdOwners {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let mut owners = Self::default();
        let Some(known) = catalog.in_containerd() else { return owners };
        for stored in known.images.images.values() {
            let image = Part::Image(ImageId(stored.target.digest));
            owners.blob(Some(stored.target.digest), &image);
            for part in stored.distinct_manifests() {
                owners.blob(Some(part.digest), &image);
                let Some(manifest) = &part.manifest else { continue };
                owners.blob(manifest.config.blob(), &image);
                for (at, layer) in manifest.layers.iter().enumerate() {
                    let unpacked = part.chain.get(at).filter(|chain| catalog.layer(**chain).is_some());
                    owners.blob(layer.blob(), &unpacked.map_or_else(|| image.clone(), |chain| Part::Layer(*chain)));
                }
            }
        }
        for layer in catalog.layers.values().flatten() {
            owners.snapshots.insert(layer.cache_id.to_string(), Part::Layer(layer.chain_id));
        }
        for container in &catalog.containers {
            let Some(mount) = &container.mount else { continue };
            let id = || container.id.clone();
            owners.snapshots.extend(mount.init_id.iter().map(|init| (init.to_string(), Part::Container(id()))));
            owners.snapshots.extend(mount.mount_id.iter().map(|own| (own.to_string(), Part::Writable(id()))));
        }
        owners
    }

    /// A blob that several need belongs to the first.
    fn blob(&mut self, digest: Option<Digest>, owner: &Part) {
        if let Some(digest) = digest {
            self.blobs.entry(digest.hex()).or_insert_with(|| owner.clone());
        }
    }

    /// The part of a path below the directory of a plugin; `None` if nobody is known to need it.
    pub(super) fn find(&self, plugin: &[u8], below: &[&[u8]]) -> Option<Found> {
        match below {
            [b"blobs", b"sha256", blob, ..] if plugin == CONTENT => {
                Some((self.blobs.get(text(blob)?)?.clone(), SETTLED))
            }
            [b"snapshots", number, rest @ ..] if plugin == SNAPSHOTTER => {
                match (self.snapshots.get(text(number)?)?, rest) {
                    // Besides `fs`, which holds what the container has written, there is the kernel's work directory.
                    (Part::Writable(id), []) => Some((Part::Container(id.clone()), ASK)),
                    (Part::Writable(id), [first, ..]) if *first != b"fs" => {
                        Some((Part::Container(id.clone()), SETTLED))
                    }
                    (part, _) => Some((part.clone(), SETTLED)),
                }
            }
            _ => None,
        }
    }
}
