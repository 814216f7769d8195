use layerfs::Digest;

use super::*;

const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

fn archive(manifest: &str) -> Fixture {
    Fixture::with_files(&[("c.json", CONFIG), ("l/layer.tar", b"layer"), ("manifest.json", manifest.as_bytes())])
}

#[test]
fn an_item_becomes_an_image() {
    let parent = Digest::hash(b"parent");
    let manifest = format!(
        r#"[{{"Config":"./c.json","RepoTags":["app:1","ghcr.io/a/b:2"],"Layers":["l/layer.tar","l/../l/layer.tar"],"Parent":"{parent}"}}]
"#
    );
    let archive = archive(&manifest).open();
    let contents = archive.images(&Select::default()).unwrap();
    let [image] = &contents.images[..] else { panic!("{contents:?}") };
    assert_eq!(&*image.config, CONFIG);
    assert_eq!((image.config_name.as_str(), image.id), ("./c.json", Digest::hash(CONFIG)));
    assert_eq!(familiar(image), ["app:1", "ghcr.io/a/b:2"]);
    assert_eq!(image.parent, Some(parent));
    assert_eq!(image.origin, "manifest.json: item 0");
    assert!(contents.skipped.is_empty());
    for layer in &image.layers {
        assert_eq!((bytes_of(&archive, layer), &layer.descriptor), (b"layer".to_vec(), &None));
    }
}

