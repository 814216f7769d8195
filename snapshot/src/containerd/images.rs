//! What the records and the blobs say of images, put together as dockerd does (moby v28.5.2 `daemon/containerd`:
//! `image_list.go`, `image_manifest.go`, `image_inspect.go`).
//!
//! ```text
//! names --> target: an index --> manifest of a platform --> config, layers --> snapshots, if it was unpacked
//!                            --> attestation: a manifest of its own kind
//!           target: a manifest
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use layerfs::{ChainId, DiffId, Digest};

use super::Store;
use super::content::{BlobFault, MAX_DOCUMENT};
use super::documents::{self, Descriptor, Kind, Manifest};
use super::metadata::Target;
use super::snapshots::Snapshot;
use crate::catalog::budget::{self, Budget};
use crate::platform::Platform;
use crate::schema::config::{ImageConfig, MAX_CONFIG};
use crate::schema::time::Time;

/// The prefix of the records' names that stand for an image without a name.
pub const DANGLING: &str = "moby-dangling@";

/// The label with the image that an image was made from.
const PARENT: &str = "org.mobyproject.image.parent";

/// How deep indexes are followed into each other.
const MAX_DEPTH: usize = 8;

/// The longest stack of snapshots that is followed, so that a cycle in a damaged database comes to an end.
const MAX_BELOW: usize = 1000;

/// An image: all that one target leads to.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// The manifest or index.
    pub target: Target,
    /// Its names as they are written, in the order of their bytes; those that stand for no name included.
    pub names: Vec<String>,
    /// The annotations of the record of its first name.
    pub annotations: BTreeMap<String, String>,
    /// The image it was made from, as it is written.
    pub parent: Option<String>,
    /// When it was given the first of its names.
    pub named: Time,
    /// When it was given a name last.
    pub last_tagged: Time,
    /// Its manifests, in the order of the index.
    pub manifests: Vec<StoredManifest>,
    /// The place of the manifest that docker shows, among those with a config that can be read: the one for this machine, or
    /// the first.
    pub best: Option<usize>,
    /// Bytes of its target and of all that the manifest that docker shows needs, as far as it is there: what
    /// `docker image inspect` shows.
    pub inspect_size: u64,
    /// Why docker can list no image because of this one.
    pub fault: Option<(Digest, BlobFault)>,
    /// What is wrong with its configs. docker lists the image all the same.
    pub config_faults: BTreeMap<Digest, BlobFault>,
}

/// The manifest of one platform, or an attestation. An index may name one as often as it likes, so what all mentions of a
/// manifest have in common is in memory once.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// What leads to it.
    pub descriptor: Descriptor,
    /// The platform it is for, where that can be told.
    pub platform: Option<Platform>,
    /// What it leads to; `None` if it is not there.
    pub manifest: Option<Arc<Manifest>>,
    /// Its config; `None` if the config is missing or cannot be decoded, and for attestations and manifests that docker does
    /// not show.
    pub config: Option<Arc<ImageConfig>>,
    /// The contents of its layers, base first.
    pub diff_ids: Arc<[DiffId]>,
    /// Its layers with all below each, base first.
    pub chain: Arc<[ChainId]>,
    /// Bytes of the manifest and of the blobs that it names and that are there. A blob counts as often as it is named.
    pub content: u64,
    /// Bytes of its snapshots; 0 if it was not unpacked.
    pub unpacked: u64,
}

impl StoredManifest {
    /// Whether it is what BuildKit says of an image, and not an image.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.descriptor.is_attestation()
    }

    /// The manifest in the place of an image.
    #[must_use]
    pub fn as_target(&self) -> Target {
        Target { digest: self.digest, media_type: self.descriptor.media_type.clone(), size: self.descriptor.length() }
    }
}

impl StoredImage {
    /// Its manifests, each once: an index may name the same one many times.
    pub(crate) fn distinct_manifests(&self) -> impl Iterator<Item = &StoredManifest> {
        let mut seen = BTreeSet::new();
        self.manifests.iter().filter(move |part| seen.insert(part.digest))
    }

