//! The store of overlay2 in containerd's, judged by Docker 28.5, which made the one and goes on with the other; and the way back.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD, Engine};
use testkit::image::pack;
use testkit::platforms::{self, Part};
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::run::until;
use testkit::{Random, TreeState, layerfs_on, store};

const OVERLAY2: &[&str] = &["--storage-driver=overlay2"];
const BUSYBOX: &str = "layerfs-test/busybox:1";

fn migrate(root: &Path, flags: &[&str]) -> Output {
    layerfs_on(root, &[&["system", "migrate", "-q"], flags].concat())
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
}

/// Images from archives and a commit, one without a name, and containers that have written something.
fn fill(daemon: &Dockerd) {
    for golden in ["busybox-20.10.tar", "shared-20.10.tar", "layers-20.10.tar"] {
        daemon.load(&testkit::golden(golden));
    }
    let ran = ["run", "--name", "ran", "--network", "none", "-v", "named:/data", BUSYBOX];
    daemon
        .ok(&[&ran[..], &["sh", "-c", "echo x >>/x; echo y >>/data/y; rm -rf /etc/passwd /home; cat /x /data/y"]]
            .concat());
    daemon.ok(&["commit", "ran", "committed:1"]);
    daemon.ok(&["create", "--name", "made", "committed:1", "cat", "/x"]);
    daemon.ok(&["tag", BUSYBOX, "second/name:v1"]);
    daemon.ok(&["commit", "ran"]);
}

/// What docker says of a store that does not depend on its kind.
fn told(daemon: &Dockerd) -> Vec<String> {
    let list = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    let mut lines: Vec<String> = daemon.ok(&list).lines().map(str::to_owned).collect();
    let named: Vec<String> = lines.iter().filter(|name| !name.contains("<none>")).cloned().collect();
    for name in named {
        lines.push(daemon.ok(&[
            "inspect",
            "-f",
            "{{json .RootFS.Layers}} {{json .Config.Cmd}} {{json .Config.Env}}",
            &name,
        ]));
    }
    lines.extend(
        daemon
            .ok(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.Command}}"])
            .lines()
            .map(Into::into),
    );
    for name in ["ran", "made"] {
        lines.extend(daemon.ok(&["diff", name]).lines().map(Into::into));
        lines.push(daemon.ok(&["inspect", "-f", "{{json .Mounts}} {{.State.ExitCode}} {{json .Config}}", name]));
    }
    lines.sort();
    lines
}

fn left(root: &Path) -> Vec<String> {
    let daemon = root.join("containerd/daemon");
    let mut left = store::names(&daemon.join("io.containerd.content.v1.content/blobs/sha256"));
    left.extend(store::names(&daemon.join("io.containerd.snapshotter.v1.overlayfs/snapshots")));
    left
}

/// A root that docker has filled and left, and what it told of it.
fn filled(engine: &Engine, dir: &Path) -> (PathBuf, Vec<String>) {
    filled_by(engine, dir, OVERLAY2)
}

fn filled_by(engine: &Engine, dir: &Path, flags: &[&str]) -> (PathBuf, Vec<String>) {
    let root = dir.join("root");
    std::fs::create_dir(&root).unwrap();
    let daemon = Dockerd::start_engine(engine, &root, flags);
    fill(&daemon);
    let told = told(&daemon);
    daemon.stop();
    (root, told)
}

