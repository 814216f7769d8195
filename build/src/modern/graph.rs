//! Which stages are needed for the last one, and what each stands on.

use std::collections::BTreeSet;

use super::named::name_of;
use crate::BuildError;
use crate::instruction::mount::Mount;
use crate::instruction::{Action, Dockerfile, Stage};
use crate::suggest::did_you_mean;

/// What a stage stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// A stage before it, by its number.
    Stage(usize),
    /// A directory of the user's, by its name.
    Context(String),
    /// An image, by its name.
    Image(String),
}

/// The stages that are built.
#[derive(Debug)]
pub(super) struct Needed {
    /// Their numbers, in the order in which they are begun; the one that the user asks for is the last.
    pub(super) stages: Vec<usize>,
    bases: Vec<Base>,
    names: Vec<String>,
    contexts: BTreeSet<String>,
}

/// What files are copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// Another stage, by its number.
    Stage(usize),
    /// A directory of the user's, by its name.
    Context(String),
    /// An image, by its name.
    Image(String),
}

impl Needed {
    /// The stages that are needed for the one that the user asks for, by name or number, or for the last one.
    /// `contexts` are the names of the user's directories, which go before images.
    pub(super) fn of(
        file: &Dockerfile,
        target: Option<&str>,
        contexts: BTreeSet<String>,
        expand: impl Fn(&str) -> Result<String, BuildError>,
    ) -> Result<Self, BuildError> {
        let names: Vec<String> = file.stages.iter().map(|stage| stage.name.clone()).collect();
        let mut bases = Vec::new();
        for (number, stage) in file.stages.iter().enumerate() {
            let name = expand(&stage.base)?;
            if name.is_empty() {
                return Err(BuildError::Invalid(format!("base name ({}) should not be blank", stage.base)));
            }
            bases.push(match position(&names[..number], &name) {
                Some(other) => Base::Stage(other),
                None if name == "scratch" => Base::Scratch,
                None => match name_of(&name).filter(|name| contexts.contains(name)) {
                    Some(name) => Base::Context(name),
                    None => Base::Image(name),
                },
            });
        }
        let last = file.stages.len().checked_sub(1).ok_or(BuildError::NoStages)?;
        let target = match target {
            None => last,
            Some(text) => {
                let number = text.parse::<usize>().ok().filter(|&number| number <= last);
                let found = position(&names, text).or(number);
                let meant = did_you_mean(text, names.iter().map(String::as_str).filter(|name| !name.is_empty()), "");
                let text = quoted(text);
                found.ok_or_else(|| BuildError::Invalid(format!("target stage {text} could not be found{meant}")))?
            }
        };
        let mut needed = Self { stages: Vec::new(), bases, names, contexts };
        let mut wanted = BTreeSet::from([target]);
        // Each stage needs only those before it.
        while let Some(number) = wanted.pop_last() {
            needed.stages.push(number);
            if let Base::Stage(other) = needed.bases[number] {
                wanted.insert(other);
            }
            for from in sources(&file.stages[number]) {
                if let From::Stage(other) = needed.from(&from, number)? {
                    wanted.insert(other);
                }
            }
        }
        needed.stages.reverse();
        Ok(needed)
    }

    /// What a stage stands on.
    pub(super) fn base(&self, number: usize) -> Base {
        self.bases[number].clone()
    }

    /// What `--from` means in the stage with this number.
    pub(super) fn from(&self, text: &str, number: usize) -> Result<From, BuildError> {
        if text.contains('$') {
            return Err(BuildError::Invalid(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround".into(),
            ));
        }
        if let Some(found) = position(&self.names[..number], text) {
            return Ok(From::Stage(found));
        }
        match text.parse::<usize>() {
            Ok(found) if found < number => Ok(From::Stage(found)),
            Ok(_) => Err(BuildError::Invalid(format!("invalid stage index {text}"))),
            Err(_) => Ok(match name_of(text).filter(|name| self.contexts.contains(name)) {
                Some(name) => From::Context(name),
                None => From::Image(text.to_owned()),
            }),
        }
    }
}

fn quoted(text: &str) -> String {
    docker_format::quoted(text)
}

/// The last stage of a name.
fn position(names: &[String], name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    names.iter().rposition(|known| !known.is_empty() && *known == name)
}

/// What the instructions of a stage copy or mount from.
fn sources(stage: &Stage) -> Vec<String> {
    let mut found = Vec::new();
    for instruction in &stage.instructions {
        match &instruction.action {
            Action::Copy(transfer) if !transfer.from.is_empty() => found.push(transfer.from.clone()),
            Action::Run(_, flags) => {
                // What is wrong with a mount is said when it is reached.
                let mounts = flags.mounts.iter().filter_map(|text| Mount::parse(text).ok());
                found.extend(mounts.map(|mount| mount.from).filter(|from| !from.is_empty()));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruction::read;
    use crate::parser::Dialect;

    #[test]
    fn only_what_is_needed_is_built() {
        let text = "FROM x AS a\nRUN a\nFROM x AS b\nFROM a AS c\nCOPY --from=b /x /y\nFROM x AS d\nFROM scratch\nCOPY --from=0 /x /y\nRUN --mount=from=D,target=/x true";
        let file = read(text.as_bytes(), Dialect::Modern).unwrap();
        let of = |target: Option<&str>, contexts: &[&str]| {
            let contexts = contexts.iter().map(|&name| name.to_owned()).collect();
            Needed::of(&file, target, contexts, |text| Ok(text.to_owned()))
        };
        let stages = |target: Option<&str>| of(target, &[]).map(|one| one.stages);
        assert_eq!(stages(None).unwrap(), [0, 3, 4]);
        assert_eq!(stages(Some("C")).unwrap(), [0, 1, 2]);
        assert_eq!(stages(Some("1")).unwrap(), [1]);
        assert!(stages(Some("nope")).is_err());
        let needed = of(None, &[]).unwrap();
        assert_eq!((needed.base(2), needed.base(4)), (Base::Stage(0), Base::Scratch));
        assert!(needed.from("4", 4).is_err());
        assert_eq!(needed.from("alpine", 4).unwrap(), From::Image("alpine".into()));
        // A directory goes before an image, whichever form its name has, but not before a stage.
        let needed = of(None, &["x", "alpine", "b", "4"]).unwrap();
        assert_eq!((needed.base(0), needed.base(2)), (Base::Context("x".into()), Base::Stage(0)));
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine"] {
            assert_eq!(needed.from(name, 4).unwrap(), From::Context("alpine".into()), "{name}");
        }
        assert_eq!(needed.from("alpine:1", 4).unwrap(), From::Image("alpine:1".into()));
        assert_eq!(needed.from("b", 4).unwrap(), From::Stage(1));
        assert!(needed.from("4", 4).is_err());
    }
}
