//! What each instruction does (moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go`).

use std::collections::BTreeMap;

use containers::ports::published;
use images::tree::Tree;
use jiff::Timestamp;
use serde_json::json;
use snapshot::schema::gojson::{Empty, StrSlice};
use snapshot::schema::runconfig::HealthConfig;

use super::cache::{self, Keys};
use super::globals::Globals;
use super::stage::Built;
use super::{Builder, lock};
use crate::BuildError;
use crate::change::go_list;
use crate::dispatch::text;
use crate::expand::{expand_modern, expand_modern_words};
use crate::instruction::{Action, Instruction};
use crate::upper::Upper;

/// What variables mean in all stages.
pub(super) struct Scope<'s> {
    pub(super) escape: char,
    pub(super) globals: &'s Globals,
    /// The build's arguments.
    pub(super) given: &'s BTreeMap<String, Option<String>>,
}

impl Scope<'_> {
    /// Does an instruction that makes no layer. Returns what the history says, if it says anything.
    pub(super) fn set(&self, built: &mut Built, action: &Action) -> Result<Option<String>, BuildError> {
        let env = built.env.clone();
        let escape = self.escape;
        let word = |word: &String| expand_modern(word, escape, &env);
        Ok(Some(match action {
            Action::Add(_) | Action::Copy(_) | Action::Run(..) | Action::Workdir(_) => return Ok(None),
            Action::Arg(pairs) => {
                let mut note = String::from("ARG");
                for (key, default) in pairs {
                    let key = word(key)?;
                    let default =
                        default.as_ref().map(|default| expand_modern(default, escape, &built.env)).transpose()?;
                    let value = self.globals.argument(self.given, &key, default);
                    note += &value.as_ref().map_or_else(|| format!(" {key}"), |value| format!(" {key}={value}"));
                    built.add_argument(&key, value.as_deref());
                }
                note
            }
            Action::Env(pairs) => {
                let mut note = String::from("ENV");
                for (key, value) in pairs {
                    let entry = format!("{}={}", word(key)?, word(value)?);
                    note += &format!(" {entry}");
                    built.set_env(entry);
                }
                note
            }
            Action::Label(pairs, expanded) => {
                let mut note = String::from("LABEL");
                for (key, value) in pairs {
                    let (key, value) =
                        if *expanded { (word(key)?, word(value)?) } else { (key.clone(), value.clone()) };
                    note += &format!(" {key}={value}");
                    built.run.labels.get_or_insert_default().insert(key, value);
                }
                note
            }
            Action::Maintainer(name) => {
                built.author.clone_from(name);
                format!("MAINTAINER {name}")
            }
            Action::Expose(words) => {
                let mut all = Vec::new();
                for word in words {
                    for word in expand_modern_words(word, escape, &env)? {
                        let ports = published(&word).map_err(|reason| BuildError::Invalid(lower_first(&reason)))?;
                        all.extend(ports.into_iter().map(|(port, _)| port));
                    }
                }
                all.sort();
                let exposed = built.run.exposed_ports.get_or_insert_default();
                exposed.extend(all.iter().map(|port| (port.clone(), Empty)));
                format!("EXPOSE [{}]", all.join(" "))
            }
            Action::Volume(paths) => {
                let paths = paths.iter().map(word).collect::<Result<Vec<_>, _>>()?;
                if paths.iter().any(String::is_empty) {
                    return Err(BuildError::Invalid("VOLUME specified can not be an empty string".into()));
                }
                let volumes = built.run.volumes.get_or_insert_default();
                volumes.extend(paths.iter().map(|path| (path.clone(), Empty)));
                format!("VOLUME [{}]", paths.join(" "))
            }
            Action::User(user) => {
                built.run.user = word(user)?;
                format!("USER {}", built.run.user)
            }
            Action::StopSignal(signal) => {
                let signal = word(signal)?;
                if runtime::signal_number(&signal).is_none() {
                    return Err(BuildError::Invalid(format!("invalid signal: {signal}")));
                }
                built.run.stop_signal.clone_from(&signal);
                format!("STOPSIGNAL {signal}")
            }
            Action::Shell(words) => {
                built.run.shell = StrSlice(Some(words.clone()));
                format!("SHELL [{}]", words.join(" "))
            }
            Action::Onbuild(trigger) => {
                built.run.on_build.get_or_insert_default().push(trigger.clone());
                return Ok(None);
            }
            Action::Healthcheck(health, start_interval) => {
                built.run.healthcheck = Some(health.clone());
                built.start_interval = *start_interval;
                format!("HEALTHCHECK {}", go_health(health, *start_interval))
            }
            Action::Cmd(line) => {
                let words = match line.shell && line.words.is_empty() {
                    // An empty command is one of the shell.
                    true => [built.words(line), vec![String::new()]].concat(),
                    false => built.words(line),
                };
                let note = format!("CMD {}", go_list(&words));
                built.run.cmd = StrSlice(Some(words));
                built.run.args_escaped = true;
                built.command_set = true;
                note
            }
            Action::Entrypoint(line) => {
                let words = if line.words.is_empty() { Vec::new() } else { built.words(line) };
                let note = format!("ENTRYPOINT {}", go_list(&words));
                built.run.entrypoint = StrSlice(Some(words));
                if !built.command_set {
                    built.run.cmd = StrSlice(None);
                }
                note
            }
        }))
    }
}

