//! A Dockerfile, as BuildKit does it: only the stages that are needed, one image at the end, and a cache of layers by what they
//! were made from (moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go`, as in docker 28.5).
//!
//! ```text
//! Dockerfile -> graph (which stages) -> dispatch (each instruction) -> stage (config and history) -> config: the image
//!                                        copy, run, workdir: a layer -> cache (a record: an image without a name)
//! ```

mod apply;
mod cache;
mod chmod;
mod config;
mod copy;
mod dispatch;
mod fingerprint;
mod graph;
mod layer;
mod mount;
mod named;
mod pick;
mod prepare;
mod progress;
mod run;
mod secret;
mod stage;
mod texts;

use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use images::source::Platform;
use snapshot::ids::ImageId;
use snapshot::schema::config::ImageConfig;

use self::cache::Records;
use self::graph::Needed;
use self::named::Contexts;
use self::progress::Progress;
use self::stage::Built;
use crate::context::Context;
use crate::execute::{Options, Place};
use crate::expand::expand_modern;
use crate::instruction::{self, Action, Dockerfile, Instruction, Stage};
use crate::parser::Dialect;
use crate::source::SourceTree;
use crate::store::BuildStore;
use crate::{BuildError, platform};

pub use self::cache::is_record;
#[cfg(test)]
pub(crate) use self::fingerprint::fingerprint;
pub use self::prepare::is_cache_volume;
pub use self::run::Secret;
pub(crate) use self::secret::key_dir;

/// Builds an image in BuildKit's way, and says on `out` what its plain progress says.
///
/// # Errors
/// [`BuildError`]; the store is whole then, with the layers of the steps before in its cache.
pub(crate) fn build(
    place: &Place<'_>,
    context: &Context,
    options: &Options,
    out: &mut dyn Write,
) -> Result<ImageId, BuildError> {
    let platform = options.platform.as_deref().map(platform::parse).transpose().map_err(BuildError::Invalid)?;
    let mut progress = Progress::new(out);
    progress.instant("[internal] load build definition from Dockerfile")?;
    let contexts = Contexts::new(&options.contexts)?;
    let mut file = instruction::read(&context.dockerfile, Dialect::Modern)?;
    contexts.replace_stages(&mut file);
    for warning in &file.warnings {
        progress.warning(warning)?;
    }
    let own = ["docker/dockerfile", "docker.io/docker/dockerfile"];
    if !file.syntax.is_empty() && !own.contains(&file.syntax.split([':', '@']).next().unwrap_or_default()) {
        progress.warning(&format!("syntax {} is not used: there is one frontend here, of Dockerfiles", file.syntax))?;
    }
    let store = BuildStore::open(place, options.sync)?;
    let number = secret::read(&store.root);
    let records = match options.cache {
        true => Records::read(&store.moment().catalog(), number.as_deref(), &options.trusted),
        false => Records::default(),
    };
    let mut builder = Builder {
        store,
        place,
        options,
        platform,
        records,
        context: Rc::new(context.source()),
        contexts: &contexts,
        escape: file.escape,
        progress,
        globals: Vec::new(),
        built: BTreeMap::new(),
        bases: BTreeMap::new(),
        unused: options.arguments.keys().cloned().collect(),
        step: (0, 0),
        current: 0,
        stage_name: String::new(),
    };
    let built = builder.run(&file);
    drop(builder);
    // After a failure, too: what was read need not be read again when the Dockerfile is mended.
    context.remember();
    contexts.remember();
    built
}

/// A build that is going on.
pub(crate) struct Builder<'b> {
    store: BuildStore<'b>,
    place: &'b Place<'b>,
    options: &'b Options,
    /// The platform of base images, unless `FROM` says another one.
    platform: Option<Platform>,
    records: Records,
    context: Rc<SourceTree<'b>>,
    contexts: &'b Contexts,
    escape: char,
    progress: Progress<'b>,
    /// `ARG`s before the first `FROM`, and those about platforms, with their values.
    globals: Vec<(String, String)>,
    /// The stages that were built, by their numbers.
    built: BTreeMap<usize, Built>,
    /// Images that were looked up, by name and platform.
    bases: BTreeMap<String, ImageId>,
    /// Build arguments that no `ARG` has named yet.
    unused: std::collections::BTreeSet<String>,
    /// The number of the present step of the stage, and of its last one.
    step: (usize, usize),
    stage_name: String,
    /// The number of the present stage.
    current: usize,
}

