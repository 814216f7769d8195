//! `layerfs image push` to a registry that breaks, refuses and lies: each push ends well or with an error that says what.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use layerfs::Digest;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::Random;
use testkit::fault_registry::{Asked, FaultRegistry, Reply};
use testkit::image::DockerArchive;
use testkit::registry::{anonymous, layerfs_anonymous};
use testkit::run::{self, Input, Ran};
use testkit::tarfile;

/// What a registry does to a request.
enum Fault {
    /// Nothing out of order.
    None,
    /// It answers this, and does nothing.
    Refused(Reply),
    /// It does what was asked for, and answers this.
    Misreported(Reply),
}

/// Blobs of the image: three layers and the config.
const BLOBS: usize = 4;

/// A store with an image, and a registry that keeps the digests and lengths of what it is sent.
struct Case {
    _dir: TempDir,
    root: PathBuf,
    registry: FaultRegistry,
    kept: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Case {
    fn new(fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Option<Self> {
        if !testkit::tier("root", testkit::is_root(), "run as root") {
            return None;
        }
        let dir = testkit::scratch();
        let root = dir.path().join("root");
        testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
        let kept = Arc::new(Mutex::new(BTreeMap::new()));
        let keeping = Arc::clone(&kept);
        let registry = FaultRegistry::start(move |asked| match fault(asked) {
            Fault::None => answer(asked, &keeping),
            Fault::Refused(reply) => reply,
            Fault::Misreported(reply) => {
                answer(asked, &keeping);
                reply
            }
        });
        Some(Self { _dir: dir, root, registry, kept })
    }

    fn push(&self, options: &[&str]) -> Ran {
        layerfs_anonymous(&self.root, &[&["push"], options, &[&self.tag("t/image:1")]].concat())
    }

    /// Gives the image a name at the registry.
    fn tag(&self, path: &str) -> String {
        let listed = testkit::made_by_layerfs(&self.root, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
        let name = format!("{}/{path}", self.registry.host);
        testkit::made_by_layerfs(&self.root, &["tag", listed.lines().next().unwrap(), &name]);
        name
    }

    fn count(&self, wanted: impl Fn(&Asked) -> bool) -> usize {
        self.registry.asked().iter().filter(|asked| wanted(asked)).count()
    }
}

/// What a registry without faults answers.
fn answer(asked: &Asked, kept: &Mutex<BTreeMap<String, usize>>) -> Reply {
    match asked.method.as_str() {
        "HEAD" => match kept.lock().unwrap().get(asked.blob().unwrap_or_default()) {
            Some(length) => Reply::new(200, &vec![0; *length]),
            None => Reply::new(404, b""),
        },
        "POST" => Reply::new(202, b"").with("Location", "/v2/t/image/blobs/uploads/1?state=a%2Fb"),
        "PUT" if asked.path.contains("/manifests/") => {
            Reply::new(201, b"").with("Docker-Content-Digest", &Digest::hash(&asked.body).to_string())
        }
        "PUT" => {
            let digest = Digest::hash(&asked.body).to_string();
            if !asked.path.ends_with(&format!("?state=a%2Fb&digest={}", digest.replace(':', "%3A"))) {
                return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
            }
            kept.lock().unwrap().insert(digest, asked.body.len());
            Reply::new(201, b"")
        }
        _ => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    }
}

fn is_blob(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.path.contains("/blobs/uploads/")
}

/// Something that is true once.
fn once() -> impl Fn() -> bool {
    let done = AtomicBool::new(false);
    move || !done.swap(true, Ordering::Relaxed)
}

#[test]
fn root_push_tries_a_layer_again_that_the_registry_did_not_take() {
    for status in [500, 502, 429] {
        let first = once();
        let fault = move |asked: &Asked| {
            if is_blob(asked) && first() { Fault::Refused(Reply::new(status, b"")) } else { Fault::None }
        };
        let Some(case) = Case::new(fault) else { return };
        let said = case.push(&[]).ok();
        assert!(said.stdout.contains(": Retrying in 1 second\n") && said.stdout.contains(": Pushed\n"), "{said:?}");
        assert_eq!(case.kept.lock().unwrap().len(), BLOBS);
        assert_eq!(case.count(is_blob), BLOBS + 1, "one of them twice");
        assert_eq!(case.count(|asked| asked.path.contains("/manifests/")), 1);
    }
}

#[test]
fn root_push_does_not_send_again_what_has_arrived() {
    let first = once();
    let fault = move |asked: &Asked| {
        if is_blob(asked) && first() { Fault::Misreported(Reply::new(504, b"")) } else { Fault::None }
    };
    let Some(case) = Case::new(fault) else { return };
    let said = case.push(&[]).ok();
    assert!(said.stdout.contains(": Retrying in 1 second\n") && said.stdout.contains(": Pushed\n"), "{said:?}");
    assert_eq!(case.count(is_blob), BLOBS, "each once");
}

#[test]
fn root_push_says_what_the_registry_refuses() {
    fn denied(asked: &Asked) -> Fault {
        match asked.method.as_str() {
            "POST" => Fault::Refused(Reply::error(403, "DENIED", "requested access to the resource is denied")),
            _ => Fault::None,
        }
    }
    fn invalid(asked: &Asked) -> Fault {
        match asked.path.contains("/manifests/") {
            true => Fault::Refused(Reply::error(400, "MANIFEST_INVALID", "no such config")),
            false => Fault::None,
        }
    }
    fn other_manifest(asked: &Asked) -> Fault {
        let other = Digest::hash(b"other").to_string();
        match asked.path.contains("/manifests/") {
            true => Fault::Misreported(Reply::new(201, b"").with("Docker-Content-Digest", &other)),
            false => Fault::None,
        }
    }
    fn no_address(asked: &Asked) -> Fault {
        if asked.method == "POST" { Fault::Refused(Reply::new(202, b"")) } else { Fault::None }
    }
    fn always_busy(asked: &Asked) -> Fault {
        if is_blob(asked) { Fault::Refused(Reply::new(429, b"").with("Retry-After", "3600")) } else { Fault::None }
    }
    type Faulty = fn(&Asked) -> Fault;
    let cases: [(Faulty, &str); 5] = [
        (denied, "denied: requested access to the resource is denied"),
        (invalid, "manifest invalid: no such config"),
        (other_manifest, "manifest verification failed"),
        (no_address, "does not say where the bytes go"),
        (always_busy, "toomanyrequests"),
    ];
    for (fault, words) in cases {
        let Some(case) = Case::new(fault) else { return };
        let said = case.push(&["-q"]);
        testkit::assert_none("message", &said.complaints(&[words]));
        let noted = testkit::made_by_layerfs(&case.root, &["images", "--digests", "--format", "{{.Digest}}"]);
        assert!(!noted.contains("sha256:"), "{noted}");
    }
}

/// A registry may ask for a pause of a minute, and a user who interrupts the push does not wait for its end.
#[test]
fn root_push_ends_when_it_is_interrupted_in_a_pause() {
    let fault = |asked: &Asked| {
        if is_blob(asked) { Fault::Refused(Reply::new(429, b"").with("Retry-After", "60")) } else { Fault::None }
    };
    let Some(case) = Case::new(fault) else { return };
    let mut child = run::start(anonymous(&case.root, &["push", &case.tag("t/image:1")]), Input::Nothing);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // All layers pause, so that none of them notices for the others.
    let pauses = lines.map(Result::unwrap).filter(|line| line.ends_with(": Retrying in 60 seconds"));
    assert_eq!(pauses.take(BLOBS - 1).count(), BLOBS - 1);
    let interrupted = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = run::finish(child, interrupted);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains(": interrupted"), "{ran:?}");
    assert!(ran.time < Duration::from_secs(30), "{ran:?}");
}

/// Whoever reads the lines may hang up: what was pushed is noted all the same.
#[test]
fn root_push_is_noted_when_nobody_reads_its_lines() {
    let (hung_up, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let fault = move |asked: &Asked| {
        if asked.path.contains("/manifests/") {
            // Until the other end is dropped.
            let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(30));
        }
        Fault::None
    };
    let Some(case) = Case::new(fault) else { return };
    let mut child = run::start(anonymous(&case.root, &["push", &case.tag("t/image:1")]), Input::Nothing);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.by_ref().filter(|line| line.ends_with(": Pushed")).take(BLOBS - 1).count(), BLOBS - 1);
    drop((lines, hung_up));
    drop(run::finish(child, Instant::now()));
    let noted = testkit::made_by_layerfs(&case.root, &["images", "--digests", "--format", "{{.Digest}}"]);
    assert!(noted.contains("sha256:"), "{noted}");
}

/// To mount a blob from another repository only saves time: where the registry refuses it, the bytes are sent.
#[test]
fn root_push_sends_what_the_registry_does_not_mount() {
    for (status, code) in [(403, "DENIED"), (401, "UNAUTHORIZED"), (405, "UNSUPPORTED"), (404, "NAME_UNKNOWN")] {
        let fault = move |asked: &Asked| match asked.method.as_str() {
            "POST" if asked.path.contains("mount=") => Fault::Refused(Reply::error(status, code, "not from there")),
            "HEAD" if asked.path.starts_with("/v2/t/other/") => Fault::Refused(Reply::new(404, b"")),
            _ => Fault::None,
        };
        let Some(case) = Case::new(fault) else { return };
        drop(case.push(&[]).ok());
        let said = layerfs_anonymous(&case.root, &["push", &case.tag("t/other:1")]).ok();
        assert_eq!(said.stdout.matches(": Pushed\n").count(), BLOBS - 1, "{said:?}");
        assert_eq!(case.count(|asked| asked.path.contains("mount=")), BLOBS - 1, "each was asked for");
    }
}

/// Bytes go where the registry says, and what proves who sends them only to the registry itself.
#[test]
fn root_push_sends_bytes_elsewhere_without_credentials() {
    let elsewhere = FaultRegistry::start(|_| Reply::new(201, b""));
    let target = format!("http://{}/put?x=1", elsewhere.host);
    let fault = move |asked: &Asked| match asked.headers.contains_key("authorization") {
        false => Fault::Refused(Reply::new(401, b"").with("WWW-Authenticate", "Basic realm=\"x\"")),
        true if asked.method == "POST" => Fault::Refused(Reply::new(202, b"").with("Location", &target)),
        true => Fault::None,
    };
    let Some(case) = Case::new(fault) else { return };
    let config = case.root.with_extension("no-config");
    std::fs::create_dir(&config).unwrap();
    let auths = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"dTpw\"}}}}}}", case.registry.host);
    std::fs::write(config.join("config.json"), auths).unwrap();
    drop(case.push(&[]).ok());
    let sent = elsewhere.asked();
    assert_eq!(sent.len(), BLOBS);
    assert!(sent.iter().all(|asked| !asked.headers.contains_key("authorization")), "{sent:?}");
}

