//! Which containers `container ls --filter` takes: dockerd's rules (moby v20.10.24 `daemon/list.go: foldFilter,
//! includeContainerInList`, `api/types/filters/parse.go`), answered from disk.

use std::collections::{BTreeMap, BTreeSet};

use docker_format::filter::Filters;
use regex::Regex;
use snapshot::catalog::{Catalog, Container, Resolved};
use snapshot::ids::ImageId;
use snapshot::schema::container::{ContainerFiles, open_own};
use snapshot::schema::containerfile::PortBinding;
use snapshot::view::View;

use super::row::state_word;
use crate::exit::UsageError;

/// Filters that need more of a container than a listing reads.
const FROM_FILES: [&str; 4] = ["is-task", "network", "publish", "expose"];

/// Filters whose values are ports.
const PORTS: [&str; 2] = ["publish", "expose"];

/// The words for states and results of health checks that dockerd knows.
const STATES: [&str; 7] = ["paused", "restarting", "running", "removing", "dead", "created", "exited"];
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// Refuses values that no container can have.
pub(super) fn check(filters: &Filters) -> Result<(), UsageError> {
    let refuse = |name: &str, value: &str| Err(UsageError(format!("Invalid filter '{name}={value}'")));
    // A state that only the disk knows is one of ours.
    let states =
        filters.get("status").iter().find(|value| !STATES.contains(&value.as_str()) && *value != "interrupted");
    let health = filters.get("health").iter().find(|value| !HEALTH.contains(&value.as_str()));
    let codes = filters.get("exited").iter().find(|value| value.parse::<i64>().is_err());
    let tasks = filters.get("is-task").iter().find(|value| !matches!(value.as_str(), "true" | "false"));
    let named = [("status", states), ("health", health), ("exited", codes), ("is-task", tasks)];
    for (name, value) in named {
        if let Some(value) = value {
            return refuse(name, value);
        }
    }
    for name in PORTS {
        for value in filters.get(name) {
            ports(name, value)?;
        }
    }
    Ok(())
}

/// The ports that a value of `publish` or `expose` means: `80`, `80/udp` or `80-90/tcp` (moby v20.10.24 `daemon/list.go: portOp`,
/// docker/go-connections v0.4.0 `nat/nat.go`).
fn ports(name: &str, value: &str) -> Result<(std::ops::RangeInclusive<u16>, String), UsageError> {
    if value.contains(':') {
        return Err(UsageError(format!("filter for '{name}' should not contain ':': {value}")));
    }
    let failed = |why: String| UsageError(format!("error while looking up for {name} {value}: {why}"));
    let (range, kind) = value.split_once('/').unwrap_or((value, "tcp"));
    let number = |text: &str| {
        let why = match text.parse::<u128>() {
            Ok(number) => match u16::try_from(number) {
                Ok(port) => return Ok(port),
                Err(_) => "value out of range",
            },
            Err(_) => "invalid syntax",
        };
        Err(failed(format!("strconv.ParseUint: parsing {}: {why}", docker_format::quoted(text))))
    };
    if range.is_empty() {
        return Err(failed("Empty string specified for ports.".to_owned()));
    }
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(range)?, number(range)?),
    };
    if first > last {
        return Err(failed(format!("Invalid range specified for the Port: {range}")));
    }
    let kind = if kind.is_empty() { "tcp" } else { kind };
    Ok((first..=last, kind.to_ascii_lowercase()))
}

/// The containers of `all`, the newest first, that the filters take.
pub(super) fn select<'v>(
    view: &'v View,
    filters: &Filters,
    all: Vec<&'v Container>,
) -> anyhow::Result<Vec<&'v Container>> {
    let catalog = view.catalog();
    let place = |name: &str| -> anyhow::Result<Option<usize>> {
        let Some(value) = filters.get(name).last() else { return Ok(None) };
        let found = containers::find(catalog, value)?;
        Ok(all.iter().position(|container| container.id == found.id))
    };
    // The newest container comes first: those made before another one come after it, those made since come before it.
    let from = place("before")?.map_or(0, |place| place + 1);
    let to = place("since")?.unwrap_or(all.len());
    let images = filters.contains("ancestor").then(|| descendants(catalog, filters.get("ancestor")));
    let within = all.get(from..to.max(from)).unwrap_or_default();
    let (ids, names) = (Expressions::new(filters.get("id")), Expressions::new(filters.get("name")));
    let is_called = |container: &Container| {
        ids.take(&[container.id.as_str()]) && names.take(&[container.name.as_str(), &format!("/{}", container.name)])
    };
    let takes = |container: &&Container| is_called(container) && passes(view, filters, images.as_ref(), container);
    Ok(within.iter().copied().filter(takes).collect())
}

