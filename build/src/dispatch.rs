//! What each instruction does (moby v20.10.24 `builder/dockerfile/dispatchers.go, internals.go`).

use images::load::NewImage;
use images::make::{Commit, committed_config, merge};
use images::source::Platform;
use images::tree::{Tree, read_for};
use jiff::Timestamp;
use layerfs::DiffId;
use snapshot::ids::{CacheId, ContainerId, ImageId};
use snapshot::schema::gojson::{Empty, StrSlice};
use snapshot::schema::runconfig::{HealthConfig, RunConfig};
use snapshot::schema::time::Time;

use crate::execute::Builder;
use crate::expand::{expand, expand_words};
use crate::instruction::{Action, CommandLine};
use crate::state::State;
use crate::upper::Upper;
use crate::{BuildError, command, ports, workdir};

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
        let word = |word: &String| expand(word, self.escape, &env);
        let comment = match action {
            Action::Add(transfer) => return self.transfer(state, "ADD", transfer, &env),
            Action::Copy(transfer) => return self.transfer(state, "COPY", transfer, &env),
            Action::Run(line, flag) => return self.command(state, line, flag.as_deref(), containers),
            Action::Workdir(path) => {
                let path = word(path)?;
                if path.is_empty() {
                    return Err(BuildError::Invalid("cannot normalize nothing".into()));
                }
                state.run.working_dir = if path.starts_with('/') {
                    path
                } else {
                    text(layerfs::path::absolute(format!("/{}/{path}", state.run.working_dir).as_bytes()))
                };
                let comment = format!("WORKDIR {}", state.run.working_dir);
                let made_with = state.commented(&comment, false);
                return self.commit(state, made_with, containers);
            }
            Action::Arg(pairs) => {
                let mut pairs = pairs.clone();
                self.expand_arguments(&mut pairs, &env)?;
                let mut comment = String::from("ARG");
                for (key, default) in pairs {
                    comment += &default.as_ref().map_or_else(|| format!(" {key}"), |value| format!(" {key}={value}"));
                    state.arguments.add(&key, default);
                }
                comment
            }
            Action::Env(pairs) => {
                let mut comment = String::from("ENV");
                for (key, value) in pairs {
                    let (key, value) = (word(key)?, word(value)?);
                    let entry = format!("{key}={value}");
                    comment += &format!(" {entry}");
                    let env = state.run.env.get_or_insert_default();
                    match env.iter_mut().find(|known| known.split('=').next() == Some(&key)) {
                        Some(known) => *known = entry,
                        None => env.push(entry),
                    }
                }
                comment
            }
            Action::Label(pairs, expanded) => {
                let mut comment = String::from("LABEL");
                for (key, value) in pairs {
                    let (key, value) =
                        if *expanded { (word(key)?, word(value)?) } else { (key.clone(), value.clone()) };
                    comment += &format!(" {key}={value}");
                    state.run.labels.get_or_insert_default().insert(key, value);
                }
                comment
            }
            Action::Maintainer(name) => {
                state.maintainer.clone_from(name);
                format!("MAINTAINER {name}")
            }
            Action::Expose(words) => {
                let mut all = Vec::new();
                for word in words {
                    all.extend(expand_words(word, self.escape, &env)?);
                }
                for word in &all {
                    let exposed = state.run.exposed_ports.get_or_insert_default();
                    let ports = ports::parse(word).map_err(BuildError::Invalid)?;
                    exposed.extend(ports.into_iter().map(|port| (port, Empty)));
                }
                format!("EXPOSE {}", all.join(" "))
            }
            Action::Volume(paths) => {
                let paths = paths.iter().map(word).collect::<Result<Vec<_>, _>>()?;
                if paths.iter().any(String::is_empty) {
                    return Err(BuildError::Invalid("VOLUME specified can not be an empty string".into()));
                }
                let volumes = state.run.volumes.get_or_insert_default();
                volumes.extend(paths.iter().map(|path| (path.clone(), Empty)));
                format!("VOLUME [{}]", paths.join(" "))
            }
            Action::User(user) => {
                state.run.user = word(user)?;
                format!("USER {}", state.run.user)
            }
            Action::StopSignal(signal) => {
                let signal = word(signal)?;
                if runtime::signal_number(&signal).is_none() {
                    return Err(BuildError::Invalid(format!("Invalid signal: {signal}")));
                }
                state.run.stop_signal.clone_from(&signal);
                format!("STOPSIGNAL {signal}")
            }
            Action::Shell(words) => {
                state.run.shell = StrSlice(Some(words.clone()));
                format!("SHELL [{}]", words.join(" "))
            }
            Action::Onbuild(trigger) => {
                state.run.on_build.get_or_insert_default().push(trigger.clone());
                format!("ONBUILD {trigger}")
            }
            Action::Healthcheck(health) => {
                let before = state.run.healthcheck.as_ref().and_then(|health| health.test.clone()).unwrap_or_default();
                if before.first().is_some_and(|kind| kind != "NONE") {
                    self.talk.line(&format!("Note: overriding previous HEALTHCHECK: [{}]", before.join(" ")))?;
                }
                state.run.healthcheck = Some(health.clone());
                format!("HEALTHCHECK {}", go_health(health))
            }
            Action::Cmd(line) => {
                let words = state.words(line);
                let comment = format!("CMD {}", go_list(&words));
                state.run.cmd = StrSlice(Some(words));
                state.run.args_escaped = false;
                let made_with = state.commented(&comment, true);
                self.commit(state, made_with, containers)?;
                state.command_set |= !line.words.is_empty();
                return Ok(());
            }
            Action::Entrypoint(line) => {
                let words = if line.words.is_empty() { Vec::new() } else { state.words(line) };
                let comment = format!("ENTRYPOINT {}", go_list(&words));
                state.run.entrypoint = StrSlice(Some(words).filter(|words| !words.is_empty()));
                if !state.command_set {
                    state.run.cmd = StrSlice(None);
                }
                comment
            }
        };
        let made_with = state.commented(&comment, true);
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
        let moment = self.moment()?;
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
            Some(id) => self.moment()?.config(id),
            None => Ok((b"{}".to_vec(), Vec::new())),
        }
    }

    fn added(&mut self, state: &mut State, id: ImageId, made_with: RunConfig, created: Time) {
        if self.options.cache {
            self.cache.add(state.image, id, made_with, created);
        }
        state.image = Some(id);
        self.stale = true;
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
        let words = state.words(line);
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
        let image = command::with_written(store, &container, |layers, written| {
            let describe = described(&parent, state, &id, &made_with, created);
            if written.is_nothing() {
                return store.add(&below, None, describe);
            }
            store.add_written(&below, |out| written.write(layers, out, store.interrupted), describe)
        })?;
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
        NewImage { config, parent: state.image, tag: None }
    }
}

pub(crate) fn text(path: Vec<u8>) -> String {
    String::from_utf8(path).expect("whole names of a text are text")
}

pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// A list as Go's `%q` writes it.
fn go_list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| docker_format::quoted(word)).collect::<Vec<_>>().join(" "))
}

/// A health check as Go's `%q` writes the struct.
fn go_health(health: &HealthConfig) -> String {
    let time = |nanos: i64| docker_format::quoted(&docker_format::until::go_duration(nanos));
    let test = go_list(&health.test.clone().unwrap_or_default());
    let retries = u32::try_from(health.retries).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let retries = docker_format::quoted_char(retries);
    format!("&{{{test} {} {} {} {retries}}}", time(health.interval), time(health.timeout), time(health.start_period))
}
