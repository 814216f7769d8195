//! A Dockerfile, instruction by instruction, as docker's classic builder does it (moby v20.10.24
//! `builder/dockerfile/builder.go, evaluator.go`).

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use images::source::Platform;
use snapshot::ids::{ContainerId, ImageId};
use snapshot::reference::Reference;
use snapshot::schema::config::ImageConfig;
use snapshot::schema::runconfig::RunConfig;

use crate::arguments::Arguments;
use crate::cache::Cache;
use crate::context::Context;
use crate::expand::expand;
use crate::instruction::{self, Action, Dockerfile, Instruction, Stage};
use crate::output::Talk;
use crate::parser::Dialect;
use crate::source::SourceTree;
use crate::state::State;
use crate::store::BuildStore;
use crate::{BuildError, Secret, View, command, modern, platform};

/// What the user may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The names of the image.
    pub tags: Vec<Reference>,
    /// Build arguments; `None` for one of which only the name is given.
    pub arguments: BTreeMap<String, Option<String>>,
    /// Labels, added at the end.
    pub labels: BTreeMap<String, String>,
    /// The last stage to build.
    pub target: Option<String>,
    /// Whether images that were built before may stand for steps.
    pub cache: bool,
    /// Whether the container of a command is removed after the command has succeeded.
    pub remove: bool,
    /// Whether the container of a command is removed after the command has failed.
    pub remove_failed: bool,
    /// The network of commands: `none` or `host`; empty for none.
    pub network: String,
    /// Lines for the hosts file of commands: `NAME:IP`.
    pub hosts: Vec<String>,
    /// The size of `/dev/shm` for commands in bytes; 0 for docker's default.
    pub shm_size: i64,
    /// Which runtime runs commands.
    pub runtime: String,
    /// The platform of base images that are fetched, unless `FROM` says another one.
    pub platform: Option<String>,
    /// Whether every base image is fetched, even one that is there.
    pub pull: bool,
    /// Whether what is stored is made durable.
    pub sync: bool,
    /// Whether the build is docker's classic builder's, and not BuildKit's. What follows counts only for the latter.
    pub classic: bool,
    /// What commands may see that is in no layer, by its id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of SSH agents, by their ids.
    pub agents: BTreeMap<String, PathBuf>,
    /// Directories that a Dockerfile knows by a name, as if they were stages or images.
    pub contexts: BTreeMap<String, PathBuf>,
    /// Records of a cache that count although they were made elsewhere.
    pub trusted: Vec<ImageId>,
    /// The latest time that the image at the end has, in seconds.
    pub epoch: Option<i64>,
    /// Whether no file of a new layer is later than the epoch, or 1970.
    pub reproducible: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            arguments: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            cache: true,
            remove: true,
            remove_failed: false,
            network: String::new(),
            hosts: Vec::new(),
            shm_size: 0,
            runtime: "builtin".into(),
            platform: None,
            pull: false,
            sync: true,
            classic: false,
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            contexts: BTreeMap::new(),
            trusted: Vec::new(),
            epoch: None,
            reproducible: false,
        }
    }
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The image.
    pub image: ImageId,
    /// For each stage that was built in BuildKit's way, the last record of the cache that it has.
    pub records: Vec<ImageId>,
}

/// Fetches an image by its name, for a platform, or else for this machine.
pub type Fetch<'f> = dyn Fn(&str, Option<&Platform>) -> Result<(), BuildError> + Sync + 'f;

/// Fetches the file at an address, and writes what is in it. Returns when it was changed last, in seconds since 1970, if the server
/// says so.
pub type Download<'f> = dyn Fn(&str, &mut dyn Write) -> Result<Option<i64>, BuildError> + Sync + 'f;

/// Where a build takes place.
pub struct Place<'p> {
    /// The data-root.
    pub root: PathBuf,
    /// The storage driver, if the user named one.
    pub driver: Option<&'static str>,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'p AtomicBool,
    /// Fetches an image that the store does not have. An error is [`BuildError::Interrupted`], or [`BuildError::NoBase`] with the
    /// reason why that is not possible.
    pub fetch: &'p Fetch<'p>,
    /// Fetches a file that `ADD` names by its address. Not with the classic builder.
    pub download: &'p Download<'p>,
    /// The time at which names are given, as Go prints it.
    pub now: String,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("root", &self.root).field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// Builds an image, and says on `out` how it goes: for the classic builder what docker's client says on its standard output,
