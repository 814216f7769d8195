//! Checks containerd's store: its records, the files of its blobs, and the directories of its snapshots.
//!
//! A blob or a snapshot is named in the database of records; the snapshotter has a database of its own; the files are a third
//! thing. Each can be there without the others. What docker then does is measured with Docker 28.5.2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use layerfs::{ChainId, Digest};

use super::CheckReport;
use super::contents::{ReadSoFar, Reading};
use super::finding::{Affected, BlobUse, Cause, Finding, Place, Severity};
use super::findings::Findings;
use crate::catalog::{Damage, InContainerd};
use crate::containerd::content::BlobFault;
use crate::containerd::documents::Descriptor;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::{ContainerId, ImageId};

pub(super) fn check(findings: &mut Findings<'_>, known: &InContainerd) -> Result<(), StoreError> {
    // One of them is enough for docker to list no image. So that many cost no more than they are, the images are with the first.
    let mut affected = Affected::new(findings.catalog().images.keys().copied(), []);
    for damage in findings.catalog().damaged_names() {
        let hides_all = matches!(&damage, Damage::NameRecord { cause, .. } if cause.hides_all());
        let hidden = if hides_all { std::mem::take(&mut affected) } else { Affected::default() };
        findings.add(Severity::Damage, Place::References, Cause::Damage(damage), hidden, None);
    }
    for database in &known.store.missing {
        let place = Place::File(database.into());
        let cause = Cause::Damage(Damage::DatabaseMissing { database: database.clone() });
        findings.add(Severity::Damage, place, cause, Affected::default(), None);
    }
    let users = Users::of(known);
    for (blob, fault) in blob_faults(known) {
        let finding = users.finding(blob, fault);
        findings.add(finding.severity, finding.place, finding.cause, finding.affected, None);
    }
    check_snapshots(findings, known);
    if known.store.missing.is_empty() {
        add_unrecorded(findings, known)?;
    }
    Ok(())
}

/// Adds findings for containers without a snapshot that they write to, which dockerd does not list. Where a whole database
/// is lost, they are only added to those whom that affects.
pub(super) fn check_containers(findings: &mut Findings<'_>) {
    let catalog = findings.catalog();
    let missing = catalog.in_containerd().map_or(&[][..], |known| &known.store.missing);
    let lost = match missing.last() {
        Some(database) => Some(Place::File(database.into())),
        None => catalog.damaged_references.is_some().then_some(Place::References),
    };
    // One that both databases know has another fault.
    let known =
        |id: &ContainerId| catalog.in_containerd().and_then(|known| known.store.snapshot(id.as_str())).is_some();
    let without = catalog.live_containers().filter(|container| container.mount.is_none() && !known(&container.id));
    for container in without {
        let affected = Affected::container(&container.id);
        if !lost.as_ref().is_some_and(|lost| findings.join(lost, &affected)) {
            let place = Place::Container(container.id.clone());
            findings.add(Severity::Damage, place, Cause::SnapshotRecordMissing, affected, None);
        }
    }
}

/// Which images have a blob, and what for.
struct Users(BTreeMap<Digest, (BlobUse, BTreeSet<ImageId>)>);

impl Users {
    fn of(known: &InContainerd) -> Self {
        let mut users = Self(BTreeMap::new());
        for stored in known.images.images.values() {
            let image = ImageId(stored.target.digest);
            users.add(stored.fault.as_ref().map(|(blob, _)| *blob), BlobUse::Listing, image);
            users.add(Some(stored.target.digest), BlobUse::Document, image);
            for part in stored.distinct_manifests() {
                users.add(Some(part.digest), BlobUse::Document, image);
                let Some(manifest) = &part.manifest else { continue };
                users.add(manifest.config.blob(), BlobUse::Config, image);
                for layer in &manifest.layers {
                    users.add(layer.blob(), BlobUse::Layer, image);
                }
            }
        }
        users
    }

