//! `--rootfs` against the kernel: the merged tree is what an overlay mount of `--layers` shows.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::cases::TreeEntry;
use testkit::image::DockerArchive;
use testkit::mounts::Mounted;
use testkit::run::{Input, layer_unpack, run};
use testkit::{TreeState, synthetic, tarfile};

/// Paths below `root` that are one file, by its inode.
fn linked(root: &Path, tree: &[TreeEntry]) -> BTreeSet<Vec<PathBuf>> {
    let mut inodes: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    for entry in tree.iter().filter(|entry| entry.kind != 'd' && entry.links > 1) {
        let path = PathBuf::from(std::ffi::OsString::from(String::from_utf8_lossy(&entry.path).into_owned()));
        let Ok(meta) = std::fs::symlink_metadata(root.join(&path)) else { continue };
        inodes.entry((meta.dev(), meta.ino())).or_default().push(path);
    }
    inodes.into_values().filter(|paths| paths.len() > 1).collect()
}

/// Names that the kernel lists and does not know: whiteouts in a directory that only one layer has.
fn phantoms(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = left.pop() {
        for path in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            match std::fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => left.push(path),
                Ok(_) => {}
                Err(_) => found.push(path.strip_prefix(root).unwrap().to_owned()),
            }
        }
    }
    found
}

/// Mounts layers, the first one on top, without the whiteouts that hide nothing and show.
fn mount(stack: &[PathBuf]) -> Mounted {
    let phantoms = phantoms(Mounted::overlay(stack).path());
    for whiteout in phantoms.iter().flat_map(|path| stack.iter().map(move |layer| layer.join(path))) {
        if std::fs::symlink_metadata(&whiteout).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
        {
            let dir = std::fs::File::open(whiteout.parent().unwrap()).unwrap();
            let times = std::fs::FileTimes::new().set_modified(dir.metadata().unwrap().modified().unwrap());
            std::fs::remove_file(&whiteout).unwrap();
            dir.set_times(times).unwrap();
        }
    }
    Mounted::overlay(stack)
}

/// How the trees of one image differ.
fn compare(dir: &Path, archive: &Path, options: &[&str], since: i64) -> Vec<String> {
    let (layers, rootfs) = (dir.join("layers"), dir.join("rootfs"));
    for (way, to) in [("--layers", &layers), ("--rootfs", &rootfs)] {
        let mut command = layer_unpack(&[archive.as_os_str(), way.as_ref(), to.as_os_str()]);
        command.args(options).arg("--no-sync");
        run(command, Input::Nothing).ok();
    }
    let list: Value = serde_json::from_slice(&std::fs::read(layers.join("layers.json")).unwrap()).unwrap();
    let diff = |layer: &Value| layers.join(layer["directory"].as_str().unwrap()).join("diff");
    let stack: Vec<PathBuf> = list["layers"].as_array().unwrap().iter().rev().map(diff).collect();
    let overlay = mount(&stack);
    let walk = |root: &Path| {
        let mut tree = testkit::lasting_walk(root, since);
        // The root's own metadata is that of the directory the user gave.
        tree.retain(|entry| entry.path != b".");
        tree
    };
    let (mut want, mut have) = (walk(overlay.path()), walk(&rootfs));
    assert!(!want.is_empty(), "an empty image compares nothing");
    let (want_links, have_links) = (linked(overlay.path(), &want), linked(&rootfs, &have));
    for entry in want.iter_mut().chain(&mut have) {
        // The kernel counts names that an upper layer hides.
        entry.links = 0;
    }
    let mut report = testkit::tree_changes(&want, &have);
    if want_links != have_links {
        report.push(format!("links {have_links:?}, not {want_links:?}"));
    }
    drop(overlay);
    for made in [layers, rootfs] {
        std::fs::remove_dir_all(made).unwrap();
    }
    report
}

