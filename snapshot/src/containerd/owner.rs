//! Whose a file or a directory of containerd's store is, and why containerd keeps it or will delete it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use layerfs::{ChainId, Digest};

use super::documents::Descriptor;
use super::gc::{Kept, KeptBy, Node, Records};
use super::images::StoredImage;
use super::metadata;
use super::snapshots;
use crate::catalog::{Catalog, InContainerd};
use crate::ids::ImageId;
use crate::schema::paths::{CONTAINERD_CONTENT, CONTAINERD_DAEMON, CONTAINERD_METADATA, SNAPSHOTTER_PREFIX};
use crate::view::View;

/// Something of containerd's store, told by its path or its id alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredItem {
    /// A blob's file, by its name.
    Blob(String),
    /// A snapshot's directory.
    Snapshot {
        /// The snapshotter.
        snapshotter: String,
        /// The directory's name, which is a number.
        number: String,
        /// The path below it; empty for the directory itself.
        below: PathBuf,
    },
    /// A blob that is being written, by its directory's name.
    Ingest(String),
    /// Something else: its path below containerd's root, and what it is.
    Other(PathBuf, &'static str),
}

/// Whether something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredVerdict {
    /// containerd keeps it.
    Live,
    /// containerd will delete it, or has forgotten it.
    Orphan,
    /// The records cannot be read.
    Unknown,
    /// The store itself.
    Service,
}

/// Whose something of containerd's store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOwner {
    /// What it is, in a few words.
    pub what: String,
    /// The file or directory.
    pub place: Option<PathBuf>,
    /// The path below that directory.
    pub below: Option<PathBuf>,
    /// Whether it stays.
    pub verdict: StoredVerdict,
    /// The reasons, one after the other.
    pub why: Vec<String>,
    /// The layer that it is, or holds.
    pub layer: Option<ChainId>,
    /// The images that need it.
    pub images: Vec<ImageId>,
    /// Containers by their ids, and what it is to each.
    pub containers: Vec<(String, &'static str)>,
}

impl StoredItem {
    /// What a path below a data-root is; `None` if it is not in containerd's root.
    pub(crate) fn of_path(names: &[&[u8]]) -> Option<Self> {
        let below = match names {
            // In containerd's own root.
            [plugin, ..] if plugin.starts_with(b"io.containerd.") => names,
            [first, second, below @ ..] if [*first, *second] == CONTAINERD_DAEMON.map(str::as_bytes) => below,
            _ => return None,
        };
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let other = |what| Self::Other(below.iter().map(|name| text(name)).collect(), what);
        let Some((plugin, inside)) = below.split_first() else { return Some(other("containerd's root")) };
        Some(match (text(plugin).as_str(), inside) {
            (CONTAINERD_CONTENT, [b"blobs", b"sha256", name, ..]) => Self::Blob(text(name)),
            (CONTAINERD_CONTENT, [b"ingest", name, ..]) => Self::Ingest(text(name)),
            (CONTAINERD_CONTENT, [b"ingest"]) => other("where blobs are while they are being written"),
            (CONTAINERD_CONTENT, _) => other("the content store: blobs of all images"),
            (CONTAINERD_METADATA, [file, ..]) if *file == metadata::FILE.as_bytes() => {
                other("the database of names, blobs, snapshots and leases of all namespaces")
            }
            (CONTAINERD_METADATA, _) => other("where the database of all records is"),
            (plugin, inside) => match (plugin.strip_prefix(SNAPSHOTTER_PREFIX), inside) {
                (Some(snapshotter), [b"snapshots", number, below @ ..]) => Self::Snapshot {
                    snapshotter: snapshotter.to_owned(),
                    number: text(number),
                    below: below.iter().map(|name| text(name)).collect(),
                },
                (Some(_), [file, ..]) if *file == snapshots::FILE.as_bytes() => {
                    other("the snapshotter's database: which snapshot is in which directory")
                }
                (Some(_), _) => other("a snapshotter's: layers, and what containers have written"),
                (None, _) => other("a plugin's of containerd"),
            },
        })
    }