#[test]
fn engines_migrated_images_and_containers_go_on_in_containerd() {
    let Some((engines, _turn)) = engines::engines() else { return };
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_engine(engine, &root, OVERLAY2);
    fill(&daemon);
    let before = told(&daemon);
    refused(&migrate(&root, &["--to", "containerd"]), "a running dockerd uses it");
    daemon.stop();
    let plan = ok(&migrate(&root, &["--to", "containerd", "--dry-run"]));
    assert!(plan.contains("would migrate 8 images, 14 layers, 2 containers; "), "{plan}");
    ok(&migrate(&root, &["--to", "containerd"]));
    refused(&migrate(&root, &["--to", "containerd"]), "it was migrated already");
    assert!(ok(&layerfs_on(&root, &["--store", "containerd", "system", "check", "--deep"])).contains("no damage"));

    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(told(&daemon), before);
    for name in [BUSYBOX, "second/name:v1", "committed:1"] {
        assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", name, "echo", "runs"]), "runs\n");
    }
    // The containers go on with what they wrote, in their layers and in the volume.
    assert_eq!(daemon.ok(&["start", "-a", "ran"]), "x\nx\ny\ny\n");
    assert_eq!(daemon.ok(&["start", "-a", "made"]), "x\n");
    daemon.stop();
    refused(&migrate(&root, &["--undo"]), "a daemon has written to the new store since: --force does it all the same");

    // The old store is given up, and the new one is all that is needed.
    ok(&migrate(&root, &["--give-up"]));
    assert!(!root.join("overlay2").exists() && !root.join("image").exists());
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    assert_eq!(daemon.ok(&["start", "-a", "ran"]), "x\nx\nx\ny\ny\ny\n");
    daemon.stop();

    // Images of containerd's store go back into one of overlay2, in another root.
    let back = dir.path().join("back");
    ok(&migrate(&root, &["--to", "overlay2", "--into", back.to_str().unwrap(), BUSYBOX, "committed:1"]));
    let daemon = Dockerd::start_engine(engine, &back, OVERLAY2);
    let said = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut names: Vec<&str> = said.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["committed:1", BUSYBOX, "second/name:v1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", "committed:1", "cat", "/x"]), "x\n");
    daemon.stop();

    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    daemon.remove_everything();
    until(|| left(&root).is_empty());
    testkit::assert_none("left after all was removed", &left(&root));
    daemon.stop();
}

#[test]
fn engines_migration_is_undone() {
    let Some((engines, _turn)) = engines::engines() else { return };
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let (root, before) = filled(engine, dir.path());
    let parts = ["overlay2", "image", "containers", "volumes"];
    let state = |part: &str| TreeState::read(&root.join(part)).without_directory_times();
    let states = parts.map(state);
    for flags in [&["--to", "containerd"][..], &["--to", "containerd", "--copy"]] {
        ok(&migrate(&root, flags));
        ok(&migrate(&root, &["--undo"]));
        assert!(!root.join("containerd/daemon").exists() && !root.join("containerd/.layerfs-new").exists());
        for (part, before) in parts.iter().zip(&states) {
            // The configs of the containers were written twice, so that their times are new.
            let changes = before.changes(&state(part));
            let changes: Vec<_> = changes.into_iter().filter(|change| !change.contains("config.v2.json")).collect();
            testkit::assert_none(part, &changes);
        }
    }
    // Where a daemon has used the new store, that is undone by force alone.
    ok(&migrate(&root, &["--to", "containerd"]));
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    daemon.ok(&["start", "-a", "made"]);
    daemon.stop();
    refused(&migrate(&root, &["--undo"]), "--force");
    ok(&migrate(&root, &["--undo", "--force"]));
    let daemon = Dockerd::start_engine(engine, &root, OVERLAY2);
    assert_eq!(told(&daemon), before);
    assert_eq!(daemon.ok(&["start", "-a", "ran"]), "x\nx\ny\ny\n");
    daemon.stop();
}

/// Makes a layout with an image of this config whose layers all have the file `packed`. Returns the manifest's digest.
fn forged_layout(dir: &Path, config: &[u8], layers: usize, packed: &[u8]) -> String {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let add = |kind: &str, content: &[u8]| {
        let digest = layerfs::Digest::hash(content);
        std::fs::write(blobs.join(digest.hex()), content).unwrap();
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": kind, "digest": digest.to_string(), "size": content.len()})
    };
    let layer = add("layer.v1.tar+gzip", packed);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add("config.v1+json", config),
        "layers": vec![layer; layers],
    });
    let manifest = add("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [&manifest]});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    manifest["digest"].as_str().unwrap().to_owned()
}

