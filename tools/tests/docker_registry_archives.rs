//! `layerfs registry copy` of archives, and of what is said of images: skopeo and docker are the judges.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use layerfs::Digest;
use serde_json::{Value, json};
use testkit::dockerd::Dockerd;
use testkit::fault_registry::{Asked, FaultRegistry, Reply};
use testkit::image::pack;
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::run::Ran;
use testkit::saved::blobs;
use testkit::synthetic;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const NAME: &str = "org.opencontainers.image.ref.name";

fn copy(dir: &Path, arguments: &[&str]) -> Ran {
    layerfs_anonymous(&dir.join("none"), &[&["registry", "copy", "-q"], arguments].concat())
}

fn try_skopeo(arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{arguments:?}: {said}")) }
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    try_skopeo(arguments).unwrap_or_else(|error| panic!("{error}"))
}

/// The bytes of what a name leads to.
fn raw(name: &str) -> Vec<u8> {
    skopeo(&["inspect", "--raw", "--tls-verify=false", name])
}

fn config(name: &str) -> Vec<u8> {
    skopeo(&["inspect", "--raw", "--config", "--tls-verify=false", name])
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn ready() -> bool {
    Registry::installed("docker") && testkit::tier("docker", Path::new("/usr/bin/skopeo").exists(), "skopeo")
}

/// The types of a manifest's config and layers.
fn types(manifest: &[u8]) -> Vec<Value> {
    let manifest = parsed(manifest);
    let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["mediaType"].clone());
    [manifest["mediaType"].clone(), manifest["config"]["mediaType"].clone()].into_iter().chain(layers).collect()
}

