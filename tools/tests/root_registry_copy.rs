//! `layerfs registry copy`: images between registries and layouts, as they are; skopeo is the judge. What breaks on the way.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use layerfs::Digest;
use serde_json::{Value, json};
use testkit::Random;
use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served, Then};
use testkit::image::pack;
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::run::Ran;
use testkit::synthetic;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn copy(dir: &Path, arguments: &[&str]) -> Ran {
    layerfs_anonymous(&dir.join("none"), &[&["registry", "copy"], arguments].concat())
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The bytes of what a name leads to.
fn raw(name: &str) -> Vec<u8> {
    skopeo(&["inspect", "--raw", "--tls-verify=false", name])
}

/// A layout with images for two platforms, the second one of them in an index within the index.
fn layout(dir: &Path) -> Vec<u8> {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::hash(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "size": bytes.len(), "digest": digest.to_string()})
    };
    let json = |value: &Value| serde_json::to_vec(value).unwrap();
    let shared = synthetic::layers(1 << 20, 20);
    let image = |architecture: &str, own: &[u8]| {
        let plain = [shared[0].clone(), own.to_vec()];
        let mut config = testkit::image::config(&plain.iter().map(|layer| Digest::hash(layer)).collect::<Vec<_>>());
        config["architecture"] = architecture.into();
        let layers: Vec<Value> = plain.iter().map(|layer| put(&pack("gzip", layer), LAYER)).collect();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": put(&json(&config), CONFIG), "layers": layers});
        let mut entry = put(&json(&manifest), MANIFEST);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image("s390x", &shared[2])]});
    let mut nested = put(&json(&inner), INDEX);
    nested["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let outer = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image("amd64", &shared[1]), nested]});
    let mut top = put(&json(&outer), INDEX);
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "multi"});
    std::fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
    std::fs::write(dir.join("index.json"), json(&json!({"schemaVersion": 2, "manifests": [top]}))).unwrap();
    json(&outer)
}

#[test]
fn docker_registry_copy_takes_images_as_they_are() {
    if !Registry::installed("docker") || !testkit::tier("docker", Path::new("/usr/bin/skopeo").exists(), "skopeo") {
        return;
    }
    let dir = testkit::scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (Registry::start(&dir.path().join("one")), Registry::start(&dir.path().join("two")));
    let outer = layout(&dir.path().join("source"));
    let source = format!("oci:{}:multi", path("source"));
    let at = |registry: &Registry, name: &str| format!("{}/{name}", registry.host);
    let docker = |name: &str| format!("docker://{name}");

    // All of an index, from a layout to a registry, to another registry, within that, and into a layout again.
    let first = at(&one, "a/multi:1");
    let said = copy(dir.path(), &["--all", &source, &first]).ok();
    // Two configs, and three layers, of which one is in both images.
    assert_eq!(said.stdout.matches(": Copied\n").count(), 5, "{said:?}");
    assert!(said.stdout.contains(&format!("digest: {}", Digest::hash(&outer))), "{said:?}");
    assert_eq!(raw(&docker(&first)), outer);
    let second = at(&two, "b/multi:2");
    let said = copy(dir.path(), &["--all", &first, &second]).ok();
    assert_eq!(said.stdout.matches(": Copied\n").count(), 5, "{said:?}");
    assert_eq!(raw(&docker(&second)), outer);
    let said = copy(dir.path(), &["--all", &second, &at(&two, "c:3")]).ok();
    assert_eq!(said.stdout.matches(": Mounted from b/multi\n").count(), 5, "{said:?}");
    let said = copy(dir.path(), &["--all", &first, &second]).ok();
    assert_eq!(said.stdout.lines().count(), 1, "all of it is there: {said:?}");
    let back = format!("oci:{}:back", path("back"));
    drop(copy(dir.path(), &["--all", &at(&two, "c:3"), &back]).ok());
    assert_eq!(raw(&back), outer);

    // One image of it.
    let single = at(&two, "single:1");
    let said = copy(dir.path(), &["-q", "--platform", "s390x", &first, &single]).ok();
    assert_eq!(said.stdout.trim(), Digest::hash(&raw(&docker(&single))).to_string());
    let shown: Value = serde_json::from_slice(&skopeo(&["inspect", "--tls-verify=false", &docker(&single)])).unwrap();
    assert_eq!((&shown["Architecture"], shown["Layers"].as_array().unwrap().len()), (&"s390x".into(), 2));
    // A second image in the same layout, which needs its name from then on, and an image of docker's kind.
    let named = format!("oci:{}:single", path("back"));
    drop(copy(dir.path(), &[&single, &named]).ok());
    skopeo(&["copy", "--dest-tls-verify=false", &named, &docker(&at(&one, "by-skopeo:1"))]);
    assert_eq!(raw(&docker(&at(&one, "by-skopeo:1"))), raw(&docker(&single)));
    let said = copy(dir.path(), &[&format!("oci:{}", path("back")), &single]);
    testkit::assert_none("message", &said.complaints(&["there are several images"]));
    testkit::import(&testkit::golden("layers-20.10.tar"), &dir.path().join("root"));
    let pushed = at(&one, "pushed:1");
    testkit::made_by_layerfs(&dir.path().join("root"), &["tag", "layerfs-test/layers:1", &pushed]);
    drop(layerfs_anonymous(&dir.path().join("root"), &["push", &pushed]).ok());
    drop(copy(dir.path(), &[&docker(&pushed), &docker(&at(&two, "pushed:1"))]).ok());
    assert_eq!(raw(&docker(&at(&two, "pushed:1"))), raw(&docker(&pushed)));
    skopeo(&["copy", "--src-tls-verify=false", &docker(&at(&two, "pushed:1")), &format!("dir:{}", path("whole"))]);
}

