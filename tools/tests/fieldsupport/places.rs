//! What stands in the place of the directories and files in which dockerd keeps everything that is no layer, image, container or volume,
//! and how the store's own directories are reached. Each has a store of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::damage::{Damage, damage as place};
use super::patient::{Patient, write};
use super::siblings::{put_away, twin};

/// A file in the place of a directory, which may be there.
fn file(p: &Patient, path: &str) {
    if p.at(path).exists() {
        p.remove(path);
    }
    write(&p.at(path), "x");
}

/// A symlink in the place of a directory, to where it is now.
fn away(p: &Patient, path: &str) {
    let away = p.at(&format!("away/{}", path.replace('/', "-")));
    fs::create_dir_all(away.parent().unwrap()).unwrap();
    p.rename(path, &away);
    symlink(&away, p.at(path)).unwrap();
}

/// The same, to a place outside of the root. It goes with the root's own directory.
fn outside(p: &Patient, path: &str) {
    let away = p.root.parent().unwrap().join("outside");
    p.rename(path, &away);
    symlink("../outside", p.at(path)).unwrap();
}

/// A symlink to nothing.
fn dangling(p: &Patient, path: &str) {
    if p.at(path).exists() {
        p.remove(path);
    }
    fs::create_dir_all(p.at(path).parent().unwrap()).unwrap();
    symlink("nowhere", p.at(path)).unwrap();
}

