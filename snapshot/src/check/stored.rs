//! Checks what decides about the future of containerd's store: the labels and leases without which its collector deletes, the
//! numbers that its databases give away next, and what the two databases say of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use layerfs::{ChainId, Digest};

use super::containerd::owner;
use super::finding::{Affected, Cause, Place, Severity};
use super::findings::Findings;
use crate::catalog::InContainerd;
use crate::containerd::documents::Descriptor;
use crate::containerd::gc::{Kept, NamespaceRecords, Node, Records};
use crate::containerd::snapshots::Kind;
use crate::containerd::{metadata, snapshots};
use crate::driver::OVERLAYFS;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::schema::container::CONTAINERS;
use crate::schema::paths::{CONTAINERD_CONTENT, CONTAINERD_METADATA};

/// What is wrong in containerd's store though every file may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredCause {
    /// A blob that an image needs is one that containerd deletes.
    BlobNotKept,
    /// A layer's snapshot is one that containerd deletes; docker unpacks the layer again.
    LayerNotKept,
    /// All names of an image have expired.
    NameExpired,
    /// No lease keeps what a container has written.
    LeaseMissing,
    /// The container of a lease is gone.
    LeaseWithoutContainer,
    /// A database will give a number away that is in use.
    NumberGivenAgain {
        /// The highest number in use.
        highest: u64,
        /// The number that the database has noted as the last.
        last: u64,
    },
    /// Two snapshots have one directory.
    DirectoryOfTwo {
        /// The other one, by its name in the snapshotter's database.
        other: String,
    },
    /// A record names the snapshot of another one.
    OfAnother {
        /// The name, as the snapshotter has it.
        name: String,
    },
    /// The snapshot of a layer was never finished.
    NotFinished,
    /// The snapshot that a container writes to is finished.
    NotWritable,
    /// The two databases have different snapshots below this one.
    ParentDiffers,
    /// The snapshotter does not list a snapshot among those that stand on the one below.
    ParentUnlisted,
    /// The database of records does not list a snapshot among those that stand on the one below.
    ChildUnlisted,
}

impl StoredCause {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::BlobNotKept => "blob-not-kept",
            Self::LayerNotKept => "snapshot-not-kept",
            Self::NameExpired => "name-expired",
            Self::LeaseMissing => "lease-missing",
            Self::LeaseWithoutContainer => "lease-without-container",
            Self::NumberGivenAgain { .. } => "number-given-again",
            Self::DirectoryOfTwo { .. } => "snapshot-directory-shared",
            Self::OfAnother { .. } => "snapshot-of-another",
            Self::NotFinished => "snapshot-not-finished",
            Self::NotWritable => "snapshot-not-writable",
            Self::ParentDiffers => "snapshot-parent-differs",
            Self::ParentUnlisted => "snapshot-parent-unlisted",
            Self::ChildUnlisted => "snapshot-child-unlisted",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            // Nothing is lost by these that is not in the blobs, or nothing yet.
            Self::LayerNotKept | Self::LeaseWithoutContainer | Self::ParentUnlisted | Self::ChildUnlisted => {
                Severity::Note
            }
            _ => Severity::Damage,
        }
    }
}

impl fmt::Display for StoredCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlobNotKept => f.write_str("no label that containerd follows leads to it: containerd deletes it when it starts"),
            Self::LayerNotKept => f.write_str(
                "no label leads to its snapshot: containerd deletes it when it starts, and docker unpacks it again for the next container",
            ),
            Self::NameExpired => f.write_str("its names have expired: containerd deletes it when it starts"),
            Self::LeaseMissing => {
                f.write_str("no lease keeps what it has written: dockerd does not list it, and containerd deletes it")
            }
            Self::LeaseWithoutContainer => f.write_str("no container has it, and what it lists is never deleted"),
            Self::NumberGivenAgain { highest, last } => {
                write!(f, "{highest} is in use, and {last} is noted as the last number: what gets one in use fails with \"file exists\"")
            }
            Self::DirectoryOfTwo { other } => write!(f, "the snapshot {other} has the same directory"),
            Self::OfAnother { name } => write!(f, "its record names the snapshot {name}, which is another's"),
            Self::NotFinished => f.write_str("its snapshot was never finished: no container can stand on it"),
            Self::NotWritable => f.write_str("the snapshot that it writes to is finished: it cannot be started"),
            Self::ParentDiffers => f.write_str("containerd's two databases have different snapshots below it"),
            Self::ParentUnlisted => {
                f.write_str("the snapshotter does not list it on the one below: that one can be removed before it")
            }
            Self::ChildUnlisted => {
                f.write_str("the records do not list it on the one below: that one can be removed before it")
            }
        }
    }
}

