//! Starting, stopping, removing: what a command asks of a container, and of its monitor.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use runtime::{Runtime, WindowSize};
use snapshot::catalog::{Catalog, Container, Status};
use snapshot::driver::Driver;
use snapshot::edit::Transaction;
use snapshot::ids::{CacheId, ContainerId, VolumeName};
use snapshot::root::DataRoot;
use snapshot::schema::container::ContainerFiles;
use snapshot::schema::containerfile::StateFile;
use snapshot::schema::time::Time;

use crate::create::{open, read};
use crate::monitor::Order;
use crate::place::{self, Place};
use crate::protocol::Message;
use crate::{ContainerError, names};

/// The hidden argument with which a program of ours becomes a monitor.
pub const MONITOR: &str = "__container-monitor";

/// A data-root, as the command line names it.
#[derive(Debug, Clone)]
pub struct Store {
    /// Its path.
    pub root: PathBuf,
    /// The storage driver, if the user named one.
    pub driver: Option<&'static str>,
}

/// Writes the end of a process into a container's files.
pub(crate) fn end(files: &mut ContainerFiles, code: i64, finished: Timestamp) {
    let state = files.state();
    *state = StateFile {
        exit_code: code,
        started: state.started,
        finished: Time::from(finished),
        health: state.health.take(),
        ..StateFile::default()
    };
}

/// Volumes that go with their container: those that nobody has named (moby v20.10.24 `daemon/delete.go`,
/// `daemon/mounts.go: removeMountPoints`).
pub(crate) fn anonymous_volumes(files: &ContainerFiles) -> Vec<VolumeName> {
    let points = files.config.mount_points.values().flatten();
    let anonymous =
        points.filter(|point| point.kind != "bind" && point.kind != "tmpfs" && point.spec.source.is_empty());
    anonymous.filter_map(|point| point.name.parse().ok()).collect()
}

/// Removes a mount point that a killed monitor has left.
pub(crate) fn remove_mount_point(driver: &impl Driver, id: &CacheId) {
    if let Ok(Some(data)) = driver.metadata(id)
        && let Some((_, path)) = data.iter().find(|(key, _)| *key == "MergedDir")
    {
        // If something is mounted there, or in it, this fails, and so does the mount that follows.
        let _ = rustix::fs::rmdir(path);
    }
}

impl Store {
    fn open(&self) -> Result<(Transaction, Catalog), ContainerError> {
        let (mut transaction, mut catalog) = open(&self.root, self.driver)?;
        if settle(&mut transaction, &catalog)? {
            catalog = Catalog::read(&DataRoot::find(&self.root, self.driver)?)?;
        }
        Ok((transaction, catalog))
    }

    fn reader(&self) -> Result<(DataRoot, Catalog), ContainerError> {
        let root = DataRoot::find(&self.root, self.driver)?;
        let catalog = Catalog::read(&root)?;
        Ok((root, catalog))
    }

