//! The pipeline itself: threads that wait for each other, and what they make of one layer.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::io::{self, Read, Write};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use layerfs::Source;
use layerfs::apply::{WhiteoutMode, XattrNamespace};
use support::How;
use testkit::tree;

fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
}

/// 24 MB of files, with hard links to recent ones in between: each waits for all bodies before it.
fn layer_with_hard_links() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for number in 0..120 {
        append(
            &mut builder,
            &format!("d{}/file{number}", number % 7),
            &content[number * 1000..number * 1000 + 200_000],
        );
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        header.set_mode(0o600);
        builder.append_link(&mut header, format!("link{number}"), format!("d{}/file{number}", number % 7)).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A reader that is ahead waits for the pass, and the pass, at a hard link, must not wait for the reader.
#[test]
fn root_hard_links_in_a_stream_do_not_wait_for_the_reader() {
    if !testkit::is_root() {
        return;
    }
    let layer = layer_with_hard_links();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer).unwrap();
    // What follows the last gzip member is no content of the layer, but belongs to the digest of the blob.
    let gzip = [gzip.finish().unwrap(), vec![7; 300_000]].concat();
    let sha256 = |bytes: &[u8]| {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut trees = Vec::new();
    for (bytes, threads, stream) in [
        (&layer, 1, false),
        (&layer, 2, true),
        (&gzip, 2, true),
        (&gzip, 8, true),
        (&gzip, 1, false),
        (&gzip, 2, false),
        (&gzip, 8, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let how = How { threads, stream, whiteouts: OVERLAY };
        let unpacked = support::unpack(bytes, dir.path(), how).unwrap();
        assert_eq!(unpacked.diff_id.0.hex(), sha256(&layer));
        assert_eq!(sha256(&support::replay(dir.path()).unwrap()), sha256(&layer));
        let is_blob = !stream && bytes.starts_with(b"\x1f\x8b");
        assert_eq!(unpacked.blob_digest.map(|digest| digest.hex()), is_blob.then(|| sha256(bytes)));
        let mut tree = tree::walk(&dir.path().join("diff"));
        // Directories that no member describes have the time of unpacking.
        tree.iter_mut().filter(|entry| entry.kind == 'd').for_each(|entry| entry.mtime = None);
        trees.push(tree);
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(trees[0].iter().filter(|entry| entry.links == 2 && entry.mode == 0o600).count(), 240);
}

const OVERLAY: WhiteoutMode = WhiteoutMode::Overlay(XattrNamespace::Trusted);

/// A reader that gives little at a time, is interrupted now and then, and at the end does what `ending` says.
struct Grudging<'a, E> {
    bytes: &'a [u8],
    reads: usize,
    ending: E,
}

impl<E: Fn() -> io::Result<usize>> Read for Grudging<'_, E> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.bytes.is_empty() {
            return (self.ending)();
        }
        let most = output.len().min(self.reads * 7919 % 100_000);
        self.bytes.read(&mut output[..most.max(1)])
    }
}

#[test]
fn root_what_is_read_is_unpacked_as_what_is_in_memory() {
    if !testkit::is_root() {
        return;
    }
    let layer = layer_with_hard_links();
    let mut zstd = Vec::new();
    zstd::stream::copy_encode(layer.as_slice(), &mut zstd, 1).unwrap();
    let trees = [1, 2, 8].map(|threads| {
        let how = How { threads, stream: false, whiteouts: OVERLAY };
        let plain = Grudging { bytes: &layer, reads: 0, ending: || Ok(0) };
        let blob = Grudging { bytes: &zstd, reads: 0, ending: || Ok(0) };
        [Source::Slice(&layer), Source::Plain(Box::new(plain)), Source::Blob(Box::new(blob))].map(|source| {
            let dir = tempfile::tempdir().unwrap();
            let unpacked = support::unpack_source(source, dir.path(), how).unwrap();
            assert_eq!(support::replay(dir.path()).unwrap(), layer);
            let mut tree = tree::walk(&dir.path().join("diff"));
            tree.iter_mut().filter(|entry| entry.kind == 'd').for_each(|entry| entry.mtime = None);
            (unpacked.diff_id, unpacked.tar_bytes, unpacked.members, unpacked.size, tree)
        })
    });
    assert!(trees.as_flattened().windows(2).all(|pair| pair[0] == pair[1]));
}

/// Panics late, when all other threads wait for the reader.
fn late_panic() -> io::Result<usize> {
    std::thread::sleep(Duration::from_millis(50));
    panic!("the reader has a fault");
}

/// Whatever ends the reading, nobody waits for more of it.
#[test]
fn root_a_reader_that_fails_or_panics_ends_the_unpacking() {
    if !testkit::is_root() {
        return;
    }
    let layer = layer_with_hard_links();
    let how = How { threads: 2, stream: false, whiteouts: OVERLAY };
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for length in [0, 1 << 20, 10 << 20] {
            let unpack = |ending: fn() -> io::Result<usize>| {
                let reader = Grudging { bytes: &layer[..length], reads: 0, ending };
                let dir = tempfile::tempdir().unwrap();
                support::unpack_source(Source::Plain(Box::new(reader)), dir.path(), how)
            };
            let failed = unpack(|| Err(io::Error::other("the cable is out"))).unwrap_err();
            assert!(matches!(failed, layerfs::UnpackError::Read { .. }), "{failed:?}");
            let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| unpack(late_panic)));
            assert!(panicked.is_err());
        }
        send.send(()).unwrap();
    });
    receive.recv_timeout(Duration::from_secs(60)).expect("no thread waits for ever");
}
