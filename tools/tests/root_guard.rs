//! May this directory be written to? What is no data-root stays as it is, whatever it is, and a dry run says so in the
//! same words as an import. A layer that is mounted is found whatever its path is made of and whichever way leads to it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

use testkit::mounts::{Bound, Mounted};
use testkit::run::{Input, Ran, layer_unpack, run};
use testkit::{TreeState, golden, is_root, program, tier};

const ARCHIVE: &str = "busybox-20.10.tar";

/// Makes files and directories: a name with `/` at its end is a directory, `a -> b` a symlink, all others are files.
fn plant(at: &Path, names: &[&str]) {
    for name in names {
        if let Some((link, target)) = name.split_once(" -> ") {
            let link = at.join(link);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, link).unwrap();
        } else if name.ends_with('/') {
            std::fs::create_dir_all(at.join(name)).unwrap();
        } else {
            let file = at.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, name).unwrap();
        }
    }
}

/// What both a dry run and an import make of a root, each on a copy of nothing: the root itself is not changed by either.
fn attempt(root: &OsStr, options: &[&str], dry: bool) -> Ran {
    let archive = golden(ARCHIVE);
    let mut arguments = vec![archive.as_os_str(), OsStr::new("--no-sync"), OsStr::new("--root"), root];
    arguments.extend(options.iter().map(OsStr::new));
    if dry {
        arguments.push(OsStr::new("--dry-run"));
    }
    run(layer_unpack(&arguments), Input::Nothing)
}

/// What is wrong if a root should have been refused with this word, by both, in the same words, and left as it is.
fn refused(title: &str, watched: &Path, root: &OsStr, word: &str) -> Vec<String> {
    refused_with(&[], title, watched, root, word)
}

/// The same, with these options.
fn refused_with(options: &[&str], title: &str, watched: &Path, root: &OsStr, word: &str) -> Vec<String> {
    let before = TreeState::read(watched);
    let (dry, real) = (attempt(root, options, true), attempt(root, options, false));
    let mut report = real.complaints(&["is not written to", word]);
    if (dry.code, &dry.stderr) != (real.code, &real.stderr) {
        report.push(format!("a dry run says something else: {:?} {}", dry.code, dry.stderr));
    }
    report.extend(before.changes(&TreeState::read(watched)));
    report.into_iter().map(|line| format!("{title}: {line}")).collect()
}

/// What is wrong if a root should be taken, which is said to be new or is not.
fn taken(title: &str, root: &OsStr, options: &[&str], new: bool) -> Vec<String> {
    let mut report = Vec::new();
    for dry in [true, false] {
        let ran = attempt(root, options, dry);
        if ran.code != Some(0) || ran.stderr.contains("new data-root") != new {
            report.push(format!("{title}, dry run {dry}: {:?} {}", ran.code, ran.stderr));
        }
    }
    if !Path::new(root).join("image/overlay2/repositories.json").exists() {
        report.push(format!("{title}: no image was stored"));
    }
    report
}

const DATA_ROOT: [&str; 4] =
    ["image/overlay2/layerdb/sha256/", "image/overlay2/imagedb/content/sha256/", "overlay2/l/", "volumes/metadata.db"];

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

/// Names that mountinfo escapes, or that look as if it had.
fn names() -> Vec<OsString> {
    let names: [&[u8]; 12] = [
        b"plain",
        b"a b",
        b" a",
        b"a\tb",
        b"a\nb",
        b"a\\b",
        b"a\\040b",
        b"a#b",
        b"a,b:c=d",
        b"\xff\xfe",
        "é\u{202e}".as_bytes(),
        b" - tmpfs x rw",
    ];
    names.iter().map(|name| OsString::from_vec(name.to_vec())).collect()
}

#[test]
fn root_mounted_layers_are_seen_whatever_their_names() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let mut report = Vec::new();
    for name in names() {
        let root = dir.path().join(&name);
        plant(&root, &DATA_ROOT);
        plant(&root, &["overlay2/top/merged/"]);
        let bound = Bound::new(&root.join("volumes"), &root.join("overlay2/top/merged"));
        report.extend(refused(&format!("{name:?}"), dir.path(), root.as_os_str(), "a layer of it is mounted"));
        drop(bound);
        std::fs::remove_dir_all(root.join("overlay2/top")).unwrap();
        report.extend(taken(&format!("{name:?} unmounted"), root.as_os_str(), &[], false));
    }
    testkit::assert_none("names", &report);
}

/// An overlay.
fn overlay(at: &Path, options: &str) -> Option<Bound> {
    let status = Command::new("mount").args(["-t", "overlay", "overlay", "-o", options]).arg(at).status().unwrap();
    status.success().then(|| Bound::taken(at))
}

