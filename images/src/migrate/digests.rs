//! The digests by which registries know images, kept where the bytes can be had that they are of.
//!
//! Such a digest is that of a manifest, which names compressed layers, or of an index that leads to it. The store of a driver has neither
//! the manifest nor the compressed layers: an archive, a layout or the registry has. What they have is believed if it has these digests,
//! its config is the image's, and its layers unpack to the image's.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::compress::{Compression, Decompressor, SNIFF_LEN};
use layerfs::{ChainId, DiffId, Digest, Hasher};
use serde::{Deserialize, Serialize};
use snapshot::catalog::Catalog;
use snapshot::containerd::metadata::{DISTRIBUTION_SOURCE, Target};
use snapshot::containerd::writer::StoreWriter;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;

use super::error::MigrateError;
use super::plan::MigrationPlan;
use crate::in_containerd::{NamedTarget, StoredBlob, add_document, add_manifest};
use crate::load::{ImportError, keep_blob};
use crate::save::SaveError;
use crate::source::{Descriptor, ImageSource, Select, SourceImage, SourceManifest, SourceTarget};

/// A digest that an image keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedDigest {
    /// The image in the old store.
    pub image: ImageId,
    /// Its names with the digest, as docker shows them.
    pub names: Vec<String>,
}

/// The images whose digests are kept, and where the bytes are.
#[derive(Debug, Default)]
pub struct KeptDigests<'s>(BTreeMap<ImageId, Kept<'s>>);

/// An image as a registry knows it.
#[derive(Debug)]
struct Kept<'s> {
    source: &'s dyn ImageSource,
    image: SourceImage,
    manifest: SourceManifest,
    /// The index that leads to the manifest, if the digest is that of an index.
    index: Option<SourceTarget>,
    /// The names with the digest.
    names: Vec<Reference>,
}

/// Layers' files that are stored, what they were found to hold, and how each is compressed.
pub(super) type PackedLayers = HashMap<(Digest, DiffId), Compression>;

/// What a migrated image is in the new store.
#[derive(Debug)]
pub(super) struct Migrated {
    /// What its names lead to.
    pub(super) named: NamedTarget,
    /// Its manifest.
    pub(super) manifest: Target,
}

impl<'s> KeptDigests<'s> {
    /// Looks for the bytes of the digests of `plan`'s images in `sources`, and notes in the plan which digests are kept, and
    /// which cannot be.
    ///
    /// # Errors
    /// [`MigrateError::Source`] if a source cannot be read.
    pub fn find(
        catalog: &Catalog,
        plan: &mut MigrationPlan,
        sources: &[&'s dyn ImageSource],
    ) -> Result<Self, MigrateError> {
        let wanted: BTreeMap<ImageId, Vec<Reference>> = plan
            .save
            .images
            .iter()
            .map(|image| (image.id, digests_of(catalog, image.id)))
            .filter(|(_, names)| !names.is_empty())
            .collect();
        let mut kept = BTreeMap::new();
        for &source in sources {
            let select = Select { keep_indexes: true, ..Select::default() };
            for image in source.images(&select)?.images {
                let id = ImageId(image.id);
                let Some(names) = wanted.get(&id).filter(|_| !kept.contains_key(&id)) else { continue };
                if let Some(found) = Kept::new(source, image, names)? {
                    kept.insert(id, found);
                }
            }
        }
        for image in &plan.save.images {
            let kept = kept.get(&image.id).map_or(&[][..], |kept: &Kept<'_>| &kept.names);
            for name in wanted.get(&image.id).into_iter().flatten().filter(|name| !kept.contains(name)) {
                let why = match kept.first() {
                    Some(other) => format!("it has that of {}", other.familiar()),
                    None => "the manifest and the compressed layers that it is of are not in this store, nor in what --from names".into(),
                };
                plan.lost.push(format!(
                    "image {}: its digest cannot be kept: {}: {why}",
                    image.id.0.short(),
                    name.familiar()
                ));
            }
            if !kept.is_empty() {
                let names = kept.iter().map(Reference::familiar).collect();
                plan.digests.push(PlannedDigest { image: image.id, names });
            }
        }
        let plain: BTreeSet<DiffId> = plan
            .save
            .images
            .iter()
            .filter(|image| !kept.contains_key(&image.id))
            .flat_map(|image| image.diff_ids.iter().copied())
            .collect();
        plan.save.layers.retain(|layer| plain.contains(&layer.diff_id));
        plan.packed_bytes = kept
            .values()
            .flat_map(Kept::descriptors)
            .map(|layer| (layer.digest, layer.size))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .sum();
        Ok(Self(kept))
    }

    /// The names with digests of an image whose repositories have no tag for it: there the digest is the name.
    pub(super) fn names_without_tag<'k>(
        &'k self,
        id: ImageId,
        tags: &'k [Reference],
    ) -> impl Iterator<Item = &'k Reference> {
        let names = self.0.get(&id).map_or(&[][..], |kept| &kept.names);
        names.iter().filter(|name| !tags.iter().any(|tag| tag.name() == name.name()))
    }

