//! Image archives that nothing can be made of, and what must be said about each.

use layerfs::Digest;
use serde_json::{Value, json};

use super::image::{self, CONFIG, DockerArchive, OciLayout, layer_name};
use super::tarfile::{self, TarMember};

/// An archive with something wrong in it.
#[derive(Debug)]
pub struct Bad {
    /// What is bad about it.
    pub title: &'static str,
    /// The archive.
    pub archive: Vec<u8>,
    /// Words of the message: the file that is wrong, and the reason.
    pub words: &'static [&'static str],
    /// Words where the archive comes from a pipe, if they are others.
    pub piped: &'static [&'static str],
    /// Whether it shows in the archive's documents and names: if the archive can be read by offset, it is refused
    /// before the store is touched.
    pub early: bool,
}

/// More than is read of a JSON file, and still JSON.
const HUGE: usize = 9 << 20;

/// A layer with a file, and one that changes it.
pub fn layers() -> Vec<Vec<u8>> {
    let base = [tarfile::dir("etc/"), tarfile::file("etc/one", "one"), tarfile::symlink("etc/link", "one")];
    let top = [tarfile::file("etc/one", "changed"), tarfile::file("etc/two", "two"), tarfile::file("etc/.wh.link", "")];
    vec![tarfile::tar(&base), tarfile::tar(&top)]
}

fn docker() -> DockerArchive {
    DockerArchive::new("layerfs-test/bad:1", &layers())
}

