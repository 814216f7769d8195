//! The outer stage: makes the guard if there is to be one, joins control groups and makes name spaces, makes the inner
//! stage in them, and ends.
//!
//! A process is in its name space of processes only from its birth on, so there have to be two stages. The inner stage
//! and the guard are copies of this process, which has one thread and has opened nothing: a program that is started
//! costs a millisecond, a copy a tenth. So does a starter, an outer stage that makes others (see `starter.rs`).

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::message::{Outer, Report, receive, send};
use super::{guard, inner, loopback};
use crate::error::{RuntimeError, Stage};
use crate::{Exit, state, sys};

/// The exit status of a stage that has sent the number of the inner one.
pub(super) const SENT: i32 = 0;
/// The exit status of a stage that has made no inner one, and has said why.
pub(super) const FAILED: i32 = 1;
/// The exit status of a stage that could not send the number of the inner one.
const UNHEARD: i32 = 2;

/// What this process is after [`work`].
enum Became {
    /// The outer stage, and has made the inner one, of this number.
    Outer(i32),
    /// The inner stage.
    Inner,
    /// A guard, with its own conversation.
    Guard(OwnedFd),
    /// An outer stage that a starter has made, with its own conversation.
    Copy(OwnedFd),
}

pub(super) fn run(socket: OwnedFd) -> i32 {
    match work(&socket) {
        Ok(Became::Outer(pid)) => match send(&socket, &Report::Pid(pid), &[]) {
            Ok(()) => SENT,
            Err(_) => UNHEARD,
        },
        Ok(Became::Inner) => inner::run(&socket),
        Ok(Became::Guard(own)) => {
            // The caller takes the end of this socket for the end of the stages, so the guard must not hold it.
            drop(socket);
            guard::run(&own)
        }
        Ok(Became::Copy(own)) => {
            // The caller takes the end of this socket for the end of the starter.
            drop(socket);
            run(own)
        }
        Err(error) => {
            // If nobody listens, nobody needs to know.
            let _ = send(&socket, &Report::failed(Stage::Setup, error.to_string()), &[]);
            FAILED
        }
    }
}

fn work(socket: &OwnedFd) -> Result<Became, RuntimeError> {
    let failed = |doing: &str| RuntimeError::io::<io::Error>(doing.to_owned());
    loop {
        let order = receive::<Outer>(socket).map_err(failed("receiving what to do"))?;
        match order.ok_or_else(|| failed("receiving what to do")(io::ErrorKind::UnexpectedEof.into()))? {
            (Outer::Guard, descriptors) => {
                let own = only(descriptors)?;
                if sys::fork().map_err(failed("starting the guard"))?.is_none() {
                    return Ok(Became::Guard(own));
                }
            }
            (Outer::Join { groups }, _) => {
                // A signal to the caller's process group is the caller's business.
                let _ = rustix::process::setsid();
                join_groups(&groups)?;
                send(socket, &Report::Ready, &[]).map_err(failed("telling that the groups are joined"))?;
            }
            (Outer::Copy, descriptors) => {
                let own = only(descriptors)?;
                let Some(copy) = sys::fork().map_err(failed("starting a stage"))? else {
                    return Ok(Became::Copy(own));
                };
                drop(own);
                let status = match state::wait(copy)? {
                    Exit::Status(code) => Some(code),
                    Exit::Signal(_) => None,
                };
                send(socket, &Report::Copied(status), &[]).map_err(failed("telling how a stage has ended"))?;
            }
            (Outer::Enter { make, join, groups }, _) => return enter(make, &join, &groups),
        }
    }
}

/// The one descriptor that came with an order.
fn only(mut descriptors: Vec<OwnedFd>) -> Result<OwnedFd, RuntimeError> {
    let failed = RuntimeError::io::<io::Error>("receiving what to do");
    descriptors.pop().ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

fn join_groups(groups: &[PathBuf]) -> Result<(), RuntimeError> {
    for dir in groups {
        let file = dir.join("cgroup.procs");
        super::procfs::is_groups(&file)
            .and_then(|()| std::fs::write(&file, "0"))
            .map_err(RuntimeError::io("joining control groups"))?;
    }
    Ok(())
}

fn enter(make: i32, join: &[PathBuf], groups: &[PathBuf]) -> Result<Became, RuntimeError> {
    let failed = |doing: &str| RuntimeError::io::<io::Error>(doing.to_owned());
    join_groups(groups)?;
    for path in join {
        let space = std::fs::File::open(path).map_err(RuntimeError::io(format!("opening {}", path.display())))?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), None::<LinkNameSpaceType>)
            .map_err(RuntimeError::io(format!("joining {}", path.display())))?;
    }
    let make = CloneFlags::from_bits_truncate(make);
    unshare(make).map_err(RuntimeError::io("making name spaces"))?;
    if make.contains(CloneFlags::CLONE_NEWNET) {
        loopback::bring_up().map_err(failed("bringing up the loop-back device"))?;
    }
    let made = sys::fork().map_err(failed("starting the container's first process"))?;
    Ok(made.map_or(Became::Inner, Became::Outer))
}