    /// Asks for all layers' files, as they will be needed.
    pub(super) fn expect(&self) {
        for kept in self.0.values() {
            kept.source.expect(&kept.image.layers.iter().collect::<Vec<_>>());
        }
    }

    /// Stores an image as its registry knows it, with its layers' files; `None` if its digest is not kept.
    pub(super) fn add(
        &self,
        id: ImageId,
        (config, diff_ids): (&[u8], &[DiffId]),
        packed: &mut PackedLayers,
        store: &mut StoreWriter,
        interrupted: &AtomicBool,
    ) -> Result<Option<Migrated>, MigrateError> {
        let Some(kept) = self.0.get(&id) else { return Ok(None) };
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (layer, diff_id) in kept.image.layers.iter().zip(diff_ids) {
            let descriptor = layer.descriptor.as_ref().expect("only such images are kept");
            let digest = descriptor.digest;
            let compression = match packed.entry((digest, *diff_id)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(entry) => {
                    if !store.has_blob(digest)? {
                        let bytes = kept.source.layer(layer)?;
                        keep_blob(layer, &bytes, store, interrupted).map_err(or_interrupted(interrupted))?;
                    }
                    *entry.insert(expect_content(store, digest, *diff_id, interrupted)?)
                }
            };
            store.add_blob(digest, [("containerd.io/uncompressed", diff_id.to_string())])?;
            layers.push(StoredBlob { digest, size: descriptor.size, compression });
        }
        let top = ChainId::chain(diff_ids).last().copied();
        let manifest = add_manifest(config, top, &layers, Some(&kept.manifest), store)?;
        let named = match &kept.index {
            None => NamedTarget::from(manifest.clone()),
            Some(target) => {
                kept.add_index(target, store, interrupted)?;
                NamedTarget::from(target)
            }
        };
        Ok(Some(Migrated { named, manifest }))
    }

    /// Labels blobs with the registries that have them, as a pull does.
    pub(super) fn label(&self, store: &mut StoreWriter) -> Result<(), MigrateError> {
        let mut sources: BTreeMap<(Digest, &str), BTreeSet<&str>> = BTreeMap::new();
        for kept in self.0.values() {
            let documents = [kept.image.id, Digest::hash(&kept.manifest.bytes)]
                .into_iter()
                .chain(kept.index.as_ref().map(|index| index.digest));
            for digest in documents.chain(kept.manifest.layers.iter().copied()) {
                for name in &kept.names {
                    sources.entry((digest, name.domain())).or_default().insert(name.path());
                }
            }
        }
        for ((digest, domain), paths) in sources {
            let paths: Vec<&str> = paths.into_iter().collect();
            store.add_blob(digest, [(format!("{DISTRIBUTION_SOURCE}{domain}"), paths.join(","))])?;
        }
        Ok(())
    }
}

