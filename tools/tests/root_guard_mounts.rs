//! May this directory be written to, while something of it is mounted? A layer that is mounted is found whatever its path is made
//! of and whichever way leads to it, and a table of mounts that cannot be read is a no.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[allow(dead_code, reason = "not every test asks everything")]
mod guardsupport;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use guardsupport::{ARCHIVE, DATA_ROOT, plant, refused, taken};
use testkit::mounts::Bound;
use testkit::run::{Input, Ran, run};
use testkit::{TreeState, golden, is_root, program};

/// Names that mountinfo escapes, or that look as if it had.
fn names() -> Vec<OsString> {
    let names: [&[u8]; 12] = [
        b"plain",
        b"a b",
        b" a",
        b"a\tb",
        b"a\nb",
        b"a\\b",
        b"a\\040b",
        b"a#b",
        b"a,b:c=d",
        b"\xff\xfe",
        "é\u{202e}".as_bytes(),
        b" - tmpfs x rw",
    ];
    names.iter().map(|name| OsString::from_vec(name.to_vec())).collect()
}

#[test]
fn root_mounted_layers_are_seen_whatever_their_names() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let mut report = Vec::new();
    for name in names() {
        let root = dir.path().join(&name);
        plant(&root, &DATA_ROOT);
        plant(&root, &["overlay2/top/merged/"]);
        let bound = Bound::new(&root.join("volumes"), &root.join("overlay2/top/merged"));
        report.extend(refused(&format!("{name:?}"), dir.path(), root.as_os_str(), "a layer of it is mounted"));
        drop(bound);
        std::fs::remove_dir_all(root.join("overlay2/top")).unwrap();
        report.extend(taken(&format!("{name:?} unmounted"), root.as_os_str(), &[], false));
    }
    testkit::assert_none("names", &report);
}

/// An overlay.
fn overlay(at: &Path, options: &str) -> Option<Bound> {
    let status = Command::new("mount").args(["-t", "overlay", "overlay", "-o", options]).arg(at).status().unwrap();
    status.success().then(|| Bound::taken(at))
}

#[test]
fn root_mounted_layers_are_seen_whichever_way_leads_there() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let at = dir.path();
    let root = at.join("root");
    plant(&root, &DATA_ROOT);
    plant(&root, &["overlay2/base/diff/f", "overlay2/top/diff/", "overlay2/top/work/", "overlay2/top/merged/"]);
    plant(&root, &["overlay2/l/AB -> ../base/diff"]);
    plant(at, &["link -> root", "seen/", "elsewhere/", "other/"]);
    let mounted = "a layer of it is mounted";
    let mut report = Vec::new();
    let mut check = |title: &str, root: &Path| report.extend(refused(title, at, root.as_os_str(), mounted));
    // Other ways to the root than the one by which the layer is mounted.
    let merged = root.join("overlay2/top/merged");
    {
        let _merged = Bound::new(&at.join("elsewhere"), &merged);
        check("by a link", &at.join("link"));
        check("with dots", &at.join("other/../root"));
        let _seen = Bound::new(&root, &at.join("seen"));
        check("by a bind mount", &at.join("seen"));
    }
    {
        let _seen = Bound::new(&root, &at.join("seen"));
        let _merged = Bound::new(&at.join("elsewhere"), &at.join("seen/overlay2/top/merged"));
        check("mounted in a bind mount of it", &root);
    }
    // As a daemon's failed start leaves it.
    {
        let _self = Bound::new(&root, &root);
        let _home = Bound::new(&root.join("overlay2"), &root.join("overlay2"));
        let merged = Bound::new(&at.join("elsewhere"), &merged);
        check("above itself", &root);
        drop(merged);
        report.extend(taken("the root and its home are mounted on themselves", root.as_os_str(), &[], false));
    }
    // Overlays somewhere else that show its layers, by whatever path they were given.
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let ways =
        ["root/overlay2/base/diff", "link/overlay2/base/diff", "root/overlay2/l/AB", "other/../root/overlay2/l/AB"];
    for way in ways {
        let Some(_overlay) =
            overlay(&at.join("elsewhere"), &format!("lowerdir={}:{}", text(&at.join(way)), text(&at.join("other"))))
        else {
            panic!("no overlay can be mounted here");
        };
        report.extend(refused(way, at, root.as_os_str(), mounted));
    }
    // Somebody else's layers are no obstacle.
    plant(at, &["x/overlay2/base/diff/", "y/"]);
    let options = format!("lowerdir={}:{}", text(&at.join("x/overlay2/base/diff")), text(&at.join("y")));
    let foreign = overlay(&at.join("elsewhere"), &options).unwrap();
    report.extend(taken("another root's layers are mounted", root.as_os_str(), &[], false));
    drop(foreign);
    testkit::assert_none("ways", &report);
}

/// Runs a script in a mount namespace of its own, with a root for `$0` and the program and archive behind.
fn in_namespace(script: &str, root: &Path, options: &[&str]) -> Ran {
    let archive = golden(ARCHIVE);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(root).arg(program("layer-unpack"));
    command.arg(archive).args(["--no-sync", "--root"]).arg(root).args(options);
    run(command, Input::Nothing)
}

/// What is known of mounts is all or nothing.
#[test]
fn root_unknown_mounts_refuse() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    plant(&root, &DATA_ROOT);
    let fake = dir.path().join("fake");
    std::fs::write(&fake, "").unwrap();
    let cut = dir.path().join("cut");
    let table = std::fs::read("/proc/self/mountinfo").unwrap();
    std::fs::write(&cut, &table[..table.len() - 7]).unwrap();
    let bind = |file: &Path| format!("mount --bind {} /proc/$$/mountinfo && exec \"$@\"", file.display());
    let mut report = Vec::new();
    for (title, script) in [
        ("nothing at /proc", "mount -t tmpfs none /proc && exec \"$@\"".to_owned()),
        ("an empty table", bind(&fake)),
        ("a table that is cut off", bind(&cut)),
    ] {
        let before = TreeState::read(&root);
        let mut said = Vec::new();
        for options in [&[][..], &["--dry-run"]] {
            let ran = in_namespace(&script, &root, options);
            report.extend(
                ran.complaints(&["is not written to|/proc"]).into_iter().map(|line| format!("{title}: {line}")),
            );
            said.push(ran.stderr);
        }
        if said[0] != said[1] {
            report.push(format!("{title}: a dry run says something else: {said:?}"));
        }
        report.extend(before.changes(&TreeState::read(&root)).into_iter().map(|line| format!("{title}: {line}")));
    }
    // As it is, the same root is taken.
    let ran = in_namespace("exec \"$@\"", &root, &[]);
    if ran.code != Some(0) {
        report.push(format!("all is well: {}", ran.stderr));
    }
    testkit::assert_none("unknown mounts", &report);
}
