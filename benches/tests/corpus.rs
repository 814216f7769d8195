//! The corpus: the same bytes always, archives that everybody reads, the figures of its tables.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use benches::corpus::{self, CorpusCompression, CorpusFormat, CorpusKind, CorpusOptions, Written};
use layerfs::Digest;
use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::compress::Decompressor;
use layerfs::{Source, Unpacking};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use tar::EntryType;
use tempfile::TempDir;

const KINDS: [CorpusKind; 6] = [
    CorpusKind::ManySmall,
    CorpusKind::FewLarge,
    CorpusKind::Typical,
    CorpusKind::DeepAndWide,
    CorpusKind::HundredLayers,
    CorpusKind::OneLarge,
];
const COMPRESSIONS: [CorpusCompression; 5] = [
    CorpusCompression::None,
    CorpusCompression::Gzip,
    CorpusCompression::Zstd,
    CorpusCompression::Pigz,
    CorpusCompression::Members,
];

fn options(kind: CorpusKind) -> CorpusOptions {
    // Small enough to be quick, large enough that every part of a kind is there.
    let scale = if kind == CorpusKind::Typical { 0.01 } else { 0.003 };
    CorpusOptions { kind, scale, seed: 1, format: CorpusFormat::Docker, compression: CorpusCompression::None }
}

/// A corpus in a scratch directory, with what was said of its layers.
struct Made {
    _dir: TempDir,
    path: PathBuf,
    layers: BTreeMap<usize, Written>,
}

fn make(options: &CorpusOptions) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corpus.tar");
    let mut layers = BTreeMap::new();
    corpus::make(options, &path, &mut |number, layer| {
        layers.insert(number, *layer);
    })
    .unwrap();
    Made { _dir: dir, path, layers }
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    /// The archive's files by name.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = self.bytes();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    /// The layers as stored, base first.
    fn layers(&self) -> Vec<Vec<u8>> {
        let mut files = self.files();
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let paths = manifest[0]["Layers"].as_array().unwrap();
        paths.iter().map(|path| files.remove(path.as_str().unwrap()).unwrap()).collect()
    }
}

fn decoded(stored: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    Decompressor::new(Box::new(stored) as Box<_>).unwrap().read_to_end(&mut tar).unwrap();
    tar
}

/// Whether a compression can be tried here.
fn possible(compression: CorpusCompression) -> bool {
    let there = compression != CorpusCompression::Pigz || Command::new("pigz").arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: pigz is not installed");
    }
    there
}

#[test]
fn the_same_arguments_make_the_same_bytes() {
    for kind in KINDS {
        let options = options(kind);
        let made = make(&options).bytes();
        assert!(made == make(&options).bytes(), "{kind} differs from itself");
        assert!(made != make(&CorpusOptions { seed: 2, ..options }).bytes(), "{kind} is the same with another seed");
    }
    for compression in COMPRESSIONS.into_iter().filter(|&compression| possible(compression)) {
        let options = CorpusOptions { compression, format: CorpusFormat::Oci, ..options(CorpusKind::Typical) };
        assert!(make(&options).bytes() == make(&options).bytes(), "{compression:?} differs from itself");
    }
}

/// The bytes are the same on every machine and from one version to the next, so that figures can be compared. Whoever
/// changes the generator on purpose changes this, and measures again.
#[test]
fn the_bytes_are_those_of_the_last_version() {
    let tar = make(&options(CorpusKind::Typical)).bytes();
    assert_eq!(Digest::hash(&tar).short(), "24935a836760");
}

#[test]
fn gnu_tar_reads_every_kind() {
    for kind in KINDS {
        let made = make(&options(kind));
        for (number, layer) in made.layers().iter().enumerate() {
            let path = made.path.with_extension("layer");
            std::fs::write(&path, layer).unwrap();
            let output = Command::new("tar").arg("-tf").arg(&path).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{kind}, layer {number}: {output:?}");
            let names = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(names as u64, made.layers[&number].members, "{kind}, layer {number}");
        }
    }
}

#[test]
fn docker_archives_say_the_digests_of_their_layers() {
    for compression in [CorpusCompression::None, CorpusCompression::Gzip] {
        let made = make(&CorpusOptions { compression, ..options(CorpusKind::Typical) });
        let files = made.files();
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let name = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(name, format!("{}.json", Digest::hash(&files[name]).hex()));
        let config: Value = serde_json::from_slice(&files[name]).unwrap();
        let diff_ids: Vec<String> =
            made.layers().iter().map(|layer| Digest::hash(&decoded(layer)).to_string()).collect();
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(diff_ids));
        assert_eq!(diff_ids.len(), 7);
        let said: Vec<String> = made.layers.values().map(|layer| layer.diff_id.to_string()).collect();
        assert_eq!(said, diff_ids);
    }
}

#[test]
fn oci_layouts_say_the_digests_of_their_layers() {
    for compression in COMPRESSIONS.into_iter().filter(|&compression| possible(compression)) {
        let made = make(&CorpusOptions { compression, format: CorpusFormat::Oci, ..options(CorpusKind::Typical) });
        let files = made.files();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let blob = &files[&digest.replace("sha256:", "blobs/sha256/")];
            assert_eq!(Digest::hash(blob).to_string(), digest);
            assert_eq!(descriptor["size"], blob.len());
            blob
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "typical-1");
        let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        let kind = match compression {
            CorpusCompression::None => "application/vnd.oci.image.layer.v1.tar",
            CorpusCompression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            _ => "application/vnd.oci.image.layer.v1.tar+gzip",
        };
        let mut diff_ids = Vec::new();
        for layer in manifest["layers"].as_array().unwrap() {
            assert_eq!(layer["mediaType"], kind);
            diff_ids.push(Digest::hash(&decoded(blob(layer))).to_string());
        }
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(diff_ids));
    }
}

