//! What a pull does to the store when it is killed, when there is no room, and when another one goes on at the same time; where it
//! gets an image from, and what is asked of a registry without a pull.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served};
use testkit::image::pack;
use testkit::mounts::Mounted;
use testkit::registry::{anonymous, layerfs_anonymous};
use testkit::run::{Input, Ran, finish, start};
use testkit::store::StoreFiles;
use testkit::synthetic;

/// An image of some layers.
fn served(bytes: usize) -> Option<Served> {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return None;
    }
    let plain = synthetic::layers(bytes, 40);
    Some(Served::new(&plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect::<Vec<_>>()))
}

fn registry(served: &Served) -> FaultRegistry {
    let served = served.clone();
    FaultRegistry::start(move |asked| served.answer(asked))
}

/// A data-root with an image in it.
fn root(dir: &TempDir, name: &str) -> PathBuf {
    let root = dir.path().join(name);
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    root
}

fn expect_images(root: &std::path::Path, images: usize) {
    let store = StoreFiles::read(root);
    testkit::assert_none("wrong", &store.wrong);
    testkit::assert_none("not replayable", &store.not_replayable());
    testkit::assert_none("unreferenced", &store.unreferenced());
    assert_eq!(store.images.len(), images);
}

#[test]
fn root_pull_that_is_killed_leaves_a_store_in_which_the_next_one_goes_well() {
    let Some(served) = served(6 << 20) else { return };
    let (dir, registry) = (testkit::scratch(), registry(&served));
    let name = format!("{}/t/image:1", registry.host);
    let pull = |root: &PathBuf| anonymous(root, &["pull", &name]);
    let timed = root(&dir, "timed");
    let whole = finish(start(pull(&timed), Input::Nothing), Instant::now()).ok().time;
    let moments: u32 = if testkit::full_sweep() { 100 } else { 10 };
    for moment in 0..moments {
        let root = root(&dir, &format!("root-{moment}"));
        let mut child = start(pull(&root), Input::Nothing);
        // Only where it is killed depends on time, not what must be true afterwards.
        std::thread::sleep(whole * moment / moments);
        child.kill().unwrap();
        drop(finish(child, Instant::now()));
        finish(start(pull(&root), Input::Nothing), Instant::now()).ok();
        expect_images(&root, 2);
        assert!(!root.join("tmp/layerfs-blobs").exists(), "nothing is left of the transfers");
        std::fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn root_pull_into_disks_of_all_sizes_is_whole_or_nothing() {
    let Some(served) = served(6 << 20) else { return };
    let registry = registry(&served);
    let name = format!("{}/t/image:1", registry.host);
    let mut ends = [false; 2];
    let sizes = if testkit::full_sweep() { 1 } else { 4 };
    for size in (8..=40).step_by(sizes) {
        let disk = Mounted::tmpfs(&format!("size={size}m"));
        let root = disk.path().join("root");
        testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
        let said = layerfs_anonymous(&root, &["pull", "-q", "--no-preflight", &name]);
        ends[usize::from(said.code == Some(0))] = true;
        if said.code != Some(0) {
            testkit::assert_none("message", &said.complaints(&["No space left on device"]));
            assert!(!root.join("tmp/layerfs-blobs").exists(), "on a full disk nothing is kept");
        }
        expect_images(&root, 1 + usize::from(said.code == Some(0)));
    }
    assert_eq!(ends, [true, true], "some disks are too small, and some are not");
}

#[test]
fn root_pull_asks_for_no_layer_that_has_no_room() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let plain = synthetic::layers(12 << 20, 40);
    let served = Served::new(&plain.into_iter().map(|plain| (plain.clone(), plain)).collect::<Vec<_>>());
    let registry = registry(&served);
    let disk = Mounted::tmpfs("size=7m");
    let root = disk.path().join("root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let said = layerfs_anonymous(&root, &["pull", "-q", &format!("{}/t/image:1", registry.host)]);
    testkit::assert_none("message", &said.complaints(&["--no-preflight tries all the same"]));
    let layers =
        registry.asked().iter().filter(|asked| served.layers.iter().any(|layer| asked.path.contains(layer))).count();
    assert_eq!(layers, 0, "no layer was asked for");
    expect_images(&root, 1);
}

#[test]
fn root_pull_of_two_images_at_once_fetches_what_they_share_once() {
    let Some(served) = served(6 << 20) else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let slow = served.clone();
    let registry = FaultRegistry::start(move |asked| {
        // The first pull holds the store while the second one begins.
        if asked.blob().is_some_and(|blob| slow.layers.contains(&blob.to_owned())) && asked.before == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
        slow.answer(asked)
    });
    let pull = |tag: &str| {
        let name = format!("{}/t/image:{tag}", registry.host);
        start(anonymous(&root, &["pull", "--no-sync", &name]), Input::Nothing)
    };
    let (one, other) = (pull("1"), pull("2"));
    let ends: Vec<Ran> = [one, other].map(|child| finish(child, Instant::now())).into();
    for end in ends {
        end.ok();
    }
    expect_images(&root, 2);
    let listed = testkit::made_by_layerfs(
        &root,
        &["image", "ls", "--format", "{{.Tag}}", &format!("{}/t/image", registry.host)],
    );
    let mut tags: Vec<&str> = listed.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2"]);
    for layer in &served.layers {
        let asked = registry.asked().iter().filter(|asked| asked.blob() == Some(layer)).count();
        assert_eq!(asked, 1, "{layer}");
    }
}

/// Two images with one layer in common. The first pull has the store and gets no byte of that layer before the second one has
/// asked for a layer of its own.
fn pull_while_another_has_the_store(first_fails: bool) {
    let plain = synthetic::layers(6 << 20, 40);
    let packed: Vec<(Vec<u8>, Vec<u8>)> =
        plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect();
    let first = Served::new(&packed[..2]);
    let second = Served::new(&[packed[0].clone(), packed[2].clone()]);
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let (shared, own) = (first.layers[0].clone(), second.layers[1].clone());
    let (begun, others) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let registry = {
        let (first, second, begun, others) = (first.clone(), second.clone(), Arc::clone(&begun), Arc::clone(&others));
        FaultRegistry::start(move |asked| {
            let is_first = asked.path.starts_with("/v2/t/first/");
            match asked.blob() {
                Some(blob) if blob == own => others.open(),
                Some(blob) if blob == shared && is_first => {
                    begun.open();
                    others.wait();
                }
                Some(blob) if blob == first.layers[1] && first_fails => {
                    others.wait();
                    return Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
                }
                _ => {}
            }
            if is_first { first.answer(asked) } else { second.answer(asked) }
        })
    };
    let pull = |name: &str| {
        let name = format!("{}/t/{name}:1", registry.host);
        start(anonymous(&root, &["pull", "--no-sync", &name]), Input::Nothing)
    };
    let one = pull("first");
    begun.wait();
    let other = pull("second");
    let (one, other) = (finish(one, Instant::now()), finish(other, Instant::now()));
    assert_eq!(one.code == Some(0), !first_fails, "{one:?}");
    let other = other.ok();
    assert!(other.stderr.contains("waiting for another command"), "{}", other.stderr);
    expect_images(&root, 2 - usize::from(first_fails));
    assert!(!root.join("tmp/layerfs-blobs").exists(), "nothing is left of the transfers");
    for blob in [&first.layers[0], &second.layers[1]] {
        let asked =
            registry.asked().iter().filter(|asked| asked.blob() == Some(blob) && asked.from().is_none()).count();
        assert_eq!(asked, 1, "{blob}");
    }
}

#[test]
fn root_pull_fetches_while_another_one_has_the_store() {
    if testkit::tier("root", testkit::is_root(), "run as root") {
        pull_while_another_has_the_store(false);
    }
}

#[test]
fn root_pull_takes_over_when_the_one_that_made_the_root_fails() {
    if testkit::tier("root", testkit::is_root(), "run as root") {
        pull_while_another_has_the_store(true);
    }
}

/// Something that one thread waits for and another one tells.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let waited = self.1.wait_timeout_while(self.0.lock().unwrap(), Duration::from_secs(60), |open| !*open);
        assert!(!waited.unwrap().1.timed_out(), "nobody opens the gate");
    }
}

