//! `layerfs image push` against `docker push` of the same images to Debian's registry: lines, digests, notes and errors; then
//! what was pushed is pulled by dockerd and skopeo.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use testkit::dockerd::Dockerd;
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::run::Ran;

fn push(root: &Path, arguments: &[&str]) -> Ran {
    layerfs_anonymous(root, &[&["push"], arguments].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The last line of each layer in the order of ids, and all other lines but the digest, which depends on who compresses.
fn settled(lines: &str) -> Vec<String> {
    let is_layer = |line: &&str| line.find(": ") == Some(12);
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    last.extend(lines.lines().filter(is_layer).map(|line| line.split_once(": ").unwrap()));
    let rest = lines.lines().filter(|line| !is_layer(line)).map(|line| line.split(": digest: ").next().unwrap());
    rest.map(str::to_owned).chain(last.into_iter().map(|(id, what)| format!("{id}: {what}"))).collect()
}

/// The files of `distribution/`, by their paths.
fn notes(root: &Path) -> BTreeMap<String, String> {
    let top = root.join("image/overlay2/distribution");
    let mut found = BTreeMap::new();
    for kind in ["diffid-by-digest", "v2metadata-by-diffid"] {
        let dir = top.join(kind).join("sha256");
        for name in testkit::store::names(&dir) {
            found.insert(format!("{kind}/{name}"), std::fs::read_to_string(dir.join(name)).unwrap());
        }
    }
    found
}

fn digest_of(said: &str) -> String {
    let (_, rest) = said.split_once("digest: ").unwrap_or_else(|| panic!("no digest: {said}"));
    rest.split(' ').next().unwrap().to_owned()
}

fn skopeo(arguments: &[&str]) -> Output {
    Command::new("skopeo").args(["--insecure-policy"]).args(arguments).output().unwrap()
}

fn id_at(registry: &Registry, name: &str) -> String {
    let output = skopeo(&["inspect", "--tls-verify=false", "--raw", &format!("docker://{}/{name}", registry.host)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    manifest["config"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn docker_push_sends_nothing_that_dockerd_has_sent_and_notes_what_dockerd_notes() {
    let Some(_turn) = Registry::with_docker() else { return };
    let dir = testkit::scratch();
    let registry = Registry::start(&dir.path().join("registry"));
    let root = testkit::empty_root(&dir, "root");
    let name = |name: &str| format!("{}/{name}", registry.host);
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("layers-20.10.tar"));
    let loaded = daemon.ok(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let loaded = loaded.lines().next().unwrap();
    for to in ["t/theirs:1", "t/theirs:2", "t/ours:1", "t/last:1"] {
        daemon.ok(&["tag", loaded, &name(to)]);
    }
    let first = text(&daemon.docker(&["push", &name("t/theirs:1")]).stdout);
    let again = text(&daemon.docker(&["push", &name("t/theirs:1")]).stdout);
    daemon.stop();
    let noted = notes(&root);
    // The same image to the same repository: nothing is new, the marks of the notes neither.
    let mine = push(&root, &[&name("t/theirs:1")]).ok();
    assert_eq!(settled(&mine.stdout), settled(&again));
    assert_eq!(digest_of(&mine.stdout), digest_of(&first), "the manifest is docker's, byte for byte");
    assert_eq!(notes(&root), noted);
    // Another repository of the same registry: all is mounted.
    let mine = push(&root, &[&name("t/ours:1")]).ok();
    assert!(!mine.stdout.contains("Pushed"), "{}", mine.stdout);
    assert!(mine.stdout.contains(": Mounted from t/theirs"), "{}", mine.stdout);
    assert_eq!(digest_of(&mine.stdout), digest_of(&first));
    let mine = push(&root, &["-a", &name("t/theirs")]).ok();
    let ours = notes(&root);
    // The daemon takes the root for its own, and finds by our notes what we have pushed.
    let daemon = Dockerd::start(&root);
    let theirs = text(&daemon.docker(&["push", "-a", &name("t/theirs")]).stdout);
    assert_eq!(settled(&mine.stdout), settled(&theirs));
    let digests = daemon.ok(&["image", "inspect", "--format", "{{join .RepoDigests \"\\n\"}}", &name("t/ours:1")]);
    assert!(digests.contains(&format!("{}@{}", name("t/ours"), digest_of(&first))), "{digests}");
    let theirs = text(&daemon.docker(&["push", &name("t/ours:1")]).stdout);
    assert!(!theirs.contains("Pushed") && !theirs.contains("Mounted"), "{theirs}");
    // A store that a daemon holds is pushed from, and says what is missing then.
    let held = push(&root, &[&name("t/last:1")]).ok();
    assert!(held.stderr.contains("warning: what was pushed is not noted in the data-root: "), "{}", held.stderr);
    daemon.stop();
    assert_eq!(notes(&root).keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for arguments in [vec!["t/none:1"], vec!["t/ours:none"], vec!["-a", "t/none"]] {
        let mut full: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let last = full.last_mut().unwrap();
        *last = name(last);
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        let daemon = Dockerd::start(&root);
        let theirs = daemon.docker(&[&["push"], &full[..]].concat());
        daemon.stop();
        let mine = push(&root, &full);
        assert_eq!((mine.code, theirs.status.code()), (Some(1), Some(1)), "{arguments:?}");
        assert_eq!(mine.stdout, text(&theirs.stdout), "{arguments:?}");
        let said = mine.stderr.trim().trim_start_matches("layerfs: ").to_owned();
        assert_eq!(said, text(&theirs.stderr).trim(), "{arguments:?}");
    }
}

#[test]
fn docker_push_is_pulled_by_dockerd_and_skopeo() {
    let Some(_turn) = Registry::with_docker() else { return };
    if !testkit::tier("docker", Path::new("/usr/bin/skopeo").exists(), "/usr/bin/skopeo (Debian: skopeo)") {
        return;
    }
    let dir = testkit::scratch();
    let registry = Registry::start(&dir.path().join("registry"));
    let name = |name: &str| format!("{}/{name}", registry.host);
    let mut images = Vec::new();
    for (number, golden) in ["layers-20.10.tar", "busybox-20.10.tar"].iter().enumerate() {
        let ours = dir.path().join(format!("ours-{number}"));
        testkit::import(&testkit::golden(golden), &ours);
        let listed = testkit::made_by_layerfs(&ours, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
        let to = name(&format!("t/{number}:1"));
        testkit::made_by_layerfs(&ours, &["tag", listed.lines().next().unwrap(), &to]);
        let id = testkit::made_by_layerfs(&ours, &["image", "inspect", "--format", "{{.Id}}", &to]);
        images.push((ours, to, id.trim().to_owned()));
    }
    let mut digests = Vec::new();
    for (number, (ours, to, id)) in images.iter().enumerate() {
        let said = push(ours, &[to]).ok().stdout;
        assert!(said.contains(": Pushed\n"), "{said}");
        assert_eq!(&id_at(&registry, &format!("t/{number}:1")), id);
        digests.push(digest_of(&said));
    }
    // The same bytes whoever counts: on one thread, and without notes, nothing is sent again.
    for ((ours, to, _), digest) in images.iter().zip(&digests) {
        std::fs::remove_dir_all(ours.join("image/overlay2/distribution")).unwrap();
        let said = push(ours, &["--threads", "1", to]).ok().stdout;
        assert!(!said.contains(": Pushed") && digest_of(&said) == *digest, "{said}");
    }
    // OCI and zstd, to a registry that has only gzip.
    let (ours, first, id) = &images[0];
    let said = push(ours, &["--format", "oci", "--compress", "zstd", first]).ok().stdout;
    assert!(said.contains(": Pushed\n"), "{said}");
    assert_eq!(&id_at(&registry, "t/0:1"), id);
    let oci = format!("oci:{}:x", dir.path().join("oci").display());
    let copied = skopeo(&["copy", "--src-tls-verify=false", &format!("docker://{first}"), &oci]);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    // Docker's manifest cannot name those blobs, so the others are taken.
    let said = push(ours, &[first]).ok().stdout;
    assert!(!said.contains(": Pushed") && digest_of(&said) == digests[0], "{said}");
    assert_eq!(push(ours, &["-q", first]).ok().stdout, format!("{first}\n"));
    let dockers = testkit::empty_root(&dir, "dockers");
    let daemon = Dockerd::start(&dockers);
    for ((_, to, id), digest) in images.iter().zip(&digests) {
        let said = daemon.ok(&["pull", to]);
        assert!(said.contains(digest), "{said}");
        assert_eq!(daemon.ok(&["image", "inspect", "--format", "{{.Id}}", to]).trim(), id);
    }
    assert_eq!(daemon.ok(&["run", "--rm", "--network=none", &images[1].1, "echo", "hello"]), "hello\n");
    daemon.remove_everything();
}
