//! What instructions say with the variables that they see (moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go,
//! validations.go`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use images::source::Platform;
use regex::Regex;

use super::{Checks, Found, Rule};
use crate::expand::{Names, expand_modern_words};
use crate::ignore::Patterns;
use crate::instruction::mount::Mount;
use crate::instruction::{Action, CommandLine, Dockerfile, Instruction, Stage, Transfer, read_trigger_line};
use crate::modern::dispatch::Scope;
use crate::modern::globals::Globals;
use crate::modern::graph::{Base, Needed};
use crate::modern::no_platform;
use crate::modern::stage::{Built, name_of};
use crate::parser::{Dialect, Heredoc, Line, has_old_form};
use crate::suggest::did_you_mean;
use crate::{BuildError, platform};

/// What the stages of a Dockerfile are looked at with.
pub(in crate::modern) struct Stages<'s> {
    pub(in crate::modern) file: &'s Dockerfile,
    pub(in crate::modern) globals: &'s Globals,
    pub(in crate::modern) needed: &'s Needed,
    /// The build's arguments.
    pub(in crate::modern) given: &'s BTreeMap<String, Option<String>>,
    /// What of the context does not count.
    pub(in crate::modern) ignored: &'s Patterns,
    /// The image of a name, if it is there.
    pub(in crate::modern) image: &'s dyn Fn(&str) -> Result<Option<Built>, BuildError>,
}

/// A stage that others may stand on.
struct Looked {
    built: Built,
    /// Whether the variables of its image are known.
    is_known: bool,
    /// Whether there is a `WORKDIR`.
    has_directory: bool,
}

impl Stages<'_> {
    /// Looks at all `FROM`s, and at the instructions of the stages of these numbers, of which each has those below that it stands on.
    ///
    /// # Errors
    /// What is wrong with an instruction; the warnings before it stay.
    pub(in crate::modern) fn look(&self, checks: &mut Checks, numbers: &[usize]) -> Result<(), BuildError> {
        let Checks { found, lines, escape } = checks;
        let starts: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].name == "from").collect();
        for (stage, &start) in self.file.stages.iter().zip(&starts) {
            self.from(found, &lines[start], stage)?;
        }
        let mut looked = BTreeMap::new();
        for &number in numbers {
            let (stage, from, rest) = (&self.file.stages[number], &lines[starts[number]], &lines[starts[number] + 1..]);
            let below = self.below(number, &looked)?;
            let (mut reader, triggers) = Reader::new(self, found, from, below, *escape);
            for (line, instruction) in &triggers? {
                reader.instruction(line, instruction)?;
            }
            for (line, instruction) in rest.iter().zip(&stage.instructions) {
                reader.instruction(line, instruction)?;
            }
            looked.insert(number, reader.stage);
        }
        Ok(())
    }

    /// A stage before its first instruction.
    fn below(&self, number: usize, looked: &BTreeMap<usize, Looked>) -> Result<Looked, BuildError> {
        let host = Platform::host();
        let new = |built: Option<Built>| Looked {
            is_known: built.is_some(),
            built: built.unwrap_or_else(|| Built::scratch(&host)),
            has_directory: false,
        };
        Ok(match self.needed.base(number) {
            Base::Image(name) => new((self.image)(&name)?),
            Base::Stage(other) => match looked.get(&other) {
                Some(below) => Looked { built: below.built.child(), ..*below },
                None => new(None),
            },
            Base::Scratch | Base::Context(_) => new(Some(Built::scratch(&host))),
        })
    }

    fn from(&self, found: &mut Found, line: &Line, stage: &Stage) -> Result<(), BuildError> {
        let declared = self.file.arguments.iter().flat_map(|argument| match &argument.action {
            Action::Arg(pairs) => pairs.as_slice(),
            _ => &[],
        });
        let known: Vec<&str> = declared.map(|(key, _)| key.as_str()).chain(self.globals.names()).collect();
        let mut expand = |text: &str| {
            let mut names = Names::default();
            let expanded = self.globals.expand_noting(text, &mut names);
            for missing in names.missing.iter().filter(|name| !known.contains(&name.as_str())) {
                let meant = did_you_mean(missing, known.iter().copied(), "");
                found.warn(Rule::UndefinedArgInFrom, line, format!("FROM argument '{missing}' is not declared{meant}"));
            }
            expanded.map(|text| (text, names))
        };
        expand(&stage.base)?;
        if stage.platform.is_empty() {
            return Ok(());
        }
        let (text, names) = expand(&stage.platform)?;
        if text.is_empty() {
            return Err(no_platform(stage));
        }
        let is_target = names.found == ["TARGETPLATFORM"] && names.missing.is_empty();
        if is_target && self.globals.get("TARGETPLATFORM") == Some(&text) {
            let text = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                stage.platform
            );
            found.warn(Rule::RedundantTargetPlatform, line, text);
        }
        if names.found.is_empty()
            && names.missing.is_empty()
            && let Ok(platform) = platform::parse(&text)
            && !stage.name.contains(&platform.os)
            && !stage.name.contains(&platform.architecture)
        {
            let quoted = docker_format::quoted(&text);
            let text = format!("FROM --platform flag should not use constant value {quoted}");
            found.warn(Rule::FromPlatformFlagConstDisallowed, line, text);
        }
        Ok(())
    }
}

