//! Headers that Go's `archive/tar` refuses or takes for reasons of its own: reports from the field, and their siblings.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::path::Path;

use tarsplit::frame::{Frame, Framer};
use tarsplit::{Member, TarErrorKind};

fn field_case(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/field-cases").join(name)).unwrap()
}

/// The members of a tar, up to the first error.
fn members(tar: &[u8]) -> (Vec<Member>, Option<TarErrorKind>) {
    let (mut framer, mut at, mut members) = (Framer::new(), 0, Vec::new());
    loop {
        match framer.next(&tar[at..]) {
            Err(error) => return (members, Some(error.kind)),
            Ok((_, None)) => return (members, framer.finish().err().map(|error| error.kind)),
            Ok((taken, frame)) => {
                at += taken;
                if let Some(Frame::Member(member)) = frame {
                    members.push(*member);
                }
            }
        }
    }
}

/// One header block in GNU's dialect, with its checksum made right.
fn header(typeflag: u8, name: &[u8], size: &[u8; 12]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(size);
    block[156] = typeflag;
    block[257..265].copy_from_slice(b"ustar  \0");
    sum(&mut block);
    block
}

fn sum(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An `x` header with these records.
fn pax(records: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}\0", records.len());
    let mut all = header(b'x', b"PaxHeaders/0", size.as_bytes().try_into().unwrap());
    all.extend_from_slice(records);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

/// Minus one in base 256.
const NEGATIVE: &[u8; 12] = &[0xff; 12];

#[test]
fn a_negative_size_is_refused_whatever_pax_says() {
    let (found, error) = members(&field_case("negative-size-with-pax-size.tar"));
    assert!(matches!(error, Some(TarErrorKind::NegativeSize { .. })), "{error:?} after {found:?}");

    // Types without a body are those of Go's `isHeaderOnlyType`; their size is not looked at. The size of a member that
    // is a directory only by its name is.
    let zero = pax(b"10 size=0\n");
    for (typeflag, name, refused) in [
        (b'0', &b"f"[..], true),
        (0, b"f", true),
        (0, b"d/", true),
        (b'7', b"f", true),
        (b'x', b"f", true),
        (b'g', b"f", true),
        (b'L', b"f", true),
        (b'K', b"f", true),
        (b'1', b"f", false),
        (b'2', b"f", false),
        (b'3', b"f", false),
        (b'4', b"f", false),
        (b'5', b"d/", false),
        (b'6', b"f", false),
    ] {
        for tar in [header(typeflag, name, NEGATIVE), [&zero[..], &header(typeflag, name, NEGATIVE)].concat()] {
            let (found, error) = members(&tar);
            let type_name = char::from(typeflag);
            if refused {
                assert_eq!(error, Some(TarErrorKind::NegativeSize { found: -1 }), "{type_name:?}");
            } else {
                assert_eq!((found.len(), error), (1, None), "{type_name:?}");
                assert_eq!(found[0].size, 0);
            }
        }
    }
    // A record with a negative size is refused, too, although the header's size is not negative.
    let tar = [pax(b"11 size=-1\n"), header(b'0', b"f", b"00000000000\0")].concat();
    assert_eq!(members(&tar).1, Some(TarErrorKind::NegativeSize { found: -1 }));
}

#[test]
fn records_of_a_pax_map_before_an_old_gnu_map_do_not_count() {
    let (found, error) = members(&field_case("pax-sparse-records-before-old-gnu-s.tar"));
    assert_eq!(error, None);
    assert!(found.iter().any(|member| member.sparse.is_some()), "{found:?}");

    let map = |size: &[u8; 12]| {
        let mut block = header(b'S', b"sparse", b"00000000000\0");
        block[483..495].copy_from_slice(size);
        sum(&mut block);
        block
    };
    let without = members(&map(b"00000000010\0")).0;
    assert_eq!((without[0].size, without[0].stored), (8, 0));
    for records in [
        &b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"[..],
        b"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n",
        b"22 GNU.sparse.major=9\n",
        b"22 GNU.sparse.map=1,x\n",
        b"27 GNU.sparse.numblocks=-1\n",
        b"22 GNU.sparse.name=no\n",
        b"24 GNU.sparse.size=junk\n",
    ] {
        let (found, error) = members(&[pax(records), map(b"00000000010\0")].concat());
        assert_eq!(error, None, "{}", records.escape_ascii());
        assert_eq!((found[0].size, &found[0].name), (8, &b"sparse".to_vec()), "{}", records.escape_ascii());
    }
    // Before any other member, such records still count.
    let tar = [pax(b"22 GNU.sparse.map=1,x\n"), header(b'0', b"f", b"00000000000\0")].concat();
    assert_eq!(members(&tar).1, Some(TarErrorKind::SparseMap));
}

/// 41 kB of gzip that once took half a minute: maps in front of the body, each as long as a map may be.
#[test]
fn a_map_in_front_of_the_body_is_read_once() {
    let mut tar = Vec::new();
    let packed = field_case("sparse-dos-layer.tar.gz");
    flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut tar).unwrap();
    let started = std::time::Instant::now();
    let (found, error) = members(&tar);
    // Before the fix this took thirty times as long; `fuzz/targets/tests/linear.rs` counts instructions.
    assert!(started.elapsed().as_secs() < 30, "{:?} for {} bytes", started.elapsed(), tar.len());
    assert_eq!((error, found.is_empty()), (None, false));
}
