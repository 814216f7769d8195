use std::io::{BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// Runs `tool` over `input`; `None` where it is not installed.
fn pipe(tool: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(tool).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: {tool} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{tool}");
    Some(output.stdout)
}

fn decode_as(compression: Compression, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    Decompressor::with_compression(data, compression)?.read_to_end(&mut output)?;
    Ok(output)
}

fn decode(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoder = Decompressor::new(data)?;
    let mut output = Vec::new();
    decoder.read_to_end(&mut output)?;
    assert_eq!(decoder.consumed(), data.len() as u64);
    Ok(output)
}

/// Gives one byte at a time, so that every boundary falls between two buffers.
fn decode_bytewise(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoder = Decompressor::new(BufReader::with_capacity(1, data))?;
    let (mut output, mut byte) = (Vec::new(), [0]);
    while decoder.read(&mut byte)? == 1 {
        output.push(byte[0]);
    }
    Ok(output)
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn sample() -> Vec<u8> {
    (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[..(n % 4) as usize].to_vec()).collect()
}

const TOOLS: [(&str, &[&str], Compression); 6] = [
    ("gzip", &["-c"], Compression::Gzip),
    ("bzip2", &["-c"], Compression::Bzip2),
    ("xz", &["-c"], Compression::Xz),
    ("xz", &["-c", "-C", "sha256", "-0"], Compression::Xz),
    ("zstd", &["-c", "--check"], Compression::Zstd),
    ("zstd", &["-c", "--no-check", "-19"], Compression::Zstd),
];

#[test]
fn what_the_tools_write_is_read_whole_and_in_pieces() {
    for data in [&b""[..], b"x", &sample()] {
        for (tool, args, compression) in TOOLS {
            let Some(packed) = pipe(tool, args, data) else { continue };
            assert_eq!(Compression::sniff(&packed), compression);
            assert!(decode(&packed).unwrap() == data, "{tool} {}", data.len());
            assert!(decode_bytewise(&packed).unwrap() == data, "{tool} {}", data.len());
            let twice = [&packed[..], &packed].concat();
            assert!(decode(&twice).unwrap() == [data, data].concat(), "{tool} {} twice", data.len());
            assert!(decode_bytewise(&twice).unwrap() == [data, data].concat(), "{tool} {} twice", data.len());
        }
    }
}

#[test]
fn every_truncation_is_an_unexpected_end() {
    for (tool, args, compression) in TOOLS {
        let Some(packed) = pipe(tool, args, b"some text, some more text") else { continue };
        for length in 1..packed.len() {
            let error = decode_as(compression, &packed[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{tool} {length}: {error}");
            let expected =
                format!("{compression}: unexpected end of compressed data (after {length} compressed bytes)");
            assert_eq!(error.to_string(), expected);
            let second = [&packed[..], &packed[..length]].concat();
            match (tool, decode_as(compression, &second)) {
                ("gzip", Ok(_)) => assert_eq!(length, 1, "one byte is not yet gzip's magic"),
                (_, result) => assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{tool} {length}"),
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_changes_nothing() {
    let data = b"a layer, a layer, a kingdom for a layer";
    for (tool, args, compression) in TOOLS {
        if args.contains(&"--no-check") {
            continue;
        }
        let Some(packed) = pipe(tool, args, data) else { continue };
        for bit in 0..packed.len() * 8 {
            let mut damaged = packed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(output) = decode_as(compression, &damaged) {
                assert_eq!(output, data, "{tool}: bit {bit}");
            }
        }
    }
}

#[test]
fn magics_as_moby_knows_them() {
    let cases: &[(&[u8], Compression)] = &[
        (b"", Compression::None),
        (b"BZ", Compression::None),
        (b"BZh", Compression::Bzip2),
        (b"\x1f\x8b\x08", Compression::Gzip),
        (b"\x1f\x8b\x07", Compression::None),
        (b"\xfd7zXZ\0", Compression::Xz),
        (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        (b"\x50\x2a\x4d\x18\0\0\0\0", Compression::Zstd),
        (b"\x5f\x2a\x4d\x18\0\0\0\0", Compression::Zstd),
        (b"\x60\x2a\x4d\x18\0\0\0\0", Compression::None),
        (b"\x50\x2a\x4d\x18\0\0\0", Compression::None),
        (b"\x5d\0\0\x80\0", Compression::None),
    ];
    for (first_bytes, expected) in cases {
        assert_eq!(Compression::sniff(first_bytes), *expected, "{}", first_bytes.escape_ascii());
    }
}

/// A tar whose first member is called `BZhfile`; docker takes it for bzip2 and fails.
#[test]
fn a_tar_header_is_stronger_than_a_magic() {
    let mut block = [0; BLOCK];
    block[..7].copy_from_slice(b"BZhfile");
    block[156] = b'0';
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' ');
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let tar = [&block[..], &[0; 1024]].concat();
    assert_eq!(Compression::sniff(&tar), Compression::None);
    assert_eq!(Compression::sniff(&tar[..511]), Compression::Bzip2);
    assert_eq!(decode(&tar).unwrap(), tar);
    assert_eq!(decode_bytewise(&tar).unwrap(), tar, "the header is collected from a slow pipe");
}

#[test]
fn plain_data_passes_unchanged() {
    for data in [&b""[..], b"x", &sample()] {
        assert!(decode(data).unwrap() == data);
        assert!(decode_bytewise(data).unwrap() == data);
    }
}

#[test]
fn garbage_after_gzip_is_counted() {
    let packed = gzip(b"text");
    for garbage in [&b"garbage"[..], &[0; 512], b"\x1f", b"\x1f\x1f\x8b\x08", b"\x8b"] {
        let data = [&packed[..], garbage].concat();
        for capacity in [1, 4096] {
            let mut decoder = Decompressor::new(BufReader::with_capacity(capacity, &data[..])).unwrap();
            let mut output = String::new();
            decoder.read_to_string(&mut output).unwrap();
            assert_eq!(output, "text");
            assert_eq!(decoder.trailing_garbage(), Some(garbage.len() as u64));
            assert_eq!(decoder.consumed(), data.len() as u64);
        }
    }
    let mut decoder = Decompressor::new(&packed[..]).unwrap();
    io::copy(&mut decoder, &mut io::sink()).unwrap();
    assert_eq!(decoder.trailing_garbage(), None);
}

#[test]
fn a_second_member_must_be_whole_and_sound() {
    let packed = gzip(b"text");
    for (second, kind) in
        [(&b"\x1f\x8b"[..], io::ErrorKind::UnexpectedEof), (b"\x1f\x8bxyz", io::ErrorKind::InvalidData)]
    {
        let data = [&packed[..], second].concat();
        assert_eq!(decode(&data).unwrap_err().kind(), kind);
        assert_eq!(decode_bytewise(&data).unwrap_err().kind(), kind);
    }
}

#[test]
fn wrong_checksum_and_length_are_named() {
    let packed = gzip(b"text");
    let mut wrong_crc = packed.clone();
    wrong_crc[packed.len() - 8] ^= 1;
    let error = decode(&wrong_crc).unwrap_err();
    assert!(error.to_string().starts_with("gzip: incorrect data check"), "{error}");
    let mut wrong_length = packed.clone();
    wrong_length[packed.len() - 1] ^= 1;
    let error = decode(&wrong_length).unwrap_err();
    assert!(error.to_string().starts_with("gzip: incorrect length check"), "{error}");
}

/// Damage in the middle of a long stream, where the decoder is in its fast loop, is told as damage and not as a wrong use
/// of the decoder.
#[test]
fn damage_is_told_in_words_about_the_data() {
    let text: Vec<u8> =
        (0..40_000u32).flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    let packed = gzip(&text);
    let mut reasons = std::collections::BTreeSet::new();
    for at in (200..packed.len() - 200).step_by(packed.len() / 200) {
        for byte in [0, 0xff] {
            let mut damaged = packed.clone();
            damaged[at..at + 40].fill(byte);
            let error = decode_as(Compression::Gzip, &damaged).unwrap_err();
            let error = error.get_ref().unwrap().downcast_ref::<DecompressError>().unwrap();
            reasons.insert(error.reason.clone());
        }
    }
    assert!(reasons.contains("invalid compressed data"), "{reasons:?}");
    assert!(!reasons.iter().any(|reason| reason.contains("call")), "{reasons:?}");
}

#[test]
fn an_error_stays() {
    let mut packed = gzip(&sample());
    let middle = packed.len() / 2;
    packed.truncate(middle);
    let mut decoder = Decompressor::new(&packed[..]).unwrap();
    io::copy(&mut decoder, &mut io::sink()).unwrap_err();
    decoder.read(&mut [0; 10]).unwrap_err();
}

/// RFC 1952 optional fields: extra, name, comment and a right or wrong header CRC.
#[test]
fn gzip_header_fields_are_skipped_and_their_checksum_verified() {
    let packed = gzip(b"text");
    let mut header = vec![0x1f, 0x8b, 8, 0b1_1110, 0, 0, 0, 0, 0, 255, 3, 0];
    header.extend_from_slice(b"abcname\0comment\0");
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    let crc = crc.sum().to_le_bytes();
    let with_crc = |low: u8| [&header[..], &[low, crc[1]], &packed[10..]].concat();
    assert_eq!(decode(&with_crc(crc[0])).unwrap(), b"text");
    assert_eq!(decode_bytewise(&with_crc(crc[0])).unwrap(), b"text");
    assert!(decode(&with_crc(crc[0] ^ 1)).unwrap_err().to_string().contains("header crc mismatch"));
}

/// CVE-2022-30631: Go's reader recursed once a member.
#[test]
fn many_empty_members_are_a_loop() {
    let empty = gzip(b"");
    let mut data = empty.repeat(300_000);
    data.extend_from_slice(&gzip(b"end"));
    assert_eq!(decode(&data).unwrap(), b"end");
}

#[test]
fn garbage_after_the_other_codecs_is_an_error() {
    for (tool, args, compression) in TOOLS.into_iter().filter(|tool| tool.2 != Compression::Gzip) {
        let Some(mut packed) = pipe(tool, args, b"text") else { continue };
        packed.extend_from_slice(b"garbage, longer than any header of a stream");
        let error = decode(&packed).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().starts_with(&format!("{compression}: ")), "{error}");
    }
}

#[test]
fn xz_padding_and_zstd_skippable_frames_are_skipped() {
    if let Some(packed) = pipe("xz", &["-c"], b"text") {
        let padded = [&packed[..], &[0; 8], &packed, &[0; 4]].concat();
        assert_eq!(decode(&padded).unwrap(), b"texttext");
        assert!(decode(&[&packed[..], &[0; 3]].concat()).is_err());
    }
    let frame = zstd::encode_all(&b"text"[..], 3).unwrap();
    let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
    let data = [&skippable[..], &frame, skippable, &frame, skippable].concat();
    assert_eq!(decode(&data).unwrap(), b"texttext");
    assert_eq!(decode_bytewise(&data).unwrap(), b"texttext");
    assert_eq!(decode(&data[..data.len() - 1]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(decode(skippable).unwrap(), b"");
}

/// A zstd frame header that asks for a window of 256 MiB, and an xz stream with a dictionary of 1,536 MiB.
#[test]
fn memory_is_limited() {
    let frame = b"\x28\xb5\x2f\xfd\x00\x90\x01\0\0";
    let error = decode(frame).unwrap_err();
    assert!(error.to_string().contains("too much memory"), "{error}");
    let Some(packed) = pipe("xz", &["-c", "--lzma2=dict=1536MiB"], b"text") else { return };
    let error = decode(&packed).unwrap_err();
    assert!(error.to_string().starts_with("xz: needs more than 1024 MiB of memory"), "{error}");
}

#[test]
fn a_decoder_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Decompressor<BufReader<std::fs::File>>>();
}
