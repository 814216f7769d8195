//! A container that runs stands still while it is committed, and goes on afterwards, however the commit has ended.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::run::{Input, Ran, layerfs, run, start};

const IMAGE: &str = "layerfs-test/busybox:1";

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Counts in one file and then in another, between which lies a large one: who reads all three while it runs finds that the last one is
/// far ahead of the first one.
const COUNTS: &str = "mkdir /a /z; head -c 40000000 /dev/urandom >/m; i=0
while :; do i=$((i+1)); echo $i >/a/new; mv /a/new /a/n; echo $i >/z/new; mv /z/new /z/n; done";

fn ours(root: &Path, arguments: &[&str]) -> Ran {
    run(layerfs(&[&["--root", root.to_str().unwrap()], arguments].concat()), Input::Nothing)
}

/// What the container has counted to.
fn count(root: &Path) -> u64 {
    ours(root, &["exec", "one", "cat", "/z/n"]).stdout.trim().parse().unwrap_or(0)
}

/// The container goes on counting.
fn expect_counting(root: &Path) {
    let (before, begun) = (count(root), Instant::now());
    while count(root) <= before {
        assert!(begun.elapsed() < LONG, "it stands still at {before}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn root_a_container_that_is_committed_stands_still() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    ours(&root, &["load", "-q", "-i", testkit::golden("busybox-20.10.tar").to_str().unwrap()]).ok();
    let has_runc = ["/usr/bin/runc", "/usr/sbin/runc"].iter().any(|path| Path::new(path).exists());
    for runtime in ["builtin", "runc"].iter().filter(|name| **name == "builtin" || has_runc) {
        ours(&root, &["run", "-d", "--name", "one", "--runtime", runtime, IMAGE, "sh", "-c", COUNTS]).ok();
        expect_counting(&root);
        for _ in 0..2 {
            let committed = ours(&root, &["commit", "--no-sync", "one"]).ok();
            assert_eq!(committed.stderr, "", "{runtime}");
            let id = committed.stdout.trim();
            let counted =
                |path: &str| -> u64 { ours(&root, &["image", "cat", id, path]).ok().stdout.trim().parse().unwrap() };
            let (first, last) = (counted("/a/n"), counted("/z/n"));
            assert!(first == last || first == last + 1, "{runtime}: {first}, but {last} later");
            expect_counting(&root);
        }
        // A commit that is killed does not leave it standing, wherever it was.
        for moment in 0..4 {
            let arguments = ["--root", root.to_str().unwrap(), "commit", "--no-sync", "one"];
            let mut commit = start(layerfs(&arguments), Input::Nothing);
            std::thread::sleep(Duration::from_millis(30 * moment));
            commit.kill().unwrap();
            commit.wait().unwrap();
            expect_counting(&root);
        }
        ours(&root, &["commit", "--pause=false", "--no-sync", "one"]);
        ours(&root, &["rm", "-f", "one"]).ok();
    }
}