/// beginning with the first step, and otherwise BuildKit's plain progress. What is written before an error stays.
///
/// # Errors
/// [`BuildError`]; the store is whole then, with the images of the steps before.
pub fn build(
    place: &Place<'_>,
    context: &Context,
    options: &Options,
    out: &mut (dyn Write + Send),
) -> Result<Made, BuildError> {
    if !options.classic {
        return modern::build(place, context, options, Box::new(modern::Plain::new(out)));
    }
    let platform = options.platform.as_deref().map(platform::parse).transpose().map_err(BuildError::Invalid)?;
    let mut file = instruction::read(&context.dockerfile, Dialect::Classic)?;
    if let Some(target) = &options.target {
        let wanted = target.to_lowercase();
        let at = file.stages.iter().position(|stage| !wanted.is_empty() && stage.name == wanted);
        file.stages.truncate(at.ok_or_else(|| BuildError::NoTarget(target.clone()))? + 1);
    }
    if let Some(last) = file.stages.last_mut() {
        let label = |(key, value): (&String, &String)| Instruction {
            text: format!("LABEL {key}={value}"),
            action: Action::Label(vec![(key.clone(), value.clone())], false),
        };
        last.instructions.extend(options.labels.iter().map(label));
    }
    let store = BuildStore::open(place, options.sync)?;
    let cache = if options.cache { Cache::read(&store.moment().catalog()) } else { Cache::default() };
    let mut builder = Builder {
        store,
        place,
        options,
        platform,
        cache,
        context: Rc::new(context.source()),
        escape: file.escape,
        talk: Talk::new(out),
        arguments: Arguments::new(options.arguments.clone()),
        stages: Vec::new(),
        used: HashSet::new(),
        steps: (0, 0),
    };
    Ok(Made { image: builder.run(&file)?, records: Vec::new() })
}

/// Builds an image in BuildKit's way, and shows what it does in a form of the caller's.
///
/// # Errors
/// [`BuildError`], as of [`build()`].
pub fn build_shown(
    place: &Place<'_>,
    context: &Context,
    options: &Options,
    view: Box<dyn View + '_>,
) -> Result<Made, BuildError> {
    modern::build(place, context, options, view)
}

/// A stage that was built: its name, and its image.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) name: String,
    pub(crate) image: Option<ImageId>,
}

/// A build that is going on.
pub(crate) struct Builder<'b> {
    pub(crate) store: BuildStore<'b>,
    pub(crate) place: &'b Place<'b>,
    pub(crate) options: &'b Options,
    /// The platform of base images, unless `FROM` says another one.
    pub(crate) platform: Option<Platform>,
    pub(crate) cache: Cache,
    pub(crate) context: Rc<SourceTree<'b>>,
    pub(crate) escape: char,
    pub(crate) talk: Talk<'b>,
    arguments: Arguments,
    pub(crate) stages: Vec<Built>,
    /// Images that were built on or copied from. dockerd asks once whether they are for the right platform.
    used: HashSet<ImageId>,
    /// The number of the present step, and of the last one.
    steps: (usize, usize),
}

