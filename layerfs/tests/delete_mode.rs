//! Whiteouts that delete, as drivers without overlayfs need them: the layer cases against go-archive's `ApplyLayer`, and
//! layers on top of others.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::io::Read;

use layerfs::apply::WhiteoutMode;
use support::How;
use testkit::cases::CaseOutcome;
use testkit::tarfile::tar_of_names;
use testkit::tree;

const HOW: How = How { threads: 2, whiteouts: WhiteoutMode::Delete, stream: false };

/// Cases where `ApplyLayer` differs from what is right, or from the other mode.
const DEVIATIONS: &[(u64, &str)] = &[
    (63, "a whiteout spares what its own layer made"),
    (65, "the same, for a directory; the original fails when it sets its times"),
    (71, "`.wh.` is refused"),
    (72, "`.wh..` is refused"),
    (79, "overlay attributes are left out"),
    (135, "an attribute on a symlink is a warning"),
    (137, "an attribute of an unknown namespace is a warning"),
    (162, "a path longer than dockerd takes is refused"),
];

#[test]
fn root_delete_mode_cases() {
    if !testkit::is_root() {
        return;
    }
    let mut report = String::new();
    for case in testkit::cases::load() {
        let Some(expected) = case.outcome("go_archive_0_3_3_applylayer") else { continue };
        if DEVIATIONS.iter().any(|&(number, _)| number == case.number) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let lines = match (expected, support::unpack(&case.archive, dir.path(), HOW)) {
            (CaseOutcome::Refused, Err(_)) => Vec::new(),
            (CaseOutcome::Refused, Ok(_)) => vec!["accepted, but must be refused".into()],
            (CaseOutcome::Accepted { .. }, Err(error)) => vec![format!("refused: {error:?}")],
            (CaseOutcome::Accepted { tree: want, .. }, Ok(_)) => {
                let mut lines = tree::differences(&want, &tree::walk(&dir.path().join("diff")));
                let mut tar = Vec::new();
                let mut decoder = layerfs::compress::Decompressor::new(case.archive.as_slice()).unwrap();
                decoder.read_to_end(&mut tar).unwrap();
                if !support::replay(dir.path()).is_ok_and(|replayed| replayed == tar) {
                    lines.push("its tar cannot be rebuilt".into());
                }
                lines
            }
        };
        for line in lines {
            report += &format!("{} {}: {line}\n", case.number, case.title);
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// Applies layers onto each other. Returns the paths that are left, with the content of files.
fn stack(layers: &[Vec<u8>]) -> Vec<(String, Option<String>)> {
    let dir = tempfile::tempdir().unwrap();
    for layer in layers {
        support::unpack(layer, dir.path(), HOW).unwrap();
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let found = tree::walk(&dir.path().join("diff")).into_iter().filter(|entry| entry.path != b".");
    found.map(|entry| (text(entry.path), entry.data.map(text))).collect()
}

#[test]
fn root_whiteouts_delete_what_is_below() {
    if !testkit::is_root() {
        return;
    }
    let lower = || tar_of_names(&["d/", "d/old", "d/sub/", "d/sub/deep", "f", "keep"]);
    let paths =
        |upper: &[&str]| stack(&[lower(), tar_of_names(upper)]).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let cases: &[(&[&str], &[&str])] = &[
        (&[".wh.f", ".wh.d"], &["keep"]),
        (&[".wh.d", "d/", "d/new"], &["d", "d/new", "f", "keep"]),
        (&["d/new", ".wh.d"], &["d", "d/new", "f", "keep"]),
        (&["d/.wh..wh..opq", "d/new"], &["d", "d/new", "f", "keep"]),
        (&["d/sub/n2", "d/.wh..wh..opq"], &["d", "d/sub", "d/sub/n2", "f", "keep"]),
        (&["d/old", "d/.wh..wh..opq"], &["d", "d/old", "f", "keep"]),
        (&[".wh..wh..opq", "z"], &["z"]),
        (&[".wh.nope", "d/sub/.wh.deep"], &["d", "d/old", "d/sub", "f", "keep"]),
        (&["d", "f/", "f/x"], &["d", "f", "f/x", "keep"]),
    ];
    for (upper, expected) in cases {
        assert_eq!(paths(upper), *expected, "{upper:?}");
    }
}

/// What an opaque marker deletes is what the layers below have: a directory of the marker's own layer stays, empty or
/// not, as go-archive's list of unpacked paths has it.
#[test]
fn root_empty_directories_of_the_same_layer_stay() {
    if !testkit::is_root() {
        return;
    }
    let lower = || tar_of_names(&["d/", "d/old", "d/empty/", "d/empty/old", "d/gone/", "d/gone/empty/"]);
    let paths = |layers: &[Vec<u8>]| stack(layers).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let own = tar_of_names(&["d/", "d/empty/", "d/new/", "d/new/empty/", "d/kept", "d/.wh..wh..opq"]);
    let left = ["d", "d/empty", "d/kept", "d/new", "d/new/empty"];
    assert_eq!(paths(&[lower(), own]), left);
    let after = tar_of_names(&["d/.wh..wh..opq", "d/empty/", "d/new/", "d/new/empty/", "d/kept"]);
    assert_eq!(paths(&[lower(), after]), left);
}

/// containerd's GHSA-rp3h-jf77-q9p4: each opaque marker walked its directory anew.
#[test]
fn root_opaque_markers_cost_linear_time() {
    if !testkit::is_root() {
        return;
    }
    let time = |count: usize| {
        let files: Vec<String> = (0..count).map(|n| format!("a/{n}")).collect();
        let mut names: Vec<&str> = files.iter().map(String::as_str).collect();
        names.extend(std::iter::repeat_n("a/.wh..wh..opq", count));
        let layer = tar_of_names(&names);
        let start = std::time::Instant::now();
        assert_eq!(stack(&[layer]).len(), count + 1);
        start.elapsed()
    };
    time(1000);
    // The shorter time of two: what else the machine does counts less.
    let [small, large] = [5000, 20_000].map(|count| time(count).min(time(count)));
    assert!(large < small * 12, "4 times the members took {large:?} instead of {small:?}");
}

/// Measured with Docker 20.10.24: a file of 5 bytes and one of 3 of the same name count 8; links count nothing.
#[test]
fn root_the_size_is_what_headers_say() {
    if !testkit::is_root() {
        return;
    }
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        if link.is_empty() {
            builder.append_data(&mut header, name, content).unwrap();
        } else {
            builder.append_link(&mut header, name, link).unwrap();
        }
    };
    add("f", tar::EntryType::Regular, "", b"first");
    add("f", tar::EntryType::Regular, "", b"one");
    add("hard", tar::EntryType::Link, "f", b"");
    add("soft", tar::EntryType::Symlink, "somewhere", b"");
    let layer = builder.into_inner().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // What other layers have there counts nothing.
    std::fs::create_dir(dir.path().join("diff")).unwrap();
    std::fs::write(dir.path().join("diff/below"), [0; 1000]).unwrap();
    assert_eq!(support::unpack(&layer, dir.path(), HOW).unwrap().size, 8);
}
