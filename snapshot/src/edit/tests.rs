//! Transactions on small stores, and the states that crashes leave, made by hand.

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

/// A stale or forged write-set names a container's writable layer, which an earlier version of recovery removed.
#[test]
fn a_write_set_removes_nothing_that_somebody_needs() {
    let store = Store::new();
    let layers = store.add_layers(&["base"]);
    let base = store.cache_id(layers[0]);
    let (writable, lost) = ("a".repeat(64), "b".repeat(64));
    for id in [&writable, &format!("{writable}-init"), &lost] {
        store.write(&format!("overlay2/{id}/diff/precious"), "");
    }
    let mount = "image/overlay2/layerdb/mounts/container";
    store.write(&format!("{mount}/mount-id"), &writable);
    store.write(&format!("{mount}/parent"), layers[0].to_string());
    let forge = |number: u32, id: &str| {
        store.write(&format!("image/overlay2/layerdb/tmp/write-set-layerfs-{number}/cache-id"), id);
    };
    for (number, id) in [&writable, &format!("{writable}-init"), &base].into_iter().enumerate() {
        forge(u32::try_from(number).unwrap(), id);
    }
    drop(store.begin());
    assert!(store.at(&format!("overlay2/{writable}/diff/precious")).exists());
    assert!(store.at(&format!("overlay2/{writable}-init/diff/precious")).exists());
    assert!(store.at(&format!("overlay2/{base}/diff")).exists());
    assert_eq!(store.leftovers(), 0);
    // Nobody claims this directory.
    forge(7, &lost);
    drop(store.begin());
    assert!(!store.at(&format!("overlay2/{lost}")).exists());
}

/// A record that cannot be read keeps everything that it might name.
#[test]
fn unreadable_records_keep_what_they_might_name() {
    type Spoil = fn(&Store);
    let spoils: [(&str, Spoil, bool); 7] = [
        ("parent", |s| s.write("image/overlay2/layerdb/mounts/c/mount-id", "a".repeat(64)), true),
        (
            "bad parent",
            |s| {
                s.write("image/overlay2/layerdb/mounts/c/mount-id", "a".repeat(64));
                s.write("image/overlay2/layerdb/mounts/c/parent", "sha256:short");
            },
            true,
        ),
        (
            "mount-id",
            |s| {
                s.write("image/overlay2/layerdb/mounts/c/parent", chain(&["other"])[0].to_string());
            },
            true,
        ),
        ("BuildKit", |s| s.write("buildkit/snapshots.db", "no database"), true),
        (
            "layer",
            |s| {
                let hex = chain(&["odd"])[0].0.hex();
                s.write(&format!("image/overlay2/layerdb/sha256/{hex}/size"), "1");
            },
            true,
        ),
        (
            "removing",
            |s| {
                let hex = chain(&["odd"])[0].0.hex();
                s.write(&format!("image/overlay2/layerdb/sha256/{hex}-{}-removing/cache-id", "c".repeat(64)), "../..");
            },
            true,
        ),
        ("image", |s| s.write(&format!("image/overlay2/imagedb/content/sha256/{}", "d".repeat(64)), "junk"), false),
    ];
    for (what, spoil, directories) in spoils {
        let store = Store::new();
        let layers = store.add_layers(&["base", "top"]);
        let orphan = "e".repeat(64);
        store.write(&format!("overlay2/{orphan}/diff/precious"), "");
        store.write("image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id", &orphan);
        old_intent(&store, &layers);
        spoil(&store);
        drop(store.begin());
        assert!(layers.iter().all(|layer| store.has_layer(*layer)), "{what}");
        assert_eq!(store.at(&format!("overlay2/{orphan}")).exists(), directories, "{what}");
    }
    // If every record can be read, everything is removed.
    let store = Store::new();
    let layers = store.add_layers(&["base", "top"]);
    old_intent(&store, &layers);
    drop(store.begin());
    assert!(!layers.iter().any(|layer| store.has_layer(*layer)));
    assert_eq!(store.leftovers(), 0);
}

