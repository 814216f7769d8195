//! Starts the stages, and talks with them until a container is ready, and again when it may go.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio as Pipe};

use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::message::{Inner, Outer, Report, Start, pair, receive, send};
use super::{STAGE, outer, send_signal};
use crate::error::{RuntimeError, Stage};
use crate::stdio::Stdio;
use crate::{Created, state, sys};

/// This program.
const SELF: &str = "/proc/self/exe";

/// The socket at which a created container waits for its start.
#[derive(Debug)]
pub(crate) struct Waiting(OwnedFd);

/// The outer stage, and our end of the conversation with it and the inner one. The stage ends when this is dropped,
/// unless it has got its work.
#[derive(Debug)]
pub(super) struct Outside<'s> {
    socket: Option<OwnedFd>,
    process: Process<'s>,
}

/// Where the outer stage comes from.
#[derive(Debug)]
enum Process<'s> {
    /// This process has started it.
    Started(Child),
    /// The starter at the other end of this socket has made it.
    Copied(&'s OwnedFd),
}

impl Process<'_> {
    /// Waits for its end. Returns its exit status, and `None` if it was killed.
    fn wait(&mut self) -> Result<Option<i32>, RuntimeError> {
        match self {
            Self::Started(process) => {
                let status = process.wait().map_err(RuntimeError::io("waiting for the built-in runtime"))?;
                Ok(status.code())
            }
            Self::Copied(starter) => match report(starter)?.0 {
                Report::Copied(status) => Ok(status),
                Report::Failed { status, message } => Err(failure(status, message)),
                _ => Err(ended()),
            },
        }
    }
}

impl<'s> Outside<'s> {
    /// Lets a starter make it. Nobody else may talk to the starter as long as this lives.
    pub(super) fn copied(starter: &'s OwnedFd) -> Result<Self, RuntimeError> {
        let (socket, theirs) = pair().map_err(RuntimeError::io("making a socket"))?;
        send(starter, &Outer::Copy, &[theirs.as_fd()]).map_err(RuntimeError::io("talking to the built-in runtime"))?;
        Ok(Self { socket: Some(socket), process: Process::Copied(starter) })
    }

    /// Starts it.
    pub(super) fn start() -> Result<Self, RuntimeError> {
        sys::adopt_orphans().map_err(RuntimeError::io("becoming the parent of the container's processes"))?;
        let (socket, theirs) = pair().map_err(RuntimeError::io("making a socket"))?;
        let program = unwritable_self();
        let path = program
            .as_ref()
            .map_or_else(|| PathBuf::from(SELF), |file| format!("/proc/self/fd/{}", file.as_raw_fd()).into());
        let started = Command::new(path).arg(STAGE).stdin(theirs).stdout(Pipe::null()).env_clear().spawn();
        let process = started.map_err(RuntimeError::io("starting the built-in runtime"))?;
        Ok(Self { socket: Some(socket), process: Process::Started(process) })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        self.socket.as_ref().expect("it is taken when the stage has ended")
    }

    /// Waits for the end of the stage, which has got its work: it ends as soon as it has made the next stage, and waits
    /// for nobody.
    fn end(mut self) -> Result<(OwnedFd, Option<i32>), RuntimeError> {
        let socket = self.socket.take().expect("nobody else takes it");
        Ok((socket, self.process.wait()?))
    }
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        // Whoever has taken it has waited.
        if let Some(socket) = self.socket.take() {
            drop(socket);
            // The stage has nobody to listen to any more, or has ended before.
            let _ = self.process.wait();
        }
    }
}

/// Lets the stages make a container, and waits until the inner one is ready.
pub(super) fn launch(
    outside: Outside<'_>,
    outer: &Outer,
    inner: impl FnOnce(Option<crate::WindowSize>) -> Inner,
    space: Option<BorrowedFd<'_>>,
    stdio: Stdio,
) -> Result<Created, RuntimeError> {
    let (size, streams) = match &stdio {
        Stdio::Files { stdin, stdout, stderr } => (None, vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]),
        Stdio::Terminal { size } => (*size, Vec::new()),
    };
    let descriptors: Vec<_> = space.into_iter().chain(streams).collect();
    let socket = outside.socket();
    let sent = send(socket, outer, &[]).and_then(|()| send(socket, &inner(size), &descriptors));
    drop(stdio);
    sent.map_err(RuntimeError::io("talking to the built-in runtime"))?;
    let (socket, status) = outside.end()?;
    let mut pid = None;
    match (ready(&socket, has_spoken(status), &mut pid), pid) {
        (Ok(terminal), Some(pid)) => Ok(Created { terminal, waiting: Some(Waiting(socket)), ..Created::of(pid) }),
        (result, pid) => {
            pid.into_iter().for_each(end);
            Err(result.err().unwrap_or_else(ended))
        }
    }
}

