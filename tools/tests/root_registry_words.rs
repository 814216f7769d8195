//! What `layerfs pull` says of registries that do not give what they should: who, which blob, how many bytes, and what helps.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use layerfs::Digest;
use serde_json::json;
use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served};
use testkit::image::pack;
use testkit::registry::layerfs_anonymous;
use testkit::tarfile::{file, tar};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is answered instead of what a sound registry would answer.
type Fault = fn(&Asked, &Served, Reply) -> Reply;

fn of_manifest(asked: &Asked, reply: Reply, instead: impl Fn() -> Reply) -> Reply {
    if asked.path.contains("/manifests/") { instead() } else { reply }
}

fn of_layer(asked: &Asked, served: &Served, reply: Reply, instead: impl Fn(Reply) -> Reply) -> Reply {
    if asked.blob() == Some(&served.layers[0]) { instead(reply) } else { reply }
}

#[test]
fn root_pull_says_what_is_wrong_with_the_answer() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let layer = tar(&[file("f", vec![b'x'; 5000])]);
    let served = Served::new(&[(layer.clone(), pack("gzip", &layer))]);
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let cases: [(&str, Fault, &str); 6] = [
        (
            "no right to it",
            |asked, _, reply| of_manifest(asked, reply, || Reply::error(403, "DENIED", "not for you")),
            "pull access denied for {host}/t/image, repository does not exist or may require a login: denied: not for you; \
             `layerfs login REGISTRY` keeps a user name and password for it",
        ),
        (
            "a status without words",
            |asked, _, reply| of_manifest(asked, reply, || Reply::new(418, b"")),
            "Get \"http://{host}/v2/t/image/manifests/1\": received unexpected HTTP status: 418 I'm a teapot",
        ),
        (
            "a blob of another size",
            |asked, served, reply| {
                of_layer(asked, served, reply, |mut reply| {
                    reply.body.push(0);
                    reply
                })
            },
            "blob {layer} of {host}/t/image:1: {host} sends {more} bytes, the manifest says {size}",
        ),
        (
            "a blob that is never sent",
            |asked, served, reply| {
                of_layer(asked, served, reply, |_| {
                    Reply::error(429, "TOOMANYREQUESTS", "not now").with("Retry-After", "0")
                })
            },
            "blob {layer} of {host}/t/image:1: {host} gave no more after byte 0 of {size} in 6 attempts: toomanyrequests: \
             not now (the registry asks to wait 0 s)",
        ),
        (
            "another platform",
            |asked, served, reply| {
                if asked.path.ends_with("/manifests/1") {
                    let entry = json!({
                        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                        "size": served.manifest.len(), "digest": Digest::hash(&served.manifest).to_string(),
                        "platform": {"os": "linux", "architecture": "s390x"},
                    });
                    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
                    Reply::new(200, index.to_string().as_bytes()).with("Content-Type", INDEX)
                } else {
                    reply
                }
            },
            "no matching manifest for linux/riscv64 in the manifest list entries, which are for linux/s390x; \
             --platform OS/ARCH takes one of another platform",
        ),
        (
            "a manifest of old",
            |asked, _, reply| {
                of_manifest(asked, reply, || {
                    let of_old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
                    Reply::new(200, br#"{"schemaVersion":1}"#).with("Content-Type", of_old)
                })
            },
            "unsupported media type application/vnd.docker.distribution.manifest.v1+prettyjws; pushed again by a docker of \
             today, it has a manifest that is known here",
        ),
    ];
    let size = served.blobs[&served.layers[0]].len();
    let mut wrong = Vec::new();
    for (title, fault, words) in cases {
        let sound = served.clone();
        let registry = FaultRegistry::start(move |asked| fault(asked, &sound, sound.answer(asked)));
        let name = format!("{}/t/image:1", registry.host);
        let ran = layerfs_anonymous(&root, &["pull", "-q", "--no-sync", "--platform", "linux/riscv64", &name]);
        let expected = words
            .replace("{host}", &registry.host)
            .replace("{layer}", &served.layers[0])
            .replace("{more}", &(size + 1).to_string())
            .replace("{size}", &size.to_string());
        if ran.code != Some(1) || ran.stderr != format!("layerfs: {expected}\n") {
            wrong.push(format!("{title}: {:?} {}\nexpected: {expected}", ran.code, ran.stderr));
        }
    }
    testkit::assert_none("messages", &wrong);
}
