//! The process that stays with a running container: it keeps the log, passes input and output on to whoever is attached, and
//! writes down how the container ended.
//!
//! It mounts the container's layers in a mount namespace of its own, so that the mount goes with the last process of the
//! container, whoever is killed. It is told what to do through its standard input and its socket (`protocol.rs`), and
//! answers the one who started it on standard output: an empty line when its socket is there, or a message.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use runtime::{Created, NetworkFiles, Runtime, Stdio, WindowSize};
use snapshot::driver::{Access, Driver, MountGuard, PoolOptions};
use snapshot::edit::{Transaction, WriteOptions};
use snapshot::ids::ContainerId;
use snapshot::root::DataRoot;
use snapshot::schema::container::{ContainerFiles, own_path};
use snapshot::schema::time::Time;
use snapshot::schema::volume::content_path;

use crate::create::{PATIENCE, read};
use crate::damaged::explained;
use crate::log::Log;
use crate::namespace::own_mounts;
use crate::output::{Clients, attributes, copy_output, locked};
use crate::place::{self, Place};
use crate::protocol::Message;
use crate::serving::{Shared, bind, serve};
use crate::volume_options::{Mounted, mount_volume};
use crate::{ContainerError, etc, helper, settings, settle};

/// How long a container waits for its start.
const START: Duration = Duration::from_secs(60);
/// How long output is read after the first process has ended: another process may have it open still.
const OUTPUT: Duration = Duration::from_secs(10);

/// What a monitor is told when it is started.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Order {
    /// The data-root.
    pub root: PathBuf,
    /// The storage driver, if the user named one.
    pub driver: Option<String>,
    /// The options of the storage driver.
    pub pool: PoolOptions,
    /// The container.
    pub id: String,
    /// The runtime, as the user named it.
    pub runtime: String,
    /// The size of the user's terminal.
    pub size: Option<WindowSize>,
}

/// Runs a monitor to its end. To be called in a process of its own with one thread.
///
/// # Errors
/// [`ContainerError`], which was also written to standard output.
pub fn run(order: &Order) -> Result<(), ContainerError> {
    order.pool.clone().choose();
    let ended = Monitor::new(order).and_then(|mut monitor| monitor.run());
    if let Err(error) = &ended {
        let _ = Message::Failed(error.status(), helper::text(error)).send(&mut io::stdout());
        let _ = io::stdout().flush();
    }
    ended
}

struct Monitor<'o> {
    order: &'o Order,
    id: ContainerId,
    root: DataRoot,
    root_path: PathBuf,
    place: Place,
    _lock: File,
    runtime: Runtime,
    clients: Clients,
}

impl<'o> Monitor<'o> {
    fn new(order: &'o Order) -> Result<Self, ContainerError> {
        let id: ContainerId = order.id.parse().map_err(|_| ContainerError::NoContainer(order.id.clone()))?;
        // Its own session, so that signals of a terminal do not reach it.
        let _ = nix::unistd::setsid();
        let namespace = |errno: nix::errno::Errno| ContainerError::io("making a mount namespace for", &order.id)(errno);
        own_mounts().map_err(namespace)?;
        nix::sys::prctl::set_child_subreaper(true).map_err(namespace)?;
        // Whatever can fail is done before the container's directory is made, so that a failure leaves nothing there.
        let root = DataRoot::find(&order.root, order.driver.as_deref())?;
        let root_path = root.dir().path().to_path_buf();
        let runtime = Runtime::find(&order.runtime, &place::state())?;
        let place = Place::for_container(&id);
        let taken = place.take()?;
        let lock = taken.ok_or_else(|| ContainerError::Invalid(format!("container {id} is being started already")))?;
        place.note_runtime(runtime.name()).map_err(ContainerError::io("writing", &place.dir))?;
        Ok(Self { order, id, root, root_path, place, _lock: lock, runtime, clients: Clients::default() })
    }

    fn run(&mut self) -> Result<(), ContainerError> {
        let result = self.watch();
        let _ = self.runtime.delete(self.id.as_str(), true);
        if result.is_err() {
            self.runtime.clear(&self.place.bundle(), self.id.as_str());
            self.place.remove();
        }
        result
    }

    fn own(&self) -> PathBuf {
        own_path(&self.root_path, &self.id)
    }

    fn log_path(&self) -> PathBuf {
        self.own().join(format!("{}-json.log", self.id))
    }