/// What was sent to a registry, by path.
type Taken = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A registry that takes everything, and what it has taken.
fn taker() -> (FaultRegistry, Taken) {
    let kept = Taken::default();
    let keeping = Arc::clone(&kept);
    let registry = FaultRegistry::start(move |asked| match asked.method.as_str() {
        "POST" => Reply::new(202, b"").with("Location", "/v2/t/image/blobs/uploads/1"),
        "PUT" => {
            keeping.lock().unwrap().insert(asked.path.clone(), asked.body.clone());
            Reply::new(201, b"")
        }
        _ => Reply::new(404, b""),
    });
    (registry, kept)
}

#[test]
fn root_registry_copy_goes_on_after_cuts_and_refuses_wrong_bytes() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let plain = synthetic::layers(3 << 20, 40);
    let served = Served::new(&plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect::<Vec<_>>());
    let dir = testkit::scratch();
    let layer = served.layers[0].clone();
    let part = served.blobs[&layer].len() / 5 + 1;
    for wrong in [false, true] {
        let (target, kept) = taker();
        let source = {
            let (served, layer) = (served.clone(), layer.clone());
            FaultRegistry::start(move |asked: &Asked| {
                let mut reply = served.answer(asked);
                if asked.blob() == Some(&layer) {
                    if wrong {
                        reply.body[0] ^= 1;
                    }
                    reply = reply.then(Then::Cut(part));
                }
                reply
            })
        };
        let said =
            copy(dir.path(), &["-q", &format!("{}/t/image:1", source.host), &format!("{}/t/image:1", target.host)]);
        let asked = source.asked();
        let starts: Vec<usize> =
            asked.iter().filter(|asked| asked.blob() == Some(&layer)).map(|asked| asked.from().unwrap_or(0)).collect();
        assert_eq!(starts, (0..5).map(|number| number * part).collect::<Vec<_>>(), "no byte comes twice");
        let kept = kept.lock().unwrap();
        if wrong {
            let words = ["filesystem layer verification failed for digest", &source.host];
            testkit::assert_none("message", &said.complaints(&words));
            assert!(kept.keys().all(|path| !path.contains("/manifests/")), "{:?}", kept.keys());
        } else {
            drop(said.ok());
            assert_eq!(kept["/v2/t/image/manifests/1"], served.manifest);
            let digests: Vec<String> = kept.values().map(|bytes| Digest::hash(bytes).to_string()).collect();
            assert!(served.blobs.keys().all(|digest| digests.contains(digest)));
        }
    }
}

