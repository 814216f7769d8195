//! What a build shows on a terminal: a line a step, what its command writes, and nothing of that at the end, however it ends.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod terminalsupport;

use std::path::PathBuf;

use tempfile::TempDir;
use terminalsupport::{Screen, Session, is_possible};

const BASE: &str = "FROM layerfs-test/busybox:1\n";

fn context(dir: &TempDir, dockerfile: &str) -> PathBuf {
    let root = dir.path().join("root");
    if !root.exists() {
        testkit::import(&testkit::golden("busybox-20.10.tar"), &testkit::empty_root(dir, "root"));
        std::fs::create_dir(dir.path().join("context")).unwrap();
    }
    std::fs::write(dir.path().join("context/Dockerfile"), dockerfile).unwrap();
    dir.path().to_owned()
}

const BUILD: &str = "layerfs --root root build --no-sync context";

/// The lines of steps that stay, without their times, each of which is at the right.
fn steps(screen: &Screen) -> Vec<String> {
    let rest = screen.rest();
    let steps = rest.iter().filter(|line| line.starts_with(" => "));
    let step = |line: &String| {
        let (text, time) = line.rsplit_once(' ').unwrap();
        assert!(time.ends_with('s') && line.chars().count() < 80, "{line:?}");
        text.trim_end().trim_start_matches(" => ").to_owned()
    };
    steps.map(step).collect()
}

#[test]
fn a_step_has_a_line_and_its_output_is_gone_at_the_end() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let long = "x".repeat(200);
    // The step goes on when the test has seen what it says.
    let wait = "n=0; until test -e /m/go; do n=$((n+1)); test $n -lt 600 || exit 9; sleep 1; done";
    let dockerfile = format!(
        "{BASE}RUN --mount=type=cache,id=t,target=/m printf 'said \\033[2J\\033]0;t\\007{long}\\n'; touch /m/there; {wait}\nRUN echo {long}\n"
    );
    let place = context(&dir, &dockerfile);
    let mut session = Session::start(BUILD, &place);
    session.wait_for("| said");
    let volumes = place.join("root/volumes");
    let volume = std::fs::read_dir(volumes).unwrap().map(|entry| entry.unwrap().path());
    let cache = volume.filter(|path| path.to_string_lossy().contains("layerfs-build-cache")).last().unwrap();
    std::fs::write(cache.join("_data/go"), "").unwrap();
    let screen = session.end();
    let rest = screen.rest();
    assert_eq!(rest.last().map(String::as_str), Some("status 0"), "{rest:#?}");
    assert!(rest.iter().all(|line| !line.contains("| ") && !line.contains("[+]")), "{rest:#?}");
    let steps = steps(&screen);
    assert_eq!(steps.len(), 5, "{rest:#?}");
    assert!(steps[1].starts_with("CACHED [1/3] FROM ") && steps[3].starts_with("[3/3] RUN echo xxx"), "{steps:#?}");
    assert!(steps[3].ends_with('…') && steps[4] == "exporting to image", "{steps:#?}");
    // It is all the output of one line, and it never goes on in the next.
    assert!(
        screen.drawn.iter().any(|line| line.starts_with("   | said ") && line.contains("xxx")),
        "{:#?}",
        screen.drawn
    );
    assert!(screen.drawn.iter().all(|line| !line.starts_with("xxx")), "{:#?}", screen.drawn);
}

#[test]
fn a_failure_leaves_the_last_lines_of_its_step() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let place = context(&dir, &format!("{BASE}RUN echo one; echo two >&2; exit 3\n"));
    let screen = Session::start(BUILD, &place).end();
    let rest = screen.rest();
    let steps = steps(&screen);
    assert!(steps.last().unwrap().starts_with("ERROR [2/2] RUN echo one"), "{rest:#?}");
    let at = rest.iter().position(|line| line.contains("ERROR")).unwrap();
    let mut after: Vec<&str> = rest[at + 1..].iter().map(String::as_str).collect();
    // Two pipes: either may be read first.
    after[..2].sort_unstable();
    assert_eq!(after[..2], ["   | one", "   | two"], "{rest:#?}");
    assert!(after[2].starts_with("layerfs: process "), "{rest:#?}");
    assert_eq!(after.last(), Some(&"status 1"), "{rest:#?}");
}

#[test]
fn ctrl_c_cancels_the_step_that_runs() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let place = context(&dir, &format!("{BASE}RUN echo begun; while true; do sleep 1; done\n"));
    let mut session = Session::start(BUILD, &place);
    session.wait_for("| begun");
    session.press("\u{3}");
    let screen = session.end();
    let rest = screen.rest();
    assert!(steps(&screen).iter().any(|line| line.starts_with("CANCELED [2/2] RUN")), "{rest:#?}");
    let last: Vec<&str> = rest.iter().rev().take(2).map(|line| line.trim_start_matches("^C")).collect();
    assert_eq!(last, ["status 130", "layerfs: interrupted"], "{rest:#?}");
    assert!(rest.iter().all(|line| !line.contains("| begun") && !line.contains("[+]")), "{rest:#?}");
}

/// A pipe gets lines, and nobody can ask for a terminal where there is none.
#[test]
fn a_pipe_is_no_terminal() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let place = context(&dir, &format!("{BASE}RUN echo x\n"));
    let screen = Session::start(&format!("{BUILD} 2>&1 | cat"), &place).end();
    assert!(screen.rest().iter().any(|line| line.starts_with("#2 [1/2] FROM")), "{:#?}", screen.rest());
    let screen = Session::start(&format!("{BUILD} --progress plain"), &place).end();
    assert!(screen.rest().iter().any(|line| line.starts_with("#3 CACHED")), "{:#?}", screen.rest());
    let screen = Session::start(&format!("{BUILD} --progress tty 2>err; cat err"), &place).end();
    let rest = screen.rest();
    assert!(rest.iter().any(|line| line.ends_with("provided file is not a console")), "{rest:#?}");
}
