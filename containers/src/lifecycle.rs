//! Starting, stopping, removing: what a command asks of a container, and of its monitor.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use runtime::{Runtime, WindowSize};
use snapshot::catalog::{Catalog, Container, ContainerStatus};
use snapshot::driver::PoolOptions;
use snapshot::edit::Transaction;
use snapshot::ids::ContainerId;
use snapshot::root::DataRoot;
use snapshot::schema::container::ContainerFiles;

use crate::attached::{Attached, Paused};
use crate::create::{open, read};
use crate::helper::{self, Helper};
use crate::monitor::Order;
use crate::mounts::check_propagation;
use crate::namespace::own_mounts;
use crate::place::{self, Place};
use crate::protocol::Message;
use crate::settle::anonymous_volumes;
use crate::{ContainerError, names};

/// A data-root, as the command line names it.
#[derive(Debug, Clone)]
pub struct Store {
    /// Its path.
    pub root: PathBuf,
    /// The storage driver, if the user named one.
    pub driver: Option<&'static str>,
}

impl Store {
    pub(crate) fn open(&self) -> Result<(Transaction, Catalog), ContainerError> {
        open(&self.root, self.driver, &[])
    }

    /// As [`Self::open`], after this thread has got a mount namespace of its own.
    pub(crate) fn open_alone(&self) -> Result<(Transaction, Catalog), ContainerError> {
        own_mounts().map_err(ContainerError::io("making a mount namespace for", &self.root))?;
        self.open()
    }

    fn reader(&self) -> Result<(DataRoot, Catalog), ContainerError> {
        let root = DataRoot::find(&self.root, self.driver)?;
        let catalog = Catalog::read_containers::<&str>(&root, &[])?;
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
            ContainerStatus::Removing | ContainerStatus::Dead => {
                return Err(ContainerError::Invalid("container is marked for removal and cannot be started".into()));
            }
            ContainerStatus::Paused => {
                return Err(ContainerError::Invalid("cannot start a paused container, try unpause instead".into()));
            }
            ContainerStatus::Running | ContainerStatus::Restarting => {
                return Err(ContainerError::Invalid(format!("container {id} is running already")));
            }
            _ => {}
        }
        let files = read(transaction.root().dir(), id)?;
        check_propagation(transaction.root().dir().path(), files.config.mount_points.values().flatten())?;
        drop(transaction);
        let root = std::path::absolute(&self.root).map_err(ContainerError::io("finding", &self.root))?;
        let order = Order {
            root,
            driver: self.driver.map(str::to_owned),
            pool: PoolOptions::chosen().clone(),
            id: id.to_string(),
            runtime: runtime.to_owned(),
            size,
        };
        let monitor = helper::start(Helper::Monitor, &order, Stdio::null())?;
        let socket = Place::for_container(id).socket();
        let stream = UnixStream::connect(&socket).map_err(ContainerError::io("connecting to", &socket))?;
        // The monitor stays; whoever asks for the container's end waits for its word.
        Ok(Attached { stream, monitor: Some(monitor) })
    }

    /// Attaches to a running container.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn attach(&self, text: &str) -> Result<(ContainerId, Attached), ContainerError> {
        let (_, catalog) = self.reader()?;
        let container = names::find(&catalog, text)?;
        match container.status() {
            ContainerStatus::Running => {}
            ContainerStatus::Paused => {
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

    /// Stops all processes of a container that runs here, until the result is dropped or this process ends.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn pause(&self, id: &ContainerId) -> Result<Paused, ContainerError> {
        self.connect(id)?.pause()
    }

    fn connect(&self, id: &ContainerId) -> Result<Attached, ContainerError> {
        let place = Place::for_container(id);
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
        let place = Place::for_container(&id);
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
        let runtime = own_runtime(&Place::for_container(&id))?;
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
        let place = Place::for_container(id);
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
                let message = if container.status() == ContainerStatus::Paused {
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
            // The monitor has already removed a container that was made with `--rm`.
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

    /// The runtime of a running container.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn runtime_of(&self, id: &ContainerId) -> Result<Runtime, ContainerError> {
        own_runtime(&Place::for_container(id))
    }
}

pub(crate) fn own_runtime(place: &Place) -> Result<Runtime, ContainerError> {
    Ok(Runtime::find(&place.runtime(), &place::state())?)
}

/// Whether a container's process is there, or its monitor starts it just now.
fn is_up(container: &Container) -> bool {
    container.status().is_up() || (container.state.running && Place::for_container(&container.id).is_watched())
}