/// Bytes that come after the last one of a blob are noticed, whether they come with it or later.
#[test]
fn root_registry_copy_refuses_more_bytes_than_the_blob_has() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let plain = synthetic::layers(1 << 20, 10);
    let served = Served::new(&plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect::<Vec<_>>());
    let dir = testkit::scratch();
    let layer = served.layers[0].clone();
    for then in [Then::End, Then::Endless] {
        let (target, kept) = taker();
        let source = {
            let (served, layer) = (served.clone(), layer.clone());
            FaultRegistry::start(move |asked: &Asked| {
                let mut reply = served.answer(asked);
                if asked.blob() == Some(&layer) {
                    reply.length = false;
                    reply = reply.then(then);
                    if then == Then::End {
                        reply.body.push(0);
                    }
                }
                reply
            })
        };
        let said =
            copy(dir.path(), &["-q", &format!("{}/t/image:1", source.host), &format!("{}/t/image:1", target.host)]);
        let expected = format!("the manifest says {}", served.blobs[&layer].len());
        testkit::assert_none("message", &said.complaints(&[&layer, &source.host, &expected]));
        assert!(kept.lock().unwrap().keys().all(|path| !path.contains("/manifests/")), "{then:?}");
        let asked = source.asked();
        assert_eq!(asked.iter().filter(|asked| asked.blob() == Some(&layer)).count(), 1, "{then:?}: asked once");
    }
}

/// A registry that keeps nothing of a request that breaks: after the first break no more than 16 MiB are lost at once, and what it has
/// answered is not sent again.
#[test]
fn root_registry_copy_loses_little_where_a_registry_keeps_whole_requests() {
    const SIZE: usize = 40 << 20;
    const PIECE: usize = 16 << 20;
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let dir = testkit::scratch();
    let source = dir.path().join("source");
    let mut random = Random::new(3);
    let blob: Vec<u8> = (0..SIZE / 8).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
    let put = |bytes: &[u8]| {
        let digest = Digest::hash(bytes);
        std::fs::create_dir_all(source.join("blobs/sha256")).unwrap();
        std::fs::write(source.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": LAYER, "size": bytes.len(), "digest": digest.to_string()})
    };
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": put(b"{}"), "layers": [put(&blob)]});
    let mut top = put(&serde_json::to_vec(&manifest).unwrap());
    top["mediaType"] = MANIFEST.into();
    std::fs::write(source.join("index.json"), json!({"schemaVersion": 2, "manifests": [top]}).to_string()).unwrap();
    let (arrived, breaks) = (Arc::new(Mutex::new(Vec::<u8>::new())), Mutex::new(0));
    let registry = {
        let arrived = Arc::clone(&arrived);
        FaultRegistry::start_hanging_up(
            move |asked| {
                let length: u64 = asked.headers.get("content-length")?.parse().ok()?;
                if asked.method != "PATCH" {
                    return None;
                }
                let mut count = breaks.lock().unwrap();
                *count += 1;
                // The first request, and the second one that brings a piece.
                matches!(*count, 1 | 3).then_some(length - 1)
            },
            move |asked| {
                let mut arrived = arrived.lock().unwrap();
                let range = |length: usize| format!("0-{}", length.saturating_sub(1));
                match asked.method.as_str() {
                    "HEAD" => Reply::new(404, b""),
                    "POST" => Reply::new(202, b"").with("Location", "/v2/t/image/blobs/uploads/1"),
                    "GET" => Reply::new(204, b"").with("Range", &range(arrived.len())),
                    "PATCH" => {
                        let whole = asked.headers["content-length"].parse() == Ok(asked.body.len());
                        let begins = format!("{}-", arrived.len());
                        let fits = asked.headers.get("content-range").is_none_or(|range| range.starts_with(&begins));
                        if !fits {
                            return Reply::new(416, b"").with("Range", &range(arrived.len()));
                        }
                        if whole {
                            arrived.extend(&asked.body);
                        }
                        Reply::new(202, b"").with("Range", &range(arrived.len()))
                    }
                    _ => Reply::new(201, b""),
                }
            },
        )
    };
    let name = format!("{}/t/image:1", registry.host);
    drop(copy(dir.path(), &["-q", &format!("oci:{}", source.display()), &name]).ok());
    assert!(*arrived.lock().unwrap() == blob, "the blob did not arrive as it is");
    let asked = registry.asked();
    let sent: Vec<usize> = asked.iter().filter(|asked| asked.method == "PATCH").map(|asked| asked.body.len()).collect();
    assert_eq!(sent, [SIZE - 1, PIECE, PIECE - 1, PIECE, SIZE - 2 * PIECE]);
}