    /// Clears away what killed monitors have left: their containers are killed, and the store says how they ended.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub(crate) fn settle(&self) -> Result<(), ContainerError> {
        self.open().map(drop)
    }

    /// The id of the container that a text means.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn find(&self, text: &str) -> Result<ContainerId, ContainerError> {
        Ok(names::find(&self.reader()?.1, text)?.id.clone())
    }

    /// A container's files.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn files(&self, id: &ContainerId) -> Result<ContainerFiles, ContainerError> {
        read(self.reader()?.0.dir(), id)
    }

    /// Starts a monitor for a container. Its process waits for [`Attached::start`].
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn prepare_start(
        &self,
        id: &ContainerId,
        runtime: &str,
        size: Option<WindowSize>,
    ) -> Result<Attached, ContainerError> {
        let (transaction, catalog) = self.open()?;
        let container = names::find(&catalog, id)?;
        match container.status() {
            Status::Removing | Status::Dead => {
                return Err(ContainerError::Invalid("container is marked for removal and cannot be started".into()));
            }
            Status::Paused => {
                return Err(ContainerError::Invalid("cannot start a paused container, try unpause instead".into()));
            }
            Status::Running | Status::Restarting => {
                return Err(ContainerError::Invalid(format!("container {id} is running already")));
            }
            _ => {}
        }
        drop(transaction);
        let program = std::env::current_exe().map_err(ContainerError::io("finding", "this program"))?;
        let root = std::path::absolute(&self.root).map_err(ContainerError::io("finding", &self.root))?;
        let order = Order {
            root,
            driver: self.driver.map(str::to_owned),
            id: id.to_string(),
            runtime: runtime.to_owned(),
            size,
        };
        let order = serde_json::to_string(&order).map_err(|error| ContainerError::Invalid(error.to_string()))?;
        let mut command = Command::new(&program);
        command.arg(MONITOR).arg(order).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.current_dir("/").process_group(0);
        let mut child = command.spawn().map_err(ContainerError::io("starting", &program))?;
        let mut answer = child.stdout.take().expect("standard output is a pipe");
        let mut first = [0; 1];
        let read = answer.read(&mut first).map_err(ContainerError::io("reading from", "the monitor"))?;
        if read == 1 && first == *b"\n" {
            let place = Place::of(id);
            let stream =
                UnixStream::connect(place.socket()).map_err(ContainerError::io("connecting to", place.socket()))?;
            // The monitor lives on. A command that waits for the container's end is told by it.
            return Ok(Attached { stream, monitor: Some(child) });
        }
        let mut rest = first[..read].to_vec();
        let _ = answer.read_to_end(&mut rest);
        let _ = child.wait();
        Err(match Message::receive(&mut rest.as_slice()) {
            Ok(Some(Message::Failed(status, message))) => ContainerError::Start { status, message },
            _ => ContainerError::Start { status: 125, message: "the container's monitor has died".into() },
        })
    }

    /// Attaches to a running container.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn attach(&self, text: &str) -> Result<(ContainerId, Attached), ContainerError> {
        let (_, catalog) = self.reader()?;
        let container = names::find(&catalog, text)?;
        match container.status() {
            Status::Running => {}
            Status::Paused => {
                return Err(ContainerError::Invalid(
                    "You cannot attach to a paused container, unpause it first".into(),
                ));
            }
            _ => {
                return Err(ContainerError::Invalid("You cannot attach to a stopped container, start it first".into()));
            }
        }
        Ok((container.id.clone(), self.connect(&container.id)?))
    }

    fn connect(&self, id: &ContainerId) -> Result<Attached, ContainerError> {
        let place = Place::of(id);
        match UnixStream::connect(place.socket()) {
            Ok(stream) => Ok(Attached { stream, monitor: None }),
            Err(error) if !place.dir.exists() => {
                Err(ContainerError::io("the container was not started here: connecting to", place.socket())(error))
            }
            Err(error) => Err(ContainerError::io("connecting to", place.socket())(error)),
        }
    }

    /// Sends a signal to a running container (moby v20.10.24 `daemon/kill.go`).
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn kill(&self, text: &str, signal: i32) -> Result<(), ContainerError> {
        let (mut transaction, catalog) = self.open()?;
        let container = names::find(&catalog, text)?;
        let id = container.id.clone();
        if !is_up(container) {
            return Err(ContainerError::Invalid(format!(
                "Cannot kill container: {text}: Container {id} is not running"
            )));
        }
        let mut files = read(transaction.root().dir(), &id)?;
        files.config.has_been_manually_stopped = true;
        transaction.set_container(&id, &files)?;
        drop(transaction);
        let place = Place::of(&id);
        own_runtime(&place)?.kill(id.as_str(), signal, false)?;
        if signal == nix::libc::SIGKILL {
            self.wait_for_end(&id, Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Stops a container: its stop signal, and after `timeout` a kill. `None` for its own timeout.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn stop(&self, text: &str, timeout: Option<i64>) -> Result<(), ContainerError> {
        let (mut transaction, catalog) = self.open()?;
        let container = names::find(&catalog, text)?;
        let id = container.id.clone();
        if !is_up(container) {
            return Ok(());
        }
        let mut files = read(transaction.root().dir(), &id)?;
        files.config.has_been_manually_stopped = true;
        transaction.set_container(&id, &files)?;
        drop(transaction);
        let config = files.config.config.unwrap_or_default();
        let signal = runtime::signal_number(&config.stop_signal).unwrap_or(nix::libc::SIGTERM);
        let seconds = timeout.or(config.stop_timeout).unwrap_or(10);
        let runtime = own_runtime(&Place::of(&id))?;
        // It may have ended by itself meanwhile.
        let _ = runtime.kill(id.as_str(), signal, false);
        let patience = u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs);
        if !self.has_ended(&id, patience) {
            let _ = runtime.kill(id.as_str(), nix::libc::SIGKILL, false);
            self.wait_for_end(&id, Duration::from_secs(20))?;
        }
        Ok(())
    }

    fn wait_for_end(&self, id: &ContainerId, patience: Duration) -> Result<(), ContainerError> {
        if self.has_ended(id, patience) {
            return Ok(());
        }
        Err(ContainerError::Invalid(format!("container {id} does not end")))
    }

    /// Whether a container ends within `patience`: its monitor is gone then, and the store says how it ended.
    fn has_ended(&self, id: &ContainerId, patience: Duration) -> bool {
        let place = Place::of(id);
        let begun = Instant::now();
        while place.is_watched() {
            if begun.elapsed() >= patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Waits for the end of a container, and returns its exit code.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn wait(&self, text: &str) -> Result<i64, ContainerError> {
        let (_, catalog) = self.reader()?;
        let id = names::find(&catalog, text)?.id.clone();
        if let Ok(mut attached) = self.connect(&id) {
            while let Some(message) = attached.next()? {
                if let Message::Exited(code) = message {
                    return Ok(i64::from(code));
                }
            }
        }
        self.has_ended(&id, Duration::MAX);
        self.settle()?;
        Ok(self.files(&id)?.state().exit_code)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn rename(&self, text: &str, new: &str) -> Result<(), ContainerError> {
        let invalid = |message: &str| Err(ContainerError::Invalid(message.to_owned()));
        if text.is_empty() || new.is_empty() {
            return invalid("Neither old nor new names may be empty");
        }
        let (mut transaction, catalog) = self.open()?;
        let container = names::find(&catalog, text)?;
        if container.name == new.strip_prefix('/').unwrap_or(new) {
            return invalid("Renaming a container with the same name as its current name");
        }
        let name = names::reserve(&catalog, new)
            .map_err(|error| ContainerError::Invalid(format!("Error when allocating new name: {error}")))?;
        let mut files = read(transaction.root().dir(), &container.id)?;
        files.config.name = name;
        if let Some(settings) = &mut files.config.network_settings {
            settings.is_anonymous_endpoint = false;
        }
        Ok(transaction.set_container(&container.id, &files)?)
    }

    /// Removes a container; with `force`, one that runs is killed before, and with `volumes`, its anonymous volumes go too.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn remove(&self, text: &str, force: bool, volumes: bool) -> Result<(), ContainerError> {
        let (mut transaction, mut catalog) = self.open()?;
        let container = names::find(&catalog, text)?;
        let id = container.id.clone();
        if is_up(container) {
            if !force {
                let message = if container.status() == Status::Paused {
                    format!(
                        "You cannot remove a paused container {id}. Unpause and then stop the container before attempting removal or force remove"
                    )
                } else {
                    format!(
                        "You cannot remove a running container {id}. Stop the container before attempting removal or force remove"
                    )
                };
                return Err(ContainerError::Invalid(message));
            }
            drop(transaction);
            self.kill(id.as_str(), nix::libc::SIGKILL)?;
            (transaction, catalog) = self.open()?;
            // A container that was made with `--rm` is gone already.
            if names::find(&catalog, &id).is_err() {
                return Ok(());
            }
        }
        let going = if volumes {
            read(transaction.root().dir(), &id).map(|files| anonymous_volumes(&files)).unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(transaction.remove_container(&id, &going)?)
    }

    /// Removes the containers that `selects` takes and that do not run. Returns their ids.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn prune(&self, selects: impl Fn(&Container) -> bool) -> Result<Vec<ContainerId>, ContainerError> {
        let (mut transaction, catalog) = self.open()?;
        let mut gone = Vec::new();
        for container in catalog.live_containers().filter(|container| !is_up(container) && selects(container)) {
            transaction.remove_container(&container.id, &[])?;
            gone.push(container.id.clone());
        }
        Ok(gone)
    }

    /// Makes a volume; one that exists stays as it is. Without a name, draws one.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn create_volume(&self, name: Option<&str>) -> Result<VolumeName, ContainerError> {
        let drawn = CacheId::random().to_string();
        let name = name.unwrap_or(&drawn);
        if !names::is_valid(name) || name.starts_with('/') {
            let message = format!(
                "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
                 \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            );
            return Err(ContainerError::Invalid(message));
        }
        let (mut transaction, catalog) = self.open()?;
        let name: VolumeName = name.parse().map_err(|_| ContainerError::Invalid(format!("no name: {name}")))?;
        if !catalog.volumes().iter().any(|volume| volume.name == name) {
            transaction.add_volume(&name)?;
        }
        Ok(name)
    }

    /// Removes a volume that nobody uses.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn remove_volume(&self, text: &str) -> Result<(), ContainerError> {
        let (mut transaction, catalog) = self.open()?;
        let volume = catalog.volumes().iter().find(|volume| volume.name == text);
        let volume = volume.ok_or_else(|| ContainerError::NoVolume(text.to_owned()))?;
        let users: Vec<&str> = users(&catalog, &volume.name).map(|container| container.id.as_str()).collect();
        if !users.is_empty() {
            return Err(ContainerError::Invalid(format!("remove {text}: volume is in use - [{}]", users.join(", "))));
        }
        Ok(transaction.remove_volumes(std::slice::from_ref(&volume.name))?)
    }

    /// Removes the volumes that `selects` takes and that nobody uses. `measure` is called with each one before; its answers
    /// are returned.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn prune_volumes<T>(
        &self,
        selects: impl Fn(&snapshot::catalog::Volume) -> bool,
        measure: impl Fn(&Path, &VolumeName) -> T,
    ) -> Result<Vec<(VolumeName, T)>, ContainerError> {
        let (mut transaction, catalog) = self.open()?;
        let unused = catalog.volumes().iter().filter(|volume| users(&catalog, &volume.name).next().is_none());
        let going: Vec<VolumeName> =
            unused.filter(|volume| selects(volume)).map(|volume| volume.name.clone()).collect();
        let root = transaction.root().dir().path().to_path_buf();
        let measured = going.iter().map(|name| (name.clone(), measure(&root, name))).collect();
        transaction.remove_volumes(&going)?;
        Ok(measured)
    }

    /// The runtime of a running container.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn runtime_of(&self, id: &ContainerId) -> Result<Runtime, ContainerError> {
        own_runtime(&Place::of(id))
    }
}

