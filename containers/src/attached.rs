//! What is heard from a running container, and said to it, by way of its monitor.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Child;

use runtime::WindowSize;

use crate::ContainerError;
use crate::protocol::Message;

/// A connection to the monitor of a container.
#[derive(Debug)]
pub struct Attached {
    pub(crate) stream: UnixStream,
    pub(crate) monitor: Option<Child>,
}

/// What an attached container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It has written to standard output.
    Output(Vec<u8>),
    /// It has written to standard error.
    ErrorOutput(Vec<u8>),
    /// It has ended.
    Exited(i32),
}

/// The processes of a container have stopped, until this is dropped or its process ends.
#[derive(Debug)]
pub struct Paused {
    _monitor: UnixStream,
}

impl Attached {
    /// Stops all processes of the container, and returns when they have stopped.
    ///
    /// # Errors
    /// [`ContainerError`], also where no control group can do this.
    pub(crate) fn pause(mut self) -> Result<Paused, ContainerError> {
        self.send(&Message::Pause)?;
        loop {
            match self.next()? {
                Some(Message::Paused(why)) if why.is_empty() => return Ok(Paused { _monitor: self.stream }),
                Some(Message::Paused(why)) => return Err(ContainerError::Invalid(why)),
                Some(Message::Exited(_)) | None => return Err(ContainerError::Invalid("it has ended".into())),
                Some(_) => {}
            }
        }
    }

    /// Starts the container, and returns when it runs.
    ///
    /// # Errors
    /// [`ContainerError::Start`]
    pub fn start(&mut self) -> Result<(), ContainerError> {
        self.send(&Message::Start)?;
        match self.next()? {
            Some(Message::Started) => Ok(()),
            Some(Message::Failed(status, message)) => {
                if let Some(monitor) = &mut self.monitor {
                    let _ = monitor.wait();
                }
                Err(ContainerError::Start { status, message })
            }
            _ => Err(ContainerError::Start { status: 125, message: "the container's monitor has died".into() }),
        }
    }

    fn send(&mut self, message: &Message) -> Result<(), ContainerError> {
        message.send(&mut self.stream).map_err(ContainerError::io("writing to", "the container's monitor"))
    }

    pub(crate) fn next(&mut self) -> Result<Option<Message>, ContainerError> {
        Message::receive(&mut self.stream).map_err(ContainerError::io("reading from", "the container's monitor"))
    }

    /// What the container does next; `None` if its monitor is gone.
    ///
    /// # Errors
    /// [`ContainerError::Io`]
    pub fn hear(&mut self) -> Result<Option<Heard>, ContainerError> {
        loop {
            return Ok(Some(match self.next()? {
                None => return Ok(None),
                Some(Message::Output(bytes)) => Heard::Output(bytes),
                Some(Message::ErrorOutput(bytes)) => Heard::ErrorOutput(bytes),
                Some(Message::Exited(code)) => {
                    if let Some(monitor) = &mut self.monitor {
                        let _ = monitor.wait();
                    }
                    Heard::Exited(code)
                }
                Some(_) => continue,
            }));
        }
    }

    /// Another handle, to speak with while one listens.
    ///
    /// # Errors
    /// [`ContainerError::Io`]
    pub fn speaker(&self) -> Result<Speaker, ContainerError> {
        let copy = self.stream.try_clone();
        copy.map(Speaker).map_err(ContainerError::io("copying", "a connection to the container's monitor"))
    }
}

/// What is said to an attached container.
#[derive(Debug)]
pub struct Speaker(UnixStream);

impl Speaker {
    /// Input.
    ///
    /// # Errors
    /// [`io::Error`]
    pub fn input(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(64 << 10).try_for_each(|part| Message::Input(part.to_vec()).send(&mut self.0))
    }

    /// There is no more input.
    ///
    /// # Errors
    /// [`io::Error`]
    pub fn end_input(&mut self) -> io::Result<()> {
        Message::InputEnds.send(&mut self.0)
    }

    /// The terminal's size.
    ///
    /// # Errors
    /// [`io::Error`]
    pub fn size(&mut self, size: WindowSize) -> io::Result<()> {
        Message::Size(size.rows, size.columns).send(&mut self.0)
    }

    /// A signal for the first process.
    ///
    /// # Errors
    /// [`io::Error`]
    pub fn signal(&mut self, number: i32) -> io::Result<()> {
        Message::Signal(number).send(&mut self.0)
    }

    /// Hangs up: whoever listens on this connection hears its end.
    pub fn hang_up(&mut self) {
        let _ = self.0.flush();
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
