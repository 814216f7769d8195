//! What somebody needs, or might need, stays, whatever a record of intent or a write-set names.

use super::*;

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
    assert_eq!(reason.to_string(), format!("its directory must stay: it is below {writable}"));
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

/// What stays is said with who needs it, or with what cannot be read.
#[test]
fn what_stays_says_why() {
    let store = Store::new();
    let layers = store.add_layers(&["base"]);
    let base = store.cache_id(layers[0]);
    let link = std::fs::read_to_string(store.at(&format!("overlay2/{base}/link"))).unwrap();
    let said = |edits: Vec<Edit>| {
        let mut transaction = store.begin();
        edits.into_iter().for_each(|edit| transaction.add(edit));
        let summary = transaction.commit().unwrap();
        let remains = summary.kept_remains.iter().map(|kept| kept.reason.to_string());
        remains.chain(summary.kept.iter().map(|kept| kept.reason.to_string())).collect::<Vec<_>>()
    };
    let clear = |remains| Edit::Clear { remains };
    let directory = |id: &str| clear(Remains::Directory(id.parse().unwrap()));
    std::fs::create_dir(store.at("overlay2/metacopy-check1")).unwrap();
    assert_eq!(
        said(vec![directory(&base), directory("metacopy-check1"), clear(Remains::Link(link))]),
        [
            format!("it is in use: it is the content of layer {}", layers[0]),
            "it belongs to the storage driver itself".to_owned(),
            "it is in use".to_owned(),
        ]
    );
    // A record that does not tell its directory may mean any.
    std::fs::create_dir_all(store.at("image/overlay2/layerdb/mounts/hurt/mount-id")).unwrap();
    let unclaimed = "a".repeat(64);
    std::fs::create_dir_all(store.at(&format!("overlay2/{unclaimed}/diff"))).unwrap();
    let file = store.at("image/overlay2/layerdb/mounts/hurt/mount-id");
    let why = format!("mount-id: {}: not a regular file", file.display());
    assert_eq!(
        said(vec![directory(&unclaimed), clear(Remains::Mount("hurt".parse().unwrap()))]),
        [(); 2].map(|()| format!("it may be in use: layerdb/mounts/hurt: {why}"))
    );
    assert_eq!(
        said(vec![Edit::RemoveLayer { chain_id: layers[0] }]),
        [format!("it may be needed: layerdb/mounts/hurt: {why}")]
    );
    // Nor does the layer go when the record is to go with it: the record stays.
    assert_eq!(
        said(vec![Edit::RemoveLayer { chain_id: layers[0] }, clear(Remains::Mount("hurt".parse().unwrap()))]),
        [
            format!("it may be in use: layerdb/mounts/hurt: {why}"),
            format!("it may be needed: layerdb/mounts/hurt: {why}")
        ]
    );
    assert!(store.at(&format!("overlay2/{base}/diff")).exists());
}
