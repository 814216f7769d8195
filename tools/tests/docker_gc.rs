//! `image-gc` on stores that a real dockerd has made, with orphans of each kind planted: what the daemon needs stays, and it goes on.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::{program, succeeded};

const BASE: &str = "layerfs-test/busybox:1";

const CACHED: &str = "FROM layerfs-test/busybox:1 AS one\nRUN echo one >/one\nFROM layerfs-test/busybox:1\n\
    COPY --from=one /one /copied\nRUN echo three >/three\n";

fn gc(root: &Path, arguments: &[&str]) -> Output {
    Command::new(program("image-gc")).arg("--root").arg(root).args(arguments).output().unwrap()
}

fn plan(root: &Path, arguments: &[&str]) -> Value {
    let output = gc(root, &[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// The ids of the items of a kind, in their order.
fn ids(plan: &Value, kind: &str) -> Vec<String> {
    let items = plan["items"].as_array().unwrap().iter().filter(|item| item["kind"] == kind);
    items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn build(daemon: &Dockerd, dir: &Path, kit: &str, steps: &str, tag: &str) -> String {
    let context = dir.join("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), steps).unwrap();
    std::fs::write(context.join("file"), steps).unwrap();
    let context = context.to_str().unwrap();
    let mut arguments = vec!["build", "--network", "host", "-t", tag];
    if kit == "1" {
        arguments.extend(["--progress", "plain"]);
    }
    arguments.push(context);
    let output = daemon.client(&arguments).env("DOCKER_BUILDKIT", kit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    succeeded("docker build", output) + &said
}

fn id(daemon: &Dockerd, name: &str) -> String {
    daemon.ok(&["inspect", "-f", "{{.Id}}", name]).trim().to_owned()
}

/// Plants something of each kind; returns where.
fn plant(root: &Path, top: &str) -> Vec<PathBuf> {
    let (home, image) = (root.join("overlay2"), root.join("image/overlay2"));
    let directory = |name: &str| {
        std::fs::create_dir_all(home.join(name).join("diff/etc")).unwrap();
        std::fs::write(home.join(name).join("diff/etc/file"), vec![1; 5000]).unwrap();
        home.join(name)
    };
    let link = |name: &str, target: &str| {
        std::os::unix::fs::symlink(format!("../{target}/diff"), home.join("l").join(name)).unwrap();
        home.join("l").join(name)
    };
    let hex = |digit: &str| digit.repeat(64);
    let write = |path: PathBuf, content: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    };
    let (removing, registering) = (format!("{}-{}-removing", hex("1"), hex("2")), "write-set-5");
    let mount = image.join("layerdb/mounts").join(hex("6"));
    write(image.join("layerdb/sha256").join(&removing).join("cache-id"), &hex("3"));
    write(image.join("layerdb/tmp").join(registering).join("cache-id"), &hex("4"));
    write(mount.join("mount-id"), &hex("7"));
    write(mount.join("init-id"), &format!("{}-init", hex("7")));
    write(mount.join("parent"), top);
    write(image.join("imagedb/metadata/sha256").join(hex("8")).join("parent"), "sha256:x");
    vec![
        directory(&hex("a")),
        directory("abcdefghijklmnopqrstuvwxy"),
        directory(&hex("3")),
        directory(&hex("4")),
        directory(&hex("7")),
        directory(&format!("{}-init", hex("7"))),
        link("AAAAAAAAAAAAAAAAAAAAAAAAAA", &hex("a")),
        link("BBBBBBBBBBBBBBBBBBBBBBBBBB", &hex("b")),
        image.join("layerdb/sha256").join(removing),
        image.join("layerdb/tmp").join(registering),
        mount,
        image.join("imagedb/metadata/sha256").join(hex("8")),
        write(image.join(".tmp-repositories.json1"), "{}"),
        write(image.join("distribution/diffid-by-digest/sha256").join(hex("9")), &format!("sha256:{}", hex("9"))),
        write(image.join("distribution/v2metadata-by-diffid/sha256").join(hex("9")), "[]"),
    ]
}

#[test]
fn docker_goes_on_with_its_images_containers_and_build_cache() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    build(&daemon, dir.path(), "0", &format!("FROM {BASE}\nLABEL a=1\nCOPY file /old\n"), "app:1");
    build(&daemon, dir.path(), "0", &format!("FROM {BASE}\nCOPY file /new\nCMD [\"cat\", \"/new\"]\n"), "used:1");
    build(&daemon, dir.path(), "1", CACHED, "cached:1");
    build(&daemon, dir.path(), "1", &format!("FROM {BASE}\nRUN echo gone >/gone\n"), "gone:1");
    daemon.ok(&["rmi", "gone:1"]);
    daemon.ok(&["create", "--name", "made", "--network", "none", "used:1"]);
    daemon.ok(&["run", "--name", "ran", "--network", "none", "used:1"]);
    let layers = daemon.ok(&["inspect", "-f", "{{range .RootFS.Layers}}{{println .}}{{end}}", "app:1"]);
    let diff_ids: Vec<layerfs::DiffId> = layers.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let top = layerfs::ChainId::chain(&diff_ids).last().unwrap().to_string();

    // While the daemon runs, nothing goes.
    let refused = gc(&root, &["--apply", "--all", "--min-age", "0s"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop the daemon"), "{refused:?}");
    assert!(plan(&root, &[])["refusal"].as_str().unwrap().contains("stop the daemon"));
    let kept = [BASE, "used:1"].map(|name| id(&daemon, name));
    let gone = [id(&daemon, "app:1"), id(&daemon, "cached:1")];
    daemon.stop();

    let planted = plant(&root, &top);
    // Somebody's own directory, which has no name that Docker gives.
    let own = root.join("overlay2/notes/kept");
    std::fs::create_dir_all(&own).unwrap();
    let young = plan(&root, &["--all"]);
    let spared = young["spared"].as_array().unwrap();
    assert!(spared.iter().filter(|one| one["cause"] == "young").count() >= 5, "{young:#}");
    assert_eq!(ids(&young, "directory"), Vec::<String>::new());
    let arguments = ["--all", "--min-age", "0s", "--keep", BASE];
    let planned = plan(&root, &arguments);
    assert_eq!(planned["refusal"], Value::Null);
    assert!(gone.iter().all(|id| ids(&planned, "image").contains(id)), "{planned:#}");
    assert!(!kept.iter().any(|id| ids(&planned, "image").contains(id)), "{planned:#}");
    let applied = gc(&root, &[&arguments[..], &["--apply", "--json"]].concat());
    assert_eq!(applied.status.code(), Some(0), "{}", String::from_utf8_lossy(&applied.stderr));
    let applied: Value = serde_json::from_slice(&applied.stdout).unwrap();
    assert_eq!((&applied["items"], &applied["bytes"]), (&planned["items"], &planned["bytes"]));
    let left: Vec<&PathBuf> = planted.iter().filter(|path| path.symlink_metadata().is_ok()).collect();
    assert!(left.is_empty() && own.is_dir(), "{left:?}");
    assert!(plan(&root, &arguments)["items"].as_array().unwrap().is_empty());

    let daemon = Dockerd::start(&root);
    let images = daemon.images();
    assert!(kept.iter().all(|id| images.contains(id)) && !gone.iter().any(|id| images.contains(id)), "{images:?}");
    assert!(daemon.ok(&["start", "-a", "made"]).contains("/new"));
    assert!(daemon.ok(&["run", "--rm", "--network", "none", "used:1"]).contains("/new"));
    daemon.ok(&["start", "ran"]);
    // All steps come from the cache, one of which is of an image that went before, and of one that went now.
    for (steps, tag, count) in [(CACHED, "cached:2", 3), (&format!("FROM {BASE}\nRUN echo gone >/gone\n"), "gone:2", 1)]
    {
        let said = build(&daemon, dir.path(), "1", steps, tag);
        assert_eq!(said.matches(" CACHED").count(), count, "{said}");
    }
    assert_eq!(
        daemon.ok(&["run", "--rm", "--network", "none", "cached:2", "cat", "/copied", "/three"]),
        "one\nthree\n"
    );
    testkit::assert_none("dockerd's log", &daemon.errors());
    daemon.stop();
}

#[test]
fn docker_leaves_traces_of_the_last_use() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    for tag in ["first:1", "second:1", "third:1"] {
        build(&daemon, dir.path(), "0", &format!("FROM {BASE}\nCOPY file /{tag}\n"), tag);
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let [first, second, third] = ["first:1", "second:1", "third:1"].map(|name| id(&daemon, name));
    let order = || {
        let planned = plan(&root, &["--target-size", "0", "--keep", BASE]);
        let images = ids(&planned, "image");
        images.into_iter().filter(|id| [&first, &second, &third].contains(&id)).collect::<Vec<_>>()
    };
    assert_eq!(order(), [first.clone(), second.clone(), third.clone()]);
    // A container that is gone again.
    daemon.ok(&["run", "--rm", "--network", "none", "first:1", "true"]);
    assert_eq!(order(), [second.clone(), third.clone(), first.clone()]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    daemon.ok(&["tag", "second:1", "second:2"]);
    assert_eq!(order(), [third, first, second]);
    daemon.stop();
}
