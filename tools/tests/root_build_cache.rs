//! `build --cache-to` and `--cache-from`: what a fresh store takes from a registry and from a directory.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use testkit::registry::{Registry, layerfs_anonymous};

const STAGES: &str = "FROM layerfs-test/busybox:1 AS made
COPY one /one
RUN cat /one >/out
FROM layerfs-test/busybox:1
COPY --from=made /out /out
RUN cat /out >/last
";

fn root(dir: &TempDir, name: &str) -> PathBuf {
    let root = testkit::empty_root(dir, name);
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    root
}

/// Builds, and returns the lines of the steps that were not found in the cache, and what was said.
fn done(root: &Path, context: &Path, options: &[&str]) -> (Vec<String>, String) {
    let arguments = [&["build", "--no-sync", "--reproducible"], options, &[context.to_str().unwrap()]].concat();
    let ran = layerfs_anonymous(root, &arguments);
    assert!(ran.code == Some(0), "{}", ran.stderr);
    let mut names = HashMap::new();
    let mut done = Vec::new();
    for line in ran.stderr.lines() {
        let Some((number, rest)) = line.split_once(' ').filter(|_| line.starts_with('#')) else { continue };
        if rest.starts_with('[') {
            names.insert(number, rest.to_owned());
        }
        if rest.starts_with("DONE") {
            done.extend(names.remove(number).filter(|name| ["RUN", "COPY"].iter().any(|word| name.contains(word))));
        }
    }
    (done, ran.stderr)
}

#[test]
fn a_fresh_store_takes_its_steps_from_a_cache_elsewhere() {
    if !testkit::is_root() || !Registry::installed("root") {
        return;
    }
    let dir = testkit::scratch();
    let registry = Registry::start(&dir.path().join("registry"));
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("one"), "one").unwrap();
    std::fs::write(context.join("Dockerfile"), STAGES).unwrap();
    let local = dir.path().join("local");
    let first = root(&dir, "first");
    let name = |kind: &str| format!("{}/cache:{kind}", registry.host);
    let to = |kind: &str| format!("type=registry,ref={},mode={kind}", name(kind));
    let in_dir = |kind: &str| format!("{}-{kind}", local.display());
    let local_to = |kind: &str| format!("type=local,dest={},mode={kind}", in_dir(kind));
    // A cache that is not there yet is none.
    let missing = format!("type=registry,ref={}", name("min"));
    let mut options = vec!["--cache-from".to_owned(), missing];
    for kind in ["min", "max"] {
        options.extend(["--cache-to".into(), to(kind), "--cache-to".into(), local_to(kind)]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (steps, said) = done(&first, &context, &options);
    assert_eq!(steps.len(), 4, "{said}");
    // The registry has one index, of which another program can read each image.
    let raw = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{}", name("max"))])
        .output()
        .unwrap();
    let index: serde_json::Value = serde_json::from_str(&testkit::succeeded("skopeo", raw)).unwrap();
    let records = index["manifests"].as_array().unwrap();
    assert_eq!(records.len(), 4, "{index}");
    let mut number = 0;
    for (from, expected) in [
        (format!("type=registry,ref={}", name("max")), 0),
        (format!("type=local,src={}", in_dir("max")), 0),
        // The steps of the first stage are in no layer of the image.
        (format!("type=registry,ref={}", name("min")), 2),
        (format!("type=local,src={}", in_dir("min")), 2),
        // A cache that cannot be read costs time alone.
        ("type=registry,ref=127.0.0.1:1/x".to_owned(), 4),
    ] {
        number += 1;
        let fresh = root(&dir, &format!("fresh-{number}"));
        let (steps, said) = done(&fresh, &context, &["--cache-from", &from]);
        assert_eq!(steps.len(), expected, "{from}: {steps:?}\n{said}");
        let made = steps.iter().filter(|line| line.starts_with("[made ")).count();
        assert_eq!(made, expected.min(2), "{from}: {steps:?}");
        testkit::succeeded("system check", testkit::layerfs_on(&fresh, &["system", "check", "--deep"]));
    }
}

#[test]
fn the_records_of_builds_are_rows_of_the_build_cache() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("one"), "one").unwrap();
    std::fs::write(context.join("Dockerfile"), STAGES).unwrap();
    let root = root(&dir, "root");
    let rows = || {
        let format = "{{.Type}}|{{.TotalCount}}|{{.Size}}|{{.Reclaimable}}";
        let text = testkit::made_by_layerfs(&root, &["system", "df", "--format", format]);
        let rows: Vec<String> = text.lines().map(str::to_owned).collect();
        (rows[0].clone(), rows[3].clone())
    };
    let before = rows();
    assert_eq!(before.1, "Build Cache|0|0B|0B");
    done(&root, &context, &["-t", "built:1"]);
    let (images, cache) = rows();
    // The two steps of the first stage are in no image: 3 bytes and 3 bytes.
    assert_eq!(cache, "Build Cache|4|6B|6B");
    assert!(images.starts_with("Images|2|"), "{images}");
    let text = testkit::made_by_layerfs(&root, &["system", "df", "-v"]);
    let (_, table) = text.split_once("Build cache usage: 6B\n").unwrap();
    let shared = |line: &&&str| line.trim_end().ends_with("true");
    let lines: Vec<&str> = table.lines().filter(|line| line.contains("regular")).collect();
    assert_eq!((lines.len(), lines.iter().filter(shared).count()), (4, 2), "{text}");
    assert_eq!(text.matches("<none>").count(), 0, "{text}");
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f"]);
    let (again, cache) = rows();
    assert_eq!((again, cache.as_str()), (images, "Build Cache|2|0B|0B"));
    testkit::made_by_layerfs(&root, &["image", "rm", "built:1"]);
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f"]);
    assert_eq!(rows(), before);
}