#[test]
fn root_mounted_layers_are_seen_whichever_way_leads_there() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let at = dir.path();
    let root = at.join("root");
    plant(&root, &DATA_ROOT);
    plant(&root, &["overlay2/base/diff/f", "overlay2/top/diff/", "overlay2/top/work/", "overlay2/top/merged/"]);
    plant(&root, &["overlay2/l/AB -> ../base/diff"]);
    plant(at, &["link -> root", "seen/", "elsewhere/", "other/"]);
    let mounted = "a layer of it is mounted";
    let mut report = Vec::new();
    let mut check = |title: &str, root: &Path| report.extend(refused(title, at, root.as_os_str(), mounted));
    // Other ways to the root than the one by which the layer is mounted.
    let merged = root.join("overlay2/top/merged");
    {
        let _merged = Bound::new(&at.join("elsewhere"), &merged);
        check("by a link", &at.join("link"));
        check("with dots", &at.join("other/../root"));
        let _seen = Bound::new(&root, &at.join("seen"));
        check("by a bind mount", &at.join("seen"));
    }
    {
        let _seen = Bound::new(&root, &at.join("seen"));
        let _merged = Bound::new(&at.join("elsewhere"), &at.join("seen/overlay2/top/merged"));
        check("mounted in a bind mount of it", &root);
    }
    // As a daemon's failed start leaves it.
    {
        let _self = Bound::new(&root, &root);
        let _home = Bound::new(&root.join("overlay2"), &root.join("overlay2"));
        let merged = Bound::new(&at.join("elsewhere"), &merged);
        check("above itself", &root);
        drop(merged);
        report.extend(taken("the root and its home are mounted on themselves", root.as_os_str(), &[], false));
    }
    // Overlays somewhere else that show its layers, by whatever path they were given.
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let ways =
        ["root/overlay2/base/diff", "link/overlay2/base/diff", "root/overlay2/l/AB", "other/../root/overlay2/l/AB"];
    for way in ways {
        let Some(_overlay) =
            overlay(&at.join("elsewhere"), &format!("lowerdir={}:{}", text(&at.join(way)), text(&at.join("other"))))
        else {
            panic!("no overlay can be mounted here");
        };
        report.extend(refused(way, at, root.as_os_str(), mounted));
    }
    // Somebody else's layers are no obstacle.
    plant(at, &["x/overlay2/base/diff/", "y/"]);
    let options = format!("lowerdir={}:{}", text(&at.join("x/overlay2/base/diff")), text(&at.join("y")));
    let foreign = overlay(&at.join("elsewhere"), &options).unwrap();
    report.extend(taken("another root's layers are mounted", root.as_os_str(), &[], false));
    drop(foreign);
    testkit::assert_none("ways", &report);
}

/// Runs a script in a mount namespace of its own, with a root for `$0` and the program and archive behind.
fn in_namespace(script: &str, root: &Path, options: &[&str]) -> Ran {
    let archive = golden(ARCHIVE);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(root).arg(program("layer-unpack"));
    command.arg(archive).args(["--no-sync", "--root"]).arg(root).args(options);
    run(command, Input::Nothing)
}

/// What is known of mounts is all or nothing.
#[test]
fn root_unknown_mounts_refuse() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    plant(&root, &DATA_ROOT);
    let fake = dir.path().join("fake");
    std::fs::write(&fake, "").unwrap();
    let cut = dir.path().join("cut");
    let table = std::fs::read("/proc/self/mountinfo").unwrap();
    std::fs::write(&cut, &table[..table.len() - 7]).unwrap();
    let bind = |file: &Path| format!("mount --bind {} /proc/$$/mountinfo && exec \"$@\"", file.display());
    let mut report = Vec::new();
    for (title, script) in [
        ("nothing at /proc", "mount -t tmpfs none /proc && exec \"$@\"".to_owned()),
        ("an empty table", bind(&fake)),
        ("a table that is cut off", bind(&cut)),
    ] {
        let before = TreeState::read(&root);
        let mut said = Vec::new();
        for options in [&[][..], &["--dry-run"]] {
            let ran = in_namespace(&script, &root, options);
            report.extend(
                ran.complaints(&["is not written to|/proc"]).into_iter().map(|line| format!("{title}: {line}")),
            );
            said.push(ran.stderr);
        }
        if said[0] != said[1] {
            report.push(format!("{title}: a dry run says something else: {said:?}"));
        }
        report.extend(before.changes(&TreeState::read(&root)).into_iter().map(|line| format!("{title}: {line}")));
    }
    // As it is, the same root is taken.
    let ran = in_namespace("exec \"$@\"", &root, &[]);
    if ran.code != Some(0) {
        report.push(format!("all is well: {}", ran.stderr));
    }
    testkit::assert_none("unknown mounts", &report);
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

/// `layerfs` or `image-du` on a root.
fn ask(name: &str, root: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program(name));
    command.arg("--root").arg(root).args(arguments);
    run(command, Input::Nothing)
}

/// Takes the lock of a process that writes.
fn locked(dir: &Path) -> std::fs::File {
    let dir = std::fs::File::open(dir).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    dir
}

