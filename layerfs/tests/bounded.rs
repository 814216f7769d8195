//! Memory does not grow with what is read. This test is alone in its process, because it looks at the process's peak.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::io::{Read, Write};

use layerfs::Source;
use layerfs::apply::{WhiteoutMode, XattrNamespace};
use support::How;

/// The most memory that this process had.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// The decoder passes over what follows a gzip stream in one go, and all of it belongs to the blob's digest.
#[test]
fn root_what_follows_a_stream_is_hashed_and_not_kept() {
    if !testkit::is_root() {
        return;
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&[0; 1024]).unwrap();
    let gzip = gzip.finish().unwrap();
    const GARBAGE: u64 = 1 << 30;
    let mut expected = layerfs::Hasher::default();
    expected.update(&gzip);
    let piece = vec![7; 1 << 20];
    (0..GARBAGE >> 20).for_each(|_| expected.update(&piece));
    let expected = expected.finish();
    for threads in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let how = How { threads, stream: false, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted) };
        let blob = gzip.as_slice().chain(std::io::repeat(7).take(GARBAGE));
        let unpacked = support::unpack_source(Source::Blob(Box::new(blob)), dir.path(), how).unwrap();
        assert_eq!(unpacked.blob_digest, Some(expected), "{threads}");
        assert!(peak() < 64 << 20, "{threads}: {} MiB", peak() >> 20);
    }
}
