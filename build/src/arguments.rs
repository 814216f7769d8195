//! Build arguments: which there are, and which values they have at which place (moby v20.10.24
//! `builder/dockerfile/buildargs.go`).

use std::collections::{BTreeMap, BTreeSet};

/// Arguments that need no `ARG`, and that stay out of the history unless they have one.
const PROXIES: [&str; 8] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy"];

type Values = BTreeMap<String, Option<String>>;

/// The arguments of a build, or of one stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments {
    /// What the user says; `None` where only the name was given.
    given: Values,
    /// The arguments that an `ARG` of the stage names, with their defaults.
    allowed: Values,
    /// The arguments that stand before the first `FROM`, with their defaults.
    global: Values,
    /// The names in all `ARG`s so far.
    referenced: BTreeSet<String>,
}

impl Arguments {
    pub(crate) fn new(given: Values) -> Self {
        Self { given, ..Self::default() }
    }

    /// The arguments at the beginning of a stage.
    pub(crate) fn of_stage(&self) -> Self {
        Self { allowed: Values::new(), ..self.clone() }
    }

    /// An `ARG` of a stage.
    pub(crate) fn add(&mut self, key: &str, default: Option<String>) {
        self.referenced.insert(key.to_owned());
        self.allowed.insert(key.to_owned(), default);
    }

    /// An `ARG` before the first `FROM`.
    pub(crate) fn add_global(&mut self, key: &str, default: Option<String>) {
        self.add(key, default.clone());
        self.global.insert(key.to_owned(), default);
    }

    /// Takes over what a stage has named.
    pub(crate) fn merge(&mut self, stage: &Self) {
        self.referenced.extend(stage.referenced.iter().cloned());
    }

    fn value(&self, key: &str, from: &Values) -> Option<String> {
        if let Some(Some(given)) = self.given.get(key) {
            return Some(given.clone());
        }
        let default = from.get(key).cloned().flatten();
        default.or_else(|| self.global.get(key).cloned().flatten())
    }

    fn all(&self, from: &Values) -> Vec<String> {
        let keys: BTreeSet<&str> = from.keys().map(String::as_str).chain(PROXIES).collect();
        let entry = |key: &str| self.value(key, from).map(|value| format!("{key}={value}"));
        keys.into_iter().filter_map(entry).collect()
    }

    /// The arguments that `FROM` may use.
    pub(crate) fn for_from(&self) -> Vec<String> {
        self.all(&self.global)
    }

    /// The arguments of a stage, without those whose names `env` has.
    pub(crate) fn without(&self, env: &[String]) -> Vec<String> {
        let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let known: BTreeSet<String> = env.iter().map(|entry| key(entry)).collect();
        self.all(&self.allowed).into_iter().filter(|entry| !known.contains(&key(entry))).collect()
    }

    /// A command with the arguments that it can see in front, as the history has it.
    pub(crate) fn in_history(&self, entries: &[String], command: &[String]) -> Vec<String> {
        if entries.is_empty() {
            return command.to_vec();
        }
        let key = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
        let shown = |entry: &&String| self.referenced.contains(&key(entry)) || !PROXIES.contains(&key(entry).as_str());
        let mut shown: Vec<String> = entries.iter().filter(shown).cloned().collect();
        shown.sort();
        let count = format!("|{}", shown.len());
        std::iter::once(count).chain(shown).chain(command.iter().cloned()).collect()
    }

    /// The names that were given and that no `ARG` has.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let given = self.given.keys().map(String::as_str);
        given.filter(|key| !self.referenced.contains(*key) && !PROXIES.contains(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured with docker 20.10.24.
    #[test]
    fn arguments_have_the_values_that_docker_gives_them() {
        let given = |pairs: &[(&str, Option<&str>)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
        };
        let mut all =
            Arguments::new(given(&[("A", Some("given")), ("N", None), ("X", Some("")), ("http_proxy", Some("p"))]));
        all.add_global("G", Some("global".into()));
        assert_eq!(all.for_from(), ["G=global", "http_proxy=p"]);
        let mut stage = all.of_stage();
        assert_eq!(stage.without(&[]), ["http_proxy=p"]);
        stage.add("G", None);
        stage.add("A", Some("default".into()));
        stage.add("N", Some("default".into()));
        assert_eq!(stage.without(&["N=env".into()]), ["A=given", "G=global", "http_proxy=p"]);
        let entries = stage.without(&[]);
        assert_eq!(stage.in_history(&entries, &["x".into()]), ["|3", "A=given", "G=global", "N=default", "x"]);
        let proxy = ["http_proxy=p".to_owned()];
        assert_eq!(all.in_history(&proxy, &["x".into()]), ["|0", "x"]);
        assert_eq!(all.in_history(&[], &["x".into()]), ["x"]);
        all.merge(&stage);
        assert_eq!(all.unused(), ["X"]);
    }
}