/// Whatever a mount's `parent` is instead of a chain id, the mount may stand on any layer, so that none is removed.
#[test]
fn a_parent_that_names_no_layer_keeps_every_layer() {
    const PARENT: &str = "image/overlay2/layerdb/mounts/c/parent";
    type Make = Box<dyn Fn(&Path)>;
    let text = |text: &[u8]| -> Make {
        let text = text.to_vec();
        Box::new(move |path| std::fs::write(path, &text).unwrap())
    };
    let node = |make: fn(&Path)| -> Make { Box::new(make) };
    let real = chain(&["base"])[0].to_string();
    let kinds: Vec<(&str, Make)> = vec![
        ("empty", text(b"")),
        ("spaces", text(b" \n\t")),
        ("NULs, as a power cut leaves them", text(&[0; 71])),
        ("cut off", text(&real.as_bytes()[..40])),
        ("in capitals", text(real.to_uppercase().as_bytes())),
        ("without its algorithm", text(&real.as_bytes()[7..])),
        ("of another algorithm", text(real.replace("sha256", "sha512").as_bytes())),
        ("twice", text(format!("{real}\n{real}\n").as_bytes())),
        ("with a NUL behind", text(format!("{real}\0").as_bytes())),
        ("no UTF-8", text(b"sha256:\xff\xfe")),
        ("too long", text(&[b'a'; 1 << 16])),
        ("a directory", node(|path| std::fs::create_dir(path).unwrap())),
        ("a link to itself", node(|path| std::os::unix::fs::symlink("parent", path).unwrap())),
        ("a link to nowhere", node(|path| std::os::unix::fs::symlink("nowhere", path).unwrap())),
        ("a link to a chain id", node(|path| std::os::unix::fs::symlink("mount-id", path).unwrap())),
        (
            "a named pipe",
            node(|path| {
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }),
        ),
    ];
    for (what, make) in kinds {
        let store = Store::new();
        let layers = store.add_layers(&["base", "top"]);
        old_intent(&store, &layers);
        store.write("image/overlay2/layerdb/mounts/c/mount-id", "a".repeat(64));
        make(&store.at(PARENT));
        drop(store.begin());
        assert!(layers.iter().all(|layer| store.has_layer(*layer)), "{what}");
        // Once the mount is gone, nothing keeps them.
        std::fs::remove_dir_all(store.at("image/overlay2/layerdb/mounts/c")).unwrap();
        old_intent(&store, &layers);
        drop(store.begin());
        assert!(!layers.iter().any(|layer| store.has_layer(*layer)), "{what}: still there afterwards");
    }
}

/// The driver knows of needs that no record names: a directory on which a live one stands is needed, whatever the
/// layers' records say.
#[test]
fn what_live_directories_stand_on_stays() {
    let store = Store::new();
    let layers = store.add_layers(&["base", "top"]);
    let [base, top] = [0, 1].map(|at| store.cache_id(layers[at]));
    let link = std::fs::read_to_string(store.at(&format!("overlay2/{base}/link"))).unwrap();
    let writable = "a".repeat(64);
    store.write(&format!("overlay2/{writable}/lower"), format!("l/{link}"));
    store.write("image/overlay2/layerdb/mounts/container/mount-id", &writable);
    store.write("image/overlay2/layerdb/mounts/container/parent", chain(&["other"])[0].to_string());
    // The removal is asked for by an edit, by a record of intent, and by a write-set after the layer's record was lost.
    let mut transaction = store.begin();
    layers.iter().rev().for_each(|&chain_id| transaction.add(Edit::RemoveLayer { chain_id }));
    let summary = transaction.commit().unwrap();
    assert_eq!(summary.removed_layers, [layers[1]]);
    let reason = LayerStays::Directory(Claim::Below(writable.as_str().into()));
    assert_eq!(summary.kept, [KeptLayer { chain_id: layers[0], reason }]);
    assert!(!store.at(&format!("overlay2/{top}")).exists());
    old_intent(&store, &layers);
    drop(store.begin());
    assert!(store.has_layer(layers[0]));
    std::fs::remove_dir_all(store.at(&format!("image/overlay2/layerdb/sha256/{}", layers[0].0.hex()))).unwrap();
    store.write("image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id", &base);
    drop(store.begin());
    assert!(store.at(&format!("overlay2/{base}/diff")).exists());
    assert_eq!(store.leftovers(), 0);
    // Once the container is gone, everything may be removed.
    std::fs::remove_dir_all(store.at("image/overlay2/layerdb/mounts/container")).unwrap();
    store.write("image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id", &base);
    drop(store.begin());
    assert!(!store.at(&format!("overlay2/{base}")).exists());
}

