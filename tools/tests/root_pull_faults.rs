//! `layerfs image pull` from a registry that cuts, stalls, lies and redirects: each pull ends well or with an error that says
//! what, and leaves nothing that should not be there.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use layerfs::Digest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served, Then};
use testkit::image::pack;
use testkit::mounts::Mounted;
use testkit::registry::{anonymous, layerfs_anonymous};
use testkit::run::{Input, Ran, finish, start};
use testkit::store::StoreFiles;
use testkit::{synthetic, tarfile};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image of some layers, of which the first is the largest.
fn served() -> Option<Served> {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return None;
    }
    let plain = synthetic::layers(3 << 20, 40);
    Some(Served::new(&plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect::<Vec<_>>()))
}

/// A registry of this image, with what is answered instead of what it would answer.
fn registry(served: &Served, instead: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static) -> FaultRegistry {
    let served = served.clone();
    FaultRegistry::start(move |asked| instead(asked, served.answer(asked)))
}

/// A data-root in which an image is, so that what has arrived is kept.
struct Root {
    _dir: TempDir,
    path: PathBuf,
    /// Layers that were there before.
    layers: usize,
}

impl Root {
    fn new() -> Self {
        let dir = testkit::scratch();
        let path = dir.path().join("root");
        Self::at(dir, path)
    }

    fn at(dir: TempDir, path: PathBuf) -> Self {
        testkit::import(&testkit::golden("busybox-20.10.tar"), &path);
        let layers = StoreFiles::read(&path).layers.len();
        Self { _dir: dir, path, layers }
    }

    fn pull(&self, registry: &FaultRegistry, options: &[&str]) -> Ran {
        let name = format!("{}/t/image:1", registry.host);
        layerfs_anonymous(&self.path, &[&["pull", "--no-sync"], options, &[&name]].concat())
    }

    fn blobs(&self) -> Vec<String> {
        testkit::store::names(&self.path.join("tmp/layerfs-blobs"))
    }

    /// The pull went well, and nothing but the image is there.
    fn expect(&self, ran: Ran, layers: usize) {
        let ran = ran.ok();
        assert!(ran.stdout.contains("Status: Downloaded newer image"), "{}", ran.stdout);
        let store = StoreFiles::read(&self.path);
        testkit::assert_none("wrong", &store.wrong);
        testkit::assert_none("not replayable", &store.not_replayable());
        assert_eq!(store.images.len(), 2);
        assert_eq!(store.layers.len(), self.layers + layers);
        assert!(!self.path.join("tmp/layerfs-blobs").exists(), "nothing is left of the transfer");
    }

    /// The pull failed with a message of these words, and only what was there is there.
    fn expect_failure(&self, ran: &Ran, words: &[&str]) {
        testkit::assert_none("message", &ran.complaints(words));
        let store = StoreFiles::read(&self.path);
        testkit::assert_none("wrong", &store.wrong);
        assert_eq!((store.images.len(), store.layers.len()), (1, self.layers));
        testkit::assert_none("unreferenced", &store.unreferenced());
    }
}

fn is_first_layer(served: &Served) -> impl Fn(&Asked) -> bool + use<> {
    let first = served.layers[0].clone();
    move |asked| asked.blob() == Some(&first)
}

/// Bytes that were sent of the first layer, by the ranges that were asked for.
fn starts(registry: &FaultRegistry, served: &Served) -> Vec<usize> {
    let is_first = is_first_layer(served);
    registry.asked().iter().filter(|asked| is_first(asked)).map(|asked| asked.from().unwrap_or(0)).collect()
}

#[test]
fn root_pull_goes_on_after_cuts_at_every_twentieth() {
    let Some(served) = served() else { return };
    let (root, is_first) = (Root::new(), is_first_layer(&served));
    let size = served.blobs[&served.layers[0]].len();
    let part = size / 20 + 1;
    let registry =
        registry(&served, move |asked, reply| if is_first(asked) { reply.then(Then::Cut(part)) } else { reply });
    let ran = root.pull(&registry, &[]);
    // Each attempt goes on where the one before has ended: no byte comes twice.
    let expected: Vec<usize> = (0..20).map(|number| number * part).collect();
    assert_eq!(starts(&registry, &served), expected);
    root.expect(ran, served.layers.len());
}

