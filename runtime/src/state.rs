//! What is known of a container while it exists, on disk: its first process, and when that process was started.
//!
//! ```text
//! <state>/<id>/state.json    of a container of the built-in runtime
//! <state>/<program>/         the `--root` of another runtime
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Exit;
use crate::again::make_below;
use crate::error::RuntimeError;

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whether it runs.
    pub status: Status,
    /// Its first process; 0 if it has ended.
    pub pid: i32,
    /// The directory with `config.json`.
    pub bundle: PathBuf,
}

/// Whether a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits for its start.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

/// The file of the built-in runtime.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: i32,
    /// When the process was started, by the kernel's clock: another process with the same number has another time.
    pub(crate) started: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) created: bool,
    /// Directories of control groups that were made for it.
    pub(crate) groups: Vec<PathBuf>,
}

impl Record {
    pub(crate) fn dir(state: &Path, id: &str) -> Result<PathBuf, RuntimeError> {
        if id.is_empty() || id.starts_with('.') || id.contains('/') {
            return Err(RuntimeError::Unknown(id.to_owned()));
        }
        Ok(state.join(id))
    }

    pub(crate) fn read(state: &Path, id: &str) -> Result<Self, RuntimeError> {
        let path = Self::dir(state, id)?.join("state.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RuntimeError::Unknown(id.to_owned())),
            Err(error) => return Err(RuntimeError::io(format!("reading {}", path.display()))(error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| RuntimeError::Spec { path, message: error.to_string() })
    }

    /// Written beside and renamed, so that nobody reads half a record.
    pub(crate) fn write(&self, state: &Path, id: &str) -> Result<(), RuntimeError> {
        let dir = Self::dir(state, id)?;
        let failed = |error: io::Error| RuntimeError::io(format!("writing {}", dir.display()))(error);
        let bytes = serde_json::to_vec(self).map_err(io::Error::other).map_err(failed)?;
        let write = || fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join("state.tmp"), &bytes));
        make_below(write).map_err(failed)?;
        fs::rename(dir.join("state.tmp"), dir.join("state.json")).map_err(failed)
    }

    /// Whether the process is the one that was started then, and has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid).is_some_and(|started| started == self.started)
    }
}

/// When a process was started, in ticks since the boot; `None` if it has ended, even if its parent has not taken it yet.
pub(crate) fn started(pid: i32) -> Option<u64> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name, in parentheses, may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let status = fields.next()?;
    if matches!(status, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The processes in the process name space of `pid`, if it has one of its own, else the process alone with its children.
pub(crate) fn processes(pid: i32) -> Result<Vec<i32>, RuntimeError> {
    let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid"));
    let wanted = space(pid).map_err(RuntimeError::io("reading the process name space"))?;
    if space(std::process::id().cast_signed()).is_ok_and(|own| own == wanted) {
        return Ok(descendants(pid));
    }
    let entries = fs::read_dir("/proc").map_err(RuntimeError::io("reading /proc"))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process that ends meanwhile is in no name space any more.
    let mut found: Vec<i32> = pids.filter(|&pid| space(pid).is_ok_and(|space| space == wanted)).collect();
    found.sort_unstable();
    Ok(found)
}

fn descendants(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|number| number.parse::<i32>().ok()));
        at += 1;
    }
    found
}

pub(crate) fn wait(pid: i32) -> Result<Exit, RuntimeError> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Status(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(RuntimeError::io(format!("waiting for process {pid}"))(errno)),
        }
    }
}

/// The names of signals, by number.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

const REAL_TIME: (i32, i32) = (34, 64);

pub(crate) fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REAL_TIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |rest: &str, from: i32, sign: i32| {
        let offset = if rest.is_empty() { 0 } else { rest.get(1..)?.parse::<i32>().ok()? };
        let number = from + sign * offset;
        (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number)
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return if rest.is_empty() || rest.starts_with('+') { real_time(rest, REAL_TIME.0, 1) } else { None };
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return if rest.is_empty() || rest.starts_with('-') { real_time(rest, REAL_TIME.1, -1) } else { None };
    }
    let alias = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    SIGNALS.iter().position(|one| *one == alias).and_then(|at| i32::try_from(at + 1).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("KILL", Some(9)),
            ("sigterm", Some(15)),
            ("SIGWINCH", Some(28)),
            ("12", Some(12)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMAX+1", None),
            ("RTMIN-1", None),
            ("nosuch", None),
            ("0", None),
            ("65", None),
            ("", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }

    /// A command that ends another container removes the directory of all of them where it is empty.
    #[test]
    fn a_record_is_written_though_the_directory_above_goes() {
        let temp = tempfile::tempdir().unwrap();
        let state = temp.path().join("state");
        let record = Record { pid: 1, started: 2, bundle: "/b".into(), created: true, groups: Vec::new() };
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = fs::remove_dir(&state);
                    // Containers do not end without a pause between them.
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
            });
            let failed = (0..500).find_map(|_| {
                let written = record.write(&state, "a").err();
                let _ = fs::remove_dir_all(state.join("a"));
                written
            });
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }

    #[test]
    fn ids_are_names_of_files() {
        for bad in ["", ".", "..", "../x", "a/b"] {
            assert!(Record::dir(Path::new("/state"), bad).is_err(), "{bad}");
        }
    }
}
