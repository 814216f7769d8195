//! Images looked into: the same from a store, an archive and a layout, and the same as what is unpacked.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::cases::TreeEntry;
use testkit::image::DockerArchive;
use testkit::{layerfs_on, printed_by_layerfs};
use testkit::{synthetic, tarfile};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `layer-unpack --rootfs` makes of the image of an archive.
fn unpacked(archive: &Path, image: &str, to: &Path) -> BTreeMap<Vec<u8>, TreeEntry> {
    let output = Command::new(testkit::program("layer-unpack"))
        .arg(archive)
        .args(["--image", image, "--no-sync", "--rootfs"])
        .arg(to)
        .output()
        .unwrap();
    testkit::succeeded("layer-unpack", output);
    testkit::tree::walk(to)
        .into_iter()
        .filter(|entry| entry.path != b".")
        .map(|entry| (entry.path.clone(), entry))
        .collect()
}

#[test]
fn an_image_is_what_is_unpacked() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, archive) = (dir.path().join("root"), dir.path().join("archive.tar"));
    std::fs::write(&archive, synthetic::archive(1 << 20, 200)).unwrap();
    let mut sources: Vec<(PathBuf, &str)> = vec![(archive, synthetic::TAG)];
    for (golden, image) in [
        ("busybox-20.10.tar", "layerfs-test/busybox:1"),
        ("layers-20.10.tar", "layerfs-test/layers:1"),
        ("shared-20.10.tar", "layerfs-test/twice:1"),
    ] {
        sources.push((testkit::golden(golden), image));
    }
    let mut report = Vec::new();
    for (number, (archive, image)) in sources.iter().enumerate() {
        testkit::import(archive, &root);
        let layout = dir.path().join(format!("layout{number}"));
        printed_by_layerfs(&root, &["save", "-q", image, "--compress", "gzip", "--directory", text(&layout)]);
        let listed = printed_by_layerfs(&root, &["image", "files", image, "--json"]);
        for place in [archive, &layout] {
            let same = printed_by_layerfs(&root, &["image", "files", image, "--json", "--archive", text(place)]);
            assert!(same == listed, "{}: another list", place.display());
        }
        let tree = dir.path().join(format!("tree{number}"));
        let want = unpacked(archive, image, &tree);
        let mut seen = BTreeSet::new();
        for line in String::from_utf8(listed).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = match line["path_base64"].as_str() {
                Some(_) => continue,
                None => line["path"].as_str().unwrap().as_bytes()[1..].to_vec(),
            };
            let Some(want) = want.get(&path) else {
                report.push(format!("{image}: {} is not unpacked", path.escape_ascii()));
                continue;
            };
            let kind = match line["kind"].as_str().unwrap() {
                "directory" => 'd',
                "file" => 'f',
                other => other.chars().next().unwrap(),
            };
            let same_kind = kind == want.kind || !['d', 'f'].contains(&kind);
            let numbers = |name: &str| line[name].as_u64().unwrap();
            let owner = (numbers("uid"), numbers("gid")) == (want.owner.0.into(), want.owner.1.into());
            let symlink = line["kind"] == "symlink";
            let same = same_kind && owner && (symlink || numbers("mode") == u64::from(want.mode));
            if !same || kind == 'f' && numbers("size") != want.size {
                report.push(format!("{image}: {line}\n  unpacked {:?} {:o} {:?}", want.kind, want.mode, want.owner));
            }
            seen.insert(path);
        }
        let unseen = want.keys().filter(|path| std::str::from_utf8(path).is_ok() && !seen.contains(*path));
        report.extend(unseen.map(|path| format!("{image}: {} is not listed", path.escape_ascii())));
        // The bytes of some of its files, from everywhere.
        let files: Vec<&TreeEntry> = want
            .values()
            .filter(|entry| entry.kind == 'f' && std::str::from_utf8(&entry.path).is_ok())
            .step_by(17)
            .collect();
        assert!(!files.is_empty());
        let mut arguments = vec!["image", "cat", image];
        arguments.extend(files.iter().map(|entry| std::str::from_utf8(&entry.path).unwrap()));
        let bytes: Vec<u8> = files
            .iter()
            .flat_map(|entry| std::fs::read(tree.join(std::ffi::OsStr::from_bytes(&entry.path))).unwrap())
            .collect();
        let found = printed_by_layerfs(&root, &arguments);
        assert!(found == bytes, "{image}: {} bytes, not {}: {arguments:?}", found.len(), bytes.len());
        for place in [archive, &layout] {
            assert!(
                printed_by_layerfs(&root, &[&arguments[..], &["--archive", text(place)]].concat()) == bytes,
                "{}",
                place.display()
            );
        }
        // As a tar it is the tree, too.
        let tar = dir.path().join("exported.tar");
        printed_by_layerfs(&root, &["image", "export", image, "-o", text(&tar)]);
        let again = dir.path().join(format!("again{number}"));
        std::fs::create_dir(&again).unwrap();
        let untarred = Command::new("tar").args(["--numeric-owner", "-C", text(&again), "-xpf", text(&tar)]).output();
        testkit::succeeded("tar", untarred.unwrap());
        for entry in testkit::tree::walk(&again).into_iter().filter(|entry| entry.path != b".") {
            let same = want.get(&entry.path).is_some_and(|want| {
                (want.kind, want.mode, want.owner, &want.data, &want.target, want.links)
                    == (entry.kind, entry.mode, entry.owner, &entry.data, &entry.target, entry.links)
            });
            if !same {
                report.push(format!("{image}: {} is exported differently", entry.path.escape_ascii()));
            }
        }
    }
    testkit::assert_none("images", &report);
}

