//! Images that are built without a daemon are those that dockerd's classic builder makes, and each finds the other's in its cache.
//!
//! A sample runs always; all of `testdata/dockerfiles/cases.txt` with `LAYERFS_SWEEP=full`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use std::path::Path;
use std::process::Output;

use buildsupport::{cases, config, layerfs, layers, make_context, said, write_dockerfile};
use testkit::dockerd::Dockerd;

/// Those that run always, besides those that end with an error.
const SAMPLE: [&str; 12] = [
    "metadata",
    "scratch-metadata",
    "scratch-copy",
    "copy",
    "copy-dest-links",
    "copy-from",
    "add",
    "run",
    "build-args",
    "stages",
    "onbuild-base",
    "onbuild-child",
];

#[test]
fn dockerfiles_become_what_dockerd_makes_of_them() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let begun = testkit::now() - 1;
    let (theirs, ours) = (testkit::empty_root(&dir, "theirs"), testkit::empty_root(&dir, "ours"));
    let context = dir.path().join("context");
    make_context(&context);
    let at = context.to_str().unwrap();
    let archive = testkit::golden("busybox-20.10.tar");
    testkit::import(&archive, &ours);
    let full = testkit::full_sweep();
    let chosen = |name: &str| full || SAMPLE.contains(&name) || name.starts_with("error-");
    let cases: Vec<_> = cases().into_iter().filter(|case| chosen(&case.name)).collect();
    assert!(cases.len() >= 35, "{}", cases.len());
    let daemon = Dockerd::start(&theirs);
    daemon.load(&archive);
    let file = dir.path().join("id");
    let id_file = file.to_str().unwrap();
    // With -q, docker's client writes a line.
    let id = || std::fs::read_to_string(&file).ok().map(|id| id.trim().to_owned());
    // Each case with the ids of both images, where it makes any.
    let mut made = Vec::new();
    for case in &cases {
        write_dockerfile(&context, &case.text);
        let options: Vec<&str> = case.options.iter().map(String::as_str).collect();
        let all = [&["--iidfile", id_file][..], &options, &[at]].concat();
        let docker = daemon.docker(&[&["build", "--network", "none"][..], &all].concat());
        let docker_id = id();
        let _ = std::fs::remove_file(&file);
        let layerfs = layerfs(&ours, &all);
        let our_id = id();
        let _ = std::fs::remove_file(&file);
        assert_eq!(said(&layerfs), said(&docker), "{}", case.name);
        assert_eq!(our_id.is_some(), docker_id.is_some(), "{}", case.name);
        if let (Some(our_id), Some(docker_id)) = (our_id, docker_id) {
            assert_eq!(config(&ours, &our_id), config(&theirs, &docker_id), "{}", case.name);
            made.push((case, our_id, docker_id));
        }
    }
    daemon.stop();
    for (case, our_id, docker_id) in &made {
        let (our_layers, docker_layers) = (layers(&ours, our_id, begun), layers(&theirs, docker_id, begun));
        assert_eq!(our_layers.len(), docker_layers.len(), "{}", case.name);
        for (number, (our_layer, docker_layer)) in our_layers.iter().zip(&docker_layers).enumerate() {
            assert_eq!(our_layer, docker_layer, "{}: layer {number}", case.name);
        }
    }
    // What one has built, the other one finds.
    for (case, _, docker_id) in &made {
        rebuild(case, &context, |arguments| layerfs(&theirs, arguments), docker_id);
    }
    let daemon = Dockerd::start(&ours);
    testkit::assert_none("dockerd on our root", &daemon.errors());
    for (case, our_id, _) in &made {
        let build = |arguments: &[&str]| daemon.docker(&[&["build", "--network", "none"][..], arguments].concat());
        rebuild(case, &context, build, our_id);
    }
    daemon.stop();
}

/// Builds once more: every step is in the cache.
fn rebuild(case: &buildsupport::DockerfileCase, context: &Path, build: impl Fn(&[&str]) -> Output, expected: &str) {
    write_dockerfile(context, &case.text);
    let options: Vec<&str> = case.options.iter().map(String::as_str).collect();
    let output = build(&[&options[..], &["-q", context.to_str().unwrap()]].concat());
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found.trim(), expected, "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
}