    fn add(&mut self, blob: Option<Digest>, used_as: BlobUse, image: ImageId) {
        if let Some(blob) = blob {
            let (use_so_far, images) = self.0.entry(blob).or_insert_with(|| (used_as, BTreeSet::new()));
            if used_as == BlobUse::Listing {
                *use_so_far = used_as;
            }
            images.insert(image);
        }
    }

    fn finding(&self, blob: Digest, fault: BlobFault) -> Finding {
        let (used_as, images) = self.0.get(&blob).cloned().unwrap_or((BlobUse::Other, BTreeSet::new()));
        let severity = match fault {
            BlobFault::Unreadable { .. } => Severity::Unknown,
            _ => Severity::Damage,
        };
        let affected = Affected { images: images.into_iter().collect(), containers: Vec::new() };
        Finding { severity, place: Place::Blob(blob), cause: Cause::Blob { used_as, fault }, affected, repair: None }
    }
}

/// What is wrong with blobs, where no more of them is read than what lists images.
fn blob_faults(known: &InContainerd) -> BTreeMap<Digest, BlobFault> {
    let mut faults = BTreeMap::new();
    let blobs = &known.store.metadata.blobs;
    for stored in known.images.images.values() {
        faults.extend(stored.fault.clone());
        faults.extend(stored.config_faults.clone());
        // Of a platform that docker does not show, anything may be absent: such images can be loaded. An image that is for one
        // platform alone is nothing without its config.
        let lone = || stored.manifests.iter().find(|part| part.digest == stored.target.digest);
        let needing = stored.shown().or_else(lone).and_then(|part| part.manifest.as_deref()).into_iter();
        let named = needing.flat_map(|manifest| std::iter::once(&manifest.config).chain(&manifest.layers));
        let needed = named.filter_map(Descriptor::blob).chain([stored.target.digest]);
        let needed = needed.filter(|blob| !blobs.contains_key(blob));
        faults.extend(needed.map(|blob| (blob, BlobFault::NoRecord)));
    }
    for (blob, size) in blobs {
        if !faults.contains_key(blob) {
            faults.extend(known.store.content.fault(*blob, *size).map(|fault| (*blob, fault)));
        }
    }
    faults
}

/// Checks what the records say of snapshots against what the snapshotter knows. Whether the directories of layers and of
/// containers are there is checked where those are.
fn check_snapshots(findings: &mut Findings<'_>, known: &InContainerd) {
    let records = &known.store.metadata.snapshots;
    // Where the whole database is missing, that is the finding.
    let known_to_snapshotter =
        |name: &String| !known.store.missing.is_empty() || known.store.snapshots.by_name.contains_key(name);
    let own = &known.store.snapshots.by_name;
    let looping = on_themselves(records.iter().map(|(key, record)| (key, record.parent.as_ref())));
    let own_looping = on_themselves(own.iter().map(|(name, snapshot)| (name, snapshot.parent.as_ref())));
    for (key, record) in records {
        let (place, affected) = owner(findings, key);
        let in_own = || own.get(&record.name)?.parent.as_ref().filter(|_| own_looping.contains(&record.name));
        if let Some(below) = record.parent.as_ref().filter(|_| looping.contains(key)).or_else(in_own) {
            let cause = Cause::SnapshotLoop { below: below.clone() };
            findings.add(Severity::Damage, place.clone(), cause, affected.clone(), None);
        }
        let below = record.parent.as_ref().filter(|below| !records.contains_key(*below));
        if let Some(below) = below {
            let cause = Cause::SnapshotBelowMissing { below: below.clone() };
            findings.add(Severity::Damage, place.clone(), cause, affected.clone(), None);
        }
        if !known_to_snapshotter(&record.name) {
            findings.add(Severity::Damage, place, Cause::SnapshotRecordMissing, affected, None);
        }
    }
}

/// Those that stand on themselves, of records with what each stands on.
fn on_themselves<'k>(records: impl Iterator<Item = (&'k String, Option<&'k String>)>) -> BTreeSet<&'k String> {
    let below: BTreeMap<&String, &String> = records.filter_map(|(key, parent)| Some((key, parent?))).collect();
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    for first in below.keys() {
        // Each is walked through once: what was seen on an earlier way has told whether it is in a loop.
        let (mut way, mut next) = (Vec::new(), *first);
        while seen.insert(next) {
            way.push(next);
            match below.get(next) {
                Some(parent) => next = parent,
                None => break,
            }
        }
        if let Some(begin) = way.iter().position(|key| *key == next)
            && below.contains_key(next)
        {
            found.extend(way.drain(begin..));
        }
    }
    found
}

