//! Containers, between what Docker's files say of them and a process that runs.
//!
//! The OCI runtime specification divides this crate: [`spec::make`] turns [`Settings`] into what dockerd tells its runtime,
//! and a [`Runtime`] runs it: crun, runc or youki where they are installed, else one of our own, which needs no other program.
//!
//! ```text
//! Settings -> spec::make -> config.json -> Runtime::create -> start -> wait -> delete
//! ```
//!
//! The crate knows no store: where a container's files are, and what is written there, is its caller's business.
//!
//! # Examples
//!
//! What a runtime is told of a container. [`Settings`] is the type to meet first.
//!
//! ```
//! use runtime::{Settings, spec};
//!
//! let settings = Settings::new("c1", "/srv/rootfs", vec!["echo".to_owned(), "hello".to_owned()]);
//! let config = spec::make(&settings).expect("root needs no file of the container");
//! assert_eq!(config.process().as_ref().unwrap().args().as_ref().unwrap(), &["echo", "hello"]);
//! ```

mod accounts;
mod again;
pub mod builtin;
mod capability;
mod error;
mod external;
#[doc(hidden)]
pub mod parsers;
mod settings;
pub mod spec;
mod state;
mod stdio;
mod sys;
mod versions;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub use accounts::AccountError;
pub use again::make_below;
pub use error::{RuntimeError, Stage};
pub use oci_spec::runtime as oci;
pub use settings::{Device, Ipc, Mount, MountKind, Network, NetworkFiles, Resources, Seccomp, Settings, Ulimit};
pub use state::{State, Status};
pub use stdio::{Stdio, WindowSize};
pub use versions::Version;

use builtin::Builtin;
pub use builtin::Starter;
use external::External;

/// Closes all that the one who started this process has left open in it, but standard input, output and error: a process that
/// stays must not keep the end of a pipe or a lock that others wait for.
///
/// To be called in a process that has just begun, before it has opened anything.
///
/// # Errors
/// The system's answer.
pub fn close_inherited() -> std::io::Result<()> {
    sys::close_from(3)
}

/// What runs containers. Whoever creates containers with it is made the [parent](nix::sys::prctl::set_child_subreaper) of
/// their first processes, and must [wait](Runtime::wait) for them.
#[derive(Debug)]
pub struct Runtime(Kind);

#[derive(Debug)]
enum Kind {
    Builtin(Builtin),
    External(External),
}

/// A container that was created and waits for its start, or a process that was started in one.
#[derive(Debug)]
#[must_use = "a container that is not started waits for ever"]
pub struct Created {
    /// The first process, as this process numbers it.
    pub pid: i32,
    /// The other end of the terminal, if there is one.
    pub terminal: Option<OwnedFd>,
    /// Copies what the process writes to its standard error.
    relay: Option<std::thread::JoinHandle<()>>,
    waiting: Option<builtin::Waiting>,
    /// Ends the container when this is dropped, if it is tied to this process.
    tie: Option<builtin::Tie>,
    /// The call that does everything, if the process is a runtime that runs a container to its end.
    whole: Option<external::Whole>,
}

impl Created {
    fn of(pid: i32) -> Self {
        Self { pid, terminal: None, relay: None, waiting: None, tie: None, whole: None }
    }

    /// How the container's first process ended, from how the process of [`pid`](Self::pid) did: that may be a runtime, which ends
    /// with the same status.
    ///
    /// # Errors
    /// [`RuntimeError::Start`] if the runtime ended because it could not start the container.
    pub fn outcome(&self, exit: Exit) -> Result<Exit, RuntimeError> {
        self.whole.as_ref().and_then(|whole| whole.failure(exit)).map_or(Ok(exit), Err)
    }

    /// Waits until all that the process and those it has left behind write has been passed on. To be called after
    /// [`Runtime::wait`].
    pub fn finish_output(&mut self) {
        let _ = self.relay.take().map(std::thread::JoinHandle::join);
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// As shells and Docker say it: 128 and the signal's number.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Status(code) => code,
            Self::Signal(number) => 128 + number,
        }
    }
}

impl Runtime {
    /// Finds a runtime by what the user calls it: `builtin`, a name or path of a program, or `auto` for the first of crun,
    /// runc and youki that is installed, else the built-in one. Nothing is `auto`, and docker's long names for runc are runc.
    /// `state` is a directory for what is known of running containers; it is made when it is needed.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`]
    pub fn find(wanted: &str, state: &Path) -> Result<Self, RuntimeError> {
        let external = |program: PathBuf| Self(Kind::External(External::new(program, state)));
        match wanted {
            "builtin" => Ok(Self(Kind::Builtin(Builtin::new(state)))),
            "auto" | "" => {
                let found = external::KNOWN.iter().filter(|name| external::works_here(name));
                let found = found.filter_map(|name| external::find(name)).next();
                Ok(found.map_or_else(|| Self(Kind::Builtin(Builtin::new(state))), external))
            }
            name => {
                let not_found = || RuntimeError::NotFound(name.to_owned());
                let program = if external::RUNC.contains(&name) { "runc" } else { name };
                external::find(program).map(external).ok_or_else(not_found)
            }
        }
    }

    /// Containers that are created from now on end with this process, however it ends. Only the built-in runtime does this.
    #[must_use]
    pub fn tied(mut self) -> Self {
        if let Kind::Builtin(builtin) = &mut self.0 {
            builtin.tied = true;
        }
        self
    }

