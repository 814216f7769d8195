//! The outer stage: joins control groups and makes name spaces, starts the inner stage in them, and ends.
//!
//! A process is in its name space of processes only from its birth on, so there have to be two stages.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::message::{Outer, Report, receive, send};
use super::{SELF, loopback};
use crate::error::{RuntimeError, Stage};

/// The exit status of a stage that has sent the number of the inner one.
pub(super) const SENT: i32 = 0;
/// Of one that has no inner one, and has said why.
pub(super) const FAILED: i32 = 1;
/// Of one that could not send the number.
const UNHEARD: i32 = 2;

pub(super) fn run(socket: &OwnedFd) -> i32 {
    match work(socket) {
        Ok(pid) => match send(socket, &Report::Pid(pid), &[]) {
            Ok(()) => SENT,
            Err(_) => UNHEARD,
        },
        Err(error) => {
            // If nobody listens, nobody needs to know.
            let _ = send(socket, &Report::failed(Stage::Setup, error.to_string()), &[]);
            FAILED
        }
    }
}

fn work(socket: &OwnedFd) -> Result<i32, RuntimeError> {
    let failed = |doing: &str| RuntimeError::io::<io::Error>(doing.to_owned());
    let order = receive::<Outer>(socket).map_err(failed("receiving what to do"))?;
    let (order, _) = order.ok_or_else(|| failed("receiving what to do")(io::ErrorKind::UnexpectedEof.into()))?;
    for dir in &order.groups {
        let file = dir.join("cgroup.procs");
        super::procfs::is_groups(&file)
            .and_then(|()| std::fs::write(&file, "0"))
            .map_err(failed("joining control groups"))?;
    }
    for path in &order.join {
        let space = std::fs::File::open(path).map_err(RuntimeError::io(format!("opening {}", path.display())))?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), None::<LinkNameSpaceType>)
            .map_err(RuntimeError::io(format!("joining {}", path.display())))?;
    }
    let make = CloneFlags::from_bits_truncate(order.make);
    unshare(make).map_err(RuntimeError::io("making name spaces"))?;
    if make.contains(CloneFlags::CLONE_NEWNET) {
        loopback::bring_up().map_err(failed("bringing up the loop-back device"))?;
    }
    let input = socket.try_clone().map_err(failed("copying a descriptor"))?;
    let child = Command::new(SELF)
        .args([super::STAGE, super::INNER])
        .stdin(input)
        .stdout(Stdio::null())
        .env_clear()
        .spawn()
        .map_err(failed("starting the container's first process"))?;
    i32::try_from(child.id()).map_err(|_| failed("starting the container's first process")(io::ErrorKind::Other.into()))
}