/// Whose a snapshot is, by its key.
pub(super) fn owner(findings: &Findings<'_>, key: &str) -> (Place, Affected) {
    if let Ok(layer) = key.parse().map(ChainId) {
        return (Place::Layer(layer), findings.standing.on_layer(layer));
    }
    let container = key.strip_suffix("-init").unwrap_or(key);
    match container.parse::<ContainerId>() {
        Ok(id) if findings.catalog().container(&id).is_some() => {
            let affected = Affected::container(&id);
            (Place::Container(id), affected)
        }
        _ => (Place::BuildCache, Affected::default()),
    }
}

/// Adds notes for files and directories that no record names. containerd deletes them at some time, except for those whose
/// names it does not understand.
fn add_unrecorded(findings: &mut Findings<'_>, known: &InContainerd) -> Result<(), StoreError> {
    let (store, metadata) = (&known.store, &known.store.metadata);
    for name in store.content.names()? {
        let place = || Place::File(store.content.path(&name));
        match Digest::from_hex(&name) {
            Err(_) => findings.add(Severity::Damage, place(), Cause::BlobName, Affected::default(), None),
            Ok(blob) if metadata.blobs.contains_key(&blob) || metadata.other_blobs.contains(&blob) => {}
            Ok(_) => findings.add(Severity::Note, place(), Cause::Unrecorded, Affected::default(), None),
        }
    }
    let Some(home) = snapshots_of(findings)? else { return Ok(()) };
    let named: BTreeSet<&String> = metadata.snapshots.values().map(|record| &record.name).collect();
    let is_named = |name: &String| named.contains(name) || metadata.other_snapshots.contains(name);
    let recorded = store.snapshots.by_name.iter().filter(|(name, _)| is_named(name));
    let recorded: BTreeSet<String> = recorded.map(|(_, snapshot)| snapshot.id.to_string()).collect();
    for name in home.names()?.into_iter().filter(|name| !recorded.contains(name)) {
        let place = Place::File(home.join(&name));
        findings.add(Severity::Note, place, Cause::Unrecorded, Affected::default(), None);
    }
    Ok(())
}

fn snapshots_of(findings: &Findings<'_>) -> Result<Option<Dir>, StoreError> {
    let root = &findings.view.root;
    let Some(containerd) = root.containerd() else { return Ok(None) };
    containerd.snapshots(&root.dir)?.map_or(Ok(None), |snapshotter| snapshotter.sub("snapshots"))
}

