//! What the caller and the stages tell each other, packet by packet, through a socket that is a stage's standard input.
//!
//! ```text
//! caller -> outer stage    Guard, with one         the other end of the guard's own conversation
//! caller -> outer stage    Enter                   which name spaces, which control groups
//!
//!
//! caller -> starter        Join                    which control groups; it was an outer stage until then
//! starter -> caller        Ready or Failed
//! caller -> starter        Copy, with one          the conversation of an outer stage that it makes
//! starter -> caller        Copied or Failed        how that stage has ended
//!
//! caller -> inner stage    Inner, with descriptors what to run
//! outer  -> caller         Pid                     of the inner stage
//! inner  -> caller         Terminal, with one      its other end, if there is one
//! inner  -> caller         Ready or Failed
//! caller -> inner          Start
//! inner  -> caller         Failed, or the end: the program has taken its place
//!
//! guard  -> caller         its number
//! caller -> guard          Watch, with one         what ends when the caller does
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Stage;
use crate::oci;
use crate::stdio::WindowSize;

/// What the outer stage does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outer {
    /// Makes a guard, which talks through the descriptor that comes with this.
    Guard,
    /// Joins these directories of control groups.
    Join {
        /// The directories.
        groups: Vec<PathBuf>,
    },
    /// Makes a copy of itself, an outer stage that talks through the descriptor that comes with this, and waits for its end.
    Copy,
    /// Makes the inner stage, and ends.
    Enter {
        /// `CLONE_NEW*` of the name spaces to make.
        make: i32,
        /// Files of name spaces to join.
        join: Vec<PathBuf>,
        /// Directories of control groups to join.
        groups: Vec<PathBuf>,
    },
}

/// What the inner stage does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Inner {
    /// Makes a container.
    Create {
        /// The file of its specification.
        spec: PathBuf,
        /// Whether a control group says which devices may be used; otherwise nodes of devices are of no use.
        devices_guarded: bool,
        /// The directories of its control groups.
        groups: Vec<PathBuf>,
        /// The size of its terminal, if it has one that is not the usual.
        size: Option<WindowSize>,
    },
    /// Joins a container, whose mount name space comes as the first descriptor.
    Join {
        /// What is run in it.
        process: Box<oci::Process>,
        /// The filter of system calls, the container's own.
        seccomp: Option<Box<oci::LinuxSeccomp>>,
        /// The size of its terminal.
        size: Option<WindowSize>,
    },
}

/// What the stages report.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Pid(i32),
    Terminal,
    Ready,
    /// The exit status of an outer stage that a starter has made; `None` if it was killed.
    Copied(Option<i32>),
    Failed {
        status: u8,
        message: String,
    },
}

/// What lets a container begin.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// Whether it ends with its parent.
    pub(super) tied: bool,
}

impl Report {
    pub(super) fn failed(stage: Stage, message: String) -> Self {
        Self::Failed { status: stage.status(), message }
    }
}

/// The largest packet. Sockets of this kind take about 200 KiB.
const LARGEST: usize = 192 << 10;
/// The most descriptors in one packet.
const DESCRIPTORS: usize = 4;

pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(super) fn send(socket: impl AsFd, what: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(what)?;
    if bytes.len() > LARGEST {
        return Err(io::Error::other("the process has too many arguments or variables"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What a call receives, however often a signal comes; `None` when the other side has ended with packets unread.
fn wait<T>(mut receive: impl FnMut() -> rustix::io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match receive() {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            received => return Ok(Some(received?)),
        }
    }
}

/// The next packet with its descriptors; `None` when nobody can send one any more.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // How long the packet is, so that no more memory is made for it than it takes.
    let length = wait(|| recv(&socket, &mut [0; 0], RecvFlags::PEEK | RecvFlags::TRUNC))?;
    let Some((_, length)) = length else { return Ok(None) };
    let mut bytes = vec![0; length.min(LARGEST)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        wait(|| recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let Some(received) = received else { return Ok(None) };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
}