    fn watch(&mut self) -> Result<(), ContainerError> {
        let mut files = read(self.root.dir(), &self.id)?;
        let mounted = self.mount().map_err(|error| self.explained(error))?;
        let network_files = etc::write(&self.own(), &self.root_path, &files)?;
        let volumes = self.mount_volumes(&files)?;
        let started = self.create(&files, &mounted, network_files.clone()).map_err(|error| self.explained(error));
        // The container has a mount of its own from here on. With ours, the store would count as in use.
        let rootfs = mounted.path().to_path_buf();
        drop(mounted);
        drop(volumes);
        // runc goes to this directory whenever it runs something in the container.
        let _ = fs::create_dir_all(&rootfs);
        let (mut created, output) = started.inspect_err(|error| {
            let _ = fs::remove_dir(&rootfs);
            self.note_failure(error);
        })?;
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        files.config.hostname_path = text(&network_files.hostname);
        files.config.hosts_path = text(&network_files.hosts);
        files.config.resolv_conf_path = text(&network_files.resolv_conf);
        let log = output.log;
        if log.is_some() {
            files.config.log_path = self.log_path().display().to_string();
        }
        let (events, happened) = mpsc::channel();
        self.listen(&events, output.input, created.terminal.as_ref())?;
        helper::ready()?;
        if happened.recv_timeout(START).is_err() {
            return Err(ContainerError::Invalid("nobody has asked for the start".into()));
        }
        if let Err(error) = self.runtime.start(self.id.as_str(), &mut created) {
            let error = ContainerError::from(error);
            let _ = fs::remove_dir(&rootfs);
            self.note_failure(&error);
            self.tell(&Message::Failed(error.status(), helper::text(&error)));
            return Err(error);
        }
        let state = files.state();
        *state = snapshot::schema::containerfile::StateFile {
            running: true,
            pid: i64::from(created.pid),
            started: Time::from(Timestamp::now()),
            finished: state.finished,
            health: None,
            ..Default::default()
        };
        files.config.has_been_started_before = true;
        files.config.has_been_manually_stopped = false;
        self.write(&files)?;
        self.tell(&Message::Started);
        let copiers = copy_output(output.streams, &self.clients, log);
        let exit = self.runtime.wait(created.pid);
        let _ = self.runtime.kill(self.id.as_str(), nix::libc::SIGKILL, true);
        let _ = copiers.recv_timeout(OUTPUT);
        let _ = self.runtime.delete(self.id.as_str(), true);
        let _ = fs::remove_dir(&rootfs);
        drop(events);
        let code = exit.as_ref().map_or(255, |exit| exit.code());
        self.note_exit(code)?;
        self.place.remove();
        self.tell(&Message::Exited(code));
        Ok(())
    }

    fn explained(&self, error: ContainerError) -> ContainerError {
        explained(&self.root_path, self.order.driver.as_deref(), &self.id, error)
    }

    fn mount(&self) -> Result<MountGuard, ContainerError> {
        let missing = || ContainerError::Invalid(format!("container {}: mount does not exist", self.id));
        let id = self.root.writable_layer(&self.id)?.ok_or_else(missing)?;
        let driver = self.root.driver().ok_or_else(missing)?;
        if !driver.is_mounted_by_readers() {
            return Ok(self.transaction()?.root().driver().mount(&id, Access::ReadWrite)?);
        }
        settle::remove_mount_point(driver, &id);
        Ok(driver.mount(&id, Access::ReadWrite)?)
    }

    /// Mounts the volumes that were made with options. An error's words are those of `volume/service/convert.go` and
    /// `volume/mounts/mounts.go: Setup` of moby v20.10.24.
    fn mount_volumes(&self, files: &ContainerFiles) -> Result<Vec<Mounted>, ContainerError> {
        let mut all = Vec::new();
        for point in files.config.mount_points.values().flatten().filter(|point| point.kind != "bind") {
            let Ok(name) = point.name.parse() else { continue };
            let mounted = mount_volume(&self.root_path, &name).map_err(|error| {
                let path = content_path(&self.root_path, &name);
                let message = format!("error while mounting volume '{}': {error}", path.display());
                ContainerError::Start { status: error.status(), message }
            });
            all.extend(mounted.inspect_err(|error| self.note_failure(error))?);
        }
        Ok(all)
    }

    fn create(
        &self,
        files: &ContainerFiles,
        mounted: &MountGuard,
        network_files: NetworkFiles,
    ) -> Result<(Created, Output), ContainerError> {
        let settings = settings::from_files(&self.root_path, files, mounted.path().to_path_buf(), network_files)?;
        let path = self.place.bundle();
        settings::write_bundle(&path, &settings)?;
        // It is there from here on, also if the runtime then fails.
        let log = self.log(files)?;
        let config = files.config.config.clone().unwrap_or_default();
        let pipe = || io::pipe().map_err(ContainerError::io("making a pipe for", &path));
        if config.tty {
            let created = self.runtime.create(
                &self.place.bundle(),
                self.id.as_str(),
                Stdio::Terminal { size: self.order.size },
            )?;
            let terminal = created
                .terminal
                .as_ref()
                .ok_or_else(|| ContainerError::Invalid("the runtime gave no terminal".into()))?;
            let copy =
                || terminal.try_clone().map(File::from).map_err(ContainerError::io("copying a terminal of", &path));
            let output =
                Output { input: config.open_stdin.then(copy).transpose()?, streams: vec![("stdout", copy()?)], log };
            return Ok((created, output));
        }
        let (out, stdout) = pipe()?;
        let (errors, stderr) = pipe()?;
        let (stdin, input): (OwnedFd, Option<File>) = if config.open_stdin {
            let (stdin, input) = pipe()?;
            (stdin.into(), Some(File::from(OwnedFd::from(input))))
        } else {
            (File::open("/dev/null").map_err(ContainerError::io("opening", "/dev/null"))?.into(), None)
        };
        let stdio = Stdio::Files { stdin, stdout: stdout.into(), stderr: stderr.into() };
        let created = self.runtime.create(&self.place.bundle(), self.id.as_str(), stdio)?;
        let streams = vec![("stdout", File::from(OwnedFd::from(out))), ("stderr", File::from(OwnedFd::from(errors)))];
        Ok((created, Output { input, streams, log }))
    }

