//! A Dockerfile, as BuildKit does it: only the stages that are needed, one image at the end, and a cache of layers by what they
//! were made from (moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go`, as in docker 28.5).
//!
//! ```text
//! Dockerfile -> graph (which stages) -> dispatch (each instruction) -> stage (config and history) -> config: the image
//!                                        copy, run, workdir: a layer -> cache (a record: an image without a name)
//! ```

mod apply;
mod cache;
mod caches;
mod check;
mod checked;
mod chmod;
mod config;
mod copy;
mod dispatch;
mod download;
mod fingerprint;
mod globals;
mod graph;
mod layer;
mod named;
mod once;
mod pick;
mod prepare;
mod progress;
mod run;
mod secret;
mod stage;
mod texts;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use images::source::Platform;
use runtime::Starter;
use snapshot::ids::ImageId;
use snapshot::schema::config::ImageConfig;

use self::cache::Records;
use self::checked::Prepared;
use self::globals::Globals;
use self::graph::Needed;
use self::named::Contexts;
use self::once::Once;
pub(crate) use self::progress::Plain;
use self::progress::Progress;
pub use self::progress::{End, View};
use self::stage::Built;
use self::together::Together;
use crate::context::Context;
use crate::execute::{Made, Options, Place};
use crate::instruction::{self, Action, Dockerfile, Instruction, Stage};
use crate::parser::Dialect;
use crate::source::SourceTree;
use crate::store::BuildStore;
use crate::{BuildError, platform};

pub use self::cache::is_record;
pub use self::caches::{cache_last_used, cache_of_volume, digits_of_cache, is_cache_in_use};
pub use self::check::Warning;
pub use self::checked::check;
#[cfg(test)]
pub(crate) use self::fingerprint::fingerprint;
pub use self::run::Secret;

/// Builds an image in BuildKit's way, and shows what it does.
///
/// # Errors
/// [`BuildError`]; the store is whole then, with the layers of the steps before in its cache.
pub(crate) fn build(
    place: &Place<'_>,
    context: &Context,
    options: &Options,
    view: Box<dyn View + '_>,
) -> Result<Made, BuildError> {
    let platform = options.platform.as_deref().map(platform::parse).transpose().map_err(BuildError::Invalid)?;
    let contexts = Contexts::new(&options.contexts)?;
    let stop = AtomicBool::new(false);
    let mut place = Place { root: place.root.clone(), now: place.now.clone(), ..*place };
    let interrupted = place.interrupted;
    let progress = Progress::new(view);
    progress.instant("[internal] load build definition from Dockerfile")?;
    let mut before = Vec::new();
    let prepared = Prepared::read(context, options, platform.as_ref(), &contexts, &mut before);
    progress.warnings(&before)?;
    let Prepared { file, globals, needed, unused, mut checks } = prepared?;
    let own = ["docker/dockerfile", "docker.io/docker/dockerfile"];
    if !file.syntax.is_empty() && !own.contains(&file.syntax.split([':', '@']).next().unwrap_or_default()) {
        progress.warning(&format!("syntax {} is not used: there is one frontend here, of Dockerfiles", file.syntax))?;
    }
    if needed.stages.len() > 1 {
        // All threads that build stages share it. Where there is none to be had, commands are refused or not as they would be.
        let _ = containers::own_mounts();
        place.interrupted = &stop;
    }
    let store = BuildStore::open(&place, options.sync)?;
    let number = secret::read(&store.root);
    let records = match options.cache {
        true => Records::read(&store.moment().catalog(), number.as_deref(), &options.trusted),
        false => Records::default(),
    };
    let shared = Shared {
        store,
        place: &place,
        options,
        platform,
        records: Mutex::new(records),
        context: context.source(),
        contexts: &contexts,
        escape: file.escape,
        progress,
        globals,
        needed,
        together: Together::new(place.interrupted),
        once: Once::default(),
        starter: Arc::default(),
        caches: Mutex::default(),
        bases: Mutex::default(),
        unused: Mutex::new(unused),
    };
    let built = shared.checked(&file, &context.ignored, &mut checks, || shared.run(&file, interrupted));
    drop(shared);
    // After a failure, too: what was read need not be read again when the Dockerfile is mended.
    context.remember();
    contexts.remember();
    built
}

