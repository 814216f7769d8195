use std::os::unix::fs::symlink;

use super::*;

const MANIFEST: &[u8] = br#"[{"Config":"c.json","Layers":["layer.tar"]}]"#;

#[test]
fn files_are_told_apart() {
    let layer = Fixture::with_files(&[("etc/passwd", b"root")]).bytes();
    assert_eq!(open(b"").unwrap_err().to_string(), "X: is empty: neither an image archive nor a layer");
    for tar in [&layer[..], &[0; 1024], &[0; 512]] {
        assert!(matches!(open(tar).unwrap(), Opened::LayerTar(blob) if *blob == *tar));
    }
    assert!(matches!(open(b"\x1f\x8b\x08").unwrap(), Opened::Compressed(_, Compression::Gzip)));
    assert!(matches!(open(b"\x28\xb5\x2f\xfd").unwrap(), Opened::Compressed(_, Compression::Zstd)));
    for other in [&b"text"[..], &[b'x'; 4096], &[0; 100]] {
        let error = full(&open(other).unwrap_err());
        let (what, why) = ("X: neither a tar archive nor compressed in a known way: at byte ", ": ");
        assert!(error.strip_prefix(what).is_some_and(|place| place.contains(why)), "{error}");
    }
    let error = Archive::open(Path::new("/nonexistent/X")).unwrap_err();
    assert!(full(&error).starts_with("opening /nonexistent/X: No such file"), "{}", full(&error));
}

#[test]
fn a_pipe_and_a_file_half_read_are_to_be_streamed() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(reader));
    assert!(matches!(Archive::from_file(file, Path::new("-")).unwrap(), Opened::Pipe(_)));
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &Fixture::with_files(&[("manifest.json", b"[]")]).bytes()).unwrap();
    assert!(matches!(Archive::from_file(file, Path::new("-")).unwrap(), Opened::Pipe(_)));
}

#[test]
fn a_truncated_archive_names_the_entry() {
    let tar = Fixture::with_files(&[("manifest.json", b"[]"), ("l/layer.tar", &[1; 5000])]).bytes();
    // Two headers, one block of manifest, ten of layer.
    for length in [1537, 6000, 6535] {
        let error = open(&tar[..length]).unwrap_err().to_string();
        let end = 1536 + 5000;
        assert_eq!(error, format!("X: truncated: entry l/layer.tar ends at byte {end}, the file at byte {length}"));
    }
    let error = full(&open(&tar[..1200]).unwrap_err());
    assert!(
        error.starts_with("X: damaged tar archive: at byte 1200: unexpected end of the archive in a header"),
        "{error}"
    );
    for length in [1024, 6536, 6656, 7168, 7680] {
        assert!(matches!(open(&tar[..length]).unwrap(), Opened::Archive(_)), "{length}");
    }
}

#[test]
fn a_size_beyond_any_file_is_a_truncation() {
    let mut tar = Fixture::with_files(&[("manifest.json", b"[]"), ("huge", b"")]).bytes();
    let header = &mut tar[1024..1536];
    header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let error = open(&tar).unwrap_err().to_string();
    assert!(error.starts_with("X: truncated: entry huge ends at byte 9223372036854777343"), "{error}");
}

#[test]
fn damage_behind_the_first_header_has_a_place() {
    let mut tar = Fixture::with_files(&[("manifest.json", b"[]"), ("a", b"")]).bytes();
    tar[1024] ^= 1;
    let error = full(&open(&tar).unwrap_err());
    assert!(error.starts_with("X: damaged tar archive: at byte 1024: invalid tar header: checksum"), "{error}");
}

#[test]
fn a_member_that_leaves_the_archive_is_refused_in_an_image_archive_only() {
    let error = open(&Fixture::with_files(&[("../x", b""), ("manifest.json", b"[]")]).bytes()).unwrap_err();
    assert_eq!(error.to_string(), "../x: name leaves the archive");
    assert!(matches!(open(&Fixture::with_files(&[("../x", b"")]).bytes()).unwrap(), Opened::LayerTar(_)));
}