pub(crate) const PLACES: &[Damage] = &[
    place("a file for image", |p| file(p, "image")),
    place("a file for image/overlay2", |p| file(p, "image/overlay2")),
    place("a file for layerdb", |p| file(p, "image/overlay2/layerdb")),
    place("a file for layerdb/tmp", |p| file(p, "image/overlay2/layerdb/tmp")),
    place("a file for imagedb", |p| file(p, "image/overlay2/imagedb")),
    place("a file for imagedb/content", |p| file(p, "image/overlay2/imagedb/content")),
    place("a file for imagedb/metadata", |p| file(p, "image/overlay2/imagedb/metadata")),
    place("a file for metadata/sha256", |p| file(p, "image/overlay2/imagedb/metadata/sha256")),
    place("a file for distribution", |p| file(p, "image/overlay2/distribution")),
    place("a file for the home", |p| file(p, "overlay2")),
    place("a file for trust", |p| file(p, "trust")),
    place("a file for plugins", |p| file(p, "plugins")),
    place("a file for plugins/storage", |p| file(p, "plugins/storage")),
    place("a file for tmp", |p| file(p, "tmp")),
    place("a file for tmp-old", |p| file(p, "tmp-old")),
    place("a full tmp-old", |p| write(&p.at("tmp-old/x/y"), "x")),
    place("a file for swarm", |p| file(p, "swarm")),
    place("a file for network", |p| file(p, "network")),
    place("a file for network/files", |p| file(p, "network/files")),
    place("a file for runtimes", |p| file(p, "runtimes")),
    place("a file for buildkit", |p| file(p, "buildkit")),
    place("a file for buildkit/content", |p| file(p, "buildkit/content")),
    place("a file for buildkit/executor", |p| file(p, "buildkit/executor")),
    place("a file for containerd", |p| file(p, "containerd")),
    place("a file for containerd/daemon", |p| file(p, "containerd/daemon")),
    place("a directory for the database of volumes", |p| p.make("volumes/metadata.db")),
    place("a directory for the database of networks", |p| p.make("network/files/local-kv.db")),
    place("a directory for the build cache's", |p| p.make("buildkit/cache.db")),
    place("a directory for the build snapshots'", |p| p.make("buildkit/snapshots.db")),
    place("database of build metadata garbled", |p| write(&p.at("buildkit/metadata_v2.db"), "x".repeat(70_000))),
    place("database of build contents garbled", |p| write(&p.at("buildkit/containerdmeta.db"), "x".repeat(70_000))),
    place("database of the build cache garbled", |p| write(&p.at("buildkit/cache.db"), "x".repeat(70_000))),
    place("database of containerd garbled", |p| {
        write(&p.at("containerd/daemon/io.containerd.metadata.v1.bolt/meta.db"), "x".repeat(70_000));
    }),
    place("database of volumes short", |p| write(&p.at("volumes/metadata.db"), "x")),
    place("state of the swarm garbled", |p| write(&p.at("swarm/docker-state.json"), "{")),
    place("state of the swarm empty", |p| write(&p.at("swarm/docker-state.json"), "")),
    place("state of the swarm null", |p| write(&p.at("swarm/docker-state.json"), "null")),
    place("state of the swarm an object", |p| write(&p.at("swarm/docker-state.json"), "{}")),
    place("a plugin garbled", |p| write(&p.at("plugins").join("a".repeat(64)).join("config.json"), "{")),
    place("a plugin without its config", |p| p.make(&format!("plugins/{}/rootfs", "a".repeat(64)))),
    place("plugins' index garbled", |p| write(&p.at("plugins/plugins.json"), "{")),
    place("engine-id a directory", |p| p.make("engine-id")),
    place("image a symlink", |p| away(p, "image")),
    place("image/overlay2 a symlink", |p| away(p, "image/overlay2")),
    place("layerdb a symlink", |p| away(p, "image/overlay2/layerdb")),
    place("layerdb/sha256 a symlink", |p| away(p, "image/overlay2/layerdb/sha256")),
    place("layerdb/mounts a symlink", |p| away(p, "image/overlay2/layerdb/mounts")),
    place("imagedb a symlink", |p| away(p, "image/overlay2/imagedb")),
    place("imagedb/content a symlink", |p| away(p, "image/overlay2/imagedb/content")),
    place("imagedb/content/sha256 a symlink", |p| away(p, "image/overlay2/imagedb/content/sha256")),
    place("repositories.json a symlink", |p| away(p, "image/overlay2/repositories.json")),
    place("home a symlink", |p| away(p, "overlay2")),
    place("home a symlink out of the root", |p| outside(p, "overlay2")),
    place("links a symlink", |p| away(p, "overlay2/l")),
    place("containers a symlink", |p| away(p, "containers")),
    place("volumes a symlink", |p| away(p, "volumes")),
    place("volumes a symlink out of the root", |p| outside(p, "volumes")),
    place("image a dangling symlink", |p| dangling(p, "image")),
    place("home a dangling symlink", |p| dangling(p, "overlay2")),
    place("volumes a dangling symlink", |p| dangling(p, "volumes")),
    place("containers a dangling symlink", |p| dangling(p, "containers")),
    place("tmp a dangling symlink", |p| dangling(p, "tmp")),
    place("network a dangling symlink", |p| dangling(p, "network")),
    place("buildkit a dangling symlink", |p| dangling(p, "buildkit")),
    place("nothing may be read", |p| {
        for path in ["image", "image/overlay2", "image/overlay2/layerdb", "overlay2", "containers", "volumes"] {
            fs::set_permissions(p.at(path), fs::Permissions::from_mode(0o0)).unwrap();
        }
    }),
    place("a record of a layer a dangling symlink", |p| {
        dangling(p, &format!("image/overlay2/layerdb/sha256/{}", "a".repeat(64)));
    }),
    place("a directory for a config", |p| p.make(&format!("image/overlay2/imagedb/content/sha256/{}", "a".repeat(64)))),
    place("old stores beside", |p| {
        write(&p.at("graph/x/json"), "{}");
        write(&p.at("repositories-overlay2"), "{");
        write(&p.at("linkgraph.db"), "SQLite format 3\0");
        write(&p.at("image/overlay2/.migration-v1-images.json"), "[");
    }),
    // Sizes of what containers have written, in odd places.
    place("link in l a directory", |p| {
        p.remove(&format!("overlay2/l/{}", p.link[0]));
        p.make(&format!("overlay2/l/{}", p.link[0]));
    }),
    place("writable a symlink", |p| put_away(p, "WRITABLE", "writable")),
    place("writable diff a symlink", |p| put_away(p, "WRITABLE/diff", "written")),
    place("writable diff a file", |p| {
        p.remove("WRITABLE/diff");
        p.set("WRITABLE/diff", "x");
    }),
    place("a container on the init layer", |p| twin(p, &format!("{}-init", p.mount))),
    place("a container on a layer", |p| twin(p, &p.cache[0])),
    place("volume data a file", |p| {
        p.remove("VOLUME/_data");
        p.set("VOLUME/_data", "x");
    }),
    place("host config null", |p| p.set("CONTAINER/hostconfig.json", "null")),
];
