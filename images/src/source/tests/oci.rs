use layerfs::Digest;
use serde_json::{Value, json};

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layout in the making.
#[derive(Default)]
struct Layout {
    files: Vec<(String, Vec<u8>)>,
}

impl Layout {
    /// Adds a blob; the result is its descriptor.
    fn blob(&mut self, media_type: &str, data: &[u8]) -> Value {
        let digest = Digest::hash(data);
        self.files.push((format!("blobs/sha256/{}", digest.hex()), data.to_vec()));
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": data.len()})
    }

    fn document(&mut self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Adds an image of one layer; the result is the descriptor of its manifest.
    fn image(&mut self, architecture: &str) -> Value {
        let config = json!({"architecture": architecture, "os": "linux"});
        let config = self.document(CONFIG, &config);
        let layer = self.blob(LAYER, architecture.as_bytes());
        self.manifest(&json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}))
    }

    fn manifest(&mut self, manifest: &Value) -> Value {
        self.document(MANIFEST, manifest)
    }

    fn index(&mut self, manifests: &[Value]) -> Value {
        self.document(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    }

    fn fixture(self, index: &str) -> Fixture {
        let fixture = self.files.iter().fold(Fixture::new(), |fixture, (name, data)| fixture.file(name, data));
        fixture.file("index.json", index.as_bytes()).file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)
    }

    fn over(self, manifests: &[Value]) -> Fixture {
        self.fixture(&json!({"schemaVersion": 2, "manifests": manifests}).to_string())
    }
}

fn with(mut descriptor: Value, field: &str, value: Value) -> Value {
    descriptor[field] = value;
    descriptor
}

fn named(descriptor: Value, key: &str, name: &str) -> Value {
    with(descriptor, "annotations", json!({ key: name }))
}

fn platform(descriptor: Value, text: &str) -> Value {
    let parts: Vec<&str> = text.split('/').collect();
    with(descriptor, "platform", json!({"os": parts[0], "architecture": parts[1]}))
}

const CONTAINERD: &str = "io.containerd.image.name";
const REF: &str = "org.opencontainers.image.ref.name";

#[test]
fn names_come_from_annotations() {
    let cases = [
        (CONTAINERD, "docker.io/library/app:1", &["app:1"][..]),
        (CONTAINERD, "ghcr.io/a/b", &["ghcr.io/a/b:latest"]),
        (REF, "user/app:1", &["user/app:1"]),
        (REF, "app:1", &["app:1"]),
        (REF, "user/app", &["user/app:latest"]),
        (REF, "1", &[]),
        (REF, "latest", &[]),
        (REF, "no:reference:at-all", &[]),
        (REF, "", &[]),
        ("other", "app:1", &[]),
        (CONTAINERD, "docker.io/library/a:1,docker.io/library/b:2", &["a:1", "b:2"]),
        (CONTAINERD, "a:1, a:1,", &["a:1"]),
        (REF, "docker.io/library/a:1,b:2", &["a:1", "b:2"]),
        (CONTAINERD, TAG_AND_DIGEST, &[DIGEST_ONLY]),
        (REF, TAG_AND_DIGEST, &[DIGEST_ONLY]),
        (CONTAINERD, DIGEST_ONLY, &[DIGEST_ONLY]),
    ];
    for (key, name, expected) in cases {
        let mut layout = Layout::default();
        let image = named(layout.image("amd64"), key, name);
        let images = layout.over(&[image]).images().unwrap().images;
        assert_eq!(familiar(&images[0]), expected, "{key} {name}");
        assert_eq!(images[0].layers.len(), 1);
    }
}

