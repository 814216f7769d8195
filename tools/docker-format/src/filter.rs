//! `--filter NAME=VALUE`, as the client reads it and dockerd checks it.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use super::until;

/// What is wrong with a filter, in docker's words; those of dockerd follow `Error response from daemon: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is no `=`. The client finds this, names the flag too, and exits with 125.
    #[error("bad format of filter (expected name=value)")]
    Form,
    /// A name that the command does not have.
    #[error("Invalid filter '{0}'")]
    Name(String),
    /// A value that the filter does not have.
    #[error("Invalid filter '{name}=[{}]'", .values.join(" "))]
    Value {
        /// The filter.
        name: &'static str,
        /// All its values.
        values: Vec<String>,
    },
    /// Several times for `until`.
    #[error("more than one until filter specified")]
    SeveralTimes,
    /// A time that cannot be read.
    #[error(transparent)]
    Time(#[from] until::UntilError),
}

/// A command that takes filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `docker image ls`
    ImageList,
    /// `docker image prune`
    ImagePrune,
    /// `docker container ls`
    ContainerList,
    /// `docker container prune`
    ContainerPrune,
    /// `docker volume ls`
    VolumeList,
    /// `docker volume prune`
    VolumePrune,
    /// `docker system prune`
    SystemPrune,
    /// `docker builder prune`
    BuilderPrune,
    /// `docker search`
    Search,
}

impl Command {
    /// The names of the filters that the command takes.
    #[must_use]
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::ImageList => &["dangling", "label", "before", "since", "reference"],
            Self::ImagePrune => &["dangling", "label", "label!", "until"],
            Self::ContainerList => &[
                "ancestor",
                "before",
                "exited",
                "expose",
                "health",
                "id",
                "is-task",
                "isolation",
                "label",
                "name",
                "network",
                "publish",
                "since",
                "status",
                "volume",
            ],
            Self::ContainerPrune | Self::SystemPrune => &["label", "label!", "until"],
            Self::VolumeList => &["dangling", "name", "driver", "label"],
            Self::VolumePrune => &["label", "label!"],
            Self::BuilderPrune => {
                &["id", "parent", "type", "description", "inuse", "shared", "private", "until", "unused-for"]
            }
            Self::Search => &["is-automated", "is-official", "stars"],
        }
    }
}

/// Filters by name, with all their values in the order they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Values>);

/// The values of a filter in their order, and all of them to look one up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Values {
    ordered: Vec<String>,
    known: HashSet<String>,
}

impl Filters {
    /// Reads the values of `--filter`. Names are in lower case, blanks around either side do not count, an empty filter
    /// is none.
    ///
    /// # Errors
    ///
    /// [`FilterError::Form`] if there is no `=`.
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Result<Self, FilterError> {
        let mut filters = Self::default();
        for value in values.iter().map(AsRef::as_ref).filter(|value| !value.is_empty()) {
            let (name, value) = value.split_once('=').ok_or(FilterError::Form)?;
            filters.add(name.to_lowercase().trim(), value.trim());
        }
        Ok(filters)
    }

    /// Adds a value, unless it is there.
    pub fn add(&mut self, name: &str, value: &str) {
        let values = self.0.entry(name.to_owned()).or_default();
        if values.known.insert(value.to_owned()) {
            values.ordered.push(value.to_owned());
        }
    }

    /// Whether every name is one of the command's.
    ///
    /// # Errors
    ///
    /// [`FilterError::Name`] for the first by the alphabet; dockerd takes any.
    pub fn check(&self, command: Command) -> Result<(), FilterError> {
        self.check_with(command, &[])
    }

    /// Whether every name is one of the command's, or of `more`.
    ///
    /// # Errors
    ///
    /// As for [`Filters::check`].
    pub fn check_with(&self, command: Command, more: &[&str]) -> Result<(), FilterError> {
        let known = |name: &str| command.names().contains(&name) || more.contains(&name);
        match self.0.keys().find(|name| !known(name)) {
            Some(name) => Err(FilterError::Name(name.clone())),
            None => Ok(()),
        }
    }

