//! What leaves containerd's store, and whose everything in it is, beside Docker 28.5.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;

use layerfs::Digest;
use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD};
use testkit::layerfs_on;
use testkit::platforms::{self, Part};

const BUSYBOX: &str = "layerfs-test/busybox:1";
const OTHER: &str = "localhost:5000/x/other:2";
const BLOBS: &str = "io.containerd.content.v1.content/blobs/sha256";
const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fill(daemon: &Dockerd, dir: &Path) {
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.load(&testkit::golden("oci-skopeo-zstd.tar"));
    use Part::{Nothing, Whole, WithoutConfig};
    let partly = [("amd64", Whole), ("arm64", WithoutConfig), ("s390x", Nothing)];
    for (file, archive) in [
        ("many.tar", platforms::archive("docker.io/library/many:1", &[("amd64", Whole), ("arm64", Whole)], true)),
        ("partly.tar", platforms::archive("docker.io/layerfs-test/partly:1", &partly, false)),
        ("other.tar", platforms::archive(OTHER, &[("arm64", Whole)], true)),
    ] {
        let path: PathBuf = dir.join(file);
        std::fs::write(&path, archive).unwrap();
        daemon.load(&path);
    }
    daemon.ok(&["tag", "many:1", "second/name:v1"]);
    daemon.ok(&["tag", "many:1", "second/name:v2"]);
    let gone = ["run", "--name", "gone", "--network", "none", "many:1", "/nothing"];
    assert!(!daemon.docker(&gone).status.success());
    daemon.ok(&["create", "--name", "made", BUSYBOX, "true"]);
    daemon.ok(&["commit", "-c", "ENV A=b", "made", "committed:1"]);
}

/// An archive is to the byte the one of `docker save`. With several images the order in docker's document is random, so only
/// one image's is compared there.
fn saved(daemon: &Dockerd, root: &Path, dir: &Path) -> Vec<String> {
    let mut report = Vec::new();
    let (ours, theirs) = (dir.join("ours.tar"), dir.join("theirs.tar"));
    let many = daemon.ok(&["images", "-q", "--no-trunc", "many:1"]).trim().to_owned();
    let by_digest = format!("many@{many}");
    for images in [
        &["many:1"][..],
        &["second/name"],
        &["many:1", &many, "second/name:v2", "many:1"],
        &[&many["sha256:".len()..][..12]],
        &[&by_digest],
        &["layerfs-test/partly:1"],
        &[OTHER],
        &[BUSYBOX],
        &["committed:1"],
    ] {
        let output = [&["image", "save", "-q", "-o", ours.to_str().unwrap()], images].concat();
        let said = layerfs_on(root, &output);
        daemon.ok(&[&["save", "-o", theirs.to_str().unwrap()], images].concat());
        if !said.status.success() || std::fs::read(&ours).unwrap() != std::fs::read(&theirs).unwrap() {
            report.push(format!("{images:?}: other bytes than docker save's: {said:?}"));
        }
    }
    // One platform of an image, in the place of the image; docker's words where it is not there.
    for (platform, image) in [
        ("linux/amd64", "many:1"),
        ("linux/arm64", "many:1"),
        ("linux/arm64/v8", &many),
        ("linux/amd64", BUSYBOX),
        ("linux/arm64", OTHER),
        ("linux/amd64", "layerfs-test/partly:1"),
        ("linux/arm64", "layerfs-test/partly:1"),
        ("linux/s390x", "layerfs-test/partly:1"),
        ("linux/arm64", BUSYBOX),
        ("linux/arm/v6", "many:1"),
    ] {
        let _ = (std::fs::remove_file(&ours), std::fs::remove_file(&theirs));
        let flags = ["save", "--platform", platform, image, "-o"];
        let said = layerfs_on(root, &[&flags[..], &[ours.to_str().unwrap(), "-q"]].concat());
        let docker = daemon.docker(&[&flags[..], &[theirs.to_str().unwrap()]].concat());
        let words = text(&docker.stderr).replace("Error response from daemon: ", "layerfs: ");
        if text(&said.stderr) != words || std::fs::read(&ours).ok() != std::fs::read(&theirs).ok() {
            report.push(format!("--platform {platform} {image}: {said:?} {docker:?}"));
        }
    }
    daemon.ok(&["save", "-o", theirs.to_str().unwrap(), "committed:1"]);
    layerfs_on(root, &["image", "save", "-q", "-o", ours.to_str().unwrap(), "committed:1"]);
    // To a pipe as to a file.
    let piped = layerfs_on(root, &["image", "save", "-q", "committed:1"]);
    if piped.stdout != std::fs::read(&ours).unwrap() {
        report.push(format!("to a pipe: {}", text(&piped.stderr)));
    }
    for image in ["nosuch", "nosuch:1", "first"] {
        let (said, docker) = (layerfs_on(root, &["image", "save", image, "-q"]), daemon.docker(&["save", image]));
        let theirs = text(&docker.stderr).replace("Error response from daemon: ", "layerfs: ");
        if said.status.success() || text(&said.stderr) != theirs {
            report.push(format!("{image}: {said:?} {docker:?}"));
        }
    }
    // What docker would save all the same, broken, is refused.
    let refused = layerfs_on(root, &["image", "save", "many:1", "-q", "--have", BUSYBOX]);
    if refused.status.success() || !text(&refused.stderr).contains("saved whole") {
        report.push(format!("--have: {refused:?}"));
    }
    report
}