/// Directories of a root that are symlinks to another file system, as people make them where a disk is full.
#[test]
fn root_parts_may_be_elsewhere() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let disk = Mounted::tmpfs("size=64m");
    plant(disk.path(), &["layers/", "image/", "volumes/", "containers/"]);
    let root = dir.path().join("root");
    plant(&root, &["volumes/"]);
    std::fs::remove_dir(root.join("volumes")).unwrap();
    for (name, target) in
        [("overlay2", "layers"), ("image", "image"), ("volumes", "volumes"), ("containers", "containers")]
    {
        std::os::unix::fs::symlink(disk.path().join(target), root.join(name)).unwrap();
    }
    plant(&root, &["engine-id"]);
    let mut report = taken("links", root.as_os_str(), &[], false);
    assert!(disk.path().join("layers/l").is_dir() && disk.path().join("image/overlay2/layerdb").is_dir());
    let listed = ask("layerfs", &root, &["image", "ls", "-q"]);
    if listed.code != Some(0) || listed.stdout.lines().count() == 0 {
        report.push(format!("{listed:?}"));
    }
    // What is named is named by the root's own path.
    let inspected = ask("layerfs", &root, &["image", "inspect", "layerfs-test/busybox:1"]);
    if !inspected.stdout.contains(&format!("{}/overlay2/", root.display())) {
        report.push(format!("{inspected:?}"));
    }
    let counted = ask("image-du", &root, &["--json"]);
    let account: serde_json::Value = serde_json::from_str(&counted.stdout).unwrap();
    let du = Command::new("du").args(["-x", "-s", "-B1"]).args([&root, disk.path()]).output().unwrap();
    let of_line = |line: &str| line.split_whitespace().next().and_then(|size| size.parse::<u64>().ok()).unwrap();
    // The disk's own root is nobody's.
    let total: u64 = String::from_utf8(du.stdout).unwrap().lines().map(of_line).sum();
    let said = format!("overlay2 leads to {}: what is there is counted", disk.path().join("layers").display());
    if account["total_allocated"] != total || account["unaccounted"] != 0 || !counted.stderr.contains(&said) {
        report.push(format!("{total}: {counted:?}"));
    }
    // Another root that shares the layers: one writer at a time.
    let other = dir.path().join("other");
    plant(&other, &["engine-id"]);
    std::os::unix::fs::symlink(disk.path().join("layers"), other.join("overlay2")).unwrap();
    let lock = locked(&disk.path().join("layers"));
    for root in [&root, &other] {
        report.extend(refused("locked", dir.path(), root.as_os_str(), "another layerfs process"));
    }
    drop(lock);
    // A layer is mounted where the layers are.
    std::fs::create_dir(disk.path().join("layers/top")).unwrap();
    {
        let _mounted = Bound::new(disk.path(), &disk.path().join("layers/top"));
        report.extend(refused("mounted", dir.path(), root.as_os_str(), "a layer of it is mounted"));
    }
    std::fs::remove_dir(disk.path().join("layers/top")).unwrap();
    // Only writable where everything is.
    disk.remount("ro");
    report.extend(refused("read-only", dir.path(), root.as_os_str(), "mounted read-only"));
    disk.remount("rw");
    for name in ["overlay2", "image"] {
        let broken = dir.path().join(format!("broken-{name}"));
        plant(&broken, &["engine-id", &format!("{name} -> nowhere")]);
        let before = TreeState::read(&broken);
        let ran = attempt(broken.as_os_str(), &[], false);
        report.extend(ran.complaints(&["a symlink that leads nowhere"]));
        report.extend(before.changes(&TreeState::read(&broken)));
    }
    testkit::assert_none("parts elsewhere", &report);
}

/// What a process of ours has not finished yet is not called a crash's, nor an orphan.
#[test]
fn root_a_writer_at_work_is_seen() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let mut report = taken("a new root", root.as_os_str(), &[], true);
    plant(&root, &["image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id", "overlay2/0123/diff/"]);
    std::fs::write(root.join("image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id"), "0123").unwrap();
    let entry = root.join("overlay2/0123");
    let owner = || ask("layerfs", &root, &["system", "owner", entry.to_str().unwrap()]);
    let writing = format!("another layerfs process ({}) is writing now", std::process::id());
    {
        let _lock = locked(&root);
        let (counted, owned) = (ask("image-du", &root, &[]), owner());
        if !counted.stderr.contains(&writing)
            || counted.stderr.contains("nobody owns it")
            || counted.stderr.contains("crash")
        {
            report.push(format!("image-du: {}", counted.stderr));
        }
        if !owned.stdout.contains(&writing) || owned.stdout.contains("orphan") {
            report.push(format!("owner: {owned:?}"));
        }
        let second = attempt(root.as_os_str(), &[], false);
        report.extend(second.complaints(&[&format!("another layerfs process ({})", std::process::id())]));
    }
    let (counted, owned) = (ask("image-du", &root, &[]), owner());
    if !counted.stderr.contains("left by a crash") || !counted.stderr.contains("nobody owns it") {
        report.push(format!("afterwards, image-du: {}", counted.stderr));
    }
    if !owned.stdout.contains("orphan") {
        report.push(format!("afterwards, owner: {owned:?}"));
    }
    testkit::assert_none("a writer at work", &report);
}
