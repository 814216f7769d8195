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
mod launch;
mod loopback;
mod message;
mod outer;
mod procfs;
mod program;
mod starter;
mod supported;
mod terminal;
mod tree;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use nix::sched::CloneFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::groups::Groups;
use self::guard::Guard;
pub(crate) use self::guard::Tie;
pub(crate) use self::launch::Waiting;
use self::launch::{Outside, begin, end, launch};
use self::message::{Inner, Outer};
pub use self::starter::Starter;
use crate::error::{RuntimeError, Stage};
use crate::oci::{self, LinuxNamespaceType, Spec};
use crate::spec::fit::fit;
use crate::state::{self, Record, State, Status};
use crate::stdio::Stdio;
use crate::{Created, sys};

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

#[derive(Debug)]
pub(crate) struct Builtin {
    state: PathBuf,
    /// Whether a container ends with the process that has created it.
    pub(crate) tied: bool,
    /// What starts containers that differ in nothing that control groups do.
    pub(crate) starter: Option<Arc<Starter>>,
}

impl Builtin {
    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), tied: false, starter: None }
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
        // If this process is killed from here on, the record tells the next command of the groups.
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
        if let Some(starter) = &self.starter
            && let Some(mut working) = starter.work(spec)?
        {
            let created = working.make(spec, path, stdio)?;
            record.pid = created.pid;
            record.started = state::started(created.pid).unwrap_or(0);
            // They are the starter's.
            record.groups.clear();
            return Ok((created, Groups::default()));
        }
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
            created.tie = Some(Tie::Own { _guard: guard });
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
                // A process that has ended needs no signal.
                _ => {}
            }
        }
        if signal == libc::SIGKILL {
            // Who is stopped does not die.
            let _ = groups::thaw(&record.groups);
        }
        Ok(())
    }

    /// Stops all processes of a container until [`resume`](Self::resume).
    pub(crate) fn pause(&self, id: &str) -> Result<(), RuntimeError> {
        let record = Record::read(&self.state, id)?;
        if !record.is_alive() {
            return Err(RuntimeError::NotRunning(id.to_owned()));
        }
        groups::freeze(&record.groups).map_err(RuntimeError::io(format!("stopping the processes of container {id}")))
    }

    pub(crate) fn resume(&self, id: &str) -> Result<(), RuntimeError> {
        let record = Record::read(&self.state, id)?;
        groups::thaw(&record.groups).map_err(RuntimeError::io(format!("resuming the processes of container {id}")))
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
            // The process that was making the container was killed. Its stages end when nobody talks to them, but may
            // not have ended yet.
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
        // A name space that is the same as ours need not be joined, and for the one of users the kernel refuses that.
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
    let spec: Spec = fit(&json).map_err(|error| failed(error.to_string()))?;
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

/// Sends a signal by a descriptor, so that it cannot reach another process that got the number meanwhile.
pub(crate) fn send_signal(pid: i32, signal: i32, still: impl FnOnce() -> bool) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let process = pidfd_open(Pid::from_raw(pid).ok_or_else(gone)?, PidfdFlags::empty())?;
    if !still() {
        return Err(gone());
    }
    sys::send_signal(&process, signal)
}
