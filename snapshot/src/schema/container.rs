//! `containers/`: what each container's directory says of it.
//!
//! ```text
//! containers/<id>/config.v2.json    the container, state included
//! ```
//!
//! Follows moby v20.10.24 `container/container.go`, `container/state.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::config::get;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::ImageId;

/// The directory of containers in a data-root.
pub const CONTAINERS: &str = "containers";
/// The file that holds a container's config and state.
pub const CONFIG: &str = "config.v2.json";

/// Bytes of the largest config that is read.
const MAX_CONFIG: usize = 16 << 20;

/// What a container's config says of it.
#[derive(Debug, Clone, Default)]
pub struct ContainerRecord {
    /// Its id, the name of its directory.
    pub id: String,
    /// Its name, without the slash in front.
    pub name: String,
    /// The image it was made from.
    pub image: Option<ImageId>,
    /// The image as the user typed it.
    pub image_name: String,
    /// What it runs.
    pub command: Vec<String>,
    /// When it was made: RFC 3339.
    pub created: String,
    /// The storage driver it was made with.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What its state is on disk.
    pub state: State,
    /// Volumes and directories it has mounted.
    pub mount_points: Vec<MountPoint>,
    /// Its networks, by name.
    pub networks: Vec<String>,
    /// Its ports, as they were when it was started last.
    pub ports: Vec<Port>,
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// In the container: `80/tcp`.
    pub port: String,
    /// On the host, if it is published: `0.0.0.0:8080`.
    pub host: Option<String>,
}

/// What a container has mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountPoint {
    /// `volume`, `bind` or `tmpfs`.
    pub kind: String,
    /// The volume's name; empty for others.
    pub name: String,
    /// The volume's driver; empty for others.
    pub driver: String,
    /// Where it is on the host.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
}

/// A container's state as it was written last: it is true only while the daemon lives that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The process was started and has not ended.
    pub running: bool,
    /// It is frozen.
    pub paused: bool,
    /// It waits to be started again.
    pub restarting: bool,
    /// It is being removed.
    pub removing: bool,
    /// It could not be removed.
    pub dead: bool,
    /// Its process, 0 for none.
    pub pid: u32,
    /// How it ended.
    pub exit_code: i64,
    /// When it was started: RFC 3339; year 1 for never.
    pub started: String,
    /// When it ended: RFC 3339; year 1 for never.
    pub finished: String,
    /// What its health check says: `starting`, `healthy`, `unhealthy`; empty for none.
    pub health: String,
}

/// What can be said of a container without asking a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Never started.
    Created,
    /// Its process exists.
    Running,
    /// Its process exists and is frozen.
    Paused,
    /// It waits to be started again.
    Restarting,
    /// The disk says that it runs, and there is no such process: the daemon or the machine has gone since.
    Interrupted,
    /// It ended.
    Exited,
    /// It is being removed.
    Removing,
    /// It could not be removed.
    Dead,
}

impl State {
    /// The state as the disk says, checked with `alive` where it says that the process runs.
    #[must_use]
    pub fn status(&self, alive: bool) -> Status {
        if self.running {
            return match () {
                () if !alive && self.restarting => Status::Restarting,
                () if !alive => Status::Interrupted,
                () if self.paused => Status::Paused,
                () if self.restarting => Status::Restarting,
                () => Status::Running,
            };
        }
        match () {
            () if self.removing => Status::Removing,
            () if self.dead => Status::Dead,
            () if self.started.is_empty() || self.started.starts_with("0001-01-01T00:00:00") => Status::Created,
            () => Status::Exited,
        }
    }
}

/// Opens the directory of containers; `None` if there is none.
///
/// # Errors
/// [`StoreError::Io`]
pub fn open(root: &Dir) -> Result<Option<Dir>, StoreError> {
    root.sub(CONTAINERS)
}

