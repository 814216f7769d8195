//! Images of several platforms stay whole on their way into containerd's store, out of it with other compression, and to a
//! registry and back, beside Docker 28.5.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerfs::Digest;
use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD, Engine};
use testkit::platforms::{self, Part};
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::{layerfs_on, store};

const BLOBS: &str = "containerd/daemon/io.containerd.content.v1.content/blobs/sha256";

const BUSYBOX: &str = "layerfs-test/busybox:1";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An image for two platforms with attestations, and one of which only a part is there.
fn archives(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    use Part::{Nothing, Whole, WithoutConfig};
    let partly = [("amd64", Whole), ("arm64", WithoutConfig), ("s390x", Nothing)];
    [
        ("many:1", platforms::archive("docker.io/library/many:1", &[("amd64", Whole), ("arm64", Whole)], true)),
        ("partly:1", platforms::archive("docker.io/library/partly:1", &partly, false)),
    ]
    .into_iter()
    .map(|(name, archive)| {
        let path = dir.join(format!("{name}.tar"));
        std::fs::write(&path, archive).unwrap();
        (name, path)
    })
    .collect()
}

/// What docker shows and saves of an image, and the blobs that stand when its collector was there.
fn seen(daemon: &Dockerd, root: &Path, name: &str, dir: &Path) -> Vec<String> {
    // The last name of an image that goes has the collector look at everything, before docker answers.
    daemon.load(&testkit::golden("layers-20.10.tar"));
    let other = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    for other in other.lines().filter(|other| *other != name) {
        daemon.ok(&["rmi", "-f", other]);
    }
    let saved = dir.join("seen.tar");
    daemon.ok(&["save", "-o", saved.to_str().unwrap(), name]);
    let tree = daemon.ok(&["images", "--tree"]);
    vec![
        daemon.ok(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"]),
        daemon.ok(&["inspect", "-f", "{{json .Descriptor}} {{json .RepoDigests}} {{.Size}}", name]),
        tree,
        store::names(&root.join(BLOBS)).join(" "),
        Digest::hash(&std::fs::read(saved).unwrap()).to_string(),
    ]
}

#[test]
fn engines_containerd_keeps_an_index_that_is_imported() {
    let Some((all, _turn)) = engines::engines() else { return };
    let engine = all.last().unwrap();
    let dir = testkit::scratch();
    let mut archives = archives(dir.path());
    archives.push(("busybox", testkit::golden("busybox-20.10.tar")));
    for (name, archive) in archives {
        // The kernel takes no colons in the paths of layers.
        let plain = name.trim_end_matches(":1");
        let (theirs, ours) = (dir.path().join(format!("{plain}-theirs")), dir.path().join(format!("{plain}-ours")));
        let name = if name == "busybox" { "layerfs-test/busybox:1" } else { name };
        let daemon = Dockerd::start_engine(engine, &theirs, CONTAINERD);
        daemon.load(&archive);
        let expected = seen(&daemon, &theirs, name, dir.path());
        daemon.stop();
        let layered = ["--store", "containerd", "image", "load", "-q", "-i", archive.to_str().unwrap()];
        let loaded = layerfs_on(&ours, &layered);
        // Nothing is left out.
        assert!(loaded.status.success() && text(&loaded.stderr).lines().count() == 1, "{name}: {loaded:?}");
        let check = layerfs_on(&ours, &["system", "check", "--deep"]);
        assert!(check.status.success(), "{name}: {}", text(&check.stdout));
        let daemon = Dockerd::start_engine(engine, &ours, CONTAINERD);
        assert_eq!(seen(&daemon, &ours, name, dir.path()), expected, "{name}");
        daemon.ok(&["create", "--name", "made", name, "/none"]);
        daemon.ok(&["rm", "made"]);
        daemon.remove_everything();
        assert!(store::names(&ours.join(BLOBS)).is_empty(), "{name}: a rest");
        daemon.stop();
    }
}

/// The blobs of an archive by their digests, and what its index names.
fn unpacked(archive: &Path, dir: &Path) -> (BTreeMap<Digest, Vec<u8>>, Value) {
    std::fs::create_dir(dir).unwrap();
    assert!(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(dir).status().unwrap().success());
    let blobs = dir.join("blobs/sha256");
    let read = |name: String| (Digest::from_hex(&name).unwrap(), std::fs::read(blobs.join(&name)).unwrap());
    let blobs: BTreeMap<Digest, Vec<u8>> = store::names(&blobs).into_iter().map(read).collect();
    blobs.iter().for_each(|(digest, bytes)| assert_eq!(Digest::hash(bytes), *digest));
    (blobs, serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap())
}

/// Follows all that a descriptor leads to, and returns the types of the layers with their first bytes.
fn layers(
    blobs: &BTreeMap<Digest, Vec<u8>>,
    descriptor: &Value,
    manifests: &mut Vec<String>,
) -> Vec<(String, Vec<u8>)> {
    let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
    let kind = descriptor["mediaType"].as_str().unwrap();
    let bytes = &blobs[&digest];
    assert_eq!(descriptor["size"].as_u64().unwrap(), bytes.len() as u64);
    let document = || -> Value { serde_json::from_slice(bytes).unwrap() };
    if kind.contains("index") {
        let document = document();
        let entries = document["manifests"].as_array().unwrap();
        return entries.iter().flat_map(|entry| layers(blobs, entry, manifests)).collect();
    }
    if kind.contains("manifest") {
        manifests.push(digest.to_string());
        if let Some(of) = descriptor["annotations"]["vnd.docker.reference.digest"].as_str() {
            assert!(manifests.iter().any(|known| known == of), "an attestation of {of}");
        }
        let document = document();
        let entries = document["layers"].as_array().unwrap();
        return entries.iter().flat_map(|entry| layers(blobs, entry, manifests)).collect();
    }
    vec![(kind.to_owned(), bytes[..4].to_vec())]
}

#[test]
fn engines_containerd_saves_layers_compressed() {
    let Some((all, _turn)) = engines::engines() else { return };
    let engine = all.last().unwrap();
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    let archives = archives(dir.path());
    archives.iter().for_each(|(_, archive)| drop(daemon.load(archive)));
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.stop();
    let images = ["many:1", BUSYBOX];
    let save = |codec: &str, file: &Path, more: &[&str]| {
        let words = ["image", "save", "-q", "--compress", codec, "-o", file.to_str().unwrap()];
        let said = layerfs_on(&root, &[&words[..], more].concat());
        assert!(said.status.success(), "{codec}: {said:?}");
    };
    let plain = dir.path().join("plain.tar");
    save("none", &plain, &images);
    let diff_ids = |daemon: &Dockerd| images.map(|name| daemon.ok(&["inspect", "-f", "{{json .RootFS.Layers}}", name]));
    let mut known: Option<[String; 2]> = None;
    for (codec, ends, magic) in
        [("gzip", ["+gzip", ".gzip"], &[0x1f, 0x8b][..]), ("zstd=3", ["+zstd", ".zstd"], &[0x28, 0xb5, 0x2f, 0xfd])]
    {
        let file = dir.path().join(format!("{codec}.tar"));
        save(codec, &file, &[&images[..], &["--threads", "1"]].concat());
        // The same bytes with any number of threads, and through a pipe.
        let again = dir.path().join("again.tar");
        save(codec, &again, &[&images[..], &["--threads", "4"]].concat());
        let piped = layerfs_on(&root, &[&["image", "save", "-q", "--compress", codec][..], &images[..]].concat());
        assert!(std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(), "{codec}: threads");
        assert!(std::fs::read(&file).unwrap() == piped.stdout, "{codec}: a pipe");
        let (blobs, index) = unpacked(&file, &dir.path().join(format!("{codec}-files")));
        let mut manifests = Vec::new();
        let entries = index["manifests"].as_array().unwrap();
        let found: Vec<_> = entries.iter().flat_map(|entry| layers(&blobs, entry, &mut manifests)).collect();
        let (tars, statements): (Vec<_>, Vec<_>) = found.into_iter().partition(|(kind, _)| !kind.contains("in-toto"));
        assert_eq!(statements.len(), 2, "{codec}: attestations");
        assert!(tars.len() > 3);
        for (kind, begin) in tars {
            assert!(
                ends.iter().any(|end| kind.ends_with(end)) && begin.starts_with(magic),
                "{codec}: {kind} {begin:?}"
            );
        }
        // Both stores of docker take it, and find the layers that the config names.
        for (number, flags) in [CONTAINERD, &[]].into_iter().enumerate() {
            let daemon = Dockerd::start_engine(engine, &dir.path().join(format!("{codec}-{number}")), flags);
            daemon.load(&file);
            let found = diff_ids(&daemon);
            assert_eq!(known.get_or_insert_with(|| found.clone()), &found, "{codec}");
            images.iter().for_each(|name| drop(daemon.ok(&["create", name, "/none"])));
            daemon.stop();
        }
        // What is compressed so already stays as it is: saved once more out of a store, all digests are the same.
        let second = dir.path().join(format!("{codec}-second"));
        let loaded = layerfs_on(&second, &["--store", "containerd", "load", "-q", "-i", file.to_str().unwrap()]);
        assert!(loaded.status.success(), "{loaded:?}");
        let words = ["image", "save", "-q", "--compress", codec, "-o", again.to_str().unwrap()];
        assert!(layerfs_on(&second, &[&words[..], &images[..]].concat()).status.success());
        assert!(std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(), "{codec}: once more");
    }
    // Of an image of which something is absent, what is there.
    let partly = dir.path().join("partly-gzip.tar");
    save("gzip", &partly, &["partly:1"]);
    let (blobs, _) = unpacked(&partly, &dir.path().join("partly-files"));
    assert!(blobs.values().any(|bytes| bytes.starts_with(&[0x1f, 0x8b])));
    let daemon = Dockerd::start_engine(engine, &dir.path().join("partly-root"), CONTAINERD);
    daemon.load(&partly);
    daemon.ok(&["create", "partly:1", "/none"]);
    daemon.stop();
    // A damaged layer is refused, and leaves nothing.
    let blobs = root.join(BLOBS);
    let length = |name: &String| blobs.join(name).metadata().unwrap().len();
    let largest = store::names(&blobs).into_iter().max_by_key(length).unwrap();
    let mut bytes = std::fs::read(blobs.join(&largest)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(blobs.join(&largest), bytes).unwrap();
    let target = dir.path().join("refused.tar");
    let words = ["image", "save", "-q", "--compress", "gzip", "-o", target.to_str().unwrap(), BUSYBOX];
    let refused = layerfs_on(&root, &words);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("its content has the digest") && !target.exists(), "{said}");
}

/// docker's lines of a push, those of blobs in the order of their digests, without the registry's address. What docker says of a blob
/// before it is there depends on how fast everybody is.
fn settled(said: &str, host: &str) -> Vec<String> {
    let is_blob = |line: &&str| line.find(": ") == Some(12);
    let (mut blobs, rest): (Vec<&str>, Vec<&str>) = said.lines().partition(is_blob);
    let is_there =
        |line: &&str| ["Pushed", "exists"].iter().any(|end| line.ends_with(end)) || line.contains("Mounted from");
    blobs.retain(is_there);
    blobs.sort_unstable();
    // docker has colours in the lines about what was pushed instead of an index.
    let plain =
        |line: &str| line.replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[0m", "").replace(host, "HOST");
    rest.into_iter().chain(blobs).map(plain).collect()
}

fn start(engine: &Engine, root: &Path) -> Dockerd {
    Dockerd::start_engine(engine, root, CONTAINERD)
}

#[test]
fn engines_containerd_pushes_and_pulls_whole_indexes() {
    let Some((all, _turn)) = engines::engines() else { return };
    if !Registry::installed("engines") {
        return;
    }
    let engine = all.last().unwrap();
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let (theirs, ours) = (Registry::start(&dir.path().join("theirs")), Registry::start(&dir.path().join("ours")));
    let daemon = start(engine, &root);
    archives(dir.path()).iter().for_each(|(_, archive)| drop(daemon.load(archive)));
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    use Part::{Nothing, Whole};
    let lacking = dir.path().join("lacking.tar");
    let parts = [("arm64", Whole), ("s390x", Whole), ("amd64", Nothing)];
    std::fs::write(&lacking, platforms::archive("docker.io/library/lacking:1", &parts, false)).unwrap();
    daemon.load(&lacking);
    let images = ["many:1", "partly:1", "lacking:1", "layerfs-test/busybox:1"];
    for host in [&theirs.host, &ours.host] {
        for image in images {
            let repository = image.rsplit('/').next().unwrap();
            daemon.ok(&["tag", image, &format!("{host}/t/{repository}")]);
        }
        daemon.ok(&["tag", "many:1", &format!("{host}/t/many:2")]);
    }
    let asked: [&[&str]; 16] = [
        &["t/many:1"],
        &["t/many:1"],
        &["t/partly:1"],
        &["t/lacking:1"],
        &["t/busybox:1"],
        &["-a", "t/many"],
        &["-q", "t/busybox:1"],
        &["t/busybox"],
        &["t/busybox:7"],
        &["t/none:1"],
        &["-a", "t/none"],
        &["--platform=linux/arm64", "t/many:1"],
        &["--platform=linux/s390x", "t/many:1"],
        &["-q", "--platform=linux/amd64", "t/partly:1"],
        &["--platform=linux/amd64/v2", "t/busybox:1"],
        &["--platform=bad/", "t/busybox:1"],
    ];
    let on = |host: &str, words: &[&str]| -> Vec<String> {
        let named = |word: &&str| if word.starts_with('-') { (*word).to_owned() } else { format!("{host}/{word}") };
        words.iter().map(named).collect()
    };
    let mut expected = Vec::new();
    for words in asked {
        let words = on(&theirs.host, words);
        let said = daemon.docker(&[&["push"], &words.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
        expected.push((said.status.code(), settled(&text(&said.stdout), &theirs.host), text(&said.stderr)));
    }
    daemon.stop();
    for (words, (code, lines, error)) in asked.iter().zip(expected) {
        let owned = on(&ours.host, words);
        let words: Vec<&str> = owned.iter().map(String::as_str).collect();
        let said = layerfs_anonymous(&root, &[&["push"], &words[..]].concat());
        assert_eq!((said.code, settled(&said.stdout, &ours.host)), (code, lines), "{words:?}: {}", said.stderr);
        let said = said.stderr.replace("layerfs: ", "").replace(&ours.host, "HOST");
        // docker has nothing between a platform that is none and the reason.
        let said = said.replace("Invalid platform bad/: ", "Invalid platform bad/");
        // docker does not say which platforms there are.
        let said = said.split(": HOST/t/lacking:1 is whole for linux/arm64, linux/s390x;").next().unwrap();
        assert_eq!(said.trim(), error.replace(&theirs.host, "HOST").trim(), "{words:?}");
    }
    // What was pushed is what docker pulls, and what we pull into containerd's store is what docker has then.
    for image in ["t/many:1", "t/busybox:1"] {
        let name = format!("{}/{image}", ours.host);
        let (reference, pulled) = (dir.path().join("reference"), dir.path().join("pulled"));
        let daemon = start(engine, &reference);
        daemon.ok(&["pull", &name]);
        let shown = |daemon: &Dockerd| {
            daemon.ok(&["inspect", "-f", "{{json .Descriptor}} {{.Id}} {{json .RepoDigests}}", &name])
        };
        let expected = (shown(&daemon), store::names(&reference.join(BLOBS)));
        daemon.stop();
        let unpacked = Command::new(testkit::program("layer-unpack"))
            .arg(format!("docker://{name}"))
            .args(["--no-sync", "--store", "containerd", "--root"])
            .arg(&pulled)
            .env("DOCKER_CONFIG", dir.path().join("no-config"))
            .output()
            .unwrap();
        assert!(unpacked.status.success(), "{unpacked:?}");
        let check = layerfs_on(&pulled, &["system", "check", "--deep"]);
        assert!(check.status.success(), "{}", text(&check.stdout));
        let daemon = start(engine, &pulled);
        assert_eq!((shown(&daemon), store::names(&pulled.join(BLOBS))), expected, "{image}");
        daemon.ok(&["create", "--name", "made", &name, "/none"]);
        daemon.ok(&["rm", "made"]);
        daemon.remove_everything();
        assert!(store::names(&pulled.join(BLOBS)).is_empty(), "{image}: a rest");
        daemon.stop();
        [reference, pulled].iter().for_each(|root| std::fs::remove_dir_all(root).unwrap());
    }
}

/// A store whose images were never unpacked, and one from which all was removed after containers ran, is found, and is no other
/// containerd's.
#[test]
fn engines_containerd_store_without_snapshots_is_found() {
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let other = dir.path().join("other.tar");
    std::fs::write(&other, platforms::archive("docker.io/library/other:1", &[("arm64", Part::Whole)], false)).unwrap();
    let daemon = start(all.last().unwrap(), &root);
    daemon.load(&other);
    let listing = ["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"];
    let expected = daemon.ok(&listing);
    assert_eq!(expected.lines().count(), 1, "{expected}");
    let ours = || layerfs_on(&root, &["image", "ls", "--format", listing[2]]);
    assert_eq!(text(&ours().stdout), expected);
    let ran = Command::new(testkit::program("layer-run")).arg("--root").arg(&root).args(["other:1", "true"]).output();
    let said = text(&ran.unwrap().stderr);
    let never = format!("other:1 was never unpacked in containerd's store of {}: run what", root.display());
    assert!(said.starts_with(&format!("layer-run: {never} `layerfs image save` makes of it")), "{said}");
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["run", "--rm", "--network", "none", "layerfs-test/busybox:1", "true"]);
    daemon.remove_everything();
    let after = ours();
    assert!(after.status.success() && after.stdout.is_empty(), "{after:?}");
    let check = layerfs_on(&root, &["system", "check"]);
    assert!(check.status.success(), "{check:?}");
    daemon.stop();
}
