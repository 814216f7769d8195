//! Private daemons: own root, own state, own socket; ended by the pid of the process that we have started.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::interrupt::Interrupt;
use super::scratch::text;

/// How long a daemon may take to come up, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel's unit in `/proc/PID/stat`: USER_HZ is 100 on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running daemon. Dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the daemon"]
pub struct Daemon {
    process: Child,
    state: PathBuf,
}

/// CPU time and memory of a daemon so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU seconds in user mode, its ended children included.
    pub user: f64,
    /// CPU seconds in the kernel, likewise.
    pub system: f64,
    /// Largest resident set in KiB.
    pub max_rss: u64,
}

impl Daemon {
    /// Starts a dockerd without network. Its root is `root`; sockets and pids are in `state`.
    ///
    /// # Errors
    ///
    /// If it does not come up.
    pub fn dockerd(program: &Path, root: &Path, state: &Path, interrupt: &Interrupt) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--data-root", text(root)?, "-s", "overlay2"]);
        command.args(["--exec-root", text(&state.join("exec"))?, "-p", text(&state.join("pid"))?]);
        command.args(["-H", &format!("unix://{}", text(&socket(state))?)]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        Self::start(command, state, answers_ping, interrupt)
    }

    /// Starts a containerd without its CRI service.
    ///
    /// # Errors
    ///
    /// If it does not come up.
    pub fn containerd(program: &Path, root: &Path, state: &Path, interrupt: &Interrupt) -> Result<Self> {
        fs::create_dir_all(state)?;
        let configuration = state.join("config.toml");
        let lines = [
            "version = 2".to_owned(),
            format!("root = {:?}", text(root)?),
            format!("state = {:?}", text(&state.join("state"))?),
            "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]".to_owned(),
            "[grpc]".to_owned(),
            format!("address = {:?}", text(&socket(state))?),
        ];
        fs::write(&configuration, lines.join("\n") + "\n")?;
        let mut command = Command::new(program);
        command.arg("-c").arg(configuration);
        // It listens when it has set itself up, not before.
        Self::start(command, state, |socket| UnixStream::connect(socket).is_ok(), interrupt)
    }

    fn start(mut command: Command, state: &Path, ready: fn(&Path) -> bool, interrupt: &Interrupt) -> Result<Self> {
        fs::create_dir_all(state)?;
        let log = state.join("log");
        let errors = File::create(&log)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut daemon = Self { process, state: state.to_owned() };
        let started = Instant::now();
        while !ready(&socket(state)) {
            interrupt.check()?;
            if daemon.process.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                bail!("did not come up: {}", super::measure::messages(&log));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        socket(&self.state)
    }

    /// What it has used until now.
    ///
    /// # Errors
    ///
    /// If `/proc` does not tell: the daemon has ended.
    pub fn usage(&self) -> Result<Usage> {
        let directory = format!("/proc/{}", self.process.id());
        let stat = fs::read_to_string(format!("{directory}/stat")).context("the daemon has ended")?;
        let status = fs::read_to_string(format!("{directory}/status")).context("the daemon has ended")?;
        let (user, system) = cpu(&stat).context("/proc/PID/stat is not as expected")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
        Ok(Usage { user, system, max_rss: peak.unwrap_or(0) })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let started = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if started.elapsed() > PATIENCE {
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = fs::remove_dir_all(&self.state);
    }
}

fn socket(state: &Path) -> PathBuf {
    state.join("socket")
}

/// dockerd takes connections before it can answer any.
fn answers_ping(socket: &Path) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
}

/// User and system seconds of `/proc/PID/stat`, those of children that were waited for included: dockerd decompresses
/// and untars in processes of their own.
fn cpu(stat: &str) -> Option<(f64, f64)> {
    // The name of the program is in brackets and may have blanks; fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(((ticks(11)? + ticks(13)?) / TICKS_PER_SECOND, (ticks(12)? + ticks(14)?) / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::cpu;

    #[test]
    fn cpu_times_are_fields_14_to_17_whatever_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 250 50 10 20 0 9 0 5 6 7";
        assert_eq!(cpu(stat), Some((2.0, 2.6)));
    }
}
