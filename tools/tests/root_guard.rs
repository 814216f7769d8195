//! May this directory be written to? What is no data-root stays as it is, whatever it is, and a dry run says so in the
//! same words as an import.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[allow(dead_code, reason = "not every test asks everything")]
mod guardsupport;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;

use guardsupport::{ARCHIVE, DATA_ROOT, attempt, plant, refused, refused_with, taken};
use testkit::mounts::{Bound, Mounted};
use testkit::run::{Input, layer_unpack, run};
use testkit::{golden, is_root, tier};

/// Directories that hold something else, and what is said of them.
const FOREIGN: &[(&str, &[&str], &str)] = &[
    ("a system's configuration", &["passwd", "hosts", "conf.d/x.conf", "containers/registries.conf"], "neither empty"),
    ("a home directory", &[".bashrc", ".ssh/id", "Documents/"], "holds .bashrc, .ssh, Documents"),
    ("a git repository", &[".git/HEAD", "src/main.rs"], "neither empty"),
    ("Podman's storage", &["overlay/l/", "overlay-images/", "overlay-layers/", "volumes/", "storage.lock"], "Podman"),
    ("Podman's storage on vfs", &["vfs/dir/", "vfs-images/", "vfs-layers/", "libpod/bolt_state.db"], "Podman"),
    (
        "containerd's root",
        &["io.containerd.content.v1.content/", "io.containerd.metadata.v1.bolt/meta.db"],
        "containerd",
    ),
    (
        "the root of a system",
        &["bin -> usr/bin", "etc/passwd", "usr/bin/true", "volumes/metadata.db"],
        "root of a system",
    ),
    ("an OCI layout", &["oci-layout", "index.json", "blobs/sha256/"], "OCI image layout"),
    ("an archive that was unpacked", &["manifest.json", "repositories", "abc/layer.tar"], "neither empty"),
    ("layers that were unpacked", &["000-0123456789ab/diff/", "layers.json"], "neither empty"),
    ("pictures", &["image/overlay2/cat.png"], "neither empty"),
    ("a project with volumes", &["compose.yml", "volumes/db/data", "containers/"], "neither empty"),
    ("docker's configuration", &["config.json", "contexts/meta/", "buildx/"], "neither empty"),
    (
        "a daemon's exec-root",
        &["containerd/daemon/io.containerd.runtime.v2.task/", "containerd/containerd.toml"],
        "neither",
    ),
    ("a database's files", &["ibdata1", "mysql/user.frm"], "neither empty"),
    ("one hidden file", &[".keep"], "holds .keep"),
    ("one link that leads nowhere", &["x -> nowhere"], "holds x"),
    ("a file called lost+found", &["lost+found"], "holds lost+found"),
    ("an empty directory of somebody's", &["mine/"], "holds mine"),
    ("a file among Docker's names", &["image/", "overlay2/", "volumes/x/file"], "neither empty"),
    ("many names", &["a", "b", "c", "d", "e"], "holds a, b, c and 2 more"),
];

/// Data-roots that images of overlay2 would do harm to.
const OTHERS: &[(&str, &[&str], &str)] = &[
    ("devicemapper", &["devicemapper/metadata/base", "image/devicemapper/layerdb/"], "storage driver devicemapper"),
    ("aufs", &["aufs/layers/x", "image/aufs/imagedb/"], "storage driver aufs"),
    ("btrfs", &["btrfs/subvolumes/x/", "image/btrfs/layerdb/"], "storage driver btrfs"),
    ("zfs", &["zfs/graph/x/", "image/zfs/layerdb/"], "storage driver zfs"),
    ("overlay", &["overlay/0123/root/", "image/overlay/layerdb/"], "storage driver overlay;"),
    ("fuse-overlayfs", &["fuse-overlayfs/l/", "image/fuse-overlayfs/layerdb/"], "storage driver fuse-overlayfs"),
    ("mapped users", &["100000.100000/image/overlay2/"], "maps users (100000.100000/"),
    (
        "containerd's store",
        &["containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1/"],
        "--storage-driver",
    ),
    (
        "containerd's store with another snapshotter",
        &["containerd/daemon/io.containerd.snapshotter.v1.native/snapshots/1/"],
        "--storage-driver",
    ),
    ("containerd's store elsewhere", &["rootfs/overlayfs/", "engine-id"], "containerd's store"),
    ("before 1.10", &["linkgraph.db", "graph/x/json", "repositories-aufs", "containers/"], "before version 1.10"),
    ("before 1.10, overlay2 beside", &["repositories-overlay", "overlay2/l/"], "before version 1.10"),
];

