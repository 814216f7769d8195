//! `layerfs image pull` against `docker pull` of the same images from Debian's registry: lines, errors, and the stores file by
//! file; then a dockerd on our store.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::Output;

use testkit::dockerd::Dockerd;
use testkit::live;
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::root::{self, RootContents};
use testkit::run::Ran;

/// `layerfs pull`, without credentials of whoever runs the test.
fn pull(root: &Path, arguments: &[&str]) -> Ran {
    layerfs_anonymous(root, &[&["pull", "--no-sync"], arguments].concat())
}

/// The last line of each layer in the order of ids, and all other lines. dockerd drops lines in between where its client is
/// slow.
fn settled(lines: &str) -> Vec<String> {
    let is_layer = |line: &&str| line.find(": ") == Some(12);
    let is_last = |line: &&str| line.ends_with(": Pull complete") || line.ends_with(": Already exists");
    let mut layers: Vec<&str> = lines.lines().filter(is_layer).filter(is_last).collect();
    layers.sort_by_key(|line| &line[..12]);
    let rest = lines.lines().filter(|line| !is_layer(line));
    rest.chain(layers).map(str::to_owned).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Takes away what the kernel leaves where it has mounted a layer. dockerd mounts one now and then while it pulls.
fn unmark(root: &Path) {
    for layer in RootContents::read(root).layers.values() {
        let home = root.join("overlay2").join(&layer.cache_id);
        let _ = std::fs::remove_dir(home.join("work/work"));
        let _ = rustix::fs::removexattr(home.join("diff"), "trusted.overlay.uuid");
    }
}

#[test]
fn docker_pull_makes_the_store_that_dockerd_makes() {
    let Some(_turn) = Registry::with_docker() else { return };
    let dir = testkit::scratch();
    let since = testkit::now() - 1;
    let registry = Registry::start(&dir.path().join("registry"));
    let name = |name: &str| format!("{}/{name}", registry.host);
    // Images with layers in common, pushed by a dockerd of its own.
    let source = testkit::empty_root(&dir, "source");
    let daemon = Dockerd::start(&source);
    let mut references = Vec::new();
    for (number, golden) in ["layers-20.10.tar", "shared-20.10.tar", "busybox-20.10.tar"].iter().enumerate() {
        let said = daemon.load(&testkit::golden(golden));
        for loaded in said.lines().filter_map(|line| line.strip_prefix("Loaded image: ")) {
            references.push(name(&format!("t/{number}:{}", references.len())));
            let reference = references.last().unwrap();
            daemon.ok(&["tag", loaded, reference]);
            daemon.ok(&["push", "-q", reference]);
        }
    }
    daemon.stop();
    let (ours, dockers) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "dockers"));
    let daemon = Dockerd::start(&dockers);
    for round in ["new", "again"] {
        for reference in &references {
            let theirs = daemon.docker(&["pull", reference]);
            let mine = pull(&ours, &[reference]).ok();
            assert_eq!(settled(&mine.stdout), settled(&text(&theirs)), "{round}: {reference}");
        }
    }
    // By digest, quietly, and all tags of a repository.
    let digest = daemon.ok(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", &references[0]]);
    for arguments in [vec![digest.trim()], vec!["-q", &references[1]], vec!["-a", &name("t/1")]] {
        let theirs = daemon.docker(&[&["pull"], &arguments[..]].concat());
        let mine = pull(&ours, &arguments).ok();
        assert_eq!(settled(&mine.stdout), settled(&text(&theirs)), "{arguments:?}");
    }
    for arguments in [
        vec![name("t/none:1")],
        vec![name("t/0:none")],
        vec![name(&format!("t/0@sha256:{}", "0".repeat(64)))],
        vec!["127.0.0.1:1/x:1".to_owned()],
        vec![name("t/0:a:b")],
        vec!["-a".to_owned(), name("t/0:1")],
    ] {
        let theirs =
            daemon.docker(&[&["pull"], &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
        let mine = pull(&ours, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let said = String::from_utf8(theirs.stderr).unwrap();
        let said = said.trim().trim_start_matches("Error response from daemon: ");
        assert_eq!((mine.code, theirs.status.code()), (Some(1), Some(1)), "{arguments:?}");
        let own = mine.stderr.trim().trim_start_matches("layerfs: ");
        // dockerd asks for `/v2/` first, and so names that.
        let cut = |text: &str| {
            text.rsplit_once("/v2/")
                .map_or(text, |(_, rest)| rest.split_once("\": ").map_or(rest, |(_, rest)| rest))
                .to_owned()
        };
        assert!(cut(own).starts_with(&cut(said)), "{arguments:?}: {own:?} is not {said:?}");
    }
    unmark(&dockers);
    let found = RootContents::read(&ours);
    let theirs = RootContents::read(&dockers);
    testkit::assert_none("stores", &root::differences(&found, &theirs, since));
    // Only now: what mounts layers leaves marks of the kernel in them.
    let told = live::report(&daemon, &dockers);
    assert!(!ours.join("tmp").exists(), "no blob is left");
    // A daemon takes it for its own, has nothing to fetch again, and runs what is in it.
    let daemon = Dockerd::start(&ours);
    testkit::assert_none("daemons", &live::differences(&live::report(&daemon, &ours), &told));
    for reference in &references {
        assert!(daemon.ok(&["pull", reference]).contains("Image is up to date"), "{reference}");
    }
    let busybox = references.last().unwrap();
    assert_eq!(daemon.ok(&["run", "--rm", "--network=none", busybox, "echo", "hello"]), "hello\n");
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&ours));
}

#[test]
fn docker_pull_takes_the_image_for_the_platform_that_dockerd_takes() {
    let Some(_turn) = Registry::with_docker() else { return };
    let dir = testkit::scratch();
    let registry = Registry::start(&dir.path().join("registry"));
    let reference = format!("{}/t/many:1", registry.host);
    let index = Index::push(&registry.host, "t/many", "1");
    let (ours, dockers) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "dockers"));
    let daemon = Dockerd::start_with(&dockers, &["--storage-driver=overlay2", "--experimental"]);
    for platform in
        ["linux/amd64", "linux/amd64/v2", "linux/arm64", "arm64", "linux/arm/v6", "linux/arm/v5", "linux/386"]
    {
        let theirs = daemon.docker(&["pull", "--platform", platform, &reference]);
        let mine = pull(&ours, &["--platform", platform, &reference]);
        assert_eq!(
            mine.code,
            theirs.status.code(),
            "{platform}: {} {}",
            mine.stderr,
            String::from_utf8_lossy(&theirs.stderr)
        );
        if mine.code == Some(0) {
            let id = daemon.ok(&["image", "inspect", "--format", "{{.Id}}", &reference]);
            let root = ours.to_str().unwrap();
            let own = testkit::layerfs(&["--root", root, "image", "inspect", "--format", "{{.Id}}", &reference]);
            assert_eq!(own, id, "{platform}");
        } else {
            let said = String::from_utf8(theirs.stderr).unwrap();
            assert!(mine.stderr.contains(said.trim()), "{platform}: {} is not {said}", mine.stderr);
        }
    }
    assert!(index.manifests >= 5);
}

