//! What every driver must do, asked of each of them: its methods, and its guards dropped and committed.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layerfs::delete::Deletion;
use layerfs::{Source, Unpacking};
use snapshot::dir::{CreatedDirectories, Dir};
use snapshot::driver::{
    Access, AnyDriver, Driver, EntryKind, HomeLayout, LayerDamage, LayerOrder, LayerPart, Prepared,
};
use snapshot::ids::CacheId;
use snapshot::liveness::Dead;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

/// The drivers that this machine can have: only the virtual machine has the device mapper.
fn drivers() -> &'static [&'static str] {
    if testkit::vm::inside() { &["devicemapper"] } else { &["overlay2", "vfs"] }
}

/// The same suite for the driver that needs the kernel's device mapper.
#[test]
fn vm_devicemapper_does_what_every_driver_must() {
    let Some(_turn) = testkit::vm::vm() else { return };
    let machine = testkit::vm::Machine::new(1024, 8, &["mkfs.xfs", "mkfs.ext4"]);
    machine.run_tests("root_", false, 14, Duration::from_secs(1200));
    if testkit::full_sweep() {
        let machine = testkit::vm::Machine::new(1024, 8, &["mkfs.ext4"]);
        machine.run_tests("at_length_", true, 1, Duration::from_secs(1200));
    }
}

/// A store of one driver in a directory of its own.
struct Store {
    temp: tempfile::TempDir,
    driver: AnyDriver,
    name: &'static str,
}

impl Store {
    fn new(name: &'static str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut created = CreatedDirectories::default();
        let driver = AnyDriver::create(&Dir::open(temp.path()).unwrap(), name, &mut created).unwrap();
        created.keep();
        assert_eq!(driver.name(), name);
        if name == "devicemapper" {
            // The first layer makes the pool, which stays.
            driver.prepare(&CacheId::random(), None).unwrap().discard().unwrap();
        }
        Self { temp, driver, name }
    }

    fn home(&self) -> PathBuf {
        let below: PathBuf = HomeLayout::of_driver(self.name).unwrap().home.iter().collect();
        self.temp.path().join(below)
    }

    /// Everything below the root, by path.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut left = vec![self.temp.path().to_path_buf()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    left.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found.sort();
        found
    }

    /// Asks whether nobody needs a layer: only what is dead can be removed.
    fn dead(&self, id: &CacheId) -> Dead<CacheId> {
        let root = DataRoot::find(self.temp.path(), Some(self.name)).unwrap();
        View::read_root(root, Needs::LIVENESS).unwrap().liveness().dead(id).unwrap()
    }

    /// Begins a layer and fills it with the members of a tar.
    fn fill(&self, id: &CacheId, parent: Option<&CacheId>, members: &[&str]) -> Prepared {
        let prepared = self.driver.prepare(id, parent).unwrap();
        let tar = testkit::tarfile::tar_of_names(members);
        let unpacking = Unpacking::begin(Source::Slice(&tar), prepared.target().unwrap(), None).unwrap();
        unpacking.run(1).unwrap();
        prepared
    }

    /// A base layer, one upon it and one upon that; the topmost first.
    fn chain(&self) -> [CacheId; 3] {
        let [base, middle, top] = [CacheId::random(), CacheId::random(), CacheId::random()];
        self.fill(&base, None, &["d/", "d/old", "f", "keep"]).commit(None).unwrap();
        self.fill(&middle, Some(&base), &[".wh.f", "d/new"]).commit(Some(&base)).unwrap();
        self.fill(&top, Some(&middle), &["d/.wh..wh..opq", "d/only"]).commit(Some(&middle)).unwrap();
        [top, middle, base]
    }
}