/// The digests of the layers' tars in a layout of packed ones.
fn tars(layout: &Path) -> Vec<String> {
    let path = |digest: &Value| {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        layout.join("blobs/sha256").join(digest)
    };
    let index = parsed(&std::fs::read(layout.join("index.json")).unwrap());
    let manifest = parsed(&std::fs::read(path(&index["manifests"][0]["digest"])).unwrap());
    let plain = |layer: &Value| {
        let output =
            Command::new("gzip").arg("-dc").stdin(File::open(path(&layer["digest"])).unwrap()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Digest::hash(&output.stdout).to_string()
    };
    manifest["layers"].as_array().unwrap().iter().map(plain).collect()
}

#[test]
fn docker_registry_archives_are_copied_as_skopeo_copies_them() {
    if !ready() {
        return;
    }
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let registry = Registry::start(&dir.path().join("registry"));
    let at = |name: &str| format!("{}/{name}", registry.host);
    let docker = |name: &str| format!("docker://{}/{name}", registry.host);
    let daemon = Dockerd::start(&testkit::empty_root(&dir, "theirs"));
    for golden in ["busybox-20.10.tar", "layers-20.10.tar", "hybrid-26.tar", "docker-archive-skopeo.tar"] {
        let archive = format!("docker-archive:{}", testkit::golden(golden).display());
        let (ours, theirs) = (format!("{golden}/ours:1"), format!("{golden}/theirs:1"));
        drop(copy(dir.path(), &[&archive, &at(&ours)]).ok());
        skopeo(&["copy", "--dest-tls-verify=false", &archive, &docker(&theirs)]);
        assert_eq!(config(&docker(&ours)), config(&docker(&theirs)), "{golden}");
        assert_eq!(types(&raw(&docker(&ours))), types(&raw(&docker(&theirs))), "{golden}");
        // docker takes it for the image that it loads from the archive.
        let id = Digest::hash(&config(&docker(&ours))).to_string();
        daemon.ok(&["pull", &at(&ours)]);
        assert_eq!(daemon.ok(&["image", "inspect", "--format", "{{.Id}}", &at(&ours)]).trim(), id, "{golden}");

        // Into layouts, where it becomes one of OCI's own.
        let (layout, tar) = (format!("oci:{}:x", path(&format!("{golden}-ours"))), path(&format!("{golden}-oci.tar")));
        drop(copy(dir.path(), &[&archive, &layout]).ok());
        let made = path(&format!("{golden}-theirs"));
        skopeo(&["copy", &archive, &format!("oci:{made}:x")]);
        assert_eq!(tars(&dir.path().join(format!("{golden}-ours"))), tars(Path::new(&made)), "{golden}");
        drop(copy(dir.path(), &[&layout, &format!("oci-archive:{tar}:x")]).ok());
        assert_eq!(raw(&layout), raw(&format!("oci-archive:{tar}:x")), "{golden}");
        skopeo(&[
            "copy",
            "--dest-tls-verify=false",
            &format!("oci-archive:{tar}:x"),
            &docker(&format!("{golden}/back:1")),
        ]);

        // Back into an archive of docker's.
        let tar = path(&format!("{golden}-docker.tar"));
        let named = format!("docker-archive:{tar}:layerfs-test/copied:7");
        drop(copy(dir.path(), &[&at(&ours), &named]).ok());
        assert_eq!(config(&named), config(&docker(&theirs)), "{golden}");
        skopeo(&["copy", &named, &format!("dir:{}", path(&format!("{golden}-dir")))]);
        assert!(daemon.load(Path::new(&tar)).contains("Loaded image: layerfs-test/copied:7"));
        assert_eq!(daemon.ok(&["image", "inspect", "--format", "{{.Id}}", "layerfs-test/copied:7"]).trim(), id);
    }
}

#[test]
fn docker_registry_archives_say_what_is_wrong() {
    if !ready() {
        return;
    }
    let dir = testkit::scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let shared = testkit::golden("shared-20.10.tar").display().to_string();
    let target = format!("oci:{}:x", path("target"));
    let several = copy(dir.path(), &[&format!("docker-archive:{shared}"), &target]);
    testkit::assert_none(
        "several",
        &several.complaints(&[&shared, "the archive has several images: ", ".tar:NAME chooses one"]),
    );
    assert!(try_skopeo(&["copy", &format!("docker-archive:{shared}"), &target]).is_err());
    let images = parsed(&tarred(Path::new(&shared), "manifest.json"));
    let first = images[0]["RepoTags"][0].as_str().unwrap();
    let id = images[0]["Config"].as_str().unwrap().strip_suffix(".json").unwrap();
    drop(copy(dir.path(), &[&format!("docker-archive:{shared}:{first}"), &target]).ok());
    assert_eq!(Digest::hash(&config(&target)).hex(), id);
    let none = copy(dir.path(), &[&format!("docker-archive:{shared}:no/such:1"), &target]);
    testkit::assert_none("none", &none.complaints(&[&shared, "the archive has no image no/such:1; it has ", first]));

    let packed = path("packed.tar.gz");
    std::fs::write(&packed, pack("gzip", &std::fs::read(&shared).unwrap())).unwrap();
    std::fs::write(path("text"), "no tar").unwrap();
    for (source, words) in [
        (format!("docker-archive:{packed}"), "the archive is compressed"),
        (format!("oci-archive:{packed}"), "the archive is compressed; gunzip, "),
        (format!("docker-archive:{}", path("nothing")), "nothing: No such file"),
        (format!("docker-archive:{}", path("text")), "text"),
        ("docker-archive:".to_owned(), "names no file"),
    ] {
        let said = copy(dir.path(), &[&source, &target]);
        testkit::assert_none(&source, &said.complaints(&[words]));
    }
    // A layer that is not the one that the config speaks of.
    let broken = path("broken.tar");
    let busybox = std::fs::read(testkit::golden("busybox-20.10.tar")).unwrap();
    let place = busybox.windows(12).position(|window| window == b"bin/busybox\0").unwrap();
    let mut other = busybox.clone();
    other[place + 4096] ^= 1;
    std::fs::write(&broken, other).unwrap();
    let said = copy(dir.path(), &[&format!("docker-archive:{broken}"), &target]);
    testkit::assert_none("broken", &said.complaints(&["invalid diffID for layer ", &broken]));
    // Nothing is left of an archive that was begun.
    let unfinished = path("unfinished.tar");
    assert_eq!(
        copy(dir.path(), &[&format!("docker-archive:{broken}"), &format!("oci-archive:{unfinished}")]).code,
        Some(1)
    );
    assert!(!Path::new(&unfinished).exists());
}

/// A file of a tar.
fn tarred(archive: &Path, name: &str) -> Vec<u8> {
    let output = Command::new("tar").arg("-xOf").args([archive, Path::new(name)]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A layout with images for two platforms, an attestation as BuildKit adds it, and what is said of them: a list of materials of the
/// index, a signature of that list, and one of an image by a tag as cosign makes it.
struct Said {
    outer: Vec<u8>,
    subject: Digest,
    materials: Vec<u8>,
    signature: Vec<u8>,
    by_tag: (String, Vec<u8>),
}

fn layout(dir: &Path) -> Said {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::hash(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "size": bytes.len(), "digest": digest.to_string()})
    };
    let json = |value: &Value| serde_json::to_vec(value).unwrap();
    let layers = synthetic::layers(1 << 18, 10);
    let image = |architecture: &str, layer: &[u8]| {
        let mut config = testkit::image::config(&[Digest::hash(layer)]);
        config["architecture"] = architecture.into();
        let layer = put(&pack("gzip", layer), LAYER);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": put(&json(&config), CONFIG), "layers": [layer]});
        let mut entry = put(&json(&manifest), MANIFEST);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let images = [image("amd64", &layers[0]), image("s390x", &layers[1])];
    let statement = put(b"{\"predicate\":{}}", "application/vnd.in-toto+json");
    let attestation = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [statement],
        "config": put(b"{\"architecture\":\"unknown\",\"os\":\"unknown\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}", CONFIG)});
    let mut attested = put(&json(&attestation), MANIFEST);
    attested["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attested["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": images[0]["digest"]});
    let outer = json(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [images[0], images[1], attested]}));
    let mut top = put(&outer, INDEX);
    let about = |subject: &Value, kind: &str, content: &[u8]| {
        let empty = put(b"{}", "application/vnd.oci.empty.v1+json");
        let layer = put(content, "text/plain");
        json(
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": empty, "layers": [layer],
            "subject": subject, "annotations": {"made.by": "a test"}}),
        )
    };
    let materials = about(&top, "application/spdx+json", b"flour, water");
    let listed = put(&materials, MANIFEST);
    let signature = about(&listed, "application/vnd.example.signature", b"signed");
    let signed = put(&signature, MANIFEST);
    let amd64: Digest = images[0]["digest"].as_str().unwrap().parse().unwrap();
    let tag = format!("sha256-{}.sig", amd64.hex());
    let by_tag = json(&json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": put(b"{} ", CONFIG),
        "layers": [put(b"payload", "application/vnd.dev.cosign.simplesigning.v1+json")]}));
    let mut tagged = put(&by_tag, MANIFEST);
    tagged["annotations"] = json!({ (NAME): tag });
    top["annotations"] = json!({ (NAME): "app" });
    std::fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
    let entries = json!([top, listed, signed, tagged]);
    std::fs::write(dir.join("index.json"), json(&json!({"schemaVersion": 2, "manifests": entries}))).unwrap();
    Said { subject: Digest::hash(&outer), outer, materials, signature, by_tag: (tag, by_tag) }
}

