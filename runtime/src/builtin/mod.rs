//! Our own runtime.
//!
//! The caller may have threads and open files; the container's first process must have neither. So the program starts itself
//! once more, which is the outer stage; the inner one and the guard are copies of that: see `outer.rs`, `inner.rs` and `guard.rs`.
//! Whoever uses this runtime calls [`enter`] first of all in `main`.
//!
//! While they work, the program's file is seen through a mount that cannot be written to, so that nobody in a container
//! can change it by way of `/proc/<pid>/exe` (CVE-2019-5736).
//!
//! It needs Linux 5.12: everything is mounted by descriptor.

mod devices;
mod filesystems;
mod filter;
mod groups;
mod guard;
mod identity;
mod inner;
mod loopback;
mod message;
mod outer;
mod procfs;
mod program;
mod supported;
mod terminal;
mod tree;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio as Pipe};

use nix::sched::CloneFlags;
use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::groups::Groups;
pub(crate) use self::guard::Guard;
use self::message::{Inner, Outer, Report, Start, pair, receive, send};
use crate::error::{RuntimeError, Stage};
use crate::oci::{self, LinuxNamespaceType, Spec};
use crate::state::{self, Record, State, Status};
use crate::stdio::Stdio;
use crate::{Created, sys};

const SELF: &str = "/proc/self/exe";
/// The hidden first argument of a stage.
const STAGE: &str = "runtime-stage";

