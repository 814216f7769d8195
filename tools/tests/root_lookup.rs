//! Single files and differences of images: found without reading what has no say, and what is found is what is unpacked.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::image::DockerArchive;
use testkit::root::RootContents;
use testkit::tarfile;
use testkit::{layerfs_on, printed_by_layerfs};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn archive(dir: &Path, name: &str, layers: &[Vec<u8>]) -> PathBuf {
    let path = dir.join(format!("{name}.tar"));
    std::fs::write(&path, DockerArchive::new(&format!("{name}:1"), layers).build()).unwrap();
    path
}

/// Every file of an image that has whatever leads a search by names astray, one by one, from an archive and from a store.
#[test]
fn every_file_is_found() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let long = format!("{}/{}", "long".repeat(30), "name".repeat(40));
    let layers = [
        tarfile::tar(&[
            tarfile::dir("usr/"),
            tarfile::file("usr/lib/base", "base"),
            tarfile::file("usr/lib/other", "other of the base"),
            tarfile::symlink("lib", "usr/lib"),
            // Through a symlink of the same layer, and through one behind it.
            tarfile::file("lib/through", "through"),
            tarfile::symlink("usr/lib/deeper", "../share/deep"),
            tarfile::file("lib/deeper/found", "found"),
            tarfile::file("gone/a", "a"),
            tarfile::file("gone/b", "b"),
            tarfile::file("hidden/a", "a"),
            tarfile::dir("turned/"),
            tarfile::file("turned/file", "below what becomes a link"),
        ]),
        tarfile::tar(&[
            tarfile::file("./dotted/file", "dotted"),
            tarfile::file("/rooted/file", "rooted"),
            tarfile::file("twice/./x/../file", "not clean"),
            tarfile::file(long.as_str(), "long"),
            tarfile::file("over", "first"),
            tarfile::file("over", "second"),
            tarfile::file("links/real", "linked"),
            tarfile::hard_link("elsewhere/link", "links/real"),
            tarfile::symlink("links/soft", "real"),
            tarfile::hard_link("links/soft2", "links/soft"),
            tarfile::file("gone/.wh.a", ""),
            tarfile::file("hidden/.wh..wh..opq", ""),
            tarfile::file("hidden/b", "b"),
            tarfile::symlink("turned", "usr"),
        ]),
        tarfile::tar(&[
            tarfile::symlink("c1", "c2"),
            tarfile::symlink("c2", "c3"),
            tarfile::symlink("c3", "/c4"),
            tarfile::symlink("c4", "usr/../c5"),
            tarfile::symlink("c5", "c6"),
            tarfile::symlink("c6", "turned/lib/base"),
            tarfile::file("usr/lib/other", "another one"),
            tarfile::file("large", vec![b'x'; 100_000]),
            tarfile::file("last", "last"),
        ]),
    ];
    let (root, archive) = (dir.path().join("root"), archive(dir.path(), "astray", &layers));
    testkit::import(&archive, &root);
    let layout = dir.path().join("layout");
    printed_by_layerfs(&root, &["save", "-q", "astray:1", "--compress", "gzip", "--directory", text(&layout)]);
    let unpacked = dir.path().join("unpacked");
    let output = Command::new(testkit::program("layer-unpack"))
        .args([text(&archive), "--no-sync", "--rootfs", text(&unpacked)])
        .output()
        .unwrap();
    testkit::succeeded("layer-unpack", output);
    let files: Vec<String> = testkit::tree::walk(&unpacked)
        .into_iter()
        .filter(|entry| entry.kind == 'f')
        .map(|entry| String::from_utf8(entry.path).unwrap())
        .collect();
    assert!(files.len() > 12, "{files:?}");
    let mut files: Vec<(String, Vec<u8>)> =
        files.into_iter().map(|file| (file.clone(), std::fs::read(unpacked.join(file)).unwrap())).collect();
    // Through links, as a process in the container would find them.
    for (path, content) in [
        ("lib/base", "base"),
        ("c1", "base"),
        ("turned/lib/base", "base"),
        ("links/soft2", "linked"),
        ("lib/../lib/through", "through"),
        ("/../lib//deeper/found", "found"),
    ] {
        files.push((path.into(), content.into()));
    }
    for from in [&[][..], &["--archive", text(&archive)], &["--archive", text(&layout)]] {
        for (file, content) in &files {
            let found = printed_by_layerfs(&root, &[&["image", "cat", "astray:1", file], from].concat());
            assert!(found == *content, "{file}, {from:?}: {}", found.escape_ascii());
        }
        for gone in ["gone/a", "hidden/a", "turned/file", "over/x", "none"] {
            let output = layerfs_on(&root, &[&["image", "cat", "astray:1", gone], from].concat());
            assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{gone}, {from:?}: {output:?}");
        }
    }
}