#[test]
fn a_bare_layer_is_the_one_of_the_image() {
    let whole = make(&options(CorpusKind::OneLarge)).layers().remove(0);
    for compression in COMPRESSIONS.into_iter().filter(|&compression| possible(compression)) {
        let bare =
            make(&CorpusOptions { compression, format: CorpusFormat::Layer, ..options(CorpusKind::OneLarge) }).bytes();
        assert!(decoded(&bare) == whole, "{compression:?}");
        let members = bare.windows(4).filter(|&four| four == b"\x1f\x8b\x08\x00").count();
        match compression {
            // Random bytes may look like a beginning, hardly ever twice.
            CorpusCompression::Gzip | CorpusCompression::Pigz => {
                assert!((1..3).contains(&members), "{compression:?}: {members}");
            }
            CorpusCompression::Members => assert!(members >= whole.len().div_ceil(1 << 20), "{members}"),
            CorpusCompression::None | CorpusCompression::Zstd => {}
        }
    }
    let several = CorpusOptions { format: CorpusFormat::Layer, ..options(CorpusKind::Typical) };
    let dir = tempfile::tempdir().unwrap();
    let refused = corpus::make(&several, &dir.path().join("out"), &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.to_string(), "typical has 7 layers: no bare layer can hold them");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn typical_follows_the_tables() {
    let made = make(&CorpusOptions { scale: 0.1, ..options(CorpusKind::Typical) });
    let (mut sizes, mut links, mut directories, mut hard) = (Vec::new(), 0u64, 0u64, 0u64);
    let (mut whiteouts, mut opaque, mut capable, mut set_id, mut others) = (0, 0, 0, 0, 0);
    for layer in made.layers() {
        let mut archive = tar::Archive::new(layer.as_slice());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let records = entry.pax_extensions().unwrap();
            let is_capability = |record: &tar::PaxExtension<'_>| record.key() == Ok("SCHILY.xattr.security.capability");
            capable += records.into_iter().flatten().filter(|record| is_capability(record.as_ref().unwrap())).count();
            let name = entry.path().unwrap().file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            whiteouts += usize::from(name.starts_with(".wh.") && name != ".wh..wh..opq");
            opaque += usize::from(name == ".wh..wh..opq");
            set_id += usize::from(entry.header().mode().unwrap() & 0o6000 != 0 && entry.size() > 0);
            others += usize::from(entry.header().uid().unwrap() != 0);
            match entry.header().entry_type() {
                EntryType::Regular if !name.starts_with(".wh.") => sizes.push(entry.size()),
                EntryType::Symlink => links += 1,
                EntryType::Directory => directories += 1,
                EntryType::Link => hard += 1,
                _ => {}
            }
        }
    }
    sizes.sort_unstable();
    let close = |what: &str, is: u64, measured: u64, percent: u64| {
        assert!(is.abs_diff(measured) * 100 <= measured * percent, "{what}: {is}, measured {measured}");
    };
    // A tenth of what was measured.
    close("files", sizes.len() as u64, 63_231 / 10, 3);
    close("symlinks", links, 5_746 / 10, 5);
    close("directories", directories, 6_219 / 10, 25);
    close("bytes", sizes.iter().sum(), 1_427_897_431 / 10, 5);
    close("empty files", sizes.iter().filter(|&&size| size == 0).count() as u64, 6_604 / 10, 5);
    close("files below 4 KiB", sizes.iter().filter(|&&size| size < 4_096).count() as u64, 43_950 / 10, 5);
    close("median size", sizes[sizes.len() / 2], 1_750, 15);
    for (what, count) in [("hard links", hard as usize), ("whiteouts", whiteouts), ("opaque directories", opaque)] {
        assert!(count > 0, "no {what}");
    }
    for (what, count) in [("capabilities", capable), ("setuid files", set_id), ("files of others", others)] {
        assert!(count > 0, "no {what}");
    }
}

#[test]
fn the_deepest_paths_can_still_be_walked() {
    let made = make(&options(CorpusKind::DeepAndWide));
    let layer = made.layers().remove(0);
    let mut archive = tar::Archive::new(layer.as_slice());
    let lengths = archive.entries().unwrap().map(|entry| entry.unwrap().path_bytes().len());
    let longest = lengths.max().unwrap();
    assert!((3_700..3_840).contains(&longest), "{longest}");
}

/// Unpacks a layer as the user who runs the test.
fn unpack(tar: &[u8], dir: &Path) -> layerfs::Unpacked {
    let open = |path: &Path| rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let diff = dir.join("diff");
    std::fs::create_dir(&diff).unwrap();
    let target = Target {
        root: open(&diff),
        scratch: open(dir),
        whiteouts: WhiteoutMode::Record,
        ownership: Ownership::Caller,
        defer_directories: false,
    };
    Unpacking::begin(Source::Slice(tar), target, None).unwrap().run(1).unwrap()
}

#[test]
fn every_kind_can_be_unpacked() {
    for kind in KINDS {
        let made = make(&options(kind));
        // Of a hundred like each other, a few: each fifth changes what is below it.
        let layers = made.layers().into_iter().enumerate().filter(|(number, _)| *number < 7 || number % 20 == 19);
        for (number, tar) in layers {
            let dir = tempfile::tempdir().unwrap();
            let unpacked = unpack(&tar, dir.path());
            let said = made.layers[&number];
            assert_eq!((unpacked.diff_id.0, unpacked.members), (said.diff_id, said.members), "{kind}, layer {number}");
        }
    }
}
