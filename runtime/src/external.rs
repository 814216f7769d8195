//! Runtimes that are programs of their own: crun, runc, youki. Their command line is runc's.

mod answer;
mod installed;

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Pipe};
use std::time::{Duration, Instant};

use serde::Deserialize;

use self::answer::{Files, last_line, receive};
pub(crate) use self::installed::{KNOWN, RUNC, find, works_here};
use crate::error::{RuntimeError, Stage};
use crate::state::{State, Status};
use crate::stdio::Stdio;
use crate::versions::Version;
use crate::{Created, Exit, builtin, oci};

#[derive(Debug)]
pub(crate) struct External {
    program: PathBuf,
    root: PathBuf,
}

/// A call that runs a container to its end, and its log.
#[derive(Debug)]
pub(crate) struct Whole(Files);

impl Whole {
    /// Why there was no container, if there was none: then the program has ended by itself, with a message in its log.
    pub(crate) fn failure(&self, exit: Exit) -> Option<RuntimeError> {
        let message = (exit != Exit::Status(0)).then(|| last_line(&self.0.at("log"))).flatten()?;
        Some(RuntimeError::Start { stage: Stage::of_text(&message), message })
    }
}

/// What runc and crun answer to `state`.
#[derive(Deserialize)]
struct Answer {
    status: Status,
    #[serde(default)]
    pid: i32,
    bundle: PathBuf,
}

impl External {
    pub(crate) fn new(program: PathBuf, state: &Path) -> Self {
        let name = program.file_name().unwrap_or_default();
        let root = state.join(name);
        Self { program, root }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    fn file_name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn version(&self) -> Result<Version, RuntimeError> {
        let failed = RuntimeError::io(format!("running {}", self.program.display()));
        let output = Command::new(&self.program).arg("--version").stdin(Pipe::null()).output().map_err(failed)?;
        Ok(Version::parse(&self.file_name(), &String::from_utf8_lossy(&output.stdout)))
    }

    /// Whether one call can make a container, let it go and wait for it, with the caller's own descriptors. Of crun this is known; runc
    /// puts pipes between, so that a command would see other descriptors than it is given.
    pub(crate) fn runs_whole(&self, stdio: &Stdio) -> bool {
        self.file_name() == "crun" && matches!(stdio, Stdio::Files { .. })
    }

    /// Runs a container to its end by one call: the program is the process to wait for.
    pub(crate) fn run_whole(&self, bundle: &Path, id: &str, stdio: Stdio) -> Result<Created, RuntimeError> {
        let files = Files::new(&self.root).map_err(RuntimeError::io("making a directory for a call"))?;
        let Stdio::Files { stdin, stdout, stderr } = stdio else {
            return Err(self.failed("run", "needs files and not a terminal"));
        };
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(files.at("log")).args(["--log-format", "json"]);
        command.args(["run", "--bundle"]).arg(bundle).arg(id).stdin(stdin).stdout(stdout).stderr(stderr);
        let running = RuntimeError::io(format!("running {}", self.program.display()));
        let child = command.spawn().map_err(running)?;
        let pid = i32::try_from(child.id()).map_err(|_| self.failed("run", "has no number"))?;
        Ok(Created { whole: Some(Whole(files)), ..Created::of(pid) })
    }

    pub(crate) fn create(&self, bundle: &Path, id: &str, stdio: Stdio) -> Result<Created, RuntimeError> {
        let bundle_text = bundle.as_os_str().to_owned();
        self.launch(&["create".into(), "--bundle".into(), bundle_text], id, stdio, None)
    }

    pub(crate) fn exec(&self, id: &str, process: &oci::Process, stdio: Stdio) -> Result<Created, RuntimeError> {
        let files = Files::new(&self.root).map_err(RuntimeError::io("making a directory for a call"))?;
        let path = files.at("process.json");
        let json = serde_json::to_vec(process).map_err(io::Error::other);
        json.and_then(|json| fs::write(&path, json)).map_err(RuntimeError::io("writing a specification"))?;
        // runc says on the process's standard error, too, why there is no process, so that is a pipe until there is one.
        let (stdio, relay) = match stdio {
            Stdio::Files { stdin, stdout, stderr } => {
                let (from, to) = io::pipe().map_err(RuntimeError::io("making a pipe"))?;
                (Stdio::Files { stdin, stdout, stderr: to.into() }, Some((from, File::from(stderr))))
            }
            terminal => (terminal, None),
        };
        let arguments = ["exec".into(), "--detach".into(), "--process".into(), path.into_os_string()];
        self.launch(&arguments, id, stdio, relay)
    }

    /// Runs a command that makes a process, which becomes a child of this one.
    fn launch(
        &self,
        arguments: &[std::ffi::OsString],
        id: &str,
        stdio: Stdio,
        relay: Option<(io::PipeReader, File)>,
    ) -> Result<Created, RuntimeError> {
        crate::sys::adopt_orphans().map_err(RuntimeError::io("becoming the parent of the container's processes"))?;
        let files = Files::new(&self.root).map_err(RuntimeError::io("making a directory for a call"))?;
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(files.at("log")).args(["--log-format", "json"]);
        command.args(arguments).arg("--pid-file").arg(files.at("pid"));
        let mut listener = None;
        match stdio {
            Stdio::Files { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
            }
            Stdio::Terminal { .. } => {
                let path = files.at("console");
                listener = Some(UnixListener::bind(&path).map_err(RuntimeError::io("making a socket"))?);
                command.arg("--console-socket").arg(path);
                command.stdin(Pipe::null()).stdout(Pipe::null()).stderr(Pipe::null());
            }
        }
        let running = RuntimeError::io(format!("running {}", self.program.display()));
        let status = command.arg(id).status().map_err(running)?;
        drop(command);
        if !status.success() {
            let message = last_line(&files.at("log")).unwrap_or_else(|| format!("ended with {status}"));
            return Err(RuntimeError::Start { stage: Stage::of_text(&message), message });
        }
        let pid = fs::read_to_string(files.at("pid")).ok().and_then(|text| text.trim().parse().ok());
        let pid = pid.ok_or_else(|| self.failed("create", "wrote no number of a process"))?;
        let terminal = match listener {
            None => None,
            Some(listener) => {
                // The program has ended well, so it has sent the terminal.
                let sent = listener.accept().and_then(|(socket, _)| receive(&socket));
                Some(sent.map_err(RuntimeError::io("receiving the terminal"))?)
            }
        };
        let relay = relay.map(|(mut from, mut to)| std::thread::spawn(move || drop(io::copy(&mut from, &mut to))));
        Ok(Created { terminal, relay, ..Created::of(pid) })
    }

    pub(crate) fn start(&self, id: &str) -> Result<(), RuntimeError> {
        let message = self.call("start", &[id])?;
        message.map_or(Ok(()), |message| Err(RuntimeError::Start { stage: Stage::of_text(&message), message }))
    }

    pub(crate) fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), RuntimeError> {
        let number = signal.to_string();
        let mut arguments = vec![id, &number];
        if all {
            arguments.insert(0, "--all");
        }
        match self.call("kill", &arguments)? {
            None => Ok(()),
            Some(message) if message.contains("not running") || message.contains("already finished") => {
                Err(RuntimeError::NotRunning(id.to_owned()))
            }
            Some(message) => Err(self.unknown_or("kill", id, &message)),
        }
    }