/// Whether the outer stage, which has ended like this, has sent the number of the inner one, or why there is none. One
/// that was killed may have started the inner one and said nothing: then nothing more comes, although the inner one
/// holds the socket.
fn has_spoken(status: Option<i32>) -> bool {
    matches!(status, Some(outer::SENT | outer::FAILED))
}

/// The next report of a stage; that there is none any more is an error.
fn report(socket: &OwnedFd) -> Result<(Report, Vec<OwnedFd>), RuntimeError> {
    let report = receive::<Report>(socket).map_err(RuntimeError::io("talking to the built-in runtime"))?;
    report.ok_or_else(ended)
}

/// Waits until a starter has joined its groups.
pub(super) fn joined(starter: &OwnedFd) -> Result<(), RuntimeError> {
    match report(starter)?.0 {
        Report::Ready => Ok(()),
        Report::Failed { status, message } => Err(failure(status, message)),
        _ => Err(ended()),
    }
}

/// Waits until the container is ready; returns the other end of its terminal. The inner stage ends when the socket is closed.
fn ready(socket: &OwnedFd, spoken: bool, pid: &mut Option<i32>) -> Result<Option<OwnedFd>, RuntimeError> {
    if !spoken {
        return Err(ended());
    }
    let mut terminal = None;
    loop {
        let (report, mut descriptors) = report(socket)?;
        match report {
            Report::Copied(_) => return Err(ended()),
            Report::Pid(number) => *pid = Some(number),
            Report::Terminal => terminal = descriptors.pop(),
            Report::Ready if pid.is_some() => return Ok(terminal),
            // The inner stage may be faster than the outer one.
            Report::Ready => {
                let report = receive::<Report>(socket).map_err(RuntimeError::io("talking to the built-in runtime"))?;
                if let Some((Report::Pid(number), _)) = report {
                    *pid = Some(number);
                }
                return Ok(terminal);
            }
            Report::Failed { status, message } => {
                // The number of the process may be on its way.
                if pid.is_none()
                    && let Ok(Some((Report::Pid(number), _))) = receive::<Report>(socket)
                {
                    *pid = Some(number);
                }
                return Err(failure(status, message));
            }
        }
    }
}

/// Lets a container start its program: then the inner stage's end of the socket closes. An error says why the program
/// did not start.
pub(super) fn begin(waiting: &Waiting, tied: bool) -> Result<(), RuntimeError> {
    send(&waiting.0, &Start { tied }, &[]).map_err(RuntimeError::io("starting the container"))?;
    match receive::<Report>(&waiting.0) {
        Ok(Some((Report::Failed { status, message }, _))) => Err(failure(status, message)),
        Ok(_) => Ok(()),
        Err(error) => Err(RuntimeError::io("starting the container")(error)),
    }
}

fn failure(status: u8, message: String) -> RuntimeError {
    let stages = [Stage::NotExecutable, Stage::NotThere];
    let stage = stages.into_iter().find(|stage| stage.status() == status).unwrap_or(Stage::Setup);
    RuntimeError::Start { stage, message }
}

fn ended() -> RuntimeError {
    RuntimeError::Start { stage: Stage::Setup, message: "the built-in runtime ended without a word".to_owned() }
}

/// Ends a process that could not become a container.
pub(super) fn end(pid: i32) {
    let _ = send_signal(pid, libc::SIGKILL, || true);
    let _ = state::wait(pid);
}

/// This program's file by a mount of its own that is read-only; `None` where that cannot be made, as without root.
fn unwritable_self() -> Option<OwnedFd> {
    let path = std::env::current_exe().ok()?;
    let mount = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC).ok()?;
    let (own, found) = (fs::metadata(SELF).ok()?, rustix::fs::fstat(&mount).ok()?);
    if (own.dev(), own.ino()) != (found.st_dev, found.st_ino) {
        return None;
    }
    let set = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    sys::change_mount(&mount, false, &sys::MountChange { set, ..sys::MountChange::default() }).ok()?;
    Some(mount)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The outer stage is killed between its two last steps: the inner one is there, is ready, and holds the socket.
    #[test]
    fn an_outer_stage_that_was_killed_is_not_waited_for() {
        let (socket, theirs) = pair().unwrap();
        send(&theirs, &Report::Ready, &[]).unwrap();
        let mut stage = Command::new("/bin/sleep").arg("100").spawn().unwrap();
        stage.kill().unwrap();
        let status = stage.wait().unwrap();
        let (done, waits) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut pid = None;
            let result = ready(&socket, has_spoken(status.code()), &mut pid);
            let _ = done.send(result.is_err() && pid.is_none());
        });
        assert_eq!(waits.recv_timeout(Duration::from_secs(60)), Ok(true));
        drop(theirs);
    }
}