/// An index with an image for each of several platforms.
struct Index {
    manifests: usize,
}

impl Index {
    fn push(host: &str, repository: &str, tag: &str) -> Self {
        use layerfs::Digest;
        use serde_json::json;
        let platforms =
            [("amd64", "v2"), ("amd64", ""), ("arm", "v7"), ("arm", "v6"), ("arm64", "v8"), ("unknown", "")];
        let mut entries = Vec::new();
        for (number, (architecture, variant)) in platforms.iter().enumerate() {
            let (layer, diff_id) = testkit::archive::layer(&format!("layer-{number}"), architecture);
            let config = json!({
                "architecture": architecture, "os": "linux", "config": {"Cmd": [variant]},
                "rootfs": {"type": "layers", "diff_ids": [diff_id]}, "history": [{"created_by": "test"}],
            });
            let config = serde_json::to_vec(&config).unwrap();
            for blob in [&layer, &config] {
                put_blob(host, repository, blob);
            }
            let descriptor = |kind: &str, blob: &[u8]| json!({"mediaType": kind, "size": blob.len(), "digest": Digest::hash(blob).to_string()});
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": descriptor("application/vnd.docker.container.image.v1+json", &config),
                "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar", &layer)],
            });
            let manifest = serde_json::to_vec(&manifest).unwrap();
            let kind = "application/vnd.docker.distribution.manifest.v2+json";
            put(host, &format!("/v2/{repository}/manifests/{}", Digest::hash(&manifest)), kind, &manifest);
            let mut entry = descriptor(kind, &manifest);
            let os = if *architecture == "unknown" { "unknown" } else { "linux" };
            entry["platform"] = json!({"os": os, "architecture": architecture});
            if !variant.is_empty() {
                entry["platform"]["variant"] = json!(variant);
            }
            entries.push(entry);
        }
        let manifests = entries.len();
        let kind = "application/vnd.docker.distribution.manifest.list.v2+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        put(host, &format!("/v2/{repository}/manifests/{tag}"), kind, &serde_json::to_vec(&index).unwrap());
        Self { manifests }
    }
}