    fn log(&self, files: &ContainerFiles) -> Result<Option<Log>, ContainerError> {
        if files.host.log_config.kind != "json-file" {
            return Ok(None);
        }
        let path = self.log_path();
        let log = Log::open(&path, &files.host.log_config, attributes(files));
        log.map(Some).map_err(ContainerError::io("opening", &path))
    }

    /// Answers whoever connects to the socket.
    fn listen(
        &self,
        events: &Sender<()>,
        input: Option<File>,
        terminal: Option<&OwnedFd>,
    ) -> Result<(), ContainerError> {
        let path = self.place.socket();
        let _ = fs::remove_file(&path);
        let listener = bind(&path)?;
        let once = self.config_says_once();
        let shared = Arc::new(Shared {
            input: Mutex::new(input),
            terminal: terminal
                .map(OwnedFd::try_clone)
                .transpose()
                .map_err(ContainerError::io("copying a terminal of", &path))?,
            id: self.id.to_string(),
            runtime: self.runtime.name().to_path_buf(),
            once,
            pauses: Mutex::new(0),
        });
        let (clients, events) = (Arc::clone(&self.clients), events.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(copy) = stream.try_clone() else { continue };
                // A client that does not read must not hold up the container for ever.
                let _ = copy.set_write_timeout(Some(Duration::from_secs(30)));
                locked(&clients).push(copy);
                let (shared, events) = (Arc::clone(&shared), events.clone());
                std::thread::spawn(move || serve(stream, &shared, &events));
            }
        });
        Ok(())
    }

    fn config_says_once(&self) -> bool {
        read(self.root.dir(), &self.id).is_ok_and(|files| files.config.config.is_some_and(|config| config.stdin_once))
    }

    /// Sends a message to all who are attached.
    fn tell(&self, message: &Message) {
        locked(&self.clients).retain_mut(|client| message.send(client).is_ok());
    }

    fn transaction(&self) -> Result<Transaction, ContainerError> {
        let options = WriteOptions { sync: true, driver: None };
        Ok(Transaction::begin_waiting(&self.order.root, options, PATIENCE)?)
    }

    fn write(&self, files: &ContainerFiles) -> Result<(), ContainerError> {
        Ok(self.transaction()?.set_container(&self.id, files)?)
    }

    /// Writes down that the container could not be started. If that fails, the reason for that is not the one to report.
    fn note_failure(&self, error: &ContainerError) {
        let _ = (|| -> Result<(), ContainerError> {
            let mut transaction = self.transaction()?;
            let mut files = read(self.root.dir(), &self.id)?;
            let code = match error.status() {
                125 => 128,
                status => i64::from(status),
            };
            let state = files.state();
            (state.exit_code, state.error) = (code, helper::text(error));
            // The log is there where the runtime was asked, and the files for `/etc` from the first try on.
            let log = self.log_path();
            if log.exists() {
                files.config.log_path = log.display().to_string();
            }
            let own = self.own();
            let path = |name: &str| own.join(name).exists().then(|| own.join(name).display().to_string());
            let config = &mut files.config;
            for (name, field) in [
                ("hostname", &mut config.hostname_path),
                ("hosts", &mut config.hosts_path),
                ("resolv.conf", &mut config.resolv_conf_path),
            ] {
                *field = path(name).unwrap_or_default();
            }
            transaction.set_container(&self.id, &files)?;
            Ok(())
        })();
    }

    /// Writes down how the container ended, and removes it if it is to be removed.
    fn note_exit(&self, code: i32) -> Result<(), ContainerError> {
        let mut transaction = self.transaction()?;
        let mut files = read(self.root.dir(), &self.id)?;
        settle::end(&mut files, i64::from(code), Timestamp::now());
        transaction.set_container(&self.id, &files)?;
        if files.host.auto_remove {
            transaction.remove_container(&self.id, &settle::anonymous_volumes(&files))?;
        }
        Ok(())
    }
}

/// The ends of what the container reads and writes.
struct Output {
    input: Option<File>,
    streams: Vec<(&'static str, File)>,
    log: Option<Log>,
}