/// A registry that keeps the bytes of one upload, and hangs up in the middle of it.
struct Parts {
    layer: Mutex<Vec<u8>>,
    /// Whether it tells how much it has.
    goes_on: bool,
}

impl Parts {
    fn answer(&self, asked: &Asked) -> Reply {
        let has = |bytes: &[u8]| format!("0-{}", bytes.len().saturating_sub(1));
        let kept = || Reply::new(204, b"").with("Location", "/v2/t/image/blobs/uploads/1?state=a%2Fb");
        let mut layer = self.layer.lock().unwrap();
        match asked.method.as_str() {
            "POST" => {
                layer.clear();
                kept()
            }
            "GET" if !self.goes_on => Reply::error(404, "BLOB_UPLOAD_INVALID", "blob upload invalid"),
            "GET" => kept().with("Range", &has(&layer)),
            "PATCH" => {
                let from = asked
                    .headers
                    .get("content-range")
                    .map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
                if from != layer.len() {
                    return Reply::new(416, b"");
                }
                layer.extend_from_slice(&asked.body);
                kept().with("Range", &has(&layer))
            }
            "PUT" if asked.path.contains("/blobs/") && asked.body.is_empty() => {
                let digest = Digest::hash(&layer).to_string().replace(':', "%3A");
                if asked.path.ends_with(&digest) {
                    Reply::new(201, b"")
                } else {
                    Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
                }
            }
            "PUT" => Reply::new(201, b""),
            _ => Reply::new(404, b""),
        }
    }
}