    /// Bytes that docker lists: of all manifests with what they need, and of their snapshots.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.manifests.iter().map(|part| part.content.saturating_add(part.unpacked)).fold(0, u64::saturating_add)
    }

    /// Bytes of the blobs alone, of all manifests.
    #[must_use]
    pub fn content(&self) -> u64 {
        self.manifests.iter().map(|part| part.content).fold(0, u64::saturating_add)
    }

    /// The manifest that docker shows: the one for this machine, or the first with a config.
    #[must_use]
    pub fn shown(&self) -> Option<&StoredManifest> {
        self.manifests.get(self.best?)
    }

    /// Bytes that `docker image inspect` shows for another manifest of it.
    #[must_use]
    pub fn size_with(&self, part: &StoredManifest) -> u64 {
        let of_best = self.shown().map_or(0, |shown| shown.content);
        self.inspect_size.saturating_sub(of_best).saturating_add(part.content)
    }

    /// Its names as they are written, without those that stand for no name.
    pub fn written_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !is_dangling(name))
    }
}

/// Whether a record's name stands for an image without a name.
#[must_use]
pub fn is_dangling(name: &str) -> bool {
    name.starts_with(DANGLING)
}

/// All images of a store.
#[derive(Debug, Clone, Default)]
pub struct StoredImages {
    /// By their targets.
    pub images: BTreeMap<Digest, StoredImage>,
    /// Bytes of all blobs that are there and that images lead to, each once.
    pub content: u64,
}

impl Store {
    /// The snapshot with this key; `None` if one of the two databases does not know it.
    pub(crate) fn snapshot(&self, key: &str) -> Option<&Snapshot> {
        self.snapshots.by_name.get(&self.metadata.snapshots.get(key)?.name)
    }

    /// The config of a manifest that docker does not show by itself.
    ///
    /// # Errors
    /// The blob that is absent or cannot be read.
    pub(crate) fn config_of(&self, part: &StoredManifest) -> Result<ImageConfig, (Digest, BlobFault)> {
        let config = part.manifest.as_ref().and_then(|manifest| manifest.config.blob());
        let digest = config.ok_or((part.digest, BlobFault::NoRecord))?;
        let failed = |fault| (digest, fault);
        let size = *self.metadata.blobs.get(&digest).ok_or_else(|| failed(BlobFault::NoRecord))?;
        let bytes = self.content.read(digest, size, MAX_CONFIG).map_err(failed)?;
        ImageConfig::parse(&bytes).map_err(|error| failed(BlobFault::Invalid { cause: error.to_string() }))
    }

    /// Reads all images.
    #[must_use]
    pub fn images(&self) -> StoredImages {
        let mut reader = Reader {
            store: self,
            budget: Budget::default(),
            read: BTreeSet::new(),
            reached: BTreeMap::new(),
            manifests: BTreeMap::new(),
            configs: BTreeMap::new(),
        };
        let mut images: BTreeMap<Digest, StoredImage> = BTreeMap::new();
        for (name, record) in &self.metadata.images {
            let Some(target) = &record.target else { continue };
            let image = images.entry(target.digest).or_insert_with(|| reader.image(target));
            if image.names.is_empty() {
                image.annotations.clone_from(&record.annotations);
            }
            image.names.push(name.clone());
            if image.names.len() == 1 || image.named.is_after(record.created) {
                image.named = record.created;
            }
            if record.updated.is_after(image.last_tagged) {
                image.last_tagged = record.updated;
            }
            if let Some(parent) = record.labels.get(PARENT) {
                image.parent = Some(parent.clone());
            }
        }
        let content = reader.reached.values().copied().fold(0, u64::saturating_add);
        StoredImages { images, content }
    }
}

struct Reader<'s> {
    store: &'s Store,
    /// How much more is read into memory.
    budget: Budget,
    /// The blobs that were asked for: each brings its share of the bound once.
    read: BTreeSet<Digest>,
    /// The blobs that images lead to and that are there, with their lengths.
    reached: BTreeMap<Digest, u64>,
    manifests: BTreeMap<Digest, Decoded<KnownManifest>>,
    configs: BTreeMap<Digest, Decoded<KnownConfig>>,
}