/// Reads each blob that has a record, or each blob of these images, and adds to the report those whose content does not have
/// their digest. Returns `None` if it was interrupted.
pub(super) fn contents(
    known: &InContainerd,
    report: &mut CheckReport,
    images: Option<&[ImageId]>,
    reading: &Reading<'_>,
) -> Option<ReadSoFar> {
    let users = Users::of(known);
    let told: BTreeSet<&Place> = report.findings.iter().map(|finding| &finding.place).collect();
    let is_wanted = |blob: &Digest| {
        let of_images = |wanted: &[ImageId]| {
            users.0.get(blob).is_some_and(|(_, images)| wanted.iter().any(|image| images.contains(image)))
        };
        images.is_none_or(of_images) && !told.contains(&Place::Blob(*blob))
    };
    let mut blobs: Vec<(&Digest, &u64)> =
        known.store.metadata.blobs.iter().filter(|(blob, _)| is_wanted(blob)).collect();
    // The largest first, so that no thread begins a large one when the others are almost done.
    blobs.sort_by_key(|(blob, size)| (std::cmp::Reverse(**size), **blob));
    let bytes = AtomicU64::new(0);
    let go_on = |length| {
        bytes.fetch_add(length, Ordering::Relaxed);
        !reading.interrupted.load(Ordering::Relaxed)
    };
    let found = layerfs::pool::map(blobs.len(), reading.threads.get(), |at| {
        go_on(0).then(|| known.store.content.verify(*blobs[at].0, go_on))
    });
    for ((blob, _), fault) in blobs.iter().zip(found) {
        report.findings.extend(fault.flatten().map(|fault| users.finding(**blob, fault)));
    }
    report.sort();
    let read = ReadSoFar { layers: 0, blobs: blobs.len() as u64, bytes: bytes.load(Ordering::Relaxed) };
    go_on(0).then_some(read)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::num::NonZeroUsize;
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;

    use serde_json::{Value, json};

    use crate::check::{ReadObserver, Reading, contents, records};
    use crate::containerd::Store;
    use crate::containerd::content::Content;
    use crate::containerd::metadata::{ImageRecord, Metadata, SnapshotRecord, Target};
    use crate::containerd::snapshots::{Snapshot, Snapshots};
    use crate::dir::Dir;
    use crate::schema::layer::LayerRecord;
    use crate::view::{Needs, View};
    use layerfs::Digest;

    struct Silent;

    impl ReadObserver for Silent {
        fn begin(&self, _: &LayerRecord) {}
        fn advance(&self, _: &LayerRecord, _: u64) {}
        fn end(&self, _: &LayerRecord) {}
    }

    struct Made {
        blobs: PathBuf,
        metadata: Metadata,
        snapshots: Snapshots,
    }

    impl Made {
        fn descriptor(content: &str) -> Value {
            json!({"mediaType": "x", "digest": Digest::hash(content.as_bytes()).to_string(), "size": content.len()})
        }

        /// A blob whose file has `found` for its content.
        fn blob(&mut self, content: &str, found: &str) -> Value {
            let digest = Digest::hash(content.as_bytes());
            fs::write(self.blobs.join(digest.hex()), found).unwrap();
            self.metadata.blobs.insert(digest, content.len() as u64);
            Self::descriptor(content)
        }

        fn name(&mut self, name: &str, manifest: &str) {
            let media_type = "application/vnd.oci.image.manifest.v1+json".into();
            let digest = Digest::hash(manifest.as_bytes());
            let target = Some(Target { digest, media_type, size: manifest.len() as u64 });
            self.metadata.images.insert(name.into(), ImageRecord { target, ..ImageRecord::default() });
        }

        fn snapshot(&mut self, key: &str, parent: Option<&str>, id: Option<u64>) {
            let record = SnapshotRecord { name: format!("moby/1/{key}"), parent: parent.map(Into::into) };
            if let Some(id) = id {
                self.snapshots.by_name.insert(record.name.clone(), Snapshot { id, ..Snapshot::default() });
            }
            self.metadata.snapshots.insert(key.into(), record);
        }
    }

    #[test]
    fn records_files_and_directories_are_held_against_each_other() {
        let temp = tempfile::tempdir().unwrap();
        let daemon = temp.path().join("containerd/daemon");
        let snapshots = daemon.join("io.containerd.snapshotter.v1.overlayfs/snapshots");
        for number in ["1/fs", "2/fs", "9/fs"] {
            fs::create_dir_all(snapshots.join(number)).unwrap();
        }
        let blobs = daemon.join("io.containerd.content.v1.content/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let container = temp.path().join("containers").join("c".repeat(64));
        fs::create_dir_all(&container).unwrap();
        let config = json!({"ID": "c".repeat(64), "Name": "/c", "Driver": "overlayfs", "OS": "linux", "State": {}, "Config": {}});
        fs::write(container.join("config.v2.json"), config.to_string()).unwrap();
        let mut view = View::read(temp.path(), None, Needs::ALL).unwrap();
        let missing = records(&view).unwrap().findings;
        assert_eq!(
            missing.iter().map(crate::check::Finding::code).collect::<Vec<_>>(),
            ["database-missing", "database-missing"]
        );
        assert_eq!(missing.iter().map(|one| one.affected.containers.len()).sum::<usize>(), 1);

        let mut made = Made { blobs, metadata: Metadata::default(), snapshots: Snapshots::default() };
        let config = r#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let cut_config = made.blob(config, "{");
        let layers = [made.blob("cut", "cu"), made.blob("other", "OTHER"), Made::descriptor("not recorded")];
        let sound = format!("{config} ");
        let sound = made.blob(&sound, &sound);
        for (name, config) in [("docker.io/library/a:1", cut_config), ("docker.io/library/b:1", sound)] {
            let manifest = json!({ "config": config, "layers": layers }).to_string();
            made.blob(&manifest, &manifest);
            made.name(name, &manifest);
        }
        made.name("docker.io/library/gone:1", "{}");
        made.blob("of nobody", "of nobody");
        fs::remove_file(made.blobs.join(Digest::hash(b"of nobody").hex())).unwrap();
        fs::write(made.blobs.join("junk"), "").unwrap();
        for content in ["of no record", "of another namespace"] {
            fs::write(made.blobs.join(Digest::hash(content.as_bytes()).hex()), content).unwrap();
        }
        made.metadata.other_blobs.insert(Digest::hash(b"of another namespace"));
        made.snapshot("known", None, Some(1));
        made.snapshot("above", Some("not there"), Some(2));
        made.snapshot("unknown", None, None);
        made.snapshot("itself", Some("itself"), Some(1));
        made.snapshot("one", Some("other"), Some(1));
        made.snapshot("other", Some("one"), Some(1));
        made.snapshot("on a loop", Some("one"), Some(1));
        let content = Content::new(Some(Dir::open(&made.blobs).unwrap()));
        let (metadata, snapshots) = (made.metadata, made.snapshots);
        view.catalog.fill_from(Store { metadata, content, snapshots, missing: Vec::new() });

        let mut report = records(&view).unwrap();
        let found = |report: &crate::check::CheckReport| {
            let lines = report.findings.iter().map(|one| {
                let (kind, name) = one.place.kind_and_name();
                let name = name.unwrap_or_default();
                let end = name.char_indices().nth_back(5).map_or(0, |(at, _)| at);
                let images = one.affected.images.len();
                format!("{} {} {kind} {} {images}", one.severity.code(), one.code(), &name[end..])
            });
            let mut lines: Vec<String> = lines.collect();
            lines.sort();
            lines
        };
        let end = |content: &str| Digest::hash(content.as_bytes()).hex()[58..].to_owned();
        let mut expected = vec![
            "damage blob-name-invalid file 6/junk 0".to_owned(),
            format!("damage blob-missing blob {} 0", end("of nobody")),
            format!("damage blob-other-length blob {} 1", end(config)),
            format!("damage blob-other-length blob {} 2", end("cut")),
            format!("damage blob-record-missing blob {} 1", end("{}")),
            format!("damage blob-record-missing blob {} 2", end("not recorded")),
            "damage snapshot-below-missing build_cache  0".to_owned(),
            "damage snapshot-loop build_cache  0".to_owned(),
            "damage snapshot-loop build_cache  0".to_owned(),
            "damage snapshot-loop build_cache  0".to_owned(),
            "damage snapshot-record-missing build_cache  0".to_owned(),
            "damage snapshot-record-missing container cccccc 0".to_owned(),
            format!("note file-unrecorded file {} 0", end("of no record")),
            "note file-unrecorded file hots/9 0".to_owned(),
        ];
        expected.sort();
        assert_eq!(found(&report), expected);

        let interrupted = AtomicBool::new(false);
        let reading = Reading { threads: NonZeroUsize::MIN, observer: &Silent, interrupted: &interrupted };
        let read = contents(&view, &mut report, None, &reading).unwrap().unwrap();
        expected.push(format!("damage blob-digest-differs blob {} 2", end("other")));
        expected.sort();
        assert_eq!(found(&report), expected);
        // What has a finding already is not read: "other", two manifests, one config.
        assert_eq!(read.blobs, 4);
        interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(contents(&view, &mut report, None, &reading).unwrap(), None);
    }
}
