//! Directories of the user's that have a name in the Dockerfile: `--build-context` (moby/buildkit
//! `frontend/dockerfile/dockerfile2llb/convert.go`, `frontend/dockerui/namedcontext.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use images::source::Platform;
use snapshot::reference::Reference;

use super::stage::Built;
use super::{Builder, lock};
use crate::BuildError;
use crate::context::{Context, ContextError};
use crate::instruction::Dockerfile;
use crate::source::SourceTree;

/// All of them, by their names. Each is read when something is taken from it.
#[derive(Debug)]
pub(super) struct Contexts {
    all: BTreeMap<String, (PathBuf, OnceLock<Context>)>,
    /// Who reads one.
    reading: Mutex<()>,
}

/// The name by which a directory is found: that of an image, in its short form and without the tag that is meant where there is
/// none. `None` for what cannot be a name of an image.
pub(super) fn name_of(text: &str) -> Option<String> {
    let name = Reference::parse(text).ok()?.familiar();
    Some(name.strip_suffix(":latest").map_or_else(|| name.clone(), str::to_owned))
}

impl Contexts {
    /// The directories that the user names, of which each must be there.
    ///
    /// # Errors
    /// [`BuildError::Context`], or [`BuildError::Invalid`] for a name that no image could have.
    pub(super) fn new(given: &BTreeMap<String, PathBuf>) -> Result<Self, BuildError> {
        let mut all = BTreeMap::new();
        for (text, path) in given {
            let name = name_of(text).ok_or_else(|| BuildError::Invalid(format!("invalid context name {text}")))?;
            let failed = |source| ContextError::Named { name: name.clone(), path: path.clone(), source };
            if !path.metadata().map_err(failed)?.is_dir() {
                return Err(failed(std::io::ErrorKind::NotADirectory.into()).into());
            }
            all.insert(name, (path.clone(), OnceLock::new()));
        }
        Ok(Self { all, reading: Mutex::default() })
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.all.keys().cloned().collect()
    }

    /// Puts directories in the places of the stages that have their names.
    pub(super) fn replace_stages(&self, file: &mut Dockerfile) {
        for stage in &mut file.stages {
            if let Some(name) = name_of(&stage.name).filter(|name| self.all.contains_key(name)) {
                stage.base = name;
                stage.instructions.clear();
            }
        }
    }

    /// The files of one.
    fn source(&self, name: &str, store: &Path) -> Result<SourceTree<'_>, BuildError> {
        let (path, read) = self.all.get(name).expect("only names that are there are looked up");
        let _reading = lock(&self.reading);
        if read.get().is_none() {
            // Nobody else can have set it meanwhile.
            let _ = read.set(Context::named(name, path, store)?);
        }
        Ok(read.get().expect("it was set before").source())
    }

    /// Writes down what is known of the files that were read.
    pub(super) fn remember(&self) {
        self.all.values().filter_map(|(_, read)| read.get()).for_each(Context::remember);
    }
}

impl<'b> Builder<'_, 'b> {
    /// The files of a directory with a name.
    pub(super) fn named(&self, name: &str) -> Result<SourceTree<'b>, BuildError> {
        self.shared.contexts.source(name, &self.shared.store.root)
    }

    /// A stage that stands on a directory: one layer with its files.
    pub(super) fn context_stage(&mut self, name: &str) -> Result<Built, BuildError> {
        let platform = self.shared.platform.clone().unwrap_or_else(Platform::host);
        let mut built = Built::scratch(&platform);
        let source = self.named(name)?;
        self.copy_whole(&mut built, &source, &format!("[context {name}] load from client"))?;
        Ok(built)
    }
}