/// A manifest of a registry, found elsewhere, whose layers' files hold something else than the store's layers, or cannot be unpacked.
#[test]
fn root_migration_takes_no_other_layers() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let packed = pack("gzip", &[b'x'; 10_000]);
    let other = layerfs::Digest::hash(&[b'x'; 10_000]).to_string();
    for (number, packed, words) in [
        (0, &packed[..], format!("its content has the digest {other}, and the image has sha256:")),
        (1, &packed[..packed.len() - 12], "decompressing sha256:".to_owned()),
    ] {
        let root = testkit::empty_root(&dir, &format!("root{number}"));
        ok(&layerfs_on(&root, &["load", "-q", "-i", testkit::golden("busybox-20.10.tar").to_str().unwrap()]));
        let id = ok(&layerfs_on(&root, &["image", "inspect", "-f", "{{.Id}}", BUSYBOX])).trim().to_owned();
        let config = root.join("image/overlay2/imagedb/content/sha256").join(id.trim_start_matches("sha256:"));
        let config = std::fs::read(config).unwrap();
        let known: Value = serde_json::from_slice(&config).unwrap();
        let layers = known["rootfs"]["diff_ids"].as_array().unwrap().len();
        let layout = dir.path().join(format!("layout{number}"));
        let digest = forged_layout(&layout, &config, layers, packed);
        let names = root.join("image/overlay2/repositories.json");
        let mut known: Value = serde_json::from_slice(&std::fs::read(&names).unwrap()).unwrap();
        known["Repositories"]["layerfs-test/busybox"][format!("layerfs-test/busybox@{digest}")] = id.into();
        std::fs::write(&names, known.to_string()).unwrap();
        let before = TreeState::read(&root).without_directory_times();
        refused(&migrate(&root, &["--to", "containerd", "--from", layout.to_str().unwrap()]), &words);
        testkit::assert_none(&words, &before.changes(&TreeState::read(&root).without_directory_times()));
    }
}

/// A migration that is killed leaves either the old store alone, or both: the next run begins anew or finishes, and undoing
/// leads back from wherever it was.
#[test]
fn root_killed_migrations_are_done_again_or_undone() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    for golden in ["busybox-20.10.tar", "shared-20.10.tar", "layers-20.10.tar"] {
        ok(&layerfs_on(&root, &["load", "-q", "-i", testkit::golden(golden).to_str().unwrap()]));
    }
    for number in 0..4 {
        ok(&layerfs_on(&root, &["create", "--name", &format!("c{number}"), BUSYBOX, "true"]));
    }
    let parts = ["overlay2", "image", "containers"];
    let state = |part: &str| TreeState::read(&root.join(part)).without_directory_times();
    let states = parts.map(state);
    let assert_unchanged = |when: &str| {
        for (part, before) in parts.iter().zip(&states) {
            let changes = before.changes(&state(part));
            let changes: Vec<_> = changes.into_iter().filter(|change| !change.contains("config.v2.json")).collect();
            testkit::assert_none(&format!("{when}: {part}"), &changes);
        }
    };
    let begun = std::time::Instant::now();
    ok(&migrate(&root, &["--to", "containerd", "--no-sync"]));
    let whole = begun.elapsed();
    ok(&migrate(&root, &["--undo"]));
    assert_unchanged("undone");
    let mut random = Random::new(19);
    let kills = if testkit::full_sweep() { 100 } else { 8 };
    for number in 0..kills {
        let command = &["system", "migrate", "-q", "--to", "containerd", "--no-sync"];
        let mut command = testkit::run::layerfs(&[&["--root", root.to_str().unwrap()], &command[..]].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(random.below(1000) as f64 / 1000.0));
        let _ = child.kill();
        child.wait().unwrap();
        let committed = root.join("containerd/daemon").exists();
        if number % 2 == 0 && committed {
            ok(&migrate(&root, &["--undo"]));
            assert_unchanged("killed and undone");
        }
        let again = migrate(&root, &["--to", "containerd", "--no-sync"]);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(again.status.success() || said.contains("it was migrated already"), "{said}");
        let listed = ok(&layerfs_on(&root, &["--store", "containerd", "ps", "-aq"]));
        assert_eq!(listed.lines().count(), 4, "{number}");
        ok(&migrate(&root, &["--undo"]));
        assert_unchanged("migrated and undone");
        assert!(!root.join("containerd").exists());
    }
}