/// Every change between two images, as GNU diff finds it in their trees.
#[test]
fn a_diff_is_what_differs() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, archive) = (dir.path().join("root"), dir.path().join("archive.tar"));
    let base = tarfile::tar(&[
        tarfile::dir("etc/"),
        tarfile::file("etc/same", "same"),
        tarfile::file("etc/other", "other"),
        tarfile::file("etc/gone", "gone"),
        tarfile::file("etc/mode", "mode"),
        tarfile::dir("old/"),
        tarfile::file("old/in", "in"),
    ]);
    let above = tarfile::tar(&[
        tarfile::file("etc/other", "OTHER"),
        tarfile::file("etc/.wh.gone", ""),
        tarfile::file("etc/mode", "mode").mode(0o600),
        tarfile::file("etc/same", "same"),
        tarfile::file(".wh.old", ""),
        tarfile::file("new", "new"),
    ]);
    let other = tarfile::tar(&[tarfile::file("etc/other", "other"), tarfile::symlink("link", "etc")]);
    for (name, layers) in
        [("one:1", vec![base.clone()]), ("two:1", vec![base.clone(), above]), ("three:1", vec![base, other])]
    {
        std::fs::write(&archive, DockerArchive::new(name, &layers).build()).unwrap();
        testkit::import(&archive, &root);
    }
    let diff = |one: &str, other: &str| -> Vec<String> {
        let text = String::from_utf8(printed_by_layerfs(&root, &["image", "diff", one, other])).unwrap();
        // Without the layer.
        text.lines().map(|line| format!("{}{}", &line[..2], &line[15..])).collect()
    };
    let expected =
        ["C /etc  (mtime)", "D /etc/gone", "C /etc/mode  (mode)", "C /etc/other  (content)", "A /new", "D /old"];
    let found = diff("one:1", "two:1");
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    // The second layer has no entry for the directory: dockerd makes one of its own, without the time of the first.
    assert_eq!(found, expected);
    assert_eq!(diff("two:1", "one:1").len(), found.len() + 1, "what is in a directory that is new is new");
    assert!(diff("one:1", "one:1").is_empty());
    let found = diff("two:1", "three:1");
    for line in ["A /etc/gone", "C /etc/other  (content)", "A /link", "D /new", "A /old", "A /old/in"] {
        assert!(found.contains(&line.to_owned()), "{line}: {found:?}");
    }
    let stat = String::from_utf8(printed_by_layerfs(&root, &["image", "diff", "one:1", "two:1", "--stat"])).unwrap();
    assert!(stat.contains("+1 ~3 -0") && stat.contains("+0 ~0 -2"), "{stat}");
    for line in
        String::from_utf8(printed_by_layerfs(&root, &["image", "diff", "one:1", "two:1", "--json"])).unwrap().lines()
    {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

/// Nothing outside of an image is read through it, and nothing goes on for ever.
#[test]
fn hostile_images_lead_nowhere() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, archive) = (dir.path().join("root"), dir.path().join("archive.tar"));
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "TOP SECRET").unwrap();
    let up = format!("{}{}", "../".repeat(40), text(&secret));
    let deep: Vec<u8> = [b"d/".repeat(2000), b"file".to_vec()].concat();
    let layer = tarfile::tar(&[
        tarfile::symlink("absolute", text(&secret)),
        tarfile::symlink("up", &up),
        tarfile::symlink("dir", "/"),
        tarfile::symlink("one", "two"),
        tarfile::symlink("two", "one"),
        tarfile::symlink("self", "self/x"),
        tarfile::file(deep.clone(), "deep"),
        tarfile::file("real", "real"),
        tarfile::symlink("through", "dir/dir/dir/real"),
    ]);
    std::fs::write(&archive, DockerArchive::new("hostile:1", &[layer]).build()).unwrap();
    testkit::import(&archive, &root);
    for from in [&[][..], &["--archive", text(&archive)]] {
        let cat = |path: &str| layerfs_on(&root, &[&["image", "cat", "hostile:1", path], from].concat());
        for (path, said) in [
            ("/absolute", "No such file"),
            ("up", "No such file"),
            ("/../../../../real/x", "Not a directory"),
            ("one", "Too many levels"),
            ("self", "Too many levels"),
            ("/", "Is a directory"),
            ("/dir/dir", "Is a directory"),
        ] {
            let output = cat(path);
            let says = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.code() == Some(1) && says.contains(said) && output.stdout.is_empty(),
                "{path}: {says}"
            );
        }
        for path in ["/real", "/../../real", "through", "/dir/real"] {
            assert_eq!(cat(path).stdout, b"real", "{path}");
        }
        assert_eq!(cat(std::str::from_utf8(&deep).unwrap()).stdout, b"deep");
        let listed = layerfs_on(&root, &[&["image", "files", "hostile:1"], from].concat());
        assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 8 + 2001);
    }
    // A file of the store that was replaced by a way out.
    let layers = testkit::root::RootContents::read(&root).layers;
    let home = root.join("overlay2").join(&layers.values().next().unwrap().cache_id).join("diff");
    std::fs::remove_file(home.join("real")).unwrap();
    std::os::unix::fs::symlink(&secret, home.join("real")).unwrap();
    let output = layerfs_on(&root, &["image", "cat", "hostile:1", "/real"]);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    let output = layerfs_on(&root, &["image", "export", "hostile:1"]);
    assert!(output.status.code() == Some(1) && !output.stdout.windows(10).any(|part| part == b"TOP SECRET"));
}

