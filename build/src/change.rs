//! What instructions change of what containers run with (moby v20.10.24 `builder/dockerfile/dispatchers.go`), in a Dockerfile
//! and, as `-c 'ENV A=b'` of commit and import, on a config alone (`builder/dockerfile/evaluator.go: BuildFromConfig`).

use std::collections::HashMap;

use containers::ports::published;
use snapshot::schema::gojson::{Empty, StrSlice};
use snapshot::schema::runconfig::{HealthConfig, RunConfig};

use crate::expand::{ExpandError, expand, expand_words};
use crate::instruction::{self, Action};
use crate::parser::{self, Dialect, ParseError};
use crate::state::words;
use crate::{BuildError, dispatch};

/// Instructions that change a config without a build.
const CHANGES: [&str; 10] =
    ["cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "user", "volume", "workdir"];

/// A change that cannot be made. The texts are docker's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The changes cannot be taken apart.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The instruction is none, or needs a build.
    #[error("{0} is not a valid change command")]
    Unknown(String),
    /// The arguments of an instruction are wrong.
    #[error("{0}")]
    Arguments(String),
    /// An instruction cannot be done.
    #[error(transparent)]
    Instruction(#[from] BuildError),
}

/// Applies instructions to a config, one after the other. Variables are those of the config, as the instructions before have
/// left it.
///
/// # Errors
/// [`ChangeError`]; the config may then have some of the changes.
pub fn apply_changes(config: &mut RunConfig, changes: &[String]) -> Result<(), ChangeError> {
    if changes.is_empty() {
        return Ok(());
    }
    let parsed = parser::parse(changes.join("\n").as_bytes(), Dialect::Classic)?;
    if let Some(line) = parsed.lines.iter().find(|line| !CHANGES.contains(&line.name.as_str())) {
        return Err(ChangeError::Unknown(line.name.clone()));
    }
    let actions =
        parsed.lines.iter().map(|line| instruction::action(line, Dialect::Classic)).collect::<Result<Vec<_>, _>>();
    let (mut command_set, mut places) = (false, Places::default());
    for action in actions.map_err(ChangeError::Arguments)? {
        let action = expanded(&action, parsed.escape, config.env.as_deref().unwrap_or_default());
        change(config, &action.map_err(BuildError::from)?, &mut command_set, &mut places)?;
    }
    Ok(())
}

/// Where the variables of an environment are, so that a hundred thousand instructions need not look through as many variables
/// each.
#[derive(Debug, Default)]
pub(crate) struct Places {
    first: HashMap<String, usize>,
    /// How many variables were looked at.
    known: usize,
}

impl Places {
    fn of(&mut self, env: &[String], key: &str) -> Option<usize> {
        for (place, variable) in env.iter().enumerate().skip(self.known) {
            self.first.entry(variable.split('=').next().unwrap_or_default().to_owned()).or_insert(place);
        }
        self.known = env.len();
        self.first.get(key).copied()
    }
}

/// An instruction with its variables expanded. All of them are, before the first one gets another value.
pub(crate) fn expanded(action: &Action, escape: char, env: &[String]) -> Result<Action, ExpandError> {
    let word = |word: &String| expand(word, escape, env);
    let both = |(key, value): &(String, String)| Ok((word(key)?, word(value)?));
    Ok(match action {
        Action::Arg(pairs) => {
            let pair =
                |(key, value): &(String, Option<String>)| Ok((word(key)?, value.as_ref().map(word).transpose()?));
            Action::Arg(pairs.iter().map(pair).collect::<Result<_, ExpandError>>()?)
        }
        Action::Env(pairs) => Action::Env(pairs.iter().map(both).collect::<Result<_, ExpandError>>()?),
        Action::Label(pairs, true) => Action::Label(pairs.iter().map(both).collect::<Result<_, ExpandError>>()?, false),
        Action::Expose(ports) => {
            let mut all = Vec::new();
            for port in ports {
                all.extend(expand_words(port, escape, env)?);
            }
            Action::Expose(all)
        }
        Action::Volume(paths) => Action::Volume(paths.iter().map(word).collect::<Result<_, _>>()?),
        Action::User(user) => Action::User(word(user)?),
        Action::StopSignal(signal) => Action::StopSignal(word(signal)?),
        Action::Workdir(path) => Action::Workdir(word(path)?),
        other => other.clone(),
    })
}

/// Makes the change of an instruction that changes the config and nothing else, and returns what the history says of it.
pub(crate) fn change(
    run: &mut RunConfig,
    action: &Action,
    command_set: &mut bool,
    places: &mut Places,
) -> Result<String, BuildError> {
    Ok(match action {
        Action::Workdir(path) => {
            if path.is_empty() {
                return Err(BuildError::Invalid("cannot normalize nothing".into()));
            }
            run.working_dir = if path.starts_with('/') {
                path.clone()
            } else {
                dispatch::text(layerfs::path::absolute(format!("/{}/{path}", run.working_dir).as_bytes()))
            };
            format!("WORKDIR {}", run.working_dir)
        }
        Action::Env(pairs) => {
            let mut comment = String::from("ENV");
            let env = run.env.get_or_insert_default();
            for (key, value) in pairs {
                let entry = format!("{key}={value}");
                comment += &format!(" {entry}");
                match places.of(env, key) {
                    Some(place) => env[place] = entry,
                    None => env.push(entry),
                }
            }
            comment
        }
        Action::Label(pairs, _) => {
            let mut comment = String::from("LABEL");
            for (key, value) in pairs {
                comment += &format!(" {key}={value}");
                run.labels.get_or_insert_default().insert(key.clone(), value.clone());
            }
            comment
        }
        Action::Expose(words) => {
            for word in words {
                let exposed = run.exposed_ports.get_or_insert_default();
                let ports = published(word).map_err(BuildError::Invalid)?;
                exposed.extend(ports.into_iter().map(|(port, _)| (port, Empty)));
            }
            format!("EXPOSE {}", words.join(" "))
        }
        Action::Volume(paths) => {
            if paths.iter().any(String::is_empty) {
                return Err(BuildError::Invalid("VOLUME specified can not be an empty string".into()));
            }
            let volumes = run.volumes.get_or_insert_default();
            volumes.extend(paths.iter().map(|path| (path.clone(), Empty)));
            format!("VOLUME [{}]", paths.join(" "))
        }
        Action::User(user) => {
            run.user.clone_from(user);
            format!("USER {user}")
        }
        Action::StopSignal(signal) => {
            if runtime::signal_number(signal).is_none() {
                return Err(BuildError::Invalid(format!("Invalid signal: {signal}")));
            }
            run.stop_signal.clone_from(signal);
            format!("STOPSIGNAL {signal}")
        }
        Action::Shell(words) => {
            run.shell = StrSlice(Some(words.clone()));
            format!("SHELL [{}]", words.join(" "))
        }
        Action::Onbuild(trigger) => {
            run.on_build.get_or_insert_default().push(trigger.clone());
            format!("ONBUILD {trigger}")
        }
        Action::Healthcheck(health, _) => {
            run.healthcheck = Some(health.clone());
            format!("HEALTHCHECK {}", go_health(health))
        }
        Action::Cmd(line) => {
            let words = words(run, line);
            let comment = format!("CMD {}", go_list(&words));
            run.cmd = StrSlice(Some(words));
            run.args_escaped = false;
            *command_set |= !line.words.is_empty();
            comment
        }
        Action::Entrypoint(line) => {
            let words = if line.words.is_empty() { Vec::new() } else { words(run, line) };
            let comment = format!("ENTRYPOINT {}", go_list(&words));
            run.entrypoint = StrSlice(Some(words).filter(|words| !words.is_empty()));
            if !*command_set {
                run.cmd = StrSlice(None);
            }
            comment
        }
        Action::Add(_) | Action::Arg(_) | Action::Copy(_) | Action::Maintainer(_) | Action::Run(..) => {
            unreachable!("a builder does what changes more than the config")
        }
    })
}

/// A list as Go's `%q` writes it.
pub(crate) fn go_list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| docker_format::quoted(word)).collect::<Vec<_>>().join(" "))
}

/// A health check as Go's `%q` writes the struct.
fn go_health(health: &HealthConfig) -> String {
    let time = |nanos: i64| docker_format::quoted(&docker_format::until::go_duration(nanos));
    let test = go_list(&health.test.clone().unwrap_or_default());
    let retries = u32::try_from(health.retries).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let retries = docker_format::quoted_char(retries);
    format!("&{{{test} {} {} {} {retries}}}", time(health.interval), time(health.timeout), time(health.start_period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_the_values_of_the_instructions_before() {
        let mut config = RunConfig { env: Some(vec!["A=1".into()]), ..RunConfig::default() };
        let changes = ["ENV A=2 B=$A", "LABEL \"$A\"=${B}\nUSER u$B", "workdir ${N:-x}"].map(str::to_owned);
        apply_changes(&mut config, &changes).unwrap();
        assert_eq!(config.env, Some(vec!["A=2".to_owned(), "B=1".to_owned()]));
        assert_eq!(config.labels, Some([("2".to_owned(), "1".to_owned())].into()));
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("u1", "/x"));
    }
}