/// Of a plain archive, no layer is read below the one that has the file: here it could not be.
#[test]
fn the_layers_below_a_file_are_not_read() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let below = tarfile::tar(&[tarfile::file("a", "below"), tarfile::file("c", "c")]);
    let above = tarfile::tar(&[tarfile::file("a", "above"), tarfile::file("b/.wh.c", "")]);
    let root = dir.path().join("root");
    let broken = |tar: &[u8]| {
        let mut tar = tar.to_vec();
        // A header without a checksum that holds.
        tar[..512].fill(b'?');
        tar
    };
    let archive = archive(dir.path(), "broken", &[broken(&below), above]);
    let cat = |path: &str| layerfs_on(&root, &["image", "cat", "--archive", text(&archive), path]);
    assert_eq!(cat("/a").stdout, b"above");
    let output = cat("/c");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("layer"), "{said}");
}

/// Of layers that both images begin with, a diff reads no journal, and no file.
#[test]
fn a_diff_reads_no_shared_layer() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let base = tarfile::tar(&[
        tarfile::dir("etc/"),
        tarfile::file("etc/same", "same"),
        tarfile::file("etc/gone", "gone"),
        tarfile::file("etc/changed", "before").mode(0o640).owner(7, 8),
        tarfile::dir("whole/"),
        tarfile::file("whole/a", "a"),
        tarfile::file("whole/sub/b", "b"),
        tarfile::dir("opaque/"),
        tarfile::file("opaque/old", "old"),
        tarfile::file("far/away", "far away"),
    ]);
    let middle = tarfile::tar(&[tarfile::file("etc/.wh.gone", ""), tarfile::file("more", "more")]);
    let one = tarfile::tar(&[tarfile::file("etc/new", "new"), tarfile::file(".wh.whole", "")]);
    let other = tarfile::tar(&[
        tarfile::dir("etc/"),
        tarfile::file("etc/changed", "after!").mode(0o640).owner(7, 8),
        tarfile::file("etc/gone", "again"),
        tarfile::file("opaque/.wh..wh..opq", ""),
        tarfile::file("opaque/young", "young"),
        tarfile::symlink("far", "more"),
    ]);
    for (name, top) in [("one", one), ("other", other)] {
        testkit::import(&archive(dir.path(), name, &[base.clone(), middle.clone(), top]), &root);
    }
    let diff = |from: &str, to: &str| {
        let text = String::from_utf8(printed_by_layerfs(&root, &["image", "diff", from, to])).unwrap();
        // Without the layer.
        text.lines().map(|line| format!("{}{}", &line[..2], &line[15..])).collect::<Vec<_>>()
    };
    let expected = [
        "C /etc  (mtime)",
        "C /etc/changed  (content)",
        "A /etc/gone",
        "D /etc/new",
        "C /far  (type, mode, mtime)",
        "C /opaque  (mtime)",
        "D /opaque/old",
        "A /opaque/young",
        "A /whole",
        "A /whole/a",
        "A /whole/sub",
        "A /whole/sub/b",
    ];
    let found = diff("one:1", "other:1");
    assert_eq!(found, expected);
    let back = diff("other:1", "one:1");
    // The shared layers' journals are damaged, and the content of their files is gone, and so would be what is read of them.
    let store = RootContents::read(&root);
    let records = root.join("image/overlay2/layerdb/sha256");
    let record = |chain: &str| records.join(chain.trim_start_matches("sha256:"));
    let parents: BTreeSet<String> =
        store.layers.keys().filter_map(|chain| std::fs::read_to_string(record(chain).join("parent")).ok()).collect();
    assert_eq!(parents.len(), 2);
    for parent in parents {
        let same = |chain: &&String| chain.trim_start_matches("sha256:") == parent.trim_start_matches("sha256:");
        let layer = &store.layers[store.layers.keys().find(same).unwrap()];
        let journal = record(&parent).join("tar-split.json.gz");
        std::fs::write(journal, "damaged").unwrap();
        let files = root.join("overlay2").join(&layer.cache_id).join("diff");
        for entry in testkit::tree::walk(&files).into_iter().filter(|entry| entry.kind == 'f') {
            let path = files.join(std::ffi::OsStr::from_bytes(&entry.path));
            if path.metadata().unwrap().len() > 0 && !path.ends_with("etc/changed") {
                let times = path.metadata().unwrap().modified().unwrap();
                std::fs::write(&path, vec![b'?'; entry.size.try_into().unwrap()]).unwrap();
                std::fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
            }
        }
    }
    assert_eq!(diff("one:1", "other:1"), found);
    assert_eq!(diff("other:1", "one:1"), back);
}

/// The beginning of its id finds a damaged image, too.
#[test]
fn the_owner_of_a_damaged_image_is_found_by_the_beginning_of_its_id() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let configs = root.join("image/overlay2/imagedb/content/sha256");
    let config = std::fs::read_dir(configs).unwrap().next().unwrap().unwrap().path();
    let id = config.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::write(&config, "{}").unwrap();
    for text in [&id[..12], &id, "layerfs-test/busybox:1"] {
        let output = layerfs_on(&root, &["system", "owner", "--json", text]);
        let answers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let image = &answers[0]["images"][0];
        assert_eq!(
            (image["id"].as_str(), output.status.code()),
            (Some(format!("sha256:{id}").as_str()), Some(0)),
            "{text}"
        );
        assert!(image["damage"].as_str().is_some_and(|damage| damage.contains("digest")), "{text}: {answers}");
    }
}
