//! The images, layers and writable layers of containerd's store, in the form in which a catalog has those of a storage
//! driver.
//!
//! ```text
//! target of a name     -> image      its id is the digest of the target, and its config that of the manifest that docker shows
//! snapshot <chain id>  -> layer      where both databases know it
//! snapshot <container> -> mount      with `<container>-init` below
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use layerfs::{ChainId, Digest};

use super::image::ConfigParts;
use super::{Catalog, Damage, Image, ImageDamage, with_causes};
use crate::containerd::Store;
use crate::containerd::content::BlobFault;
use crate::containerd::images::{StoredImage, StoredImages, StoredManifest};
use crate::containerd::snapshots::{Kind, Snapshot};
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::reference::Reference;
use crate::root::DataRoot;
use crate::schema::layer::LayerRecord;
use crate::schema::mount::MountRecord;
use crate::schema::references::References;

/// The longest chain of snapshots that is followed, so that a cycle in a damaged database comes to an end.
const MAX_DEPTH: usize = 1000;

/// What a catalog knows of containerd's store beyond images, layers and mounts.
#[derive(Debug)]
pub struct InContainerd {
    /// The records, and where the blobs are.
    pub store: Store,
    /// All images.
    pub images: StoredImages,
}

impl Catalog {
    /// The records of containerd's store, if the images are there.
    #[must_use]
    pub fn in_containerd(&self) -> Option<&InContainerd> {
        self.in_containerd.as_ref()
    }

    /// An image as containerd's store has it.
    #[must_use]
    pub fn stored_image(&self, id: ImageId) -> Option<&StoredImage> {
        self.in_containerd.as_ref()?.images.images.get(&id.0)
    }

    /// An image of containerd's store as one of its manifests has it, and not the one that docker shows by itself.
    ///
    /// # Errors
    /// The blob that is absent or cannot be read.
    pub fn image_of_manifest(&self, stored: &StoredImage, part: &StoredManifest) -> Result<Image, (Digest, BlobFault)> {
        let id = ImageId(stored.target.digest);
        let known = self.in_containerd.as_ref().ok_or((part.digest, BlobFault::NoRecord))?;
        let config = known.store.config_of(part)?;
        Ok(completed(super::image::of_config(id, config, ConfigParts::All), stored))
    }

    /// Bytes of all snapshots, as the snapshotter counts them. `measure` says what a snapshot takes up that somebody writes
    /// to, since the snapshotter records only the sizes of the others.
    pub(crate) fn size_of_snapshots(&self, measure: impl Fn(&CacheId) -> Option<u64>) -> u64 {
        let stores = self.in_containerd.iter().map(|known| &known.store);
        let all = stores.flat_map(|store| store.metadata.snapshots.keys().filter_map(|key| store.snapshot(key)));
        let size = |snapshot: &Snapshot| match snapshot.kind {
            Kind::Active => measure(&snapshot.cache_id()).unwrap_or_default(),
            _ => snapshot.size,
        };
        all.map(size).fold(0, u64::saturating_add)
    }

    /// Bytes of the snapshots that a container stands on: those of its image and of its init files.
    pub(crate) fn size_below_container(&self, container: &str) -> Option<u64> {
        let store = &self.in_containerd.as_ref()?.store;
        let below = |snapshot: &Snapshot| store.snapshots.by_name.get(snapshot.parent.as_ref()?);
        let first = below(store.snapshot(container)?);
        let all = std::iter::successors(first, |snapshot| below(snapshot)).take(MAX_DEPTH);
        Some(all.map(|snapshot| snapshot.size).fold(0, u64::saturating_add))
    }

    /// Blobs that are damaged although docker lists the images that they belong to.
    pub(super) fn damaged_blobs(&self) -> impl Iterator<Item = Damage> {
        let images = self.in_containerd.iter().flat_map(|known| known.images.images.values());
        images.flat_map(|stored| {
            let image = ImageId(stored.target.digest);
            let faults = stored.config_faults.iter();
            faults.map(move |(blob, fault)| Damage::Blob { image, blob: *blob, fault: fault.clone() })
        })
    }

    /// Names whose records docker cannot decode.
    pub(crate) fn damaged_names(&self) -> impl Iterator<Item = Damage> {
        let records = self.in_containerd.iter().flat_map(|known| &known.store.metadata.images);
        records.filter_map(|(name, record)| Some(Damage::NameRecord { name: name.clone(), cause: record.fault? }))
    }