#[test]
fn root_pull_takes_mirrors_in_turn_and_tells_them_no_password_of_the_registry() {
    let Some(served) = served(1 << 20) else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let origin = registry(&served);
    let empty = FaultRegistry::start(|_| Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    // Asks for a password that it must not be told.
    let curious = FaultRegistry::start(|asked: &Asked| match asked.headers.contains_key("authorization") {
        true => Reply::new(500, b""),
        false => Reply::new(401, b"").with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let config = root.with_extension("no-config");
    std::fs::create_dir(&config).unwrap();
    let auth = "{\"auth\": \"dTpw\"}";
    let auths = format!("{{\"auths\": {{\"{}\": {auth}, \"https://index.docker.io/v1/\": {auth}}}}}", origin.host);
    std::fs::write(config.join("config.json"), auths).unwrap();
    let url = |registry: &FaultRegistry| format!("http://{}", registry.host);
    let (first, second) = (url(&empty), url(&curious));
    let name = format!("{}/t/image:1", origin.host);
    let said = layerfs_anonymous(&root, &["pull", "--no-sync", "--mirror", &first, "--mirror", &second, &name]).ok();
    assert!(said.stdout.contains("Status: Downloaded newer image"), "{}", said.stdout);
    assert_eq!(said.stderr.matches("warning: mirror ").count(), 2, "{}", said.stderr);
    assert!(!curious.asked().is_empty());
    assert!(curious.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    expect_images(&root, 2);
    // dockerd's mirrors serve Docker Hub only.
    testkit::made_by_layerfs(&root, &["rmi", &name]);
    let file = dir.path().join("daemon.json");
    std::fs::write(&file, format!("{{\"registry-mirrors\": [\"{first}\", \"{}/\"]}}", url(&origin))).unwrap();
    let daemon_config = format!("--daemon-config={}", file.display());
    let before = empty.asked().len();
    let said = layerfs_anonymous(&root, &["pull", "--no-sync", &daemon_config, "layerfs-test:1"]).ok();
    assert!(said.stdout.ends_with("docker.io/library/layerfs-test:1\n"), "{}", said.stdout);
    assert!(empty.asked().len() > before);
    let asked = origin.asked();
    assert!(asked.iter().any(|asked| asked.path.contains("/v2/library/layerfs-test/manifests/")), "{asked:?}");
    let before = empty.asked().len();
    layerfs_anonymous(&root, &["pull", "--no-sync", &daemon_config, &name]).ok();
    assert_eq!(empty.asked().len(), before);
    std::fs::write(&file, "{\"registry-mirrors\": [\"https://m.test/v2\"]}").unwrap();
    let said = layerfs_anonymous(&root, &["pull", "-q", &daemon_config, "layerfs-test:1"]);
    testkit::assert_none("message", &said.complaints(&["invalid mirror"]));
}

#[test]
fn root_pull_is_not_needed_to_see_tags_and_an_image() {
    let Some(served) = served(1 << 20) else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("none");
    let image = served.clone();
    let registry = FaultRegistry::start(move |asked| match asked.path.as_str() {
        "/v2/t/image/tags/list" => Reply::new(200, br#"{"name":"t/image","tags":["b","a"]}"#)
            .with("Link", "</v2/t/image/tags/list?n=2&last=a>; rel=\"next\""),
        "/v2/t/image/tags/list?n=2&last=a" => Reply::new(200, b"{\"tags\":[\"c\\u001b[31m\"]}"),
        _ => image.answer(asked),
    });
    let repository = format!("{}/t/image", registry.host);
    let said = layerfs_anonymous(&root, &["image", "tags", &repository]).ok();
    assert_eq!(said.stdout.lines().count(), 3);
    assert!(said.stdout.starts_with("b\na\nc") && !said.stdout.contains('\x1b'), "{:?}", said.stdout);
    let said = layerfs_anonymous(&root, &["image", "tags", "--json", &repository]).ok();
    let tags: Vec<String> = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(tags, ["b", "a", "c\x1b[31m"]);
    let said = layerfs_anonymous(&root, &["image", "inspect", "--remote", &format!("{repository}:1")]).ok();
    let shown: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&served.manifest).unwrap();
    assert_eq!(shown[0]["Manifest"], manifest);
    assert_eq!(shown[0]["Id"], manifest["config"]["digest"]);
    let config: serde_json::Value =
        serde_json::from_slice(&served.blobs[manifest["config"]["digest"].as_str().unwrap()]).unwrap();
    assert_eq!(shown[0]["Config"], config);
    let size: usize = served.layers.iter().map(|layer| served.blobs[layer].len()).sum();
    assert_eq!(shown[0]["Size"], size);
    let asked = registry.asked();
    let is_layer = |asked: &Asked| asked.blob().is_some_and(|blob| served.layers.iter().any(|layer| layer == blob));
    assert!(!asked.iter().any(is_layer), "no layer is fetched");
    let said = layerfs_anonymous(&root, &["image", "inspect", "--remote", "--format", "{{.Size}}", &repository]).ok();
    assert_eq!(said.stdout, format!("{size}\n"));
    assert!(!root.exists(), "no data-root is made");
}
