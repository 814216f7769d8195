//! Instructions and stages, with docker's checks of their arguments (moby v20.10.24, vendored
//! `buildkit/frontend/dockerfile/instructions/parse.go`).

mod flags;
mod healthcheck;
pub(crate) mod mount;

use snapshot::schema::runconfig::HealthConfig;

use self::flags::{flags, modern_flags};
use self::healthcheck::healthcheck;
use self::mount::Mount;
use crate::parser::{self, Arguments, Dialect, Heredoc, Line, ParseError, Parsed};
use crate::suggest::nearest;

/// An instruction that cannot be taken. The texts are docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstructionError {
    /// The file cannot be taken apart.
    #[error("failed to parse Dockerfile: {0}")]
    Parse(ParseError),
    /// An instruction is wrong.
    #[error("dockerfile parse error line {line}: {reason}")]
    Line {
        /// The line where it begins, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An instruction comes before the first `FROM`.
    #[error("no build stage in current context")]
    NoStage,
}

/// What an instruction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Add(Transfer),
    Arg(Vec<(String, Option<String>)>),
    Cmd(CommandLine),
    Copy(Transfer),
    Entrypoint(CommandLine),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    /// A health check, and how often it is made at first, in nanoseconds.
    Healthcheck(HealthConfig, i64),
    /// Labels, and whether variables in them are expanded.
    Label(Vec<(String, String)>, bool),
    Maintainer(String),
    Onbuild(String),
    Run(CommandLine, RunFlags),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// A command, as words or as a text for the shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CommandLine {
    /// The words; a text for the shell is one word.
    pub(crate) words: Vec<String>,
    /// Whether the shell comes before them.
    pub(crate) shell: bool,
}

/// What stands around the command of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RunFlags {
    /// The name of the first flag.
    pub(crate) first: Option<String>,
    /// The values of `--mount`.
    pub(crate) mounts: Vec<String>,
    /// The network; empty for that of the build.
    pub(crate) network: String,
    /// Texts behind the command.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Transfer {
    /// What is copied; the last path is the destination.
    pub(crate) paths: Vec<String>,
    /// The stage or image that is copied from, if it is not the context.
    pub(crate) from: String,
    /// Who owns the copies.
    pub(crate) chown: String,
    /// The permissions of the copies; only BuildKit can set them.
    pub(crate) chmod: String,
    /// The copies do not depend on what is below them.
    pub(crate) link: bool,
    /// The directories above the sources are copied, too.
    pub(crate) parents: bool,
    /// What is not copied, in the form of lines of `.dockerignore`.
    pub(crate) exclude: Vec<String>,
    /// The checksum of what is fetched.
    pub(crate) checksum: String,
    /// Whether archives are unpacked; `None` where nothing is said.
    pub(crate) unpack: Option<bool>,
    /// Texts that are sources.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// An instruction as it was written, and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) text: String,
    pub(crate) action: Action,
}

/// A stage: a `FROM` and the instructions after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// `FROM`, as it was written.
    pub(crate) text: String,
    /// The image or stage that it begins with.
    pub(crate) base: String,
    /// Its name, in lower case; empty for none.
    pub(crate) name: String,
    /// The platform that the image shall be for, before variables in it are expanded; empty for none.
    pub(crate) platform: String,
    pub(crate) instructions: Vec<Instruction>,
}

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    pub(crate) escape: char,
    /// The frontend that the file asks for; empty for none.
    pub(crate) syntax: String,
    pub(crate) warnings: Vec<String>,
    /// `ARG`s before the first `FROM`.
    pub(crate) arguments: Vec<Instruction>,
    pub(crate) stages: Vec<Stage>,
}

/// Reads a Dockerfile.
///
/// # Errors
/// [`InstructionError`]
pub(crate) fn read(bytes: &[u8], dialect: Dialect) -> Result<Dockerfile, InstructionError> {
    read_parsed(&parser::parse(bytes, dialect).map_err(InstructionError::Parse)?, dialect)
}