/// A stage that stands on an image.
fn built_on(store: &BuildStore<'_>, image: ImageId) -> Result<Built, BuildError> {
    let (bytes, layers) = store.moment().config(image)?;
    let config = ImageConfig::parse(&bytes).map_err(|error| BuildError::Invalid(error.to_string()))?;
    Ok(Built::on_image(image, &bytes, config, layers))
}

/// A stage whose platform has a variable without a value.
fn no_platform(stage: &Stage) -> BuildError {
    BuildError::Invalid(format!("empty platform value from expression {}", stage.platform))
}

/// What all stages of a build share.
pub(crate) struct Shared<'b> {
    store: BuildStore<'b>,
    place: &'b Place<'b>,
    options: &'b Options,
    /// The platform of base images, unless `FROM` says another one.
    platform: Option<Platform>,
    records: Mutex<Records>,
    context: SourceTree<'b>,
    contexts: &'b Contexts,
    escape: char,
    progress: Progress<'b>,
    globals: Globals,
    needed: Needed,
    together: Together<'b>,
    /// The steps that stages do for each other.
    once: Once,
    /// What starts commands.
    starter: Arc<Starter>,
    /// Who makes the directory of a cache.
    caches: Mutex<()>,
    /// Images that were looked up, by name and platform.
    bases: Mutex<BTreeMap<String, ImageId>>,
    /// Build arguments that no `ARG` has named yet.
    unused: Mutex<BTreeSet<String>>,
}

/// A stage that is built.
pub(crate) struct Builder<'s, 'b> {
    shared: &'s Shared<'b>,
    /// The number of the present step of the stage, and of its last one.
    step: (usize, usize),
    /// Its name, as the progress has it.
    name: String,
    /// Its number.
    number: usize,
    /// The number in the progress of a step that was begun and has not ended.
    open: Option<usize>,
    /// The key of the present step, if other stages wait for its layer.
    doing: Option<String>,
}

impl Shared<'_> {
    /// The platform of the image that a stage stands on.
    fn platform_of(&self, stage: &Stage) -> Result<Option<Platform>, BuildError> {
        if stage.platform.is_empty() {
            return Ok(self.platform.clone());
        }
        let text = self.globals.expand(&stage.platform)?;
        if text.is_empty() {
            return Err(no_platform(stage));
        }
        let parsed = platform::parse(&text);
        parsed.map(Some).map_err(|reason| BuildError::Invalid(format!("failed to parse platform {text}: {reason}")))
    }

    /// The image that a name means; one that is not there is fetched.
    fn find_image(&self, name: &str, platform: Option<&Platform>) -> Result<ImageId, BuildError> {
        let key = format!("{name} {}", platform.map(ToString::to_string).unwrap_or_default());
        // Whoever looks for the same one meanwhile waits.
        let mut bases = lock(&self.bases);
        if let Some(known) = bases.get(&key) {
            return Ok(*known);
        }
        let id = self.store.image(name, platform, self.options.pull)?;
        bases.insert(key, id);
        Ok(id)
    }

    fn run(&self, file: &Dockerfile, interrupted: &AtomicBool) -> Result<Made, BuildError> {
        let single = self.needed.stages.len() == 1;
        let build = |number: usize| {
            let stage = &file.stages[number];
            let name = match stage.name.as_str() {
                _ if single => String::new(),
                "" => format!("stage-{number} "),
                name => format!("{name} "),
            };
            let mut builder = Builder { shared: self, step: (0, 0), name, number, open: None, doing: None };
            let built = builder.build_stage(stage);
            if let (Err(error), Some(open)) = (&built, builder.open) {
                self.progress.failed(open, error)?;
            }
            built
        };
        let (mut built, mut records) = self.together.run(&self.needed.stages, interrupted, build)?;
        let unused = lock(&self.unused);
        let unused: Vec<&str> = unused.iter().map(String::as_str).filter(|key| !is_predefined(key)).collect();
        if !unused.is_empty() {
            let line = format!("[Warning] One or more build-args [{}] were not consumed", unused.join(" "));
            self.progress.warning(&line)?;
        }
        if !self.options.labels.is_empty() {
            // They are no steps.
            built.run.labels.get_or_insert_default().extend(self.options.labels.clone());
        }
        records.extend(built.record);
        Ok(Made { image: self.finish(&built)?, records })
    }

    /// Stores the image of the last stage, and gives it its names.
    fn finish(&self, built: &Built) -> Result<ImageId, BuildError> {
        let number = self.progress.begin("exporting to image")?;
        let (layers, parent) = (built.layers.clone(), built.record);
        let bytes = config::write(built, self.options.epoch);
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
}