/// What was read of a blob, for all that lead to it; `None` if the blob is not there.
type Decoded<T> = Result<Option<T>, BlobFault>;

#[derive(Clone)]
struct KnownManifest {
    manifest: Arc<Manifest>,
    /// Bytes of the blobs that it names and that are there.
    needs: u64,
}

#[derive(Clone)]
struct KnownConfig {
    config: Arc<ImageConfig>,
    diff_ids: Arc<[DiffId]>,
    chain: Arc<[ChainId]>,
    /// Bytes of the snapshots of the chain.
    unpacked: u64,
}

/// What belongs to one image and was found so far.
#[derive(Default)]
struct Found {
    manifests: Vec<StoredManifest>,
    /// Indexes that were followed already.
    seen: BTreeSet<Digest>,
    fault: Option<(Digest, BlobFault)>,
    config_faults: BTreeMap<Digest, BlobFault>,
}

impl Reader<'_> {
    fn image(&mut self, target: &Target) -> StoredImage {
        let descriptor = Descriptor {
            media_type: target.media_type.clone(),
            digest: target.digest.to_string(),
            size: i64::try_from(target.size).unwrap_or(i64::MAX),
            ..Descriptor::default()
        };
        let mut found = Found::default();
        self.follow(&descriptor, 0, &mut found);
        let host = Platform::host();
        let rank = |part: &StoredManifest| host.rank(part.platform.as_ref()?);
        let usable = |part: &StoredManifest| part.config.is_some() && !part.is_attestation();
        let ranks = found.manifests.iter().enumerate().filter(|(_, part)| usable(part));
        let ranks = ranks.filter_map(|(at, part)| Some((rank(part)?, std::cmp::Reverse(at))));
        // Without a manifest for this machine docker shows the first.
        let first = || found.manifests.iter().position(usable);
        let best = ranks.max().map(|(_, at)| at.0).or_else(first);
        // Nobody needs the configs of the manifests that docker does not show.
        for (at, part) in found.manifests.iter_mut().enumerate() {
            if Some(at) != best {
                part.config = None;
            }
        }
        let own =
            if found.manifests.first().is_some_and(|part| part.digest == target.digest) { 0 } else { target.size };
        let own = if self.store.metadata.blobs.contains_key(&target.digest) { own } else { 0 };
        let of_best = best.and_then(|at| found.manifests.get(at)).map_or(0, |part| part.content);
        StoredImage {
            target: target.clone(),
            names: Vec::new(),
            annotations: BTreeMap::new(),
            parent: None,
            named: Time::ZERO,
            last_tagged: Time::ZERO,
            inspect_size: own.saturating_add(of_best),
            manifests: found.manifests,
            best,
            fault: found.fault,
            config_faults: found.config_faults,
        }
    }

    fn follow(&mut self, descriptor: &Descriptor, depth: usize, found: &mut Found) {
        let Some(digest) = descriptor.blob() else { return };
        match Kind::of(&descriptor.media_type) {
            Kind::Index if depth < MAX_DEPTH && found.seen.insert(digest) => {
                match self.read(digest, MAX_DOCUMENT, documents::index) {
                    Ok(children) => {
                        self.reach(descriptor);
                        children.into_iter().flatten().for_each(|child| self.follow(&child, depth + 1, found));
                    }
                    Err(fault) => found.fault = found.fault.take().or(Some((digest, fault))),
                }
            }
            Kind::Manifest => {
                let part = self.manifest(descriptor, digest, found);
                found.manifests.push(part);
            }
            Kind::Index | Kind::Other => {}
        }
    }

    fn manifest(&mut self, descriptor: &Descriptor, digest: Digest, found: &mut Found) -> StoredManifest {
        let mut part = StoredManifest {
            digest,
            descriptor: descriptor.clone(),
            platform: descriptor.platform.as_ref().map(Platform::from),
            manifest: None,
            config: None,
            diff_ids: Arc::default(),
            chain: Arc::default(),
            content: self.reach(descriptor),
            unpacked: 0,
        };
        let KnownManifest { manifest, needs } = match self.known_manifest(digest) {
            Ok(Some(known)) => known,
            Ok(None) => return part,
            Err(fault) => {
                found.fault = found.fault.take().or(Some((digest, fault)));
                return part;
            }
        };
        part.content = part.content.saturating_add(needs);
        if !part.is_attestation()
            && let Some(digest) = manifest.config.blob()
        {
            match self.known_config(digest) {
                Ok(Some(known)) => {
                    let fields = &known.config.fields;
                    let of_config = || Platform::new(&fields.os, &fields.architecture, Some(&fields.variant));
                    part.platform.get_or_insert_with(of_config);
                    (part.diff_ids, part.chain, part.unpacked) = (known.diff_ids, known.chain, known.unpacked);
                    part.config = Some(known.config);
                }
                Ok(None) => {}
                Err(fault) => drop(found.config_faults.insert(digest, fault)),
            }
        }
        part.manifest = Some(manifest);
        part
    }

    fn known_manifest(&mut self, digest: Digest) -> Decoded<KnownManifest> {
        if let Some(known) = self.manifests.get(&digest) {
            return known.clone();
        }
        let read = self.read(digest, MAX_DOCUMENT, documents::manifest);
        let known = read.map(|manifest| {
            manifest.map(|manifest| {
                let named = std::iter::once(&manifest.config).chain(&manifest.layers);
                let needs = named.map(|child| self.reach(child)).fold(0, u64::saturating_add);
                KnownManifest { manifest: Arc::new(manifest), needs }
            })
        });
        self.manifests.insert(digest, known.clone());
        known
    }

    fn known_config(&mut self, digest: Digest) -> Decoded<KnownConfig> {
        if let Some(known) = self.configs.get(&digest) {
            return known.clone();
        }
        let parse = |bytes: &[u8]| ImageConfig::parse(bytes).map_err(|error| error.to_string());
        let read = self.read(digest, MAX_CONFIG, parse);
        let known = read.map(|config| {
            config.map(|config| {
                let chain = ChainId::chain(&config.diff_ids);
                KnownConfig {
                    unpacked: self.unpacked(&chain),
                    diff_ids: config.diff_ids.as_slice().into(),
                    chain: chain.into(),
                    config: Arc::new(config),
                }
            })
        });
        self.configs.insert(digest, known.clone());
        known
    }

    /// Bytes of the snapshot of a chain and of all that it stands on; 0 if it is not there. That of a committed image stands on the
    /// init files of its container, which docker counts, too.
    fn unpacked(&self, chain: &[ChainId]) -> u64 {
        let below = |snapshot: &&Snapshot| self.store.snapshots.by_name.get(snapshot.parent.as_ref()?);
        let top = chain.last().and_then(|top| self.store.snapshot(&top.to_string()));
        let all = std::iter::successors(top, below).take(MAX_BELOW);
        all.map(|snapshot| snapshot.size).fold(0, u64::saturating_add)
    }

    /// Notes that an image leads to a blob. Returns its length, as what leads to it says, if it is there.
    fn reach(&mut self, descriptor: &Descriptor) -> u64 {
        let there = descriptor.blob().filter(|digest| self.store.metadata.blobs.contains_key(digest));
        let Some(digest) = there else { return 0 };
        *self.reached.entry(digest).or_insert_with(|| descriptor.length())
    }

    /// Reads and decodes a blob; `None` if it is not there.
    fn read<T>(
        &mut self,
        digest: Digest,
        limit: usize,
        decode: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, BlobFault> {
        let Some(&size) = self.store.metadata.blobs.get(&digest) else { return Ok(None) };
        let first = self.read.insert(digest);
        let fits = if first { self.budget.admit(size) } else { self.budget.admit_again(size) };
        if !fits {
            return Err(BlobFault::Unreadable { cause: budget::refusal(size) });
        }
        let bytes = self.store.content.read(digest, size, limit)?;
        decode(&bytes).map(Some).map_err(|cause| BlobFault::Invalid { cause })
    }
}

#[cfg(test)]
mod tests;