/// Reads a Dockerfile that has been taken apart.
///
/// # Errors
/// [`InstructionError`]
pub(crate) fn read_parsed(parsed: &Parsed, dialect: Dialect) -> Result<Dockerfile, InstructionError> {
    let mut file = Dockerfile {
        escape: parsed.escape,
        syntax: parsed.syntax.clone(),
        warnings: parsed.warnings.clone(),
        arguments: Vec::new(),
        stages: Vec::new(),
    };
    for line in &parsed.lines {
        let wrong = |reason| InstructionError::Line { line: line.number, reason };
        if line.name == "from" {
            file.stages.push(stage(line, dialect).map_err(wrong)?);
            continue;
        }
        let instruction = Instruction { text: line.text.clone(), action: action(line, dialect).map_err(wrong)? };
        match file.stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None if matches!(instruction.action, Action::Arg(_)) => file.arguments.push(instruction),
            None => return Err(InstructionError::NoStage),
        }
    }
    Ok(file)
}

/// Reads an instruction of `ONBUILD`, which an image keeps for those who build on it.
///
/// # Errors
/// The reason, in docker's words.
pub(crate) fn read_trigger(text: &str, dialect: Dialect) -> Result<Instruction, String> {
    read_trigger_line(text, dialect).map(|(_, instruction)| instruction)
}

/// As [`read_trigger`], with the line that the instruction is.
///
/// # Errors
/// As of [`read_trigger`].
pub(crate) fn read_trigger_line(text: &str, dialect: Dialect) -> Result<(Line, Instruction), String> {
    let parsed = parser::parse(text.as_bytes(), dialect).map_err(|error| error.to_string())?;
    let [line] = <[Line; 1]>::try_from(parsed.lines).map_err(|_| "onbuild trigger should be a single expression")?;
    let instruction = Instruction { text: line.text.clone(), action: action(&line, dialect)? };
    Ok((line, instruction))
}