/// Whenever a migration is killed, docker goes on with one of the two stores as with the one before: with the old one as long as there is
/// no other, and with the new one when the next run has ended.
#[test]
fn engines_killed_migrations_leave_what_docker_goes_on_with() {
    let Some((engines, _turn)) = engines::engines() else { return };
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let (root, before) = filled(engine, dir.path());
    let told_by = |flags: &[&str]| {
        let daemon = Dockerd::start_engine(engine, &root, flags);
        let told = told(&daemon);
        daemon.stop();
        told
    };
    let command = ["system", "migrate", "-q", "--to", "containerd", "--no-sync"];
    let begun = std::time::Instant::now();
    ok(&layerfs_on(&root, &command));
    let whole = begun.elapsed();
    ok(&migrate(&root, &["--undo"]));
    let mut random = Random::new(29);
    let (kills, mut without, mut with) = (if testkit::full_sweep() { 100 } else { 2 }, 0, 0);
    for number in 0..kills {
        let mut process = testkit::run::layerfs(&[&["--root", root.to_str().unwrap()], &command[..]].concat());
        let mut child = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Half of them in the last tenth, where the new store is put into its place and the containers go over.
        let part = random.below(1000) as f64 / 1000.0;
        let part = if number % 2 == 0 { part } else { 0.9 + part / 5.0 };
        std::thread::sleep(whole.mul_f64(part));
        let _ = child.kill();
        child.wait().unwrap();
        if left(&root).is_empty() {
            without += 1;
            assert_eq!(told_by(OVERLAY2), before, "{number}: the old store, after a kill at {part}");
        } else {
            with += 1;
        }
        let again = layerfs_on(&root, &command);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(again.status.success() || said.contains("it was migrated already"), "{number}: {said}");
        assert_eq!(told_by(CONTAINERD), before, "{number}: the new store, after a kill at {part}");
        ok(&migrate(&root, &["--undo", "--force"]));
    }
    eprintln!("killed {without} times before the new store was there, and {with} times after that");
    assert_eq!(told_by(OVERLAY2), before);
}