fn users<'c>(catalog: &'c Catalog, name: &'c VolumeName) -> impl Iterator<Item = &'c Container> {
    let uses = move |container: &&Container| container.mount_points.iter().any(|point| point.name == name.as_str());
    catalog.live_containers().filter(uses)
}

fn own_runtime(place: &Place) -> Result<Runtime, ContainerError> {
    Ok(Runtime::find(&place.runtime(), &place::state())?)
}

/// Whether a container's process is there, or its monitor starts it just now.
fn is_up(container: &Container) -> bool {
    container.status().is_up() || (container.state.running && Place::of(&container.id).is_watched())
}

/// Kills the containers of monitors that are gone, and writes down that they have ended. Returns whether there were any.
pub(crate) fn settle(transaction: &mut Transaction, catalog: &Catalog) -> Result<bool, ContainerError> {
    let mut changed = false;
    for container in catalog.containers() {
        let place = Place::of(&container.id);
        let is_ours = place.dir.exists();
        if is_ours && !place.is_watched() {
            let was_alive = container.status() == Status::Running;
            if let Ok(runtime) = own_runtime(&place) {
                let _ = runtime.delete(container.id.as_str(), true);
            }
            place.remove();
            if let Some(mount) = container.mount.as_ref().and_then(|mount| mount.mount_id.as_ref()) {
                remove_mount_point(transaction.root().driver(), mount);
            }
            if container.state.running {
                let mut files = read(transaction.root().dir(), &container.id)?;
                // Nobody was there to take the process's exit status.
                end(&mut files, if was_alive { 137 } else { 255 }, Timestamp::now());
                transaction.set_container(&container.id, &files)?;
                if files.host.auto_remove {
                    transaction.remove_container(&container.id, &anonymous_volumes(&files))?;
                }
            }
            changed = true;
        } else if !is_ours
            && container.state.running
            && container.status() == Status::Interrupted
            && container.damage.is_none()
        {
            // The container is another daemon's, or the machine has stopped since.
            let mut files = read(transaction.root().dir(), &container.id)?;
            end(&mut files, 255, Timestamp::now());
            transaction.set_container(&container.id, &files)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// A connection to the monitor of a container.
#[derive(Debug)]
pub struct Attached {
    stream: UnixStream,
    monitor: Option<std::process::Child>,
}

/// What a monitor tells somebody who is attached to its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It has written to standard output.
    Output(Vec<u8>),
    /// It has written to standard error.
    ErrorOutput(Vec<u8>),
    /// It has ended, with this exit code.
    Exited(i32),
}

impl Attached {
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

    fn next(&mut self) -> Result<Option<Message>, ContainerError> {
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

    /// A second handle of the connection, so that one thread sends while another one receives.
    ///
    /// # Errors
    /// [`ContainerError::Io`]
    pub fn speaker(&self) -> Result<Speaker, ContainerError> {
        let copy = self.stream.try_clone();
        copy.map(Speaker).map_err(ContainerError::io("copying", "a connection to the container's monitor"))
    }
}

/// What somebody who is attached tells the monitor of the container.
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

    /// Ends the connection: a thread that waits for a message on it gets `None`.
    pub fn hang_up(&mut self) {
        let _ = self.0.flush();
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
