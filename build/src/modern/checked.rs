//! When a Dockerfile is looked at: before it is built, afterwards, or without a build.

use std::collections::BTreeSet;

use images::source::Platform;
use snapshot::catalog::Resolved;

use super::check::{self, Checks, Stages, Warning};
use super::globals::Globals;
use super::graph::{Base, Needed};
use super::named::Contexts;
use super::stage::Built;
use super::{Shared, built_on};
use crate::context::Context;
use crate::execute::{Made, Options, Place};
use crate::ignore::Patterns;
use crate::instruction::{self, Dockerfile, InstructionError};
use crate::parser::{self, Dialect};
use crate::store::BuildStore;
use crate::{BuildError, platform};

/// A Dockerfile, read.
pub(super) struct Prepared {
    pub(super) file: Dockerfile,
    pub(super) globals: Globals,
    pub(super) needed: Needed,
    /// Build arguments that no `ARG` has named yet.
    pub(super) unused: BTreeSet<String>,
    pub(super) checks: Checks,
}

impl Prepared {
    /// Reads the Dockerfile of a context. `before` are the warnings before an error.
    pub(super) fn read(
        context: &Context,
        options: &Options,
        platform: Option<&Platform>,
        contexts: &Contexts,
        before: &mut Vec<Warning>,
    ) -> Result<Self, BuildError> {
        let given = options.arguments.get(check::ARGUMENT).and_then(Option::as_deref);
        let parsed = parser::parse(&context.dockerfile, Dialect::Modern).map_err(InstructionError::Parse)?;
        let read = instruction::read_parsed(&parsed, Dialect::Modern);
        let mut checks = Checks::new(parsed, given)?;
        checks.file(read.as_ref().err());
        let target = options.target.as_deref();
        let mut unused = options.arguments.keys().cloned().collect();
        let prepare = || {
            let mut file = read?;
            if let Some(globals) = Globals::defaults(&file, platform, target) {
                checks.default_bases(&file, &globals);
            }
            contexts.replace_stages(&mut file);
            let globals = Globals::read(&file, platform, target, &options.arguments, &mut unused)?;
            let needed = Needed::of(&file, target, contexts.names(), |text| globals.expand(text))?;
            Ok((file, globals, needed))
        };
        let prepared = prepare();
        if prepared.is_err() {
            *before = checks.warnings();
        }
        prepared.map(|(file, globals, needed)| Self { file, globals, needed, unused, checks })
    }
}

/// Looks at a Dockerfile, and builds nothing. Returns what is not as it should be, and the error that a build would end with, as far as
/// that can be said. Base images are not fetched; in a stage that stands on one that is not there, no variable counts as undefined.
///
/// # Errors
/// [`BuildError`], if the store cannot be read, or what is asked for makes no sense.
pub fn check(
    place: &Place<'_>,
    context: &Context,
    options: &Options,
) -> Result<(Vec<Warning>, Result<(), BuildError>), BuildError> {
    let platform = options.platform.as_deref().map(platform::parse).transpose().map_err(BuildError::Invalid)?;
    let contexts = Contexts::new(&options.contexts)?;
    let mut warnings = Vec::new();
    let mut prepared = match Prepared::read(context, options, platform.as_ref(), &contexts, &mut warnings) {
        Ok(prepared) => prepared,
        Err(error) => return Ok((warnings, Err(error))),
    };
    let store = BuildStore::open(place, options.sync)?;
    let Prepared { file, globals, needed, checks, .. } = &mut prepared;
    let numbers = match options.target {
        Some(_) => needed.stages.clone(),
        None => (0..file.stages.len()).collect(),
    };
    let stages = Stages {
        file,
        globals,
        needed,
        given: &options.arguments,
        ignored: &context.ignored,
        image: &|name| image_of(&store, name),
    };
    let looked = stages.look(checks, &numbers).and_then(|()| checks.refused());
    Ok((checks.warnings(), looked))
}

/// The image of a name, if the store has it.
fn image_of(store: &BuildStore<'_>, name: &str) -> Result<Option<Built>, BuildError> {
    let found = store.moment().catalog().resolve(name);
    match found {
        Resolved::Image(id) => built_on(store, id).map(Some),
        _ => Ok(None),
    }
}

impl Shared<'_> {
    /// Builds, and looks at the Dockerfile: afterwards, when the base images are there, or before, if it is not built with a warning.
    pub(super) fn checked(
        &self,
        file: &Dockerfile,
        ignored: &Patterns,
        checks: &mut Checks,
        build: impl FnOnce() -> Result<Made, BuildError>,
    ) -> Result<Made, BuildError> {
        let stages = Stages {
            file,
            globals: &self.globals,
            needed: &self.needed,
            given: &self.options.arguments,
            ignored,
            image: &|name| image_of(&self.store, name),
        };
        let built = if checks.are_strict() {
            let fetched = self.needed.stages.iter().try_for_each(|&number| match self.needed.base(number) {
                Base::Image(name) => self.find_image(&name, self.platform_of(&file.stages[number])?.as_ref()).map(drop),
                _ => Ok(()),
            });
            let looked = fetched.and_then(|()| stages.look(checks, &self.needed.stages));
            looked.and_then(|()| checks.refused()).and_then(|()| build())
        } else {
            let built = build();
            // What is wrong is said by the build.
            let _ = stages.look(checks, &self.needed.stages);
            built
        };
        if !matches!(&built, Err(error) if error.is_interrupt()) {
            self.progress.warnings(&checks.warnings())?;
        }
        built
    }
}