const TAG_AND_DIGEST: &str = "x:1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const DIGEST_ONLY: &str = "x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn annotations_that_name_nothing_are_told() {
    let cases = [
        (CONTAINERD, "A/B:1", "index.json: invalid image name \"A/B:1\": invalid reference format", false),
        (CONTAINERD, "<none>:<none>", "invalid image name \"<none>:<none>\"", false),
        (REF, "user/App:1", "invalid image name \"user/App:1\": invalid reference format: repository name", false),
        (REF, "1", "invalid image name \"1\": it is only a tag, of no repository", true),
        (REF, "latest", "it is only a tag", true),
    ];
    for (key, name, expected, left_out) in cases {
        let mut layout = Layout::default();
        let image = named(layout.image("amd64"), key, name);
        let images = layout.over(&[image]).images().unwrap().images;
        let [(message, is_left_out)] = &unusable(&images[0])[..] else { panic!("{name}: {images:?}") };
        assert!(images[0].tags.is_empty() && message.contains(expected), "{name}: {message}");
        assert_eq!(*is_left_out, left_out, "{name}");
    }
    // If there is containerd's annotation, it alone counts: the other one only repeats the tag.
    let mut layout = Layout::default();
    let image = with(layout.image("amd64"), "annotations", json!({CONTAINERD: "app:1", REF: "1"}));
    let images = layout.over(&[image]).images().unwrap().images;
    assert!(images[0].unusable_names.is_empty());
}

/// `docker save` writes a descriptor for each tag.
#[test]
fn one_manifest_with_several_names_is_one_image() {
    let mut layout = Layout::default();
    let (image, other) = (layout.image("amd64"), layout.image("arm64"));
    let index = [
        named(image.clone(), CONTAINERD, "a:1"),
        named(other, CONTAINERD, "b:1"),
        named(image.clone(), CONTAINERD, "a:2"),
        named(image.clone(), CONTAINERD, "a:1"),
        image,
    ];
    let images = layout.over(&index).images().unwrap().images;
    assert_eq!(images.iter().map(familiar).collect::<Vec<_>>(), [vec!["a:1", "a:2"], vec!["b:1"]]);
}

#[test]
fn the_platform_is_chosen_from_a_nested_index() {
    let build = || {
        let mut layout = Layout::default();
        let amd = platform(layout.image("amd64"), "linux/amd64");
        // The platform of this image is only in its config.
        let arm = layout.image("arm64");
        let attestation =
            with(layout.image("none"), "annotations", json!({"vnd.docker.reference.type": "attestation-manifest"}));
        let unknown = platform(layout.image("unknown"), "unknown/unknown");
        let nested = layout.index(&[amd, arm, attestation, unknown]);
        let index = layout.index(&[nested]);
        layout.over(&[named(index, CONTAINERD, "app:1")]).open()
    };
    for name in ["amd64", "arm64"] {
        let contents = build().images(&select(&format!("linux/{name}"))).unwrap();
        let [image] = &contents.images[..] else { panic!("{contents:?}") };
        assert_eq!(familiar(image), ["app:1"]);
        assert_eq!(contents.skipped.len(), 2, "two attestations: {contents:?}");
        assert!(std::str::from_utf8(&image.config).unwrap().contains(name));
    }
    assert_eq!(build().images(&Select::default()).unwrap().images.len(), 1);
    let error = build().images(&select("linux/s390x")).unwrap_err().to_string();
    assert!(error.starts_with("index.json: no usable image: sha256:"), "{error}");
    assert!(error.ends_with("; app:1: no image for linux/s390x, only for linux/amd64, linux/arm64"), "{error}");
}

#[test]
fn the_only_image_is_taken_whatever_its_platform() {
    for nested in [false, true] {
        let build = || {
            let mut layout = Layout::default();
            let mut image = platform(layout.image("s390x"), "linux/s390x");
            if nested {
                image = layout.index(&[image]);
            }
            layout.over(&[image]).open()
        };
        assert_eq!(build().images(&Select::default()).unwrap().images.len(), 1);
        let error = build().images(&select("linux/amd64")).unwrap_err().to_string();
        assert!(error.contains("linux/s390x"), "{error}");
    }
}

#[test]
fn platforms_of_one_name_side_by_side() {
    let mut layout = Layout::default();
    let amd = named(platform(layout.image("amd64"), "linux/amd64"), CONTAINERD, "app:1");
    let arm = named(platform(layout.image("arm64"), "linux/arm64"), CONTAINERD, "app:1");
    for manifest in [&amd, &arm] {
        assert!(manifest["platform"].is_object() && manifest["annotations"].is_object());
    }
    let contents = layout.over(&[arm, amd]).open().images(&select("linux/amd64")).unwrap();
    assert_eq!(contents.images.len(), 1);
    assert_eq!(contents.skipped, ["app:1: an image for linux/arm64, not for linux/amd64"]);
}

