//! Transactions on small stores, and the states that crashes leave, made by hand.

mod kept;
mod recovery;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerfs::{ChainId, DiffId, Digest};

use super::*;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::liveness::{Claim, Holder, LayerStays};
use crate::reference::Reference;
use crate::root::DataRoot;

const OPTIONS: WriteOptions = WriteOptions { driver: None, sync: false };

/// A data-root that belongs to one test.
struct Store {
    temp: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn begin(&self) -> Transaction {
        Transaction::begin(&self.path(), OPTIONS).unwrap()
    }

    /// Adds an image with these layers, which are named by their contents. Layers that do not exist yet are added as
    /// well.
    fn add(&self, tag: Option<&str>, layers: &[&str]) -> ImageId {
        let mut transaction = self.begin();
        let mut parent = None;
        for (chain_id, diff_id) in chain(layers).into_iter().zip(diff_ids(layers)) {
            if transaction.root().layers.get(chain_id).unwrap().is_none() {
                let slot = transaction.stage().unwrap();
                drop(transaction.prepare(slot, None).unwrap());
                transaction.add(Edit::AddLayer { slot, chain_id, diff_id, parent, size: 1 });
            }
            parent = Some(chain_id);
        }
        let (id, config) = image(layers);
        transaction.add(Edit::AddImage { config, parent: None });
        if let Some(tag) = tag {
            transaction.add(Edit::SetTag { reference: name(tag), image: id });
        }
        transaction.commit().unwrap();
        id
    }

    /// Adds layers that no image has, as a killed import leaves them.
    fn add_layers(&self, layers: &[&str]) -> Vec<ChainId> {
        let id = self.add(None, layers);
        std::fs::remove_file(self.at(&format!("image/overlay2/imagedb/content/sha256/{}", id.0.hex()))).unwrap();
        chain(layers)
    }

    fn cache_id(&self, chain_id: ChainId) -> String {
        std::fs::read_to_string(self.at(&format!("image/overlay2/layerdb/sha256/{}/cache-id", chain_id.0.hex())))
            .unwrap()
    }

    fn has_layer(&self, chain_id: ChainId) -> bool {
        self.at(&format!("image/overlay2/layerdb/sha256/{}", chain_id.0.hex())).exists()
    }

    fn has_image(&self, id: ImageId) -> bool {
        self.at(&format!("image/overlay2/imagedb/content/sha256/{}", id.0.hex())).exists()
    }

    fn image_of(&self, tag: &str) -> Option<ImageId> {
        DataRoot::find(&self.path(), None).unwrap().references().unwrap().get(&name(tag))
    }

    /// Every path below the root, without the paths that the test itself has made.
    fn listing(&self) -> BTreeSet<PathBuf> {
        let (mut found, mut left) = (BTreeSet::new(), vec![self.path()]);
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    left.push(entry.path());
                }
                found.insert(entry.path());
            }
        }
        found
    }

    fn leftovers(&self) -> usize {
        std::fs::read_dir(self.at("image/overlay2/layerdb/tmp")).unwrap().count()
    }
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn diff_ids(layers: &[&str]) -> Vec<DiffId> {
    layers.iter().map(|layer| DiffId(Digest::hash(layer.as_bytes()))).collect()
}

fn chain(layers: &[&str]) -> Vec<ChainId> {
    ChainId::chain(&diff_ids(layers))
}

fn image(layers: &[&str]) -> (ImageId, Arc<[u8]>) {
    let diff_ids: Vec<String> = diff_ids(layers).iter().map(ToString::to_string).collect();
    let config =
        serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let bytes: Arc<[u8]> = serde_json::to_vec(&config).unwrap().into();
    (ImageId(Digest::hash(&bytes)), bytes)
}

/// A record as the version before this one wrote it.
fn old_intent(store: &Store, chains: &[ChainId]) {
    store.write("image/overlay2/layerdb/tmp/layerfs-intent-0123456789abcdef0123", serde_json::to_vec(chains).unwrap());
}

