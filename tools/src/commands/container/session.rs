//! A terminal, or what stands for one, attached to a running container.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use containers::{Attached, Heard};
use runtime::WindowSize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

use super::keys::Detaching;

/// How a user is attached to a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// Whether input is passed on.
    pub(super) input: bool,
    /// Whether the container has a terminal.
    pub(super) tty: bool,
    /// Whether signals are passed on.
    pub(super) signals: bool,
}

/// The size of the user's terminal.
pub(super) fn window() -> Option<WindowSize> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0).then_some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Keys pass a terminal as they are until this is dropped.
#[derive(Debug)]
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}

/// Refuses `-t` with `-i` where standard input is no terminal.
pub(super) fn check_terminal(how: How) -> anyhow::Result<()> {
    if how.tty && how.input && !std::io::stdin().is_terminal() {
        anyhow::bail!("the input device is not a TTY");
    }
    Ok(())
}

/// Passes signals on from now on: from before the container starts, so that none gets lost.
pub(super) fn forward_signals(attached: &Attached, how: How) -> anyhow::Result<()> {
    if !how.signals {
        return Ok(());
    }
    let mut speaker = attached.speaker()?;
    let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT];
    let mut signals = signal_hook::iterator::Signals::new(all)?;
    std::thread::spawn(move || {
        for number in signals.forever() {
            let sent = match (number, window()) {
                (SIGWINCH, Some(size)) if how.tty => speaker.size(size),
                (number, _) => speaker.signal(number),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The user has detached by keys: docker's word, with which `attach` and `exec` fail.
#[derive(Debug, thiserror::Error)]
#[error("read escape sequence")]
pub(super) struct Detached;

/// For commands with which a user who detaches has got what was wanted.
pub(super) fn may_detach(code: anyhow::Result<Option<i32>>) -> anyhow::Result<Option<i32>> {
    code.or_else(|error| if error.is::<Detached>() { Ok(None) } else { Err(error) })
}

/// Passes a terminal's output to standard output until nobody has its other end open, and the user's keys and the size of
/// the user's window to it.
///
/// # Errors
/// [`Detached`] if the user has detached by `keys`.
pub(super) fn show_terminal(terminal: std::fs::File, how: How, keys: Vec<u8>) -> anyhow::Result<()> {
    let raw = if how.input { Raw::enter() } else { None };
    // Something is there to be read when the user has detached.
    let (left, mut stays) = std::io::pipe()?;
    if how.input {
        let mut to = terminal.try_clone()?;
        let detaching = raw.is_some().then(|| Detaching::by(keys));
        std::thread::spawn(move || {
            let end = pass_input(detaching, |bytes| to.write_all(bytes));
            if matches!(end, Ok(InputEnd::Left)) {
                let _ = stays.write_all(b"\n");
            }
            // Kept open: the end of the input is not that of the output.
            std::mem::forget(stays);
        });
    }
    let resized = terminal.try_clone()?;
    let mut signals = signal_hook::iterator::Signals::new([SIGWINCH])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if let Some(size) = window() {
                let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
                let _ = tcsetwinsize(&resized, size);
            }
        }
    });
    let (mut from, mut out) = (terminal, crate::output::binary()?);
    let mut buffer = vec![0; 32 << 10];
    loop {
        let mut watched = [PollFd::new(&from, PollFlags::IN), PollFd::new(&left, PollFlags::IN)];
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        if watched[1].revents().contains(PollFlags::IN) {
            return Err(Detached.into());
        }
        match from.read(&mut buffer) {
            Ok(read @ 1..) => out.write_all(&buffer[..read])?,
            _ => return Ok(()),
        }
    }
}

/// Passes input and output on until the container ends, and returns its exit code; `None` if the monitor is gone.
///
/// # Errors
/// [`Detached`] if the user has detached by `keys`.
pub(super) fn follow(mut attached: Attached, how: How, keys: Vec<u8>) -> anyhow::Result<Option<i32>> {
    let raw = if how.tty && how.input { Raw::enter() } else { None };
    let detached = Arc::new(AtomicBool::new(false));
    if how.input {
        let mut speaker = attached.speaker()?;
        // Keys mean something else where they do not come from a terminal.
        let detaching = raw.is_some().then(|| Detaching::by(keys));
        let detached = Arc::clone(&detached);
        std::thread::spawn(move || match pass_input(detaching, |bytes| speaker.input(bytes)) {
            Ok(InputEnd::Left) => {
                detached.store(true, Ordering::Relaxed);
                speaker.hang_up();
            }
            Ok(InputEnd::Ended) => drop(speaker.end_input()),
            Err(_) => {}
        });
    }
    let (mut out, mut errors) = (crate::output::binary()?, std::io::stderr());
    while let Some(heard) = attached.hear()? {
        let written = match heard {
            Heard::Output(bytes) => out.write_all(&bytes),
            Heard::ErrorOutput(bytes) => errors.write_all(&bytes),
            Heard::Exited(code) => return Ok(Some(code)),
        };
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(crate::output::Lost::new(error).into());
        }
    }
    if detached.load(Ordering::Relaxed) { Err(Detached.into()) } else { Ok(None) }
}

/// Why no more input is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputEnd {
    /// There is none.
    Ended,
    /// The user has detached.
    Left,
}

/// Passes standard input on until it ends, the user detaches, or nobody takes it.
fn pass_input(
    mut detaching: Option<Detaching>,
    mut pass: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<InputEnd> {
    let mut buffer = vec![0; 32 << 10];
    let mut stdin = std::io::stdin().lock();
    loop {
        let read = match stdin.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) | Ok(0) => return Ok(InputEnd::Ended),
            Ok(read) => &buffer[..read],
        };
        let (passed, leaves) = match &mut detaching {
            Some(detaching) => detaching.filter(read),
            None => (read.to_vec(), false),
        };
        pass(&passed)?;
        if leaves {
            return Ok(InputEnd::Left);
        }
    }
}
