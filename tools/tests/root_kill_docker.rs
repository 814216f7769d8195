//! dockerd on roots in which an import was killed: it starts, shows what is there, and misses nothing.

#![allow(clippy::duplicate_mod, reason = "both supports bring the walker along")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use testkit::dockerd::Dockerd;
use testkit::kill::{self, KillRoot, Left, Moment, Workshop};
use testkit::synthetic;

const BUSYBOX: &str = "layerfs-test/busybox:1";

/// What a daemon that starts on the root does not like.
fn check(root: &KillRoot<'_>) -> Vec<String> {
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
    report.extend(daemon.log().lines().filter(|line| is_grave(line)).map(|line| format!("dockerd: {line}")));
    daemon.stop();
    report
}

/// Whether a line of dockerd's log says that something is wrong with its root.
fn is_grave(line: &str) -> bool {
    // dockerd starts its containerd, and starts it anew if its socket was there a moment before it listened.
    if ["module=libcontainerd", "module=grpc"].iter().any(|module| line.contains(module)) {
        return false;
    }
    let says = |words: &[&str]| words.iter().any(|word| line.contains(word));
    says(&["level=error", "level=fatal"]) || (says(&["level=warning"]) && says(&["layer", "image"]))
}

/// The first three are from the log of a dockerd 20.10.24 that started its containerd twice; the others have the form of its lines.
#[test]
fn lines_about_the_root_are_told_from_others() {
    let restarted = [
        r#"time="2026-11-21T18:48:41.058728134Z" level=warning msg="[core] grpc: addrConn.createTransport failed to connect to {unix:///tmp/layerfs-dockerd-u/exec/containerd/containerd.sock localhost <nil> 0 <nil>}. Err: connection error: desc = \"transport: error while dialing: dial unix /tmp/layerfs-dockerd-u/exec/containerd/containerd.sock: connect: connection refused\". Reconnecting..." module=grpc"#,
        r#"time="2026-11-21T18:48:41.058847881Z" level=error msg="failed connecting to containerd" error="failed to dial \"/tmp/layerfs-dockerd-u/exec/containerd/containerd.sock\": connection error" module=libcontainerd"#,
        r#"time="2026-11-21T18:48:41.262774857Z" level=error msg="containerd did not exit successfully" error="signal: killed" module=libcontainerd"#,
    ];
    assert!(restarted.iter().all(|line| !is_grave(line)));
    assert!(is_grave(r#"time="2026-11-21T18:48:41Z" level=error msg="failed to load image""#));
    assert!(is_grave(r#"time="2026-11-21T18:48:41Z" level=warning msg="Failed to load layer""#));
    assert!(!is_grave(r#"time="2026-11-21T18:48:41Z" level=warning msg="Your kernel does not support cgroup blkio""#));
}

#[test]
fn docker_starts_where_an_import_was_killed() {
    if !testkit::is_root() {
        return;
    }
    let Some(_turn) = testkit::docker() else { return };
    let workshop = Workshop::new(4 << 20, 300);
    let count = if testkit::full_sweep() { 20 } else { 3 };
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
    testkit::assert_none("after kills", &report);
}
