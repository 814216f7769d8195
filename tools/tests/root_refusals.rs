//! Refusals with docker's words or ours that need something beside a command line: an image of several platforms, a container that
//! runs, a program that fails. Each says what was given, what is wrong with it and what helps.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testkit::fault_registry::{Asked, FaultRegistry, Reply};
use testkit::mounts::Mounted;
use testkit::platforms::{self, Part};
use testkit::run::{Input, Ran, layerfs, run};
use testkit::{bolt, layerfs_on};

/// Runs `layerfs` on a root, with another variable of the environment.
fn with(root: &Path, arguments: &[&str], (name, value): (&str, &Path), input: &[u8]) -> Ran {
    let mut command = layerfs(&["--root", root.to_str().unwrap()]);
    command.args(arguments).env(name, value);
    run(command, Input::Pipe(input))
}

/// What a command says that has to fail.
fn refused(root: &Path, arguments: &[&str]) -> String {
    let output = layerfs_on(root, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A program of this name in a directory of its own, which is returned.
fn script(dir: &Path, name: &str, lines: &str) -> PathBuf {
    let bin = tempfile::tempdir_in(dir).unwrap().keep();
    std::fs::write(bin.join(name), format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

/// The first half of the first line is moby's (v28.5.2 `daemon/containerd/image_push.go`).
#[test]
fn root_push_of_several_platforms_asks_for_one() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, archive) = (dir.path().join("root"), dir.path().join("several.tar"));
    let name = "127.0.0.1:1/t/several:1";
    let parts = [("amd64", Part::Whole), ("arm64", Part::Whole), ("s390x", Part::Nothing)];
    std::fs::write(&archive, platforms::archive(name, &parts, false)).unwrap();
    let load = ["--store", "containerd", "image", "load", "-q", "-i", archive.to_str().unwrap()];
    let loaded = layerfs_on(&root, &load);
    assert!(loaded.status.success(), "{loaded:?}");
    assert_eq!(
        refused(&root, &["push", name]),
        "layerfs: multiple matching manifests found but no specific platform requested: 127.0.0.1:1/t/several:1 is whole \
         for linux/amd64, linux/arm64; --platform chooses one\n"
    );
    // With a platform it goes on to ask the registry, which is not there.
    let chosen = refused(&root, &["push", "--platform", "linux/arm64", name]);
    assert!(chosen.contains("connection refused"), "{chosen}");
    // All configs are lost, as where the daemon was stopped while it fetched them.
    let daemon = root.join("containerd/daemon");
    let blobs = daemon.join("io.containerd.content.v1.content/blobs/sha256");
    let holding = |what: &str| -> Vec<PathBuf> {
        let all = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(what)).collect()
    };
    let configs = holding("\"rootfs\"");
    assert_eq!(configs.len(), 2);
    bolt::edit(&daemon.join("io.containerd.metadata.v1.bolt/meta.db"), |tree| {
        for config in &configs {
            let digest = format!("sha256:{}", config.file_name().unwrap().to_str().unwrap());
            tree.at(&["v1", "moby", "content", "blob"]).take(&digest);
        }
    });
    assert_eq!(
        refused(&root, &["push", name]),
        "layerfs: 127.0.0.1:1/t/several:1: for none of its platforms is all of it in the store; pull it, then push it\n"
    );
    // A manifest of the same length that says nothing.
    let manifest = holding("\"layers\":").pop().unwrap();
    let length = usize::try_from(manifest.metadata().unwrap().len()).unwrap();
    std::fs::write(&manifest, format!("{:length$}", "{}")).unwrap();
    let check = layerfs_on(&root, &["system", "check"]);
    let found = String::from_utf8_lossy(&check.stdout).into_owned();
    let digest = manifest.file_name().unwrap().to_str().unwrap();
    assert!(found.lines().any(|line| line.contains(digest) && line.contains("it names no config")), "{found}");
}

/// The words up to a colon are dockerd's (v20.10.24 `daemon/top_unix.go`), which it said of the same arguments.
#[test]
fn root_top_says_what_is_wrong_with_ps() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let run = ["run", "-d", "--name", "cc", "--network", "none", "layerfs-test/busybox:1", "sleep", "600"];
    testkit::made_by_layerfs(&root, &run);
    let top = |path: &Path| with(&root, &["top", "cc"], ("PATH", path), b"");
    let fails = script(dir.path(), "ps", "printf 'error: out of order\\n\\nUsage:\\n' >&2; exit 1");
    let ends = script(dir.path(), "ps", "exit 3");
    let is_no_program = dir.path().join("no-program");
    std::fs::create_dir_all(is_no_program.join("ps")).unwrap();
    let said = [&fails, &ends, &dir.path().join("nowhere"), &is_no_program].map(|path| top(path).stderr);
    let asked = [refused(&root, &["top", "cc", "-o", "comm"]), refused(&root, &["top", "cc", "--nope"])];
    let shown = layerfs_on(&root, &["top", "cc", "-o", "pid,comm"]);
    testkit::made_by_layerfs(&root, &["rm", "-f", "cc"]);
    assert_eq!(
        said,
        [
            "layerfs: ps: error: out of order\n",
            "layerfs: ps: exit status 3\n",
            "layerfs: ps: exec: \"ps\": executable file not found in $PATH\n",
            "layerfs: ps: Permission denied (os error 13)\n",
        ]
    );
    assert_eq!(
        asked,
        [
            "layerfs: Couldn't find PID field in ps output: PS_OPTION has to have ps show it, as in `-o pid,comm`\n",
            "layerfs: ps: error: unknown gnu long option\n",
        ]
    );
    assert!(String::from_utf8_lossy(&shown.stdout).contains("sleep"), "{shown:?}");
}

