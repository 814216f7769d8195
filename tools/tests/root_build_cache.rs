//! `build --cache-to` and `--cache-from`: what a fresh store takes from a registry and from a directory.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
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
    let index: Value = serde_json::from_str(&testkit::succeeded("skopeo", raw)).unwrap();
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

/// The number of bytes in a column of a report's line.
fn bytes(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

#[test]
fn what_builds_have_left_is_counted_once() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("one"), vec![b'1'; 300_000]).unwrap();
    let mount = "RUN --mount=type=cache,id=kept,target=/kept cp /one /kept/one && cp /one /kept/two\n";
    std::fs::write(context.join("Dockerfile"), format!("{STAGES}COPY one /one\n{mount}")).unwrap();
    let root = root(&dir, "root");
    done(&root, &context, &["-t", "built:1"]);
    let image_du = |arguments: &[&str]| {
        let output = Command::new(testkit::program("image-du")).arg("--root").arg(&root).args(arguments).output();
        testkit::succeeded("image-du", output.unwrap())
    };
    let report: Value = serde_json::from_str(&image_du(&["--json"])).unwrap();
    let du = Command::new("du").args(["-x", "-s", "-B1"]).arg(&root).output().unwrap();
    let du: u64 = testkit::succeeded("du", du).split('\t').next().unwrap().parse().unwrap();
    assert_eq!((bytes(&report["total_allocated"]), bytes(&report["unaccounted"])), (du, 0));
    let list = |name: &str| report[name].as_array().unwrap().clone();
    // Each step has a row with its own layer; what the image has of it is shared.
    let steps = list("steps");
    assert_eq!((steps.len(), list("images").len(), list("cache_mounts").len()), (6, 2, 1), "{report}");
    for step in &steps {
        let (shared, unique) = (bytes(&step["shared"]), bytes(&step["unique"]));
        assert_eq!(bytes(&step["allocated"]), shared + unique, "{step}");
        let layers = list("layers");
        let layer = layers.iter().find(|layer| layer["id"] == step["layer"]).unwrap();
        assert_eq!(bytes(&step["allocated"]), bytes(&step["records"]) + bytes(&layer["allocated"]), "{step}");
        assert!(layer["build_cache"] == true && bytes(&layer["images"]) <= 1, "{layer}");
    }
    let of = |text: &str| steps.iter().filter(|step| step["created_by"].as_str().unwrap().contains(text)).count();
    assert_eq!((of("COPY one /one"), of("cat /one"), of("cp /one /kept/one")), (2, 1, 1), "{report}");
    assert!(bytes(&list("cache_mounts")[0]["apparent"]) >= 600_000, "{report}");
    let sum = |name: &str, key: &str| list(name).iter().map(|one| bytes(&one[key])).sum::<u64>();
    let parts = [
        ("images", "records"),
        ("steps", "records"),
        ("layers", "allocated"),
        ("volumes", "allocated"),
        ("cache_mounts", "allocated"),
        ("unowned", "allocated"),
    ];
    assert_eq!(parts.map(|(name, key)| sum(name, key)).iter().sum::<u64>(), du, "{report}");
    // The rows are those of `system df`.
    let df = testkit::made_by_layerfs(&root, &["system", "df"]);
    let text = image_du(&[]);
    assert!(text.starts_with(&df), "{df}\n{text}");
    assert!(df.lines().any(|line| line.split_whitespace().take(4).eq(["Build", "Cache", "7", "0"])), "{df}");
    let (_, table) = text.split_once("Build cache of layerfs build\n").unwrap();
    let table: Vec<&str> = table.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    assert_eq!((table.len(), table.iter().filter(|line| line.contains("cache mount")).count()), (7, 1), "{text}");
    assert!(table.iter().any(|line| line.ends_with("kept")), "{text}");
    // The lines of the CSV add up, too.
    let csv = image_du(&["--csv"]);
    let lines = |kind: &str| csv.lines().filter(|line| line.starts_with(&format!("{kind},"))).count();
    assert_eq!((lines("step"), lines("cache_mount"), lines("image"), lines("layer")), (6, 1, 2, list("layers").len()));
    let page = dir.path().join("page.html");
    image_du(&["--html", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    let start = page.find("{\"kinds\":").unwrap();
    let (data, _) = page[start..].split_once("</script>").unwrap();
    let nodes = serde_json::from_str::<Value>(data).unwrap()["nodes"].as_array().unwrap().clone();
    let below =
        |parent: i64| nodes.iter().filter(move |node| node[0] == parent).map(|node| bytes(&node[2])).sum::<u64>();
    assert_eq!(below(0), du);
    let cache = nodes.iter().position(|node| node[5] == "build cache of layerfs build").unwrap();
    assert_eq!(below(cache as i64), bytes(&nodes[cache][2]));
    assert_eq!(nodes.iter().filter(|node| node[0] == cache as i64).count(), 7);
    // Nothing is wrong with it, and what no image stands on may go.
    testkit::succeeded("system check", testkit::layerfs_on(&root, &["system", "check", "--deep"]));
    let gc = Command::new(testkit::program("image-gc")).arg("--root").arg(&root).output().unwrap();
    let gc = testkit::succeeded("image-gc", gc);
    assert!(gc.contains("build cache of RUN cat /one >/out") && gc.contains("build cache of COPY one /one"), "{gc}");
    assert!(!gc.contains("/kept") && !gc.contains("built:1"), "{gc}");
}
