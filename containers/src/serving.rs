//! What a monitor does for those who are connected to it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use runtime::{Runtime, RuntimeError};

use crate::output::locked;
use crate::protocol::Message;
use crate::{ContainerError, helper, place};

/// What the threads that each serve a client share.
pub(crate) struct Shared {
    pub(crate) input: Mutex<Option<File>>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) id: String,
    pub(crate) runtime: PathBuf,
    /// Whether the container's input ends when that of the first client ends (`StdinOnce`).
    pub(crate) once: bool,
    /// How many clients want the container's processes to be stopped.
    pub(crate) pauses: Mutex<usize>,
}

pub(crate) fn bind(path: &Path) -> Result<UnixListener, ContainerError> {
    // The path of a socket may have 107 bytes only, and this one has fewer with every id that Docker draws.
    UnixListener::bind(path).map_err(ContainerError::io("listening at", path))
}

/// Does what a client asks for, until it goes.
pub(crate) fn serve(mut stream: UnixStream, shared: &Shared, events: &Sender<()>) {
    let mut paused = None;
    while let Ok(Some(message)) = Message::receive(&mut stream) {
        match message {
            Message::Start => drop(events.send(())),
            Message::Input(bytes) => {
                let mut input = locked(&shared.input);
                if input.as_mut().is_some_and(|input| input.write_all(&bytes).is_err()) {
                    *input = None;
                }
            }
            Message::InputEnds if shared.once && shared.terminal.is_none() => *locked(&shared.input) = None,
            Message::Size(rows, columns) => {
                if let Some(terminal) = &shared.terminal {
                    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = rustix::termios::tcsetwinsize(terminal, size);
                }
            }
            Message::Signal(number) => {
                let _ = shared.runtime().and_then(|runtime| runtime.kill(&shared.id, number, false));
            }
            Message::Pause if paused.is_none() => {
                let why = match Paused::begin(shared) {
                    Ok(begun) => {
                        paused = Some(begun);
                        String::new()
                    }
                    Err(error) => helper::text(&error.into()),
                };
                let _ = Message::Paused(why).send(&mut stream);
            }
            _ => {}
        }
    }
}

impl Shared {
    fn runtime(&self) -> Result<Runtime, RuntimeError> {
        Runtime::find(&self.runtime.to_string_lossy(), &place::state())
    }
}

/// The container's processes have stopped for one client. They go on when the last such client has gone, however it went.
struct Paused<'s>(&'s Shared);

impl<'s> Paused<'s> {
    fn begin(shared: &'s Shared) -> Result<Self, RuntimeError> {
        let mut pauses = locked(&shared.pauses);
        if *pauses == 0 {
            shared.runtime()?.pause(&shared.id)?;
        }
        *pauses += 1;
        Ok(Self(shared))
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let mut pauses = locked(&self.0.pauses);
        *pauses -= 1;
        if *pauses == 0 {
            // A container that was killed meanwhile has nothing to go on with.
            let _ = self.0.runtime().and_then(|runtime| runtime.resume(&self.0.id));
        }
    }
}