fn early(title: &'static str, archive: Vec<u8>, words: &'static [&'static str]) -> Bad {
    Bad { title, archive, words, piped: words, early: true }
}

fn late(title: &'static str, archive: Vec<u8>, words: &'static [&'static str]) -> Bad {
    Bad { title, archive, words, piped: words, early: false }
}

impl Bad {
    fn piped(self, piped: &'static [&'static str]) -> Self {
        Self { piped, ..self }
    }
}

/// All bad archives.
pub fn archives() -> Vec<Bad> {
    [manifests(), names(), configs(), layer_files(), compressed_layers(), layouts()].into_iter().flatten().collect()
}

fn manifests() -> Vec<Bad> {
    let config = serde_json::to_vec(&docker().config).unwrap();
    let with = |manifest: &[u8]| docker().build_with(&config, manifest);
    let huge = [&b"["[..], &vec![b' '; HUGE], b"]"].concat();
    let item = |value: Value| with(&serde_json::to_vec(&json!([value])).unwrap());
    let tag = |tag: &str| item(json!({"Config": CONFIG, "RepoTags": [tag], "Layers": [layer_name(0), layer_name(1)]}));
    vec![
        early("an empty manifest", with(b""), &["manifest.json", "empty file"]),
        early("a null manifest", with(b"null"), &["manifest.json", "cannot be null"]),
        early("a huge manifest", with(&huge), &["manifest.json", "9437186 bytes", "8388608 allowed"]),
        early("a manifest that is not JSON", with(b"hello"), &["manifest.json", "invalid character 'h'", "byte 1"]),
        early(
            "a cut manifest",
            with(b"[{\"Config\":\"con"),
            &["manifest.json", "unexpected end of JSON input (byte 15)"],
        ),
        early(
            "a manifest that is an object",
            with(b"{}"),
            &["manifest.json", "must be a list, not an object (byte 1)"],
        ),
        early(
            "an item that is a number",
            with(b"[5]"),
            &["manifest.json", "item 0 must be an object, not a number (byte 2)"],
        ),
        early(
            "a config name that is a number",
            item(json!({"Config": 5})),
            &["manifest.json", "Config must be a string, not a number (byte 12)"],
        ),
        early("no config name", item(json!({"Layers": []})), &["manifest.json", "item 0", "Config: is missing"]),
        early(
            "layers that are a text",
            item(json!({"Config": CONFIG, "Layers": "x"})),
            &["manifest.json", "Layers must be a list, not a string (byte 37)"],
        ),
        early("a tag without its tag part", tag("app"), &["manifest.json", "item 0", "invalid tag \"app\""]),
        early("a tag with upper case", tag("App:1"), &["manifest.json", "item 0", "must be lowercase"]),
        early(
            "a tag that is a digest",
            tag(&format!("app@{}", Digest::hash(b""))),
            &["manifest.json", "item 0", "invalid tag"],
        ),
        early("a tag that is nothing", tag(""), &["manifest.json", "item 0", "invalid tag \"\""]),
        early(
            "neither manifest nor index",
            tarfile::tar(&docker().layers),
            &["neither manifest.json nor index.json", "not an image archive"],
        ),
    ]
}

fn names() -> Vec<Bad> {
    let config = |name: &str| {
        let mut archive = docker();
        archive.manifest[0]["Config"] = name.into();
        archive.build()
    };
    let layer = |name: &str| {
        let mut archive = docker();
        archive.manifest[0]["Layers"][1] = name.into();
        archive.build()
    };
    let instead = |member: TarMember| {
        let mut archive = docker();
        archive.layers[1] = member;
        archive.build()
    };
    let more = |member: TarMember| {
        let mut archive = docker();
        archive.more = vec![member];
        archive.build()
    };
    let link = |target: &str| instead(tarfile::symlink(layer_name(1), target));
    vec![
        early("a config outside", config("../../etc/passwd"), &["../../etc/passwd", "leaves the archive"]),
        early("a config on the host", config("/etc/passwd"), &["/etc/passwd", "not in the archive"]),
        early("a config that is missing", config("no.json"), &["no.json", "not in the archive"]),
        early("a config that is a directory", config(&"0".repeat(64)), &["000: ", "not in the archive"]),
        early("a layer outside", layer("a/../../../etc/passwd"), &["a/../../../etc/passwd", "leaves the archive"]),
        early("a layer on the host", layer("/etc/passwd"), &["/etc/passwd", "not in the archive"]),
        early("a layer without a name", layer(""), &["\"\"", "is a directory"]),
        early("a layer that is missing", instead(tarfile::dir(layer_name(2))), &["1/layer.tar", "not in the archive"]),
        early("a layer that is a link to the host", link("/etc/passwd"), &["1/layer.tar", "not in the archive"]),
        early("a layer that is a link outside", link("../../../etc/passwd"), &["1/layer.tar", "leaves the archive"]),
        early(
            "a layer that is a link to itself",
            link("layer.tar"),
            &["1/layer.tar", "symbolic links lead to each other"],
        ),
        early("a layer that is a pipe", instead(tarfile::fifo(layer_name(1))), &["1/layer.tar", "not a file"]),
        early(
            "a layer that is a hard link to the host",
            instead(tarfile::hard_link(layer_name(1), "/etc/passwd")),
            &["1/layer.tar", "not in the archive"],
        ),
        early("a member outside", more(tarfile::file("../evil", "evil")), &["../evil", "leaves the archive"]),
        early("a member with a long name", more(tarfile::file("x".repeat(5000), "")), &["xxx", "longer than 4096"]),
    ]
}

fn configs() -> Vec<Bad> {
    let manifest = serde_json::to_vec(&docker().manifest).unwrap();
    let with = |config: &[u8]| docker().build_with(config, &manifest);
    let edit = |edit: &dyn Fn(&mut Value)| {
        let mut archive = docker();
        edit(&mut archive.config);
        archive.build()
    };
    let diff_ids = |ids: Value| {
        edit(&|config| {
            config["rootfs"]["diff_ids"] = ids.clone();
            config["history"] = json!([]);
        })
    };
    let id = Digest::hash(b"").to_string();
    let many: Vec<Vec<u8>> = (0..126).map(|number| tarfile::tar(&[tarfile::file(format!("{number}"), "x")])).collect();
    let history = json!([{"created_by": "1"}, {"created_by": "2"}, {"created_by": "3"}]);
    let huge = [&b"{"[..], &vec![b' '; HUGE], b"}"].concat();
    vec![
        early("an empty config", with(b""), &[CONFIG, "empty file"]),
        early("a config that is not JSON", with(b"{\"os\":"), &[CONFIG, "EOF while parsing"]),
        early("a config with something behind", with(b"{} x"), &[CONFIG, "trailing characters"]),
        early("a config that is a list", with(b"[]"), &[CONFIG, "expected an object"]),
        early("a huge config", with(&huge), &[CONFIG, "8388608 allowed"]),
        early("a config without layers", with(b"{}"), &[CONFIG, "no RootFS key"]),
        early("Linux in upper case", edit(&|config| config["os"] = "Linux".into()), &[CONFIG, "lower case"]),
        early(
            "a Windows image",
            edit(&|config| config["os"] = "windows".into()),
            &[CONFIG, "cannot load windows image on linux"],
        ),
        early("an os that is a number", edit(&|config| config["os"] = 1.into()), &[CONFIG, "os must be a string"]),
        early(
            "more history than layers",
            edit(&|config| config["history"] = history.clone()),
            &[CONFIG, "too many non-empty layers in History section"],
        ),
        early("fewer diff ids than layers", diff_ids(json!([id])), &[CONFIG, "layers length mismatch", "2", "1"]),
        early("more diff ids", diff_ids(json!([id, id, id])), &[CONFIG, "layers length mismatch", "2", "3"]),
        early("diff ids that are a text", diff_ids(json!("x")), &[CONFIG, "diff_ids must be a list"]),
        early("a diff id that leads elsewhere", diff_ids(json!([id, "sha256:../../x"])), &[CONFIG, "diff_ids[1]"]),
        early("a diff id by MD5", diff_ids(json!([id, format!("md5:{}", "0".repeat(32))])), &[CONFIG, "md5"]),
        early("a diff id in upper case", diff_ids(json!([id, id.to_uppercase()])), &[CONFIG, "SHA256"]),
        early(
            "126 layers",
            DockerArchive::new("layerfs-test/many:1", &many).build(),
            &[CONFIG, "max depth exceeded: 126 layers, 125 allowed"],
        ),
    ]
}

fn layer_files() -> Vec<Bad> {
    let edit = |edit: &dyn Fn(&mut DockerArchive)| {
        let mut archive = docker();
        edit(&mut archive);
        archive.build()
    };
    let other = Digest::hash(b"another").to_string();
    let file = |content: Vec<u8>| edit(&|archive| archive.layers[1] = tarfile::file(layer_name(1), content.clone()));
    let whole = layers().remove(1);
    // An archive with this content for a layer, whose digest the config knows.
    let known = |content: &[u8]| {
        let mut archive = docker();
        archive.layers[1] = tarfile::file(layer_name(1), content);
        archive.config["rootfs"]["diff_ids"][1] = Digest::hash(content).to_string().into();
        archive.build()
    };
    let lower_link = tarfile::tar(&[tarfile::hard_link("hard", "etc/one")]);
    vec![
        late(
            "another diff id",
            edit(&|archive| archive.config["rootfs"]["diff_ids"][1] = other.clone().into()),
            &["1/layer.tar", "invalid diffID for layer 1: expected \"sha256:", ", got \"sha256:"],
        ),
        late(
            "layers in the wrong order",
            edit(&|archive| archive.manifest[0]["Layers"] = json!([layer_name(1), layer_name(0)])),
            &["1/layer.tar", "invalid diffID for layer 0"],
        ),
        late(
            "a byte behind a layer",
            file([&whole[..], b"x"].concat()),
            &["1/layer.tar", "invalid diffID for layer 1"],
        ),
        late("a cut layer", file(whole[..515].to_vec()), &["1/layer.tar", "unexpected end"]),
        late("a layer that is text", known(&b"hello\n".repeat(200)), &["1/layer.tar", "invalid tar header"])
            .piped(&["1/layer.tar"]),
        late("a layer that is a little text", known(b"hello"), &["1/layer.tar", "unexpected end"]),
        late("a hard link to the layer below", known(&lower_link), &["1/layer.tar", "\"hard\"", "No such file"]),
        late(
            "a file outside",
            known(&tarfile::tar(&[tarfile::file("../evil", "")])),
            &["1/layer.tar", "../evil", "leads out of the layer"],
        ),
        late(
            "a whiteout of nothing",
            known(&tarfile::tar(&[tarfile::file("etc/.wh.", "")])),
            &["1/layer.tar", "etc/.wh."],
        ),
        late(
            "a file below a file",
            known(&tarfile::tar(&[tarfile::file("f", "f"), tarfile::file("f/g", "g")])),
            &["1/layer.tar", "\"f/g\"", "Not a directory"],
        ),
    ]
}

fn compressed_layers() -> Vec<Bad> {
    let packed = |program: &str, damage: &dyn Fn(&mut Vec<u8>)| {
        let damaged = |layer: &[u8]| {
            let mut packed = image::pack(program, layer);
            damage(&mut packed);
            packed
        };
        DockerArchive::packed("layerfs-test/bad:1", &layers(), damaged).build()
    };
    let wrong_crc = |bytes: &mut Vec<u8>| {
        let crc = bytes.len() - 8;
        bytes[crc] ^= 1;
    };
    let wrong_length = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let nonsense = |bytes: &mut Vec<u8>| bytes[12..].fill(0x55);
    vec![
        late("a gzip layer with a wrong checksum", packed("gzip", &wrong_crc), &["layer.tar", "gzip"]),
        late("a gzip layer with a wrong length", packed("gzip", &wrong_length), &["layer.tar", "gzip"]),
        late("a cut gzip layer", packed("gzip", &cut), &["layer.tar", "gzip: unexpected end of compressed data"]),
        late("a cut zstd layer", packed("zstd", &cut), &["layer.tar", "zstd: unexpected end of compressed data"]),
        late("a cut xz layer", packed("xz", &cut), &["layer.tar", "xz: unexpected end of compressed data"]),
        late("a cut bzip2 layer", packed("bzip2", &cut), &["layer.tar", "bzip2: unexpected end of compressed data"]),
        late("an xz layer of nonsense", packed("xz", &nonsense), &["layer.tar", "xz: "]),
        late("a zstd layer of nonsense", packed("zstd", &nonsense), &["layer.tar", "zstd: "]),
    ]
}

fn layouts() -> Vec<Bad> {
    let oci = |suffix: &str, pack: &dyn Fn(&[u8]) -> Vec<u8>| OciLayout::new("1", &layers(), suffix, pack);
    let edit = |edit: &dyn Fn(&mut OciLayout)| {
        let mut layout = oci("", &|layer| layer.to_vec());
        edit(&mut layout);
        layout.build()
    };
    let reindexed = |change: &dyn Fn(&mut Value)| {
        edit(&|layout| {
            change(&mut layout.manifest);
            layout.reindex();
        })
    };
    let mut wrong_blob = oci("+gzip", &|layer| image::pack("gzip", layer));
    // The same content, packed again.
    wrong_blob.layers[1].extend(image::pack("gzip", b""));
    wrong_blob.manifest["layers"][1]["size"] = wrong_blob.layers[1].len().into();
    wrong_blob.reindex();
    let digest = Digest::hash(b"").to_string();
    vec![
        late("a blob that is another", wrong_blob.build(), &["blobs/sha256/", "digest"]),
        early(
            "a blob of another size",
            reindexed(&|manifest| manifest["layers"][1]["size"] = 1.into()),
            &["blobs/sha256/", "1"],
        ),
        early(
            "a config of another size",
            reindexed(&|manifest| manifest["config"]["size"] = 1.into()),
            &["blobs/sha256/", "its descriptor says 1"],
        ),
        early("a manifest of another digest", edit(&|layout| layout.manifest["x"] = 1.into()), &["not in the archive"]),
        early(
            "a manifest with manifests",
            reindexed(&|manifest| manifest["manifests"] = json!([])),
            &["blobs/sha256/", "manifests", "ambiguous document"],
        ),
        early(
            "an index with layers",
            edit(&|layout| layout.index["layers"] = json!([])),
            &["index.json", "layers", "ambiguous document"],
        ),
        early(
            "a digest that leads elsewhere",
            reindexed(&|manifest| manifest["layers"][1]["digest"] = "sha256:../../x".into()),
            &["blobs/sha256/", "sha256:../../x", "not a digest"],
        ),
        early(
            "a layer that is missing",
            reindexed(&|manifest| {
                manifest["layers"].as_array_mut().unwrap().pop();
            }),
            &["layers length mismatch"],
        ),
        early(
            "an unknown version",
            edit(&|layout| layout.layout["imageLayoutVersion"] = "2.0.0".into()),
            &["oci-layout", "\"2.0.0\" is not supported"],
        ),
        early(
            "an index of version 1",
            edit(&|layout| layout.index["schemaVersion"] = 1.into()),
            &["index.json", "schemaVersion"],
        ),
        early(
            "an index without manifests",
            edit(&|layout| layout.index = json!({"schemaVersion": 2})),
            &["index.json", "manifests", "is missing"],
        ),
        early(
            "an index of something else",
            edit(&|layout| {
                let other = json!({"mediaType": "text/plain", "digest": digest, "size": 0});
                layout.index["manifests"] = json!([other]);
            }),
            &["index.json", "no usable image", "text/plain"],
        ),
    ]
}