impl Builder<'_> {
    fn run(&mut self, file: &Dockerfile) -> Result<ImageId, BuildError> {
        for warning in &file.warnings {
            self.talk.in_red(format!("{warning}\n").as_bytes())?;
        }
        self.steps.1 =
            file.arguments.len() + file.stages.iter().map(|stage| stage.instructions.len() + 1).sum::<usize>();
        for argument in &file.arguments {
            self.step(&argument.text)?;
            if let Action::Arg(pairs) = &argument.action {
                let mut pairs = pairs.clone();
                let env = self.arguments.without(&[]);
                self.expand_arguments(&mut pairs, &env)?;
                for (key, default) in pairs {
                    self.arguments.add_global(&key, default);
                }
            }
        }
        let mut last = None;
        for stage in &file.stages {
            if !stage.name.is_empty() && self.stage(&stage.name).is_some() {
                return Err(BuildError::Invalid(format!("{} stage name already used", stage.name)));
            }
            last = self.build_stage(stage)?;
        }
        let unused = self.arguments.unused().join(" ");
        if !unused.is_empty() {
            self.talk.line(&format!("[Warning] One or more build-args [{unused}] were not consumed"))?;
        }
        let image = last.ok_or(BuildError::Nothing)?;
        self.talk.line(&format!("Successfully built {}", image.0.short()))?;
        self.store.tag(image, &self.options.tags, &self.place.now)?;
        for tag in &self.options.tags {
            self.talk.line(&format!("Successfully tagged {}", tag.familiar()))?;
        }
        Ok(image)
    }

    /// Says which step comes now.
    fn step(&mut self, text: &str) -> Result<(), BuildError> {
        if self.place.interrupted.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        self.steps.0 += 1;
        self.talk.line(&format!("Step {}/{} : {text}", self.steps.0, self.steps.1))
    }

    /// Says which image there is now.
    fn arrow(&mut self, state: &State) -> Result<(), BuildError> {
        let id = state.image.map(|id| id.0.short()).unwrap_or_default();
        self.talk.line(&format!(" ---> {id}"))
    }

    pub(crate) fn expand_arguments(
        &self,
        pairs: &mut [(String, Option<String>)],
        env: &[String],
    ) -> Result<(), BuildError> {
        for (key, value) in pairs {
            *key = expand(key, self.escape, env)?;
            if let Some(value) = value {
                *value = expand(value, self.escape, env)?;
            }
        }
        Ok(())
    }

    /// The stage with this name.
    pub(crate) fn stage(&self, name: &str) -> Option<&Built> {
        let name = name.to_lowercase();
        self.stages.iter().find(|stage| !stage.name.is_empty() && stage.name == name)
    }

    fn build_stage(&mut self, stage: &Stage) -> Result<Option<ImageId>, BuildError> {
        self.step(&stage.text)?;
        let platform = match self.platform_of(stage)? {
            None => self.platform.clone(),
            some => some,
        };
        let name = expand(&stage.base, self.escape, &self.arguments.for_from())?;
        if name.is_empty() {
            return Err(BuildError::Invalid(format!("base name ({}) should not be blank", stage.base)));
        }
        let image = match self.stage(&name) {
            Some(built) => {
                let image = built.image;
                self.expect_platform(image, platform.as_ref())?;
                image
            }
            None if name == "scratch" => {
                if platform.is_some_and(|platform| platform.os != "linux") {
                    return Err(BuildError::Invalid("operating system is not supported".into()));
                }
                None
            }
            None => Some(self.base(&name, platform.as_ref())?),
        };
        let run = match image {
            Some(id) => self.run_config(id)?,
            None => RunConfig::default(),
        };
        let mut state = State::new(image, run, self.arguments.of_stage());
        let triggers = state.run.on_build.take().unwrap_or_default();
        if !triggers.is_empty() {
            let plural = if triggers.len() > 1 { "s" } else { "" };
            self.talk.line(&format!("# Executing {} build trigger{plural}", triggers.len()))?;
            for trigger in &triggers {
                state.name_image();
                let trigger = instruction::read_trigger(trigger, Dialect::Classic).map_err(BuildError::Invalid)?;
                self.instruction(&mut state, &trigger)?;
            }
        }
        state.name_image();
        self.arrow(&state)?;
        for instruction in &stage.instructions {
            self.step(&instruction.text)?;
            self.instruction(&mut state, instruction)?;
            state.name_image();
            self.arrow(&state)?;
        }
        self.arguments.merge(&state.arguments);
        self.stages.push(Built { name: stage.name.clone(), image: state.image });
        Ok(state.image)
    }

    /// The platform that `FROM` says.
    fn platform_of(&self, stage: &Stage) -> Result<Option<Platform>, BuildError> {
        if stage.platform.is_empty() {
            return Ok(None);
        }
        let text = expand(&stage.platform, self.escape, &self.arguments.for_from());
        // The text that dockerd shows here is always empty.
        let text =
            text.map_err(|error| BuildError::Invalid(format!("failed to process arguments for platform : {error}")))?;
        let parsed = platform::parse(&text);
        parsed.map(Some).map_err(|reason| BuildError::Invalid(format!("failed to parse platform {text}: {reason}")))
    }

    /// Refuses an image of this build that is for another platform than it should be, when it is used for the first time. Images that
    /// were there before are used whatever they are for (moby v20.10.24 `builder/dockerfile/imagecontext.go`).
    pub(crate) fn expect_platform(
        &mut self,
        image: Option<ImageId>,
        platform: Option<&Platform>,
    ) -> Result<(), BuildError> {
        let Some(image) = image else { return Ok(()) };
        if !self.used.insert(image) {
            return Ok(());
        }
        let Some(wanted) = platform else { return Ok(()) };
        wanted.takes(&self.config(image)?).map_err(|found| {
            BuildError::Invalid(format!(
                "image with reference {image} was found but does not match the specified platform: wanted {wanted}, actual: {found}"
            ))
        })
    }

    /// The image that a name means; one that is not there is fetched, whatever platform one that is there is for.
    pub(crate) fn base(&mut self, name: &str, platform: Option<&Platform>) -> Result<ImageId, BuildError> {
        let id = self.store.image(name, platform, self.options.pull)?;
        self.used.insert(id);
        Ok(id)
    }

    /// What containers of an image run with.
    pub(crate) fn run_config(&mut self, id: ImageId) -> Result<RunConfig, BuildError> {
        Ok(self.config(id)?.fields.config.unwrap_or_default())
    }

    fn config(&mut self, id: ImageId) -> Result<ImageConfig, BuildError> {
        let (bytes, _) = self.store.moment().config(id)?;
        ImageConfig::parse(&bytes).map_err(|error| BuildError::Invalid(error.to_string()))
    }

    fn instruction(&mut self, state: &mut State, instruction: &Instruction) -> Result<(), BuildError> {
        let mut containers = Vec::new();
        let done = self.dispatch(state, &instruction.action, &mut containers);
        let removes = self.options.remove_failed || (self.options.remove && done.is_ok());
        if removes {
            for (id, real) in &containers {
                match self.remove_container(id, real.as_ref()) {
                    // Why the build fails is more important.
                    Err(error) if done.is_err() => {
                        let line = format!("Error removing intermediate container {}: {error}", &id[..12]);
                        let _ = self.talk.line(&line);
                    }
                    removed => removed?,
                }
            }
        }
        done
    }

    fn remove_container(&mut self, id: &str, real: Option<&ContainerId>) -> Result<(), BuildError> {
        if let Some(id) = real {
            command::remove(&self.store, id)?;
        }
        self.talk.line(&format!("Removing intermediate container {}", &id[..12]))
    }
}
