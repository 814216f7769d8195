//! Archives that dockerd, skopeo and umoci wrote; `testdata/README.md` says what each shows.

use std::io::Read;

use layerfs::Digest;
use layerfs::compress::Decompressor;
use serde_json::Value;

use super::*;

fn golden(name: &str) -> Archive {
    match Archive::open(&goldens().join(name)).unwrap() {
        Opened::Archive(archive) => archive,
        other => panic!("{name}: {other:?}"),
    }
}

fn diff_ids(config: &[u8]) -> Vec<String> {
    let config: Value = serde_json::from_slice(config).unwrap();
    config["rootfs"]["diff_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// What the layers' content hashes to, decompressed; the digest of the file is checked where there is a descriptor.
fn content_digests(archive: &Archive, image: &SourceImage) -> Vec<String> {
    let digest = |layer: &LayerRef| {
        let bytes = bytes_of(archive, layer);
        if let Some(descriptor) = &layer.descriptor {
            assert_eq!(Digest::hash(&bytes), descriptor.digest);
        }
        let mut content = Vec::new();
        Decompressor::new(bytes.as_slice()).unwrap().read_to_end(&mut content).unwrap();
        Digest::hash(&content).to_string()
    };
    image.layers.iter().map(digest).collect()
}

/// Ids, names and layers are those that dockerd reported after it had loaded the same file.
#[test]
fn images_are_those_that_dockerd_loaded() {
    let expected = std::fs::read(goldens().join("EXPECTED.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let expected = expected.get("archives").unwrap_or(&expected).as_object().unwrap();
    let archives = expected.iter().filter(|(name, _)| name.ends_with(".tar"));
    let mut count = 0;
    for (name, expected) in archives {
        let archive = golden(name);
        let contents = archive.images(&Select::default()).unwrap();
        assert!(contents.skipped.is_empty());
        let mut images = contents.images;
        images.sort_by_key(|image| image.id);
        let expected = expected["images"].as_array().unwrap();
        assert_eq!(images.len(), expected.len(), "{name}");
        for (image, expected) in images.iter().zip(expected) {
            assert_eq!(image.id.to_string(), expected["id"].as_str().unwrap());
            assert_eq!(image.config.len() as u64, expected["config_bytes"].as_u64().unwrap());
            let mut tags = familiar(image);
            tags.sort();
            let expected_tags: Vec<String> = serde_json::from_value(expected["repo_tags"].clone()).unwrap();
            assert_eq!(tags, expected_tags);
            let layers: Vec<&str> =
                expected["layers"].as_array().unwrap().iter().map(|layer| layer["diff_id"].as_str().unwrap()).collect();
            assert_eq!(content_digests(&archive, image), layers, "{name}");
            assert_eq!(diff_ids(&image.config), layers);
        }
        count += 1;
    }
    assert!(count >= 5, "{count} archives");
}

#[test]
fn the_parent_in_an_archive_is_another_image_of_it() {
    let images = golden("shared-20.10.tar").images(&Select::default()).unwrap().images;
    assert_eq!(images.len(), 4);
    assert_eq!(images[1].parent, Some(images[0].id));
    assert!(images[3].tags.is_empty());
}

#[test]
fn pure_oci_layouts() {
    let busybox = ["layerfs-test/busybox:1"];
    let cases: [(&str, &[&[&str]]); 3] =
        [("oci-skopeo-gzip.tar", &[&busybox]), ("oci-skopeo-zstd.tar", &[&busybox]), ("oci-umoci.tar", &[&[], &[]])];
    for (name, tags) in cases {
        let archive = golden(name);
        let images = archive.images(&Select::default()).unwrap().images;
        assert_eq!(images.iter().map(familiar).collect::<Vec<_>>(), tags, "{name}");
        for image in &images {
            assert_eq!(content_digests(&archive, image), diff_ids(&image.config), "{name}");
        }
    }
}
