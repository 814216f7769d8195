//! Compares this crate with the original: with a journal that dockerd 20.10.24 wrote, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::Read;

use tarsplit::assemble::{FileGetter, assemble};
use tarsplit::disassemble::{Disassembler, Keep, Sink};
use tarsplit::journal::{EntryReader, gzip};
use tarsplit::{Entry, JournalError, Member};

/// `tar-split.json.gz` of a layer with the file `foo.txt`, which holds `foo`, as dockerd 20.10.24 stored it.
const DOCKER_JOURNAL: &str = "\
1f8b08000000000000ffecd6c16a84301000d0bb9f31e75034f6d2400f53a68742135a692fbd895a2b5423181ab5f8ef85baae1bd83dee0a4bde\
25030903934c607ec10c6d01823368d3e15ba73908f8a8ef7e9e9be436c70d115a49c815bda29c632b71b7125aa435968423d263a8de9e423566\
56cdfbbda477ae104bb9651d7b0f5116275f59f95fc7391cbb9b6b770f0c5add55a6d20d88700a96868e1834695d80804fad6f4c6f8041578d05\
88f8b0d55fc82ecfe1a68ad654cedfd8ba60cff33ccff32ecb1910f88901c139144fc15f000000ffff38180e5d620b0000";

/// SHA-256 of that layer's tar: its diff id.
const DIFF_ID: &str = "213dd690becad7dbf9f03544212ce26d7529a8da8ef5c96286e3c21955536ccb";

/// SHA-256 of the journal's JSON.
const JSON: &str = "654fffaefd989c20aafd2ceb3897bcedc4568b0d20837fdcdef32734ccc478a0";

struct Files(HashMap<Vec<u8>, Vec<u8>>);

impl FileGetter for Files {
    type File = std::io::Cursor<Vec<u8>>;

    fn open(&self, name: &[u8]) -> std::io::Result<Self::File> {
        self.0.get(name).cloned().map(std::io::Cursor::new).ok_or(std::io::ErrorKind::NotFound.into())
    }
}