#[test]
fn root_pull_gives_silent_and_slow_connections_up() {
    let Some(served) = served() else { return };
    for then in [Then::Silence(1000), Then::Trickle(1000)] {
        let (root, is_first) = (Root::new(), is_first_layer(&served));
        let registry = registry(
            &served,
            move |asked, reply| {
                if is_first(asked) && asked.before == 0 { reply.then(then) } else { reply }
            },
        );
        let ran = root.pull(&registry, &["--stall-timeout", "1"]);
        let starts = starts(&registry, &served);
        // A busy machine may be silent for a second, too.
        assert!(starts.len() >= 2 && starts[1..].iter().all(|start| *start >= 1000), "{then:?}: {starts:?}");
        root.expect(ran, served.layers.len());
    }
}

#[test]
fn root_pull_notices_ranges_that_are_ignored_or_wrong() {
    let Some(served) = served() else { return };
    for kind in ["ignored", "other bytes", "no header", "416"] {
        let (root, is_first) = (Root::new(), is_first_layer(&served));
        let whole = served.blobs[&served.layers[0]].clone();
        let registry =
            registry(&served, move |asked, reply| match (is_first(asked), asked.before, asked.from(), kind) {
                (true, 0, ..) => reply.then(Then::Cut(5000)),
                (true, _, Some(_), "ignored") => Reply::new(200, &whole),
                (true, _, Some(_), "416") => Reply::new(416, b""),
                (true, _, Some(_), "no header") => Reply::new(206, &whole[5000..]),
                (true, _, Some(_), _) => Reply::new(206, &whole[4000..])
                    .with("Content-Range", &format!("bytes 4000-{}/{}", whole.len() - 1, whole.len())),
                _ => reply,
            });
        let ran = root.pull(&registry, &[]);
        assert!(starts(&registry, &served).len() <= 3, "{kind}");
        root.expect(ran, served.layers.len());
    }
}

#[test]
fn root_pull_waits_for_a_busy_registry() {
    let Some(served) = served() else { return };
    for (status, after) in [(429, Some("1")), (429, None), (503, Some("1")), (500, None)] {
        let root = Root::new();
        // The manifest and each blob once.
        let registry = registry(&served, move |asked, reply| match (asked.before, after) {
            (0, Some(after)) => Reply::error(status, "TOOMANYREQUESTS", "slow down").with("Retry-After", after),
            (0, None) => Reply::error(status, "TOOMANYREQUESTS", "slow down"),
            _ => reply,
        });
        let ran = root.pull(&registry, &[]);
        root.expect(ran, served.layers.len());
    }
    let root = Root::new();
    let registry = registry(&served, |_, _| {
        Reply::error(429, "TOOMANYREQUESTS", "come back tomorrow").with("Retry-After", "86400")
    });
    root.expect_failure(&root.pull(&registry, &["-q"]), &["toomanyrequests: come back tomorrow", "86400 s"]);
}

