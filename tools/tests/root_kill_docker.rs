//! dockerd on roots in which an import was killed: it starts, shows what is there, and misses nothing.

#![allow(clippy::duplicate_mod, reason = "both supports bring the walker along")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod faultsupport;
mod support;

use faultsupport::kill::{self, Left, Moment, Root, Workshop};
use faultsupport::synthetic;
use support::dockerd::Dockerd;

const BUSYBOX: &str = "layerfs-test/busybox:1";

/// What a daemon that starts on the root does not like.
fn check(root: &Root<'_>) -> Vec<String> {
    let (left, mut report) = root.left();
    let daemon = Dockerd::start(&root.path);
    let mut images = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut expected = vec![BUSYBOX];
    match left {
        Left::Nothing => {}
        Left::Untagged => expected.push("<none>:<none>"),
        Left::Complete => expected.push(synthetic::TAG),
    }
    let mut found: Vec<&str> = images.lines().collect();
    found.sort_unstable();
    expected.sort_unstable();
    if found != expected {
        report.push(format!("docker images: {found:?}, not {expected:?}"));
    }
    if left == Left::Complete {
        // Every layer is mounted for it.
        daemon.ok(&["create", "--name", "made", synthetic::TAG]);
        daemon.ok(&["rm", "made"]);
    }
    images = daemon.ok(&["run", "--rm", "--network", "none", BUSYBOX, "echo", "hi"]);
    if images != "hi\n" {
        report.push(format!("a container says {images:?}"));
    }
    let grave = |line: &&str| {
        let bad = ["level=error", "level=fatal"].iter().any(|level| line.contains(level));
        bad || (line.contains("level=warning") && ["layer", "image"].iter().any(|word| line.contains(word)))
    };
    report.extend(daemon.log().lines().filter(grave).map(|line| format!("dockerd: {line}")));
    daemon.stop();
    report
}

#[test]
fn docker_starts_where_an_import_was_killed() {
    if !faultsupport::is_root() {
        return;
    }
    let Some(_turn) = support::docker() else { return };
    let workshop = Workshop::new(4 << 20, 300);
    let count = if faultsupport::full_sweep() { 20 } else { 3 };
    let moments: Vec<Moment> = if kill::can_count_calls() {
        // With some layers registered, with all and no image, with an image and no name; then all over.
        let late = [4, 6, 7].map(|number| Moment::Call("renameat", number));
        late.into_iter().chain((1..).map(|number| Moment::Call("mkdirat", number))).take(count).collect()
    } else {
        kill::moments(count as u64, workshop.duration(true), 7)
    };
    let mut report = Vec::new();
    for (number, moment) in moments.into_iter().enumerate() {
        let mut root = workshop.root("killed");
        root.kill(moment, true);
        let mut found = check(&root);
        root.settle();
        if number % 2 == 0 {
            found.extend(root.after_import());
            found.extend(check(&root));
        }
        report.extend(found.into_iter().map(|line| format!("killed at {moment:?}: {line}")));
        root.remove();
    }
    faultsupport::assert_none("after kills", &report);
}