/// The way back: containers of containerd's store with what they have written, as docker goes on with them in that of overlay2; to
/// and fro, killed in between, undone, and made final.
#[test]
fn engines_containers_come_back_to_overlay2() {
    let Some((engines, _turn)) = engines::engines() else { return };
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let (root, before) = filled_by(engine, dir.path(), CONTAINERD);
    let told_by = |flags: &[&str]| {
        let daemon = Dockerd::start_engine(engine, &root, flags);
        let told = told(&daemon);
        daemon.stop();
        told
    };
    let parts = ["containerd", "containers", "volumes"];
    let state = |part: &str| TreeState::read(&root.join(part)).without_directory_times();
    let states = parts.map(state);
    let assert_unchanged = |when: &str| {
        for (part, before) in parts.iter().zip(&states) {
            let changes = before.changes(&state(part));
            let changes: Vec<_> = changes.into_iter().filter(|change| !change.contains("config.v2.json")).collect();
            // In the long sweep daemons have worked on it in between.
            if !testkit::full_sweep() {
                testkit::assert_none(&format!("{when}: {part}"), &changes);
            }
        }
        assert!(!root.join("overlay2").exists() && !root.join("image").exists(), "{when}");
    };
    let plan = ok(&migrate(&root, &["--to", "overlay2", "--dry-run"]));
    assert!(plan.contains("container ran\n") && plan.contains(", 2 containers\n"), "{plan}");
    assert_unchanged("a dry run");
    let back = ["system", "migrate", "-q", "--to", "overlay2", "--no-sync"];
    let begun = std::time::Instant::now();
    ok(&layerfs_on(&root, &back));
    let whole = begun.elapsed();
    let check = ok(&layerfs_on(&root, &["--store", "overlay2", "system", "check", "--deep"]));
    assert!(check.contains("no damage"), "{check}");
    ok(&migrate(&root, &["--undo"]));
    assert_unchanged("undone");

    let mut random = Random::new(31);
    let (kills, mut between) = (if testkit::full_sweep() { 100 } else { 4 }, 0);
    for number in 0..kills {
        let mut process = testkit::run::layerfs(&[&["--root", root.to_str().unwrap()], &back[..]].concat());
        let mut child = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Half of them in the second half, where the containers come over.
        let part = random.below(1000) as f64 / 1000.0;
        std::thread::sleep(whole.mul_f64(if number % 2 == 0 { part } else { 0.5 + part / 2.0 }));
        let _ = child.kill();
        child.wait().unwrap();
        between += usize::from(root.join("overlay2").exists());
        if number % 2 == 0 {
            // Where it was killed before it began there is nothing to undo.
            let undone = migrate(&root, &["--undo"]);
            let said = String::from_utf8_lossy(&undone.stderr).into_owned();
            assert!(undone.status.success() || said.contains("no migration has made"), "{number}: {said}");
            assert_unchanged(&format!("{number}: killed and undone"));
        }
        ok(&layerfs_on(&root, &back));
        if testkit::full_sweep() {
            assert_eq!(told_by(OVERLAY2), before, "{number}");
            ok(&migrate(&root, &["--undo", "--force"]));
        } else {
            ok(&migrate(&root, &["--undo"]));
        }
        assert_unchanged(&format!("{number}: killed, done and undone"));
    }
    eprintln!("killed {between} of {kills} times when the store of overlay2 was begun");
    assert_eq!(told_by(CONTAINERD), before);

    ok(&layerfs_on(&root, &back));
    let daemon = Dockerd::start_engine(engine, &root, OVERLAY2);
    assert_eq!(told(&daemon), before);
    // The containers go on with what they wrote, in their layers and in the volume.
    assert_eq!(daemon.ok(&["start", "-a", "ran"]), "x\nx\ny\ny\n");
    assert_eq!(daemon.ok(&["start", "-a", "made"]), "x\n");
    daemon.stop();
    refused(&migrate(&root, &["--undo"]), "a daemon has written to the new store since: --force does it all the same");
    ok(&migrate(&root, &["--give-up"]));
    assert!(!root.join("containerd").exists());
    let check = ok(&layerfs_on(&root, &["system", "check", "--deep"]));
    assert!(check.contains("no damage"), "{check}");
    // An older docker takes them, too.
    let system = Engine::system();
    let daemon = Dockerd::start_engine(&system, &root, OVERLAY2);
    assert_eq!(daemon.ok(&["start", "-a", "ran"]), "x\nx\nx\ny\ny\ny\n");
    assert_eq!(daemon.ok(&["ps", "-a", "--format", "{{.Names}} {{.Image}}"]).lines().count(), 2);
    daemon.remove_everything();
    daemon.stop();
}