/// Names of variables that hold what nobody else should know.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    let words = "apikey|auth|credential|credentials|key|password|pword|passwd|secret|token";
    Regex::new(&format!("(?i)(?:_|^)(?:{words})(?:_|$)")).expect("a valid expression")
});

/// Those of them that do not.
static PUBLIC: LazyLock<Regex> = LazyLock::new(|| Regex::new("(?i)(?:_|^)public(?:_|$)").expect("a valid expression"));

/// Variables that no `ARG` need name.
const UNNAMED: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Who looks at the instructions of a stage.
struct Reader<'r> {
    all: &'r Stages<'r>,
    found: &'r mut Found,
    escape: char,
    stage: Looked,
    /// The lines of the instruction whose last one counts, by its name.
    once: BTreeMap<String, (usize, usize)>,
}

/// Instructions with their lines.
type Instructions = Vec<(Line, Instruction)>;

impl<'r> Reader<'r> {
    /// A stage, and the instructions that its base image has for those who build on it. They stand where the stage begins.
    fn new(
        all: &'r Stages<'_>,
        found: &'r mut Found,
        from: &Line,
        mut stage: Looked,
        escape: char,
    ) -> (Self, Result<Instructions, BuildError>) {
        let triggers = stage.built.run.on_build.take().unwrap_or_default();
        let read = |text: &String| {
            let (line, instruction) = read_trigger_line(text, Dialect::Modern)?;
            Ok::<_, String>((Line { number: from.number, last: from.last, ..line }, instruction))
        };
        let triggers = triggers.iter().map(read).collect::<Result<_, _>>().map_err(BuildError::Invalid);
        (Self { all, found, escape, stage, once: BTreeMap::new() }, triggers)
    }

    fn instruction(&mut self, line: &Line, instruction: &Instruction) -> Result<(), BuildError> {
        match &instruction.action {
            Action::Add(transfer) => self.transfer(line, transfer, "Add")?,
            Action::Copy(transfer) => self.transfer(line, transfer, "Copy")?,
            Action::Arg(pairs) => {
                for (key, default) in pairs {
                    self.secret(line, "ARG", key);
                    self.word(line, key)?;
                    default.as_ref().map(|default| self.word(line, default)).transpose()?;
                    // What comes behind it sees it.
                    self.set(&Action::Arg(vec![(key.clone(), default.clone())]))?;
                }
                return Ok(());
            }
            Action::Env(pairs) => {
                self.old_form(line);
                for (key, value) in pairs {
                    self.secret(line, "ENV", key);
                    self.words(line, [key, value])?;
                }
            }
            Action::Label(pairs, _) => {
                self.old_form(line);
                for (key, value) in pairs {
                    self.words(line, [key, value])?;
                }
            }
            Action::Cmd(command) | Action::Entrypoint(command) => self.command(line, command),
            Action::Healthcheck(..) => self.only_once(line),
            Action::Expose(words) => self.ports(line, words)?,
            Action::Run(_, flags) => {
                for mount in &flags.mounts {
                    let mount = self.word(line, mount)?;
                    Mount::parse(&mount).map_err(BuildError::Invalid)?;
                }
            }
            Action::StopSignal(word) | Action::User(word) => self.words(line, [word])?,
            Action::Volume(words) => self.words(line, words)?,
            Action::Workdir(path) => {
                let path = self.word(line, path)?;
                if !self.stage.has_directory && !path.starts_with('/') {
                    let quoted = docker_format::quoted(&path);
                    let text =
                        format!("Relative workdir {quoted} can have unexpected results if the base image changes");
                    self.found.warn(Rule::WorkdirRelativePath, line, text);
                }
                self.stage.has_directory = true;
            }
            Action::Maintainer(_) | Action::Onbuild(_) | Action::Shell(_) => {}
        }
        self.set(&instruction.action)
    }

