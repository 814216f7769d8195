//! Archives made here, and those of real tools.

mod docker;
mod golden;
mod oci;
mod opening;

use std::fs::File;
use std::path::{Path, PathBuf};

use layerfs::compress::Compression;

use super::*;

/// A tar in the making.
struct Fixture(tar::Builder<Vec<u8>>);

impl Fixture {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// The archive with these files.
    fn with_files(files: &[(&str, &[u8])]) -> Self {
        files.iter().fold(Self::new(), |fixture, (name, data)| fixture.file(name, data))
    }

    fn entry(mut self, name: &str, kind: tar::EntryType, target: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        // The names are put in by hand, because the builder cleans them.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(name, tar::EntryType::Regular, "", data)
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Symlink, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn open(self) -> Archive {
        match open(&self.bytes()).unwrap() {
            Opened::Archive(archive) => archive,
            other => panic!("{other:?}"),
        }
    }

    fn images(self) -> Result<SourceContents, ArchiveError> {
        self.open().images(&Select::default())
    }

    fn error(self) -> String {
        full(&self.images().unwrap_err())
    }
}

/// Opens a file with this content, called `X` in messages.
fn open(bytes: &[u8]) -> Result<Opened, ArchiveError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("X");
    std::fs::write(&path, bytes).unwrap();
    Archive::from_file(File::open(&path).unwrap(), Path::new("X"))
}

/// The message with all causes.
fn full(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", full(source)))
}

fn select(platform: &str) -> Select {
    Select { platform: Some(platform.parse().unwrap()), ..Select::default() }
}

/// The bytes of a layer in a file.
fn bytes_of(archive: &Archive, layer: &LayerRef) -> Vec<u8> {
    match archive.layer(layer).unwrap() {
        LayerBytes::File(blob) => blob.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// The names that cannot be used, and whether dockerd loads the image without them.
fn unusable(image: &SourceImage) -> Vec<(String, bool)> {
    image.unusable_names.iter().map(|name| (full(name), name.is_left_out_by_docker())).collect()
}

fn familiar(image: &SourceImage) -> Vec<String> {
    image.tags.iter().map(snapshot::reference::Reference::familiar).collect()
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/goldens")
}