#[test]
fn docker_registry_copy_takes_what_is_said_of_an_image() {
    if !ready() {
        return;
    }
    let dir = testkit::scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let said = layout(&dir.path().join("source"));
    let source = format!("oci:{}:app", path("source"));
    // Neither of the two keeps lists of referrers.
    let (one, two) = (Registry::start(&dir.path().join("one")), Registry::start(&dir.path().join("two")));
    let first = format!("{}/app:1", one.host);

    // Without being asked for it, the copy has what skopeo's has.
    let (ours, theirs) = (path("ours.tar"), path("theirs.tar"));
    drop(copy(dir.path(), &["--all", &source, &format!("oci-archive:{ours}:app")]).ok());
    skopeo(&["copy", "--all", &source, &format!("oci-archive:{theirs}:app")]);
    assert_eq!(blobs(Path::new(&ours)), blobs(Path::new(&theirs)));
    drop(copy(dir.path(), &["--all", &source, &first]).ok());
    let list = |registry: &Registry, digest: Digest| {
        let tag = format!("docker://{}/app:sha256-{}", registry.host, digest.hex());
        try_skopeo(&["inspect", "--raw", "--tls-verify=false", &tag]).map(|bytes| parsed(&bytes))
    };
    assert!(list(&one, said.subject).is_err());

    // All of it comes over, also where the image is there already, and on to the next registry.
    let second = format!("{}/app:2", two.host);
    for (from, to, registry) in [(&source, &first, &one), (&first, &second, &two), (&first, &second, &two)] {
        drop(copy(dir.path(), &["--all", "--referrers", from, to]).ok());
        assert_eq!(raw(&format!("docker://{to}")), said.outer);
        for (subject, about, kind) in [
            (said.subject, &said.materials, "application/spdx+json"),
            (Digest::hash(&said.materials), &said.signature, "application/vnd.example.signature"),
        ] {
            let digest = Digest::hash(about);
            let expected = json!([{"mediaType": MANIFEST, "digest": digest.to_string(), "size": about.len(),
                "artifactType": kind, "annotations": {"made.by": "a test"}}]);
            let list = list(registry, subject).unwrap();
            assert_eq!((&list["manifests"], &list["mediaType"]), (&expected, &json!(INDEX)), "{to}");
            assert_eq!(&raw(&format!("docker://{}/app@{digest}", registry.host)), about);
        }
        assert_eq!(raw(&format!("docker://{}/app:{}", registry.host, said.by_tag.0)), said.by_tag.1);
    }

    // Back into a layout and an archive, and out of the archive again.
    let (back, tar) = (format!("oci:{}:app", path("back")), format!("oci-archive:{}:app", path("back.tar")));
    drop(copy(dir.path(), &["--all", "--referrers", &second, &back]).ok());
    drop(copy(dir.path(), &["--all", "--referrers", &back, &tar]).ok());
    let names = |layout: &str| -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir.path().join(layout).join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("back"), names("source"));
    assert_eq!(blobs(Path::new(&path("back.tar"))).len(), names("source").len());
    let third = format!("{}/third:1", two.host);
    drop(copy(dir.path(), &["--all", "--referrers", &tar, &third]).ok());
    let by_digest = format!("docker://{}/third@{}", two.host, Digest::hash(&said.signature));
    assert_eq!(raw(&by_digest), said.signature);
    assert_eq!(raw(&tar), said.outer);
}