#[test]
fn root_pull_does_not_take_what_is_not_the_image() {
    let Some(served) = served() else { return };
    let first = served.layers[0].clone();
    let size = served.blobs[&first].len();
    type Fault = Box<dyn Fn(&Asked, Reply) -> Reply + Send + Sync>;
    let of_blob = |change: fn(Reply) -> Reply| -> Fault {
        let is_first = is_first_layer(&served);
        Box::new(move |asked, reply| if is_first(asked) { change(reply) } else { reply })
    };
    let of_manifest = |change: fn(Reply) -> Reply| -> Fault {
        Box::new(move |asked, reply| if asked.path.contains("/manifests/") { change(reply) } else { reply })
    };
    let config = served.blobs.keys().find(|digest| !served.layers.contains(digest)).unwrap().clone();
    let digest = config.clone();
    let expected = format!("says {size}");
    let cases: Vec<(&str, Fault, Vec<&str>)> = vec![
        (
            "wrong bytes",
            of_blob(|mut reply| {
                let middle = reply.body.len() / 2;
                reply.body[middle] ^= 1;
                reply
            }),
            vec!["filesystem layer verification failed for digest", &first, "127.0.0.1"],
        ),
        (
            "too long",
            of_blob(|mut reply| {
                reply.body.push(0);
                reply
            }),
            vec![&first, "127.0.0.1", &expected],
        ),
        (
            "too short",
            of_blob(|mut reply| {
                reply.body.pop();
                reply
            }),
            vec![&first, "127.0.0.1", &expected],
        ),
        (
            "endless",
            of_blob(|mut reply| {
                reply.length = false;
                reply.then(Then::Endless)
            }),
            vec![&first, "127.0.0.1", &expected],
        ),
        (
            "gone",
            of_blob(|_| Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry")),
            vec!["blob unknown", &first],
        ),
        ("no more", of_blob(|reply| reply.then(Then::Cut(0))), vec![&first, "127.0.0.1", "after byte 0", "EOF|reset"]),
        (
            "another manifest",
            of_manifest(|mut reply| {
                reply.body.push(b' ');
                reply
            }),
            vec!["manifest verification failed for digest", "127.0.0.1"],
        ),
        (
            "large manifest",
            of_manifest(|mut reply| {
                reply.body = vec![b' '; 10 << 20];
                reply
            }),
            vec!["a manifest of more than 4194304 bytes", "/v2/t/image/manifests/1"],
        ),
        (
            "endless manifest",
            of_manifest(|mut reply| {
                reply.length = false;
                reply.then(Then::Endless)
            }),
            vec!["a manifest of more than 4194304 bytes"],
        ),
        (
            "another config",
            Box::new(move |asked, mut reply| {
                if asked.blob() == Some(&config) {
                    reply.body.push(b' ');
                }
                reply
            }),
            vec!["image config verification failed for digest", &digest],
        ),
        (
            "no JSON",
            of_manifest(|_| Reply::new(200, b"<html>").with("Content-Type", "text/html")),
            vec!["no manifest", "t/image"],
        ),
        (
            "circles",
            of_manifest(|_| Reply::new(307, b"").with("Location", "/v2/t/image/manifests/1")),
            vec!["10 redirects"],
        ),
        ("nowhere", of_manifest(|_| Reply::new(307, b"").with("Location", "file:///etc/passwd")), vec!["redirect to"]),
    ];
    for (what, fault, words) in cases {
        eprintln!("{what}");
        let root = Root::new();
        let registry = registry(&served, fault);
        root.expect_failure(&root.pull(&registry, &["-q"]), &words);
        assert!(!root.blobs().contains(&first.replace("sha256:", "")), "{what}: a bad blob is kept");
    }
}

#[test]
fn root_pull_keeps_what_has_arrived_and_proves_it_again() {
    let Some(served) = served() else { return };
    let (root, is_first) = (Root::new(), is_first_layer(&served));
    let gone = registry(&served, move |asked, reply| match (is_first(asked), asked.before) {
        (true, 0) => reply.then(Then::Cut(9000)),
        (true, _) => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        _ => reply,
    });
    root.expect_failure(&root.pull(&gone, &["-q"]), &["blob unknown"]);
    let hex = served.layers[0].replace("sha256:", "");
    assert!(root.blobs().contains(&hex), "{:?}", root.blobs());
    // What was kept is not believed: somebody has changed it.
    let kept = root.path.join("tmp/layerfs-blobs").join(&hex);
    let mut bytes = std::fs::read(&kept).unwrap();
    assert_eq!(bytes.len(), 9000);
    bytes[4000] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let whole = registry(&served, |_, reply| reply);
    let ran = root.pull(&whole, &[]);
    assert_eq!(starts(&whole, &served), [9000, 0]);
    root.expect(ran, served.layers.len());
}

#[test]
fn root_pull_takes_credentials_nowhere_else() {
    let Some(served) = served() else { return };
    let root = Root::new();
    let blobs = served.clone();
    let elsewhere = FaultRegistry::start(move |asked| blobs.answer(asked));
    let other = elsewhere.host.clone();
    // The first token ends with the manifest; each blob is elsewhere.
    let origin = registry(&served, move |asked, reply| {
        let token = asked.headers.get("authorization").map(String::as_str);
        if asked.path.starts_with("/token") {
            let body = format!("{{\"token\":\"secret-{}\",\"expires_in\":300}}", asked.before);
            return Reply::new(200, body.as_bytes());
        }
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"test\"", asked.headers["host"]);
        let wanted = if asked.path.contains("/manifests/") { "Bearer secret-0" } else { "Bearer secret-1" };
        match (token == Some(wanted), asked.blob()) {
            (false, _) => Reply::error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", &realm),
            (true, Some(_)) => Reply::new(307, b"").with("Location", &format!("http://{other}{}", asked.path)),
            (true, None) => reply,
        }
    });
    let ran = root.pull(&origin, &["--max-concurrent-downloads", "1"]);
    root.expect(ran, served.layers.len());
    assert!(elsewhere.asked().len() > served.layers.len());
    for asked in elsewhere.asked() {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
    let tokens = origin.asked();
    let tokens: Vec<_> = tokens.iter().filter(|asked| asked.path.starts_with("/token")).collect();
    assert!(tokens.iter().all(|asked| asked.path.contains("scope=repository%3At%2Fimage%3Apull")), "{tokens:?}");
}

/// The token server is asked again like the registry itself, whatever the body of its answer says, and left alone as long as it
/// asks.
#[test]
fn root_pull_waits_for_a_busy_token_server() {
    let Some(served) = served() else { return };
    let with_tokens = |busy: Reply, times: usize| {
        registry(&served, move |asked, reply| {
            if asked.path.starts_with("/token") {
                return if asked.before < times { busy.clone() } else { Reply::new(200, b"{\"token\":\"secret\"}") };
            }
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"test\"", asked.headers["host"]);
            match asked.headers.contains_key("authorization") {
                true => reply,
                false => Reply::error(401, "UNAUTHORIZED", "who is it").with("WWW-Authenticate", &realm),
            }
        })
    };
    for busy in [
        Reply::error(503, "UNAVAILABLE", "service unavailable"),
        Reply::error(503, "UNAVAILABLE", "service unavailable").with("Retry-After", "1"),
        Reply::error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", "1"),
    ] {
        let root = Root::new();
        root.expect(root.pull(&with_tokens(busy, 1), &[]), served.layers.len());
    }
    let root = Root::new();
    let tomorrow = Reply::error(429, "TOOMANYREQUESTS", "come back tomorrow").with("Retry-After", "86400");
    let ran = root.pull(&with_tokens(tomorrow, usize::MAX), &["-q"]);
    root.expect_failure(&ran, &["toomanyrequests: come back tomorrow", "86400 s"]);
}