/// Copies stay in their destination: no link of the image, and none that is there before, is a way out of it.
#[test]
fn hostile_images_are_copied_nowhere_else() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, archive) = (dir.path().join("root"), dir.path().join("archive.tar"));
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "before").unwrap();
    let deep: Vec<u8> = [b"deep/".to_vec(), b"d/".repeat(1900), b"file".to_vec()].concat();
    let out = text(&outside);
    let layer = tarfile::tar(&[
        tarfile::dir("up/"),
        tarfile::file("up/first", "first"),
        tarfile::symlink("up/link", "../../outside/file"),
        tarfile::dir("swap/"),
        tarfile::symlink("swap/a", out),
        tarfile::file("swap/b", "b"),
        tarfile::symlink("there", out),
        tarfile::dir("over/"),
        tarfile::file("over/file", "after"),
        tarfile::dir("over/sub/"),
        tarfile::file("over/sub/file", "after"),
        tarfile::file("over/whole", "whole"),
        tarfile::hard_link("over/again", "over/whole"),
        tarfile::file(deep, "deep"),
        tarfile::file("large", vec![b'x'; 1 << 20]),
    ]);
    std::fs::write(&archive, DockerArchive::new("hostile:1", &[layer]).build()).unwrap();
    testkit::import(&archive, &root);
    let untouched = || {
        let names: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "something was written outside");
        assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"before");
    };
    for (number, from) in [&[][..], &["--archive", text(&archive)]].into_iter().enumerate() {
        let to = dir.path().join(format!("to{number}"));
        std::fs::create_dir(&to).unwrap();
        let copy = |path: &str, to: &Path| layerfs_on(&root, &[&["image", "cp", path, text(to)], from].concat());
        let refused = |path: &str, to: &Path, said: &str| {
            let output = copy(path, to);
            let says = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && says.contains(said), "{path}: {says}");
            untouched();
        };
        // Nothing at all is written of a directory with a way out.
        refused("hostile:1:/up", &to, "invalid symlink");
        refused("hostile:1:/up/link", &to, "invalid symlink");
        assert!(std::fs::read_dir(&to).unwrap().next().is_none());
        // An absolute link is copied, but nothing is written through it.
        testkit::succeeded("cp", copy("hostile:1:/swap/.", &to));
        assert_eq!(std::fs::read_link(to.join("a")).unwrap(), outside);
        // Links that are there before: one in the place of a directory, one in the place of a file.
        std::os::unix::fs::symlink(&outside, to.join("over")).unwrap();
        refused("hostile:1:/over", &to, "cannot overwrite non-directory");
        std::fs::remove_file(to.join("over")).unwrap();
        std::fs::create_dir(to.join("over")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), to.join("over/file")).unwrap();
        testkit::succeeded("cp", copy("hostile:1:/over", &to));
        assert_eq!(std::fs::read(to.join("over/file")).unwrap(), b"after");
        std::fs::remove_dir_all(to.join("over/sub")).unwrap();
        std::os::unix::fs::symlink(&outside, to.join("over/sub")).unwrap();
        refused("hostile:1:/over", &to, "cannot overwrite non-directory");
        // A link followed within the image leads into the image.
        let output = layerfs_on(&root, &[&["image", "cp", "-L", "hostile:1:/there", text(&to)], from].concat());
        assert!(String::from_utf8_lossy(&output.stderr).contains("No such image:path: hostile:1:/there"), "{output:?}");
        testkit::succeeded("cp", copy("hostile:1:/deep", &to));
        assert!(to.join("deep/d/d").is_dir());
        untouched();
        let names = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.collect::<BTreeSet<_>>(), ["a", "b", "deep", "over"].map(String::from).into());
    }
    // A file that cannot be written whole leaves what was there.
    let to = dir.path().join("limited");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("large"), "before").unwrap();
    let limited = Command::new("prlimit")
        .arg("--fsize=65536")
        .arg(testkit::program("layerfs"))
        .args(["--root", text(&root), "image", "cp", "hostile:1:/large", text(&to)])
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(1), "{limited:?}");
    assert_eq!(std::fs::read(to.join("large")).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1, "a part of a file is left");
    // A file of the store that was replaced by a way out is not read, and leaves nothing.
    let layers = testkit::root::RootContents::read(&root).layers;
    let home = root.join("overlay2").join(&layers.values().next().unwrap().cache_id).join("diff");
    std::fs::remove_file(home.join("swap/b")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), home.join("swap/b")).unwrap();
    let to = dir.path().join("last");
    std::fs::create_dir(&to).unwrap();
    let output = layerfs_on(&root, &["image", "cp", "hostile:1:/swap/b", text(&to)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(std::fs::read_dir(&to).unwrap().next().is_none(), "a part of a file is left");
}