#[test]
fn what_docker_tolerates() {
    for manifest in ["[]", " [ ]\n", "[] trailing"] {
        assert!(archive(manifest).images().unwrap().images.is_empty());
    }
    let images = archive(r#"[{"Config":"c.json","RepoTags":null,"Layers":null},{"config":"x","CONFIG":"c.json"}]"#);
    let images = images.images().unwrap().images;
    assert_eq!(images.len(), 2);
    for image in images {
        assert!(image.tags.is_empty() && image.layers.is_empty() && image.parent.is_none());
    }
    let unknown = r#"[{"Config":"c.json","LayerSources":{"a":{"size":-1}},"X":[[{}]],"Parent":""}]"#;
    assert_eq!(archive(unknown).images().unwrap().images.len(), 1);
    for parent in ["no-digest", "sha256:../../x", "SHA256:0"] {
        let manifest = serde_json::json!([{"Config": "c.json", "Parent": parent}]).to_string();
        assert_eq!(archive(&manifest).images().unwrap().images[0].parent, None, "{parent}");
    }
}

#[test]
fn manifests_that_are_refused() {
    let long_part = format!(r#"[{{"Config":"c.json","Layers":["x/{}"]}}]"#, "y".repeat(256));
    let cases = [
        ("", "manifest.json: empty file"),
        ("null", "manifest.json: cannot be null (but can be [])"),
        ("{}", "manifest.json: the document must be a list, not an object (byte 1)"),
        ("[\n{", "manifest.json: unexpected end of JSON input (byte 3)"),
        ("not json", "manifest.json: invalid character 'o' in literal null (expecting 'u') (byte 2)"),
        ("[null]", "manifest.json: item 0: Config: is missing"),
        (r#"[{"Config":"c.json"},{}]"#, "manifest.json: item 1: Config: is missing"),
        (r#"[{},{"Config":1}]"#, "manifest.json: Config must be a string, not a number (byte 15)"),
        (
            r#"[{"Config":"c.json","Layers":[1]}]"#,
            "manifest.json: item 0 of Layers must be a string, not a number (byte 31)",
        ),
        ("[{}, 5]", "manifest.json: item 1 must be an object, not a number (byte 6)"),
        (r#"[{"Config":"c.json","Layers":{}}]"#, "manifest.json: Layers must be a list, not an object (byte 30)"),
        (r#"[{"Config":"c.json","LayerSources":[]}]"#, "manifest.json: LayerSources must be an object, not a list"),
        (
            r#"[{"Config":"c.json","LayerSources":{"a":{"size":"1"}}}]"#,
            "manifest.json: LayerSources.size must be a whole number of 64 bits, not a string",
        ),
        (r#"[{"Config":""}]"#, "manifest.json: item 0: Config: is missing"),
        (r#"[{"Config":"../c.json"}]"#, "../c.json: name leaves the archive"),
        (r#"[{"Config":"c.json","Layers":["l","../l"]}]"#, "../l: name leaves the archive"),
        (r#"[{"Config":"c.json","Layers":["a\u0000b"]}]"#, r#""a\0b": a name cannot have a NUL byte"#),
        (&long_part, "or a part of it longer than 255"),
        (r#"[{"Config":"/etc/passwd"}]"#, "/etc/passwd: not in the archive"),
        (r#"[{"Config":"l"}]"#, "l: not in the archive"),
        (r#"[{"Config":"l/layer.tar"}]"#, "l/layer.tar: expected value at line 1 column 1"),
    ];
    for (manifest, expected) in cases {
        let message = archive(manifest).error();
        assert!(message.contains(expected), "{manifest}: {message}");
    }
}

/// A bad name is no reason not to read the archive: it may not be needed. Which ones dockerd loads without, and which it
/// refuses, was tried with dockerd 20.10.24 (`docker_field_cases`).
#[test]
fn names_that_cannot_be_used_are_told() {
    let digest = Digest::hash(b"");
    // With `docker.io/library/` in front, this name is one character too long.
    let long = format!("{}:1", "a".repeat(238));
    let cases = [
        ("A:1", "invalid tag \"A:1\": invalid reference format: repository name (library/A) must be lowercase", false),
        ("bazel/MyImage:tag", "repository name (bazel/MyImage) must be lowercase", false),
        ("<none>:<none>", "invalid reference format: \"<none>:<none>\"", false),
        ("", "invalid tag \"\": invalid reference format", false),
        ("ld", "invalid tag \"ld\": it has no tag", false),
        ("a:1,b:2", "invalid reference format: \"a:1,b:2\"", false),
        (&long, "must not be more than 255 characters", false),
        (&format!("a@{digest}"), "it has no tag", false),
        (&format!("a:1@{digest}"), "it has a digest", true),
        (&format!("a:1@sha512:{}", "0".repeat(128)), "it has a digest", true),
        (&format!("a:1@sha512:{}", "0".repeat(127)), "invalid digest", false),
        ("sha256:1", "it would be read as a digest", true),
    ];
    for (name, expected, left_out) in cases {
        let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": ["ok:1", name]}]).to_string();
        let images = archive(&manifest).images().unwrap().images;
        assert_eq!(familiar(&images[0]), ["ok:1"]);
        let [(message, is_left_out)] = &unusable(&images[0])[..] else { panic!("{name}: {images:?}") };
        assert!(message.starts_with("manifest.json: item 0: invalid tag "), "{message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert_eq!(*is_left_out, left_out, "{name}");
    }
}

#[test]
fn one_image_of_several_is_chosen() {
    let other = br#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = br#"[{"Config":"c.json","RepoTags":["app:1","X:y"]},{"Config":"d.json","RepoTags":["app:2"]}]"#;
    let contents =
        Fixture::with_files(&[("c.json", CONFIG), ("d.json", other), ("manifest.json", manifest)]).images().unwrap();
    let (first, second) = (Digest::hash(CONFIG), Digest::hash(other));
    for (wanted, id) in [("app:1", first), ("X:y", first), ("app:2", second), ("docker.io/library/app:2", second)] {
        assert_eq!(contents.one(Some(wanted)).unwrap().id, id, "{wanted}");
    }
    for wanted in [second.to_string(), second.hex(), second.short()] {
        assert_eq!(contents.one(Some(&wanted)).unwrap().id, second);
    }
    let message = |wanted| contents.one(wanted).unwrap_err().to_string();
    assert_eq!(message(None), "the archive has several images: app:1, app:2");
    assert_eq!(message(Some("app")), "the archive has no image app; it has app:1, app:2");
    assert_eq!(message(Some("sha256:")), "the archive has no image sha256:; it has app:1, app:2");
    assert_eq!(SourceContents::default().one(None).unwrap_err(), SelectionError::NoImage);
}

#[test]
fn a_config_must_be_an_object() {
    for config in ["[]", "null", "{", "{} {}", ""] {
        let manifest = br#"[{"Config":"c.json"}]"#;
        let message = Fixture::with_files(&[("c.json", config.as_bytes()), ("manifest.json", manifest)]).error();
        assert!(message.starts_with("c.json: "), "{config}: {message}");
    }
}

/// A chain that is already stored needs no file, so only asking for the layer fails.
#[test]
fn a_missing_layer_is_an_error_when_it_is_read() {
    let manifest = br#"[{"Config":"c.json","Layers":["gone.tar","to-shadow","loop","dir",""]}]"#;
    let archive = Fixture::with_files(&[("c.json", CONFIG), ("manifest.json", manifest)])
        .symlink("to-shadow", "../../etc/shadow")
        .symlink("loop", "loop")
        .entry("dir/", tar::EntryType::Directory, "", b"")
        .open();
    let image = archive.images(&Select::default()).unwrap().images.remove(0);
    let messages: Vec<String> =
        image.layers.iter().map(|layer| archive.layer(layer).unwrap_err().to_string()).collect();
    let expected = [
        "gone.tar: not in the archive",
        "to-shadow: symbolic link to-shadow leaves the archive",
        "loop: symbolic links lead to each other, or there are too many",
        "dir: is a directory, not a file",
        "\"\": is a directory, not a file",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn large_json_is_refused_unread() {
    let mut manifest = br#"[{"Config":"c.json"}]"#.to_vec();
    let limit = usize::try_from(MAX_JSON).unwrap();
    manifest.resize(limit, b' ');
    assert_eq!(
        Fixture::with_files(&[("c.json", CONFIG), ("manifest.json", &manifest)]).images().unwrap().images.len(),
        1
    );
    manifest.push(b' ');
    let message = Fixture::with_files(&[("c.json", CONFIG), ("manifest.json", &manifest)]).error();
    assert_eq!(message, "manifest.json: 8388609 bytes are more than the 8388608 allowed for a JSON file");
    let config = vec![b' '; limit + 1];
    let manifest = br#"[{"Config":"c.json"}]"#;
    let message = Fixture::with_files(&[("c.json", &config), ("manifest.json", manifest)]).error();
    assert!(message.starts_with("c.json: 8388609 bytes are more"), "{message}");
}

/// Symlinks make many large configs out of one; the sum is limited, one file named often is read once.
#[test]
fn json_is_limited_in_sum() {
    let mut config = b"{}".to_vec();
    config.resize(4 << 20, b' ');
    let names: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    let items: Vec<String> = names.iter().map(|name| format!(r#"{{"Config":"{name}"}}"#)).collect();
    let fixture =
        Fixture::with_files(&[("c.json", &config), ("manifest.json", format!("[{}]", items.join(",")).as_bytes())]);
    let message = names.iter().fold(fixture, |fixture, name| fixture.symlink(name, "c.json")).error();
    assert_eq!(message, "15: the JSON files of this archive have more than 67108864 bytes together");
    let items = vec![r#"{"Config":"c.json"}"#; 100].join(",");
    let images =
        Fixture::with_files(&[("c.json", &config), ("manifest.json", format!("[{items}]").as_bytes())]).images();
    assert_eq!(images.unwrap().images.len(), 100);
}

#[test]
fn a_platform_that_was_asked_for_is_insisted_on() {
    let archive = archive(r#"[{"Config":"c.json"}]"#).open();
    archive.images(&select("linux/amd64")).unwrap();
    let error = archive.images(&select("linux/arm64")).unwrap_err();
    let expected = "manifest.json: no usable image: c.json: an image for linux/amd64, not for linux/arm64";
    assert_eq!(error.to_string(), expected);
}

/// What a streaming importer does: names first, the files' bytes from elsewhere.
#[test]
fn contents_are_read_from_anywhere() {
    let mut names = Namespace::default();
    names.add(b"./real.json", ArchiveEntry::File(CONFIG)).unwrap();
    names.add(b"./manifest.json", ArchiveEntry::File(br#"[{"Config":"c.json","Layers":["late"]}]"#)).unwrap();
    names.add(b"./c.json", ArchiveEntry::Symlink(b"real.json".to_vec())).unwrap();
    let mut read = |file: &str| Ok(names.resolve(file).ok().map(|bytes| bytes.to_vec()));
    let contents = contents(&Select::default(), &mut read).unwrap().unwrap();
    assert_eq!(contents.images[0].id, Digest::hash(CONFIG));
    assert_eq!(contents.images[0].layers[0].name, "late");
    assert!(super::contents(&Select::default(), &mut |_| Ok(None)).unwrap().is_none());
}