#[test]
fn names_and_duplicates_as_an_unpacked_archive_would_have_them() {
    let archive = Fixture::with_files(&[
        ("./manifest.json", b"junk"),
        ("manifest.json", MANIFEST),
        ("dir//real.json", b"{}"),
        ("layer.tar", b"old"),
    ])
    .entry("hard.json", tar::EntryType::Link, "./dir/real.json", b"")
    .symlink("c.json", "/hard.json")
    .file("layer.tar", b"new")
    .open();
    let images = archive.images(&Select::default()).unwrap().images;
    assert_eq!(&*images[0].config, b"{}");
    assert_eq!(bytes_of(&archive, &images[0].layers[0]), b"new");
}

#[test]
fn a_directory_is_read_like_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let error = Archive::open(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("not an image archive (docker save before 1.10, or a plain root file system)"));
    std::fs::write(
        dir.path().join("manifest.json"),
        br#"[{"Config":"c.json","Layers":["layer.tar","up","fifo","sub","loop"]}]"#,
    )
    .unwrap();
    let Opened::Archive(archive) = Archive::open(dir.path()).unwrap() else { panic!() };
    assert_eq!(archive.images(&Select::default()).unwrap_err().to_string(), "c.json: not in the archive");
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/real.json"), b"{}").unwrap();
    std::fs::write(dir.path().join("layer.tar"), b"layer").unwrap();
    symlink("/sub/real.json", dir.path().join("c.json")).unwrap();
    symlink("/etc/passwd", dir.path().join("up")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let image = archive.images(&Select::default()).unwrap().images.remove(0);
    assert_eq!(&*image.config, b"{}");
    assert_eq!(bytes_of(&archive, &image.layers[0]), b"layer");
    let messages: Vec<String> =
        image.layers[1..].iter().map(|layer| archive.layer(layer).unwrap_err().to_string()).collect();
    let expected = [
        "up: not in the archive",
        "fifo: is a device or named pipe, not a file",
        "sub: is a directory, not a file",
        "loop: symbolic links lead to each other, or there are too many",
    ];
    assert_eq!(messages, expected);
    File::options().append(true).open(dir.path().join("manifest.json")).unwrap().set_len(MAX_JSON + 1).unwrap();
    let error = archive.images(&Select::default()).unwrap_err().to_string();
    assert_eq!(error, "manifest.json: 8388609 bytes are more than the 8388608 allowed for a JSON file");
}

proptest::proptest! {
    /// Whatever a file holds, opening it ends with an answer; a damaged archive never panics.
    #[test]
    fn damage_never_panics(at in 0usize..4096, byte: u8, length in 0usize..8192) {
        let mut tar = Fixture::with_files(&[("c.json", b"{}"), ("layer.tar", b"x"), ("manifest.json", MANIFEST)]).bytes();
        let at = at % tar.len();
        tar[at] = byte;
        tar.truncate(length);
        if let Ok(Opened::Archive(archive)) = open(&tar)
            && let Ok(contents) = archive.images(&Select::default())
        {
            for layer in contents.images.iter().flat_map(|image| &image.layers) {
                let _blob = archive.layer(layer);
            }
        }
    }
}

/// A layer is not read to its end only to find that no manifest is in it.
#[test]
fn a_long_tar_without_a_familiar_name_is_a_layer() {
    let tar = |foreign: usize, familiar: &'static str| {
        let names: Vec<String> = (0..foreign).map(|number| format!("usr/share/doc/{number}")).collect();
        let mut members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        members.insert(0, (familiar, b"x"));
        members.push(("manifest.json", MANIFEST));
        Fixture::with_files(&members).bytes()
    };
    assert!(matches!(open(&tar(254, "etc/passwd")).unwrap(), Opened::Archive(_)));
    assert!(matches!(open(&tar(255, "etc/passwd")).unwrap(), Opened::LayerTar(_)));
    for familiar in
        ["repositories", "./blobs/sha256/x", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/VERSION"]
    {
        assert!(matches!(open(&tar(400, familiar)).unwrap(), Opened::Archive(_)), "{familiar}");
    }
}
