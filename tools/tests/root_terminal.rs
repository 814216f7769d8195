//! What a terminal of 80 columns shows: progress that fits a line, and nothing of it afterwards, also after a Ctrl-C.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod terminalsupport;

use std::fs::File;
use std::io::Write;
use std::process::Command;

use terminalsupport::{Session, is_possible};
use testkit::synthetic;

#[test]
fn a_line_of_progress_fits_and_is_gone_at_the_end() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let archive = synthetic::archive(24 << 20, 1500);
    std::fs::write(dir.path().join("a.tar"), &archive).unwrap();
    for (line, last) in [
        ("layer-unpack a.tar --root store", "stored "),
        ("layerfs --root other load -i a.tar --no-sync", "Loaded image"),
        ("layer-unpack a.tar --rootfs tree --no-sync", ""),
        ("layerfs --root store save --all -o out.tar", ""),
        ("layerfs --root store save --all --compress zstd -o out.zst", ""),
        ("layerfs --root store system check --deep", ""),
        (
            "for f in store/overlay2/*/diff/*; do test -f $f && echo x >> $f; done; layerfs --root store system repair --from a.tar --apply",
            "",
        ),
        ("layerfs --root store image prune --all --force", "Total reclaimed space"),
        ("image-gc --root other --all --min-age 0 --apply", ""),
    ] {
        let screen = Session::start(line, dir.path()).end();
        let rest = screen.rest();
        assert!(rest.iter().all(|line| !line.contains("B/s") && !line.contains('━')), "{line}: {rest:#?}");
        assert!(rest.iter().any(|line| line.contains(last)), "{line}: {rest:#?}");
        // Each is a whole line: what is too wide would go on in the next one, and begin with something else.
        for shown in screen.progress() {
            assert!(
                shown.contains('/') && shown.chars().take(12).all(|char| char.is_ascii_hexdigit()),
                "{line}: {shown:?}"
            );
        }
    }
}

/// The archive's beginning comes, and then nothing: the lines stay until somebody presses Ctrl-C.
#[test]
fn ctrl_c_leaves_a_clean_line() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let archive = synthetic::archive(24 << 20, 1500);
    let fifo = dir.path().join("fifo");
    for line in [
        "layer-unpack - --root store < fifo",
        "layerfs --root store load < fifo",
        "layer-unpack - --rootfs tree < fifo",
    ] {
        let _ = std::fs::remove_file(&fifo);
        let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let mut session = Session::start(line, dir.path());
        let mut pipe = File::options().write(true).open(&fifo).unwrap();
        pipe.write_all(&archive[..archive.len() / 2]).unwrap();
        session.wait_for("000000000000");
        session.press("\u{3}");
        let screen = session.end();
        drop(pipe);
        assert!(!screen.progress().is_empty(), "{line}: {:#?}", screen.drawn);
        assert!(
            screen.progress().iter().all(|line| line
                .trim_start_matches("^C")
                .chars()
                .next()
                .is_some_and(|first| first.is_ascii_hexdigit())),
            "{line}: {:#?}",
            screen.drawn
        );
        let rest = screen.rest();
        let said = rest.iter().filter(|line| !line.contains("new data-root")).map(|line| line.trim_start_matches("^C"));
        let name = line.split(' ').next().unwrap();
        let interrupted = format!("{name}: interrupted, nothing was changed");
        assert_eq!(said.collect::<Vec<_>>(), [interrupted.as_str(), "status 130"], "{line}");
    }
}