/// Registries with lists of their own are asked for them, page by page, and get none from us.
#[test]
fn root_registry_copy_leaves_lists_of_referrers_to_registries_that_have_them() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let dir = testkit::scratch();
    let said = layout(&dir.path().join("source"));
    let source = {
        let blobs = dir.path().join("source/blobs/sha256");
        let (subject, materials) = (said.subject.to_string(), said.materials.clone());
        FaultRegistry::start(move |asked| {
            let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
            if let Some((_, digest)) = path.split_once("/referrers/") {
                let about = (digest == subject && query == "n=1&last=x")
                    .then(|| json!({"mediaType": MANIFEST, "digest": Digest::hash(&materials).to_string(), "size": materials.len()}));
                let list =
                    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": about.into_iter().collect::<Vec<_>>()});
                let reply = Reply::new(200, list.to_string().as_bytes()).with("Content-Type", INDEX);
                return match digest == subject && query.is_empty() {
                    true => reply.with("Link", &format!("<{path}?n=1&last=x>; rel=\"next\"")),
                    false => reply,
                };
            }
            let digest = path.rsplit('/').next().unwrap();
            let digest = if digest == "1" { subject.clone() } else { digest.to_owned() };
            match std::fs::read(blobs.join(digest.trim_start_matches("sha256:"))) {
                Ok(bytes) => Reply::new(200, &bytes),
                Err(_) => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            }
        })
    };
    let taken: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
    let target = {
        let taken = Arc::clone(&taken);
        FaultRegistry::start(move |asked: &Asked| match asked.method.as_str() {
            "POST" => Reply::new(202, b"").with("Location", "/v2/app/blobs/uploads/1"),
            "PUT" => {
                taken.lock().unwrap().insert(asked.path.clone(), asked.body.clone());
                let subject =
                    serde_json::from_slice::<Value>(&asked.body).ok().map(|body| body["subject"]["digest"].clone());
                match subject {
                    Some(Value::String(subject)) => Reply::new(201, b"").with("OCI-Subject", &subject),
                    _ => Reply::new(201, b""),
                }
            }
            _ => Reply::new(404, b""),
        })
    };
    drop(
        copy(
            dir.path(),
            &["--all", "--referrers", &format!("{}/app:1", source.host), &format!("{}/app:1", target.host)],
        )
        .ok(),
    );
    let taken = taken.lock().unwrap();
    assert_eq!(taken["/v2/app/manifests/1"], said.outer);
    assert_eq!(taken[&format!("/v2/app/manifests/{}", Digest::hash(&said.materials))], said.materials);
    let tags: Vec<&String> = taken.keys().filter(|path| path.contains("/manifests/sha256-")).collect();
    assert!(tags.is_empty(), "{tags:?}");
}
