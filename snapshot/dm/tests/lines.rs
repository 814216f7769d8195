//! Tables and status lines that a real kernel gave, with dockerd and without: read, and written as they were.

#![allow(clippy::unwrap_used)]

use dm::{PoolMode, PoolStatus, Table, ThinStatus};

#[test]
fn lines_of_a_kernel_are_read_and_written_as_they_were() {
    let lines = std::fs::read_to_string(testkit::testdata("devicemapper/lines.txt")).unwrap();
    let (mut tables, mut pools, mut devices) = (0, 0, 0);
    for line in lines.lines() {
        if line.starts_with("0 ") {
            assert_eq!(line.parse::<Table>().unwrap().to_string(), line);
            tables += 1;
            continue;
        }
        let (_, target) = line.split_once(' ').unwrap();
        let written = match target.split_once(' ').unwrap() {
            ("thin-pool", status) => {
                pools += 1;
                format!("thin-pool {}", status.parse::<PoolStatus>().unwrap())
            }
            ("thin", status) => {
                devices += 1;
                format!("thin {}", status.parse::<ThinStatus>().unwrap())
            }
            (other, _) => panic!("{other}"),
        };
        assert_eq!(written, target);
    }
    assert!(tables >= 8 && pools >= 50 && devices >= 10, "{tables} tables, {pools} pools, {devices} devices");
}

#[test]
fn what_a_line_says_is_found() {
    let line = "4 445/4096 3200/3200 650 out_of_data_space discard_passdown error_if_no_space needs_check 1024 ";
    let Ok(PoolStatus::Working(pool)) = line.parse() else { panic!("{line}") };
    assert_eq!((pool.transaction, pool.held_root, pool.mode), (4, Some(650), PoolMode::OutOfDataSpace));
    assert_eq!((pool.metadata.free(), pool.data.free()), (3651, 0));
    assert!(pool.error_if_no_space && pool.needs_check);
    assert_eq!(" 256 - ".parse(), Ok(ThinStatus::Working { mapped: 256, highest: None }));
    assert_eq!("Error".parse(), Ok(PoolStatus::Failed));
}

#[test]
fn other_lines_are_refused() {
    for line in
        ["", "0", "0 8 linear 7:0 0", "0 8 thin 7:0 16777216", "0 8 thin 7:0 1 2", "1 8 thin 7:0 1", "0 x thin 7:0 1"]
    {
        assert!(line.parse::<Table>().is_err(), "{line:?}");
    }
    for line in
        ["0 8 thin-pool 7:1 7:0 128", "0 8 thin-pool 7:1 7:0 128 0 2 skip_block_zeroing", "0 8 thin-pool 7 7:0 128 0 0"]
    {
        assert!(line.parse::<Table>().is_err(), "{line:?}");
    }
    for line in
        ["", "1", "1 1/2 3/4 - rx discard_passdown queue_if_no_space - 1", "1 1/2 34 - rw d queue_if_no_space - 1"]
    {
        assert!(line.parse::<PoolStatus>().is_err(), "{line:?}");
    }
    for line in ["", "1", "x -", "1 - 2"] {
        assert!(line.parse::<ThinStatus>().is_err(), "{line:?}");
    }
}