/// These images, and those that were built on them: that is in their configs' `parent`.
fn descendants(catalog: &Catalog, names: &[String]) -> BTreeSet<ImageId> {
    let resolved = names.iter().filter_map(|name| match catalog.resolve(name) {
        Resolved::Image(id) => Some(id),
        _ => None,
    });
    let (mut found, mut next) = (BTreeSet::new(), resolved.collect::<Vec<ImageId>>());
    while let Some(id) = next.pop() {
        if found.insert(id) {
            next.extend(catalog.images().get(&id).iter().flat_map(|image| &image.children));
        }
    }
    found
}

/// What a container's id or name is held against: a text, and what it is as an expression.
struct Expressions<'f>(Vec<(&'f str, Option<Regex>)>);

impl<'f> Expressions<'f> {
    fn new(values: &'f [String]) -> Self {
        Self(values.iter().map(|value| (value.as_str(), Regex::new(value).ok())).collect())
    }

    /// Whether one of them, if there is any, takes one of `texts`.
    fn take(&self, texts: &[&str]) -> bool {
        let takes =
            |value: &str, one: Option<&Regex>, text: &str| value == text || one.is_some_and(|one| one.is_match(text));
        self.0.is_empty() || self.0.iter().any(|(value, one)| texts.iter().any(|text| takes(value, one.as_ref(), text)))
    }
}

fn passes(view: &View, filters: &Filters, images: Option<&BTreeSet<ImageId>>, container: &Container) -> bool {
    let any = |name: &str, matches: &dyn Fn(&str) -> bool| {
        !filters.contains(name) || filters.get(name).iter().any(|value| matches(value))
    };
    any("status", &|value| state_word(container.status()) == value)
        && any("exited", &|value| {
            let ended = !container.state.started.is_zero() && !container.status().is_up();
            ended && value.parse() == Ok(container.state.exit_code)
        })
        && any("health", &|value| {
            let health = container.state.health.as_str();
            value == if health.is_empty() { "none" } else { health }
        })
        && any("volume", &|value| {
            let named = |name: &str, source: &str| if name.is_empty() { source == value } else { name == value };
            container.mount_points.iter().any(|point| point.destination == value || named(&point.name, &point.source))
        })
        && images.is_none_or(|images| container.image.is_some_and(|image| images.contains(&image)))
        && filters.labels_match(&container.labels)
        && (!FROM_FILES.iter().any(|name| filters.contains(name)) || files_pass(view, filters, container))
}

fn files_pass(view: &View, filters: &Filters, container: &Container) -> bool {
    let own = open_own(view.root().dir(), &container.id).ok().flatten();
    let Some(files) = own.and_then(|own| ContainerFiles::read(&own).ok()) else { return false };
    let none = BTreeMap::new();
    let settings = files.config.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref()).unwrap_or(&none);
    let in_network = |value: &String| {
        let has_id = |id: &str| id.starts_with(value.as_str());
        networks
            .iter()
            .any(|(name, network)| name == value || network.as_ref().is_some_and(|network| has_id(&network.network_id)))
    };
    let published = settings.and_then(|settings| settings.ports.as_ref());
    let tasks = filters.get("is-task");
    (!PORTS.iter().any(|name| filters.contains(name)) || has_port(filters, published))
        && (tasks.is_empty() || tasks.iter().any(|value| (value == "true") == files.config.managed))
        && (!filters.contains("network") || filters.get("network").iter().any(in_network))
}

/// `NetworkSettings.Ports`: ports of the container, and where each is published.
type Published = BTreeMap<String, Option<Vec<PortBinding>>>;

/// Whether a container has a port that one of the filters takes: one of its own for `expose`, one of the host for
/// `publish`, by what dockerd has written down when it ran last. A port that is not published has the number 0 on the
/// host.
fn has_port(filters: &Filters, known: Option<&Published>) -> bool {
    let takes = |name: &str, port: u16, kind: &str| {
        let wanted = filters.get(name).iter().filter_map(|value| ports(name, value).ok());
        wanted.into_iter().any(|(range, of)| range.contains(&port) && of == kind)
    };
    known.into_iter().flatten().any(|(text, bindings)| {
        let (port, kind) = text.split_once('/').unwrap_or((text, "tcp"));
        let host: Vec<u16> = match bindings.as_deref() {
            None | Some([]) => vec![0],
            Some(bindings) => bindings.iter().filter_map(|binding| binding.port.parse().ok()).collect(),
        };
        port.parse().is_ok_and(|port| !host.is_empty() && takes("expose", port, kind))
            || host.into_iter().any(|port| takes("publish", port, kind))
    })
}
