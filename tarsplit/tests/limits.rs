//! Bounds of `tarsplit::limits` that no honest archive or journal reaches.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tarsplit::JournalError;
use tarsplit::frame::Framer;
use tarsplit::journal::EntryReader;
use tarsplit::limits::{MAX_EXTENSIONS_PER_MEMBER, MAX_JOURNAL_ENTRY};

/// A header block without a body.
fn header(kind: u8) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path("name").unwrap();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn extension_headers_before_one_member_are_counted() {
    let refused = |count: u32| {
        let mut tar = header(b'x').repeat(count as usize);
        tar.extend(header(b'0'));
        let (mut framer, mut at) = (Framer::new(), 0);
        loop {
            match framer.next(&tar[at..]) {
                Ok((taken, Some(_))) => at += taken,
                Ok((_, None)) => return None,
                Err(error) => return Some(error.to_string()),
            }
        }
    };
    assert_eq!(refused(MAX_EXTENSIONS_PER_MEMBER), None);
    let said = refused(MAX_EXTENSIONS_PER_MEMBER + 1).unwrap();
    assert!(said.contains("too many extension headers before one member"), "{said}");
}

#[test]
fn a_journal_s_entry_that_never_ends_is_refused() {
    let mut journal = tarsplit::journal::gzip(Vec::new());
    let piece = [b'A'; 1 << 16];
    std::io::Write::write_all(&mut journal, b"{\"type\":2,\"payload\":\"").unwrap();
    for _ in 0..=2 * MAX_JOURNAL_ENTRY / piece.len() {
        std::io::Write::write_all(&mut journal, &piece).unwrap();
    }
    let journal = journal.finish().unwrap();
    let error = EntryReader::new(journal.as_slice()).next().unwrap().unwrap_err();
    assert!(matches!(error, JournalError::EntryTooLong { entry: 0, limit: MAX_JOURNAL_ENTRY }), "{error:?}");
}
