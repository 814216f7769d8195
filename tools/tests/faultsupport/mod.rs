//! Tars with one fault each, for the transcript that has every kind of error.

use testkit::tarfile::{TarMember, dir, file, hard_link, open_tar, tar};

/// Where the header of the second of two small files is.
const SECOND: std::ops::Range<usize> = 1024..1536;

/// Name and content of each; what is wrong is what the name says.
pub(crate) fn faults() -> Vec<(&'static str, Vec<u8>)> {
    let first = || file("f", "abc");
    let with = |member: TarMember| tar(&[first(), member]);
    let sparse = |records: &[(&str, &str)], content: &str| {
        let member = file("g", content);
        with(records.iter().fold(member, |member, (key, value)| member.record(*key, value)))
    };
    let mapped =
        |map| sparse(&[("GNU.sparse.map", map), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.size", "10")], "abc");
    let version = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "10")];
    vec![
        ("attribute-of-no-such-form", with(file("g", "").record("SCHILY.xattr.security.capability", "1"))),
        ("attribute-too-long", with(file("g", "").record("SCHILY.xattr.user.x", [b'x'; 70_000]))),
        ("extension-too-long", with(file("g", "").record("comment", vec![b'x'; 2 << 20]))),
        ("hard-link-out", with(hard_link("g", "../../etc/passwd"))),
        ("hard-link-to-a-directory", tar(&[dir("d/"), hard_link("g", "d")])),
        ("name-too-long", with(file("g", "").record("path", [b'n'; 300]))),
        ("owner-too-large", changed(|header| header[108..116].copy_from_slice(&[0x80, 0, 0, 1, 255, 255, 255, 255]))),
        ("path-too-long", with(file("g", "").record("path", vec!["d".repeat(200); 30].join("/")))),
        ("record-of-no-form", changed(|header| header[156] = b'x')),
        ("record-of-no-number", with(file("g", "").record("size", "x"))),
        ("record-of-no-time", with(file("g", "").record("mtime", "x"))),
        ("size-negative", changed(|header| header[124..136].fill(0xff))),
        ("size-of-no-number", changed(|header| header[124..135].fill(b'z'))),
        ("sparse-map-of-no-form", sparse(&version, &format!("{:\0<512}", "x\n"))),
        ("sparse-map-too-long", mapped("0,10")),
        ("sparse-map-too-short", mapped("0,1")),
        ("type-unknown", changed(|header| header[156] = b'9')),
        ("whiteout-of-nothing", with(file(".wh.", ""))),
        ("zero-block-within", [open_tar([&first()]), vec![0; 512], tar(&[first()])].concat()),
    ]
}

/// The same, of faults that are found in other ways.
pub(crate) fn more_faults() -> Vec<(&'static str, Vec<u8>)> {
    let map = format!("{}\n{}", 10_000_000, "0\n".repeat(500));
    let sparse = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "10")];
    let member = sparse.iter().fold(file("g", map), |member, (key, value)| member.record(*key, value));
    vec![
        ("marker-below-a-file", tar(&[file("f", "abc"), file("f/.wh..wh..opq", "")])),
        ("sparse-map-of-too-many", tar(&[file("f", "abc"), member])),
    ]
}

/// Two files, with the header of the second one changed.
fn changed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut tar = tar(&[file("f", "abc"), file("g", "abc")]);
    let header = &mut tar[SECOND];
    change(header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}
