//! A container's terminal.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::tree::{attach, copy_of};
use crate::stdio::WindowSize;

/// Both ends of a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// A new terminal of the container's own `devpts`.
pub(super) fn open(pts: &OwnedFd, size: Option<WindowSize>) -> io::Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = openat(pts, "ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    if let Some(size) = size {
        tcsetwinsize(&slave, Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    }
    Ok(Terminal { master, slave })
}

/// Shows the terminal at `/dev/console`. The file is made here, and mounted on by descriptor (CVE-2025-52565).
pub(super) fn show_console(dev: &OwnedFd, pts: &OwnedFd, terminal: &Terminal) -> io::Result<()> {
    let wanted = rustix::fs::fstat(&terminal.slave)?;
    let number = rustix::fs::minor(wanted.st_rdev).to_string();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = openat(pts, number.as_str(), flags, Mode::empty())?;
    if statat(&node, "", AtFlags::EMPTY_PATH)?.st_rdev != wanted.st_rdev {
        return Err(io::Error::other("the terminal is not where it was made"));
    }
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(openat(dev, "console", create, Mode::from_raw_mode(0o666))?);
    attach(copy_of(&node, false)?, openat(dev, "console", flags, Mode::empty())?)
}