impl Builder<'_> {
    fn run(&mut self, file: &Dockerfile) -> Result<ImageId, BuildError> {
        self.read_globals(file)?;
        let needed =
            Needed::of(file, self.options.target.as_deref(), self.contexts.names(), |text| self.expand_global(text))?;
        let single = needed.stages.len() == 1;
        for &number in &needed.stages {
            let stage = &file.stages[number];
            self.current = number;
            self.stage_name = match stage.name.as_str() {
                _ if single => String::new(),
                "" => format!("stage-{number} "),
                name => format!("{name} "),
            };
            let built = self.build_stage(stage, &needed, number)?;
            self.built.insert(number, built);
        }
        let unused: Vec<&str> = self.unused.iter().map(String::as_str).filter(|key| !is_predefined(key)).collect();
        if !unused.is_empty() {
            let line = format!("[Warning] One or more build-args [{}] were not consumed", unused.join(" "));
            self.progress.warning(&line)?;
        }
        let mut built = self.built.remove(&needed.target).expect("the last stage was built");
        if !self.options.labels.is_empty() {
            // They are no steps.
            built.run.labels.get_or_insert_default().extend(self.options.labels.clone());
        }
        self.finish(built)
    }

    /// Stores the image of the last stage, and gives it its names.
    fn finish(&mut self, built: Built) -> Result<ImageId, BuildError> {
        let number = self.progress.begin("exporting to image")?;
        let (layers, parent) = (built.layers.clone(), built.record);
        let bytes = config::write(&built, self.options.epoch);
        let describe = |_| images::load::NewImage { config: bytes, parent, names: None };
        let image = self.store.add(&layers, None, describe)?;
        self.progress.note(number, &format!("writing image {image} done"))?;
        self.store.tag(image, &self.options.tags, &self.place.now)?;
        for tag in &self.options.tags {
            self.progress.note(number, &format!("naming to {tag} done"))?;
        }
        self.progress.done(number)?;
        Ok(image)
    }

    /// The arguments that are there before the first stage.
    fn read_globals(&mut self, file: &Dockerfile) -> Result<(), BuildError> {
        let host = Platform::host();
        let target = self.platform.clone().unwrap_or_else(|| host.clone());
        for (prefix, platform) in [("TARGET", &target), ("BUILD", &host)] {
            let variant = platform.variant.clone().unwrap_or_default();
            for (name, value) in [
                ("PLATFORM", platform.to_string()),
                ("OS", platform.os.clone()),
                ("ARCH", platform.architecture.clone()),
                ("VARIANT", variant),
            ] {
                self.globals.push((format!("{prefix}{name}"), value));
            }
        }
        let stage = self.options.target.clone().unwrap_or_else(|| "default".into());
        self.globals.push(("TARGETSTAGE".into(), stage));
        for (name, value) in &mut self.globals {
            if let Some(Some(given)) = self.options.arguments.get(name) {
                value.clone_from(given);
            }
        }
        for argument in &file.arguments {
            let Action::Arg(pairs) = &argument.action else { continue };
            for (key, default) in pairs {
                let key = self.expand_global(key)?;
                self.unused.remove(&key);
                let value = match (self.options.arguments.get(&key), default) {
                    (Some(Some(given)), _) => Some(given.clone()),
                    (_, Some(default)) => Some(self.expand_global(default)?),
                    _ => self.global(&key).map(str::to_owned),
                };
                if let Some(value) = value {
                    self.globals.retain(|(known, _)| *known != key);
                    self.globals.push((key, value));
                }
            }
        }
        Ok(())
    }

    fn global(&self, key: &str) -> Option<&str> {
        self.globals.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Expands a word with what is known before the first stage.
    fn expand_global(&self, text: &str) -> Result<String, BuildError> {
        let env: Vec<String> = self.globals.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok(expand_modern(text, self.escape, &env)?)
    }

    fn build_stage(&mut self, stage: &Stage, needed: &Needed, number: usize) -> Result<Built, BuildError> {
        let layered = |one: &&Instruction| {
            matches!(one.action, Action::Add(_) | Action::Copy(_) | Action::Run(..) | Action::Workdir(_))
        };
        self.step = (1, 1 + stage.instructions.iter().filter(layered).count());
        let mut built = match needed.base(number) {
            graph::Base::Stage(other) => self.built[&other].child(),
            graph::Base::Scratch => {
                let platform = self.platform.clone().unwrap_or_else(Platform::host);
                Built::scratch(&platform)
            }
            graph::Base::Context(name) => self.context_stage(&name)?,
            graph::Base::Image(name) => self.base_stage(stage, &name)?,
        };
        let triggers = built.run.on_build.take().unwrap_or_default();
        for trigger in &triggers {
            let trigger = instruction::read_trigger(trigger, Dialect::Modern).map_err(BuildError::Invalid)?;
            self.step.1 += usize::from(layered(&&trigger));
        }
        if !matches!(needed.base(number), graph::Base::Image(_) | graph::Base::Context(_)) {
            self.step.0 -= 1;
            self.step.1 -= 1;
        }
        for trigger in &triggers {
            let trigger = instruction::read_trigger(trigger, Dialect::Modern).map_err(BuildError::Invalid)?;
            self.instruction(&mut built, &trigger, needed)?;
        }
        for instruction in &stage.instructions {
            self.instruction(&mut built, instruction, needed)?;
        }
        Ok(built)
    }

    fn instruction(&mut self, built: &mut Built, instruction: &Instruction, needed: &Needed) -> Result<(), BuildError> {
        if self.place.interrupted.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        self.dispatch(built, instruction, needed)
    }

    /// A stage that stands on an image.
    fn base_stage(&mut self, stage: &Stage, name: &str) -> Result<Built, BuildError> {
        let platform = match stage.platform.as_str() {
            "" => self.platform.clone(),
            text => {
                let text = self.expand_global(text)?;
                let parsed = platform::parse(&text);
                Some(
                    parsed
                        .map_err(|reason| BuildError::Invalid(format!("failed to parse platform {text}: {reason}")))?,
                )
            }
        };
        let line = format!("[{}{}/{}] FROM {name}", self.stage_name, self.step.0, self.step.1);
        let number = self.progress.begin(&line)?;
        let image = self.find_image(name, platform.as_ref())?;
        let (bytes, layers) = self.store.moment().config(image)?;
        let config = ImageConfig::parse(&bytes).map_err(|error| BuildError::Invalid(error.to_string()))?;
        self.progress.cached(number)?;
        Ok(Built::on_image(image, &bytes, config, layers))
    }

    /// The image that a name means; one that is not there is fetched.
    fn find_image(&mut self, name: &str, platform: Option<&Platform>) -> Result<ImageId, BuildError> {
        let key = format!("{name} {}", platform.map(ToString::to_string).unwrap_or_default());
        if let Some(known) = self.bases.get(&key) {
            return Ok(*known);
        }
        let id = self.store.image(name, platform, self.options.pull)?;
        self.bases.insert(key, id);
        Ok(id)
    }

    /// What a step that makes a layer is called in the progress.
    fn step_name(&mut self, text: &str) -> String {
        self.step.0 += 1;
        let first: String = text.lines().next().unwrap_or_default().to_owned();
        format!("[{}{}/{}] {first}", self.stage_name, self.step.0, self.step.1)
    }
}

/// Build arguments that every command sees, and that change nothing in the cache: these, and the same in small letters.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Build arguments that need no `ARG`.
fn is_predefined(key: &str) -> bool {
    PROXIES.iter().any(|name| *name == key || name.to_lowercase() == key)
        || matches!(key, "SOURCE_DATE_EPOCH" | "BUILDKIT_INLINE_CACHE")
}