/// A layer that arrives whole and is too large for the disk when it is unpacked: what has arrived is not kept there, either.
#[test]
fn root_pull_keeps_nothing_on_a_full_disk() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let plain = tarfile::tar(&[tarfile::file("large", vec![0; 32 << 20])]);
    let served = Served::new(&[(plain.clone(), pack("gzip", &plain))]);
    let disk = Mounted::tmpfs("size=12m");
    let root = Root::at(testkit::scratch(), disk.path().join("root"));
    let registry = registry(&served, |_, reply| reply);
    let ran = root.pull(&registry, &["--quiet"]);
    root.expect_failure(&ran, &["No space left on device"]);
    testkit::assert_none("kept", &root.blobs());
}

/// A request that waits for a manifest ends when the user says so, and not only when the registry was silent for too long.
#[test]
fn root_pull_ends_when_it_is_interrupted_while_a_manifest_is_silent() {
    let Some(served) = served() else { return };
    for answers in [true, false] {
        let root = Root::new();
        let registry = registry(&served, move |asked, reply| match asked.path.contains("/manifests/") {
            true if answers => reply.then(Then::Silence(10)),
            true => {
                std::thread::sleep(Duration::from_secs(300));
                reply
            }
            false => reply,
        });
        let name = format!("{}/t/image:1", registry.host);
        let child = start(anonymous(&root.path, &["pull", "--stall-timeout=300", &name]), Input::Nothing);
        let begun = Instant::now();
        while registry.asked().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the manifest is not asked for");
            std::thread::sleep(Duration::from_millis(10));
        }
        let interrupted = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = finish(child, interrupted);
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.time < Duration::from_secs(30), "{ran:?}");
        assert_eq!(StoreFiles::read(&root.path).images.len(), 1);
    }
}

/// As dockerd 28.5 does.
#[test]
fn root_pull_follows_an_index_in_an_index() {
    let Some(served) = served() else { return };
    let index = |media_type: &str, bytes: &[u8]| {
        let entry = json!({
            "mediaType": media_type, "size": bytes.len(), "digest": Digest::hash(bytes).to_string(),
            "platform": {"os": "linux", "architecture": "s390x"},
        });
        serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})).unwrap()
    };
    let inner = index("application/vnd.docker.distribution.manifest.v2+json", &served.manifest);
    let outer = index(INDEX, &inner);
    let (inner_path, top) = (format!("/manifests/{}", Digest::hash(&inner)), Digest::hash(&outer));
    let registry = registry(&served, move |asked, reply| match asked.path.as_str() {
        path if path.ends_with("/manifests/1") => Reply::new(200, &outer).with("Content-Type", INDEX),
        path if path.ends_with(&inner_path) => Reply::new(200, &inner).with("Content-Type", INDEX),
        _ => reply,
    });
    let root = Root::new();
    root.expect_failure(&root.pull(&registry, &[]), &["no matching manifest for linux/"]);
    let ran = root.pull(&registry, &["--platform", "linux/s390x"]);
    assert!(ran.stdout.contains(&format!("Digest: {top}")), "{ran:?}");
    root.expect(ran, served.layers.len());
}