/// Does the work of a stage, if this process is one; returns its exit status then. To be called first of all in `main`.
#[must_use]
pub fn enter() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != STAGE {
        return None;
    }
    let run = || {
        // First of all, before anything is open: what the caller's caller has left open is not for a container.
        sys::close_from(3)?;
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        io::Result::Ok(outer::run(socket))
    };
    let status = run().unwrap_or(1);
    Some(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

/// What a created container waits with.
#[derive(Debug)]
pub(crate) struct Waiting(OwnedFd);

#[derive(Debug)]
pub(crate) struct Builtin {
    state: PathBuf,
    /// Whether a container ends with the process that has created it.
    pub(crate) tied: bool,
}

impl Builtin {
    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), tied: false }
    }

    pub(crate) fn create(&self, bundle: &Path, id: &str, stdio: Stdio) -> Result<Created, RuntimeError> {
        let (path, spec) = read_spec(bundle)?;
        if let Ok(record) = Record::read(&self.state, id)
            && record.is_alive()
        {
            return Err(RuntimeError::Start {
                stage: Stage::Setup,
                message: format!("container with given ID already exists: {id}"),
            });
        }
        let mut record = Record {
            pid: 0,
            started: 0,
            bundle: fs::canonicalize(bundle).unwrap_or_else(|_| bundle.to_owned()),
            created: true,
            groups: groups::places(&spec),
        };
        // If this process is killed from here on, somebody has to know of the groups.
        record.write(&self.state, id)?;
        let made = self.make(&spec, path, &mut record, stdio).and_then(|(created, groups)| {
            record.write(&self.state, id).inspect_err(|_| end(created.pid))?;
            let _ = groups.keep();
            Ok(created)
        });
        if made.is_err()
            && let Ok(dir) = Record::dir(&self.state, id)
        {
            let _ = fs::remove_dir_all(dir);
        }
        made
    }

    /// Makes the control groups and the first process, and completes the record.
    fn make(
        &self,
        spec: &Spec,
        path: PathBuf,
        record: &mut Record,
        stdio: Stdio,
    ) -> Result<(Created, Groups), RuntimeError> {
        let outside = Outside::start()?;
        let guard = self.tied.then(|| Guard::start(outside.socket(), &record.groups)).transpose();
        let guard = guard.map_err(RuntimeError::io("guarding the container"))?;
        let groups = Groups::make(spec)?;
        let (make, join) = spaces(spec);
        let outer = Outer::Enter { make, join, groups: groups.dirs.clone() };
        let devices_guarded = groups.devices_guarded;
        let inner = |size| Inner::Create { spec: path, devices_guarded, groups: groups.dirs.clone(), size };
        let mut created = launch(outside, &outer, inner, None, stdio)?;
        if let Some(guard) = guard {
            let watched = guard.watch(created.pid).map_err(RuntimeError::io("guarding the container"));
            watched.inspect_err(|_| end(created.pid))?;
            created.guard = Some(guard);
        }
        record.pid = created.pid;
        record.started = state::started(created.pid).unwrap_or(0);
        record.groups.clone_from(&groups.dirs);
        Ok((created, groups))
    }

    pub(crate) fn start(&self, id: &str, created: &mut Created) -> Result<(), RuntimeError> {
        let waiting = created.waiting.take().ok_or_else(|| RuntimeError::NotRunning(id.to_owned()))?;
        begin(&waiting, self.tied)?;
        let mut record = Record::read(&self.state, id)?;
        record.created = false;
        record.write(&self.state, id)
    }

    pub(crate) fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), RuntimeError> {
        let record = Record::read(&self.state, id)?;
        if !record.is_alive() {
            return Err(RuntimeError::NotRunning(id.to_owned()));
        }
        let pids = if all { state::processes(record.pid)? } else { vec![record.pid] };
        for pid in pids {
            match send_signal(pid, signal, || pid != record.pid || record.is_alive()) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                    return Err(RuntimeError::io(format!("sending signal {signal} to process {pid}"))(error));
                }
                // One that has ended needs none.
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn state(&self, id: &str) -> Result<State, RuntimeError> {
        let record = Record::read(&self.state, id)?;
        let status = match (record.is_alive(), record.created) {
            (false, _) => Status::Stopped,
            (true, true) => Status::Created,
            (true, false) => Status::Running,
        };
        let pid = if status == Status::Stopped { 0 } else { record.pid };
        Ok(State { status, pid, bundle: record.bundle })
    }

    pub(crate) fn delete(&self, id: &str, force: bool) -> Result<(), RuntimeError> {
        let record = match Record::read(&self.state, id) {
            Err(RuntimeError::Unknown(_)) => return Ok(()),
            result => result?,
        };
        if record.is_alive() {
            if !force {
                let reason = io::Error::other("it still runs");
                return Err(RuntimeError::io(format!("deleting container {id}"))(reason));
            }
            // It may end by itself meanwhile.
            let _ = self.kill(id, libc::SIGKILL, true);
            for _ in 0..1000 {
                if !record.is_alive() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        if record.pid == 0 {
            // Whoever was making it was killed; a stage that nobody talks to any more ends, but it may not be there yet.
            groups::clear(&record.groups);
        }
        groups::remove(&record.groups);
        let dir = Record::dir(&self.state, id)?;
        fs::remove_dir_all(&dir).map_err(RuntimeError::io(format!("removing {}", dir.display())))
    }

    pub(crate) fn exec(&self, id: &str, process: &oci::Process, stdio: Stdio) -> Result<Created, RuntimeError> {
        let record = Record::read(&self.state, id)?;
        if !record.is_alive() {
            return Err(RuntimeError::NotRunning(id.to_owned()));
        }
        let (_, spec) = read_spec(&record.bundle)?;
        let of = |kind: &str| PathBuf::from(format!("/proc/{}/ns/{kind}", record.pid));
        let mount = File::open(of("mnt")).map_err(RuntimeError::io("opening the mount name space"))?;
        // One that is the same as ours need not be joined, and that of users may not.
        let differs =
            |kind: &&&str| fs::read_link(of(kind)).ok() != fs::read_link(format!("/proc/self/ns/{kind}")).ok();
        let join = ["user", "ipc", "uts", "net", "cgroup", "pid"].iter().filter(differs).map(|kind| of(kind)).collect();
        if !record.is_alive() {
            return Err(RuntimeError::NotRunning(id.to_owned()));
        }
        let outer = Outer::Enter { make: 0, join, groups: record.groups };
        let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()).map(Box::new);
        let process = Box::new(process.clone());
        let inner = |size| Inner::Join { process, seccomp, size };
        let mut created = launch(Outside::start()?, &outer, inner, Some(mount.as_fd()), stdio)?;
        if let Some(waiting) = created.waiting.take() {
            begin(&waiting, false).inspect_err(|_| end(created.pid))?;
        }
        Ok(created)
    }
}

fn read_spec(bundle: &Path) -> Result<(PathBuf, Spec), RuntimeError> {
    let path = bundle.join("config.json");
    let path = fs::canonicalize(&path).unwrap_or(path);
    let failed = |message: String| RuntimeError::Spec { path: path.clone(), message };
    let bytes = fs::read(&path).map_err(|error| failed(crate::words(&error)))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    if let Some(what) = supported::refusal(&json) {
        return Err(RuntimeError::Refused(what));
    }
    let spec: Spec = serde_json::from_value(json).map_err(|error| failed(error.to_string()))?;
    Ok((path, spec))
}

/// Whether this machine has control groups of both versions.
pub(crate) fn has_hybrid_groups() -> bool {
    groups::are_hybrid(&groups::hierarchies())
}

/// Kills what is in the control groups of a bundle's specification, and removes them.
pub(crate) fn clear_groups(bundle: &Path) {
    let spec = fs::read(bundle.join("config.json")).ok().and_then(|bytes| serde_json::from_slice::<Spec>(&bytes).ok());
    let dirs: Vec<PathBuf> = spec.iter().flat_map(groups::places).filter(|dir| dir.exists()).collect();
    groups::clear(&dirs);
    groups::remove(&dirs);
}

/// The name spaces that a specification asks for: to make, and to join.
fn spaces(spec: &Spec) -> (i32, Vec<PathBuf>) {
    let mut make = CloneFlags::empty();
    let mut join = Vec::new();
    for space in spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten()) {
        let flag = match space.typ() {
            LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
            LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
            LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
            LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
            LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
            LinuxNamespaceType::User | LinuxNamespaceType::Time => continue,
        };
        match space.path() {
            Some(path) if !path.as_os_str().is_empty() => join.push(path.clone()),
            _ => make |= flag,
        }
    }
    (make.bits(), join)
}