#[test]
fn root_foreign_directories_are_left_alone() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let at = dir.path();
    let mut report = Vec::new();
    for (number, (title, names, word)) in FOREIGN.iter().chain(OTHERS).enumerate() {
        let root = at.join(format!("foreign-{number}"));
        plant(&root, names);
        report.extend(refused(title, at, root.as_os_str(), word));
    }
    // Without a word about the driver, such a root is written with vfs.
    let vfs = at.join("vfs");
    plant(&vfs, &["vfs/dir/x/", "image/vfs/imagedb/content/sha256/x"]);
    let options = ["--storage-driver", "overlay2"];
    report.extend(refused_with(&options, "vfs", at, vfs.as_os_str(), "storage driver vfs"));
    testkit::assert_none("foreign directories", &report);
}

#[test]
fn root_paths_that_are_no_directory_of_ours() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let at = dir.path();
    plant(at, &["file", "dangling -> nowhere", "loop -> loop", "etc/passwd", "to-etc -> etc", "lib/apt/x"]);
    plant(&at.join("lib/docker"), &DATA_ROOT);
    plant(at, &["lib/docker/tmp/", "lib/docker/containers/0123/config.v2.json"]);
    let odd = OsString::from_vec(b"odd-\xff".to_vec());
    plant(&at.join("odd"), &["x"]);
    std::fs::rename(at.join("odd/x"), at.join("odd").join(&odd)).unwrap();
    let mut report = Vec::new();
    for (root, word) in [
        ("file", "not a directory"),
        ("file/", "not a directory"),
        ("file/below", "not a directory"),
        ("dangling", "symlink to nowhere, which does not exist"),
        ("dangling/", "symlink to nowhere, which does not exist"),
        ("loop", "symlink that leads back to itself"),
        ("to-etc", "neither empty"),
        ("odd", "neither empty"),
        ("missing/new", "missing does not exist (mkdir -p makes it)"),
        ("missing/and/more/new", "missing does not exist"),
        ("dangling/new", "dangling does not exist"),
        // Beside, around and inside of a data-root.
        ("lib", "lib/docker is a data-root"),
        ("lib/docker/image", "lies in"),
        ("lib/docker/image/overlay2", "a part of a data-root"),
        ("lib/docker/overlay2", "lib/docker is a data-root"),
        ("lib/docker/containers/0123", "lib/docker is a data-root"),
        ("lib/docker/tmp", "lies in"),
        ("lib/docker/new", "lies in"),
        ("lib/docker/tmp/new", "lies in"),
    ] {
        report.extend(refused(root, at, at.join(root).as_os_str(), word));
    }
    report.extend(refused("a device", at, OsStr::new("/dev/null"), "not a directory"));
    // Only dry: this is the machine's own.
    for root in ["/", "/etc", "/usr", "/proc"] {
        let ran = attempt(OsStr::new(root), &[], true);
        if ran.code != Some(1) {
            report.push(format!("{root:?}: {ran:?}"));
        }
    }
    testkit::assert_none("paths", &report);
}

