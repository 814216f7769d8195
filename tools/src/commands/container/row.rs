//! A container as docker lists it: the daemon's view (moby v20.10.24 `container/view.go`, `container/state.go`) and the
//! client's (docker/cli v20.10.24 `cli/command/formatter/container.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use snapshot::catalog::{Catalog, Container, ContainerStatus, Resolved};
use snapshot::reference::Reference;
use snapshot::schema::time::Time;

use crate::output;
use docker_format::listing::Row;
use docker_format::{ago, ellipsis, size};

/// Characters of a command, and of the name of a mount, that are shown.
const COMMAND: usize = 20;
const MOUNT: usize = 15;

/// How rows are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Ids, commands and names of mounts are not cut short.
    pub(crate) whole: bool,
    /// The present time, from which ages are counted.
    pub(crate) now: Timestamp,
}

/// The bytes that a container has written, and those with its image. Zero if sizes are not wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    /// -1 where it cannot be told, as docker has it.
    pub(crate) written: i64,
    /// Zero if it is not to be shown.
    pub(crate) with_image: i64,
}

/// All fields of a container.
pub(crate) fn row(catalog: &Catalog, container: &Container, sizes: Sizes, style: Style) -> Row {
    let created = container.created.unix_seconds();
    let id = if style.whole { container.id.to_string() } else { container.id.short().to_owned() };
    let command = command(container);
    let command = if style.whole { command } else { ellipsis(&command, COMMAND) };
    let state = container.status();
    let mounts = container.mount_points.iter().map(|point| {
        let name = if point.name.is_empty() { &point.source } else { &point.name };
        if style.whole { name.clone() } else { ellipsis(name, MOUNT) }
    });
    let local = container.mount_points.iter().filter(|point| point.driver == "local").count();
    let bytes = |bytes: i64| size::human_size(bytes as f64, 3);
    let with_image = match sizes.with_image {
        ..=0 => String::new(),
        all => format!(" (virtual {})", bytes(all)),
    };
    Row::from([
        ("ID", id),
        ("Names", output::name(&container.name).into_owned()),
        ("Image", output::name(&image(catalog, container, style.whole)).into_owned()),
        ("Command", docker_format::quoted(&command)),
        ("CreatedAt", ago::created_at(created)),
        ("RunningFor", ago::ago(created, style.now)),
        ("Ports", if state.is_up() { output::name(&ports(container)).into_owned() } else { String::new() }),
        ("State", state_word(state).to_owned()),
        ("Status", status(container, state, style.now)),
        ("Size", bytes(sizes.written) + &with_image),
        ("Labels", joined(&container.labels)),
        ("Mounts", output::name(&mounts.collect::<Vec<_>>().join(",")).into_owned()),
        ("LocalVolumes", local.to_string()),
        ("Networks", output::name(&container.networks.join(",")).into_owned()),
    ])
}

/// Labels as docker lists them, though in the order of their keys.
pub(crate) fn joined(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The path and the arguments, those with a blank in quotes.
fn command(container: &Container) -> String {
    let words = container.command.iter().enumerate();
    let quoted = words.map(|(at, word)| if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The image's name if it still means the container's image, else its id.
fn image(catalog: &Catalog, container: &Container, whole: bool) -> String {
    let (name, id) = (container.image_name.as_str(), container.image_text.as_str());
    let means_it = |image| catalog.images_elsewhere() || catalog.resolve(name) == Resolved::Image(image);
    let valid = !name.is_empty() && container.image.is_some_and(means_it);
    let shown = if valid { name } else { id };
    if shown.is_empty() {
        return "<no image>".to_owned();
    }
    if whole {
        return shown.to_owned();
    }
    let bare = |text: &str| short(text.strip_prefix("sha256:").unwrap_or(text)).to_owned();
    if bare(shown) == bare(id) {
        return bare(id);
    }
    match Reference::parse(shown) {
        Ok(reference) => {
            let name = reference.familiar_name();
            reference.tag().map_or_else(|| name.clone(), |tag| format!("{name}:{tag}"))
        }
        Err(_) => shown.to_owned(),
    }
}

/// docker's word for a state. docker has none for a state that only the disk knows.
pub(crate) fn state_word(status: ContainerStatus) -> &'static str {
    match status {
        ContainerStatus::Created => "created",
        ContainerStatus::Running => "running",
        ContainerStatus::Paused => "paused",
        ContainerStatus::Restarting => "restarting",
        ContainerStatus::Interrupted => "interrupted",
        ContainerStatus::Exited => "exited",
        ContainerStatus::Removing => "removing",
        ContainerStatus::Dead => "dead",
    }
}

fn status(container: &Container, status: ContainerStatus, now: Timestamp) -> String {
    let state = &container.state;
    let since = |time: Time| {
        let seconds = time.moment().map(|time| (now - time).total(jiff::Unit::Second).unwrap_or(0.0));
        ago::human_duration(seconds.unwrap_or(0.0))
    };
    match status {
        // dockerd writes the result of a health check only together with other changes: `starting` may be old.
        ContainerStatus::Running if !matches!(state.health.as_str(), "" | "starting") => {
            format!("Up {} ({})", since(state.started), state.health)
        }
        ContainerStatus::Running => format!("Up {}", since(state.started)),
        ContainerStatus::Paused => format!("Up {} (Paused)", since(state.started)),
        ContainerStatus::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished)),
        ContainerStatus::Interrupted => {
            format!("Recorded as up since {} ago, no such process here", since(state.started))
        }
        ContainerStatus::Removing => "Removal In Progress".to_owned(),
        ContainerStatus::Dead => "Dead".to_owned(),
        ContainerStatus::Created => "Created".to_owned(),
        ContainerStatus::Exited if state.finished.is_zero() => String::new(),
        ContainerStatus::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
    }
}

/// Published ports as `host->container`, others by themselves; docker joins those in a row into ranges.
fn ports(container: &Container) -> String {
    let shown = container.ports.iter().map(|port| match &port.host {
        Some(host) => format!("{host}->{}", port.port),
        None => port.port.clone(),
    });
    shown.collect::<Vec<_>>().join(", ")
}