    /// `pause` or `resume`: all processes of a container stop, or go on.
    pub(crate) fn freeze(&self, command: &str, id: &str) -> Result<(), RuntimeError> {
        self.call(command, &[id])?.map_or(Ok(()), |message| Err(self.unknown_or(command, id, &message)))
    }

    pub(crate) fn delete(&self, id: &str, force: bool) -> Result<(), RuntimeError> {
        // Each of these programs keeps what it knows of a container in a directory that has the container's id as its
        // name.
        if !self.root.join(id).exists() {
            return Ok(());
        }
        let arguments: &[&str] = if force { &["--force", id] } else { &[id] };
        match self.call("delete", arguments)? {
            None => Ok(()),
            Some(message) if message.contains("does not exist") => Ok(()),
            Some(message) => Err(self.failed("delete", &message)),
        }
    }

    /// Ends calls for a container whose caller was killed, and removes what such a call, or one that was killed itself, has left: the program
    /// writes down what it has made only when it is done.
    pub(crate) fn clear(&self, bundle: &Path, id: &str) {
        const PATIENCE: Duration = Duration::from_secs(10);
        let begun = Instant::now();
        loop {
            let found = self.calls(id);
            if found.is_empty() || begun.elapsed() > PATIENCE {
                break;
            }
            for pid in found {
                // Its number may be another process's by now.
                let _ = builtin::send_signal(pid, libc::SIGKILL, || self.is_call(pid, id));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        builtin::clear_groups(bundle);
    }

    /// The processes of this program that were called for a container.
    fn calls(&self, id: &str) -> Vec<i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|&pid| self.is_call(pid, id)).collect()
    }

    fn is_call(&self, pid: i32, id: &str) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|&byte| byte == 0).collect();
        words.first() == Some(&self.program.as_os_str().as_bytes())
            && words.contains(&self.root.as_os_str().as_bytes())
            && words.contains(&id.as_bytes())
    }

    pub(crate) fn state(&self, id: &str) -> Result<State, RuntimeError> {
        let failed = RuntimeError::io(format!("running {}", self.program.display()));
        let output = Command::new(&self.program).arg("--root").arg(&self.root).args(["state", id]).output();
        let output = output.map_err(failed)?;
        if !output.status.success() {
            return Err(self.unknown_or("state", id, &String::from_utf8_lossy(&output.stderr)));
        }
        let answer: Answer =
            serde_json::from_slice(&output.stdout).map_err(|error| self.failed("state", &error.to_string()))?;
        Ok(State { status: answer.status, pid: answer.pid, bundle: answer.bundle })
    }

    /// Runs a command that makes no process. Returns what it says if it fails.
    fn call(&self, name: &str, arguments: &[&str]) -> Result<Option<String>, RuntimeError> {
        let failed = RuntimeError::io(format!("running {}", self.program.display()));
        let files = Files::new(&self.root).map_err(RuntimeError::io("making a directory for a call"))?;
        let log = files.at("log");
        let status = Command::new(&self.program)
            .arg("--root")
            .arg(&self.root)
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json", name])
            .args(arguments)
            .stdin(Pipe::null())
            .stdout(Pipe::null())
            .stderr(Pipe::null())
            .status()
            .map_err(failed)?;
        Ok((!status.success()).then(|| last_line(&log).unwrap_or_else(|| format!("ended with {status}"))))
    }

    fn unknown_or(&self, command: &str, id: &str, message: &str) -> RuntimeError {
        if message.contains("does not exist") || message.contains("no such file or directory") {
            return RuntimeError::Unknown(id.to_owned());
        }
        self.failed(command, message.trim())
    }

    fn failed(&self, command: &str, message: &str) -> RuntimeError {
        RuntimeError::Program {
            program: self.program.clone(),
            command: command.to_owned(),
            message: message.to_owned(),
        }
    }
}
