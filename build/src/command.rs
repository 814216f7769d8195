//! `RUN`: a command in a container of the image as far as it is, and what it has written as the next layer.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use containers::{Heard, Store};
use images::tree::LayersOfContainer;
use images::written::Written;
use snapshot::catalog::Catalog;
use snapshot::ids::ContainerId;
use snapshot::root::DataRoot;
use snapshot::schema::containerfile::HostConfig;
use snapshot::schema::gojson::StrSlice;
use snapshot::schema::runconfig::{HealthConfig, RunConfig};

use crate::BuildError;
use crate::execute::Options;
use crate::output::CommandOutput;
use crate::store::BuildStore;

/// How often a running command looks whether the user asks to stop.
const TICK: Duration = Duration::from_millis(20);

/// Makes the container of a command, as docker's builder does (moby v20.10.24 `builder/dockerfile/dispatchers.go: dispatchRun`).
pub(crate) fn create(store: &BuildStore<'_>, options: &Options, config: RunConfig) -> Result<ContainerId, BuildError> {
    let mut host = HostConfig { network_mode: options.network.clone(), ..HostConfig::default() };
    host.extra_hosts = Some(options.hosts.clone()).filter(|hosts| !hosts.is_empty());
    host.log_config.kind = "none".into();
    host.shm_size = options.shm_size;
    let request = containers::Request { name: None, config, host, platform: None, bare: false };
    Ok(containers::create(&store.root, store.driver, request)?)
}

/// What the container of a command runs with.
pub(crate) fn config(run: &RunConfig, words: &[String], env: Vec<String>) -> RunConfig {
    RunConfig {
        cmd: StrSlice(Some(words.to_vec())),
        // One empty text means: none, whatever the image says.
        entrypoint: StrSlice(Some(vec![String::new()])),
        env: Some(env),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        ..run.clone()
    }
}

/// Runs the container, and passes on what it writes. Returns its exit code.
pub(crate) fn run(
    store: &BuildStore<'_>,
    options: &Options,
    id: &ContainerId,
    talk: &mut dyn CommandOutput,
) -> Result<i32, BuildError> {
    let containers = Store { root: store.root.clone(), driver: store.driver };
    let mut attached = containers.prepare_start(id, &options.runtime, None)?;
    attached.start()?;
    let mut speaker = attached.speaker()?;
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // When the user asks to stop, the container is killed.
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if store.interrupted.load(Ordering::Relaxed) {
                    let _ = speaker.signal(9);
                    return;
                }
            }
        });
        let heard = listen(&mut attached, talk);
        // The other thread ends at once.
        drop(end);
        heard
    })
}

fn listen(attached: &mut containers::Attached, talk: &mut dyn CommandOutput) -> Result<i32, BuildError> {
    loop {
        match attached.hear()? {
            Some(Heard::Output(bytes)) => talk.bytes(&bytes)?,
            Some(Heard::ErrorOutput(bytes)) => talk.errors(&bytes)?,
            Some(Heard::Exited(code)) => return Ok(code),
            None => return Err(BuildError::Invalid("the container's monitor has died".into())),
        }
    }
}

/// Calls `work` with the layers of a container, and what it has written.
pub(crate) fn with_written<T>(
    store: &BuildStore<'_>,
    id: &ContainerId,
    work: impl FnOnce(&LayersOfContainer<'_>, Written) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let root = DataRoot::find(&store.root, store.driver)?;
    let catalog = Catalog::read(&root)?;
    let mount = catalog.container(id).and_then(|container| container.mount.as_ref());
    let mount = mount.ok_or_else(|| BuildError::Invalid(format!("container {id} has no writable layer")))?;
    let own = mount.init_id.iter().chain(&mount.mount_id).cloned().collect();
    let layers = LayersOfContainer::new(&root, &catalog, mount.parent, own)?;
    let written = Written::read(&layers)?;
    work(&layers, written)
}

/// Removes a container, with its anonymous volumes.
pub(crate) fn remove(store: &BuildStore<'_>, id: &ContainerId) -> Result<(), BuildError> {
    let containers = Store { root: store.root.clone(), driver: store.driver };
    Ok(containers.remove(id.as_str(), true, true)?)
}