    /// What an id means in containerd's store: the digest of a blob or the beginning of one, or the number of a snapshot.
    pub(crate) fn of_id(catalog: &Catalog, text: &str) -> Option<Self> {
        let known = catalog.in_containerd()?;
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(number) = text.parse::<u64>()
            && known.store.snapshots.by_name.values().any(|snapshot| snapshot.id == number)
        {
            let snapshotter = crate::driver::OVERLAYFS.to_owned();
            return Some(Self::Snapshot { snapshotter, number: text.to_owned(), below: PathBuf::new() });
        }
        let mut blobs = known.store.metadata.blobs.keys().filter(|blob| !hex.is_empty() && blob.hex().starts_with(hex));
        match (blobs.next(), blobs.next()) {
            (Some(only), None) => Some(Self::Blob(only.hex())),
            _ => None,
        }
    }
}

impl View {
    /// Whose something of containerd's store is. The view must have been read with who needs what.
    #[must_use]
    pub fn owner_in_containerd(&self, item: &StoredItem) -> StoredOwner {
        let daemon = self.root.containerd().and_then(|containerd| containerd.store.clone()).unwrap_or_default();
        let asked =
            Asked { view: self, known: self.catalog.in_containerd(), records: self.containerd_records.as_ref() };
        match item {
            StoredItem::Blob(name) => asked.blob(name, &daemon),
            StoredItem::Snapshot { snapshotter, number, below } => {
                let mut owner = asked.snapshot(snapshotter, number);
                let plugin = format!("{SNAPSHOTTER_PREFIX}{snapshotter}");
                owner.place = Some(daemon.join(plugin).join("snapshots").join(number));
                owner.below = Some(below.clone()).filter(|below| !below.as_os_str().is_empty());
                owner
            }
            StoredItem::Ingest(name) => {
                let why = "containerd forgets it when its lease ends, a day after it was begun at the latest";
                let mut owner = owner("a blob that was not written to its end", StoredVerdict::Unknown);
                owner.why.push(why.into());
                owner.place = Some(daemon.join(CONTAINERD_CONTENT).join("ingest").join(name));
                owner
            }
            StoredItem::Other(below, what) => {
                let mut owner = owner(*what, StoredVerdict::Service);
                owner.place = Some(daemon.join(below));
                owner
            }
        }
    }
}

fn owner(what: impl Into<String>, verdict: StoredVerdict) -> StoredOwner {
    StoredOwner {
        what: what.into(),
        place: None,
        below: None,
        verdict,
        why: Vec::new(),
        layer: None,
        images: Vec::new(),
        containers: Vec::new(),
    }
}

struct Asked<'v> {
    view: &'v View,
    known: Option<&'v InContainerd>,
    records: Option<&'v Records>,
}