impl Builder<'_, '_> {
    pub(super) fn dispatch(&mut self, built: &mut Built, instruction: &Instruction) -> Result<(), BuildError> {
        let shared = self.shared;
        let word = |word: &String| expand_modern(word, shared.escape, &built.env);
        match &instruction.action {
            Action::Add(transfer) => return self.transfer(built, true, transfer, &instruction.text),
            Action::Copy(transfer) => return self.transfer(built, false, transfer, &instruction.text),
            Action::Run(line, flags) => return self.command(built, line, flags, &instruction.text),
            Action::Workdir(path) => {
                let path = word(path)?;
                return self.workdir(built, &path, &instruction.text);
            }
            Action::Arg(pairs) => {
                for (key, _) in pairs {
                    lock(&shared.unused).remove(&word(key)?);
                }
            }
            _ => {}
        }
        let scope = Scope { escape: shared.escape, globals: &shared.globals, given: &shared.options.arguments };
        if let Some(note) = scope.set(built, &instruction.action)? {
            built.note(note);
        }
        Ok(())
    }

    /// `WORKDIR`: the directory is made as a layer, and belongs to the user.
    fn workdir(&mut self, built: &mut Built, path: &str, line: &str) -> Result<(), BuildError> {
        let name = self.step_name(line);
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            text(layerfs::path::absolute(format!("/{}/{path}", built.run.working_dir).as_bytes()))
        };
        built.run.working_dir.clone_from(&path);
        let note = format!("WORKDIR {path}");
        if path == "/" {
            built.note(note);
            return Ok(());
        }
        let number = self.begin(&name)?;
        let user = built.run.user.clone();
        let key = cache::key(&built.layers, &[json!("workdir"), json!(path), json!(user), json!(self.latest())]);
        if self.take_cached(built, &key, &note) {
            return self.cached(number);
        }
        let base = self.read_at(built, &[path.as_bytes()])?;
        let mut upper = Upper::new(base, Timestamp::now().as_second());
        let target = upper.follow(b"", path.as_bytes()).map_err(|error| BuildError::Invalid(error.to_string()))?;
        let owner = if user.is_empty() { (0, 0) } else { self.owner_of(built, &user)? };
        let wrong = |path: Vec<u8>| BuildError::Invalid(format!("mkdir /{}: not a directory", path.escape_ascii()));
        upper.make_all(&target, owner).map_err(wrong)?;
        debug_assert!(upper.is_directory(&target) || upper.layer.node(Tree::ROOT).children().is_some());
        self.add_upper(built, &Keys { key, content: String::new() }, &note, upper)?;
        self.done(number)
    }
}

/// BuildKit begins its messages with a small letter.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// A health check as Go's `%q` writes the struct, which has five times since docker 25.
fn go_health(health: &HealthConfig, start_interval: i64) -> String {
    let time = |nanos: i64| docker_format::quoted(&docker_format::until::go_duration(nanos));
    let test = go_list(&health.test.clone().unwrap_or_default());
    let retries = u32::try_from(health.retries).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let retries = docker_format::quoted_char(retries);
    let (interval, timeout, period) = (time(health.interval), time(health.timeout), time(health.start_period));
    format!("&{{{test} {interval} {timeout} {period} {} {retries}}}", time(start_interval))
}