    /// The names that are asked for, by the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The values of a filter.
    #[must_use]
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], |values| values.ordered.as_slice())
    }

    /// Whether there is such a filter.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|values| values.known.contains(value))
    }

    fn bad(&self, name: &'static str) -> FilterError {
        FilterError::Value { name, values: self.get(name).to_vec() }
    }

    /// `dangling` of `image ls`: `true` or `false` to the letter, and `true` if both.
    ///
    /// # Errors
    ///
    /// [`FilterError::Value`] for anything else.
    pub fn dangling(&self) -> Result<Option<bool>, FilterError> {
        match () {
            () if !self.contains("dangling") => Ok(None),
            () if self.has("dangling", "true") => Ok(Some(true)),
            () if self.has("dangling", "false") => Ok(Some(false)),
            () => Err(self.bad("dangling")),
        }
    }

    /// `dangling` of the prunes, `true` if there is none: `false` wins, digits will do.
    ///
    /// The client adds `true`, or `false` with `--all`, to what the user says.
    ///
    /// # Errors
    ///
    /// [`FilterError::Value`] for anything else.
    pub fn dangling_to_prune(&self) -> Result<bool, FilterError> {
        match () {
            () if !self.contains("dangling") => Ok(true),
            () if self.has("dangling", "false") || self.has("dangling", "0") => Ok(false),
            () if self.has("dangling", "true") || self.has("dangling", "1") => Ok(true),
            () => Err(self.bad("dangling")),
        }
    }

    /// The time of `until`.
    ///
    /// # Errors
    ///
    /// [`FilterError::SeveralTimes`] and [`FilterError::Time`].
    pub fn until(&self, now: Timestamp) -> Result<Option<Timestamp>, FilterError> {
        match self.get("until") {
            [] => Ok(None),
            [value] => Ok(Some(until::parse(value, now)?)),
            _ => Err(FilterError::SeveralTimes),
        }
    }

    /// Whether these labels have all of `label`, and not all of `label!`.
    #[must_use]
    pub fn labels_match(&self, labels: &BTreeMap<String, String>) -> bool {
        let all = |filters: &[String]| filters.iter().all(|filter| label_matches(filter, labels));
        all(self.get("label")) && !(self.contains("label!") && all(self.get("label!")))
    }
}

/// Whether there is the label `k`, or the label `k` with the value of `k=v`.
#[must_use]
pub(crate) fn label_matches(filter: &str, labels: &BTreeMap<String, String>) -> bool {
    match filter.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|other| other == value),
        None => labels.contains_key(filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_as_the_client_reads_them() {
        assert_eq!(Filters::parse(&["x"]), Err(FilterError::Form));
        assert_eq!(Filters::parse(&[""]), Ok(Filters::default()));
        let filters = Filters::parse(&[" Dangling = true ", "label=a=b", "label=a=b", "label=c"]).unwrap();
        assert_eq!(filters.get("dangling"), ["true"]);
        assert_eq!(filters.get("label"), ["a=b", "c"]);
    }

    #[test]
    fn filters_as_dockerd_checks_them() {
        let check = |filter: &str, command| {
            Filters::parse(&[filter]).unwrap().check(command).map_err(|error| error.to_string())
        };
        assert_eq!(check("=", Command::ImageList), Err("Invalid filter ''".to_owned()));
        assert_eq!(check("until=1h", Command::ImageList), Err("Invalid filter 'until'".to_owned()));
        assert_eq!(check("until=1h", Command::ImagePrune), Ok(()));
        assert_eq!(check("label!=a", Command::ImageList), Err("Invalid filter 'label!'".to_owned()));
        let dangling = |values: &[&str]| Filters::parse(values).unwrap().dangling().map_err(|error| error.to_string());
        assert_eq!(dangling(&["dangling=1"]), Err("Invalid filter 'dangling=[1]'".to_owned()));
        assert_eq!(dangling(&["dangling=true", "dangling=false"]), Ok(Some(true)));
        let both = Filters::parse(&["dangling=true", "dangling=false"]).unwrap();
        assert_eq!(both.dangling_to_prune(), Ok(false));
        let times = Filters::parse(&["until=1h", "until=2h"]).unwrap();
        assert_eq!(times.until(Timestamp::UNIX_EPOCH).unwrap_err().to_string(), "more than one until filter specified");
    }

    #[test]
    fn labels_by_key_or_value() {
        let labels = BTreeMap::from([("a".to_owned(), "b=c".to_owned()), ("e".to_owned(), String::new())]);
        let cases =
            [("a", true), ("a=b=c", true), ("a=b", false), ("a=", false), ("e=", true), ("", false), ("z", false)];
        for (filter, expected) in cases {
            assert_eq!(label_matches(filter, &labels), expected, "{filter}");
        }
        let matches = |values: &[&str]| Filters::parse(values).unwrap().labels_match(&labels);
        assert!(matches(&["label=a", "label=e"]) && matches(&["label!=z"]) && matches(&["label!=a", "label!=z"]));
        assert!(!matches(&["label=a", "label=z"]) && !matches(&["label!=a"]));
    }
}
