//! A process that outlives the one whose containers end with it, for as long as it takes to end them.
//!
//! The kernel can kill a process when its parent ends, but forgets about it when that process becomes another user or starts a
//! program that gains privileges, and it removes no control groups. So a process of our own waits beside: it has one end of a
//! socket, and when nobody has the other end any more, it kills the container, by a descriptor, and removes its groups.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::groups;
use super::message::{Outer, pair, receive, send};
use crate::{state, sys};

/// How long a guard tries to remove the groups: a stage that is in one may have to end first.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a guard is told.
#[derive(Debug, Serialize, Deserialize)]
enum Watch {
    /// These directories of control groups are about to be made.
    Groups(Vec<PathBuf>),
    /// This is the first process of a container, with its descriptor. There may be several.
    Process,
}

/// A guard that watches. When this is dropped, or the process has ended, what it guards ends.
#[derive(Debug)]
pub(crate) struct Guard {
    socket: Option<OwnedFd>,
}

impl Guard {
    /// Lets the outer stage that listens at `stage` make a guard. `groups` are the directories that will be made
    /// afterwards.
    pub(super) fn start(stage: &OwnedFd, groups: &[PathBuf]) -> io::Result<Self> {
        let (socket, theirs) = pair()?;
        send(stage, &Outer::Guard, &[theirs.as_fd()])?;
        let guard = Self { socket: Some(socket) };
        if !groups.is_empty() {
            guard.tell(&Watch::Groups(groups.to_vec()), None)?;
        }
        Ok(guard)
    }

    /// Guards a process that has not begun yet. Returns its descriptor.
    pub(super) fn watch(&self, pid: i32) -> io::Result<OwnedFd> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let process = pidfd_open(Pid::from_raw(pid).ok_or_else(gone)?, PidfdFlags::empty())?;
        self.tell(&Watch::Process, Some(&process))?;
        Ok(process)
    }

    fn tell(&self, what: &Watch, process: Option<&OwnedFd>) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let descriptors: Vec<_> = process.into_iter().map(AsFd::as_fd).collect();
        send(socket, what, &descriptors)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // No number comes if the stage has ended before it made the guard.
        let pid = self.socket.as_ref().and_then(|socket| receive::<i32>(socket).ok().flatten());
        drop(self.socket.take());
        if let Some((pid, _)) = pid {
            // The guard has nothing to do any more, or does its work now.
            let _ = state::wait(pid);
        }
    }
}

/// The guard's work.
pub(super) fn run(socket: &OwnedFd) -> i32 {
    // A signal to the process group of the starter must not reach the guard, and a reader of the starter's standard
    // error must not wait for the guard's end.
    let _ = rustix::process::setsid();
    let _ = rustix::stdio::dup2_stderr(io::stdin());
    let _ = rustix::process::chdir("/");
    let _ = send(socket, &std::process::id(), &[]);
    let (mut dirs, mut watched): (Vec<PathBuf>, Vec<OwnedFd>) = (Vec::new(), Vec::new());
    while let Ok(Some((what, descriptors))) = receive::<Watch>(socket) {
        match what {
            Watch::Groups(named) => dirs = named,
            Watch::Process => {
                watched.retain(|process| !has_ended(process));
                watched.extend(descriptors);
            }
        }
    }
    for process in &watched {
        // Where all went well, the process has ended already.
        let _ = sys::send_signal(process, libc::SIGKILL);
    }
    let begun = Instant::now();
    loop {
        groups::remove(&dirs);
        if begun.elapsed() >= PATIENCE || !dirs.iter().any(|dir| dir.exists()) {
            break;
        }
        // Something keeps a group for a while, so asking again at once would not help.
        std::thread::sleep(Duration::from_millis(1));
    }
    0
}

/// Whether a process has ended, be it that nobody has waited for it yet.
fn has_ended(process: &OwnedFd) -> bool {
    let mut ask = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut ask, Some(&Timespec::default())), Ok(1))
}

/// What ends a container, if it has not ended, when this is dropped.
#[derive(Debug)]
pub(crate) enum Tie {
    /// A guard of its own.
    Own { _guard: Guard },
    /// Its first process; the guard that watches it watches others, too.
    Process(OwnedFd),
}

impl Drop for Tie {
    fn drop(&mut self) {
        if let Self::Process(process) = self {
            // Where all went well, it has ended already.
            let _ = sys::send_signal(process, libc::SIGKILL);
        }
    }
}
