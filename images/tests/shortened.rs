//! An archive that becomes shorter while it is unpacked gives an error that names the layer and the byte, and nothing
//! is left.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use images::load::{self, Announced, ImportError, ImportOptions, ImportRequest, Observer};
use images::source::{Archive, Select};
use images::unpack::{self, UnpackForm};

/// Cuts a file when the first layer begins.
struct Cut<'a>(&'a Path, u64);

impl Observer for Cut<'_> {
    fn begin(&self, _layer: usize, _announced: &Announced<'_>) {
        File::options().write(true).open(self.0).unwrap().set_len(self.1).unwrap();
    }
}

/// The error of `unpack` with an archive that is cut to a part of its length on the way.
fn cut(golden: &str, unpack: impl Fn(Archive, &Path, &ImportRequest<'_>) -> Result<(), ImportError>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let whole = std::fs::read(Path::new("../testdata/goldens").join(golden)).unwrap();
    let interrupted = AtomicBool::new(false);
    for threads in [1, 2] {
        // Most of the archive belongs to one layer.
        for parts in 1..8 {
            let length = whole.len() as u64 * parts / 8;
            std::fs::write(&path, &whole).unwrap();
            let to = dir.path().join("to");
            let opened = Archive::open(&path).unwrap();
            let images::source::Opened::Archive(archive) = opened else { panic!("{golden} is an image archive") };
            let (options, observer, select) = (
                ImportOptions { threads, sync: false, ..ImportOptions::new(&interrupted) },
                Cut(&path, length),
                Select::default(),
            );
            let request = ImportRequest { archive: &path, select: &select, options: &options, observer: &observer };
            let error = unpack(archive, &to, &request).unwrap_err();
            assert!(matches!(error, ImportError::Layer { .. }), "{golden} {parts}: {error:?}");
            let told = messages(&error);
            // The byte in the message is the new end of the file, or the start of a layer that is behind it.
            let byte = told.rsplit_once("it ends before byte ").and_then(|(_, byte)| byte.parse::<u64>().ok());
            assert!(byte.is_some_and(|byte| (length..whole.len() as u64).contains(&byte)), "{golden} {parts}: {told}");
            assert!(!to.exists(), "{golden} {parts}: something is left");
        }
    }
}

fn messages(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

const GOLDENS: [&str; 3] = ["busybox-20.10.tar", "oci-skopeo-gzip.tar", "oci-skopeo-zstd.tar"];

#[test]
fn trees_are_not_half_unpacked() {
    for golden in GOLDENS {
        cut(golden, |archive, to, request| {
            let opened = images::source::Opened::Archive(archive);
            unpack::unpack(opened, to, UnpackForm::Rootfs, request).map(drop)
        });
    }
}

#[test]
fn root_stores_are_not_touched() {
    if !testkit::tier("root", rustix::process::geteuid().is_root(), "run as root") {
        return;
    }
    for golden in GOLDENS {
        cut(golden, |archive, to: &Path, request| {
            load::import(images::source::Opened::Archive(archive), &PathBuf::from(to), request).map(drop)
        });
    }
}
