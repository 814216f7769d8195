//! Siblings of the field cases: archives that differ from a good one in what tools get wrong. What dockerd takes, refuses and then
//! lists, and that we do the same.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::dockerd::Dockerd;
use testkit::image::{CONFIG, DockerArchive, layer_name, pack};
use testkit::tarfile::{self, TarMember, dir, file, hard_link, symlink};

/// What was done, whether the lower of the two layers is in the store before, and how to do it.
type Sibling = (&'static str, bool, fn(DockerArchive, &[Vec<u8>; 2]) -> Vec<u8>);

const MANIFEST: &str = "manifest.json";

/// Paths of the lower layer, which the archive does not have.
const PATHS: [Sibling; 10] = [
    ("an empty path", true, |archive, _| without_lower(archive, "")),
    ("an empty path, without the layer", false, |archive, _| without_lower(archive, "")),
    ("a path that is not there", true, |archive, _| without_lower(archive, "no/such")),
    ("an absolute path", true, |archive, _| without_lower(archive, "/etc/passwd")),
    ("a path of a directory", true, |archive, _| without_lower(archive, ".")),
    ("a path of something else", true, |archive, _| without_lower(archive, CONFIG)),
    ("a path that leaves the archive", true, |archive, _| without_lower(archive, "../../etc/passwd")),
    ("a path with a NUL byte", true, |archive, _| without_lower(archive, "a\0b")),
    ("a path that is too long", true, |archive, _| without_lower(archive, &"x/".repeat(2500))),
    ("a path with a part that is too long", true, |archive, _| without_lower(archive, &"x".repeat(256))),
];

/// How the files of an archive are found.
const FILES: [Sibling; 16] = [
    ("fewer paths than layers", false, |archive, _| with_paths(archive, &[&layer_name(0)])),
    ("paths in another order", false, |archive, _| with_paths(archive, &[&layer_name(1), &layer_name(0)])),
    ("a way down and up", false, |archive, _| {
        with_paths(archive, &[&layer_name(0), &format!("x/../{}", layer_name(1))])
    }),
    ("symlinks one after the other", false, |archive, layers| {
        with_upper(archive, |upper| vec![symlink(upper, "../a"), symlink("a", "b"), file("b", &layers[1][..])])
    }),
    ("an absolute symlink", false, |archive, layers| {
        with_upper(archive, |upper| vec![symlink(upper, "/b"), file("b", &layers[1][..])])
    }),
    ("a dangling symlink", false, |archive, _| with_upper(archive, |upper| vec![symlink(upper, "no")])),
    ("symlinks that lead to each other", false, |archive, layers| {
        with_upper(archive, |upper| vec![symlink(upper, "../a"), symlink("a", upper), file("b", &layers[1][..])])
    }),
    ("a hard link", false, |archive, layers| {
        with_upper(archive, |upper| vec![file("b", &layers[1][..]), hard_link(upper, "b")])
    }),
    ("a hard link to what comes later", false, |archive, layers| {
        with_upper(archive, |upper| vec![hard_link(upper, "b"), file("b", &layers[1][..])])
    }),
    ("a layer that is a directory", false, |archive, _| with_upper(archive, |upper| vec![dir(format!("{upper}/"))])),
    ("manifest.json as a symlink", false, |archive, _| {
        let manifest = json(&archive.manifest);
        archive_of(archive, vec![file("m", manifest), symlink(MANIFEST, "m")])
    }),
    ("manifest.json twice, and the first is empty", false, |archive, _| {
        let manifest = json(&archive.manifest);
        archive_of(archive, vec![file(MANIFEST, "[]"), file(MANIFEST, manifest)])
    }),
    ("a config at a path up from a directory", false, |mut archive, _| {
        archive.manifest[0]["Config"] = json!(format!("x/../{CONFIG}"));
        archive.build()
    }),
    ("a config that leaves the archive", false, |mut archive, _| {
        archive.manifest[0]["Config"] = json!(format!("../{CONFIG}"));
        archive.build()
    }),
    ("names with a dot before them", false, |mut archive, layers| {
        archive.layers = with_names(layers, |at| format!("./{}", layer_name(at)));
        archive.build()
    }),
    ("layers packed by gzip", false, |mut archive, layers| {
        archive.layers = with_names(&layers.each_ref().map(|layer| pack("gzip", layer)), layer_name);
        archive.build()
    }),
];

/// What documents may look like, and who the parent is.
const DOCUMENTS: [Sibling; 16] = [
    ("a byte order mark before manifest.json", false, |archive, _| {
        with_manifest(archive, |text| format!("\u{feff}{text}"))
    }),
    ("more behind manifest.json", false, |archive, _| with_manifest(archive, |text| format!("{text} x"))),
    ("keys in other case", false, |archive, _| with_manifest(archive, |text| text.replace("Config", "CONFIG"))),
    ("a comment in manifest.json", false, |archive, _| with_manifest(archive, |text| format!("//x\n{text}"))),
    ("a manifest.json in lines", false, |archive, _| {
        with_manifest(archive, |text| {
            serde_json::to_string_pretty(&serde_json::from_str::<Value>(&text).unwrap()).unwrap()
        })
    }),
    ("a byte order mark before the config", false, |archive, _| with_config(archive, |text| format!("\u{feff}{text}"))),
    ("more behind the config", false, |archive, _| with_config(archive, |text| format!("{text} x"))),
    ("a line's end behind the config", false, |archive, _| with_config(archive, |text| format!("{text}\n"))),
    ("half a surrogate in the config", false, |archive, _| {
        with_config(archive, |text| text.replace("/bin/sh", "\\ud800x"))
    }),
    ("an escape in a key of the config", false, |archive, _| {
        with_config(archive, |text| text.replace("rootfs", "r\\u006fotfs"))
    }),
    ("a long s in a key of the config", false, |archive, _| {
        with_config(archive, |text| text.replace("rootfs", "rootf\u{17f}"))
    }),
    ("a config that is 10,000 lists deep", false, |archive, _| nested(archive, 9_990)),
    ("a config that is more than 10,000 lists deep", false, |archive, _| nested(archive, 10_001)),
    ("the image as its own parent", false, |mut archive, _| {
        archive.manifest[0]["Parent"] = json!(layerfs::Digest::hash(json(&archive.config).as_bytes()));
        archive.build()
    }),
    ("an unknown parent", false, |mut archive, _| {
        archive.manifest[0]["Parent"] = json!(layerfs::Digest::hash(b"unknown"));
        archive.build()
    }),
    ("an end without zeros", false, |archive, _| {
        let mut bytes = archive.build();
        bytes.truncate(bytes.len() - 1024);
        bytes
    }),
];

fn json(value: &Value) -> String {
    value.to_string()
}

fn with_paths(mut archive: DockerArchive, paths: &[&str]) -> Vec<u8> {
    archive.manifest[0]["Layers"] = json!(paths);
    archive.build()
}

fn without_lower(mut archive: DockerArchive, path: &str) -> Vec<u8> {
    archive.layers.remove(0);
    with_paths(archive, &[path, &layer_name(1)])
}

fn with_names(layers: &[Vec<u8>; 2], name: impl Fn(usize) -> String) -> Vec<TarMember> {
    layers.iter().enumerate().map(|(at, layer)| file(name(at), &layer[..])).collect()
}

/// With these members in the place of the upper layer's file.
fn with_upper(mut archive: DockerArchive, members: impl Fn(&str) -> Vec<TarMember>) -> Vec<u8> {
    archive.layers.pop();
    archive.layers.extend(members(&layer_name(1)));
    archive.build()
}

/// With other members in the place of `manifest.json`.
fn archive_of(mut archive: DockerArchive, more: Vec<TarMember>) -> Vec<u8> {
    archive.layers.push(file(CONFIG, json(&archive.config)));
    archive.layers.extend(more);
    tarfile::tar(&archive.layers)
}

fn with_manifest(archive: DockerArchive, change: impl Fn(String) -> String) -> Vec<u8> {
    archive.build_with(json(&archive.config).as_bytes(), change(json(&archive.manifest)).as_bytes())
}

fn with_config(archive: DockerArchive, change: impl Fn(String) -> String) -> Vec<u8> {
    archive.build_with(change(json(&archive.config)).as_bytes(), json(&archive.manifest).as_bytes())
}

/// With a field that nobody knows, of lists in lists.
fn nested(archive: DockerArchive, depth: usize) -> Vec<u8> {
    with_config(archive, |text| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        text.replacen('{', &format!("{{\"unknown\":{open}{close},"), 1)
    })
}

