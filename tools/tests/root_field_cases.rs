//! Archives as people have them: names, signatures, partial archives, skopeo's directory, the same layer twice.
//! `testdata/field-cases/README.md` says where each comes from and who judged it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::run::{Input, Ran, layer_unpack, run};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/field-cases").join(name)
}

/// `layer-unpack CASE --no-sync WAY TO`
fn unpack(case: &Path, arguments: &[&str], to: &Path) -> Ran {
    let (case, to) = (case.to_str().unwrap(), to.to_str().unwrap());
    run(layer_unpack(&[&[case, "--no-sync"], arguments, &[to]].concat()), Input::Nothing)
}

/// The names in a store, and the ids that they lead to.
fn names(root: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read(root.join("image/overlay2/repositories.json")).unwrap_or_else(|_| b"{}".to_vec());
    let stored: Value = serde_json::from_slice(&text).unwrap();
    let repositories = stored["Repositories"].as_object().cloned().unwrap_or_default();
    let names = repositories.values().flat_map(|names| names.as_object().unwrap().clone());
    names.map(|(name, id)| (name, id.as_str().unwrap().to_owned())).collect()
}

fn images(root: &Path) -> usize {
    std::fs::read_dir(root.join("image/overlay2/imagedb/content/sha256")).unwrap().count()
}

/// The image of the cases whose names are bad.
const ID: &str = "7cac5f91fd5f0e22c17f820f3f6012b0beff656df0a9ad8f9f8f03824ea92b53";

#[test]
fn root_names_that_cannot_be_used_block_nothing_that_needs_none() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    for (name, word) in [("02-repotags-none-none.tar", "<none>:<none>"), ("04-names-upper.tar", "bazel/MyImage:tag")] {
        let archive = case(name);
        let to = dir.path().join("to");
        let ran = unpack(&archive, &["--root"], &to);
        assert!(ran.complaints(&[word, "--tag NAME[:TAG]"]).is_empty(), "{ran:?}");
        assert!(!to.exists());
        for (arguments, expected) in [
            (&["--tag", "good:1", "--root"][..], &["good:1"][..]),
            (&["--image", &ID[..12], "--root"], &[]),
            (&["--image", &ID[..12], "--tag", "good:1", "--root"], &["good:1"]),
            (&["--rootfs"], &[]),
            (&["--layers"], &[]),
        ] {
            let ran = unpack(&archive, arguments, &to).ok();
            assert!(
                ran.stderr.contains("warning: manifest.json: item 0: invalid tag"),
                "{arguments:?}: {}",
                ran.stderr
            );
            let untold = arguments.contains(&"--root") && expected.is_empty();
            assert_eq!(ran.stderr.contains("has no name: --tag NAME[:TAG] gives it one"), untold, "{}", ran.stderr);
            assert_eq!(names(&to).keys().collect::<Vec<_>>(), expected, "{arguments:?}");
            std::fs::remove_dir_all(&to).unwrap();
        }
    }
}

#[test]
fn root_names_of_layouts() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    for (name, expected) in [
        ("13-oci-names-comma-name.tar", &["a:1", "b:2"][..]),
        ("13-oci-names-comma-ref.tar", &["a:1", "b:2"]),
        (
            "13-oci-names-ref-tagdigest.tar",
            &["x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
        ),
        ("04-names-tagdigest.tar", &[]),
        ("16-dir-dir.tar", &[]),
    ] {
        let to = dir.path().join(name);
        let ran = unpack(&case(name), &["--root"], &to).ok();
        assert_eq!(names(&to).keys().collect::<Vec<_>>(), expected, "{name}: {}", ran.stderr);
        assert_eq!(images(&to), 1, "{name}");
        assert_eq!(ran.stderr.contains("has no name"), expected.is_empty(), "{name}: {}", ran.stderr);
    }
}

#[test]
fn root_signatures_are_left_out_and_said() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    for arguments in [&["--root"][..], &["--rootfs"]] {
        let to = dir.path().join(arguments[0]);
        let ran = unpack(&case("12-cosign-layout.tar"), arguments, &to).ok();
        assert!(ran.stderr.contains("left out: sha256:d494e35f"), "{}", ran.stderr);
        assert!(ran.stderr.contains("dev.cosign.simplesigning"), "{}", ran.stderr);
    }
    assert_eq!(images(&dir.path().join("--root")), 1);
}

/// What the store has is not looked for in the archive, under whatever name.
#[test]
fn root_layers_that_are_there_need_no_path() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let to = dir.path().join("to");
    let partial = case("07-partial-partial.tar");
    let ran = unpack(&partial, &["--root"], &to);
    assert!(ran.complaints(&["\"\"", "is a directory"]).is_empty(), "{ran:?}");
    unpack(&case("07-partial-base.tar"), &["--root"], &to).ok();
    unpack(&partial, &["--root"], &to).ok();
    assert_eq!(names(&to).keys().collect::<Vec<_>>(), ["part-base:1", "part:1"]);
}

#[test]
fn root_one_image_of_several_is_imported() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let to = dir.path().join("to");
    let several = testkit::golden("shared-20.10.tar");
    unpack(&several, &["--image", "layerfs-test/app:1", "--root"], &to).ok();
    assert_eq!(names(&to).keys().collect::<Vec<_>>(), ["layerfs-test/app:1"]);
    assert_eq!(images(&to), 1);
    let ran = unpack(&several, &["--image", "no:such", "--root"], &to);
    assert!(ran.complaints(&["no image no:such", "layerfs-test/app:1"]).is_empty(), "{ran:?}");
    let ran = unpack(&several, &["--tag", "x:1", "--root"], &to);
    assert!(ran.complaints(&["given to one image", "--image"]).is_empty(), "{ran:?}");
}

/// A pipe gives a layer once; an image that has it twice gets a copy, as from a file.
#[test]
fn root_a_layer_that_comes_twice_through_a_pipe() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let archive = testkit::golden("shared-20.10.tar");
    let bytes = std::fs::read(&archive).unwrap();
    for form in ["--layers", "--rootfs"] {
        let arguments = ["--image", "layerfs-test/twice:1", form];
        let (file, pipe) = (dir.path().join(format!("file{form}")), dir.path().join(format!("pipe{form}")));
        unpack(&archive, &arguments, &file).ok();
        let command = layer_unpack(&[&["-", "--no-sync"], &arguments[..], &[pipe.to_str().unwrap()]].concat());
        run(command, Input::Pipe(&bytes)).ok();
        let compared = std::process::Command::new("diff").arg("-r").args([&file, &pipe]).output().unwrap();
        let differs = String::from_utf8_lossy(&compared.stdout).into_owned();
        assert!(compared.status.success(), "{form}: {differs}");
    }
    let list: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("pipe--layers/layers.json")).unwrap()).unwrap();
    let layers: Vec<&str> =
        list["layers"].as_array().unwrap().iter().map(|layer| layer["diff_id"].as_str().unwrap()).collect();
    let distinct: std::collections::BTreeSet<&&str> = layers.iter().collect();
    assert!(distinct.len() < layers.len(), "the golden has a layer twice: {layers:?}");
}

#[test]
fn root_empty_inputs_are_called_empty() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let empty = dir.path().join("empty.tar");
    std::fs::write(&empty, b"").unwrap();
    for archive in [empty.as_path(), Path::new("/dev/null")] {
        for way in ["--root", "--rootfs", "--layers"] {
            let ran = unpack(archive, &[way], &dir.path().join("to"));
            assert!(ran.complaints(&[archive.to_str().unwrap(), "is empty"]).is_empty(), "{way}: {ran:?}");
        }
    }
}
