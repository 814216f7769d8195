//! What each instruction does (moby v20.10.24 `builder/dockerfile/dispatchers.go, internals.go`).

use images::load::NewImage;
use images::make::{Commit, committed_config, merge};
use images::source::Platform;
use images::tree::{Tree, read_for};
use jiff::Timestamp;
use layerfs::DiffId;
use snapshot::ids::{CacheId, ContainerId, ImageId};
use snapshot::schema::gojson::StrSlice;
use snapshot::schema::runconfig::RunConfig;
use snapshot::schema::time::Time;

use crate::change::{Places, change, expanded};
use crate::execute::Builder;
use crate::instruction::{Action, CommandLine};
use crate::state::{State, words};
use crate::upper::Upper;
use crate::{BuildError, command, workdir};

/// The containers of a step: the ids that the output names, and the container itself where one was made.
pub(crate) type Containers = Vec<(String, Option<ContainerId>)>;

impl Builder<'_> {
    pub(crate) fn dispatch(
        &mut self,
        state: &mut State,
        action: &Action,
        containers: &mut Containers,
    ) -> Result<(), BuildError> {
        let env = state.variables();
        match action {
            Action::Add(transfer) => return self.transfer(state, "ADD", transfer, &env),
            Action::Copy(transfer) => return self.transfer(state, "COPY", transfer, &env),
            Action::Run(line, flags) => return self.command(state, line, flags.first.as_deref(), containers),
            Action::Healthcheck(..) => {
                let before = state.run.healthcheck.as_ref().and_then(|health| health.test.clone()).unwrap_or_default();
                if before.first().is_some_and(|kind| kind != "NONE") {
                    self.talk.line(&format!("Note: overriding previous HEALTHCHECK: [{}]", before.join(" ")))?;
                }
            }
            _ => {}
        }
        let action = expanded(action, self.escape, &env)?;
        let comment = match &action {
            Action::Arg(pairs) => {
                let mut comment = String::from("ARG");
                for (key, default) in pairs {
                    comment += &default.as_ref().map_or_else(|| format!(" {key}"), |value| format!(" {key}={value}"));
                    state.arguments.add(key, default.clone());
                }
                comment
            }
            Action::Maintainer(name) => {
                state.maintainer.clone_from(name);
                format!("MAINTAINER {name}")
            }
            action => change(&mut state.run, action, &mut state.command_set, &mut Places::default())?,
        };
        let apart = !matches!(action, Action::Workdir(_));
        let made_with = state.commented(&comment, apart);
        self.commit(state, made_with, containers)
    }

    /// Takes an image that was built before, if there is one.
    pub(crate) fn is_cached(&mut self, state: &mut State, made_with: &RunConfig) -> Result<bool, BuildError> {
        if state.missed || !self.options.cache {
            return Ok(false);
        }
        let Some(id) = self.cache.find(state.image, made_with) else {
            state.missed = true;
            return Ok(false);
        };
        state.image = Some(id);
        self.talk.line(" ---> Using cache")?;
        Ok(true)
    }

    /// A step that changes the config. docker makes a container for it, whose name is in the image; here, no container is needed.
    fn commit(
        &mut self,
        state: &mut State,
        mut made_with: RunConfig,
        containers: &mut Containers,
    ) -> Result<(), BuildError> {
        if self.is_cached(state, &made_with)? {
            return Ok(());
        }
        let id = CacheId::random().as_str().to_owned();
        if let Some(image) = state.image {
            let base = self.run_config(image)?;
            merge(&mut made_with, &base);
            made_with.labels.get_or_insert_default();
            // docker has both configs share this.
            state.run.healthcheck.clone_from(&made_with.healthcheck);
        }
        if made_with.hostname.is_empty() {
            id[..12].clone_into(&mut made_with.hostname);
        }
        let mut upper = None;
        if !made_with.working_dir.is_empty() {
            made_with.working_dir = text(layerfs::path::absolute(made_with.working_dir.as_bytes()));
            let dir = made_with.working_dir.clone();
            if dir != "/" && state.made_dir.as_ref() != Some(&dir) {
                let base = self.read_base(state.image, &[dir.as_bytes()])?;
                upper = Some(workdir::make(base, &dir, now())?);
                state.made_dir = Some(dir);
            }
        }
        self.talk.line(&format!(" ---> Running in {}", &id[..12]))?;
        containers.push((id.clone(), None));
        self.add(state, &id, made_with, upper.as_ref())
    }

    /// What an image has at some paths.
    pub(crate) fn read_base(&mut self, image: Option<ImageId>, paths: &[&[u8]]) -> Result<Tree, BuildError> {
        let Some(image) = image else { return Ok(Tree::empty()) };
        let moment = self.store.moment();
        Ok(read_for(&moment.layers(image)?, paths)?)
    }

    /// Stores the image of a step.
    pub(crate) fn add(
        &mut self,
        state: &mut State,
        container: &str,
        made_with: RunConfig,
        upper: Option<&Upper<'_>>,
    ) -> Result<(), BuildError> {
        let (parent, below) = self.parent(state.image)?;
        let created = Time::from(Timestamp::now());
        let describe = described(&parent, state, container, &made_with, created);
        let id = self.store.add(&below, upper, describe)?;
        self.added(state, id, made_with, created);
        Ok(())
    }

    fn parent(&mut self, image: Option<ImageId>) -> Result<(Vec<u8>, Vec<DiffId>), BuildError> {
        match image {
            Some(id) => self.store.moment().config(id),
            None => Ok((b"{}".to_vec(), Vec::new())),
        }
    }

    fn added(&mut self, state: &mut State, id: ImageId, made_with: RunConfig, created: Time) {
        if self.options.cache {
            self.cache.add(state.image, id, made_with, created);
        }
        state.image = Some(id);
    }

    fn command(
        &mut self,
        state: &mut State,
        line: &CommandLine,
        flag: Option<&str>,
        containers: &mut Containers,
    ) -> Result<(), BuildError> {
        if let Some(flag) = flag {
            return Err(BuildError::NeedsBuildKit(flag.to_owned()));
        }
        let words = words(&state.run, line);
        let env = state.run.env.clone().unwrap_or_default();
        let arguments = state.arguments.without(&env);
        let made_with = RunConfig {
            cmd: StrSlice(Some(state.arguments.in_history(&arguments, &words))),
            entrypoint: StrSlice(None),
            ..state.run.clone()
        };
        if self.is_cached(state, &made_with)? {
            return Ok(());
        }
        let joined = words.join(" ");
        if state.image.is_none() {
            let program = docker_format::quoted(words.first().map_or("", String::as_str));
            return Err(BuildError::Invalid(format!("there is nothing yet that could run {program}")));
        }
        let config = command::config(&state.run, &words, env.into_iter().chain(arguments).collect());
        let container = command::create(&self.store, self.options, config)?;
        let id = container.to_string();
        self.talk.line(&format!(" ---> Running in {}", &id[..12]))?;
        containers.push((id.clone(), Some(container.clone())));
        let code = command::run(&self.store, self.options, &container, &mut self.talk)?;
        if self.place.interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        if code != 0 {
            return Err(BuildError::Command { command: joined, code });
        }
        state.made_dir = None;
        let (parent, below) = self.parent(state.image)?;
        let created = Time::from(Timestamp::now());
        let store = &self.store;
        let root = store.root_now()?;
        let (layers, written) = command::written(store, &root, &below, command::directories(store, &container)?)?;
        let describe = described(&parent, state, &id, &made_with, created);
        let image = match written.is_nothing() {
            true => store.add(&below, None, describe)?,
            false => store.add_written(&below, |out| written.write(&layers, out, store.interrupted), describe)?,
        };
        self.added(state, image, made_with, created);
        Ok(())
    }
}

/// What becomes of a step: an image with one more entry in its history.
fn described(
    parent: &[u8],
    state: &State,
    container: &str,
    made_with: &RunConfig,
    created: Time,
) -> impl FnOnce(Option<DiffId>) -> NewImage {
    move |layer| {
        let created = created.to_string();
        let commit = Commit {
            container,
            container_config: made_with,
            config: &state.run,
            author: &state.maintainer,
            comment: "",
            created: &created,
        };
        let config = committed_config(parent, layer, &commit, &Platform::host());
        let config = config.expect("a config that dockerd shows is JSON");
        NewImage { config, parent: state.image, names: None }
    }
}

pub(crate) fn text(path: Vec<u8>) -> String {
    String::from_utf8(path).expect("whole names of a text are text")
}

pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}