pub(super) fn check(findings: &mut Findings<'_>, known: &InContainerd, records: &Records) -> Result<(), StoreError> {
    let namespace = findings.view.root.containerd().map(|containerd| containerd.namespace.as_str());
    if let Some(own) = namespace.and_then(|namespace| records.0.get(namespace)) {
        let kept = Kept::of(own, Timestamp::now());
        check_images(findings, known, own, &kept);
        check_leases(findings, own, &kept)?;
        check_snapshots(findings, known, own);
    }
    add_unrecorded_ingests(findings, records)?;
    check_numbers(findings, known, records)
}

fn add(findings: &mut Findings<'_>, place: Place, cause: StoredCause, affected: Affected) {
    findings.add(cause.severity(), place, Cause::Stored(cause), affected, None);
}

/// What images need, by their documents, and containerd does not keep, by its labels. What follows from another is no finding.
fn check_images(findings: &mut Findings<'_>, known: &InContainerd, own: &NamespaceRecords, kept: &Kept) {
    let blobs = &known.store.metadata.blobs;
    let is_lost = |blob: &Digest| blobs.contains_key(blob) && !kept.has(&Node::Blob(blob.to_string()));
    for stored in known.images.images.values() {
        let target = stored.target.digest;
        let affected = || Affected { images: vec![ImageId(target)], containers: Vec::new() };
        if is_lost(&target) {
            add(findings, Place::Image(ImageId(target)), StoredCause::NameExpired, affected());
            continue;
        }
        for part in stored.distinct_manifests() {
            if is_lost(&part.digest) {
                add(findings, Place::Blob(part.digest), StoredCause::BlobNotKept, affected());
                continue;
            }
            let Some(manifest) = &part.manifest else { continue };
            let config = manifest.config.blob();
            let needed = config.into_iter().chain(manifest.layers.iter().filter_map(Descriptor::blob));
            for blob in needed.filter(is_lost) {
                add(findings, Place::Blob(blob), StoredCause::BlobNotKept, affected());
            }
            let Some(top) = part.chain.last().filter(|_| config.is_none_or(|config| !is_lost(&config))) else {
                continue;
            };
            let key = (OVERLAYFS.to_owned(), top.to_string());
            let is_recorded = own.snapshots.contains_key(&key);
            if is_recorded && !kept.has(&Node::Snapshot(key.0, key.1)) {
                add(findings, Place::Layer(*top), StoredCause::LayerNotKept, affected());
            }
        }
    }
}

/// Adds notes for blobs that were not written to their end, and that no record names.
fn add_unrecorded_ingests(findings: &mut Findings<'_>, records: &Records) -> Result<(), StoreError> {
    let root = &findings.view.root;
    let Some(daemon) = root.containerd().map_or(Ok(None), |containerd| containerd.daemon(&root.dir))? else {
        return Ok(());
    };
    let Some(ingests) = daemon.descend(&[CONTAINERD_CONTENT, "ingest"])? else { return Ok(()) };
    // The directory is named after the digest of the name (`plugins/content/local/store.go: ingestRoot`).
    let all = records.0.values().flat_map(|records| records.ingests.values());
    let written = all.filter_map(|ingest| Some(Digest::hash(ingest.written_as.as_ref()?.as_bytes()).hex()));
    let recorded: BTreeSet<String> = written.collect();
    for name in ingests.names()?.into_iter().filter(|name| !recorded.contains(name)) {
        let place = Place::File(ingests.join(&name));
        findings.add(Severity::Note, place, Cause::Unrecorded, Affected::default(), None);
    }
    Ok(())
}