/// Sends a request, and returns the head of the answer.
fn request(host: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    answer
}

fn put(host: &str, path: &str, kind: &str, body: &[u8]) {
    request(host, "PUT", path, kind, body);
}

fn put_blob(host: &str, repository: &str, blob: &[u8]) {
    let answer = request(host, "POST", &format!("/v2/{repository}/blobs/uploads/"), "text/plain", b"");
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().trim();
    let path = location.split_once("//").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or(location);
    let mark = if path.contains('?') { '&' } else { '?' };
    let digest = layerfs::Digest::hash(blob);
    request(host, "PUT", &format!("{path}{mark}digest={digest}"), "application/octet-stream", blob);
}

/// Which image a container is made of, and when it is fetched first. Where docker fetches without being told to, `--pull missing` does.
#[test]
fn docker_create_takes_and_fetches_the_image_that_docker_does() {
    let Some(_turn) = Registry::with_docker() else { return };
    let dir = testkit::scratch();
    let registry = Registry::start(&dir.path().join("registry"));
    let reference = format!("{}/t/many:1", registry.host);
    Index::push(&registry.host, "t/many", "1");
    let (ours, dockers) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "dockers"));
    testkit::import(&testkit::golden("busybox-20.10.tar"), &ours);
    let daemon = Dockerd::start_with(&dockers, &["--storage-driver=overlay2"]);
    for flags in [
        &["--pull", "never"][..],
        &["--pull", "missing"],
        &["--pull", "never", "--platform", "linux/arm64"],
        &["--pull", "missing", "--platform", "linux/arm64"],
        &["--pull", "never", "--platform", "arm64"],
        &["--pull", "always", "--platform", "linux/amd64"],
        &["--pull", "never", "--platform", "a/b/c/d"],
        &["--pull", "never", "--platform", "nonsense"],
    ] {
        let words = [&["create", "--network", "none"], flags, &[&reference, "true"]].concat();
        let theirs = daemon.docker(&words);
        let mine = layerfs_anonymous(&ours, &words);
        let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
        assert_eq!(mine.code, theirs.status.code(), "{flags:?}: {} and docker: {said}", mine.stderr);
        if mine.code == Some(0) {
            let shown = ["inspect", "-f", "{{.Image}}"];
            let image = daemon.ok(&[&shown[..], &[text(&theirs).trim()]].concat());
            let own = layerfs_anonymous(&ours, &[&shown[..], &[mine.stdout.trim()]].concat()).ok();
            assert_eq!(own.stdout, image, "{flags:?}");
        } else if flags.contains(&"--platform") {
            let said = said.trim_end().trim_start_matches("Error response from daemon: ");
            assert_eq!(mine.stderr.trim_end().trim_start_matches("layerfs: "), said, "{flags:?}");
        }
    }
    daemon.remove_everything();
}