impl Asked<'_> {
    fn blob(&self, name: &str, daemon: &Path) -> StoredOwner {
        let mut found = match Digest::from_hex(name) {
            Ok(digest) => {
                let node = Node::Blob(digest.to_string());
                let mut found = self.judged("a blob", &node, |records| records.blobs.contains_key(&digest.to_string()));
                self.need(digest, &mut found);
                found
            }
            Err(_) => {
                let mut found = owner("a file among the blobs whose name is no digest", StoredVerdict::Orphan);
                found.why.push("containerd never deletes it, and no blob while it is there".into());
                found
            }
        };
        found.place = Some(daemon.join(CONTAINERD_CONTENT).join("blobs/sha256").join(name));
        found
    }

    /// Says which images need a blob, and what for.
    fn need(&self, digest: Digest, found: &mut StoredOwner) {
        for stored in self.known.iter().flat_map(|known| known.images.images.values()) {
            if let Some((what, layer)) = role(stored, digest) {
                what.clone_into(&mut found.what);
                found.layer = found.layer.or(layer.filter(|chain| self.view.catalog.layer(*chain).is_some()));
                found.images.push(ImageId(stored.target.digest));
            }
        }
    }

    fn snapshot(&self, snapshotter: &str, number: &str) -> StoredOwner {
        let orphan = |what: &str, why: &str| {
            let mut found = owner(what, StoredVerdict::Orphan);
            found.why.push(why.to_owned());
            found
        };
        if snapshotter != crate::driver::OVERLAYFS {
            let mut found = owner(format!("a snapshot of the snapshotter {snapshotter}"), StoredVerdict::Unknown);
            found.why.push("dockerd uses it only if its storage driver is set to it".into());
            return found;
        }
        let Some(known) = self.known else { return owner("a snapshot's directory", StoredVerdict::Unknown) };
        let mut names = known.store.snapshots.by_name.iter();
        let Some((name, _)) = names.find(|(_, snapshot)| snapshot.id.to_string() == number) else {
            let why = "the snapshotter's database does not have it: it is deleted when containerd next clears up";
            return orphan("a directory without a snapshot", why);
        };
        let mut parts = name.splitn(3, '/');
        let (namespace, _, key) = (parts.next(), parts.next(), parts.next().unwrap_or(name));
        let node = Node::Snapshot(snapshotter.to_owned(), key.to_owned());
        let of = (snapshotter.to_owned(), key.to_owned());
        let mut found = self.judged("a snapshot", &node, |records| {
            records.snapshots.get(&of).is_some_and(|record| record.name == *name)
        });
        self.name_snapshot(key, namespace, &mut found);
        found
    }

    /// Says what a snapshot is for, by its key.
    fn name_snapshot(&self, key: &str, namespace: Option<&str>, found: &mut StoredOwner) {
        let (container, init) = key.strip_suffix("-init").map_or((key, false), |container| (container, true));
        let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Ok(chain) = key.parse().map(ChainId) {
            found.what = "a layer's directory".into();
            found.layer = Some(chain);
        } else if is_hex(container) && init {
            found.what = "a container's init layer".into();
            found.containers.push((container.to_owned(), "its init layer"));
        } else if is_hex(container) {
            found.what = "a container's writable layer".into();
            found.containers.push((container.to_owned(), "its writable layer"));
        } else if key.starts_with("extract-") {
            found.what = "a layer that was not unpacked to its end".into();
        } else if namespace == Some(super::NAMESPACE) && is_of_build_cache(key) {
            found.what = "build cache".into();
        } else {
            found.what = format!("the snapshot {key}");
        }
    }

    /// Finds out in which namespaces something has a record, and whether it is kept there.
    fn judged(
        &self,
        what: &str,
        node: &Node,
        is_recorded: impl Fn(&super::gc::NamespaceRecords) -> bool,
    ) -> StoredOwner {
        let mut found = owner(what, StoredVerdict::Unknown);
        let Some(Records(namespaces)) = self.records else {
            found.why.push("the database of records is missing or cannot be read".into());
            return found;
        };
        let now = Timestamp::now();
        found.verdict = StoredVerdict::Orphan;
        let recorded: Vec<_> = namespaces.iter().filter(|(_, records)| is_recorded(records)).collect();
        for (namespace, records) in &recorded {
            let kept = Kept::of(records, now);
            let path = kept.path(node);
            if path.is_empty() {
                found.why.push(format!("in the namespace {namespace} nothing that is kept leads to it"));
            } else {
                found.verdict = StoredVerdict::Live;
            }
            // That a name is a name says nothing new about what it leads to.
            let steps = path.iter().filter(|why| path.len() == 1 || **why != &KeptBy::Name);
            for (at, why) in steps.enumerate() {
                let why = why.to_string();
                let why = if at == 0 { why } else { why.replacen(" it", " that", 1) };
                found.why.push(if *namespace == super::NAMESPACE || at > 0 {
                    why
                } else {
                    format!("{why} ({namespace})")
                });
            }
        }
        if recorded.is_empty() {
            found.why.push(
                "no namespace has a record of it: containerd deletes it when it next deletes something of its kind"
                    .into(),
            );
        } else if found.verdict == StoredVerdict::Orphan {
            found.why.push("containerd deletes it when it next clears up".into());
        }
        found
    }
}

/// Whether a snapshot's key is one that BuildKit makes: 25 letters and digits, and for what it only reads `-view` after them.
pub(crate) fn is_of_build_cache(key: &str) -> bool {
    let key = key.strip_suffix("-view").unwrap_or(key);
    key.len() == 25 && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// What a blob is to an image, and the layer that a layer's blob holds.
fn role(stored: &StoredImage, blob: Digest) -> Option<(&'static str, Option<ChainId>)> {
    for part in stored.distinct_manifests() {
        if part.digest == blob {
            return Some((if part.is_attestation() { "an attestation's manifest" } else { "a manifest" }, None));
        }
        let Some(manifest) = &part.manifest else { continue };
        if manifest.config.blob() == Some(blob) {
            return Some((if part.is_attestation() { "an attestation's config" } else { "an image's config" }, None));
        }
        if let Some(at) = manifest.layers.iter().position(|layer| Descriptor::blob(layer) == Some(blob)) {
            let what = if part.is_attestation() { "an attestation" } else { "a layer as it was pulled" };
            return Some((what, part.chain.get(at).copied()));
        }
    }
    (stored.target.digest == blob).then_some(("an index of platforms", None))
}