#[test]
fn root_rootfs_of_goldens() {
    if !testkit::is_root() {
        return;
    }
    let (dir, since, mut report) = (testkit::scratch(), testkit::now() - 1, Vec::new());
    let images: [(&str, &[&str]); 8] = [
        ("busybox-20.10.tar", &[]),
        ("hybrid-26.tar", &[]),
        ("layers-20.10.tar", &[]),
        ("docker-archive-skopeo.tar", &[]),
        ("oci-skopeo-gzip.tar", &[]),
        ("oci-skopeo-zstd.tar", &[]),
        ("oci-umoci.tar", &["6704148228c9"]),
        ("shared-20.10.tar", &["layerfs-test/shared-base:1", "layerfs-test/app:1", "layerfs-test/twice:1"]),
    ];
    for (golden, names) in images {
        let options: Vec<Vec<&str>> = match names {
            [] => vec![Vec::new()],
            names => names.iter().map(|name| vec!["--image", name]).collect(),
        };
        for options in options {
            let found = compare(dir.path(), &testkit::golden(golden), &options, since);
            report.extend(found.into_iter().map(|line| format!("{golden} {options:?}: {line}")));
        }
    }
    testkit::assert_none("goldens", &report);
}

/// The lower layer of the two-layer cases.
fn base() -> Vec<u8> {
    tarfile::tar(&[
        tarfile::dir("tmp/").mode(0o1777),
        tarfile::dir("dd/").mode(0o750).owner(7, 0).record("SCHILY.xattr.user.lower", "1"),
        tarfile::file("dd/old", "old"),
        tarfile::hard_link("dd/hard", "dd/old"),
        tarfile::dir("dd/sub/").mode(0o700),
        tarfile::file("dd/sub/deep", "deep"),
        tarfile::file("f", "f"),
        tarfile::symlink("lnk", "dd"),
        tarfile::symlink("abs", "/dd"),
        tarfile::fifo("pipe"),
        tarfile::char_device("null", (1, 3)),
    ])
}

/// Upper layers, one for each question that a merge has to answer.
fn uppers() -> Vec<(&'static str, Vec<tarfile::TarMember>)> {
    let opaque = |dir: &str| tarfile::file(format!("{dir}.wh..wh..opq"), "");
    let white = |name: &str| tarfile::file(name, "");
    vec![
        ("implied directories", vec![tarfile::file("tmp/new", "new"), tarfile::file("dd/new", "new")]),
        ("whiteouts", vec![white(".wh.f"), white(".wh.dd")]),
        ("a whiteout, then the directory", vec![white(".wh.dd"), tarfile::dir("dd/"), tarfile::file("dd/new", "new")]),
        ("the directory, opaque", vec![tarfile::dir("dd/").mode(0o700), opaque("dd/"), tarfile::file("dd/new", "new")]),
        ("an opaque marker alone", vec![opaque("dd/"), tarfile::file("dd/new", "new")]),
        ("an opaque marker last", vec![tarfile::dir("dd/"), tarfile::file("dd/new", "new"), opaque("dd/")]),
        ("an opaque directory below", vec![opaque("dd/sub/"), tarfile::file("dd/sub/new", "new")]),
        ("a file through a link", vec![tarfile::file("lnk/new", "new")]),
        ("a directory over a link", vec![tarfile::dir("lnk/"), tarfile::file("lnk/x", "x")]),
        ("a whiteout below a link", vec![white("lnk/.wh.old")]),
        ("a file below an absolute link", vec![tarfile::file("abs/new", "new")]),
        ("a file over a directory", vec![tarfile::file("dd", "a file")]),
        ("a directory over a file", vec![tarfile::dir("f/").mode(0o711), tarfile::file("f/x", "x")]),
        ("a link over a directory", vec![tarfile::symlink("dd", "tmp")]),
        ("a file over a link", vec![tarfile::file("lnk", "a file")]),
        ("a pipe over a file", vec![tarfile::fifo("f")]),
        ("a device over a directory", vec![tarfile::char_device("dd", (1, 5))]),
        ("a file over a pipe and a device", vec![tarfile::file("pipe", "p"), tarfile::file("null", "n")]),
        ("a whiteout of a link", vec![white(".wh.lnk")]),
        ("whiteouts of nothing", vec![white(".wh.nope"), white("nodir/.wh.nope")]),
        ("an opaque root", vec![opaque(""), tarfile::file("z", "z")]),
        ("a whiteout of one of two names", vec![white("dd/.wh.old")]),
        ("one of two names replaced", vec![tarfile::file("dd/hard", "another")]),
        ("a directory with other metadata", vec![tarfile::dir("dd/").mode(0o777).owner(9, 9).mtime(1_650_000_000)]),
        ("attributes of a directory", vec![tarfile::dir("dd/").record("SCHILY.xattr.user.upper", "2")]),
        ("a raw whiteout", vec![tarfile::char_device("f", (0, 0)), tarfile::char_device("dd/old", (0, 0))]),
        (
            "a whiteout in an opaque directory",
            vec![opaque("dd/"), white("dd/.wh.old"), tarfile::file("dd/sub", "file")],
        ),
        ("two hard links in the upper layer", vec![tarfile::file("dd/n", "n"), tarfile::hard_link("m", "dd/n")]),
        ("nothing", vec![]),
    ]
}

