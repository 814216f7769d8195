//! What a view says of a store, sound and damaged: who needs what, what may go, and what is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/big_store.rs"]
mod big_store;

use std::fs;
use std::path::{Path, PathBuf};

use snapshot::catalog::{ContainerDamage, Damage};
use snapshot::gc::{GcPlan, Label, Policy, Reason};
use snapshot::ids::CacheId;
use snapshot::liveness::removal_plan::{Certainty, RemovalRequest};
use snapshot::liveness::{Claim, Doubt, EntryVerdict, StillAlive};
use snapshot::view::{Needs, View};

/// A store of three images and two containers.
struct Store(tempfile::TempDir);

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        big_store::write(&dir.path().join("root"), 3, 2).unwrap();
        Self(dir)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn view(&self) -> View {
        View::read(&self.root(), None, Needs::ALL).unwrap()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    /// A directory of the driver that nobody claims.
    fn orphan(&self) -> CacheId {
        fs::create_dir_all(self.at("overlay2/nobodys/diff")).unwrap();
        "nobodys".parse().unwrap()
    }

    /// The path of the entry of a directory that is the first by name.
    fn first(&self, directory: &str) -> String {
        let mut names: Vec<String> = fs::read_dir(self.at(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        format!("{directory}/{}", names[0])
    }
}

fn codes(view: &View) -> Vec<&'static str> {
    view.damage().iter().map(Damage::code).collect()
}

fn read(path: &Path) -> CacheId {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn a_sound_store_has_no_damage_and_no_doubts() {
    let store = Store::new();
    let view = store.view();
    assert_eq!(codes(&view), [""; 0]);
    assert_eq!(view.liveness().doubts(), []);
    assert_eq!(
        (view.catalog().images().len(), view.catalog().layers().len(), view.catalog().containers().len()),
        (3, 60, 2)
    );
    assert_eq!(view.liveness().orphans().count(), 0);
    let orphan = store.orphan();
    let view = store.view();
    assert_eq!(view.liveness().orphans().collect::<Vec<_>>(), ["nobodys"]);
    assert_eq!(view.liveness().dead(&orphan).unwrap().get(), &orphan);
    assert!(matches!(view.liveness().verdict("l"), Some(EntryVerdict::Service)));
}

/// Whatever is in use is never given out as dead, whoever asks.
#[test]
fn what_is_claimed_is_not_dead() {
    let store = Store::new();
    let mounts = "image/overlay2/layerdb/mounts";
    let (mount, layer) = (store.first(mounts), store.first("image/overlay2/layerdb/sha256"));
    let (writable, content) = (read(&store.at(&mount).join("mount-id")), read(&store.at(&layer).join("cache-id")));
    let view = store.view();
    for (id, wanted) in [(&writable, "Mount"), (&content, "Layer")] {
        let Err(StillAlive::Claimed(claims)) = view.liveness().dead(id) else { panic!("{id}") };
        assert!(format!("{:?}", claims[0]).starts_with(wanted), "{claims:?}");
    }
    // A directory that is claimed and not there is not dead either: it may be about to come.
    fs::remove_dir_all(store.at("overlay2").join(writable.as_str())).unwrap();
    assert!(matches!(store.view().liveness().dead(&writable), Err(StillAlive::Claimed(_))));
    // Once everything that claims a directory is gone, the directory is dead.
    let image = *view.catalog().images().keys().next().unwrap();
    let name = mount.rsplit('/').next().unwrap().parse().unwrap();
    let request = RemovalRequest { images: Vec::new(), containers: vec![name], certainty: Certainty::Proven };
    let removal = view.holders().if_removed(&request);
    assert!(view.liveness().dead_after(&writable, &removal).is_ok());
    let bare = view.catalog().images().keys().find(|id| view.catalog().containers_of(**id).next().is_none()).unwrap();
    let request = RemovalRequest { images: vec![*bare], ..RemovalRequest::default() };
    let removal = view.holders().if_removed(&request);
    assert_eq!(removal.layers.len(), 20, "{removal:?}");
    for layer in &removal.layers {
        assert!(view.liveness().dead_after(&view.catalog().layer(*layer).unwrap().cache_id, &removal).is_ok());
    }
    let _ = image;
}

/// A record that cannot be read makes everything that it might name unknown.
#[test]
fn doubts_keep_everything() {
    let mount = |store: &Store, file: &str, content: &[u8]| {
        let entry = store.first("image/overlay2/layerdb/mounts");
        fs::write(store.at(&entry).join(file), content).unwrap();
    };
    type Case<'c> = (&'c str, &'c dyn Fn(&Store), bool, bool);
    let cases: [Case<'_>; 7] = [
        ("mount-id", &|store| mount(store, "mount-id", b""), true, false),
        ("too long", &|store| mount(store, "mount-id", &[b'a'; 5000]), true, false),
        ("init-id", &|store| mount(store, "init-id", &[b'a'; 5000]), true, false),
        ("parent", &|store| mount(store, "parent", b"sha256:no"), false, true),
        ("build cache", &|store| store.write("buildkit/snapshots.db", "no database"), true, true),
        ("image", &|store| store.write(&store.first("image/overlay2/imagedb/content/sha256"), "{}"), false, true),
        (
            "layer",
            &|store| fs::remove_file(store.at(&store.first("image/overlay2/layerdb/sha256")).join("cache-id")).unwrap(),
            true,
            true,
        ),
    ];
    for (name, damage, directories, layers) in cases {
        let store = Store::new();
        let orphan = store.orphan();
        damage(&store);
        let view = store.view();
        let verdict = view.liveness().verdict("nobodys").unwrap();
        assert_eq!(matches!(verdict, EntryVerdict::Unknown(_)), directories, "{name}: {verdict:?}");
        // A mount whose layer is not known makes no orphan doubtful in a report, but `dead`, which deleting needs, says
        // no.
        assert_eq!(view.liveness().dead(&orphan).is_err(), directories || name == "parent", "{name}");
        let images: Vec<_> = view.catalog().images().keys().copied().collect();
        let remove = |certainty| {
            let containers = view.catalog().containers().iter().map(|container| container.id.clone()).collect();
            view.holders().if_removed(&RemovalRequest { images: images.clone(), containers, certainty })
        };
        let proven = remove(Certainty::Proven);
        assert_eq!(proven.layers.is_empty(), layers, "{name}: {:?}", proven.doubts);
        assert_eq!(proven.doubts.is_empty(), !layers, "{name}: {:?}", proven.doubts);
        assert!(!codes(&view).is_empty(), "{name}: nothing is said");
    }
}

/// One odd entry never stops a command.
#[test]
fn odd_entries_are_findings() {
    let store = Store::new();
    store.write("image/overlay2/layerdb/mounts/stray", "x");
    fs::create_dir_all(store.at("image/overlay2/layerdb/mounts/special/mount-id")).unwrap();
    let view = store.view();
    assert_eq!(codes(&view), ["mount-file-unreadable", "mount-not-a-directory"]);
    assert_eq!(view.catalog().live_containers().count(), 2);
}

/// Image mounts of Docker 28: the name of the mount and its id may have slashes.
#[test]
fn image_mounts_are_owned() {
    let store = Store::new();
    store.orphan();
    store.write("image/overlay2/layerdb/mounts/c-src=busybox-dst=/mnt/x/mount-id", "nobodys");
    let view = store.view();
    let Some(EntryVerdict::Live(claims)) = view.liveness().verdict("nobodys") else { panic!() };
    assert_eq!(claims, [Claim::Mount("c-src=busybox-dst=/mnt/x".parse().unwrap())]);
    fs::create_dir_all(store.at("overlay2/other-dst=/mnt/x/diff")).unwrap();
    store.write("image/overlay2/layerdb/mounts/d/mount-id", "other-dst=/mnt/x");
    assert!(matches!(store.view().liveness().verdict("other-dst="), Some(EntryVerdict::Live(_))));
}

/// If it is not known how a driver keeps layers, nothing in its home is an orphan.
#[test]
fn unknown_drivers_have_no_orphans() {
    for (driver, home) in
        [("aufs", "aufs/diff"), ("zfs", "zfs/graph"), ("btrfs", "btrfs/subvolumes"), ("overlay", "overlay")]
    {
        let store = Store::new();
        fs::rename(store.at("image/overlay2"), store.at(&format!("image/{driver}"))).unwrap();
        fs::remove_dir_all(store.at("overlay2")).unwrap();
        fs::create_dir_all(store.at(home).join("anything")).unwrap();
        let view = store.view();
        assert_eq!(view.liveness().orphans().count(), 0, "{driver}");
        assert!(matches!(view.liveness().verdict("anything"), Some(EntryVerdict::Unknown(_))), "{driver}");
        assert!(view.liveness().doubts().iter().any(|doubt| matches!(doubt, Doubt::Driver { .. })), "{driver}");
    }
}

/// How devicemapper keeps layers is known, so a device that nobody claims is an orphan.
#[test]
fn devicemapper_has_orphans() {
    let store = Store::new();
    fs::rename(store.at("image/overlay2"), store.at("image/devicemapper")).unwrap();
    fs::remove_dir_all(store.at("overlay2")).unwrap();
    for name in ["anything", "base", "transaction-metadata", "deviceset-metadata"] {
        store.write(&format!("devicemapper/metadata/{name}"), "{}");
    }
    let view = store.view();
    assert_eq!(view.liveness().orphans().count(), 1);
    assert!(!view.liveness().doubts().iter().any(|doubt| matches!(doubt, Doubt::Driver { .. })));
}

/// dockerd drops these containers, so they are not listed, and the reason is said.
#[test]
fn containers_that_dockerd_drops() {
    type Case<'c> = (&'c str, &'c dyn Fn(&Store));
    let top = |store: &Store| {
        let mount = store.first("image/overlay2/layerdb/mounts");
        let parent = fs::read_to_string(store.at(&mount).join("parent")).unwrap();
        store.at("image/overlay2/layerdb/sha256").join(parent.strip_prefix("sha256:").unwrap())
    };
    let container = |store: &Store| store.first("containers");
    let cases: [Case<'_>; 6] = [
        ("container-layer-damaged", &|store| fs::write(top(store).join("size"), "").unwrap()),
        ("container-layer-missing", &|store| fs::remove_dir_all(top(store)).unwrap()),
        ("container-hostconfig-invalid", &|store| store.write(&format!("{}/hostconfig.json", container(store)), "")),
        ("container-config-missing", &|store| {
            fs::remove_file(store.at(&container(store)).join("config.v2.json")).unwrap();
        }),
        ("container-config-invalid", &|store| store.write(&format!("{}/config.v2.json", container(store)), "{")),
        ("container-mount-missing", &|store| {
            fs::remove_dir_all(store.at(&store.first("image/overlay2/layerdb/mounts"))).unwrap();
        }),
    ];
    for (code, damage) in cases {
        let store = Store::new();
        damage(&store);
        let view = store.view();
        assert_eq!(view.catalog().live_containers().count(), 1, "{code}");
        let dropped = view.catalog().containers().iter().find_map(|one| one.damage.as_ref()).map(ContainerDamage::code);
        assert_eq!(dropped, Some(code));
        assert!(codes(&view).contains(&code), "{code}: {:?}", codes(&view));
    }
}

/// One image is found alone just as it is found among all others, and only that image is read.
#[test]
fn one_image_is_read_alone() {
    let store = Store::new();
    let whole = store.view();
    let ids: Vec<String> = whole.catalog().images().keys().map(ToString::to_string).collect();
    let nothing = ["no".to_owned(), "0".repeat(64), format!("sha256:{}", "0".repeat(64))];
    let texts = [ids[0].clone(), ids[1].replace("sha256:", ""), ids[2][7..19].to_owned(), "big/app1:1".into()];
    for text in texts.iter().chain(&nothing) {
        let only = [text.clone()];
        let view = View::read(&store.root(), None, Needs::only(&only)).unwrap();
        assert_eq!(view.catalog().resolve(text), whole.catalog().resolve(text), "{text}");
        assert_eq!(view.damage(), [], "{text}");
        let read = (view.catalog().images().len(), view.catalog().layers().len());
        assert_eq!(read, if nothing.contains(text) { (0, 0) } else { (1, 20) }, "{text}");
        for (id, image) in view.catalog().images() {
            assert_eq!(view.catalog().image_size(image), whole.catalog().image_size(&whole.catalog().images()[id]));
        }
    }
}

/// [`Needs::REMOVAL`] keeps only parts of the configs, and a plan made from these is the same as one from whole
/// configs.
#[test]
fn a_view_for_removals_keeps_labels_and_no_more() {
    let store = Store::new();
    let all = store.view();
    let few = View::read(&store.root(), None, Needs::REMOVAL).unwrap();
    for (id, image) in all.catalog().images() {
        let kept = &few.catalog().images()[id];
        assert!(!image.history().is_empty() && kept.history().is_empty());
        assert_eq!(kept.labels(), image.labels());
        assert_eq!((kept.created, &kept.chain, &kept.last_tagged), (image.created, &image.chain, &image.last_tagged));
        assert!(kept.command_of_layer(0).is_none() && image.command_of_layer(0).is_some());
    }
    let mut policy = Policy::new(jiff::Timestamp::now());
    policy.named = true;
    // The last image is the one without a container.
    for (label, goes) in [("number=1", true), ("number=2", false)] {
        policy.keep_labels = vec![Label::new(label)];
        let plan = GcPlan::make(&few, &policy).unwrap();
        assert_eq!(plan.items().iter().any(|item| item.reason == Reason::Unused), goes);
        assert_eq!(plan, GcPlan::make(&all, &policy).unwrap());
    }
}
