//! The arithmetic of the report, against figures worked out by hand from `fixtures/results.json`.

use std::path::{Path, PathBuf};

use benches::peers::record::Results;
use benches::peers::rows::{GOALS, On, Peer, Row, Sync, Workload};
use benches::peers::verdict::{Verdict, above, verdict, verdicts};
use benches::peers::{markdown, plots, splice};

fn fixture() -> Vec<Results> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/results.json");
    vec![Results::read(&path).expect("the fixture is a file of results")]
}

fn on_tmpfs(row: Row, ours: Peer, against: Peer) -> Verdict {
    let goal = GOALS.iter().find(|goal| goal.row == row && goal.ours == ours && goal.against.contains(&against));
    verdict(&fixture(), goal.expect("there is such a goal"), On::Tmpfs, Sync::Unsynced).expect("it was measured")
}

fn report() -> String {
    let results = fixture();
    let pictures = plots::draw(&results).expect("pictures");
    let files = [PathBuf::from("docs/results/day.json")];
    markdown::report(&results, &files, Path::new("docs/BENCHMARKS.md"), Path::new("docs/results"), &pictures)
}

#[track_caller]
fn assert_spread(found: bench_figures::Spread, median: f64, min: f64, max: f64) {
    for (found, expected) in [(found.median, median), (found.min, min), (found.max, max)] {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

#[test]
fn a_ratio_is_the_median_of_the_ratios_round_by_round() {
    // 1.0 / 2.0, 2.0 / 2.5, 1.5 / 3.0. The ratio of the medians would be 1.5 / 2.5 = 0.6.
    let verdict = on_tmpfs(Row::Image, Peer::LayerUnpack, Peer::GnuTar);
    assert_spread(verdict.ratio, 0.5, 0.5, 0.8);
    assert_spread(verdict.ours, 1.5, 1.0, 2.0);
    assert_spread(verdict.theirs.expect("somebody else was measured"), 2.5, 2.0, 3.0);
    assert!(verdict.reached(), "0.5 is less than 0.68");
    assert_eq!(verdict.rounds_reached, 2, "0.8 is more");
}

#[test]
fn rounds_that_one_side_has_not_finished_make_no_pair() {
    // 14 / 1 and 20 / 2; of round 3 there is nothing of dockerd.
    let verdict = on_tmpfs(Row::Image, Peer::LayerUnpack, Peer::Dockerd);
    assert_spread(verdict.ratio, 12.0, 10.0, 14.0);
    assert_eq!(verdict.ratio.count, 2);
    assert_spread(verdict.ours, 1.5, 1.0, 2.0);
    assert!(!verdict.reached(), "12 is less than 13");
    assert_eq!(verdict.rounds_reached, 1);
}

#[test]
fn a_goal_that_is_met_exactly_is_reached() {
    // 2.0 / 1.0, 3.5 / 2.0, 3.0 / 1.5 against 1.75.
    let verdict = on_tmpfs(Row::Scaling, Peer::LayerUnpack, Peer::LayerUnpackOneThread);
    assert_spread(verdict.ratio, 2.0, 1.75, 2.0);
    assert_eq!(verdict.rounds_reached, 3);
}

#[test]
fn cpu_time_is_compared_with_the_sum_of_two() {
    // 2.0 / (2.0 + 0.5), 2.5 / (2.0 + 0.5), 2.0 / (2.5 + 0.5).
    let verdict = on_tmpfs(Row::Cpu, Peer::LayerUnpack, Peer::Sha256);
    assert_spread(verdict.ratio, 0.8, 2.0 / 3.0, 1.0);
    assert_spread(verdict.theirs.expect("the sum"), 2.5, 2.5, 3.0);
    assert!(verdict.reached());
}

#[test]
fn a_time_needs_nobody_to_compare_with() {
    let all = verdicts(&fixture());
    let warm = all.iter().find(|verdict| verdict.goal.row == Row::Warm).expect("it was measured");
    assert_spread(warm.ratio, 0.005, 0.004, 0.040);
    assert!(warm.theirs.is_none());
    assert_eq!((warm.reached(), warm.rounds_reached), (true, 2));
}

#[test]
fn places_do_not_mix() {
    let all = verdicts(&fixture());
    let disk: Vec<&Verdict> = all.iter().filter(|verdict| verdict.on != On::Tmpfs).collect();
    assert_eq!(disk.len(), 1, "only one pair was measured on a disk");
    assert_eq!((disk[0].on, disk[0].sync), (On::Ext4, Sync::Synced));
    assert_spread(disk[0].ratio, 0.25, 0.25, 0.25);
}

#[test]
fn pairs_are_within_one_file() {
    // The same file twice: as many pairs again, and none across.
    let twice = [fixture(), fixture()].concat();
    let goal = GOALS.iter().find(|goal| goal.against == [Peer::GnuTar] && goal.ours == Peer::LayerUnpack);
    let verdict = verdict(&twice, goal.expect("there is such a goal"), On::Tmpfs, Sync::Unsynced).expect("measured");
    assert_eq!(verdict.ratio.count, 6);
    assert_spread(verdict.ratio, 0.5, 0.5, 0.8);
}

#[test]
fn the_bound_is_the_sum_of_the_stages_divided_by_the_threads() {
    // 0.9 + 0.6 + 0.3 = 1.8; measured 3.0 with one thread and 1.5 with two.
    let above = above(&fixture(), Workload::Image);
    let figures: Vec<(u32, f64, f64)> = above.iter().map(|it| (it.threads, it.bound, it.ratio())).collect();
    for ((threads, bound, ratio), expected) in figures.into_iter().zip([(1, 1.8), (2, 0.9)]) {
        assert_eq!(threads, expected.0);
        assert!((bound - expected.1).abs() < 1e-9 && (ratio - 5.0 / 3.0).abs() < 1e-9, "{bound} {ratio}");
    }
    assert!(above_of_small().is_empty(), "without --bench there is nothing to compare with");
}

#[test]
fn stages_are_those_on_tmpfs_in_whatever_order_the_files_come() {
    let with = |on, factor: f64| {
        let mut results = fixture();
        for costs in &mut results[0].stages {
            costs.on = on;
            let stages = costs.bench.iter_mut().flat_map(|bench| &mut bench.runs).flat_map(|run| &mut run.stages);
            stages.for_each(|stage| stage.cpu_seconds *= factor);
        }
        results.remove(0)
    };
    for files in [[with(On::Tmpfs, 1.0), with(On::Ext4, 3.0)], [with(On::Ext4, 3.0), with(On::Tmpfs, 1.0)]] {
        let bounds: Vec<f64> = above(&files, Workload::Image).iter().map(|it| it.bound).collect();
        assert!((bounds[0] - 1.8).abs() < 1e-9, "{bounds:?}");
    }
    let bounds: Vec<f64> = above(&[with(On::Ext4, 3.0)], Workload::Image).iter().map(|it| it.bound).collect();
    assert!(bounds.is_empty(), "nothing was measured there");
}

fn above_of_small() -> Vec<benches::peers::verdict::Above> {
    above(&fixture(), Workload::Small)
}

#[test]
fn the_tables_say_what_was_worked_out() {
    let report = report();
    for line in [
        "| image | dockerd, docker load | 17.0 s | 1.50 s | **12.0x** | 10.0x to 14.0x | 13.0x | 15 to 16 | **no**, in 1 of 2 rounds |",
        "| image | GNU tar | 2.50 s | 1.50 s | **0.50** | 0.50 to 0.80 | 0.68 | 0.58 | yes, in 2 of 3 rounds |",
        "| scaling | 1 thread | 3.00 s | 1.50 s | **2.00x** | 1.75x to 2.00x | 1.75x | 2.0 | yes |",
        "| warm import | the image is there already |  | 5.0 ms | **5.0 ms** | 4.0 ms to 40.0 ms | 30.0 ms |  | yes, in 2 of 3 rounds |",
        "| memory | peak over all inputs | | | **120.0 MB** | | 128 MB | | yes |",
        "| hash | 900 ms | 50 % | 1.50 GB/s |",
        "2 threads: 1.80 s / 2 = 900 ms at the least; measured 1.50 s, **1.67** times that.",
        "- skipped, podman load: podman is not installed",
        "- failed, bsdtar on ext4, synced: bsdtar: exit status: 1: no room",
        "- files: 63231, counted after layer-unpack, 2 threads; GNU tar",
        "raw: [day.json](results/day.json).",
        "| odd | a \\| b |",
    ] {
        assert!(report.contains(line), "{line}\nis not in\n{report}");
    }
}

#[test]
fn the_report_shows_the_pictures_that_are_drawn() {
    let pictures = plots::draw(&fixture()).expect("pictures");
    let names: Vec<&str> = pictures.iter().map(|picture| picture.file.as_str()).collect();
    assert_eq!(names, ["goals.svg", "image.svg", "stages.svg"]);
    let report = report();
    for picture in &pictures {
        assert!(report.contains(&format!("](results/{})", picture.file)), "{} is not shown", picture.file);
        assert!(picture.svg.starts_with("<svg") && picture.svg.trim_end().ends_with("</svg>"));
    }
    assert!(pictures[0].svg.contains("0.50 (must 0.68)"));
}

#[test]
fn only_what_is_between_the_markers_changes() {
    let before = "# Title\r\n\n  text \n<!-- peers: begin -->\nold\n<!-- peers: end -->\ttail\n\n## \u{e9} without an end of line";
    let after = splice::replace(before, "\n\nnew\n").expect("there are markers");
    let expected = "# Title\r\n\n  text \n<!-- peers: begin -->\n\nnew\n\n<!-- peers: end -->\ttail\n\n## \u{e9} without an end of line";
    assert_eq!(after, expected);
    assert_eq!(splice::replace(&after, "new").expect("there are markers"), after, "the second time changes nothing");
}

#[test]
fn a_missing_marker_is_an_error() {
    for text in ["none", "<!-- peers: end --> <!-- peers: begin -->", "<!-- peers: begin --> no end"] {
        assert!(splice::replace(text, "report").is_err(), "{text}");
    }
}

#[test]
fn benchmarks_md_has_the_markers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../BENCHMARKS.md");
    let text = std::fs::read_to_string(path).expect("BENCHMARKS.md");
    splice::replace(&text, "report").expect("both markers");
}