/// Whether a text is a container's id, by its form.
pub(crate) fn is_container(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn check_leases(findings: &mut Findings<'_>, own: &NamespaceRecords, kept: &Kept) -> Result<(), StoreError> {
    let containers: Vec<_> = findings.catalog().live_containers().map(|container| container.id.clone()).collect();
    for id in containers {
        let key = (OVERLAYFS.to_owned(), id.to_string());
        if own.snapshots.contains_key(&key) && !kept.has(&Node::Snapshot(key.0, key.1)) {
            let affected = Affected::container(&id);
            add(findings, Place::Container(id), StoredCause::LeaseMissing, affected);
        }
    }
    let root = &findings.view.root.dir;
    for id in leases_without_container(root, own)? {
        add(findings, Place::Lease(id), StoredCause::LeaseWithoutContainer, Affected::default());
    }
    Ok(())
}

/// The leases that are named after containers of which there is no directory.
pub(crate) fn leases_without_container(
    root: &crate::dir::Dir,
    own: &NamespaceRecords,
) -> Result<Vec<String>, StoreError> {
    let mut left = Vec::new();
    for id in own.leases.keys().filter(|id| is_container(id)) {
        if root.descend(&[CONTAINERS, id.as_str()])?.is_none() {
            left.push(id.clone());
        }
    }
    Ok(left)
}

/// Whether a name in the snapshotter's database is that of the snapshot with this key: `<namespace>/<number>/<key>`.
fn is_own(name: &str, key: &str) -> bool {
    name.splitn(3, '/').nth(2) == Some(key)
}

fn check_snapshots(findings: &mut Findings<'_>, known: &InContainerd, own: &NamespaceRecords) {
    let store = &known.store.snapshots;
    for ((snapshotter, key), record) in &own.snapshots {
        let Some(snapshot) = store.by_name.get(&record.name).filter(|_| snapshotter == OVERLAYFS) else { continue };
        if !is_own(&record.name, key) {
            let (place, affected) = owner(findings, key);
            add(findings, place, StoredCause::OfAnother { name: record.name.clone() }, affected);
            continue;
        }
        let mut found = Vec::new();
        if key.parse().map(ChainId).is_ok() && snapshot.kind != Kind::Committed {
            found.push(StoredCause::NotFinished);
        }
        if is_container(key) && snapshot.kind != Kind::Active {
            found.push(StoredCause::NotWritable);
        }
        let below = record.parent.as_ref().map(|below| own.snapshots.get(&(snapshotter.clone(), below.clone())));
        let name_below = match (&below, &record.parent) {
            (Some(Some(below)), Some(key)) if is_own(&below.name, key) => Some(Some(&below.name)),
            // That it has no record, or that of another, is a finding of its own.
            (Some(_), _) => None,
            (None, _) => Some(None),
        };
        if name_below.is_some_and(|name| name != snapshot.parent.as_ref()) {
            found.push(StoredCause::ParentDiffers);
        } else if let Some(Some(below)) = below.filter(|_| name_below.is_some()) {
            if below.children.binary_search(key).is_err() {
                found.push(StoredCause::ChildUnlisted);
            }
            let id_below = store.by_name.get(&below.name).map(|below| below.id);
            // No snapshot has the number 0, so that it stands for none.
            let ids = id_below.map(|below| (below, snapshot.id)).filter(|(below, own)| *below > 0 && *own > 0);
            if ids.is_some_and(|ids| !store.listed.contains(&ids)) {
                found.push(StoredCause::ParentUnlisted);
            }
        }
        for cause in found {
            let (place, affected) = owner(findings, key);
            add(findings, place, cause, affected);
        }
    }
}

fn check_numbers(findings: &mut Findings<'_>, known: &InContainerd, records: &Records) -> Result<(), StoreError> {
    let root = &findings.view.root;
    let Some(containerd) = root.containerd() else { return Ok(()) };
    let store = &known.store.snapshots;
    if let Some(home) = containerd.snapshots(&root.dir)? {
        let mut names: BTreeMap<u64, &String> = BTreeMap::new();
        for (name, snapshot) in &store.by_name {
            if let Some(other) = names.insert(snapshot.id, name) {
                let place = Place::File(home.join("snapshots").join(snapshot.id.to_string()));
                let key = name.splitn(3, '/').last().unwrap_or(name);
                let (_, affected) = owner(findings, key);
                add(findings, place, StoredCause::DirectoryOfTwo { other: other.clone() }, affected);
            }
        }
        let highest = names.keys().next_back().copied().unwrap_or_default();
        if highest > store.sequence {
            let cause = StoredCause::NumberGivenAgain { highest, last: store.sequence };
            add(findings, Place::File(home.join(snapshots::FILE)), cause, Affected::default());
        }
    }
    let Some(daemon) = containerd.daemon(&root.dir)? else { return Ok(()) };
    for (namespace, records) in &records.0 {
        for (snapshotter, last) in &records.sequences {
            let of = records.snapshots.iter().filter(|((of, _), _)| of == snapshotter).map(|(_, record)| &record.name);
            let number = |name: &String| {
                let mut parts = name.splitn(3, '/');
                parts.next().filter(|first| first == namespace)?;
                parts.next()?.parse::<u64>().ok()
            };
            let highest = of.filter_map(number).max().unwrap_or_default();
            if highest > *last {
                let cause = StoredCause::NumberGivenAgain { highest, last: *last };
                let place = Place::File(daemon.join(CONTAINERD_METADATA).join(metadata::FILE));
                add(findings, place, cause, Affected::default());
            }
        }
    }
    Ok(())
}
