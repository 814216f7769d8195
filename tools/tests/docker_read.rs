//! What layerfs reads of a store, beside what docker's own client prints of it.
//!
//! Docker is asked before and after, so that an age that changes in between is right in both ways. Every command must
//! leave the store without a trace, as it is on disk and in access times. Groups run alone by the name of the test, rows
//! by `LAYERFS_READ_ONLY_TABLE=TEXT`.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod readsupport;
mod support;

use std::process::Command;

use readsupport::ask::{Examiner, Row, Subject, watched};
use readsupport::{quiet::Snapshot, table, table_ls};
use support::zoo;

/// Rows of a group.
type Group = fn(&Examiner) -> Vec<Row>;

const GROUPS: &[(&str, Group)] = &[
    ("image ls, flags", table_ls::flags),
    ("image ls, filters", table_ls::filters),
    ("image ls, templates", table_ls::templates),
    ("image inspect", table::inspect),
    ("image history", table::history),
    ("system df", table::df),
    ("container ls", table::containers),
];

/// Whether layerfs has the command. Others may come later than this test.
fn there(words: &[&str]) -> bool {
    let there =
        Command::new(env!("CARGO_BIN_EXE_layerfs")).args(words).arg("--help").output().unwrap().status.success();
    if !there {
        eprintln!("skipped: layerfs {} is not there yet", words.join(" "));
    }
    there
}

fn compare(command: &[&str], what: &str, group: Group) {
    if !there(command) {
        return;
    }
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let examiner = Examiner::new(zoo, Subject::Layerfs);
    support::assert_none(what, &examiner.findings(&group(&examiner)));
}

#[test]
fn docker_read_image_ls_flags() {
    compare(&["image", "ls"], "image ls, flags", table_ls::flags);
}

#[test]
fn docker_read_image_ls_filters() {
    compare(&["image", "ls"], "image ls, filters", table_ls::filters);
}

#[test]
fn docker_read_image_ls_templates() {
    compare(&["image", "ls"], "image ls, templates", table_ls::templates);
}

#[test]
fn docker_read_inspect() {
    compare(&["image", "inspect"], "image inspect", table::inspect);
}

#[test]
fn docker_read_history() {
    compare(&["image", "history"], "image history", table::history);
}

#[test]
fn docker_read_df() {
    compare(&["system", "df"], "system df", table::df);
}

#[test]
fn docker_read_containers() {
    compare(&["container", "ls"], "container ls", table::containers);
}

/// Commands that docker does not have leave no trace either, and work where nothing can be written.
#[test]
fn docker_read_quiet() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let layerfs = env!("CARGO_BIN_EXE_layerfs").as_ref();
    let root = zoo.root.to_str().unwrap();
    let mut findings = Vec::new();
    for command in [&["image", "tree"][..], &["image", "tree", "--json"], &["system", "owner", root]] {
        if !there(&command[..2]) {
            continue;
        }
        for mount in ["rw", "ro"] {
            let run = || zoo.on_stopped(layerfs, mount).arg("--root").arg(root).args(command).output().unwrap();
            let (output, traces) = watched(&zoo.stopped, run);
            let failed = (!output.status.success()).then(|| zoo::said(&output));
            findings.extend(traces.into_iter().chain(failed).map(|line| format!("{command:?} on {mount}: {line}")));
        }
    }
    support::assert_none("quiet", &findings);
}

/// Prints what docker answers to the rows that `LAYERFS_READ_ONLY_TABLE` leaves.
#[test]
#[ignore = "for reading"]
fn docker_read_show() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let examiner = Examiner::new(zoo, Subject::Layerfs);
    for row in GROUPS.iter().flat_map(|(_, group)| examiner.chosen(&group(&examiner))) {
        let arguments: Vec<&str> = row.arguments.iter().map(String::as_str).collect();
        eprintln!("docker {arguments:?}\n{}", zoo::said(&zoo.daemon.docker(&arguments)));
    }
}

/// Docker beside itself: whatever it prints at random is allowed for, and nothing is random but that.
#[test]
#[ignore = "asks docker everything three times"]
fn docker_read_harness_is_stable() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let examiner = Examiner::new(zoo, Subject::Docker(|text| text));
    for (what, group) in GROUPS {
        let rows = group(&examiner);
        let findings = examiner.findings(&rows);
        eprintln!("{what}: {} rows", rows.len());
        support::assert_none(what, &findings);
    }
}

/// A byte less in what one side prints is seen in every row that prints something.
#[test]
fn docker_read_harness_sees_differences() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let shorter = |mut text: String| {
        if let Some(at) = text.rfind(|c: char| c.is_ascii_alphanumeric()) {
            text.remove(at);
        }
        text
    };
    let examiner = Examiner::new(zoo, Subject::Docker(shorter));
    for (what, group) in GROUPS {
        for row in group(&examiner).into_iter().step_by(23) {
            let arguments: Vec<&str> = row.arguments.iter().map(String::as_str).collect();
            let says = zoo.daemon.docker(&arguments).stdout.iter().any(u8::is_ascii_alphanumeric);
            let seen = !examiner.findings(std::slice::from_ref(&row)).is_empty();
            assert_eq!(seen, says, "{what}: {arguments:?}");
        }
    }
}

/// Traces are seen: a file that was read, one that was written, one that came.
#[test]
fn docker_read_harness_sees_traces() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let dir = zoo.scratch();
    let path = |name: &str| dir.path().join(name);
    for name in ["read", "written", "gone"] {
        std::fs::write(path(name), "content").unwrap();
    }
    let before = Snapshot::take(dir.path());
    assert!(before.changes(&Snapshot::take(dir.path())).is_empty());
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::read(path("read")).unwrap();
    std::fs::write(path("written"), "CONTENT").unwrap();
    std::fs::remove_file(path("gone")).unwrap();
    std::fs::write(path("new"), "").unwrap();
    let seen = before.changes(&Snapshot::take(dir.path()));
    assert_eq!(seen, ["gone: gone", "written: ", "new: new", "read with a trace: read", "written: written"]);
    assert!(Snapshot::take(&zoo.root).len() > 500);
}