/// Reads a container from its directory, or says why dockerd would not load it.
///
/// # Errors
/// What is wrong, in one line.
pub fn read(own: &Dir) -> Result<ContainerRecord, String> {
    match own.read(CONFIG, MAX_CONFIG) {
        Ok(Some(bytes)) => parse(&bytes).map_err(|reason| format!("{CONFIG}: {reason}")),
        Ok(None) => Err(format!("{CONFIG} is missing")),
        Err(error) => Err(crate::catalog::with_causes(&error)),
    }
}

fn parse(bytes: &[u8]) -> Result<ContainerRecord, String> {
    let value: Value = serde_json::Deserializer::from_slice(bytes)
        .into_iter()
        .next()
        .ok_or("empty")?
        .map_err(|error: serde_json::Error| error.to_string())?;
    let Value::Object(object) = value else { return Err("not a JSON object".into()) };
    let text = |object: &Map<String, Value>, key: &str| {
        get(object, key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let inner = |key: &str| get(&object, key).and_then(Value::as_object);
    let config = inner("Config");
    let labels = config.and_then(|config| get(config, "Labels")).and_then(Value::as_object);
    let args = get(&object, "Args").and_then(Value::as_array);
    let path = Some(text(&object, "Path")).filter(|path| !path.is_empty());
    let settings = |key: &str| inner("NetworkSettings").and_then(|of| get(of, key)).and_then(Value::as_object);
    let points = inner("MountPoints").into_iter().flatten().filter_map(|(destination, point)| {
        let point = point.as_object()?;
        Some(MountPoint {
            kind: text(point, "Type"),
            name: text(point, "Name"),
            driver: text(point, "Driver"),
            source: text(point, "Source"),
            destination: destination.clone(),
        })
    });
    Ok(ContainerRecord {
        id: text(&object, "ID"),
        name: text(&object, "Name").trim_start_matches('/').to_owned(),
        image: text(&object, "Image").parse().ok().map(ImageId),
        image_name: config.map(|config| text(config, "Image")).unwrap_or_default(),
        command: path
            .into_iter()
            .chain(args.into_iter().flatten().filter_map(|arg| Some(arg.as_str()?.to_owned())))
            .collect(),
        created: text(&object, "Created"),
        driver: text(&object, "Driver"),
        labels: labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        state: inner("State").map(state).unwrap_or_default(),
        mount_points: points.collect(),
        networks: settings("Networks").map(|networks| networks.keys().cloned().collect()).unwrap_or_default(),
        ports: settings("Ports").into_iter().flatten().flat_map(|(port, hosts)| ports(port, hosts)).collect(),
    })
}

/// One port for each address it is published at, or one that is not.
fn ports(port: &str, hosts: &Value) -> Vec<Port> {
    let hosts = hosts.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |host: &Value, key: &str| host.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let host = |host: &Value| format!("{}:{}", text(host, "HostIp"), text(host, "HostPort"));
    let published = |one: &Value| Port { port: port.to_owned(), host: Some(host(one)) };
    if hosts.is_empty() {
        return vec![Port { port: port.to_owned(), host: None }];
    }
    hosts.iter().map(published).collect()
}

fn state(object: &Map<String, Value>) -> State {
    let flag = |key: &str| get(object, key).and_then(Value::as_bool).unwrap_or_default();
    let number = |key: &str| get(object, key).and_then(Value::as_i64).unwrap_or_default();
    let text = |key: &str| get(object, key).and_then(Value::as_str).unwrap_or_default().to_owned();
    State {
        running: flag("Running"),
        paused: flag("Paused"),
        restarting: flag("Restarting"),
        removing: flag("RemovalInProgress"),
        dead: flag("Dead"),
        pid: u32::try_from(number("Pid")).unwrap_or_default(),
        exit_code: number("ExitCode"),
        started: text("StartedAt"),
        finished: text("FinishedAt"),
        health: get(object, "Health")
            .and_then(Value::as_object)
            .and_then(|health| get(health, "Status"))
            .and_then(Value::as_str)
            .filter(|health| *health != "none")
            .unwrap_or_default()
            .to_owned(),
    }
}
