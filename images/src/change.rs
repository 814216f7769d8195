//! Changes to what a container runs with, written as instructions of a Dockerfile: `-c 'ENV A=b'` of import and commit.
//!
//! They are read as dockerd 20.10 reads them (moby v20.10.24 `builder/dockerfile/evaluator.go`, `dispatchers.go`): only the
//! instructions in this file, in upper or lower case. Variables are not expanded: an instruction in which dockerd would
//! expand one is refused.

use std::collections::{BTreeMap, HashMap};

use snapshot::schema::gojson::{Empty, StrSlice};
use snapshot::schema::runconfig::{HealthConfig, RunConfig};

/// A change that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The change is empty.
    #[error("file with no instructions")]
    Empty,
    /// The first word is not an instruction that changes a config.
    #[error("{0} is not a valid change command")]
    Unknown(String),
    /// The instruction has no argument.
    #[error("{0} requires {1}")]
    Arguments(&'static str, &'static str),
    /// dockerd would expand a variable in this instruction.
    #[error("{0}: variables are not expanded here; write the value, or \\$ for a dollar sign")]
    Variable(&'static str),
    /// A quote is not closed, or a word is not what the instruction takes.
    #[error("{0}: {1}")]
    Syntax(&'static str, String),
}

/// What is known between two instructions.
#[derive(Debug, Default)]
struct Progress {
    command_given: bool,
    /// Where the first variable of each name is in `Env`, and how many variables were looked at.
    variables: (HashMap<String, usize>, usize),
}

impl Progress {
    /// The place of a variable, so that a hundred thousand instructions need not look through as many variables each.
    fn place_of(&mut self, env: &[String], key: &str) -> Option<usize> {
        let (places, known) = &mut self.variables;
        for (place, variable) in env.iter().enumerate().skip(*known) {
            places.entry(variable.split('=').next().unwrap_or_default().to_owned()).or_insert(place);
        }
        *known = env.len();
        places.get(key).copied()
    }
}

/// Applies changes, one after the other.
///
/// # Errors
/// [`ChangeError`] of the first change that cannot be applied.
pub fn apply(config: &mut RunConfig, changes: &[String]) -> Result<(), ChangeError> {
    let mut progress = Progress::default();
    for change in changes {
        let mut any = false;
        for line in change.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            any = true;
            one(config, line, &mut progress)?;
        }
        if !any {
            return Err(ChangeError::Empty);
        }
    }
    Ok(())
}

fn one(config: &mut RunConfig, line: &str, progress: &mut Progress) -> Result<(), ChangeError> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match name.to_ascii_uppercase().as_str() {
        "CMD" => {
            config.cmd = StrSlice(Some(command(rest)));
            progress.command_given = true;
        }
        "ENTRYPOINT" => {
            config.entrypoint = StrSlice(Some(command(rest)).filter(|words| !words.is_empty()));
            if !progress.command_given {
                config.cmd = StrSlice(None);
            }
        }
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (key, value) in pairs("ENV", rest)? {
                let variable = format!("{key}={value}");
                match progress.place_of(env, &key) {
                    Some(place) => env[place] = variable,
                    None => env.push(variable),
                }
            }
        }
        "LABEL" => config.labels.get_or_insert_default().extend(pairs("LABEL", rest)?),
        "USER" => config.user = single("USER", rest)?,
        "WORKDIR" => {
            let dir = single("WORKDIR", rest)?;
            let joined = if dir.starts_with('/') { dir } else { format!("/{}/{dir}", config.working_dir) };
            config.working_dir = clean(&joined);
        }
        "VOLUME" => {
            let volumes = config.volumes.get_or_insert_default();
            volumes.extend(list("VOLUME", rest)?.into_iter().map(|path| (path, Empty)));
        }
        "EXPOSE" => {
            let ports = config.exposed_ports.get_or_insert_default();
            for word in list("EXPOSE", rest)? {
                ports.extend(expose(&word)?.into_iter().map(|port| (port, Empty)));
            }
        }
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if trigger.is_empty() || ["ONBUILD", "FROM", "MAINTAINER"].contains(&trigger.as_str()) {
                return Err(ChangeError::Syntax("ONBUILD", format!("{trigger:?} isn't allowed as an ONBUILD trigger")));
            }
            config.on_build.get_or_insert_default().push(rest.to_owned());
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest, config.healthcheck.clone().unwrap_or_default())?),
        _ => return Err(ChangeError::Unknown(name.to_ascii_lowercase())),
    }
    Ok(())
}

/// The words of a command: those of a JSON list, or else a shell with the whole text as its argument.
fn command(text: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => words,
        Err(_) if text.is_empty() => Vec::new(),
        Err(_) => ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
    }
}

fn list(name: &'static str, text: &str) -> Result<Vec<String>, ChangeError> {
    let words = match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => words,
        Err(_) => words(name, text)?,
    };
    if words.is_empty() || words.iter().any(String::is_empty) {
        return Err(ChangeError::Arguments(name, "at least one argument"));
    }
    Ok(words)
}