/// A live directory that does not tell what it stands on may stand on any directory. A directory that is to be removed
/// itself keeps nothing.
#[test]
fn an_unreadable_lower_keeps_what_it_might_name() {
    for live in [true, false] {
        let store = Store::new();
        let layers = store.add_layers(&["base", "top"]);
        let (orphans, writable) = (["e".repeat(64), "f".repeat(64)], "a".repeat(64));
        for (number, id) in orphans.iter().enumerate() {
            // A power cut can leave the file empty if writes were not synced.
            store.write(&format!("overlay2/{id}/lower"), "");
            store.write(&format!("image/overlay2/layerdb/tmp/write-set-layerfs-{number}/cache-id"), id);
        }
        if live {
            store.write(&format!("overlay2/{writable}/lower"), "");
            store.write("image/overlay2/layerdb/mounts/container/mount-id", &writable);
            store.write("image/overlay2/layerdb/mounts/container/parent", chain(&["other"])[0].to_string());
        }
        old_intent(&store, &layers);
        drop(store.begin());
        for id in &orphans {
            assert_eq!(store.at(&format!("overlay2/{id}")).exists(), live, "{live}");
        }
        assert_eq!((store.has_layer(layers[0]), store.has_layer(layers[1])), (live, live));
    }
}

#[test]
fn what_is_the_drivers_own_is_not_removed() {
    let store = Store::new();
    drop(store.begin());
    store.write("overlay2/backingFsBlockDev", "");
    store.write("image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id", "backingFsBlockDev");
    store.write("overlay2/check-overlayfs-support1/lower1/file", "");
    store.write("image/overlay2/layerdb/tmp/write-set-layerfs-2/cache-id", "check-overlayfs-support1");
    drop(store.begin());
    assert!(store.at("overlay2/backingFsBlockDev").exists() && store.at("overlay2/check-overlayfs-support1").exists());
    assert_eq!(store.leftovers(), 0);
}

/// What the version before this one leaves when it is killed: write-sets, and an array of the layers that it registers.
#[test]
fn a_crash_of_the_version_before_is_recovered() {
    let store = Store::new();
    let used = store.add(Some("app:1"), &["base", "one"]);
    let before = store.listing();
    let layers = store.add_layers(&["base", "two", "three"]);
    let orphan = "f".repeat(64);
    store.write(&format!("overlay2/{orphan}/diff/file"), "");
    store.write(&format!("image/overlay2/layerdb/tmp/write-set-layerfs-{}/cache-id", &orphan[..20]), &orphan);
    std::fs::create_dir(store.at(&format!("image/overlay2/layerdb/tmp/write-set-layerfs-{}", "1".repeat(20)))).unwrap();
    store.write("image/overlay2/.tmp-layerfs-repositories.json-1-0", "{");
    // That version wrote all layers of the import into its record, even if it could not read so long a record itself.
    let many: Vec<ChainId> = (0..20_000_u32).map(|number| ChainId(Digest::hash(&number.to_le_bytes()))).collect();
    old_intent(&store, &[many.as_slice(), &layers].concat());
    drop(store.begin());
    assert_eq!(store.listing(), before);
    assert!(store.has_image(used) && store.has_layer(layers[0]));
}

