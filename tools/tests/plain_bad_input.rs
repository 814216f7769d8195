//! Archives and layers that nothing can be made of, into directories: refused with the file and the reason, and nothing is
//! left.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;

use testkit::bad::{self, Bad};
use testkit::run::{Input, Ran, layer_unpack, run};
use testkit::{TreeState, cut, image, tarfile};

/// What to do with an archive: into one tree, for which nobody needs to be root, or nothing at all.
const WAYS: [&[&str]; 2] = [&["--rootfs"], &["--dry-run", "--root"]];

fn attempt(archive: &str, way: &[&str], to: &Path, input: Input<'_>) -> Ran {
    run(layer_unpack(&[&[archive, "--no-sync"], way, &[to.to_str().unwrap()]].concat()), input)
}

/// What is wrong after an archive was given to the tool in each way, to be unpacked to where nothing is and into an empty
/// directory.
fn refused(dir: &Path, title: &str, archive: &[u8], words: &[&str], piped: &[&str], ways: &[&[&str]]) -> Vec<String> {
    let path = dir.join("bad.tar");
    std::fs::write(&path, archive).unwrap();
    let (new, new_root, empty) = (dir.join("some/new"), dir.join("new-root"), dir.join("empty"));
    let _ = std::fs::create_dir(&empty);
    let inputs = [
        (path.to_str().unwrap(), Input::Nothing, words),
        ("-", Input::File(&path), words),
        ("-", Input::Pipe(archive), piped),
    ];
    let mut report = Vec::new();
    // Directories above a data-root are not made.
    let new = |way: &[&str]| if way.contains(&"--root") { &new_root } else { &new };
    for (way, to) in ways.iter().flat_map(|way| [(way, new(way)), (way, &empty)]) {
        for (archive, input, words) in inputs {
            let before = TreeState::read(&empty).without_directory_times();
            let mut found = attempt(archive, way, to, input).complaints(words);
            for left in [dir.join("some"), new_root.clone()] {
                if left.exists() {
                    found.push("a directory is left".into());
                    std::fs::remove_dir_all(left).unwrap();
                }
            }
            let changes = before.changes(&TreeState::read(&empty).without_directory_times());
            if !changes.is_empty() {
                found.extend(changes);
                std::fs::remove_dir_all(&empty).unwrap();
                std::fs::create_dir(&empty).unwrap();
            }
            let kind = match input {
                Input::Nothing => "file",
                Input::File(_) => "standard input",
                Input::Pipe(_) => "pipe",
            };
            report.extend(found.into_iter().map(|line| format!("{title}, {way:?} from {kind}: {line}")));
        }
    }
    report
}

#[test]
fn plain_bad_archives_leave_nothing() {
    let dir = testkit::scratch();
    let mut report = Vec::new();
    for Bad { title, archive, words, piped, early } in bad::archives() {
        let ways = match title {
            // It may be a layer.
            "neither manifest nor index" => &WAYS[1..],
            // A tree needs no name.
            _ if title.starts_with("a tag") => &WAYS[1..],
            _ if early => &WAYS[..],
            // What a dry run does not read it does not find.
            _ => &WAYS[..1],
        };
        report.extend(refused(dir.path(), title, &archive, words, piped, ways));
    }
    testkit::assert_none("bad archives", &report);
}

#[test]
fn plain_cut_archives_leave_nothing() {
    let dir = testkit::scratch();
    let mut report = Vec::new();
    for (golden, every) in [("docker-archive-skopeo.tar", 5), ("layers-20.10.tar", 53)] {
        let whole = std::fs::read(testkit::golden(golden)).unwrap();
        for cut in
            cut::cuts(&whole, every).into_iter().filter(|cut| cut.outcome == cut::CutOutcome::Refused && cut.at > 0)
        {
            let title = format!("{golden} cut at {}", cut.at);
            report.extend(refused(dir.path(), &title, &whole[..cut.at], cut::WORDS, cut::WORDS, &WAYS[..1]));
        }
    }
    testkit::assert_none("cut archives", &report);
}

/// A layer with a bit of everything that needs no root.
fn layer() -> Vec<u8> {
    tarfile::tar(&[
        tarfile::dir("d/"),
        tarfile::file("d/f", vec![b'x'; 1300]),
        tarfile::hard_link("d/hard", "d/f"),
        tarfile::symlink("d/s", "f").record("LIBARCHIVE.x", "y"),
        tarfile::file(format!("d/{}", "n".repeat(200)), "long"),
        tarfile::file("d/.wh.gone", ""),
    ])
}

#[test]
fn plain_cut_layers_leave_nothing() {
    let dir = testkit::scratch();
    let (layer, mut report) = (layer(), Vec::new());
    let words = ["unexpected end of|truncated: entry|neither a tar archive nor"];
    for cut::Cut { at, outcome } in cut::layer_cuts(&layer) {
        let title = format!("a layer cut at {at}");
        if outcome == cut::CutOutcome::Refused {
            report.extend(refused(dir.path(), &title, &layer[..at], &words, &words, &WAYS[..1]));
            continue;
        }
        let to = dir.path().join("whole");
        let ran = attempt("-", &["--rootfs"], &to, Input::Pipe(&layer[..at]));
        if ran.code != Some(0) || !to.join("d").is_dir() {
            report.push(format!("{title}, between members: {ran:?}"));
        }
        let _ = std::fs::remove_dir_all(&to);
    }
    testkit::assert_none("cut layers", &report);
}

#[test]
fn plain_empty_input_is_no_image() {
    let dir = testkit::scratch();
    let words = ["neither manifest.json nor index.json|empty"];
    let mut report = refused(dir.path(), "an empty file", b"", &words, &words, &WAYS);
    let ran = attempt("/dev/null", &["--rootfs"], &dir.path().join("new"), Input::Nothing);
    report.extend(ran.complaints(&["/dev/null"]).into_iter().map(|line| format!("/dev/null: {line}")));
    testkit::assert_none("empty input", &report);
}

#[test]
fn plain_packed_cut_layers_leave_nothing() {
    if !testkit::tier("plain", image::packers(), "install gzip, zstd, xz-utils and bzip2") {
        return;
    }
    let dir = testkit::scratch();
    let mut report = Vec::new();
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let packed = image::pack(program, &layer());
        let step = if testkit::full_sweep() { 1 } else { packed.len() / 12 };
        // Of the shorter ones not even the magic is left.
        for at in (16..packed.len()).step_by(step).chain([packed.len() - 1]) {
            let title = format!("a {program} layer cut at {at} of {}", packed.len());
            let words = [program, "unexpected end of"];
            report.extend(refused(dir.path(), &title, &packed[..at], &words, &words, &WAYS[..1]));
        }
    }
    testkit::assert_none("cut packed layers", &report);
}

/// dockerd takes the marker of an opaque directory below a file, so that nothing else is said of it.
#[test]
fn an_opaque_marker_below_a_file_is_not_what_dockerd_refuses() {
    let dir = testkit::scratch();
    for (name, words) in [("f/.wh..wh..opq", "dockerd takes it"), ("f/g", "dockerd refuses it, too")] {
        let path = dir.path().join("layer.tar");
        std::fs::write(&path, tarfile::tar(&[tarfile::file("f", "x"), tarfile::file(name, "")])).unwrap();
        let ran = attempt(path.to_str().unwrap(), &["--rootfs"], &dir.path().join("tree"), Input::Nothing);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(name) && ran.stderr.contains(words), "{}", ran.stderr);
    }
}
