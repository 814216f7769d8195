//! Arguments that are there before the first stage: those of platforms, and what `ARG` says before the first `FROM`.

use std::collections::{BTreeMap, BTreeSet};

use images::source::Platform;

use crate::BuildError;
use crate::expand::Names;
use crate::instruction::{Action, Dockerfile};

/// Their names and values.
#[derive(Debug)]
pub(super) struct Globals {
    values: Vec<(String, String)>,
    escape: char,
}

impl Globals {
    /// Reads them. What is used of the build's arguments is taken out of `unused`.
    pub(super) fn read(
        file: &Dockerfile,
        platform: Option<&Platform>,
        target: Option<&str>,
        given: &BTreeMap<String, Option<String>>,
        unused: &mut BTreeSet<String>,
    ) -> Result<Self, BuildError> {
        let mut globals = Self { values: Vec::new(), escape: file.escape };
        let host = Platform::host();
        for (prefix, platform) in [("TARGET", platform.unwrap_or(&host)), ("BUILD", &host)] {
            let variant = platform.variant.clone().unwrap_or_default();
            for (name, value) in [
                ("PLATFORM", platform.to_string()),
                ("OS", platform.os.clone()),
                ("ARCH", platform.architecture.clone()),
                ("VARIANT", variant),
            ] {
                globals.values.push((format!("{prefix}{name}"), value));
            }
        }
        globals.values.push(("TARGETSTAGE".into(), target.unwrap_or("default").to_owned()));
        for (name, value) in &mut globals.values {
            if let Some(Some(given)) = given.get(name) {
                value.clone_from(given);
            }
        }
        for argument in &file.arguments {
            let Action::Arg(pairs) = &argument.action else { continue };
            for (key, default) in pairs {
                let key = globals.expand(key)?;
                unused.remove(&key);
                let value = match (given.get(&key), default) {
                    (Some(Some(given)), _) => Some(given.clone()),
                    (_, Some(default)) => Some(globals.expand(default)?),
                    _ => globals.get(&key).map(str::to_owned),
                };
                if let Some(value) = value {
                    globals.values.retain(|(known, _)| *known != key);
                    globals.values.push((key, value));
                }
            }
        }
        Ok(globals)
    }

    /// Reads them as if the user gave no arguments; `None` where that is not possible.
    pub(super) fn defaults(file: &Dockerfile, platform: Option<&Platform>, target: Option<&str>) -> Option<Self> {
        Self::read(file, platform, target, &BTreeMap::new(), &mut BTreeSet::new()).ok()
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(key, _)| key.as_str())
    }

    /// The value of an argument that a stage names, with this default.
    pub(super) fn argument(
        &self,
        given: &BTreeMap<String, Option<String>>,
        key: &str,
        default: Option<String>,
    ) -> Option<String> {
        given.get(key).cloned().flatten().or(default).or_else(|| self.get(key).map(str::to_owned))
    }

    /// Expands a word with what is known before the first stage.
    pub(super) fn expand(&self, text: &str) -> Result<String, BuildError> {
        self.expand_noting(text, &mut Names::default())
    }

    /// Expands a word as [`expand`](Self::expand) does, and notes which names it has.
    pub(super) fn expand_noting(&self, text: &str, names: &mut Names) -> Result<String, BuildError> {
        let env: Vec<String> = self.values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok(names.expand(text, self.escape, &env)?)
    }
}