    /// Reads containerd's store, if the images are there. With a damaged database containerd ends, and dockerd does not start; what
    /// is elsewhere in the root can be read all the same.
    pub(super) fn read_containerd(&mut self, root: &DataRoot) -> Result<(), StoreError> {
        match root.containerd_store() {
            Ok(Some(store)) => self.fill_from(store),
            Ok(None) => {}
            Err(error @ (StoreError::Database { .. } | StoreError::Invalid { .. })) => {
                self.damaged_references = Some(with_causes(&error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes over what the store knows.
    pub(crate) fn fill_from(&mut self, store: Store) {
        let images = store.images();
        for (digest, image) in &images.images {
            let id = ImageId(*digest);
            match &image.fault {
                Some((blob, fault)) => {
                    let damage = ImageDamage::Blob { blob: *blob, fault: fault.clone() };
                    self.damaged_images.insert(id, damage);
                }
                None => drop(self.images.insert(id, as_image(id, image))),
            }
            self.add_layers(&store, image);
        }
        self.link_children();
        self.mounts = mounts(&store);
        self.references = references_of(&images);
        self.names = images.images.iter().map(|(digest, image)| (ImageId(*digest), names_of(image))).collect();
        self.names.retain(|_, names| !names.is_empty());
        self.in_containerd = Some(InContainerd { store, images });
    }

    /// Adds the snapshots of an image as layers, for all its platforms.
    fn add_layers(&mut self, store: &Store, image: &StoredImage) {
        let mut seen = BTreeSet::new();
        // An index may name the same manifest many times.
        for part in image.manifests.iter().filter(|part| seen.insert(part.chain.last())) {
            let mut parent = None;
            for (at, chain_id) in part.chain.iter().copied().enumerate() {
                if let Some(snapshot) = store.snapshot(&chain_id.to_string())
                    && let Some(diff_id) = part.diff_ids.get(at).copied()
                {
                    let (cache_id, size) = (snapshot.cache_id(), snapshot.size);
                    self.layers.insert(chain_id, Ok(LayerRecord { chain_id, diff_id, parent, cache_id, size }));
                }
                parent = Some(chain_id);
            }
        }
    }
}

/// An image in the form of a storage driver's. Without a manifest that docker can show it has no config.
fn as_image(id: ImageId, stored: &StoredImage) -> Image {
    let config = stored.shown().and_then(|part| part.config.as_deref().cloned());
    let image = match config {
        Some(config) => super::image::of_config(id, config, ConfigParts::All),
        None => super::image::without_config(id),
    };
    completed(image, stored)
}

/// An image with what its records say of it.
fn completed(mut image: Image, stored: &StoredImage) -> Image {
    image.created = image.created.or(Some(Timestamp::UNIX_EPOCH));
    image.parent.clone_from(&stored.parent);
    image.last_tagged = Some(stored.last_tagged.to_string());
    image
}

/// The names of an image as docker lists them, then the last of them with the image's digest. A name that is not written in
/// full is listed twice, and never with a digest.
fn names_of(image: &StoredImage) -> Vec<String> {
    let (mut names, mut last) = (Vec::new(), None);
    for name in image.written_names() {
        match Reference::parse(name) {
            Ok(reference) if reference.canonical() == name => {
                names.push(reference.familiar());
                last = Some(reference);
            }
            Ok(_) => names.extend([name.to_owned(), name.to_owned()]),
            // docker's client passes over a name that it cannot read.
            Err(_) => {}
        }
    }
    // A name may be the digest itself, as that of an image that was pulled by it.
    let digest = last.map(|last| format!("{}@{}", last.familiar_name(), image.target.digest));
    names.extend(digest.filter(|digest| !names.contains(digest)));
    names
}

/// The names by which images can be found: those that are written in full.
fn references_of(images: &StoredImages) -> References {
    let mut found = References::default();
    for (digest, image) in &images.images {
        for name in image.written_names() {
            let Ok(reference) = Reference::parse(name) else { continue };
            if reference.canonical() != name {
                continue;
            }
            found.tag(&reference.with_digest(*digest), ImageId(*digest));
            found.tag(&reference, ImageId(*digest));
        }
    }
    found
}

/// The writable layers of containers, sorted by name.
fn mounts(store: &Store) -> Vec<MountRecord> {
    let container = |key: &str| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut mounts = Vec::new();
    for key in store.metadata.snapshots.keys().filter(|key| container(key)) {
        let Some(snapshot) = store.snapshot(key).filter(|snapshot| snapshot.kind == Kind::Active) else { continue };
        let Ok(name) = key.parse() else { continue };
        let init_key = format!("{key}-init");
        let parent_of = |key: &str| store.metadata.snapshots.get(key)?.parent.clone();
        let (init, below) = match parent_of(key) {
            Some(parent) if parent == init_key => (store.snapshot(&init_key), parent_of(&init_key)),
            parent => (None, parent),
        };
        mounts.push(MountRecord {
            name,
            mount_id: Some(snapshot.cache_id()),
            init_id: init.map(Snapshot::cache_id),
            parent: below.and_then(|below| below.parse().ok()).map(ChainId),
            also_names: Vec::new(),
            damage: Vec::new(),
        });
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::content::Content;
    use crate::containerd::metadata::{ImageRecord, Metadata, NameFault, Target};
    use crate::containerd::snapshots::Snapshots;

    /// An image that was pulled by its digest alone has that for a name, which docker lists once.
    #[test]
    fn a_name_that_is_a_digest_is_listed_once() {
        let digest = Digest::hash(b"a manifest");
        let name = format!("docker.io/library/app@{digest}");
        let target = Target { digest, media_type: "application/vnd.oci.image.index.v1+json".into(), size: 1 };
        let mut metadata = Metadata::default();
        metadata.images.insert(name, ImageRecord { target: Some(target), ..ImageRecord::default() });
        let (content, snapshots) = (Content::new(None), Snapshots::default());
        let images = Store { metadata, content, snapshots, missing: Vec::new() }.images();
        assert_eq!(names_of(&images.images[&digest]), [format!("app@{digest}")]);
    }

    #[test]
    fn a_name_whose_record_docker_cannot_decode_is_damage() {
        let temp = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::with_names(&DataRoot::find(temp.path(), None).unwrap()).unwrap();
        let mut metadata = Metadata::default();
        metadata.images.insert("sound".into(), ImageRecord::default());
        let fault = Some(NameFault::Time);
        metadata.images.insert("bad".into(), ImageRecord { fault, ..ImageRecord::default() });
        let (content, snapshots) = (Content::new(None), Snapshots::default());
        catalog.fill_from(Store { metadata, content, snapshots, missing: vec!["meta.db".into()] });
        let damage: Vec<_> = catalog.damage().iter().map(|one| (one.code(), one.to_string())).collect();
        let said = "the record of the name bad: its time cannot be decoded: docker lists no image at all";
        assert_eq!((damage.len(), damage[0].0), (2, "database-missing"));
        assert_eq!(damage[1], ("name-record-invalid", said.to_owned()));
    }
}
