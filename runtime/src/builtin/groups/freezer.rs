//! Stopping all processes of a container for a time, in both versions of control groups: `freezer.state`, and `cgroup.freeze` with
//! `cgroup.events` (the kernel's `Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst` and `cgroup-v2.rst`).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::procfs::is_groups;

/// How long to wait until the last process has stopped: one may be in the middle of a long system call.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file that stops the processes of a container, and how it is said and seen.
struct Freezer {
    path: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
    seen_in: PathBuf,
    seen: &'static str,
}

/// The freezer of these groups. That of version 1 comes first: beside it, version 2 may hold no process.
fn freezer(dirs: &[PathBuf]) -> Option<Freezer> {
    let first = |name: &str| dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists());
    if let Some(path) = first("freezer.state") {
        let seen_in = path.clone();
        return Some(Freezer { path, frozen: "FROZEN", thawed: "THAWED", seen_in, seen: "FROZEN" });
    }
    let path = first("cgroup.freeze")?;
    let seen_in = path.with_file_name("cgroup.events");
    Some(Freezer { path, frozen: "1", thawed: "0", seen_in, seen: "frozen 1" })
}

/// Stops all processes in groups that were made for a container, and returns when they have stopped. If they do not, they go on.
pub(in super::super) fn freeze(dirs: &[PathBuf]) -> io::Result<()> {
    let none = || io::Error::new(io::ErrorKind::Unsupported, "it is in no control group that can stop processes");
    let freezer = freezer(dirs).ok_or_else(none)?;
    is_groups(&freezer.path)?;
    let begun = Instant::now();
    loop {
        // Version 1 wants to hear it again where a process was being made meanwhile.
        fs::write(&freezer.path, freezer.frozen)?;
        let seen = fs::read_to_string(&freezer.seen_in)?;
        if seen.lines().any(|line| line == freezer.seen) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            fs::write(&freezer.path, freezer.thawed)?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "some of its processes do not stop"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Lets processes that were stopped go on.
pub(in super::super) fn thaw(dirs: &[PathBuf]) -> io::Result<()> {
    freezer(dirs).map_or(Ok(()), |freezer| fs::write(&freezer.path, freezer.thawed))
}
