//! Imports that are killed at any moment: the store is as before, or it holds the whole image, with or without its name, and
//! the next import takes away all that is left.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use testkit::kill::{self, Left, Moment, Workshop};

/// Kills one import. Returns what it left, whether it was still running, and what is wrong.
fn kill(workshop: &Workshop, moment: Moment, sync: bool) -> (Left, bool, Vec<String>) {
    let root = workshop.root("killed");
    let running = root.kill(moment, sync);
    let (left, found) = root.left();
    let title = format!("killed at {moment:?}, sync {sync}, which left {left:?}");
    let mut report: Vec<String> = found.into_iter().map(|line| format!("{title}: {line}")).collect();
    report.extend(root.after_import().into_iter().map(|line| format!("{title}, then imported: {line}")));
    root.remove();
    (left, running, report)
}

#[test]
fn root_survives_a_kill() {
    if !testkit::is_root() {
        return;
    }
    let kills = if testkit::full_sweep() { 200 } else { 26 };
    kill_often(&Workshop::new(60 << 20, 3000), kills);
}

/// Layers of vfs are copies of their parents, made one after the other.
#[test]
fn root_survives_a_kill_on_vfs() {
    if !testkit::is_root() {
        return;
    }
    let kills = if testkit::full_sweep() { 200 } else { 12 };
    kill_often(&Workshop::of_driver("vfs", 20 << 20, 600), kills);
}

/// Kills imports all over their time, with and without syncs.
fn kill_often(workshop: &Workshop, kills: u64) {
    // An import that takes half as long as it did when its duration was measured, since other programs have ended, is over before most kills.
    let tried: Vec<String> = (0..3).map_while(|_| kill_all_over(workshop, kills).err()).collect();
    assert!(tried.len() < 3, "the moments are badly chosen: {tried:?}");
}

/// Returns what was left if the kills came too late to say anything.
fn kill_all_over(workshop: &Workshop, kills: u64) -> Result<(), String> {
    let (mut report, mut seen) = (Vec::new(), Vec::new());
    for sync in [true, false] {
        let duration = workshop.duration(sync);
        for moment in kill::moments(kills / 2, duration, 1 + u64::from(sync)) {
            let (left, running, found) = kill(workshop, moment, sync);
            report.extend(found);
            seen.push((left, running, matches!(moment, Moment::Intent(_))));
        }
    }
    testkit::assert_none("after kills", &report);
    let count = |wanted: &dyn Fn(&(Left, bool, bool)) -> bool| seen.iter().filter(|seen| wanted(seen)).count();
    let killed = count(&|&(_, running, _)| running);
    let nothing = count(&|&(left, running, _)| running && left == Left::Nothing);
    let late = count(&|&(_, running, intent)| running && intent);
    eprintln!("{killed} of {} were still running, {late} of them registering; {nothing} left nothing", seen.len());
    if killed * 3 > seen.len() && nothing > 0 { Ok(()) } else { Err(format!("{seen:?}")) }
}

/// Names change, appear and go by these calls alone.
const CALLS: [&str; 6] = ["renameat", "unlinkat", "mkdirat", "symlinkat", "fsync", "syncfs"];

#[test]
fn root_survives_a_kill_at_each_call() {
    let need = "install strace";
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), need) {
        return;
    }
    let workshop = Workshop::new(1 << 20, 6);
    let (mut report, mut seen) = (Vec::new(), Vec::new());
    for call in CALLS {
        for number in 1.. {
            let (left, running, found) = kill(&workshop, Moment::Call(call, number), true);
            report.extend(found);
            if !running {
                assert!(number > 1, "{call} is never called");
                break;
            }
            seen.push(left);
        }
    }
    testkit::assert_none("after kills", &report);
    let count = |wanted: Left| seen.iter().filter(|&&left| left == wanted).count();
    eprintln!("{} kills: {} left nothing", seen.len(), count(Left::Nothing));
    for left in [Left::Nothing, Left::Untagged, Left::Complete] {
        assert!(count(left) > 0, "no kill left {left:?}");
    }
}

#[test]
fn root_survives_a_kill_while_it_is_put_right() {
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    let workshop = Workshop::new(1 << 20, 6);
    let mut report = Vec::new();
    // With two layers registered, and with all of them but no image.
    for renames in [4, 6] {
        for number in (1..).step_by(if testkit::full_sweep() { 1 } else { 3 }) {
            let root = workshop.root("killed");
            assert!(root.kill(Moment::Call("renameat", renames), false));
            let running = root.kill(Moment::Call("unlinkat", number), false);
            let title = format!("killed before rename {renames}, and the next import before removal {number}");
            report.extend(root.left().1.into_iter().map(|line| format!("{title}: {line}")));
            report.extend(root.after_import().into_iter().map(|line| format!("{title}, then imported: {line}")));
            root.remove();
            if !running {
                assert!(number > 10, "nothing was put right");
                break;
            }
        }
    }
    testkit::assert_none("after two kills", &report);
}