/// What has arrived of a large layer is not sent again where the registry can say how much that is, and all of it is where
/// it cannot.
#[test]
fn root_push_goes_on_where_a_connection_broke() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let mut random = Random::new(17);
    let content: Vec<u8> = (0..6 << 17).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
    let layer = tarfile::tar(&[tarfile::file("large", content)]);
    let archive = dir.path().join("image.tar");
    std::fs::write(&archive, DockerArchive::new("t/large:1", &[layer]).build()).unwrap();
    testkit::import(&archive, &root);
    const CUT: u64 = 4_000_001;
    for goes_on in [true, false] {
        let parts = Arc::new(Parts { layer: Mutex::default(), goes_on });
        let first = once();
        let registry = FaultRegistry::start_hanging_up(
            move |asked| (asked.method == "PATCH" && first()).then_some(CUT),
            move |asked| parts.answer(asked),
        );
        let name = format!("{}/t/image:1", registry.host);
        testkit::made_by_layerfs(&root, &["tag", "t/large:1", &name]);
        let said = layerfs_anonymous(&root, &["push", &name]).ok();
        assert!(said.stdout.contains(": Retrying in 1 second\n") && said.stdout.contains(": Pushed\n"), "{said:?}");
        let asked = registry.asked();
        let patches: Vec<&Asked> = asked.iter().filter(|asked| asked.method == "PATCH").collect();
        let ranges: Vec<Option<&String>> = patches.iter().map(|asked| asked.headers.get("content-range")).collect();
        let (sent, size) = (patches[1].body.len() as u64, 6 << 20);
        if goes_on {
            let rest = format!("{CUT}-{}", CUT + sent - 1);
            assert_eq!(ranges, [None, Some(&rest)]);
            assert!(sent > size - CUT && sent < size, "{sent}");
        } else {
            assert_eq!(ranges, [None, None]);
            assert!(sent > size, "{sent}");
        }
    }
}