#[test]
fn an_image_goes_with_its_name_and_its_layers() {
    let store = Store::new();
    let kept = store.add(Some("kept:1"), &["base", "one"]);
    let before = store.listing();
    let id = store.add(Some("app:1"), &["base", "two", "three"]);
    let mut transaction = store.begin();
    transaction.add(Edit::Untag { reference: name("app:1") });
    transaction.add(Edit::RemoveImage { image: id });
    for chain_id in chain(&["base", "two", "three"]).into_iter().rev() {
        transaction.add(Edit::RemoveLayer { chain_id });
    }
    let summary = transaction.commit().unwrap();
    let layers = chain(&["base", "two", "three"]);
    assert_eq!(summary.removed_layers, [layers[2], layers[1]]);
    assert_eq!(summary.kept.len(), 1);
    assert!(
        summary.kept[0].chain_id == layers[0] && summary.kept[0].reason == LayerStays::Held(Holder::Image(kept)),
        "{summary:?}"
    );
    // Only the mark that something once stood on the base is left.
    assert_eq!(store.listing(), before);
    assert_eq!((store.image_of("kept:1"), store.image_of("app:1")), (Some(kept), None));
}

#[test]
fn a_transaction_that_is_dropped_changes_nothing() {
    let store = Store::new();
    let id = store.add(Some("app:1"), &["base"]);
    let before = store.listing();
    let references = std::fs::read(store.at("image/overlay2/repositories.json")).unwrap();
    let mut transaction = store.begin();
    let slot = transaction.stage().unwrap();
    drop(transaction.prepare(slot, None).unwrap());
    transaction.add(Edit::Untag { reference: name("app:1") });
    transaction.add(Edit::RemoveImage { image: id });
    drop(transaction);
    assert_eq!(store.listing(), before);
    assert_eq!(std::fs::read(store.at("image/overlay2/repositories.json")).unwrap(), references);
}

/// The last step before the commit point fails: the old names are put back byte for byte.
#[test]
fn names_come_back_when_a_later_step_fails() {
    let store = Store::new();
    let old = store.add(Some("app:1"), &["base"]);
    // Another program may have written the file in this form.
    let file = store.at("image/overlay2/repositories.json");
    let references = format!("{{\n \"Repositories\": {{\"app\": {{\"app:1\": \"{old}\"}}}}\n}}\n");
    std::fs::write(&file, &references).unwrap();
    let mut transaction = store.begin();
    let (id, config) = image(&[]);
    transaction.add(Edit::AddImage { config, parent: None });
    transaction.add(Edit::SetTag { reference: name("app:1"), image: id });
    // Metadata to be written makes the transaction rename its record after the names were set. The record is removed
    // just before that.
    transaction.add(Edit::SetLastUpdated { image: id, time: "2026-01-01T00:00:00Z".into() });
    let watched = store.at("image/overlay2/layerdb/tmp");
    transaction.before_commit_point = Some(transaction::Interference(Box::new(move || {
        let records = std::fs::read_dir(&watched).unwrap().map(|entry| entry.unwrap().path());
        records.for_each(|record| std::fs::remove_file(record).unwrap());
    })));
    assert!(matches!(transaction.commit(), Err(StoreError::Io { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), references);
    assert!(store.has_image(old) && !store.has_image(id));
}

/// A layer that is being registered keeps no descriptor open: most users may have only 1,024.
#[test]
fn staged_layers_are_not_kept_open() {
    let store = Store::new();
    let mut transaction = store.begin();
    let open = || std::fs::read_dir(Path::new("/proc/self/fd")).unwrap().count();
    let before = open();
    for _ in 0..200 {
        let slot = transaction.stage().unwrap();
        drop(transaction.prepare(slot, None).unwrap());
    }
    // Other tests of this process open files at the same time, but not that many.
    assert!(open() < before + 150, "{} before, {} now", before, open());
    drop(transaction);
    assert_eq!(std::fs::read_dir(store.temp.path()).unwrap().count(), 0);
}
