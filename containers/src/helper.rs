//! Processes of ours that stay when a command has ended: this program once more, with a hidden argument and what to do.
//!
//! A helper answers on its standard output: an empty line when it is ready, or a [`Message::Failed`].

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde::Serialize;

use crate::protocol::Message;
use crate::{ContainerError, exec, monitor};

/// What a helper does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helper {
    /// Stays with a container.
    Monitor,
    /// Stays with one more process in a container.
    Exec,
    /// Keeps the terminal, its standard input, of a process that a user has left.
    Terminal,
}

impl Helper {
    const fn argument(self) -> &'static str {
        match self {
            Self::Monitor => "__container-monitor",
            Self::Exec => "__container-exec",
            Self::Terminal => "__container-terminal",
        }
    }
}

/// Does the work of a helper, if this process is one; returns whether it went well then. To be called in `main`, before
/// there is a second thread.
#[must_use]
pub fn enter() -> Option<bool> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next()?;
    let all = [Helper::Monitor, Helper::Exec, Helper::Terminal];
    let helper = all.into_iter().find(|helper| first == helper.argument())?;
    if runtime::close_inherited().is_err() {
        return Some(false);
    }
    let order = arguments.next().unwrap_or_default().into_string().unwrap_or_default();
    Some(match helper {
        Helper::Monitor => serde_json::from_str(&order).is_ok_and(|order| monitor::run(&order).is_ok()),
        Helper::Exec => exec::stay(&order),
        Helper::Terminal => exec::keep_terminal(),
    })
}

/// Starts a helper with this standard input, and returns when it is ready.
pub(crate) fn start(helper: Helper, order: &impl Serialize, stdin: Stdio) -> Result<Child, ContainerError> {
    // Not by its path: in a chroot, that leads nowhere from a mount namespace of one's own.
    let program = "/proc/self/exe";
    let order = serde_json::to_string(order).map_err(|error| ContainerError::Invalid(error.to_string()))?;
    let mut command = Command::new(program);
    command.arg0(std::env::args_os().next().unwrap_or_else(|| program.into()));
    command.arg(helper.argument()).arg(order).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null());
    command.current_dir("/").process_group(0);
    let mut child = command.spawn().map_err(ContainerError::io("starting", program))?;
    let mut answer = child.stdout.take().expect("standard output is a pipe");
    let mut first = [0; 1];
    let read = answer.read(&mut first).map_err(ContainerError::io("reading from", "the container's monitor"))?;
    if read == 1 && first == *b"\n" {
        return Ok(child);
    }
    let mut rest = first[..read].to_vec();
    let _ = answer.read_to_end(&mut rest);
    let _ = child.wait();
    Err(match Message::receive(&mut rest.as_slice()) {
        Ok(Some(Message::Failed(status, message))) => ContainerError::Start { status, message },
        _ => ContainerError::Start { status: 125, message: "the container's monitor has died".into() },
    })
}

/// Says that this helper is ready.
pub(crate) fn ready() -> Result<(), ContainerError> {
    let mut out = io::stdout();
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(ContainerError::io("writing to", "standard output"))
}

/// An error with its causes, each once.
pub(crate) fn text(error: &ContainerError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        if !text.contains(&source.to_string()) {
            text.push_str(&format!(": {source}"));
        }
        cause = source.source();
    }
    text
}