/// A layout of all images is one that docker loads again, into a store without them.
fn loaded_again(daemon: &Dockerd, root: &Path, dir: &Path) -> Vec<String> {
    let (layout, archive) = (dir.join("layout"), dir.join("layout.tar"));
    let request = ["image", "save", "-q", "--all", "--format", "oci", "--directory", layout.to_str().unwrap()];
    let said = layerfs_on(root, &request);
    assert!(said.status.success() && !layout.join("manifest.json").exists(), "{said:?}");
    let tar = Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg(".").status().unwrap();
    assert!(tar.success());
    let named = || {
        let names =
            ["many:1", "second/name:v1", "second/name:v2", "layerfs-test/partly:1", OTHER, BUSYBOX, "committed:1"];
        names.map(|name| text(&daemon.docker(&["inspect", "-f", "{{.Id}}", name]).stdout))
    };
    let before = named();
    daemon.remove_everything();
    daemon.load(&archive);
    if before == named() { Vec::new() } else { vec![format!("loaded again: {before:?} {:?}", named())] }
}

/// What `system owner` says: its verdict on each path.
fn owners(root: &Path, paths: &[PathBuf]) -> Vec<(PathBuf, String, String)> {
    let paths_as_text: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let said = layerfs_on(root, &[&["system", "owner", "--json"], paths_as_text.as_slice()].concat());
    let said: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let of = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let answers = said.as_array().unwrap().iter();
    paths.iter().zip(answers).map(|(path, one)| (path.clone(), of(one, "verdict"), of(one, "what"))).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn engines_containerd_images_leave_the_store_as_docker_saves_them() {
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let engine = all.last().unwrap();
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    fill(&daemon, dir.path());
    let mut report = saved(&daemon, &root, dir.path());

    // Layers that are unpacked, by the ids that the snapshotter gives them.
    let layers = text(&layerfs_on(&root, &["image", "ls", "--layers"]).stdout);
    let config: Value =
        serde_json::from_str(&daemon.ok(&["inspect", "-f", "{{json .RootFS.Layers}}", "many:1"])).unwrap();
    if !layers.contains(config[0].as_str().unwrap()) || layers.lines().count() < 4 {
        report.push(format!("image ls --layers: {layers}"));
    }
    // Its layers are those of a container, without a copy.
    let run = |image: &str, words: &[&str]| {
        let program = testkit::program("layer-run");
        Command::new(program).arg("--root").arg(&root).arg(image).arg("--").args(words).output().unwrap()
    };
    let shown = run("committed:1", &["sh", "-c", "cat /etc/passwd; echo $A; echo new >/etc/passwd"]);
    let passwd = text(&layerfs_on(&root, &["image", "cat", BUSYBOX, "/etc/passwd"]).stdout);
    if passwd.is_empty() || text(&shown.stdout) != format!("{passwd}b\n") {
        report.push(format!("layer-run: {shown:?}"));
    }
    if !text(&run(OTHER, &["/where"]).stderr).contains("was never unpacked") {
        report.push("layer-run of what was never unpacked".into());
    }
    report.extend(loaded_again(&daemon, &root, dir.path()));
    daemon.stop();

    // A blob that is not what its name says is not saved.
    let blob = root.join("containerd/daemon").join(BLOBS);
    let (path, length) = entries(&blob)
        .into_iter()
        .map(|path| (path.clone(), path.metadata().unwrap().len()))
        .max_by_key(|(_, length)| *length)
        .unwrap();
    let sound = std::fs::read(&path).unwrap();
    for (harm, words) in [
        ([&[sound[0] ^ 1], &sound[1..]].concat(), "its content has the digest"),
        (sound[1..].to_vec(), "bytes, and its record says"),
    ] {
        std::fs::write(&path, harm).unwrap();
        let target = dir.path().join("refused.tar");
        let refused = layerfs_on(&root, &["image", "save", "-q", "--all", "-o", target.to_str().unwrap()]);
        if refused.status.success() || !text(&refused.stderr).contains(words) || target.exists() {
            report.push(format!("a damaged blob of {length} bytes: {refused:?}"));
        }
    }
    testkit::assert_none("out of containerd's store", &report);
}

/// Each directory and blob has an owner, and what has none is what containerd deletes.
#[test]
fn engines_containerd_deletes_what_has_no_owner() {
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let engine = all.last().unwrap();
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    fill(&daemon, dir.path());
    daemon.stop();
    let store = root.join("containerd/daemon");
    let (blobs, snapshots) = (store.join(BLOBS), store.join(SNAPSHOTS));
    let mut report = Vec::new();
    let all = [entries(&blobs), entries(&snapshots)].concat();
    assert!(all.len() > 30, "{}", all.len());
    let judged = owners(&root, &all);
    // What a commit leaves behind until containerd next clears up.
    let left = judged.iter().filter(|(_, verdict, _)| verdict == "orphan");
    let mut orphans: Vec<PathBuf> = left.map(|(path, ..)| path.clone()).collect();
    let unsaid =
        judged.iter().filter(|(_, verdict, what)| !["live", "orphan"].contains(&verdict.as_str()) || what.is_empty());
    report.extend(unsaid.map(|answer| format!("{answer:?}")));
    assert!(orphans.len() <= 3, "{orphans:?}");
    let other = owners(&root, &entries(&store)).into_iter().filter(|(_, verdict, _)| verdict != "service");
    report.extend(other.map(|answer| format!("{answer:?}")));
    let nobody = b"of nobody";
    let planted = [blobs.join(Digest::hash(nobody).hex()), snapshots.join("999")];
    std::fs::write(&planted[0], nobody).unwrap();
    std::fs::create_dir_all(planted[1].join("fs")).unwrap();
    let wrong = owners(&root, &planted).into_iter().filter(|(_, verdict, _)| verdict != "orphan");
    report.extend(wrong.map(|answer| format!("{answer:?}")));
    orphans.extend(planted);
    // containerd clears up among blobs when one goes, and among snapshots when one goes.
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    daemon.ok(&["rmi", OTHER]);
    daemon.ok(&["rm", "made"]);
    daemon.stop();
    report.extend(orphans.iter().filter(|path| path.exists()).map(|path| format!("kept: {}", path.display())));
    let left = owners(&root, &[entries(&blobs), entries(&snapshots)].concat());
    report.extend(
        left.into_iter().filter(|(_, verdict, _)| verdict != "live").map(|answer| format!("after rmi: {answer:?}")),
    );
    testkit::assert_none("owners in containerd's store", &report);
}