/// What a running container has in memory, dockerd copies out of its own mount of it; without a daemon there is none.
#[test]
fn root_copy_says_that_a_volume_is_in_memory() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    testkit::made_by_layerfs(&root, &["volume", "create", "-o", "type=tmpfs", "-o", "device=x", "mem"]);
    let image = "layerfs-test/busybox:1";
    let run = ["run", "-d", "--name", "cc", "--network", "none", "-v", "mem:/v", image, "sleep", "600"];
    testkit::made_by_layerfs(&root, &run);
    let said = refused(&root, &["container", "cp", "cc:/v", "-"]);
    testkit::made_by_layerfs(&root, &["rm", "-f", "cc"]);
    assert_eq!(
        said,
        "layerfs: /v: what is mounted there cannot be read: the volume mem is in memory, for the running container alone: \
         only what is run in it can read it\n"
    );
}

/// docker's words (docker/cli v20.10.24 `command/registry/login.go`, docker-credential-helpers `client`), then where it would be kept.
#[test]
fn root_login_says_why_nothing_is_kept() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let registry = FaultRegistry::start(|_: &Asked| Reply::new(200, b"{}"));
    let login = |config: &Path, path: &Path| {
        let arguments = ["login", "-u", "tester", "--password-stdin", &registry.host];
        let mut command = layerfs(&arguments);
        command.env("DOCKER_CONFIG", config).env("PATH", path);
        let ran = run(command, Input::Pipe(b"geheim"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.stderr
    };
    let config = dir.path().join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("config.json"), "{\"credsStore\": \"kit\"}").unwrap();
    let locked = script(dir.path(), "docker-credential-kit", "cat >/dev/null; echo the keychain is locked; exit 1");
    let hint = "credsStore or credHelpers in docker's config.json names this helper; without one the password is kept in that file";
    let failed = "layerfs: Error saving credentials: error storing credentials - err: ";
    assert_eq!(login(&config, &locked), format!("{failed}exit status 1, out: `the keychain is locked`; {hint}\n"));
    assert_eq!(
        login(&config, Path::new("/nowhere")),
        format!("{failed}exec: \"docker-credential-kit\": executable file not found in $PATH, out: ``; {hint}\n")
    );
    let read_only = Mounted::tmpfs("ro");
    let file = read_only.path().join("config.json");
    assert_eq!(
        login(read_only.path(), Path::new("/nowhere")),
        format!(
            "layerfs: Error saving credentials: {}: Read-only file system (os error 30); it is mounted read-only\n",
            file.display()
        )
    );
}
