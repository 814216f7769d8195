//! What layerfs reads of a store, beside what docker's own client prints of it.
//!
//! Docker is asked before, and after too where an age may have changed in between, which is right in both ways. Every command must
//! leave the store without a trace, as it is on disk and in access times. Groups run alone by the name of the test, rows
//! by `LAYERFS_READ_ONLY_TABLE=TEXT`.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod readsupport;

use std::process::Command;

use readsupport::ask::{Examiner, Row, Subject, watched};
use readsupport::{table, table_inspect, table_ls};
use testkit::quiet::Stamps;
use testkit::zoo;

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
    ("inspect", table_inspect::inspect),
    ("volume ls", table_inspect::volumes),
];

fn compare(what: &str, group: Group) {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let examiner = Examiner::new(zoo, Subject::Layerfs);
    testkit::assert_none(what, &examiner.findings(&group(&examiner)));
}

#[test]
fn docker_read_image_ls_flags() {
    compare("image ls, flags", table_ls::flags);
}

#[test]
fn docker_read_image_ls_filters() {
    compare("image ls, filters", table_ls::filters);
}

#[test]
fn docker_read_image_ls_templates() {
    compare("image ls, templates", table_ls::templates);
}

#[test]
fn docker_read_inspect() {
    compare("image inspect", table::inspect);
}

#[test]
fn docker_read_history() {
    compare("image history", table::history);
}

#[test]
fn docker_read_df() {
    compare("system df", table::df);
}

#[test]
fn docker_read_containers() {
    compare("container ls", table::containers);
}

#[test]
fn docker_read_inspect_containers() {
    compare("inspect", table_inspect::inspect);
}

#[test]
fn docker_read_volumes() {
    compare("volume ls", table_inspect::volumes);
}

/// Commands that docker does not have leave no trace either, and work where nothing can be written.
#[test]
fn docker_read_quiet() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let (layerfs, image_du) = (env!("CARGO_BIN_EXE_layerfs"), env!("CARGO_BIN_EXE_image-du"));
    let root = zoo.root.to_str().unwrap();
    let mut findings = Vec::new();
    for (program, command) in [
        (layerfs, &["image", "tree"][..]),
        (layerfs, &["image", "tree", "--json"]),
        (layerfs, &["system", "owner", root]),
        (image_du, &[]),
        (image_du, &["--files"]),
    ] {
        for mount in ["rw", "ro"] {
            let run =
                || zoo.on_stopped(program.as_ref(), mount).arg("--root").arg(root).args(command).output().unwrap();
            let (output, traces) = watched(&zoo.stopped, run);
            let failed = (!output.status.success()).then(|| zoo::said(&output));
            findings.extend(traces.into_iter().chain(failed).map(|line| format!("{command:?} on {mount}: {line}")));
        }
    }
    testkit::assert_none("quiet", &findings);
}

/// The account of the store, containers running, is what `du` says, and docker's four rows are in it.
#[test]
fn docker_read_account() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let output =
        Command::new(env!("CARGO_BIN_EXE_image-du")).arg("--root").arg(&zoo.root).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", zoo::said(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let du = Command::new("du").args(["-x", "-s", "-B1"]).arg(&zoo.root).output().unwrap();
    let total: u64 = String::from_utf8(du.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!((json["total_allocated"].as_u64(), json["unaccounted"].as_u64()), (Some(total), Some(0)));
    let rows = zoo.daemon.ok(&["system", "df", "--format", "{{.TotalCount}} {{.Active}}"]);
    let ours = ["images", "containers", "volumes", "build_cache"].map(|kind| {
        let row = &json["docker"][kind];
        format!("{} {}", row["total"], row["active"])
    });
    assert_eq!(rows.lines().collect::<Vec<_>>(), ours);
}

/// docker has `until` from version 25 on: what it must leave is told from the times that docker 20.10 prints.
#[test]
fn docker_read_until() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let all = zoo.daemon.ok(&["image", "ls", "-a", "--no-trunc", "--format", "{{.ID}}\t{{.CreatedAt}}"]);
    let limit = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let old = |line: &&str| {
        let time = line.split('\t').nth(1).unwrap().trim_end_matches(" UTC");
        let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", time).unwrap().to_timestamp();
        // The year 1 is before all that a timestamp can be compared with.
        time.map_or(true, |time| time <= limit)
    };
    let mut expected: Vec<&str> = all.lines().filter(old).map(|line| line.split('\t').next().unwrap()).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_layerfs"))
        .arg("--root")
        .arg(&zoo.root)
        .args(["image", "ls", "-aq", "--no-trunc", "--filter", "until=24h"])
        .output()
        .unwrap();
    let ours = String::from_utf8(output.stdout).unwrap();
    let mut ours: Vec<&str> = ours.lines().collect();
    expected.sort_unstable();
    ours.sort_unstable();
    assert!(expected.len() > 10 && expected.len() < all.lines().count());
    assert_eq!(ours, expected);
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
        testkit::assert_none(what, &findings);
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
    let before = Stamps::take(dir.path());
    assert!(before.changes(&Stamps::take(dir.path())).is_empty());
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::read(path("read")).unwrap();
    std::fs::write(path("written"), "CONTENT").unwrap();
    std::fs::remove_file(path("gone")).unwrap();
    std::fs::write(path("new"), "").unwrap();
    let seen = before.changes(&Stamps::take(dir.path()));
    assert_eq!(seen, ["gone: gone", "written: ", "new: new", "read with a trace: read", "written: written"]);
    assert!(Stamps::take(&zoo.root).count() > 500);
}
