//! One more process in a container that runs here.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio as Pipe;

use runtime::spec::Exec;
use runtime::{Created, Runtime, Stdio, oci};
use snapshot::ids::ContainerId;

use crate::helper::{self, Helper};
use crate::protocol::Message;
use crate::{ContainerError, Store};

/// A process that was started in a container.
#[derive(Debug)]
pub struct Running {
    runtime: Runtime,
    /// Its number and its terminal.
    pub created: Created,
}

impl Running {
    /// Waits for its end, and returns its exit code.
    ///
    /// # Errors
    /// [`ContainerError::Runtime`]
    pub fn wait(mut self) -> Result<i32, ContainerError> {
        let code = self.runtime.wait(self.created.pid)?.code();
        self.created.finish_output();
        Ok(code)
    }

    /// Leaves it running. Where it has a terminal, a process of ours keeps that: else it would be told that its user has hung up, and
    /// would wait for ever when it writes.
    ///
    /// # Errors
    /// [`ContainerError::Start`], [`ContainerError::Io`]
    pub fn leave(self) -> Result<(), ContainerError> {
        let Some(terminal) = self.created.terminal else { return Ok(()) };
        helper::start(Helper::Terminal, &(), terminal.into()).map(drop)
    }
}

/// What the process is told that stays with a process that nobody is attached to.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Order {
    root: PathBuf,
    driver: Option<String>,
    id: String,
    wanted: Exec,
}

impl Store {
    /// Runs a process in a container that was started here.
    ///
    /// # Errors
    /// [`ContainerError`]; with [`ContainerError::Start`], or a [`ContainerError::status`] of 126 or 127, there is no such program.
    pub fn exec(&self, id: &ContainerId, wanted: &Exec, stdio: Stdio) -> Result<Running, ContainerError> {
        if self.attach(id.as_str()).is_err() {
            return Err(ContainerError::Invalid(format!("Container {id} is not running")));
        }
        if is_first_root() {
            let reason = "the root of this machine is the kernel's first one, in memory (an initramfs), and who enters a container there \
                          stays above that container's root: nothing more can be run in one";
            return Err(ContainerError::Invalid(reason.into()));
        }
        let runtime = self.runtime_of(id)?;
        let state = runtime.state(id.as_str())?;
        let path = state.bundle.join("config.json");
        let spec = std::fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice::<oci::Spec>(&bytes)?));
        let spec = spec.map_err(ContainerError::io("reading", &path))?;
        let process = runtime::spec::exec(&spec, &PathBuf::from(format!("/proc/{}/root", state.pid)), wanted)?;
        let created = runtime.exec(id.as_str(), &process, stdio)?;
        Ok(Running { runtime, created })
    }

    /// Runs a process in a container, and leaves it running. Its input is empty, and nobody hears its output.
    ///
    /// # Errors
    /// As [`exec`](Self::exec).
    pub fn exec_detached(&self, id: &ContainerId, wanted: &Exec) -> Result<(), ContainerError> {
        let order = Order {
            root: std::path::absolute(&self.root).map_err(ContainerError::io("finding", &self.root))?,
            driver: self.driver.map(str::to_owned),
            id: id.to_string(),
            wanted: wanted.clone(),
        };
        helper::start(Helper::Exec, &order, Pipe::null()).map(drop)
    }
}

/// Whether this machine's root is the one that the kernel begins with. It cannot be exchanged (`pivot_root(2)`), only covered.
fn is_first_root() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // <id> <parent> <device> <root> <mount point> ... - <type> (proc_pid_mountinfo(5))
    mounts.lines().any(|line| {
        line.split(' ').nth(4) == Some("/")
            && line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("rootfs "))
    })
}

/// Reads a terminal, which is standard input, until nobody has its other end open. Returns whether it could.
pub(crate) fn keep_terminal() -> bool {
    let _ = nix::unistd::setsid();
    let Ok(terminal) = io::stdin().as_fd().try_clone_to_owned() else { return false };
    let told = helper::ready();
    discard(terminal);
    told.is_ok()
}

/// Who writes to a terminal waits until it is read.
fn discard(terminal: OwnedFd) {
    let _ = io::copy(&mut File::from(terminal), &mut io::sink());
}

/// Runs the process that stays with a process nobody is attached to. Returns whether it was told what to do and could do it.
pub(crate) fn stay(order: &str) -> bool {
    let started = (|| {
        let order: Order = serde_json::from_str(order).map_err(|error| ContainerError::Invalid(error.to_string()))?;
        let id: ContainerId = order.id.parse().map_err(|_| ContainerError::NoContainer(order.id.clone()))?;
        // Of the driver nothing is needed but that the store can be read.
        let driver = order.driver.map(|name| &*name.leak());
        let store = Store { root: order.root, driver };
        let null = || {
            File::options().read(true).write(true).open("/dev/null").map_err(ContainerError::io("opening", "/dev/null"))
        };
        let stdio = if order.wanted.tty {
            Stdio::Terminal { size: None }
        } else {
            Stdio::Files { stdin: null()?.into(), stdout: null()?.into(), stderr: null()?.into() }
        };
        store.exec(&id, &order.wanted, stdio)
    })();
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            let _ = Message::Failed(error.status(), helper::text(&error)).send(&mut io::stdout());
            let _ = io::stdout().flush();
            return false;
        }
    };
    let told = helper::ready();
    if let Some(terminal) = running.created.terminal.as_ref().and_then(|terminal| terminal.try_clone().ok()) {
        std::thread::spawn(move || discard(terminal));
    }
    running.wait().is_ok() && told.is_ok()
}