/// All go into one store, each with names and layers of its own.
#[test]
fn docker_takes_and_refuses_the_same_archives() {
    let Some(_turn) = testkit::docker() else { return };
    let scratch = testkit::scratch();
    let daemon = Dockerd::start(&testkit::empty_root(&scratch, "dockers"));
    let (ours, path) = (scratch.path().join("ours"), scratch.path().join("archive.tar"));
    let import = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        testkit::layer_unpack(&path, &ours)
    };
    let (mut findings, mut taken, mut refused) = (Vec::new(), 0, 0);
    for (number, (what, has_lower, make)) in PATHS.into_iter().chain(FILES).chain(DOCUMENTS).enumerate() {
        let layers = ["lower", "upper"].map(|name| tarfile::tar(&[file(name, number.to_string())]));
        if has_lower {
            let lower = DockerArchive::new(&format!("lower-{number}:1"), &layers[..1]).build();
            daemon.load_bytes(&lower).unwrap();
            assert!(import(&lower).status.success());
        }
        let bytes = make(DockerArchive::new(&format!("sibling-{number}:1"), &layers), &layers);
        let docker = daemon.load_bytes(&bytes);
        let output = import(&bytes);
        *(if docker.is_ok() { &mut taken } else { &mut refused }) += 1;
        if output.status.code() != Some(i32::from(docker.is_err())) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            findings.push(format!("{number}, {what}: docker {docker:?}, we {said}"));
        }
    }
    let question = ["images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"];
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let ours = String::from_utf8(testkit::printed_by_layerfs(&ours, &question)).unwrap();
    let (docker, ours) = (lines(&daemon.ok(&question)), lines(&ours));
    findings.extend(docker.difference(&ours).map(|line| format!("docker alone lists {line}")));
    findings.extend(ours.difference(&docker).map(|line| format!("we alone list {line}")));
    testkit::assert_none("archives", &findings);
    assert!(taken > 15 && refused > 10, "{taken} taken, {refused} refused");
}