#[test]
fn root_what_is_a_data_root_is_taken() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let at = dir.path();
    plant(at, &["empty/", "slash/", "target/", "link -> target", "20.10/"]);
    plant(&at.join("outer"), &DATA_ROOT);
    plant(&at.join("outer/volumes/dind/_data"), &["lib/"]);
    let mut report = Vec::new();
    for root in ["new", "new-too/", "empty", "slash/", "link", "20.10", "outer/volumes/dind/_data/lib/docker"] {
        report.extend(taken(root, at.join(root).as_os_str(), &[], true));
        // The second time it is one.
        report.extend(taken(root, at.join(root).as_os_str(), &[], false));
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&at.join("new").metadata().unwrap());
    assert_eq!(mode & 0o7777, 0o710);
    let odd = at.join(OsStr::from_bytes(b"odd \xff\n"));
    report.extend(taken("a name that is no UTF-8", odd.as_os_str(), &[], true));
    for (number, names) in [
        &DATA_ROOT[..],
        // What is left where somebody has removed parts, or a crash has come early.
        &["volumes/metadata.db", "containers/", "tmp/"],
        &["network/files/local-kv.db", "README"],
        &["engine-id"],
        &["overlay2/l/"],
        &["image/overlay2/repositories.json", "lost+found/"],
        &["buildkit/cache.db"],
        // Nobody's.
        &["image/overlay2/layerdb/sha256/", "mine"],
    ]
    .into_iter()
    .enumerate()
    {
        let root = at.join(format!("root-{number}"));
        plant(&root, names);
        if names.contains(&"image/overlay2/repositories.json") {
            std::fs::write(root.join("image/overlay2/repositories.json"), r#"{"Repositories":{}}"#).unwrap();
        }
        if let Some(database) = names.iter().find(|name| name.starts_with("buildkit/")) {
            std::fs::write(root.join(database), "").unwrap();
        }
        report.extend(taken(&format!("{names:?}"), root.as_os_str(), &[], false));
    }
    // Only empty directories with Docker's names: what a crash leaves that comes before all else.
    for (number, names) in
        [&["image/"][..], &["image/overlay2/"], &["overlay2/"], &["volumes/", "containers/", "lost+found/"]]
            .iter()
            .enumerate()
    {
        let root = at.join(format!("skeleton-{number}"));
        plant(&root, names);
        report.extend(taken(&format!("{names:?}"), root.as_os_str(), &[], true));
    }
    let store = at.join("store");
    plant(&store, &["containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1/"]);
    report.extend(taken("containerd's store, insisting", store.as_os_str(), &["--storage-driver", "overlay2"], false));
    testkit::assert_none("data-roots", &report);
}

/// A relative path, and the directory of a mapping of users under another name.
#[test]
fn root_is_known_by_its_real_name() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let mapped = dir.path().join("100000.100000");
    plant(&mapped, &DATA_ROOT);
    plant(dir.path(), &["link -> 100000.100000"]);
    let mut report = refused("by a link", dir.path(), dir.path().join("link").as_os_str(), "maps users");
    for relative in [".", "../100000.100000"] {
        let mut command = layer_unpack(&[golden(ARCHIVE).to_str().unwrap(), "--no-sync", "--root", relative]);
        command.current_dir(&mapped);
        report.extend(run(command, Input::Nothing).complaints(&["maps users"]));
    }
    testkit::assert_none("mapped users", &report);
}

#[test]
fn root_a_fresh_file_system_is_empty() {
    if !is_root() {
        return;
    }
    let ext4 = Mounted::ext4(64 << 20);
    assert!(ext4.path().join("lost+found").is_dir());
    let mut report = taken("a fresh ext4", ext4.path().as_os_str(), &[], true);
    let tmpfs = Mounted::tmpfs("size=64m");
    report.extend(taken("a fresh tmpfs", tmpfs.path().as_os_str(), &[], true));
    testkit::assert_none("fresh file systems", &report);
}

