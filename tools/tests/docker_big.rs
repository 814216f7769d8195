//! An archive of the size that people have; `testdata/make-big-image.sh` makes one.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;

use testkit::flow::Roots;

#[test]
#[ignore = "takes minutes: LAYERFS_BIG_IMAGE=ARCHIVE cargo test -p tools --test docker_big -- --ignored --nocapture"]
fn docker_big_image() {
    let Some(_turn) = testkit::docker() else { return };
    let Some(archive) = std::env::var_os("LAYERFS_BIG_IMAGE").map(PathBuf::from) else {
        eprintln!("skipped: LAYERFS_BIG_IMAGE names no archive");
        return;
    };
    let roots = Roots::make(&archive);
    let seconds = |run: &(String, std::time::Duration)| run.1.as_secs_f64();
    println!("layer-unpack {:.2} s, docker load {:.2} s", seconds(&roots.import), seconds(&roots.load));
    let mut report = roots.on_disk();
    report.extend(roots.in_use(&archive));
    testkit::assert_none(&archive.display().to_string(), &report);
}