fn stage(line: &Line, dialect: Dialect) -> Result<Stage, String> {
    let words = line.words();
    let name = match words.as_slice() {
        [_] => String::new(),
        [_, word, name] if word.eq_ignore_ascii_case("as") => {
            let lower = name.to_lowercase();
            let is_name = lower.starts_with(|char: char| char.is_ascii_lowercase())
                && lower.chars().all(|char| matches!(char, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
            if !is_name {
                let name = docker_format::quoted(name);
                return Err(format!(
                    "invalid name for build stage: {name}, name can't start with a number or contain symbols"
                ));
            }
            lower
        }
        _ => return Err("FROM requires either one or three arguments".into()),
    };
    let platform = flags(line, &["platform"], &[], dialect)?.remove(0);
    Ok(Stage { text: line.text.clone(), base: words[0].clone(), name, platform, instructions: Vec::new() })
}

impl Line {
    fn words(&self) -> Vec<String> {
        match &self.arguments {
            Arguments::Json(words) | Arguments::Words(words) => words.clone(),
            _ => Vec::new(),
        }
    }

    fn pairs(&self) -> Vec<(String, String)> {
        match &self.arguments {
            Arguments::Pairs(pairs) => pairs.clone(),
            _ => Vec::new(),
        }
    }

    fn command(&self) -> CommandLine {
        command(&self.arguments)
    }
}

fn command(arguments: &Arguments) -> CommandLine {
    match arguments {
        Arguments::Json(words) => CommandLine { words: words.clone(), shell: false },
        Arguments::Words(words) => CommandLine { words: words.clone(), shell: true },
        _ => CommandLine::default(),
    }
}

/// What an instruction does, after docker's checks of its arguments.
pub(crate) fn action(line: &Line, dialect: Dialect) -> Result<Action, String> {
    let name = line.name.to_uppercase();
    let at_least_one = || format!("{name} requires at least one argument");
    let some = || if line.arguments.is_empty() { Err(at_least_one()) } else { Ok(()) };
    let one = || match line.words().as_slice() {
        [word] => Ok(word.clone()),
        _ => Err(format!("{name} requires exactly one argument")),
    };
    let pairs = || {
        let pairs = line.pairs();
        match pairs.iter().find(|(key, _)| key.is_empty()) {
            _ if pairs.is_empty() => Err(at_least_one()),
            Some(_) => Err(format!("{name} names can not be blank")),
            None => Ok(pairs),
        }
    };
    let no_flags = || flags(line, &[], &[], dialect);
    Ok(match line.name.as_str() {
        "add" | "copy" => {
            let paths = line.words();
            if paths.len() < 2 {
                return Err(format!(
                    "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
                ));
            }
            let transfer = if dialect == Dialect::Modern {
                modern_transfer(line, paths, &name)?
            } else {
                let known = if name == "ADD" { &["chown", "chmod"][..] } else { &["chown", "chmod", "from"] };
                let mut values = flags(line, known, &[], dialect)?.into_iter();
                let mut next = || values.next().unwrap_or_default();
                Transfer { paths, chown: next(), chmod: next(), from: next(), ..Transfer::default() }
            };
            if name == "ADD" { Action::Add(transfer) } else { Action::Copy(transfer) }
        }
        "arg" => {
            some()?;
            no_flags()?;
            let argument = |word: String| match word.split_once('=') {
                Some(("", _)) => Err("ARG names can not be blank".to_owned()),
                Some((key, value)) => Ok((key.to_owned(), Some(value.to_owned()))),
                None => Ok((word, None)),
            };
            Action::Arg(line.words().into_iter().map(argument).collect::<Result<_, _>>()?)
        }
        "cmd" | "entrypoint" => {
            no_flags()?;
            let command = line.command();
            if name == "CMD" { Action::Cmd(command) } else { Action::Entrypoint(command) }
        }
        "env" => {
            let pairs = pairs()?;
            no_flags()?;
            Action::Env(pairs)
        }
        "label" => {
            let pairs = pairs()?;
            no_flags()?;
            Action::Label(pairs, true)
        }
        "expose" => {
            some()?;
            no_flags()?;
            let mut ports = line.words();
            ports.sort();
            Action::Expose(ports)
        }
        "healthcheck" => {
            let (health, start_interval) = healthcheck(line, dialect)?;
            Action::Healthcheck(health, start_interval)
        }
        "onbuild" => Action::Onbuild(onbuild(line, dialect)?),
        "run" => {
            let first = line.flags.first().map(|flag| {
                let flag = flag.trim_start_matches('-');
                flag.split('=').next().unwrap_or_default().to_owned()
            });
            let mut run = RunFlags { first, heredocs: line.heredocs.clone(), ..RunFlags::default() };
            if dialect == Dialect::Modern {
                let mut values = modern_flags(line, &["mount", "network"], &["mount"], &[])?;
                run.mounts = values.remove("mount").unwrap_or_default();
                // One with variables is read when their values are known.
                run.mounts
                    .iter()
                    .filter(|mount| !mount.contains('$'))
                    .try_for_each(|mount| Mount::parse(mount).map(drop))?;
                run.network = values.remove("network").and_then(|mut values| values.pop()).unwrap_or_default();
                if !matches!(run.network.as_str(), "" | "default" | "none" | "host") {
                    return Err(format!("invalid network mode {}", docker_format::quoted(&run.network)));
                }
            } else {
                flags(line, &["mount"], &["mount"], dialect)?;
            }
            Action::Run(line.command(), run)
        }
        "shell" => {
            no_flags()?;
            match &line.arguments {
                Arguments::Json(words) if !words.is_empty() => Action::Shell(words.clone()),
                Arguments::Words(words) if !words.is_empty() => {
                    return Err("SHELL requires the arguments to be in JSON form".into());
                }
                _ => return Err(at_least_one()),
            }
        }
        "maintainer" | "stopsignal" | "user" | "workdir" => {
            let word = one()?;
            no_flags()?;
            match line.name.as_str() {
                "maintainer" => Action::Maintainer(word),
                "stopsignal" => Action::StopSignal(word),
                "user" => Action::User(word),
                _ => Action::Workdir(word),
            }
        }
        "volume" => {
            some()?;
            no_flags()?;
            let paths: Vec<String> = line.words().iter().map(|path| path.trim().to_owned()).collect();
            if paths.iter().any(String::is_empty) {
                return Err("VOLUME specified can not be an empty string".into());
            }
            Action::Volume(paths)
        }
        _ if dialect == Dialect::Classic => return Err(format!("unknown instruction: {name}")),
        _ => return Err(unknown_instruction(line)),
    })
}

/// BuildKit's names of instructions.
const NAMES: [&str; 18] = [
    "add",
    "arg",
    "cmd",
    "copy",
    "entrypoint",
    "env",
    "expose",
    "from",
    "healthcheck",
    "label",
    "maintainer",
    "onbuild",
    "run",
    "shell",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

/// The message about an instruction that BuildKit does not know, with the one that may have been meant.
fn unknown_instruction(line: &Line) -> String {
    let written = line.written();
    let meant = nearest(&line.name, NAMES).map(|meant| {
        let is_upper = written == written.to_uppercase();
        format!(" (did you mean {}?)", if is_upper { meant.to_uppercase() } else { meant.to_owned() })
    });
    format!("unknown instruction: {written}{}", meant.unwrap_or_default())
}

/// `COPY` and `ADD` with BuildKit's flags.
fn modern_transfer(line: &Line, paths: Vec<String>, name: &str) -> Result<Transfer, String> {
    let known: &[&str] = if name == "ADD" {
        &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"]
    } else {
        &["chown", "chmod", "from", "link", "exclude", "parents"]
    };
    let mut values = modern_flags(line, known, &["exclude"], &["link", "parents", "keep-git-dir", "unpack"])?;
    let exclude = values.remove("exclude").unwrap_or_default();
    let mut one = |name: &str| values.remove(name).and_then(|mut values| values.pop()).unwrap_or_default();
    Ok(Transfer {
        paths,
        from: one("from"),
        chown: one("chown"),
        chmod: one("chmod"),
        link: one("link") == "true",
        parents: one("parents") == "true",
        exclude,
        checksum: one("checksum"),
        unpack: Some(one("unpack")).filter(|text| !text.is_empty()).map(|text| text == "true"),
        heredocs: line.heredocs.clone(),
    })
}

fn onbuild(line: &Line, dialect: Dialect) -> Result<String, String> {
    flags(line, &[], &[], dialect)?;
    let Arguments::Instruction(trigger) = &line.arguments else {
        return Err("ONBUILD requires at least one argument".into());
    };
    match trigger.name.as_str() {
        "onbuild" => Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()),
        "maintainer" | "from" => Err(format!("{} isn't allowed as an ONBUILD trigger", trigger.name.to_uppercase())),
        _ => {
            let mut text = line.text["ONBUILD".len()..].trim_start().to_owned();
            for heredoc in &line.heredocs {
                text += &format!("\n{}{}", heredoc.text, heredoc.name);
            }
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        let error = read(format!("FROM a\n{line}\n").as_bytes(), Dialect::Classic).unwrap_err().to_string();
        error.strip_prefix("dockerfile parse error line 2: ").map_or(error.clone(), str::to_owned)
    }

    /// Measured with docker 20.10.24.
    #[test]
    fn what_is_wrong_is_said_as_docker_says_it() {
        for (line, expected) in [
            ("FOO x", "unknown instruction: FOO"),
            ("FROM a b", "FROM requires either one or three arguments"),
            ("FROM a AS 1x", "invalid name for build stage: \"1x\", name can't start with a number or contain symbols"),
            ("ENV", "ENV requires at least one argument"),
            ("EXPOSE", "EXPOSE requires at least one argument"),
            ("VOLUME", "VOLUME requires at least one argument"),
            ("LABEL", "LABEL requires at least one argument"),
            ("ARG", "ARG requires at least one argument"),
            ("WORKDIR", "WORKDIR requires exactly one argument"),
            ("USER", "USER requires exactly one argument"),
            ("MAINTAINER", "MAINTAINER requires exactly one argument"),
            (
                "COPY a",
                "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
            ),
            ("COPY --from a b", "Missing a value on flag: from"),
            ("COPY --link a b", "Unknown flag: link"),
            ("ADD --from=x a b", "Unknown flag: from"),
            ("COPY --from=x --from=y a b", "Duplicate flag specified: from"),
            ("RUN --network=none true", "Unknown flag: network"),
            ("SHELL sh", "SHELL requires the arguments to be in JSON form"),
            ("HEALTHCHECK FOO x", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            ("HEALTHCHECK --interval=1 CMD x", "time: missing unit in duration \"1\""),
            ("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
            ("HEALTHCHECK --retries=0 CMD x", "--retries must be at least 1 (not 0)"),
            ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
            ("ONBUILD --x ONBUILD ONBUILD RUN x", "Unknown flag: x"),
            ("ONBUILD onbuild --x ONBUILD ENV a", "failed to parse Dockerfile: ENV must have two arguments"),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            ("ENV a", "failed to parse Dockerfile: ENV must have two arguments"),
            ("ENV =a", "ENV names can not be blank"),
            ("ARG =a", "ARG names can not be blank"),
        ] {
            assert_eq!(error(line), expected, "{line}");
        }
        let chain = format!("{}RUN x", "ONBUILD ".repeat(8000));
        assert_eq!(error(&chain), "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        assert_eq!(read(b"ARG a\nRUN x\nFROM b", Dialect::Classic), Err(InstructionError::NoStage));
        assert_eq!(
            read(b"FROM a\nRUN <<E\nECHO x\nE\n", Dialect::Classic).unwrap_err().to_string(),
            "dockerfile parse error line 3: unknown instruction: ECHO"
        );
    }

    #[test]
    fn a_trigger_is_one_instruction() {
        let several = read_trigger("RUN a\nRUN b", Dialect::Classic).unwrap_err();
        assert_eq!(several, "onbuild trigger should be a single expression");
        let mount = read(b"FROM a\n\nRUN --mount=type=cache,target=/x,ro=maybe true\n", Dialect::Modern).unwrap_err();
        assert_eq!(mount.to_string(), "dockerfile parse error line 3: invalid value for ro: maybe");
        assert!(read(b"FROM a\nRUN --mount=type=cache,target=/x,uid=$U true\n", Dialect::Modern).is_ok());
    }

    #[test]
    fn instructions_hold_what_was_written() {
        let file = read(b"ARG g=1\nFROM a As One\nOnBuild  RUN echo $A\nEXPOSE 80 443/udp\nHEALTHCHECK --timeout=3s CMD echo $A\nRUN --mount=type=x --mount=y z", Dialect::Classic).unwrap();
        assert_eq!((file.arguments.len(), file.stages[0].name.as_str()), (1, "one"));
        let actions: Vec<&Action> = file.stages[0].instructions.iter().map(|one| &one.action).collect();
        assert_eq!(actions[0], &Action::Onbuild("RUN echo $A".into()));
        assert_eq!(actions[1], &Action::Expose(vec!["443/udp".into(), "80".into()]));
        let Action::Healthcheck(health, _) = actions[2] else { panic!("{actions:?}") };
        assert_eq!(health.test.as_deref(), Some(&["CMD-SHELL".to_owned(), "echo $A".to_owned()][..]));
        assert_eq!(health.timeout, 3_000_000_000);
        assert!(matches!(actions[3], Action::Run(_, flags) if flags.first.as_deref() == Some("mount")), "{actions:?}");
        assert_eq!(read_trigger("COPY a b", Dialect::Classic).unwrap().text, "COPY a b");
    }
}
