//! A command that runs once, in a layer of its own on an image's layers, and in no container of the store: a step of a build.
//!
//! It is told the same as the first process of a container with these settings. It ends with the process that runs it, however that
//! one ends, and then the next command that writes to the store takes its layer back.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use layerfs::ChainId;
use nix::libc::SIGKILL;
use runtime::{Created, Runtime, Starter, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use snapshot::catalog::Catalog;
use snapshot::driver::{Driver, LayerOrder};
use snapshot::edit::{HeldLayer, Transaction, WriteOptions};
use snapshot::ids::CacheId;
use snapshot::schema::containerfile::HostConfig;
use snapshot::schema::runconfig::RunConfig;

use crate::create::{self, PATIENCE};
use crate::mounts::MountPoints;
use crate::namespace::own_mounts;
use crate::{ContainerError, Heard, Store, etc, helper, settings};

/// How often it is looked whether the user asks to stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How long output is read after the command has ended: another process may have it open still.
const OUTPUT: Duration = Duration::from_secs(10);

/// What a command needs to run apart from all containers: a layer that takes what it writes. It is removed when this is dropped.
#[derive(Debug)]
pub struct Apart {
    held: HeldLayer,
    /// The data-root.
    root: PathBuf,
    driver: &'static str,
}

impl Apart {
    /// Makes a layer on an image's topmost layer. `None` where a container is needed: a runtime that is a program of its own does not
    /// end with this process, and with some drivers only a whole container shows what was written.
    ///
    /// This thread has a mount namespace of its own from then on, so that nothing stays mounted if it is killed.
    ///
    /// # Errors
    /// [`ContainerError`]; nothing is left then.
    pub fn make(
        store: &Store,
        layer: Option<ChainId>,
        runtime: &str,
        sync: bool,
    ) -> Result<Option<Self>, ContainerError> {
        if Runtime::find(runtime, Path::new("/"))?.is_program() {
            return Ok(None);
        }
        // Before any directory is opened, as for a new container.
        let _ = own_mounts();
        let options = WriteOptions { driver: store.driver, sync };
        let transaction = Transaction::begin_waiting(&store.root, options, PATIENCE)?;
        let driver = transaction.root().driver();
        if driver.order() != LayerOrder::Independent {
            return Ok(None);
        }
        let (driver, root) = (driver.name(), transaction.root().dir().path().to_path_buf());
        Ok(Some(Self { held: transaction.hold_layer(layer)?, root, driver }))
    }

    /// A directory that is there as long as this, for what the command is to see.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.held.beside().path()
    }

    /// The directories of the layer in the driver's home, the lower one first: what stands there so that other files can be mounted
    /// over it, and what the command has written.
    #[must_use]
    pub fn directories(&self) -> &[CacheId] {
        self.held.directories()
    }

    /// Starts the command, once; `starter` is what starts all commands of a build. Nobody may write to the store until this returns: the
    /// layer is mounted for a moment.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn start(
        &self,
        starter: &Arc<Starter>,
        catalog: &Catalog,
        config: RunConfig,
        host: HostConfig,
    ) -> Result<ApartCommand<'_>, ContainerError> {
        let id = self.held.name().to_string();
        let runtime = Runtime::find("builtin", &self.dir().join("state"))?.started_by(starter);
        match self.begin(catalog, config, host, &runtime, &id) {
            Ok(started) => Ok(ApartCommand { started, runtime, id, _apart: self }),
            Err(error) => {
                // Its groups go even if it has failed. The first error is the one to report.
                let _ = runtime.delete(&id, true);
                Err(error)
            }
        }
    }

    fn begin(
        &self,
        catalog: &Catalog,
        mut config: RunConfig,
        mut host: HostConfig,
        runtime: &Runtime,
        id: &str,
    ) -> Result<Started, ContainerError> {
        create::merge(&mut config, &RunConfig::default())?;
        create::complete(&mut config, &mut host, self.held.name())?;
        let mounted = self.held.mount()?;
        create::make_working_directory(&mounted, &config)?;
        let mounts = MountPoints::collect(&self.root, catalog, &config, &host, Vec::new())?;
        let files = create::files(self.held.name(), "", false, "", config, host, mounts, self.driver.to_owned());
        let network_files = etc::write(self.dir(), &self.root, &files)?;
        let settings = settings::from_files(&self.root, &files, mounted.path().to_path_buf(), network_files)?;
        let bundle = self.dir().join("bundle");
        fs::create_dir(&bundle).map_err(ContainerError::io("making", &bundle))?;
        settings::write_bundle(&bundle, &settings)?;
        let started = Started::begin(runtime, &bundle, id);
        // The command has a mount of its own. With ours, the store would count as in use.
        mounted.unmount()?;
        started
    }

    /// Removes the layer, as a drop does, and says what went wrong.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn release(self) -> Result<(), ContainerError> {
        Ok(self.held.release()?)
    }
}

/// A command that runs apart from all containers.
#[derive(Debug)]
#[must_use = "the command runs until it is waited for"]
pub struct ApartCommand<'a> {
    started: Started,
    runtime: Runtime,
    id: String,
    /// The layer must not go before.
    _apart: &'a Apart,
}

