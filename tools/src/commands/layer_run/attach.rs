//! Between the caller and the container: standard input and output, the terminal, signals.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use runtime::{Stdio, WindowSize};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

/// What the container reads and writes.
pub(super) fn stdio(terminal: bool, input: bool) -> anyhow::Result<Stdio> {
    if !terminal {
        return Stdio::inherit(input).context("standard input and output");
    }
    if input && !io::stdin().is_terminal() {
        bail!("the input device is not a TTY");
    }
    let size = tcgetwinsize(io::stdout()).ok();
    Ok(Stdio::Terminal { size: size.map(|size| WindowSize { rows: size.ws_row, columns: size.ws_col }) })
}

/// Signals to this process that are meant for the command. They wait until there is one.
#[derive(Debug)]
pub(super) struct Signals(signal_hook::iterator::Signals);

impl Signals {
    pub(super) fn hold() -> anyhow::Result<Self> {
        let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH];
        Ok(Self(signal_hook::iterator::Signals::new(all).context("handling signals")?))
    }

    /// Passes signals on until the guard is dropped, which must be before the number of the process can be used again.
    /// For a change of the window, the terminal gets the new size.
    pub(super) fn pass_on(mut self, pid: i32, terminal: Option<Arc<File>>) -> PassingOn {
        let handle = self.0.handle();
        let thread = std::thread::spawn(move || {
            for number in self.0.forever() {
                if let (SIGWINCH, Some(terminal)) = (number, &terminal) {
                    resize(terminal);
                } else if let Ok(signal) = nix::sys::signal::Signal::try_from(number) {
                    // The command may have ended already.
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
        });
        PassingOn { handle, thread: Some(thread) }
    }
}

/// Stops passing signals on when it is dropped.
#[derive(Debug)]
pub(super) struct PassingOn {
    handle: signal_hook::iterator::Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drop for PassingOn {
    fn drop(&mut self) {
        self.handle.close();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn resize(terminal: &File) {
    if let Ok(size) = tcgetwinsize(io::stdout()) {
        let size = Winsize { ws_row: size.ws_row, ws_col: size.ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let _ = tcsetwinsize(terminal, size);
    }
}

/// The container's terminal, connected with the caller's.
#[derive(Debug)]
pub(super) struct Attached {
    terminal: Option<Arc<File>>,
    output: Option<JoinHandle<()>>,
    before: Option<Termios>,
}

impl Attached {
    pub(super) fn begin(terminal: Option<OwnedFd>, input: bool) -> anyhow::Result<Self> {
        let Some(terminal) = terminal else { return Ok(Self { terminal: None, output: None, before: None }) };
        let terminal = Arc::new(File::from(terminal));
        let mut before = None;
        if input {
            let stdin = io::stdin();
            let modes = tcgetattr(&stdin).context("reading the terminal's modes")?;
            let mut raw = modes.clone();
            raw.make_raw();
            tcsetattr(&stdin, OptionalActions::Now, &raw).context("setting the terminal's modes")?;
            before = Some(modes);
            let (from, to) = (File::from(stdin.as_fd().try_clone_to_owned()?), Arc::clone(&terminal));
            // This thread waits for input until the program ends.
            std::thread::spawn(move || copy(&from, &to));
        }
        let (from, to) = (Arc::clone(&terminal), File::from(io::stdout().as_fd().try_clone_to_owned()?));
        let output = std::thread::spawn(move || copy(&from, &to));
        Ok(Self { terminal: Some(terminal), output: Some(output), before })
    }

    pub(super) fn terminal(&self) -> Option<Arc<File>> {
        self.terminal.clone()
    }
}

impl Drop for Attached {
    /// What the command has printed is printed first; then the caller's terminal is as before.
    fn drop(&mut self) {
        let _ = self.output.take().map(JoinHandle::join);
        if let Some(modes) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}

/// Copies until one side has ended: a terminal without anybody at the other end says so by an error.
fn copy(mut from: &File, mut to: &File) {
    let mut buffer = [0; 16384];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