fn files(names: &[(&str, &str)]) -> Files {
    Files(names.iter().map(|(name, content)| (name.as_bytes().to_vec(), content.as_bytes().to_vec())).collect())
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct OnDisk;

impl Sink for OnDisk {
    type Error = std::convert::Infallible;

    fn member(&mut self, _member: Box<Member>, _first: bool) -> Result<Keep, Self::Error> {
        Ok(Keep::OnDisk)
    }

    fn body(&mut self, _data: &[u8], _at: usize, _last: bool) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn dockerd_s_journal_replays() {
    let mut tar = Vec::new();
    let journal = unhex(DOCKER_JOURNAL);
    assemble(EntryReader::new(journal.as_slice()), &files(&[("foo.txt", "foo")]), &mut tar).unwrap();
    assert_eq!(sha256(&tar), DIFF_ID);
}

/// But for the empty segment that tar-split before 0.11.4 writes at the end, our JSON is the original's.
#[test]
fn our_journal_is_dockerd_s() {
    let mut tar = Vec::new();
    let journal = unhex(DOCKER_JOURNAL);
    assemble(EntryReader::new(journal.as_slice()), &files(&[("foo.txt", "foo")]), &mut tar).unwrap();
    let mut disassembler = Disassembler::new(Some(Vec::new()));
    disassembler.push(&tar, &mut OnDisk).unwrap();
    let mut json = disassembler.finish::<std::convert::Infallible>().unwrap().unwrap();
    json.extend_from_slice(b"{\"type\":2,\"payload\":\"\",\"position\":3}\n");
    assert_eq!(sha256(&json), JSON);
}

/// Names as Go's encoder escapes them; the bytes are from the live daemon.
#[test]
fn names_are_written_as_go_writes_them() {
    let line = |name: &[u8]| {
        let mut writer = tarsplit::journal::EntryWriter::new(Vec::new());
        writer.file(name, 1, Some(tarsplit::crc64::checksum(b"x"))).unwrap();
        String::from_utf8(writer.finish().unwrap()).unwrap()
    };
    let crc = r#","size":1,"payload":"IxAAAAAAAAA=","position":0}"#;
    assert_eq!(line(b"d/caf\xe9"), format!("{{\"type\":1,\"name_raw\":\"ZC9jYWbp\"{crc}\n"));
    let escaped = "{\"type\":1,\"name\":\"a\\u003cb\\u003e\\u0026\\\"\\\\\\u0001\x7f\\t\"";
    assert_eq!(line(b"a<b>&\"\\\x01\x7f\t"), format!("{escaped}{crc}\n"));
}

/// Forms that Go's decoder takes.
#[test]
fn journals_in_other_forms_are_read() {
    let json = "{\"TYPE\":2,\"payload\":\"aGVs\nbG8=\"}{ \"extra\": [1, {}],\n \"type\": 1, \"name\": \"x\", \"name_raw\": \"Zg==\",\n\
                \"size\": 1, \"payload\": \"NCAAAAAAAAA=\" }{\"type\":9}{\"type\":2,\"payload\":null}";
    let json = json.replace("aGVs\nbG8=", "aGVs\\nbG8=");
    let (first, second) = json.as_bytes().split_at(40);
    let mut gzipped = Vec::new();
    for member in [first, second] {
        let mut encoder = gzip(&mut gzipped);
        std::io::Write::write_all(&mut encoder, member).unwrap();
        encoder.finish().unwrap();
    }
    let entries: Vec<Entry> = EntryReader::new(gzipped.as_slice()).collect::<Result<_, _>>().unwrap();
    let crc64 = Some(tarsplit::crc64::checksum(b"a"));
    let file = Entry::File { name: b"f".to_vec(), size: 1, crc64 };
    assert_eq!(entries, [Entry::Segment(b"hello".to_vec()), file, Entry::Unknown, Entry::Segment(Vec::new())]);
}

/// Lines that `docker save` 20.10.24 takes or refuses, although nothing of them is used.
#[test]
fn what_is_not_used_is_decoded_as_well() {
    let read = |line: &str| -> Result<Vec<Entry>, JournalError> {
        let mut encoder = gzip(Vec::new());
        std::io::Write::write_all(&mut encoder, line.as_bytes()).unwrap();
        EntryReader::new(encoder.finish().unwrap().as_slice()).collect()
    };
    let segment = |position: &str| read(&format!("{{\"type\":2,\"payload\":\"YQ==\",\"position\":{position}}}\n"));
    let deep = |depth: usize| format!("0,\"x\":{}{}", "[".repeat(depth), "]".repeat(depth));
    for good in ["0", "-0", "-1", "9223372036854775807", "null", "0,\"x\":\"\\u0001[\"", &deep(9_999)] {
        assert_eq!(segment(good).unwrap(), [Entry::Segment(b"a".to_vec())], "{good}");
    }
    for bad in [
        "\"0\"",
        "1.5",
        "1e2",
        "true",
        "[]",
        "{}",
        "9223372036854775808",
        "-0.0",
        "00",
        "0,\"x\\u0041\u{1}\":0",
        "0,\"name\":\"\\\"\u{1f}\"",
        &deep(10_000),
    ] {
        assert!(matches!(segment(bad), Err(JournalError::Entry { .. })), "{bad}");
    }
    for (bad, reason) in [
        ("0,\"x\\u0041\u{1}\":0", "control character (\\u0000-\\u001F) found while parsing a string"),
        (&deep(10_000), "lists and objects are more than 10,000 deep"),
    ] {
        assert_eq!(segment(bad).unwrap_err().to_string(), format!("tar-split journal, entry 0: {reason}"));
    }
    assert_eq!(read("null\n").unwrap(), [Entry::Unknown]);
    for bad in ["1\n", "\"a\"\n", "[]\n", "true\n"] {
        assert!(matches!(read(bad), Err(JournalError::Entry { .. })), "{bad}");
    }
}

/// What differs from the usual form in one place, and what Go's decoder makes of it.
#[test]
fn what_is_nearly_in_the_usual_form_is_read_as_go_reads_it() {
    let read = |json: &str| -> Result<Vec<Entry>, JournalError> {
        let mut encoder = gzip(Vec::new());
        std::io::Write::write_all(&mut encoder, json.as_bytes()).unwrap();
        EntryReader::new(encoder.finish().unwrap().as_slice()).collect()
    };
    let segment = |payload: &[u8]| Entry::Segment(payload.to_vec());
    let file = |name: &str, size, crc64| Entry::File { name: name.as_bytes().to_vec(), size, crc64 };
    let crc64 = Some([0x23, 0x10, 0, 0, 0, 0, 0, 0]);
    let usual = r#"{"type":1,"name":"x","size":1,"payload":"IxAAAAAAAAA=","position":7}"#;
    for (json, expected) in [
        (r#"{"type":2,"payload":"aGVsbG8=","position":0}"#, segment(b"hello")),
        (r#"{"type":2,"payload":"","position":0}"#, segment(b"")),
        (r#"{"type":2,"payload":"aGVs\nbG8=","position":0}"#, segment(b"hello")),
        (r#"{"type":2,"payload":"aGVsbG8=","position":0 }"#, segment(b"hello")),
        (r#"{"type":2,"payload":"aGVsbG8=","position":0,"payload":"YQ=="}"#, segment(b"a")),
        (r#"{"type":2,"payload":"aGVsbG8=","position":-1}"#, segment(b"hello")),
        (r#"{"type":1,"name":"x","payload":null,"position":0}"#, file("x", 0, None)),
        (r#"{"type":1,"name":"x","payload":"aGVsbG8=","position":0}"#, file("x", 0, None)),
        (usual, file("x", 1, crc64)),
        (&usual.replace("\"x\"", r#""\u0061\"b""#), file("a\"b", 1, crc64)),
        (&usual.replace("\"x\"", "\"caf\u{e9}\""), file("caf\u{e9}", 1, crc64)),
        (&usual.replace(":1,\"payload", ":-1,\"payload"), file("x", -1, crc64)),
        (&usual.replace(":1,\"payload", ":9223372036854775807,\"payload"), file("x", i64::MAX, crc64)),
    ] {
        assert_eq!(read(json).unwrap(), [expected], "{json}");
    }
    for json in [
        &usual.replace("\"x\"", "\"a\nb\""),
        &usual.replace(":1,\"payload", ":01,\"payload"),
        &usual.replace(":1,\"payload", ":,\"payload"),
        &usual.replace(":1,\"payload", ":9223372036854775808,\"payload"),
        &usual.replace(":7", ":07"),
        &usual.replace(":7", ":"),
        &usual.replace("AAA=", "AAA"),
        &usual.replace("AAA=", "A*A="),
        &usual[..usual.len() - 1].to_owned(),
        &usual[..40].to_owned(),
        &format!("{usual},{usual}"),
    ] {
        assert!(matches!(read(json), Err(JournalError::Entry { .. })), "{json}");
    }
    assert_eq!(read(&format!("\n{usual}\n\n{usual}\n")).unwrap(), [file("x", 1, crc64), file("x", 1, crc64)]);
}

#[test]
fn damage_is_found() {
    let replay = |journal: &[u8], content: &str| {
        assemble(EntryReader::new(journal), &files(&[("foo.txt", content)]), std::io::sink())
    };
    let journal = unhex(DOCKER_JOURNAL);
    assert!(matches!(replay(&journal, "fox"), Err(JournalError::Checksum { .. })));
    assert!(matches!(replay(&journal, "fool"), Err(JournalError::Size { expected: 3, .. })));
    assert!(matches!(replay(&journal[..journal.len() - 8], "foo"), Err(JournalError::Read { .. })));
    assert!(replay(&[journal.as_slice(), b"junk"].concat(), "foo").is_err());
    let twice = "{\"type\":1,\"name\":\"a\",\"payload\":null}{\"type\":1,\"name\":\"./a\",\"payload\":null}";
    let mut encoder = gzip(Vec::new());
    std::io::Write::write_all(&mut encoder, twice.as_bytes()).unwrap();
    let error = replay(&encoder.finish().unwrap(), "").unwrap_err();
    assert!(matches!(error, JournalError::DuplicateName { name } if name == b"a"));
}

/// CVE-2017-14992: in the original, a long tail of zeros was one entry, and all of it in memory.
#[test]
fn a_long_tail_is_cut_into_segments() {
    let mut disassembler = Disassembler::new(Some(gzip(Vec::new())));
    let zeros = vec![0; 1 << 20];
    for _ in 0..64 {
        disassembler.push(&zeros, &mut OnDisk).unwrap();
    }
    let journal = disassembler.finish::<std::convert::Infallible>().unwrap().unwrap().finish().unwrap();
    assert!(journal.len() < 1 << 20);
    let mut total = 0;
    for entry in EntryReader::new(journal.as_slice()) {
        let Entry::Segment(bytes) = entry.unwrap() else { panic!("only segments") };
        assert!(bytes.len() <= tarsplit::limits::MAX_SEGMENT);
        total += bytes.len();
    }
    assert_eq!(total, 64 << 20);
    let mut tar = assemble_to_reader(&journal);
    let mut first = [1; 512];
    tar.read_exact(&mut first).unwrap();
    assert_eq!(first, [0; 512]);
}

fn assemble_to_reader(journal: &[u8]) -> std::io::Cursor<Vec<u8>> {
    let mut tar = Vec::new();
    assemble(EntryReader::new(journal), &files(&[]), &mut tar).unwrap();
    std::io::Cursor::new(tar)
}