impl Builder<'_, '_> {
    fn build_stage(&mut self, stage: &Stage) -> Result<Built, BuildError> {
        let layered = |one: &&Instruction| {
            matches!(one.action, Action::Add(_) | Action::Copy(_) | Action::Run(..) | Action::Workdir(_))
        };
        self.step = (1, 1 + stage.instructions.iter().filter(layered).count());
        let base = self.shared.needed.base(self.number);
        let mut built = match &base {
            graph::Base::Stage(other) => self.shared.together.wait_for(*other)?.child(),
            graph::Base::Scratch => {
                let platform = self.shared.platform.clone().unwrap_or_else(Platform::host);
                Built::scratch(&platform)
            }
            graph::Base::Context(name) => self.context_stage(name)?,
            graph::Base::Image(name) => self.base_stage(stage, name)?,
        };
        let triggers = built.run.on_build.take().unwrap_or_default();
        for trigger in &triggers {
            let trigger = instruction::read_trigger(trigger, Dialect::Modern).map_err(BuildError::Invalid)?;
            self.step.1 += usize::from(layered(&&trigger));
        }
        if !matches!(base, graph::Base::Image(_) | graph::Base::Context(_)) {
            self.step.0 -= 1;
            self.step.1 -= 1;
        }
        for trigger in &triggers {
            let trigger = instruction::read_trigger(trigger, Dialect::Modern).map_err(BuildError::Invalid)?;
            self.instruction(&mut built, &trigger)?;
        }
        for instruction in &stage.instructions {
            self.instruction(&mut built, instruction)?;
        }
        Ok(built)
    }

    fn instruction(&mut self, built: &mut Built, instruction: &Instruction) -> Result<(), BuildError> {
        if self.shared.place.interrupted.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        self.dispatch(built, instruction)
    }

    /// A stage that stands on an image.
    fn base_stage(&mut self, stage: &Stage, name: &str) -> Result<Built, BuildError> {
        let platform = self.shared.platform_of(stage)?;
        let line = format!("[{}{}/{}] FROM {name}", self.name, self.step.0, self.step.1);
        let number = self.begin(&line)?;
        let image = self.shared.find_image(name, platform.as_ref())?;
        let built = built_on(&self.shared.store, image)?;
        self.cached(number)?;
        Ok(built)
    }

    /// A step begins. Returns its number in the progress.
    fn begin(&mut self, name: &str) -> Result<usize, BuildError> {
        let number = self.shared.progress.begin(name)?;
        self.open = Some(number);
        Ok(number)
    }

    /// It is done.
    fn done(&mut self, number: usize) -> Result<(), BuildError> {
        self.open = None;
        self.shared.progress.done(number)
    }

    /// It was done before.
    fn cached(&mut self, number: usize) -> Result<(), BuildError> {
        self.open = None;
        self.shared.progress.cached(number)
    }

    /// What a step that makes a layer is called in the progress.
    fn step_name(&mut self, text: &str) -> String {
        self.step.0 += 1;
        let first: String = text.lines().next().unwrap_or_default().to_owned();
        format!("[{}{}/{}] {first}", self.name, self.step.0, self.step.1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Build arguments that every command sees, and that change nothing in the cache: these, and the same in small letters.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Build arguments that need no `ARG`.
fn is_predefined(key: &str) -> bool {
    PROXIES.iter().any(|name| *name == key || name.to_lowercase() == key)
        || matches!(key, "SOURCE_DATE_EPOCH" | "BUILDKIT_INLINE_CACHE" | check::ARGUMENT)
}
