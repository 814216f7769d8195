//! `RUN`: a command in a container of the stage as far as it is, with what `--mount` gives it (moby/buildkit
//! `frontend/dockerfile/dockerfile2llb/convert.go: dispatchRun`, `executor/`).

use std::fs::File;
use std::path::{Path, PathBuf};

use containers::{Apart, Heard};
use jiff::Timestamp;
use layerfs::ChainId;
use serde_json::json;
use snapshot::ids::{CacheId, ContainerId, ImageId};
use snapshot::schema::containerfile::HostConfig;
use snapshot::schema::gojson::StrSlice;
use snapshot::schema::runconfig::{HealthConfig, RunConfig};

use super::Builder;
use super::cache::{self, Keys};
use super::layer::clean_stubs;
use super::stage::{Built, name_of};
use crate::command;
use crate::expand::expand_modern;
use crate::instruction::mount::Mount;
use crate::instruction::{CommandLine, RunFlags};
use crate::output::CommandOutput;
use crate::parser::Heredoc;
use crate::{BuildError, dispatch::text};

/// A file of the user's that commands may see, and no layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// What is in a file.
    File(PathBuf),
    /// What is in a variable of the environment.
    Env(String),
}

/// The name of the host in a container of a command.
const HOSTNAME: &str = "buildkitsandbox";

/// Where a text that is a program appears.
const PIPES: &str = "/dev/pipes";

/// A command that is to run as a step.
struct Step {
    command: Command,
    mounts: Vec<Mount>,
    network: String,
    /// The step's number in the progress.
    number: usize,
    /// What its layer is made from.
    key: String,
    /// Its entry in the history.
    note: String,
}

/// A command, and the texts that it needs as files.
struct Command {
    words: Vec<String>,
    script: Option<Heredoc>,
}

impl Builder<'_, '_> {
    pub(super) fn command(
        &mut self,
        built: &mut Built,
        line: &CommandLine,
        flags: &RunFlags,
        instruction: &str,
    ) -> Result<(), BuildError> {
        let name = self.step_name(instruction);
        let network = match flags.network.as_str() {
            "" | "default" => self.shared.options.network.clone(),
            network @ ("none" | "host") => network.to_owned(),
            other => return Err(BuildError::Invalid(format!("invalid network mode {}", docker_format::quoted(other)))),
        };
        let mut mounts = Vec::new();
        for value in &flags.mounts {
            let mount =
                Mount::parse(&expand_modern(value, self.shared.escape, &built.env)?).map_err(BuildError::Invalid)?;
            mounts.push(at_root(mount, &built.run.working_dir));
        }
        let command = command_of(built, line, flags)?;
        let note = format!("RUN {} # buildkit", built.command_text(&command.words));
        let number = self.begin(&name)?;
        let mut sources = Vec::new();
        for mount in &mounts {
            sources.push(self.mount_key(mount)?);
        }
        let script = command.script.as_ref().map(Heredoc::content);
        let parts = [
            json!("run"),
            json!(command.words),
            json!(script),
            json!(built.env),
            json!(built.run.user),
            json!(built.run.working_dir),
            json!(network),
            json!(self.shared.options.hosts),
            json!(sources),
            json!(self.latest()),
        ];
        let key = cache::key(&built.layers, &parts);
        if self.take_cached(built, &key, &note) {
            return self.cached(number);
        }
        let step = Step { command, mounts, network, number, key, note };
        self.run_command(built, &step)?;
        self.done(number)
    }

    /// Runs a command apart from all containers, where that can be done.
    fn run_command(&mut self, built: &mut Built, step: &Step) -> Result<(), BuildError> {
        let shared = self.shared;
        let top = ChainId::chain(&built.layers).last().copied();
        let made = {
            let _writing = shared.store.writing();
            Apart::make(&shared.store.containers(), top, &shared.options.runtime, shared.store.sync)?
        };
        let Some(apart) = made else { return self.run_in_container(built, step) };
        let dir = apart.dir().to_path_buf();
        let (config, host, _locks) = self.settings(built, step, &dir)?;
        let mut output = shared.progress.output(step.number);
        let mut hear = |heard| match heard {
            Heard::Output(bytes) => output.bytes(&bytes),
            Heard::ErrorOutput(bytes) => output.errors(&bytes),
            Heard::Exited(_) => Ok(()),
        };
        let started = {
            let _writing = shared.store.writing();
            let moment = shared.store.moment();
            let catalog = moment.catalog();
            apart.start(&shared.starter, &catalog, config, host)?
        };
        let code = started.finish(shared.place.interrupted, &mut hear)?;
        output.end()?;
        self.expect_success(step, code)?;
        self.keep_written(built, step, apart.directories().to_vec())?;
        let _writing = shared.store.writing();
        Ok(apart.release()?)
    }

    /// Runs a command in a container of the store. No other stage writes to it meanwhile.
    fn run_in_container(&mut self, built: &mut Built, step: &Step) -> Result<(), BuildError> {
        // It goes, with all that was made for the command, when the command has ended.
        let dir = tempfile::Builder::new().prefix("layerfs-build-").tempdir();
        let dir = dir.map_err(BuildError::io("making a temporary directory"))?;
        let (config, host, _locks) = self.settings(built, step, dir.path())?;
        let config = RunConfig { image: self.image_of(built)?.to_string(), ..config };
        let request = containers::Request { config, host, bare: true, ..containers::Request::default() };
        let store = &self.shared.store;
        let writing = store.writing();
        let container = containers::create(&store.root, store.driver, request)?;
        let done = self.run_container(step, &container);
        drop(writing);
        let done = done.and_then(|own| self.keep_written(built, step, own));
        let _writing = store.writing();
        let removed = command::remove(store, &container);
        done.and(removed)
    }

