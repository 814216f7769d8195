//! A process that starts one container after the other, all in the same control groups.
//!
//! Whoever joins a group waits until every processor has passed a point where it holds nothing of the kernel's (the cost of
//! `cgroup_threadgroup_rwsem`, Linux `kernel/cgroup/cgroup.c`), which takes longer than all else that a small command needs. A process is in the groups of the
//! one that has made it without any of that. So a process joins them once, and makes the outer stages of all containers.
//!
//! ```text
//! this process -> outer stage (started) -> guard
//!                  joins the groups: it is the starter
//!                  -> outer stage (a copy) -> inner stage: a container
//!                  -> outer stage (a copy) -> inner stage: the next one
//! ```
//!
//! When this process ends, however it does, the starter and all stages read the end of their sockets and end, and the guard kills the
//! containers and removes the groups.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::groups::{self, Groups};
use super::guard::{Guard, Tie};
use super::launch::{Outside, end, joined, launch};
use super::message::{Inner, Outer, send};
use super::spaces;
use crate::Created;
use crate::error::RuntimeError;
use crate::oci::{LinuxResources, Spec};
use crate::stdio::Stdio;

/// Starts containers for a process that starts many of them, one after the other or side by side: those that ask for the same limits
/// and devices are in the same control groups, and end with this process.
///
/// It has a process of its own from the first container on until it is dropped; no container may run then.
#[derive(Debug, Default)]
pub struct Starter(Mutex<Option<Started>>);

/// A starter that has its process.
#[derive(Debug)]
struct Started {
    /// The stage that makes the others. It ends before what follows.
    stage: Outside<'static>,
    /// Removes the groups, after the end of this process, too.
    guard: Guard,
    groups: Groups,
    /// What the groups limit.
    resources: Option<LinuxResources>,
    /// Whether the stage has said that it is in the groups.
    joined: bool,
}

/// A starter that nobody else lets work.
#[derive(Debug)]
pub(super) struct Working<'s>(MutexGuard<'s, Option<Started>>);

impl Starter {
    /// Lets the starter make containers of this specification; `None` if these groups are not what it asks for.
    pub(super) fn work(&self, spec: &Spec) -> Result<Option<Working<'_>>, RuntimeError> {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
        match &*started {
            None => *started = Some(Started::start(spec, resources)?),
            Some(started) if started.resources == resources => {}
            Some(_) => return Ok(None),
        }
        Ok(Some(Working(started)))
    }
}

impl Started {
    fn start(spec: &Spec, resources: Option<LinuxResources>) -> Result<Self, RuntimeError> {
        let stage = Outside::start()?;
        let guard = Guard::start(stage.socket(), &groups::places(spec));
        let guard = guard.map_err(RuntimeError::io("guarding the containers"))?;
        let groups = Groups::make(spec)?;
        let order = Outer::Join { groups: groups.dirs.clone() };
        send(stage.socket(), &order, &[]).map_err(RuntimeError::io("talking to the built-in runtime"))?;
        Ok(Self { stage, guard, groups, resources, joined: false })
    }
}

impl Working<'_> {
    /// Makes the first process of a container. The caller keeps the record of it.
    pub(super) fn make(&mut self, spec: &Spec, path: PathBuf, stdio: Stdio) -> Result<Created, RuntimeError> {
        let started = self.0.as_mut().expect("it was started before it was let work");
        if !started.joined {
            joined(started.stage.socket())?;
            started.joined = true;
        }
        let (make, join) = spaces(spec);
        // A copy is in the groups from its birth on.
        let outer = Outer::Enter { make, join, groups: Vec::new() };
        let (devices_guarded, groups) = (started.groups.devices_guarded, started.groups.dirs.clone());
        let inner = |size| Inner::Create { spec: path, devices_guarded, groups, size };
        let mut created = launch(Outside::copied(started.stage.socket())?, &outer, inner, None, stdio)?;
        let watched = started.guard.watch(created.pid).map_err(RuntimeError::io("guarding the container"));
        created.tie = Some(Tie::Process(watched.inspect_err(|_| end(created.pid))?));
        Ok(created)
    }
}
