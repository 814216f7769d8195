//! Mounts that name no layer. A container of an image without layers has such a mount, which keeps nothing from being
//! removed. A mount that has lost the name of its layer keeps every layer, since it may stand on any.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use snapshot::ids::CacheId;
use snapshot::liveness::StillAlive;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Whether a directory that no record names may be removed from the root.
fn may_remove_orphan(root: &Path, driver: &str, orphan: &str) -> bool {
    let root = DataRoot::find(root, Some(driver)).unwrap();
    let view = View::read_root(root, Needs::LIVENESS).unwrap();
    match view.liveness().dead(&orphan.parse::<CacheId>().unwrap()) {
        Ok(_) => true,
        Err(StillAlive::Unknown(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_mount_without_parent_keeps_layers_only_if_it_may_stand_on_some() {
    type Arrange = fn(&Path, &str);
    let (writable, orphan) = ("a".repeat(64), "e".repeat(64));
    let cases: [(&str, Arrange, bool); 8] = [
        ("stands on its init layer alone", |_, _| {}, true),
        (
            "has no init layer",
            |root, id| std::fs::remove_dir_all(root.join(format!("overlay2/{id}-init"))).unwrap(),
            false,
        ),
        (
            "has neither init layer nor lower",
            |root, id| {
                std::fs::remove_dir_all(root.join(format!("overlay2/{id}-init"))).unwrap();
                std::fs::remove_file(root.join(format!("overlay2/{id}/lower"))).unwrap();
            },
            true,
        ),
        (
            "its init layer stands on a layer",
            |root, id| write(root, &format!("overlay2/{id}-init/lower"), "l/OTHER"),
            false,
        ),
        (
            "it stands on a layer itself",
            |root, id| write(root, &format!("overlay2/{id}/lower"), "l/INIT:l/OTHER"),
            false,
        ),
        (
            "it stands on what is not there",
            |root, id| write(root, &format!("overlay2/{id}/lower"), "l/INIT:l/GONE"),
            false,
        ),
        ("its lower cannot be read", |root, id| write(root, &format!("overlay2/{id}/lower"), "INIT"), false),
        ("it is not there", |root, id| std::fs::remove_dir_all(root.join(format!("overlay2/{id}"))).unwrap(), false),
    ];
    for (what, arrange, expected) in cases {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        for id in [writable.clone(), format!("{writable}-init"), orphan.clone(), "b".repeat(64)] {
            std::fs::create_dir_all(root.join(format!("overlay2/{id}/diff"))).unwrap();
        }
        std::fs::create_dir(root.join("overlay2/l")).unwrap();
        let link = |name: &str, to: &str| {
            std::os::unix::fs::symlink(format!("../{to}/diff"), root.join("overlay2/l").join(name)).unwrap();
        };
        link("INIT", &format!("{writable}-init"));
        link("OTHER", &"b".repeat(64));
        write(root, &format!("overlay2/{writable}/lower"), "l/INIT");
        write(root, "image/overlay2/layerdb/mounts/c/mount-id", &writable);
        write(root, "image/overlay2/layerdb/mounts/c/init-id", &format!("{writable}-init"));
        arrange(root, &writable);
        assert_eq!(may_remove_orphan(root, "overlay2", &orphan), expected, "{what}");
    }
    // The layers of vfs are copies: none needs another.
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    for id in [&writable, &orphan] {
        std::fs::create_dir_all(root.join(format!("vfs/dir/{id}"))).unwrap();
    }
    write(root, "image/vfs/layerdb/mounts/c/mount-id", &writable);
    assert!(may_remove_orphan(root, "vfs", &orphan));
}