/// The outer stage, and our end of the conversation with it and the inner one. Ends when this is dropped, unless it has got its work.
#[derive(Debug)]
struct Outside {
    socket: Option<OwnedFd>,
    process: Child,
}

impl Outside {
    fn start() -> Result<Self, RuntimeError> {
        sys::adopt_orphans().map_err(RuntimeError::io("becoming the parent of the container's processes"))?;
        let (socket, theirs) = pair().map_err(RuntimeError::io("making a socket"))?;
        let program = unwritable_self();
        let path = program
            .as_ref()
            .map_or_else(|| PathBuf::from(SELF), |file| format!("/proc/self/fd/{}", file.as_raw_fd()).into());
        let started = Command::new(path).arg(STAGE).stdin(theirs).stdout(Pipe::null()).env_clear().spawn();
        let process = started.map_err(RuntimeError::io("starting the built-in runtime"))?;
        Ok(Self { socket: Some(socket), process })
    }

    fn socket(&self) -> &OwnedFd {
        self.socket.as_ref().expect("it is taken when the stage has ended")
    }

    /// Waits for its end, after it has got its work: it ends as soon as it has made the next stage, and waits for nobody.
    fn end(mut self) -> Result<(OwnedFd, ExitStatus), RuntimeError> {
        let status = self.process.wait().map_err(RuntimeError::io("waiting for the built-in runtime"))?;
        Ok((self.socket.take().expect("nobody else takes it"), status))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.socket.take());
        // It has nobody to listen to any more, or has ended before.
        let _ = self.process.wait();
    }
}

/// Lets the stages make a container, and waits until the inner one is ready.
fn launch(
    outside: Outside,
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

/// Whether the outer stage, which has ended like this, has sent the number of the inner one, or why there is none. One that was killed
/// may have started the inner one and said nothing: then nothing more comes, although the inner one holds the socket.
fn has_spoken(status: ExitStatus) -> bool {
    matches!(status.code(), Some(outer::SENT | outer::FAILED))
}

/// Waits until the container is ready; returns the other end of its terminal. The inner stage ends when the socket is closed.
fn ready(socket: &OwnedFd, spoken: bool, pid: &mut Option<i32>) -> Result<Option<OwnedFd>, RuntimeError> {
    if !spoken {
        return Err(ended());
    }
    let mut terminal = None;
    loop {
        let report = receive::<Report>(socket).map_err(RuntimeError::io("talking to the built-in runtime"))?;
        let (report, mut descriptors) = report.ok_or_else(ended)?;
        match report {
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

/// Lets a container go. What comes back is the end of the conversation, or why it did not start.
fn begin(waiting: &Waiting, tied: bool) -> Result<(), RuntimeError> {
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
fn end(pid: i32) {
    let _ = send_signal(pid, libc::SIGKILL, || true);
    let _ = state::wait(pid);
}

/// Sends a signal by a descriptor, so that it cannot reach another process that got the number meanwhile.
pub(crate) fn send_signal(pid: i32, signal: i32, still: impl FnOnce() -> bool) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let process = pidfd_open(Pid::from_raw(pid).ok_or_else(gone)?, PidfdFlags::empty())?;
    if !still() {
        return Err(gone());
    }
    sys::send_signal(&process, signal)
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
            let result = ready(&socket, has_spoken(status), &mut pid);
            let _ = done.send(result.is_err() && pid.is_none());
        });
        assert_eq!(waits.recv_timeout(Duration::from_secs(60)), Ok(true));
        drop(theirs);
    }
}
