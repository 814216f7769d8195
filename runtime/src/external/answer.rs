//! What a call of a runtime leaves for its caller: a log, the number of a process, a terminal.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;

/// Files of one call: the log, the number of the process, the specification, the socket for a terminal.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = root.join(format!("call-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(root)?;
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays is in a directory for such things, and in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Deserialize)]
struct LogLine {
    msg: String,
}

/// The last message of a log, which is the one about the failure.
pub(super) fn last_line(log: &Path) -> Option<String> {
    let text = io::read_to_string(File::open(log).ok()?).ok()?;
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let message = serde_json::from_str::<LogLine>(line).map(|line| line.msg);
    Some(message.unwrap_or_else(|_| line.to_owned()))
}

/// One descriptor that comes through a socket.
pub(super) fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut bytes = [0; 256];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    rights.last().ok_or_else(|| io::Error::other("no descriptor came"))
}