#[test]
fn what_was_committed_is_finished() {
    let store = Store::new();
    let (gone, retagged) = (store.add(None, &["base", "one"]), store.add(Some("again:1"), &["base", "two"]));
    let layers = [chain(&["base", "one"])[1], chain(&["base", "two"])[1]];
    let lines = [
        "{\"layerfs-intent\":2}".to_owned(),
        format!("{{\"remove-image\":\"{gone}\"}}"),
        format!("{{\"remove-image\":\"{retagged}\"}}"),
        format!(
            "{{\"remove-layer\":{{\"chain\":\"{}\",\"removing\":\"{}-x-removing\"}}}}",
            layers[0],
            layers[0].0.hex()
        ),
        format!(
            "{{\"remove-layer\":{{\"chain\":\"{}\",\"removing\":\"{}-x-removing\"}}}}",
            layers[1],
            layers[1].0.hex()
        ),
    ];
    store.write("image/overlay2/layerdb/tmp/layerfs-commit-1", lines.map(|line| line + "\n").concat());
    drop(store.begin());
    assert!(!store.has_image(gone) && !store.has_layer(layers[0]));
    // Somebody has given the image a name since.
    assert!(store.has_image(retagged) && store.has_layer(layers[1]));
    assert_eq!(store.leftovers(), 0);
}

#[test]
fn names_tell_whether_a_change_was_made() {
    for made in [true, false] {
        let store = Store::new();
        let id = store.add(made.then_some("app:1"), &["base"]);
        let lines = [
            "{\"layerfs-intent\":2}".to_owned(),
            format!("{{\"add-layer\":\"{}\"}}", chain(&["base"])[0]),
            format!("{{\"add-image\":\"{id}\"}}"),
            format!("{{\"name\":{{\"name\":\"app:1\",\"image\":\"{id}\"}}}}"),
            format!("{{\"last-updated\":{{\"image\":\"{id}\",\"time\":\"2026-01-01T00:00:00Z\"}}}}"),
        ];
        store.write("image/overlay2/layerdb/tmp/layerfs-intent-1", lines.map(|line| line + "\n").concat());
        drop(store.begin());
        assert_eq!((store.has_image(id), store.has_layer(chain(&["base"])[0])), (made, made));
        let noted = store.at(&format!("image/overlay2/imagedb/metadata/sha256/{}/lastUpdated", id.0.hex()));
        assert_eq!(noted.exists(), made);
        assert_eq!(store.leftovers(), 0);
    }
}

#[test]
fn an_image_that_came_into_use_is_not_taken_back() {
    let (id, config) = image(&["base"]);
    type Use = fn(&Store, ImageId);
    let uses: [(&str, Use); 4] = [
        ("a container", |s, id| {
            s.write("containers/c/config.v2.json", format!("{{\"ID\":\"c\",\"Image\":\"{id}\"}}"));
        }),
        ("an unreadable container", |s, _| s.write("containers/c/config.v2.json", "{")),
        ("a child", |s, id| {
            let child = s.add(Some("child:1"), &["base", "top"]);
            s.write(&format!("image/overlay2/imagedb/metadata/sha256/{}/parent", child.0.hex()), id.to_string());
        }),
        ("a name", |s, id| {
            let mut transaction = s.begin();
            transaction.add(Edit::SetTag { reference: name("used:1"), image: id });
            transaction.commit().unwrap();
        }),
    ];
    for (what, make) in uses {
        let store = Store::new();
        assert_eq!(store.add(None, &["base"]), id);
        make(&store, id);
        let lines = ["{\"layerfs-intent\":2}".to_owned(), format!("{{\"add-image\":\"{id}\"}}")];
        store.write("image/overlay2/layerdb/tmp/layerfs-intent-1", lines.map(|line| line + "\n").concat());
        drop(store.begin());
        let path = store.at(&format!("image/overlay2/imagedb/content/sha256/{}", id.0.hex()));
        assert_eq!(std::fs::read(path).unwrap(), *config, "{what}");
    }
}

#[test]
fn a_record_that_cannot_be_read_stops_the_next_change_and_says_what_to_do() {
    let store = Store::new();
    store.add(Some("app:1"), &["base"]);
    store.write("image/overlay2/layerdb/tmp/layerfs-intent-1", "{\"layerfs-intent\":99}\n");
    let before = store.listing();
    let error = Transaction::begin(&store.path(), OPTIONS).unwrap_err().to_string();
    assert!(error.contains("layerfs-intent-1") && error.contains("99") && error.contains("remove the file"), "{error}");
    assert_eq!(store.listing(), before);
    std::fs::remove_file(store.at("image/overlay2/layerdb/tmp/layerfs-intent-1")).unwrap();
    drop(store.begin());
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
