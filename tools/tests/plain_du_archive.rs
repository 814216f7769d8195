//! `image-du ARCHIVE`: what is said of an archive is what GNU tar and gzip find in it, however it comes, and no store is asked.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::golden;

/// A root that there is not: archives need none.
const NO_ROOT: [&str; 2] = ["--root", "/nonexistent/root"];

fn image_du(archive: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_image-du")).args(NO_ROOT).arg(archive).args(flags).output().unwrap()
}

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a shell prints, as a number.
fn number(script: &str, arguments: &[&OsStr]) -> u64 {
    let output = Command::new("sh").args(["-c", script, "sh"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap_or_else(|_| panic!("{script}: {text}"))
}

#[test]
fn sizes_are_those_that_tar_and_gzip_find() {
    let mut layers = 0;
    for (name, decode) in [
        ("busybox-20.10.tar", "cat"),
        ("layers-20.10.tar", "cat"),
        ("hybrid-26.tar", "cat"),
        ("oci-skopeo-gzip.tar", "gzip -dc"),
        ("oci-umoci.tar", "gzip -dc"),
    ] {
        let archive = golden(name);
        let document = document(&image_du(&archive, &["--json"]));
        for layer in document["layers"].as_array().unwrap() {
            let member = OsStr::new(layer["name"].as_str().unwrap());
            let arguments = [archive.as_os_str(), member];
            let stored = number("tar -xOf \"$1\" --wildcards \"*$2\" | wc -c", &arguments);
            let tar = number(&format!("tar -xOf \"$1\" --wildcards \"*$2\" | {decode} | wc -c"), &arguments);
            let list = format!("tar -xOf \"$1\" --wildcards \"*$2\" | {decode} | tar -tvf - --quoting-style=escape");
            // Hard links have a size of their own there that is no content.
            let files = number(&format!("{list} | grep -vc ^d || true"), &arguments);
            let bytes = number(&format!("{list} | awk '/^-/ {{ n += $3 }} END {{ print n + 0 }}'"), &arguments);
            let expected = json!([stored, tar, files, bytes]);
            assert_eq!(
                json!([layer["stored"], layer["tar"], layer["files"], layer["apparent"]]),
                expected,
                "{name} {layer}"
            );
            assert_eq!(layer["compression"], if decode == "cat" { Value::Null } else { "gzip".into() });
            layers += 1;
        }
    }
    assert!(layers > 12, "{layers}");
}

#[test]
fn it_is_the_same_however_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = golden("layers-20.10.tar");
    let packed = dir.path().join("packed.tgz");
    let mut gzip = Command::new("gzip");
    gzip.arg("-c").stdin(File::open(&whole).unwrap()).stdout(File::create(&packed).unwrap());
    assert!(gzip.status().unwrap().success());
    let unpacked = dir.path().join("layout");
    std::fs::create_dir(&unpacked).unwrap();
    assert!(Command::new("tar").arg("-xf").arg(&whole).arg("-C").arg(&unpacked).status().unwrap().success());
    let flags = ["--json", "--files"];
    let mut expected = document(&image_du(&whole, &flags));
    expected["archive"] = Value::Null;
    let pipe = || {
        let line = "cat \"$1\" | \"$0\" --root /nonexistent - --json --files";
        Command::new("sh").args(["-c", line]).arg(env!("CARGO_BIN_EXE_image-du")).arg(&whole).output().unwrap()
    };
    for output in [image_du(&packed, &flags), image_du(&unpacked, &flags), pipe()] {
        let mut found = document(&output);
        found["archive"] = Value::Null;
        assert_eq!(found, expected);
    }
    let directories = expected["files"]["directories"].as_array().unwrap();
    assert!(directories.iter().any(|one| one["path"] == "names"), "{directories:?}");
    // For people: of the image and of each layer, and nothing of a store.
    let text = String::from_utf8(image_du(&whole, &[]).stdout).unwrap();
    assert!(text.starts_with("layerfs-test/layers:1, layerfs-alias:latest  a4cac620065f\n"), "{text}");
    assert!(text.contains("\nTotal: 1 image, 4 layers: 126kB (125952 B)\n") && !text.contains("RECLAIMABLE"), "{text}");
}

#[test]
fn thresholds_judge_an_archive() {
    for (lowest, status, word) in [("0.5", 0, "PASS"), ("0.95", 1, "FAIL")] {
        let output = image_du(&golden("layers-20.10.tar"), &["--lowest-efficiency", lowest]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(&format!("{word} layerfs-test/layers:1 lowestEfficiency: ")), "{text}");
    }
}

/// One layer that is damaged does not hide what the others are.
#[test]
fn a_damaged_layer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    let unpack = Command::new("tar").arg("-xf").arg(golden("oci-skopeo-gzip.tar")).arg("-C").arg(&layout).status();
    assert!(unpack.unwrap().success());
    let before = document(&image_du(&layout, &["--json"]));
    let damaged = &before["layers"][0];
    let name = damaged["name"].as_str().unwrap();
    let file = layout.join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    let output = image_du(&layout, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains(name) && complaint.lines().count() == 1, "{complaint}");
    let after: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(after["layers"][0]["error"].is_string() && after["layers"][0]["tar"].is_null());
    assert_eq!(after["layers"][1], before["layers"][1]);
}

#[test]
fn what_does_not_go_together_is_said() {
    let archive = golden("busybox-20.10.tar");
    for (flags, word) in [
        (&["--html", "/nonexistent/x"][..], "--html"),
        (&["--freed-by", "a"], "--freed-by"),
        (&["--csv"], "--csv"),
        (&["app:1"], "anything besides"),
    ] {
        let output = image_du(&archive, flags);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains("is an archive, which does not go with") && complaint.contains(word), "{complaint}");
    }
    let output = image_du(Path::new("./missing.tar"), &[]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && complaint.contains("./missing.tar"), "{complaint}");
}
