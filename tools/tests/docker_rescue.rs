//! Stores of devicemapper, rescued into a store of overlay2 that dockerd 20.10 then uses.

#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use testkit::dockerd::Dockerd;
use testkit::thin_store::{STORES, ThinStore, members};
use testkit::{quiet, saved};

/// Ids with names, as both sides list them.
const LISTED: [&str; 6] = ["image", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"];

const CONTAINERS: [&str; 6] = ["container", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}"];

/// What begins so in a container is made anew with it: the places at which dockerd mounts something. Their times are others.
const MADE_ANEW: [&str; 5] = [".dockerenv", "dev", "etc", "proc", "sys"];

/// The first words of each line, two of them, in order.
fn pairs(text: &str) -> Vec<String> {
    let pair = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = text.lines().map(pair).collect();
    lines.sort();
    lines
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.sort_unstable();
    lines
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a container holds, without the times of what is made with it.
fn shown(tar: &Path) -> Vec<(String, String, Vec<u8>)> {
    let mut members = members(tar);
    for (name, told, _) in &mut members {
        let first = name.split('/').next().unwrap();
        if MADE_ANEW.contains(&first) {
            let words: Vec<&str> = told.split(' ').collect();
            *told = format!("{} {} {} {}", words[0], words[1], words[2], words[4]);
        }
    }
    members
}

/// Everything that docker said of the old store it says of the new one, and its images and containers run.
#[test]
fn docker_uses_what_was_rescued() {
    let Some(_docker) = testkit::docker() else { return };
    for name in STORES {
        let store = ThinStore::unpack(name);
        let before = quiet::Stamps::take(&store.root);
        let new = store.at("new");
        store.ok(&["system", "rescue", "-q", "--to", "overlay2", text(&new)]);
        testkit::assert_none(name, &before.changes(&quiet::Stamps::take(&store.root)));

        let daemon = Dockerd::start(&new);
        assert_eq!(pairs(&daemon.ok(&LISTED)), pairs(&store.said("images.txt")), "{name}");
        let (ours, theirs) = (pairs(&daemon.ok(&CONTAINERS)), pairs(&store.said("ps.txt")));
        testkit::assert_none(name, &theirs.into_iter().filter(|line| !ours.contains(line)).collect::<Vec<_>>());
        for container in ["edited", "fresh"] {
            let changes = daemon.ok(&["diff", container]);
            assert_eq!(sorted(&changes), sorted(&store.said(&format!("{container}.diff"))), "{name}: {container}");
            let exported = store.at(container);
            daemon.ok(&["export", "-o", text(&exported), container]);
            let (ours, theirs) = (shown(&exported), shown(&store.said.join(format!("{container}.tar"))));
            let told = |members: &[(String, String, Vec<u8>)]| {
                members.iter().map(|(name, told, _)| format!("{name} {told}")).collect::<Vec<_>>()
            };
            assert_eq!(told(&ours), told(&theirs), "{name}: {container}");
            assert!(ours == theirs, "{name}: {container}: other contents");
        }
        let archive = store.at("saved.tar");
        let names = daemon.ok(&["image", "ls", "--filter", "dangling=false", "--format", "{{.Repository}}:{{.Tag}}"]);
        saved::save(&daemon, &names.lines().collect::<Vec<_>>(), &archive);
        let (layers, wrong) = saved::check_layers(&archive);
        assert!(layers > 10, "{layers}");
        testkit::assert_none(name, &wrong);
        let said = daemon.ok(&["run", "--rm", "--network=none", "layerfs-test/busybox:1", "echo", "it runs"]);
        assert_eq!(said.trim(), "it runs");
        // It does once more what it did when it was made.
        daemon.ok(&["start", "-a", "edited"]);
        daemon.stop();
        let check = std::process::Command::new(testkit::program("layerfs"))
            .args(["--root", text(&new), "system", "check", "--deep"])
            .output()
            .unwrap();
        let said = testkit::succeeded("system check", check);
        assert!(said.starts_with("no damage"), "{name}: {said}");
    }
}

/// Of a pool with a damaged block, all that does not need the block is in the new store, and what is not is named.
#[test]
fn docker_uses_what_was_rescued_of_a_damaged_pool() {
    /// A block of the mappings of the device of one image's last layer; no other device has it.
    const BLOCK: u64 = 455;
    let Some(_docker) = testkit::docker() else { return };
    let store = ThinStore::unpack("ext4");
    let metadata = OpenOptions::new().write(true).open(store.pool("metadata")).unwrap();
    metadata.write_all_at(b"damage", BLOCK * 4096 + 100).unwrap();
    let new = store.at("new");
    let output = store.run("layerfs", &["system", "rescue", "-q", "--to", "overlay2", text(&new)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("are lost: block ") && said.contains("(layerfs-test/app:1) needs a layer"), "{said}");

    let daemon = Dockerd::start(&new);
    let (ours, mut expected) = (pairs(&daemon.ok(&LISTED)), pairs(&store.said("images.txt")));
    expected.retain(|line| !line.ends_with(" layerfs-test/app:1"));
    assert_eq!(ours, expected);
    let containers = pairs(&daemon.ok(&CONTAINERS));
    for line in pairs(&store.said("ps.txt")) {
        let name = line.split(' ').nth(1).unwrap();
        let is_lost = said.contains(&format!("left out: container {name}: "));
        assert_eq!(containers.contains(&line), !is_lost, "{name}: {said}");
    }
    let said = daemon.ok(&["run", "--rm", "--network=none", "layerfs-test/busybox:1", "echo", "it runs"]);
    assert_eq!(said.trim(), "it runs");
    daemon.stop();
}