fn single(name: &'static str, text: &str) -> Result<String, ChangeError> {
    let word = unquoted(name, text)?;
    if word.is_empty() { Err(ChangeError::Arguments(name, "exactly one argument")) } else { Ok(word) }
}

/// The pairs of `KEY=VALUE ...`, or of `KEY VALUE`, where the value is everything after the key.
fn pairs(name: &'static str, text: &str) -> Result<BTreeMap<String, String>, ChangeError> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) =
            text.split_once(char::is_whitespace).ok_or(ChangeError::Arguments(name, "at least one argument"))?;
        return Ok(BTreeMap::from([(unquoted(name, key)?, unquoted(name, value.trim())?)]));
    }
    let mut found = BTreeMap::new();
    for word in raw_words(name, text)? {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            ChangeError::Syntax(name, format!("can't find = in {word:?}. Must be of the form: name=value"))
        })?;
        found.insert(unquoted(name, key)?, unquoted(name, value)?);
    }
    Ok(found)
}

fn words(name: &'static str, text: &str) -> Result<Vec<String>, ChangeError> {
    raw_words(name, text)?.iter().map(|word| unquoted(name, word)).collect()
}

/// The words of an argument, still with their quotes and backslashes.
fn raw_words(name: &'static str, text: &str) -> Result<Vec<String>, ChangeError> {
    let (mut found, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', None | Some('"')) => {
                word.push(char);
                word.extend(chars.next());
                continue;
            }
            ('\'' | '"', None) => quote = Some(char),
            (_, Some(open)) if char == open => quote = None,
            (_, None) if char.is_whitespace() => {
                if !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(char);
    }
    if quote.is_some() {
        return Err(ChangeError::Syntax(name, "unexpected end of statement while looking for matching quote".into()));
    }
    found.extend(Some(word).filter(|word| !word.is_empty()));
    Ok(found)
}

/// A word with its quotes removed and its backslashes resolved.
fn unquoted(name: &'static str, word: &str) -> Result<String, ChangeError> {
    let (mut plain, mut quote) = (String::new(), None);
    let mut chars = word.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', None) => plain.extend(chars.next()),
            ('\\', Some('"')) if chars.peek().is_some_and(|next| matches!(next, '"' | '$' | '\\')) => {
                plain.extend(chars.next());
            }
            ('\'' | '"', None) => quote = Some(char),
            (_, Some(open)) if char == open => quote = None,
            ('$', None | Some('"')) => return Err(ChangeError::Variable(name)),
            _ => plain.push(char),
        }
    }
    Ok(plain)
}

/// The ports that a word means, one or a range: `80`, `80/udp`, `80-82/tcp`.
fn expose(text: &str) -> Result<Vec<String>, ChangeError> {
    let invalid = || ChangeError::Syntax("EXPOSE", format!("invalid containerPort: {text}"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(ChangeError::Syntax("EXPOSE", format!("invalid proto: {protocol}")));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(text: &str, before: HealthConfig) -> Result<HealthConfig, ChangeError> {
    let mut health = HealthConfig { interval: before.interval, ..HealthConfig::default() };
    let mut rest = text;
    while let Some(flag) = rest.split_whitespace().next().filter(|word| word.starts_with("--")) {
        rest = rest[flag.len()..].trim_start();
        let invalid = || ChangeError::Syntax("HEALTHCHECK", format!("{flag} is not understood"));
        let (name, value) = flag[2..].split_once('=').ok_or_else(invalid)?;
        match name {
            "interval" => health.interval = duration(value).ok_or_else(invalid)?,
            "timeout" => health.timeout = duration(value).ok_or_else(invalid)?,
            "start-period" => health.start_period = duration(value).ok_or_else(invalid)?,
            "retries" => health.retries = value.parse().map_err(|_| invalid())?,
            _ => return Err(invalid()),
        }
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    health.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" => vec!["NONE".to_owned()],
        "CMD" => match serde_json::from_str::<Vec<String>>(arguments.trim()) {
            Ok(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            Err(_) if arguments.trim().is_empty() => {
                return Err(ChangeError::Arguments("HEALTHCHECK", "a command after CMD"));
            }
            Err(_) => vec!["CMD-SHELL".to_owned(), arguments.trim().to_owned()],
        },
        "" => return Err(ChangeError::Arguments("HEALTHCHECK", "at least one argument")),
        other => return Err(ChangeError::Syntax("HEALTHCHECK", format!("unknown type {other:?}"))),
    });
    Ok(health)
}

/// A duration of whole numbers and units, in nanoseconds: `1m30s`.
fn duration(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let units = [
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
        ];
        let (unit, length) = units.into_iter().find(|(unit, _)| tail.starts_with(unit))?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(length)?)?;
        rest = &tail[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

/// A path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    String::from_utf8(layerfs::path::absolute(path.as_bytes())).expect("whole names of a text are text")
}
