//! The pipeline itself: threads that wait for each other, and what they make of one layer.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::io::Write;

use layerfs::apply::{WhiteoutMode, XattrNamespace};
use support::{How, tree};

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
    if !support::is_root() {
        return;
    }
    let layer = layer_with_hard_links();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer).unwrap();
    // Behind the last member comes what no decoder reads, and the digest of the blob is over that, too.
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
        let how = How { threads, stream, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted) };
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