/// Paths below a directory, with the content of files.
fn tree(root: &Path) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.symlink_metadata().unwrap().is_dir() {
                left.push(path);
                found.insert(name, None);
            } else {
                found.insert(name, Some(std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

fn names(root: &Path) -> Vec<String> {
    tree(root).into_keys().collect()
}

fn each(test: impl Fn(Store)) {
    if testkit::is_root() {
        drivers().iter().for_each(|name| test(Store::new(name)));
    }
}

#[test]
fn root_a_mounted_layer_shows_all_below_it() {
    each(|store| {
        let [top, middle, base] = store.chain();
        for (id, expected) in [
            (&top, &["d", "d/only", "keep"][..]),
            (&middle, &["d", "d/new", "d/old", "keep"]),
            (&base, &["d", "d/old", "f", "keep"]),
        ] {
            let before = store.files();
            let mount = store.driver.mount(id, Access::ReadOnly).unwrap();
            assert_eq!(names(mount.path()), expected, "{}", store.name);
            assert_eq!(tree(mount.path())["keep"].as_deref(), Some("keep"));
            assert!(mount.dir().stat("keep").unwrap().is_some());
            mount.unmount().unwrap();
            assert_eq!(store.files(), before, "{}: a mount leaves nothing", store.name);
        }
    });
}

/// A layer upon 99 others, each of which has a file.
fn check_deep_chain(store: &Store) {
    const DEPTH: usize = 100;
    let files: Vec<String> = (0..DEPTH).map(|at| format!("file{at:02}")).collect();
    let mut below: Option<CacheId> = None;
    for file in &files {
        let id = CacheId::random();
        store.fill(&id, below.as_ref(), &[file]).commit(below.as_ref()).unwrap();
        below = Some(id);
    }
    let mount = store.driver.mount(&below.unwrap(), Access::ReadOnly).unwrap();
    assert_eq!(names(mount.path()), files, "{}", store.name);
    mount.unmount().unwrap();
}

/// With the device mapper that takes its time.
#[test]
fn root_a_deep_chain_shows_all_its_layers() {
    if !testkit::vm::inside() {
        each(|store| check_deep_chain(&store));
    }
}

#[test]
#[ignore = "runs in the virtual machine, in a full sweep"]
fn at_length_a_deep_chain_shows_all_its_layers() {
    each(|store| check_deep_chain(&store));
}

#[test]
fn root_layers_are_made_read_and_removed_at_once() {
    each(|store| {
        let base = CacheId::random();
        store.fill(&base, None, &["keep"]).commit(None).unwrap();
        let layers: Vec<(CacheId, String)> = (0..4).map(|at| (CacheId::random(), format!("own{at}"))).collect();
        let store = &store;
        std::thread::scope(|scope| {
            for (id, own) in &layers {
                let base = &base;
                scope.spawn(move || {
                    store.fill(id, Some(base), &[own]).commit(Some(base)).unwrap();
                    let mount = store.driver.mount(id, Access::ReadOnly).unwrap();
                    assert_eq!(names(mount.path()), ["keep", own.as_str()], "{}", store.name);
                    mount.unmount().unwrap();
                });
            }
        });
        let dead: Vec<Dead<CacheId>> = layers.iter().map(|(id, _)| store.dead(id)).collect();
        std::thread::scope(|scope| {
            for id in &dead {
                scope.spawn(move || store.driver.remove(id, &Deletion::default()).unwrap());
            }
        });
        // Nothing of them is left, and the layer below is as it was.
        assert!(layers.iter().all(|(id, _)| store.driver.content(id).is_err()), "{}", store.name);
        let mount = store.driver.mount(&base, Access::ReadOnly).unwrap();
        assert_eq!(names(mount.path()), ["keep"], "{}", store.name);
        mount.unmount().unwrap();
    });
}

#[test]
fn root_what_is_written_to_a_mount_is_in_the_layer() {
    each(|store| {
        let [top, ..] = store.chain();
        let writable = CacheId::random();
        store.driver.prepare(&writable, Some(&top)).unwrap().commit(Some(&top)).unwrap();
        let mount = store.driver.mount(&writable, Access::ReadWrite).unwrap();
        std::fs::write(mount.path().join("written"), "x").unwrap();
        drop(mount);
        assert!(store.driver.content(&writable).unwrap().stat("written").unwrap().is_some());
        let mount = store.driver.mount(&writable, Access::ReadOnly).unwrap();
        assert_eq!(names(mount.path()), ["d", "d/only", "keep", "written"]);
        drop(mount);
        let mount = store.driver.mount(&top, Access::ReadOnly).unwrap();
        assert!(!mount.path().join("written").exists(), "{}: the layer below is as it was", store.name);
    });
}

#[test]
fn root_a_layer_that_others_stand_on_is_not_written_to() {
    each(|store| {
        let [_, middle, _] = store.chain();
        if store.driver.order() == LayerOrder::Independent {
            let error = store.driver.mount(&middle, Access::ReadWrite).unwrap_err();
            assert!(error.to_string().contains("other layers stand on it"), "{error}");
        }
    });
}

#[test]
fn root_a_dropped_layer_leaves_nothing() {
    each(|store| {
        let [top, ..] = store.chain();
        let before = store.files();
        let id = CacheId::random();
        drop(store.fill(&id, Some(&top), &["d/", "d/x"]));
        assert_eq!(store.files(), before, "{}", store.name);
        store.fill(&id, Some(&top), &["d/", "d/x"]).discard().unwrap();
        assert_eq!(store.files(), before, "{}", store.name);
        // A commit that fails takes the layer back as well: its parent has gone meanwhile.
        let gone = CacheId::random();
        let prepared = match store.driver.order() {
            LayerOrder::Independent => store.fill(&id, None, &["x"]),
            LayerOrder::ParentFirst => store.fill(&id, Some(&top), &["x"]),
        };
        prepared.commit(Some(&gone)).unwrap_err();
        assert_eq!(store.files(), before, "{}", store.name);
    });
}

#[test]
fn root_a_layer_that_is_there_is_not_begun_again() {
    each(|store| {
        let [top, middle, _] = store.chain();
        let before = store.files();
        store.driver.prepare(&top, Some(&middle)).unwrap_err();
        assert_eq!(store.files(), before, "{}: the layer of this name stays", store.name);
    });
}

#[test]
fn root_what_a_crash_left_is_removed_by_its_name() {
    each(|store| {
        let [top, ..] = store.chain();
        let before = store.files();
        let id = CacheId::random();
        let target = {
            let prepared = store.fill(&id, Some(&top), &["d/", "d/x"]);
            let target = prepared.target().unwrap();
            // As if the process had been killed.
            std::mem::forget(prepared);
            target
        };
        rustix::fs::mkdirat(&target.scratch, "stash", 0o700.into()).unwrap();
        drop(target);
        assert_ne!(store.files(), before);
        store.driver.remove(&store.dead(&id), &Deletion::default()).unwrap();
        assert_eq!(store.files(), before, "{}", store.name);
        store.driver.remove(&store.dead(&id), &Deletion::default()).unwrap();
    });
}

#[test]
fn root_removed_layers_leave_nothing() {
    each(|store| {
        let before = store.files();
        for id in store.chain() {
            store.driver.remove(&store.dead(&id), &Deletion::default()).unwrap();
        }
        assert_eq!(store.files(), before, "{}", store.name);
    });
}

#[test]
fn root_a_mounted_layer_is_not_removed() {
    each(|store| {
        let [top, ..] = store.chain();
        let writable = CacheId::random();
        store.driver.prepare(&writable, Some(&top)).unwrap().commit(Some(&top)).unwrap();
        let dead = store.dead(&writable);
        let mount = store.driver.mount(&writable, Access::ReadWrite).unwrap();
        // A driver that does not mount shows the directory itself. In that case mount something on it, as others might.
        let other = rustix::fs::statat(rustix::fs::CWD, mount.path(), rustix::fs::AtFlags::empty()).unwrap();
        let home = rustix::fs::statat(rustix::fs::CWD, store.home(), rustix::fs::AtFlags::empty()).unwrap();
        let bound = (other.st_dev == home.st_dev).then(|| {
            rustix::mount::mount_bind(mount.path(), mount.path()).unwrap();
            mount.path().to_path_buf()
        });
        let before = store.files();
        let error = store.driver.remove(&dead, &Deletion::default()).unwrap_err();
        assert!(error.to_string().contains("mounted"), "{error}");
        assert_eq!(store.files(), before, "{}: nothing of it is gone", store.name);
        if let Some(path) = bound {
            rustix::mount::unmount(path, rustix::mount::UnmountFlags::empty()).unwrap();
        }
        drop(mount);
        store.driver.remove(&dead, &Deletion::default()).unwrap();
    });
}

/// devicemapper's mount points are not in its layers, so that nothing else removes them.
#[test]
fn root_a_mount_point_that_a_killed_process_left_is_used_again() {
    each(|store| {
        if store.name != "devicemapper" {
            return;
        }
        let [top, ..] = store.chain();
        let writable = CacheId::random();
        store.driver.prepare(&writable, Some(&top)).unwrap().commit(Some(&top)).unwrap();
        let point = store.temp.path().join("devicemapper/mnt").join(writable.as_str());
        std::fs::create_dir_all(&point).unwrap();
        let mount = store.driver.mount(&writable, Access::ReadWrite).unwrap();
        std::fs::write(mount.path().join("written"), "x").unwrap();
        let error = store.driver.mount(&writable, Access::ReadWrite).unwrap_err();
        assert!(error.to_string().contains("something is mounted there"), "{error}");
        assert!(mount.path().join("written").exists());
        drop(mount);
        assert!(!point.exists());
        // What somebody has put there is not removed.
        std::fs::create_dir(&point).unwrap();
        std::fs::write(point.join("kept"), "x").unwrap();
        store.driver.mount(&writable, Access::ReadWrite).unwrap_err();
        assert!(point.join("kept").exists());
    });
}

#[test]
fn root_entries_tell_what_stands_on_what() {
    each(|store| {
        let [top, middle, base] = store.chain();
        std::fs::create_dir(store.home().join("backingFsBlockDev")).unwrap();
        let held = store.driver.entries().unwrap();
        let layers: Vec<&str> =
            held.entries.iter().filter(|(_, entry)| entry.kind == EntryKind::Layer).map(|(name, _)| &**name).collect();
        let mut expected = [top.as_str(), middle.as_str(), base.as_str()];
        expected.sort_unstable();
        assert_eq!(layers, expected);
        assert_eq!(held.entries["backingFsBlockDev"].kind, EntryKind::Service);
        assert!(held.entries[top.as_str()].parents.is_ok());
        let parents = held.names_below(top.as_str());
        match store.driver.order() {
            LayerOrder::Independent => assert_eq!(parents, [middle.as_str(), base.as_str()]),
            // Copies stand on nothing.
            LayerOrder::ParentFirst => assert!(parents.is_empty()),
        }
    });
}

#[test]
fn root_a_layer_without_its_directory_is_damaged() {
    each(|store| {
        let [top, middle, base] = store.chain();
        let chain = [middle.clone(), base.clone()];
        assert_eq!(store.driver.damage(&top, &chain).unwrap(), None, "{}", store.name);
        assert_eq!(store.driver.writable_damage(&top, &chain).unwrap(), None, "{}", store.name);
        let mut path = store.home().join(top.as_str());
        path.extend(HomeLayout::of_driver(store.name).unwrap().content);
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.unwrap();
        let expected = Some(LayerDamage::Missing { path, part: LayerPart::Content });
        assert_eq!(store.driver.damage(&top, &chain).unwrap(), expected);
        assert_eq!(store.driver.writable_damage(&top, &chain).unwrap(), expected);
        store.driver.content(&top).unwrap_err();
    });
}

#[test]
fn root_room_metadata_and_sync() {
    each(|store| {
        let [top, ..] = store.chain();
        let room = store.driver.room().unwrap();
        assert!(room.block >= 512 && room.bytes > 0 && room.inodes > 0);
        store.driver.sync().unwrap();
        assert_eq!(store.driver.home().path(), store.home());
        let metadata = store.driver.metadata(&top).unwrap();
        match store.name {
            "vfs" => assert_eq!(metadata, None),
            name => {
                let keys: Vec<&str> = metadata.as_ref().unwrap().iter().map(|(key, _)| *key).collect();
                let overlay2 = &["LowerDir", "MergedDir", "UpperDir", "WorkDir"][..];
                let devicemapper = &["DeviceId", "DeviceName", "DeviceSize"];
                assert_eq!(keys, if name == "overlay2" { overlay2 } else { devicemapper });
            }
        }
    });
}

#[test]
fn root_layers_that_wait_hold_no_descriptors() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    each(|store| {
        let before = open();
        // In the virtual machine each layer gets a device of its own, which takes longer.
        let many = if testkit::vm::inside() { 40 } else { 200 };
        let begun: Vec<Prepared> = (0..many).map(|_| store.driver.prepare(&CacheId::random(), None).unwrap()).collect();
        // Other tests run meanwhile.
        assert!(open() < before + many / 2, "{}: {} descriptors", store.name, open() - before);
        drop(begun);
    });
}