impl ApartCommand<'_> {
    /// Waits for its end, and passes on what it writes. Returns its exit code: that of a kill if the user asked to stop.
    ///
    /// # Errors
    /// [`ContainerError`], or what `hear` returns.
    pub fn finish<E: From<ContainerError>>(
        self,
        interrupted: &AtomicBool,
        hear: &mut dyn FnMut(Heard) -> Result<(), E>,
    ) -> Result<i32, E> {
        let code = self.started.finish(&self.runtime, &self.id, interrupted, hear);
        // Its groups go even if it has failed.
        let deleted = self.runtime.delete(&self.id, true);
        let code = code?;
        deleted.map_err(ContainerError::from)?;
        Ok(code)
    }
}

/// A command that runs, and what it writes.
#[derive(Debug)]
struct Started {
    created: Created,
    output: File,
    errors: File,
}

impl Started {
    fn begin(runtime: &Runtime, bundle: &Path, id: &str) -> Result<Self, ContainerError> {
        let pipe = || io::pipe().map_err(ContainerError::io("making a pipe for", bundle));
        let (output, stdout) = pipe()?;
        let (errors, stderr) = pipe()?;
        let stdin = File::open("/dev/null").map_err(ContainerError::io("opening", "/dev/null"))?;
        let stdio = Stdio::Files { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() };
        let started = runtime.create(bundle, id, stdio).and_then(|mut created| match runtime.start(id, &mut created) {
            Ok(()) => Ok(created),
            Err(error) => {
                let _ = runtime.wait(created.pid);
                Err(error)
            }
        });
        let created = started.map_err(|error| {
            let error = ContainerError::from(error);
            ContainerError::Start { status: error.status(), message: helper::text(&error) }
        })?;
        Ok(Self { created, output: OwnedFd::from(output).into(), errors: OwnedFd::from(errors).into() })
    }

    /// Waits for the end of the command and of its output.
    fn finish<E: From<ContainerError>>(
        self,
        runtime: &Runtime,
        id: &str,
        interrupted: &AtomicBool,
        hear: &mut dyn FnMut(Heard) -> Result<(), E>,
    ) -> Result<i32, E> {
        let Self { created, output, errors } = self;
        let mut pipes =
            [Pipe { file: Some(output), heard: Heard::Output }, Pipe { file: Some(errors), heard: Heard::ErrorOutput }];
        let mut failed = None;
        let watched = watch(created.pid).and_then(|process| {
            let mut since = None;
            loop {
                if since.is_some_and(|since: Instant| since.elapsed() > OUTPUT) {
                    return Ok(());
                }
                let open: Vec<&Pipe> = pipes.iter().filter(|pipe| pipe.file.is_some()).collect();
                if since.is_some() && open.is_empty() {
                    return Ok(());
                }
                let ready = wait_for(since.is_none().then_some(&process), &open)?;
                if ready.ended {
                    since = Some(Instant::now());
                }
                for (pipe, ready) in pipes.iter_mut().filter(|pipe| pipe.file.is_some()).zip(ready.pipes) {
                    let Some(heard) = (if ready { pipe.read()? } else { None }) else { continue };
                    if failed.is_none()
                        && let Err(error) = hear(heard)
                    {
                        failed = Some(error);
                    }
                }
                if since.is_none() && (failed.is_some() || interrupted.load(Ordering::Relaxed)) {
                    // It may have ended by itself meanwhile.
                    let _ = runtime.kill(id, SIGKILL, true);
                }
            }
        });
        if watched.is_err() {
            // Nobody would hear of its end any more.
            let _ = runtime.kill(id, SIGKILL, true);
        }
        let exit = runtime.wait(created.pid);
        drop(created);
        if let Some(error) = failed {
            return Err(error);
        }
        watched?;
        Ok(exit.map_err(ContainerError::from)?.code())
    }
}

/// One of the two streams that a command writes.
struct Pipe {
    /// `None` once nobody can write to it any more.
    file: Option<File>,
    heard: fn(Vec<u8>) -> Heard,
}

impl Pipe {
    /// What is there now.
    fn read(&mut self) -> Result<Option<Heard>, ContainerError> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut buffer = vec![0; 32 << 10];
        match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(_) | Ok(0) => {
                self.file = None;
                Ok(None)
            }
            Ok(read) => {
                buffer.truncate(read);
                Ok(Some((self.heard)(buffer)))
            }
        }
    }
}

/// What has happened to a command.
struct Ready {
    /// Its first process has ended.
    ended: bool,
    /// Which pipes can be read.
    pipes: Vec<bool>,
}

/// What becomes readable when a process ends.
fn watch(pid: i32) -> Result<OwnedFd, ContainerError> {
    let opened = Pid::from_raw(pid).ok_or(Errno::INVAL).and_then(|number| pidfd_open(number, PidfdFlags::empty()));
    opened.map_err(ContainerError::io("watching", format!("/proc/{pid}")))
}

/// Waits for one of these things, and no longer than until it is to be looked whether the user asks to stop.
fn wait_for(process: Option<&OwnedFd>, pipes: &[&Pipe]) -> Result<Ready, ContainerError> {
    let mut watched: Vec<PollFd<'_>> =
        pipes.iter().filter_map(|pipe| pipe.file.as_ref()).map(|file| PollFd::new(file, PollFlags::IN)).collect();
    watched.extend(process.map(|process| PollFd::new(process, PollFlags::IN)));
    match poll(&mut watched, Some(&TICK)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(ContainerError::io("waiting for what is written to", "a pipe")(errno)),
    }
    let mut ready = watched.iter().map(|one| !one.revents().is_empty());
    let pipes = ready.by_ref().take(pipes.len()).collect();
    Ok(Ready { ended: ready.next() == Some(true), pipes })
}