impl<'s> Kept<'s> {
    /// What a source has of an image, if a digest of `names` is the digest of it.
    fn new(source: &'s dyn ImageSource, image: SourceImage, names: &[Reference]) -> Result<Option<Self>, MigrateError> {
        let Some(manifest) = image.manifest.clone() else { return Ok(None) };
        let own = Digest::hash(&manifest.bytes);
        let knows = |digest: Digest| names.iter().any(|name| name.digest() == Some(digest));
        let index = image.targets.iter().find(|target| target.index.is_some() && knows(target.digest)).cloned();
        let digest = index.as_ref().map_or(own, |index| index.digest);
        let described = image.layers.iter().map(|layer| layer.descriptor.as_ref().map(|layer| layer.digest));
        if !knows(digest)
            || !described.eq(manifest.layers.iter().map(|digest| Some(*digest)))
            || !names_config(&manifest, image.id)
        {
            return Ok(None);
        }
        // What a registry lacks is only known when it is asked for.
        if !source.is_remote() {
            for layer in &image.layers {
                match source.layer(layer) {
                    Ok(_) => {}
                    Err(error) if error.is_absence() => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let names = names.iter().filter(|name| name.digest() == Some(digest)).cloned().collect();
        Ok(Some(Self { source, image, manifest, index, names }))
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.image.layers.iter().filter_map(|layer| layer.descriptor.as_ref())
    }

    /// Stores the index, with all that the source has of what it leads to.
    fn add_index(
        &self,
        target: &SourceTarget,
        store: &mut StoreWriter,
        interrupted: &AtomicBool,
    ) -> Result<(), MigrateError> {
        let Some(index) = &target.index else { return Ok(()) };
        for blob in &index.blobs {
            match self.source.layer(blob) {
                Ok(bytes) => keep_blob(blob, &bytes, store, interrupted).map_err(or_interrupted(interrupted))?,
                Err(error) if error.is_absence() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(index.documents.iter().try_for_each(|document| add_document(document, store))?)
    }
}

/// The names of an image that have a digest.
pub fn digests_of(catalog: &Catalog, id: ImageId) -> Vec<Reference> {
    let names = catalog.names_of(id).into_iter().filter_map(|name| Reference::parse(name).ok());
    names.filter(|name| name.digest().is_some()).collect()
}

/// Whether a manifest names this config.
fn names_config(manifest: &SourceManifest, config: Digest) -> bool {
    #[derive(Deserialize)]
    struct Named {
        config: NamedConfig,
    }
    #[derive(Deserialize)]
    struct NamedConfig {
        digest: String,
    }
    serde_json::from_slice::<Named>(&manifest.bytes).is_ok_and(|named| named.config.digest.parse() == Ok(config))
}

/// Reads a blob that was stored, and expects that it unpacks to a layer. Returns how it is compressed.
fn expect_content(
    store: &StoreWriter,
    blob: Digest,
    expected: DiffId,
    interrupted: &AtomicBool,
) -> Result<Compression, MigrateError> {
    let unreadable = |source| MigrateError::Packed { blob, source };
    let mut head = Vec::new();
    store.open_blob(blob)?.take(SNIFF_LEN as u64).read_to_end(&mut head).map_err(unreadable)?;
    let mut content =
        Decompressor::new(BufReader::with_capacity(128 << 10, store.open_blob(blob)?)).map_err(unreadable)?;
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; 256 << 10]);
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted.into());
        }
        match content.read(&mut piece).map_err(unreadable)? {
            0 => break,
            length => hasher.update(&piece[..length]),
        }
    }
    let found = DiffId(hasher.finish());
    if found != expected {
        return Err(MigrateError::OtherLayer { blob, expected, found });
    }
    Ok(Compression::sniff(&head))
}

/// What ends because the user asks to stop is no fault of what was read.
fn or_interrupted(interrupted: &AtomicBool) -> impl Fn(ImportError) -> MigrateError {
    move |error| match error {
        _ if interrupted.load(Ordering::Relaxed) => SaveError::Interrupted.into(),
        error => MigrateError::Blob(Box::new(error)),
    }
}
