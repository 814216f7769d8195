//! `RUN`: a command in a container of the image as far as it is, and what it has written as the next layer.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use containers::Heard;
use images::tree::LayersOfContainer;
use images::written::Written;
use layerfs::{ChainId, DiffId};
use snapshot::ids::{CacheId, ContainerId};
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
    let request = containers::Request { config, host, ..containers::Request::default() };
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
    let containers = store.containers();
    let mut attached = containers.prepare_start(id, &options.runtime, None)?;
    attached.start()?;
    let mut speaker = attached.speaker()?;
    let interrupted = store.interrupted;
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // When the user asks to stop, the container is killed.
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if interrupted.load(Ordering::Relaxed) {
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

/// The directories of a container, the lowest first.
pub(crate) fn directories(store: &BuildStore<'_>, id: &ContainerId) -> Result<Vec<CacheId>, BuildError> {
    let found = store.root_now()?.directories_of(id)?;
    if found.is_empty() { Err(BuildError::Invalid(format!("container {id} has no writable layer"))) } else { Ok(found) }
}

/// What was written in the topmost of the directories `own`, the lowest of which is on the layers `below`.
pub(crate) fn written<'r>(
    store: &BuildStore<'_>,
    root: &'r DataRoot,
    below: &[DiffId],
    own: Vec<CacheId>,
) -> Result<(LayersOfContainer<'r>, Written), BuildError> {
    let top = ChainId::chain(below).last().copied();
    let layers = LayersOfContainer::new(root, &store.moment().catalog(), top, own)?;
    let written = Written::read(&layers)?;
    Ok((layers, written))
}

/// Removes a container, with its anonymous volumes.
pub(crate) fn remove(store: &BuildStore<'_>, id: &ContainerId) -> Result<(), BuildError> {
    let containers = store.containers();
    Ok(containers.remove(id.as_str(), true, true)?)
}