#[test]
fn what_is_no_image_is_left_out_with_a_reason() {
    let mut layout = Layout::default();
    let config = layout.blob("application/vnd.cncf.helm.config.v1+json", b"{}");
    let chart = layout.manifest(&json!({"config": config, "layers": []}));
    let config = layout.blob(CONFIG, br#"{"os":"linux"}"#);
    let artifact = layout.manifest(&json!({"artifactType": "text/x", "config": config, "layers": []}));
    let text = layout.blob("text/plain", b"text");
    let all = [chart, artifact, text];
    let files = layout.files.clone();
    let error = layout.over(&all).error();
    let reasons = [
        r#"an artifact of type "application/vnd.cncf.helm.config.v1+json", not an image; sha256:"#,
        r#"an artifact of type "text/x", not an image; sha256:"#,
        r#""text/plain" is no image"#,
    ];
    assert!(error.starts_with("index.json: no usable image: sha256:"), "{error}");
    assert!(reasons.iter().all(|reason| error.contains(reason)), "{error}");

    let mut layout = Layout { files };
    let image = layout.image("amd64");
    let contents = layout.over(&[all[0].clone(), image]).images().unwrap();
    assert_eq!((contents.images.len(), contents.skipped.len()), (1, 1));
    for none in [json!([]), Value::Null] {
        let contents = Layout::default().fixture(&json!({"schemaVersion": 2, "manifests": none}).to_string()).images();
        assert!(contents.unwrap().images.is_empty());
    }
}

#[test]
fn indexes_that_are_refused() {
    let digest = Digest::hash(b"");
    let cases = [
        (String::new(), "index.json: empty file"),
        ("null".into(), "index.json: invalid type: null, expected an object"),
        ("{}".into(), "index.json: manifests: is missing"),
        (r#"{"manifests":[],"layers":[]}"#.into(), "index.json: layers: has no place in an index: ambiguous document"),
        (r#"{"Manifests":[],"LAYERS":null}"#.into(), "index.json: layers: has no place in an index"),
        (r#"{"manifests":[],"config":{}}"#.into(), "index.json: config: has no place in an index"),
        (r#"{"manifests":[],"manifests":[]}"#.into(), "index.json: duplicate field `manifests`"),
        (r#"{"manifests":[],"schemaVersion":1}"#.into(), "index.json: schemaVersion: 1 is not supported, only 2"),
        (
            format!(r#"{{"manifests":[],"mediaType":"{MANIFEST}"}}"#),
            "index.json: mediaType: \"application/vnd.oci.image.manifest",
        ),
        (r#"{"manifests":[{}]}"#.into(), "index.json: missing field `mediaType`"),
        (r#"{"manifests":[]} x"#.into(), "index.json: trailing characters"),
        (
            format!(r#"{{"manifests":[{{"mediaType":"{MANIFEST}","digest":"{digest}"}}]}}"#),
            "index.json: missing field `size`",
        ),
        (
            format!(r#"{{"manifests":[{{"mediaType":"{MANIFEST}","digest":"{digest}","size":-1}}]}}"#),
            "index.json: invalid value: integer `-1`",
        ),
    ];
    for (index, expected) in cases {
        let message = Layout::default().fixture(&index).error();
        assert!(message.starts_with(expected), "{index}: {message}");
    }
    for bad in
        ["sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", &digest.to_string().to_uppercase(), "sha512:00"]
    {
        let index = json!({"manifests": [{"mediaType": MANIFEST, "digest": bad, "size": 0}]}).to_string();
        let message = Layout::default().fixture(&index).error();
        assert!(message.contains("is not a digest of the form sha256:"), "{message}");
    }
}

#[test]
fn blobs_must_be_what_their_descriptors_say() {
    let image = |change: fn(&mut Layout, Value) -> Value| {
        let mut layout = Layout::default();
        let image = layout.image("amd64");
        let image = change(&mut layout, image);
        layout.over(&[image]).error()
    };
    let message = image(|_, image| with(image, "size", json!(7)));
    assert!(message.ends_with("bytes, its descriptor says 7"), "{message}");
    let message = image(|_, image| with(image, "digest", json!(Digest::hash(b"x").to_string())));
    assert_eq!(message, format!("blobs/sha256/{}: not in the archive", Digest::hash(b"x").hex()));
    let message = image(|layout, image| {
        let manifest = layout.files.last_mut().unwrap();
        manifest.1[20] ^= 1;
        image
    });
    assert!(message.contains(": digest is sha256:"), "{message}");
    let message = image(|layout, image| {
        layout.files[0].1[20] ^= 1;
        image
    });
    assert!(message.contains(": digest is sha256:"), "the config: {message}");
}

#[test]
fn manifests_that_are_refused() {
    let digest = Digest::hash(b"").to_string();
    let config = || json!({"mediaType": CONFIG, "digest": digest, "size": 0});
    let cases = [
        (json!({"config": config(), "layers": [], "manifests": []}), "manifests: has no place in a manifest"),
        (json!({"config": config(), "layers": [], "fsLayers": null}), "fsLayers: has no place in a manifest"),
        (json!({"config": config()}), "layers: is missing"),
        (json!({"layers": []}), "config: is missing"),
        (
            json!({"config": config(), "layers": [], "mediaType": INDEX}),
            "mediaType: \"application/vnd.oci.image.index.v1+json\" where",
        ),
        (json!({"config": config(), "layers": [], "schemaVersion": 1}), "schemaVersion: 1 is not supported"),
        (
            json!({"config": config(), "layers": [{"mediaType": LAYER, "digest": "sha256:x", "size": 1}]}),
            "is not a digest",
        ),
    ];
    for (manifest, expected) in cases {
        let mut layout = Layout::default();
        let descriptor = layout.manifest(&manifest);
        let message = layout.over(&[descriptor]).error();
        assert!(message.contains(expected), "{manifest}: {message}");
    }
    let mut layout = Layout::default();
    let config = layout.blob(CONFIG, b"{}");
    let layer = layout.blob("application/vnd.oci.image.layer.v1.tar+encrypted", b"");
    let manifest = layout.manifest(&json!({"config": config, "layers": [layer]}));
    let message = layout.over(&[manifest]).error();
    assert!(message.contains("layers: item 0: media type \"application/vnd.oci.image.layer.v1.tar+encrypted\" is not"));
}

#[test]
fn layers_are_checked_when_they_are_read() {
    let mut layout = Layout::default();
    let config = layout.blob(CONFIG, b"{}");
    let layer = layout.blob(LAYER, b"layer");
    let foreign = json!({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": Digest::hash(b"foreign").to_string(), "size": 7, "urls": ["https://example.com/layer"]});
    let missing = json!({"mediaType": LAYER, "digest": Digest::hash(b"missing").to_string(), "size": 7});
    let long = with(layer.clone(), "size", json!(6));
    let manifest = layout.manifest(&json!({"config": config, "layers": [layer, foreign, missing, long]}));
    let archive = layout.over(&[manifest]).open();
    let image = archive.images(&Select::default()).unwrap().images.remove(0);
    let layers: Vec<_> = image.layers.iter().map(|layer| archive.layer(layer)).collect();
    assert!(matches!(layers[0].as_ref().unwrap(), LayerBytes::File(blob) if **blob == *b"layer"));
    let message = |number: usize| layers[number].as_ref().unwrap_err().to_string();
    assert!(message(1).ends_with("not in the archive: a foreign layer, to be fetched from https://example.com/layer"));
    assert!(message(2).ends_with(&format!("{}: not in the archive", Digest::hash(b"missing").hex())));
    assert!(message(3).ends_with("5 bytes, its descriptor says 6"), "{}", message(3));
}

#[test]
fn nesting_has_a_limit_and_a_shared_index_is_walked_once() {
    let mut layout = Layout::default();
    let mut index = layout.image("amd64");
    for _ in 0..7 {
        index = layout.index(&[index]);
    }
    let deeper = layout.index(std::slice::from_ref(&index));
    let files = layout.files.clone();
    assert_eq!(layout.over(&[index]).images().unwrap().images.len(), 1);
    assert!(Layout { files }.over(&[deeper]).error().ends_with("more than 8 levels of indexes"));

    let mut layout = Layout::default();
    let mut index = layout.image("amd64");
    for _ in 0..7 {
        index = layout.index(&vec![index; 200]);
    }
    assert_eq!(layout.over(&vec![index; 200]).images().unwrap().images.len(), 1);
}

#[test]
fn manifest_json_wins_and_an_unknown_layout_is_refused() {
    let mut layout = Layout::default();
    let image = layout.image("amd64");
    let contents = layout.over(&[image]).file("manifest.json", b"[]").images().unwrap();
    assert!(contents.images.is_empty());
    let layout = Layout::default().over(&[]).file("oci-layout", br#"{"imageLayoutVersion":"2.0.0"}"#);
    assert_eq!(layout.error(), "oci-layout: imageLayoutVersion: \"2.0.0\" is not supported, only \"1.0.0\"");
}

/// cosign's layout: an index, and a signature that has an image's config and is known by its layers only.
#[test]
fn signatures_are_left_out_anywhere() {
    const SIGNATURE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    let sign = |layout: &mut Layout| {
        let config = layout.blob(CONFIG, br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#);
        let payload = layout.blob(SIGNATURE, b"{}");
        layout.manifest(&json!({"schemaVersion": 2, "config": config, "layers": [payload]}))
    };
    for nested in [false, true] {
        // Beside an image of this machine, and beside one that is taken because it is the only one.
        for architecture in ["amd64", "s390x"] {
            let mut layout = Layout::default();
            let image = platform(layout.image(architecture), &format!("linux/{architecture}"));
            let mut all = vec![sign(&mut layout), image, platform(sign(&mut layout), "linux/amd64")];
            if nested {
                all = vec![layout.index(&all)];
            }
            let contents = layout.over(&all).images().unwrap();
            let [image] = &contents.images[..] else { panic!("{architecture} {nested}: {contents:?}") };
            assert!(std::str::from_utf8(&image.config).unwrap().contains(architecture));
            let [reason] = &contents.skipped[..] else { panic!("{nested}: {contents:?}") };
            assert!(
                reason.ends_with(&format!("an artifact with layers of type {SIGNATURE:?}, not an image")),
                "{reason}"
            );
        }
    }
}

/// An index may tell of more platforms than were saved.
#[test]
fn platforms_that_are_not_in_the_archive() {
    let build = |kept: &'static [&'static str]| {
        let mut layout = Layout::default();
        let images: Vec<Value> =
            ["amd64", "arm64", "s390x"].map(|name| platform(layout.image(name), &format!("linux/{name}"))).into();
        let index = layout.index(&images);
        for (name, image) in ["amd64", "arm64", "s390x"].iter().zip(&images) {
            let digest = image["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
            layout.files.retain(|(file, _)| kept.contains(name) || !file.ends_with(&digest));
        }
        layout.over(&[index]).open()
    };
    let architecture = |contents: &SourceContents| {
        let config: Value = serde_json::from_slice(&contents.images[0].config).unwrap();
        config["architecture"].as_str().unwrap().to_owned()
    };
    assert_eq!(architecture(&build(&["s390x"]).images(&Select::default()).unwrap()), "s390x");
    assert_eq!(architecture(&build(&["arm64", "s390x"]).images(&select("linux/arm64")).unwrap()), "arm64");
    let message = |kept, wanted| build(kept).images(&select(wanted)).unwrap_err().to_string();
    let lacking = message(&["arm64"], "linux/amd64");
    assert!(lacking.ends_with("its image for linux/amd64 is not in the archive, only for linux/arm64"), "{lacking}");
    assert!(message(&["arm64"], "linux/386").ends_with("no image for linux/386, only for linux/arm64"));
    let none = message(&[], "linux/amd64");
    assert!(none.ends_with("its images, for linux/amd64, linux/arm64, linux/s390x, are not in the archive"), "{none}");
}

#[test]
fn a_media_type_that_differs_from_its_descriptor_is_a_warning() {
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    let mut layout = Layout::default();
    let image = with(layout.image("amd64"), "mediaType", json!(DOCKER));
    let contents = layout.over(&[image]).images().unwrap();
    let [warning] = &contents.warnings[..] else { panic!("{contents:?}") };
    assert!(warning.contains(&format!("its media type is {MANIFEST:?}, its descriptor says {DOCKER:?}")), "{warning}");
    assert_eq!(contents.images.len(), 1);
}

/// `docker save` of Docker 28 with several platforms: `manifest.json` has one of them.
#[test]
fn a_platform_that_manifest_json_lacks_is_in_the_index() {
    let build = || {
        let mut layout = Layout::default();
        let amd = platform(layout.image("amd64"), "linux/amd64");
        let arm = platform(layout.image("arm64"), "linux/arm64");
        let config = layout.files[0].0.clone();
        let index = named(layout.index(&[amd, arm]), CONTAINERD, "docker.io/library/app:1");
        let manifest = json!([{"Config": config, "RepoTags": ["app:1"], "Layers": []}]).to_string();
        layout.over(&[index]).file("manifest.json", manifest.as_bytes()).open()
    };
    let contents = build().images(&Select::default()).unwrap();
    assert_eq!((contents.format, contents.images.len()), (Some(Format::DockerArchive), 1));
    for (wanted, format) in [("linux/amd64", "manifest.json: item 0"), ("linux/arm64", "blobs/sha256/")] {
        let contents = build().images(&select(wanted)).unwrap();
        let [image] = &contents.images[..] else { panic!("{wanted}: {contents:?}") };
        assert_eq!(familiar(image), ["app:1"]);
        assert!(image.origin.starts_with(format) && contents.skipped.is_empty(), "{contents:?}");
        assert!(std::str::from_utf8(&image.config).unwrap().contains(&wanted[6..]));
    }
    let error = build().images(&select("linux/s390x")).unwrap_err().to_string();
    assert!(error.contains("app:1: no image for linux/s390x, only for linux/amd64, linux/arm64"), "{error}");
    // One that has nothing lacks it, too; without a platform nothing is loaded then, as by dockerd.
    let empty = || {
        let mut layout = Layout::default();
        let arm = named(platform(layout.image("arm64"), "linux/arm64"), CONTAINERD, "docker.io/library/app:1");
        layout.over(&[arm]).file("manifest.json", b"[]").open()
    };
    assert_eq!(empty().images(&select("linux/arm64")).unwrap().images.len(), 1);
    assert!(empty().images(&Select::default()).unwrap().images.is_empty());
}

/// skopeo's `dir:` has a registry's manifest where `docker save` has its list, and blobs under their bare digests.
#[test]
fn the_directory_of_skopeo_is_read() {
    let mut layout = Layout::default();
    let image = layout.image("amd64");
    let hex = |file: &str| file.rsplit('/').next().unwrap().to_owned();
    let files: Vec<(String, Vec<u8>)> = layout.files.iter().map(|(name, data)| (hex(name), data.clone())).collect();
    let manifest = files[2].1.clone();
    let flat = || files[..2].iter().fold(Fixture::new(), |fixture, (name, data)| fixture.file(name, data));
    let version = b"Directory Transport Version: 1.1\n";
    let archive = flat().file("version", version).file("manifest.json", &manifest).open();
    let contents = archive.images(&Select::default()).unwrap();
    let [image_of_one] = &contents.images[..] else { panic!("{contents:?}") };
    assert_eq!((contents.format, &image_of_one.config_name), (Some(Format::SkopeoDir), &files[0].0));
    assert_eq!(bytes_of(&archive, &image_of_one.layers[0]), b"amd64");

    // `skopeo copy --all`: an index, and its manifests beside it.
    let index = json!({"schemaVersion": 2, "manifests": [platform(image, "linux/amd64")]}).to_string();
    let archive =
        flat().file(&format!("{}.manifest.json", files[2].0), &manifest).file("manifest.json", index.as_bytes());
    let contents = archive.open().images(&Select::default()).unwrap();
    assert_eq!((contents.images.len(), contents.images[0].id), (1, image_of_one.id));

    let old = flat().file("manifest.json", br#"{"schemaVersion":1,"layers":[],"fsLayers":[]}"#).error();
    assert_eq!(old, "manifest.json: schemaVersion: 1 is not supported, only 2");
}

/// `manifest.json` may have an item for a signature as for an image: only the index beside tells that its layer is none.
#[test]
fn signatures_in_manifest_json_are_left_out() {
    let build = |with_image: bool| {
        let mut layout = Layout::default();
        let image = layout.image("amd64");
        let image_config = layout.files[0].0.clone();
        let config = layout.blob(CONFIG, br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#);
        let signature_config = layout.files.last().unwrap().0.clone();
        let payload = layout.blob("application/vnd.dev.cosign.simplesigning.v1+json", b"{}");
        let signature = layout.manifest(&json!({"schemaVersion": 2, "config": config, "layers": [payload]}));
        let mut items = vec![json!({"Config": signature_config, "RepoTags": ["app:sha256-1.sig"], "Layers": ["x"]})];
        if with_image {
            items.push(json!({"Config": image_config, "RepoTags": ["app:1"], "Layers": ["y"]}));
        }
        layout.over(&[signature, image]).file("manifest.json", json!(items).to_string().as_bytes())
    };
    let contents = build(true).images().unwrap();
    assert_eq!(contents.images.iter().map(familiar).collect::<Vec<_>>(), [["app:1"]]);
    let [reason] = &contents.skipped[..] else { panic!("{contents:?}") };
    let expected =
        "app:sha256-1.sig: an artifact with layers of type \"application/vnd.dev.cosign.simplesigning.v1+json\"";
    assert!(reason.starts_with(expected), "{reason}");
    // What docker loads stays an image, though its manifest has the type of an artifact.
    let mut layout = Layout::default();
    layout.image("amd64");
    let files = [layout.files[0].0.clone(), layout.files[1].0.clone()];
    let mut manifest: Value = serde_json::from_slice(&layout.files[2].1).unwrap();
    manifest["artifactType"] = json!("text/x");
    let typed = layout.manifest(&manifest);
    let items = json!([{"Config": files[0], "RepoTags": ["app:1"], "Layers": [files[1]]}]).to_string();
    let contents = layout.over(&[typed]).file("manifest.json", items.as_bytes()).images().unwrap();
    assert_eq!((contents.images.len(), contents.skipped.len()), (1, 0));
    // Without an index that can be read, the items are what they say.
    for index in [&b"{"[..], b"[]"] {
        assert_eq!(build(true).file("index.json", index).images().unwrap().images.len(), 2);
    }
    let none = build(false).open().images(&Select::default()).unwrap_err();
    assert!(matches!(&none, ArchiveError::NoImage { other_platforms: false, .. }), "{none:?}");
}

/// A manifest may list what is no layer, such as a bill of materials: the image-spec has it ignored.
#[test]
fn what_is_no_layer_is_left_out_of_an_image() {
    let mut layout = Layout::default();
    let config = layout.blob(CONFIG, br#"{"os":"linux"}"#);
    let (before, layer) = (layout.blob("application/spdx+json", b"{}"), layout.blob(LAYER, b"layer"));
    let after = layout.blob("application/vnd.in-toto+json", b"{}");
    let manifest = layout.manifest(&json!({"config": config, "layers": [before, layer, after]}));
    let contents = layout.over(&[manifest]).images().unwrap();
    let [image] = &contents.images[..] else { panic!("{contents:?}") };
    assert_eq!(image.layers.len(), 1);
    let ends = contents.skipped.iter().map(|reason| reason.split_once("layers: ").unwrap().1);
    let expected =
        ["item 0: \"application/spdx+json\" is no layer", "item 2: \"application/vnd.in-toto+json\" is no layer"];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
}

/// What to do next depends on it: there is another platform to choose, or there is not.
#[test]
fn images_for_other_platforms_are_told_from_what_is_no_image() {
    let helm = |layout: &mut Layout| {
        let config = layout.blob("application/vnd.cncf.helm.config.v1+json", b"{}");
        layout.manifest(&json!({"config": config, "layers": []}))
    };
    let other_platforms = |layout: Layout, top: &[Value], wanted: &str| {
        let error = layout.over(top).open().images(&select(wanted)).unwrap_err();
        let ArchiveError::NoImage { other_platforms, .. } = error else { panic!("{error}") };
        other_platforms
    };
    let mut layout = Layout::default();
    let chart = helm(&mut layout);
    assert!(!other_platforms(layout, &[chart], "linux/amd64"));
    let mut layout = Layout::default();
    let all = [helm(&mut layout), platform(layout.image("amd64"), "linux/amd64")];
    assert!(other_platforms(layout, &all, "linux/arm64"));
    let mut layout = Layout::default();
    let all = [helm(&mut layout), platform(layout.image("amd64"), "linux/amd64")];
    let nested = layout.index(&all);
    assert!(other_platforms(layout, &[nested], "linux/arm64"));
}