    /// Runs the container. Returns its directories, the lower one first.
    fn run_container(&self, step: &Step, container: &ContainerId) -> Result<Vec<CacheId>, BuildError> {
        let mut output = self.shared.progress.output(step.number);
        let code = command::run(&self.shared.store, self.shared.options, container, &mut output)?;
        output.end()?;
        self.expect_success(step, code)?;
        command::directories(&self.shared.store, container)
    }

    /// What a command runs with, and the locks of its caches. What it is to see is made in `dir`.
    fn settings(
        &mut self,
        built: &Built,
        step: &Step,
        dir: &Path,
    ) -> Result<(RunConfig, HostConfig, Vec<File>), BuildError> {
        let mut host = HostConfig { network_mode: step.network.clone(), ..HostConfig::default() };
        host.extra_hosts = Some(self.shared.options.hosts.clone()).filter(|hosts| !hosts.is_empty());
        host.log_config.kind = "none".into();
        host.shm_size = self.shared.options.shm_size;
        let mut env = built.env.clone();
        let locks = self.prepare_mounts(&step.mounts, step.command.script.as_ref(), dir, &mut host, &mut env)?;
        // A proxy that was given in one spelling is there in both.
        for name in super::PROXIES {
            let spellings = [name.to_lowercase(), name.to_owned()];
            let given =
                spellings.iter().find_map(|spelling| self.shared.options.arguments.get(spelling).cloned().flatten());
            for spelling in given.is_some().then_some(&spellings).into_iter().flatten() {
                if !env.iter().any(|entry| name_of(entry) == spelling) {
                    env.push(format!("{spelling}={}", given.as_deref().unwrap_or_default()));
                }
            }
        }
        let config = RunConfig {
            hostname: HOSTNAME.into(),
            user: built.run.user.clone(),
            working_dir: built.run.working_dir.clone(),
            env: Some(env),
            cmd: StrSlice(Some(step.command.words.clone())),
            // One empty text means: none, whatever the image says.
            entrypoint: StrSlice(Some(vec![String::new()])),
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
            ..RunConfig::default()
        };
        Ok((config, host, locks))
    }

    fn expect_success(&self, step: &Step, code: i32) -> Result<(), BuildError> {
        if self.shared.place.interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        if code != 0 {
            return Err(BuildError::Process { command: step.command.words.join(" "), code });
        }
        Ok(())
    }

    /// Stores what a command has written as the next layer. `own` are the directories of what it ran in, the lowest first.
    fn keep_written(&mut self, built: &mut Built, step: &Step, own: Vec<CacheId>) -> Result<(), BuildError> {
        let targets: Vec<Vec<u8>> = step.mounts.iter().map(|mount| mount.target.trim_matches('/').into()).collect();
        let mut wanted: Vec<&[u8]> = targets.iter().map(Vec::as_slice).collect();
        wanted.extend(super::layer::POINTS);
        let base = self.read_at(built, &wanted)?;
        let (latest, interrupted) = (self.latest(), self.shared.place.interrupted);
        let now = Timestamp::now().as_second();
        let keys = Keys { key: step.key.clone(), content: String::new() };
        let (root, layers) = (self.shared.store.root_now()?, built.layers.clone());
        let (layers, mut written) = command::written(&self.shared.store, &root, &layers, own)?;
        clean_stubs(&mut written, &base, &targets, now);
        if let Some(latest) = latest {
            written.clamp(latest);
        }
        self.add_layer(built, &keys, &step.note, |out| written.write(&layers, out, interrupted))
    }

    /// An image with the layers of a stage.
    fn image_of(&mut self, built: &mut Built) -> Result<ImageId, BuildError> {
        if let Some(image) = built.image {
            return Ok(image);
        }
        let keys = Keys { key: cache::key(&[], &[json!("scratch")]), content: String::new() };
        let number = super::secret::read_or_make(&self.shared.store)?;
        let config = cache::config(built, &keys, &number, &[], "FROM scratch", "1970-01-01T00:00:00Z");
        let describe = |_| images::load::NewImage { config, parent: None, names: None };
        let image = self.shared.store.add(&[], None, describe)?;
        (built.image, built.record) = (Some(image), Some(image));
        Ok(image)
    }
}

/// A mount whose target is seen from the root.
fn at_root(mut mount: Mount, dir: &str) -> Mount {
    if !mount.target.is_empty() {
        let joined =
            if mount.target.starts_with('/') { mount.target.clone() } else { format!("{dir}/{}", mount.target) };
        mount.target = text(layerfs::path::absolute(joined.as_bytes()));
        if !mount.target.starts_with('/') {
            mount.target.insert(0, '/');
        }
    }
    mount
}

/// The words of a command; a text behind it is its input, or the command itself, or a program.
fn command_of(built: &Built, line: &CommandLine, flags: &RunFlags) -> Result<Command, BuildError> {
    let Some(first) = flags.heredocs.first() else { return Ok(Command { words: built.words(line), script: None }) };
    let [word] = line.words.as_slice() else {
        return Err(BuildError::Invalid("parsing produced an invalid run command".into()));
    };
    let alone = !word.contains(char::is_whitespace) && Heredoc::announced(word).is_some();
    let mut script = None;
    let text = if alone && first.text.starts_with("#!") {
        script = Some(first.clone());
        format!("{PIPES}/{}", first.name)
    } else if alone {
        first.content()
    } else {
        let texts = flags.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.text, heredoc.name));
        std::iter::once(word.clone()).chain(texts).collect()
    };
    let words = built.words(&CommandLine { words: vec![text], shell: line.shell });
    Ok(Command { words, script })
}

/// Where a text that is a program appears.
pub(super) fn pipes() -> String {
    PIPES.to_owned()
}