    /// Does what an instruction says to the config.
    fn set(&mut self, action: &Action) -> Result<(), BuildError> {
        let scope = Scope { escape: self.escape, globals: self.all.globals, given: self.all.given };
        scope.set(&mut self.stage.built, action).map(drop)
    }

    fn words<'w>(&mut self, line: &Line, words: impl IntoIterator<Item = &'w String>) -> Result<(), BuildError> {
        words.into_iter().try_for_each(|word| self.word(line, word).map(drop))
    }

    /// Expands a word.
    fn word(&mut self, line: &Line, word: &str) -> Result<String, BuildError> {
        let mut names = Names::default();
        let expanded = names.expand(word, self.escape, &self.stage.built.env);
        self.missing(line, &names);
        Ok(expanded?)
    }

    /// The variables of a word that nothing has defined.
    fn missing(&mut self, line: &Line, names: &Names) {
        if !self.stage.is_known {
            return;
        }
        let built = &self.stage.built;
        for name in &names.missing {
            if built.arguments.contains(name) || UNNAMED.contains(&name.as_str()) {
                continue;
            }
            let meant = did_you_mean(name, built.env.iter().map(|entry| name_of(entry)), "$");
            self.found.warn(Rule::UndefinedVar, line, format!("Usage of undefined variable '${name}'{meant}"));
        }
    }

    fn secret(&mut self, line: &Line, instruction: &str, key: &str) {
        if SECRET.is_match(key) && !PUBLIC.is_match(key) {
            let quoted = docker_format::quoted(key);
            let text = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {quoted})");
            self.found.warn(Rule::SecretsUsedInArgOrEnv, line, text);
        }
    }

    fn old_form(&mut self, line: &Line) {
        if has_old_form(&line.text, self.escape) {
            let name = line.written();
            let text = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            self.found.warn(Rule::LegacyKeyValueFormat, line, text);
        }
    }

    fn command(&mut self, line: &Line, command: &CommandLine) {
        self.only_once(line);
        let has_shell = self.stage.built.run.shell.0.as_ref().is_some_and(|shell| !shell.is_empty());
        if command.shell && !has_shell {
            let name = line.written();
            let text =
                format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
            self.found.warn(Rule::JSONArgsRecommended, line, text);
        }
    }

    /// Of several instructions of one name the last one counts.
    fn only_once(&mut self, line: &Line) {
        if let Some(before) = self.once.insert(line.name.clone(), (line.number, line.last)) {
            let name = line.written();
            let text = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            self.found.warn_at(Rule::MultipleInstructionsDisallowed, before, text);
        }
    }

    fn ports(&mut self, line: &Line, words: &[String]) -> Result<(), BuildError> {
        for word in words {
            for port in expand_modern_words(word, self.escape, &self.stage.built.env)? {
                let (address, protocol) = port.rsplit_once('/').unwrap_or((&port, ""));
                if protocol.chars().any(char::is_uppercase) {
                    let text = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
                    self.found.warn(Rule::ExposeProtoCasing, line, text);
                }
                if address.contains(':') {
                    let text = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                    );
                    self.found.warn(Rule::ExposeInvalidFormat, line, text);
                }
            }
        }
        Ok(())
    }

    fn transfer(&mut self, line: &Line, transfer: &Transfer, verb: &str) -> Result<(), BuildError> {
        for word in [&transfer.chown, &transfer.chmod, &transfer.checksum] {
            self.word(line, word)?;
        }
        let mut paths = Vec::new();
        for path in &transfer.paths {
            if transfer.heredocs.is_empty() || Heredoc::announced(path).is_none() {
                paths.push(self.word(line, path)?);
            }
        }
        for heredoc in transfer.heredocs.iter().filter(|heredoc| heredoc.expand) {
            let mut names = Names::default();
            let expanded = names.expand_text(&heredoc.content(), &self.stage.built.env);
            self.missing(line, &names);
            expanded?;
        }
        paths.pop();
        if transfer.from.is_empty() {
            for path in paths.iter().filter(|path| self.all.ignored.exclude(path.as_bytes())) {
                let quoted = docker_format::quoted(path);
                let text = format!("Attempting to {verb} file {quoted} that is excluded by .dockerignore");
                self.found.warn(Rule::CopyIgnoredFile, line, text);
            }
        }
        Ok(())
    }
}