#[test]
fn root_rootfs_of_two_layers() {
    if !testkit::is_root() {
        return;
    }
    let (dir, since, mut report) = (testkit::scratch(), testkit::now() - 1, Vec::new());
    let archive = dir.path().join("archive.tar");
    let again = tarfile::tar(&[tarfile::file("dd/third", "3"), tarfile::dir("f/"), tarfile::file("f/y", "y")]);
    for (title, members) in uppers() {
        let upper = tarfile::tar(&members);
        // Alone, with a layer on top of it, and between two that are the same.
        let stacks =
            [vec![base(), upper.clone()], vec![base(), upper.clone(), again.clone()], vec![base(), upper, base()]];
        for (number, stack) in stacks.iter().enumerate() {
            std::fs::write(&archive, DockerArchive::new("layerfs-test/two:1", stack).build()).unwrap();
            let found = compare(dir.path(), &archive, &[], since);
            report.extend(found.into_iter().map(|line| format!("{title}, stack {number}: {line}")));
        }
    }
    std::fs::write(&archive, synthetic::archive(2 << 20, 200)).unwrap();
    report.extend(compare(dir.path(), &archive, &[], since));
    testkit::assert_none("layers", &report);
}

#[test]
fn root_rootfs_refuses_and_leaves_nothing() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let archive = dir.path().join("archive.tar");
    let upper = tarfile::tar(&[tarfile::hard_link("h", "f")]);
    std::fs::write(&archive, DockerArchive::new("layerfs-test/two:1", &[base(), upper]).build()).unwrap();
    let used = dir.path().join("used");
    std::fs::create_dir(&used).unwrap();
    std::fs::write(used.join("file"), "mine").unwrap();
    let mut report = Vec::new();
    for way in ["--rootfs", "--layers"] {
        let unpack = |archive: &Path, to: &Path| {
            run(layer_unpack(&[archive.as_os_str(), way.as_ref(), to.as_os_str()]), Input::Nothing)
        };
        let before = TreeState::read(dir.path()).without_directory_times();
        let ran = unpack(&archive, &dir.path().join("new/directory"));
        report.extend(ran.complaints(&["layer.tar", "\"h\"", "No such file or directory"]));
        report.extend(before.changes(&TreeState::read(dir.path()).without_directory_times()));
        let before = TreeState::read(dir.path());
        let ran = unpack(&testkit::golden("busybox-20.10.tar"), &used);
        report.extend(ran.complaints(&["used", "is not empty"]));
        let ran = unpack(&testkit::golden("busybox-20.10.tar"), &used.join("file"));
        report.extend(ran.complaints(&["used/file", "Not a directory"]));
        report.extend(before.changes(&TreeState::read(dir.path())));
    }
    testkit::assert_none("refusals", &report);
}