/// Digests by which registries know images go over with the manifests and the layers' files that the registries have, or a layout.
#[test]
fn engines_migrated_images_keep_the_digests_of_registries() {
    let Some((engines, _turn)) = engines::engines() else { return };
    if !Registry::installed("engines") {
        return;
    }
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let registry = Registry::start(&dir.path().join("registry"));
    let name = |rest: &str| format!("{}/{rest}", registry.host);
    let (app, other, many) = (name("app:1"), name("team/other:1"), name("many:1"));
    let archive = dir.path().join("many.tar");
    let platforms = [("amd64", Part::Whole), ("arm64", Part::Whole)];
    std::fs::write(&archive, platforms::archive("docker.io/library/many:1", &platforms, true)).unwrap();
    let copy = |from: &str, to: &str| {
        layerfs_anonymous(dir.path(), &["registry", "copy", "-q", "--all", from, to]).ok();
    };
    copy(&format!("oci-archive:{}", archive.display()), &many);

    // Docker packs the layers that it pushes, and forgets how.
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_engine(engine, &root, OVERLAY2);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["create", "--name", "made", BUSYBOX, "true"]);
    daemon.ok(&["commit", "made", &other]);
    daemon.ok(&["tag", BUSYBOX, &app]);
    for pushed in [&app, &other] {
        daemon.ok(&["push", "-q", pushed]);
    }
    let digests = |daemon: &Dockerd, name: &str| daemon.ok(&["inspect", "-f", "{{json .RepoDigests}}", name]);
    let other_digest = daemon.ok(&["inspect", "-f", "{{index .RepoDigests 0}}", &other]);
    daemon.remove_everything();
    for pulled in [&app, &many, other_digest.trim()] {
        daemon.ok(&["pull", "-q", pulled]);
    }
    let named = [app.as_str(), &many, other_digest.trim()];
    let before = named.map(|name| digests(&daemon, name));
    assert_eq!(before[2], format!("[\"{}\"]\n", other_digest.trim()));
    daemon.ok(&["create", "--name", "made", "--network", "none", &app, "echo", "made"]);
    daemon.stop();
    let fetched = store::names(&root.join("containerd/daemon/io.containerd.content.v1.content/blobs/sha256"));
    assert!(fetched.len() >= 3, "docker keeps manifests: {fetched:?}");

    let plan = ok(&migrate(&root, &["--to", "containerd", "--dry-run"]));
    assert_eq!(plan.matches("its digest cannot be kept: ").count(), 3, "{plan}");
    let layout = dir.path().join("layout");
    copy(&app, &format!("oci:{}:app", layout.display()));
    let plan = ok(&migrate(&root, &["--to", "containerd", "--dry-run", "--from", layout.to_str().unwrap()]));
    assert_eq!(plan.matches("its digest cannot be kept: ").count(), 2, "{plan}");
    assert_eq!(plan.lines().filter(|line| line.starts_with("digest ") && line.contains("/app@")).count(), 1, "{plan}");

    // Undone, the manifests that docker has fetched are there again.
    ok(&migrate(&root, &["--to", "containerd", "--from", layout.to_str().unwrap()]));
    ok(&migrate(&root, &["--undo"]));
    assert_eq!(store::names(&root.join("containerd/daemon/io.containerd.content.v1.content/blobs/sha256")), fetched);

    let command = ["system", "migrate", "-q", "--to", "containerd", "--from", "docker://"];
    let ran = layerfs_anonymous(&root, &command).ok();
    assert!(!ran.stderr.contains("not kept"), "{ran:?}");
    assert!(ok(&layerfs_on(&root, &["--store", "containerd", "system", "check", "--deep"])).contains("no damage"));
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(named.map(|name| digests(&daemon, name)), before);
    assert_eq!(daemon.ok(&["start", "-a", "made"]), "made\n");
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", other_digest.trim(), "echo", "runs"]), "runs\n");
    let pushed = daemon.ok(&["push", &app]);
    assert!(before[0].contains(pushed.rsplit("digest: ").next().unwrap().split(' ').next().unwrap()), "{pushed}");
    daemon.stop();
}
