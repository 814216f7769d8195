//! Images that are built here are those that BuildKit makes of the same Dockerfiles: config, history and layers.
//!
//! A sample runs always; all of `testdata/dockerfiles/modern.txt` with `LAYERFS_SWEEP=full`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use buildsupport::modern::{buildkit, make_place, modern, modern_cases, modern_config, modern_layers, options};
use buildsupport::write_dockerfile;
use testkit::dockerd::Dockerd;

/// Those that run always, besides those that end with an error.
const SAMPLE: [&str; 15] = [
    "metadata",
    "workdir",
    "run",
    "arguments",
    "copy",
    "copy-all",
    "copy-onto",
    "chmod",
    "add",
    "add-zstd",
    "copy-from",
    "heredoc-run",
    "heredoc-copy",
    "patterns",
    "mounts",
];

#[test]
fn dockerfiles_become_what_buildkit_makes_of_them() {
    let Some((engines, _turn)) = testkit::engines::engines() else { return };
    let engine = engines.iter().find(|engine| testkit::engines::version(engine).starts_with("28.")).unwrap();
    let dir = testkit::scratch();
    let begun = testkit::now() - 1;
    let (theirs, ours) = (testkit::empty_root(&dir, "theirs"), testkit::empty_root(&dir, "ours"));
    let (context, secret) = make_place(dir.path());
    let archive = testkit::golden("busybox-20.10.tar");
    testkit::import(&archive, &ours);
    let full = testkit::full_sweep();
    let chosen = |name: &str| full || SAMPLE.contains(&name) || name.starts_with("error-");
    let cases: Vec<_> = modern_cases().into_iter().filter(|case| chosen(&case.name)).collect();
    assert!(cases.len() >= 28, "{}", cases.len());
    let daemon = Dockerd::start_engine(engine, &theirs, &["-s", "overlay2"]);
    daemon.load(&archive);
    let file = dir.path().join("id");
    let id = || std::fs::read_to_string(&file).ok().map(|id| id.trim().to_owned());
    let mut made = Vec::new();
    for case in &cases {
        write_dockerfile(&context, &case.text);
        let options = options(case, &secret);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let all = [&["--iidfile", file.to_str().unwrap()][..], &options, &[context.to_str().unwrap()]].concat();
        let docker = buildkit(&daemon, dir.path(), &all);
        let docker_id = id();
        let _ = std::fs::remove_file(&file);
        let layerfs = modern(&ours, &all);
        let our_id = id();
        let _ = std::fs::remove_file(&file);
        let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            layerfs.status.code(),
            docker.status.code(),
            "{}:\n{}\n{}",
            case.name,
            said(&layerfs),
            said(&docker)
        );
        if let (Some(our_id), Some(docker_id)) = (our_id, docker_id) {
            assert_eq!(modern_config(&ours, &our_id), modern_config(&theirs, &docker_id), "{}", case.name);
            made.push((case, our_id, docker_id));
        }
    }
    daemon.stop();
    for (case, our_id, docker_id) in &made {
        let (our_layers, docker_layers) =
            (modern_layers(&ours, our_id, begun), modern_layers(&theirs, docker_id, begun));
        assert_eq!(our_layers.len(), docker_layers.len(), "{}", case.name);
        for (number, (our_layer, docker_layer)) in our_layers.iter().zip(&docker_layers).enumerate() {
            assert_eq!(our_layer, docker_layer, "{}: layer {number}", case.name);
        }
    }
    // The newer daemon runs what was built here.
    let daemon = Dockerd::start_engine(engine, &ours, &["-s", "overlay2"]);
    testkit::assert_none("dockerd on our root", &daemon.errors());
    let (_, id, _) = made.iter().find(|(case, ..)| case.name == "run").unwrap();
    let said = daemon.ok(&["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "/bin/cat", id, "/r"]);
    assert_eq!(said, "hi q1\n");
    daemon.stop();
}
