//! What BuildKit warns of in a Dockerfile, although it builds it (moby/buildkit `frontend/dockerfile/linter`, as in docker 28.5).
//!
//! ```text
//! lines -> file: letters, names, comments -> stages: each instruction with the variables that it sees -> warnings
//! directive or build argument -> rule: which rules count ----------------------------------------------^
//! ```

mod file;
mod rule;
mod stages;

use std::collections::BTreeSet;

use snapshot::reference::Reference;

use self::rule::{Rule, Rules};
pub(super) use self::stages::Stages;
use super::globals::Globals;
use crate::BuildError;
use crate::instruction::{Dockerfile, InstructionError};
use crate::parser::{Line, Parsed};

/// The build argument that says which rules count.
pub(super) const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Something in a Dockerfile that is not as it should be, and no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    rule: Rule,
    /// What is wrong, in docker's words.
    pub text: String,
    /// The first line of the instruction, from 1.
    pub line: usize,
    /// Its last line.
    pub last: usize,
}

impl Warning {
    /// The name of the rule that the Dockerfile does not keep, as docker has it.
    #[must_use]
    pub fn rule(&self) -> String {
        self.rule.name()
    }

    /// Where docker explains the rule.
    #[must_use]
    pub fn address(&self) -> String {
        self.rule.address()
    }
}

/// All warnings, in the form in which buildx lists them when a build has ended.
pub(super) fn list(warnings: &[Warning]) -> String {
    let many = if warnings.len() == 1 { "" } else { "s" };
    let mut list = format!(" {} warning{many} found:", warnings.len());
    for warning in warnings {
        list += &format!("\n - {}: {} (line {})", warning.rule(), warning.text, warning.line);
    }
    list
}

/// The warnings so far.
#[derive(Debug)]
struct Found {
    rules: Rules,
    warnings: Vec<Warning>,
}

impl Found {
    /// A warning of an instruction, if its rule counts.
    fn warn(&mut self, rule: Rule, line: &Line, text: String) {
        self.warn_at(rule, (line.number, line.last), text);
    }

    fn warn_at(&mut self, rule: Rule, (line, last): (usize, usize), text: String) {
        if self.rules.count(rule) {
            self.warnings.push(Warning { rule, text, line, last });
        }
    }
}

/// A Dockerfile that is looked at.
#[derive(Debug)]
pub(super) struct Checks {
    found: Found,
    lines: Vec<Line>,
    escape: char,
}

impl Checks {
    /// Reads which rules count. `given` is the build argument, which counts in the place of the directive.
    ///
    /// # Errors
    /// [`BuildError::Invalid`] for options that are not known.
    pub(super) fn new(parsed: Parsed, given: Option<&str>) -> Result<Self, BuildError> {
        let rules = match given {
            Some(text) => {
                Rules::parse(text).map_err(|reason| format!("failed to parse build-arg:{ARGUMENT}: {reason}"))
            }
            None => Rules::parse(&parsed.check).map_err(|reason| format!("failed to parse check options: {reason}")),
        };
        let found = Found { rules: rules.map_err(BuildError::Invalid)?, warnings: Vec::new() };
        Ok(Self { found, lines: parsed.lines, escape: parsed.escape })
    }

    /// Looks at what the lines say by themselves; after an error, at those before the one that is wrong.
    pub(super) fn file(&mut self, error: Option<&InstructionError>) {
        let wrong = match error {
            Some(InstructionError::Line { line, .. }) => self.lines.iter().position(|one| one.number == *line),
            _ => None,
        };
        file::lines(&mut self.found, &self.lines[..wrong.unwrap_or(self.lines.len())]);
        if error.is_none() {
            file::stages(&mut self.found, &self.lines);
        }
    }

    /// Looks whether there is a base image where the build has no arguments, too: `globals` are those without arguments.
    pub(super) fn default_bases(&mut self, file: &Dockerfile, globals: &Globals) {
        let froms = self.lines.iter().filter(|line| line.name == "from");
        for (stage, line) in file.stages.iter().zip(froms) {
            if globals.expand(&stage.base).is_ok_and(|name| Reference::parse(&name).is_err()) {
                let text = format!("Default value for ARG {} results in empty or invalid base image name", stage.base);
                self.found.warn(Rule::InvalidDefaultArgInFrom, line, text);
            }
        }
    }

    /// The warnings so far, in the order of their lines.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.found.warnings.clone();
        warnings.sort_by_key(|warning| warning.line);
        warnings
    }

    /// Whether a warning is an error.
    pub(super) fn are_strict(&self) -> bool {
        self.found.rules.refuse
    }

    /// The error that warnings are, where they are one.
    pub(super) fn refused(&self) -> Result<(), BuildError> {
        let rules: BTreeSet<String> = self.found.warnings.iter().map(Warning::rule).collect();
        if !self.are_strict() || rules.is_empty() {
            return Ok(());
        }
        let rules = rules.into_iter().collect::<Vec<_>>().join(", ");
        Err(BuildError::Invalid(format!("lint violation found for rules: {rules}")))
    }
}

#[cfg(test)]
mod tests;