    /// Containers that are created from now on are started by `starter`, where it can, and end with this process. Only the built-in
    /// runtime does this.
    #[must_use]
    pub fn started_by(mut self, starter: &std::sync::Arc<Starter>) -> Self {
        if let Kind::Builtin(builtin) = &mut self.0 {
            builtin.tied = true;
            builtin.starter = Some(std::sync::Arc::clone(starter));
        }
        self
    }

    /// The program's path, or `builtin`.
    #[must_use]
    pub fn name(&self) -> &Path {
        match &self.0 {
            Kind::Builtin(_) => Path::new("builtin"),
            Kind::External(external) => external.program(),
        }
    }

    /// Whether it is a program of its own and not the built-in one.
    #[must_use]
    pub fn is_program(&self) -> bool {
        matches!(self.0, Kind::External(_))
    }

    /// The version, and a warning about one with known holes.
    ///
    /// # Errors
    /// [`RuntimeError`] if the program does not say it.
    pub fn version(&self) -> Result<Version, RuntimeError> {
        match &self.0 {
            Kind::Builtin(_) => Ok(Version::own()),
            Kind::External(external) => external.version(),
        }
    }

    /// Creates the container of a bundle: a directory with `config.json`. Its first process waits for its start.
    ///
    /// # Errors
    /// [`RuntimeError`]; nothing is left then.
    pub fn create(&self, bundle: &Path, id: &str, stdio: Stdio) -> Result<Created, RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.create(bundle, id, stdio),
            Kind::External(external) => external.create(bundle, id, stdio),
        }
    }

    /// Creates the container of a bundle, and lets it go by the same call where the runtime can do that with the caller's own
    /// descriptors: [`start`](Self::start) does nothing then, and [`Created::outcome`] says whether there was a container.
    ///
    /// # Errors
    /// [`RuntimeError`]; nothing is left then.
    pub fn create_to_run(&self, bundle: &Path, id: &str, stdio: Stdio) -> Result<Created, RuntimeError> {
        match &self.0 {
            Kind::External(external) if external.runs_whole(&stdio) => external.run_whole(bundle, id, stdio),
            _ => self.create(bundle, id, stdio),
        }
    }

    /// Lets a container go that this process has created.
    ///
    /// # Errors
    /// [`RuntimeError`] if the program cannot be run; the first process has ended then.
    pub fn start(&self, id: &str, created: &mut Created) -> Result<(), RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.start(id, created),
            Kind::External(_) if created.whole.is_some() => Ok(()),
            Kind::External(external) => external.start(id),
        }
    }

    /// Sends a signal to the first process, or, with `all`, to every process of the container.
    ///
    /// # Errors
    /// [`RuntimeError`], also if it does not run.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.kill(id, signal, all),
            Kind::External(external) => external.kill(id, signal, all),
        }
    }

    /// Stops all processes of a container, and returns when they have stopped.
    ///
    /// # Errors
    /// [`RuntimeError`], also where no control group can do this.
    pub fn pause(&self, id: &str) -> Result<(), RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.pause(id),
            Kind::External(external) => external.freeze("pause", id),
        }
    }

    /// Lets the processes of a container go on.
    ///
    /// # Errors
    /// [`RuntimeError`]
    pub fn resume(&self, id: &str) -> Result<(), RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.resume(id),
            Kind::External(external) => external.freeze("resume", id),
        }
    }

    /// What is known of a container.
    ///
    /// # Errors
    /// [`RuntimeError`], also if nothing is known.
    pub fn state(&self, id: &str) -> Result<State, RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.state(id),
            Kind::External(external) => external.state(id),
        }
    }

    /// Forgets a container that has ended, with its control groups; with `force` it is killed before. Does nothing if there is
    /// none.
    ///
    /// # Errors
    /// [`RuntimeError`]
    pub fn delete(&self, id: &str, force: bool) -> Result<(), RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.delete(id, force),
            Kind::External(external) => external.delete(id, force),
        }
    }

    /// After [`delete`](Self::delete): takes away what is left of a container because this process's predecessor, or another runtime's
    /// program, was killed while it made it. `bundle` is the container's.
    pub fn clear(&self, bundle: &Path, id: &str) {
        if let Kind::External(external) = &self.0 {
            external.clear(bundle, id);
        }
    }

    /// Runs one more process in a container.
    ///
    /// # Errors
    /// [`RuntimeError`], also if the program cannot be run.
    pub fn exec(&self, id: &str, process: &oci::Process, stdio: Stdio) -> Result<Created, RuntimeError> {
        match &self.0 {
            Kind::Builtin(builtin) => builtin.exec(id, process, stdio),
            Kind::External(external) => external.exec(id, process, stdio),
        }
    }

    /// The processes of a container, as this process numbers them.
    ///
    /// # Errors
    /// [`RuntimeError`], also if it does not run.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, RuntimeError> {
        state::processes(self.state(id)?.pid)
    }

    /// Waits for the end of a process that [`create`](Self::create) or [`exec`](Self::exec) has made, and takes it.
    ///
    /// # Errors
    /// [`RuntimeError`] if this process is not its parent.
    pub fn wait(&self, pid: i32) -> Result<Exit, RuntimeError> {
        state::wait(pid)
    }
}

/// Reads a signal as `docker kill -s` does: a name with or without `SIG`, or a number.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    state::signal_number(text)
}

/// What the system says, in its words and without the number.
pub(crate) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_lowercase()
}