#[test]
fn root_read_only_is_said_before() {
    if !is_root() {
        return;
    }
    let tmpfs = Mounted::tmpfs("size=64m");
    let root = tmpfs.path().join("root");
    plant(&root, &DATA_ROOT);
    plant(tmpfs.path(), &["empty/"]);
    let remount = |options: &str| {
        assert!(Command::new("mount").args(["-o", options]).arg(tmpfs.path()).status().unwrap().success());
    };
    remount("remount,ro");
    let mut report = Vec::new();
    for name in ["root", "empty", "new"] {
        report.extend(refused(name, tmpfs.path(), tmpfs.path().join(name).as_os_str(), "mounted read-only"));
    }
    remount("remount,rw");
    // Only a part of it.
    for part in ["overlay2", "image"] {
        let part = root.join(part);
        let bound = Bound::new(&part, &part);
        assert!(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&part).status().unwrap().success());
        report.extend(refused("a part", tmpfs.path(), root.as_os_str(), "mounted read-only"));
        drop(bound);
    }
    report.extend(taken("writable again", root.as_os_str(), &[], false));
    testkit::assert_none("read-only", &report);
}

/// Without rights, a directory that cannot be looked into is refused and not taken for something.
#[test]
fn root_without_permission() {
    if !is_root()
        || !tier("root", testkit::user::available(), "useradd and setpriv (Debian: passwd, util-linux, uidmap)")
    {
        return;
    }
    let user = testkit::user::User::new(false);
    let archive = user.at("archive.tar");
    std::fs::copy(golden(ARCHIVE), &archive).unwrap();
    let root = user.at("secret/root");
    plant(&root, &DATA_ROOT);
    std::os::unix::fs::chown(user.at("secret"), Some(0), Some(0)).unwrap();
    std::fs::set_permissions(user.at("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut report = Vec::new();
    for path in [root, user.at("secret"), user.at("secret/new")] {
        let arguments = [archive.as_os_str(), OsStr::new("--dry-run"), OsStr::new("--root"), path.as_os_str()];
        let found = run(user.tool("layer-unpack", &arguments), Input::Nothing).complaints(&["ermission denied"]);
        report.extend(found.into_iter().map(|line| format!("{}: {line}", path.display())));
    }
    testkit::assert_none("without permission", &report);
}

/// Without `/proc`, where descriptors have names, nothing can be written as docker writes it: that is said before anything is.
#[test]
fn root_without_proc_nothing_is_begun() {
    let unshare = Command::new("unshare").arg("--version").output().is_ok();
    if !is_root() || !tier("root", unshare, "install unshare (Debian: util-linux)") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&golden(ARCHIVE), &root);
    let before = testkit::listing(&root);
    let hidden = |program: &str, arguments: &[&OsStr]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "umount -l /proc && exec \"$0\" \"$@\""]);
        command.arg(testkit::program(program)).arg("--root").args(arguments);
        run(command, Input::Nothing)
    };
    let fresh = dir.path().join("fresh");
    let archive = golden(ARCHIVE);
    let mut report = Vec::new();
    for (program, root, words) in [
        ("layer-unpack", &fresh, vec![archive.as_os_str()]),
        ("layer-unpack", &root, vec![archive.as_os_str()]),
        ("layerfs", &root, ["image", "rm", "--force", "layerfs-test/busybox:1"].map(OsStr::new).to_vec()),
        ("image-gc", &root, ["--apply", "--all", "--min-age", "0s"].map(OsStr::new).to_vec()),
    ] {
        let ran = hidden(program, &[&[root.as_os_str()], &words[..]].concat());
        if ran.code != Some(1) || !ran.stderr.contains("/proc") {
            report.push(format!("{program} {words:?}: {:?} {}{}", ran.code, ran.stdout, ran.stderr));
        }
    }
    report.extend(testkit::changes(&before, &testkit::listing(&root)));
    report.extend(fresh.exists().then(|| "a new root was begun".to_owned()));
    testkit::assert_none("without /proc", &report);
}
