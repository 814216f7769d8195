//! A container's config in the form in which commands use it.

use std::collections::BTreeMap;

use super::{ContainerState, Crash, find_crash};
use crate::ids::{ContainerId, ImageId};
use crate::schema::containerfile::{ConfigFile, PortBinding};
use crate::schema::time::Time;

/// The type of a mount point that shows an image (Docker 28 and later).
const IMAGE: &str = "image";

/// What a container's config says of it.
#[derive(Debug, Clone)]
pub struct ContainerRecord {
    /// Its id: the name of its directory.
    pub id: ContainerId,
    /// The id in its config, where that is another one. dockerd does not load such a container.
    pub other_id: Option<String>,
    /// Its name, without the slash in front.
    pub name: String,
    /// The image it was made from.
    pub image: Option<ImageId>,
    /// The image it was made from, as it is written; the text may be no id.
    pub image_text: String,
    /// The image as the user typed it.
    pub image_name: String,
    /// What it runs.
    pub command: Vec<String>,
    /// When it was made.
    pub created: Time,
    /// The storage driver it was made with.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its state as the disk has it.
    pub state: ContainerState,
    /// Volumes and directories it has mounted.
    pub mount_points: Vec<MountPoint>,
    /// Its networks, by name.
    pub networks: Vec<String>,
    /// Its ports, as they were when it was started last.
    pub ports: Vec<Port>,
    /// The operating system it was made for.
    pub os: String,
    /// What in its files makes dockerd crash at its start, if anything does.
    pub crash: Option<Crash>,
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
    /// `volume`, `bind`, `tmpfs` or `image`.
    pub kind: String,
    /// The volume's name; empty for others.
    pub name: String,
    /// The volume's driver; empty for others.
    pub driver: String,
    /// Where it is on the host.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
    /// For an image: the entry of `layerdb/mounts` that shows it (moby v28.5.2 `daemon/volumes_unix.go`).
    pub mount: String,
}

impl ContainerRecord {
    /// The record of a container whose config cannot be read: only its id is known.
    pub(crate) fn unread(id: ContainerId) -> Self {
        Self { crash: None, ..Self::new(id, ConfigFile::default()) }
    }

    pub(super) fn new(id: ContainerId, file: ConfigFile) -> Self {
        let crash = find_crash(&file);
        let config = file.config.unwrap_or_default();
        let settings = file.network_settings.unwrap_or_default();
        let points = file.mount_points.into_iter().filter_map(|(destination, point)| {
            let point = point?;
            Some(MountPoint {
                name: point.name,
                driver: point.driver,
                source: point.source,
                mount: if point.kind == IMAGE { point.id } else { String::new() },
                destination,
                kind: point.kind,
            })
        });
        let path = Some(file.path).filter(|path| !path.is_empty());
        Self {
            id,
            other_id: None,
            name: file.name.strip_prefix('/').unwrap_or(&file.name).to_owned(),
            image: file.image.parse().ok().map(ImageId),
            image_text: file.image,
            image_name: config.image,
            command: path.into_iter().chain(file.args).collect(),
            created: file.created,
            driver: file.driver,
            labels: config.labels.unwrap_or_default(),
            state: file.state.0.map(ContainerState::from).unwrap_or_default(),
            mount_points: points.collect(),
            networks: settings.networks.unwrap_or_default().into_keys().collect(),
            ports: settings
                .ports
                .unwrap_or_default()
                .into_iter()
                .flat_map(|(port, hosts)| ports(&port, hosts.unwrap_or_default()))
                .collect(),
            os: if file.os.is_empty() { "linux".into() } else { file.os },
            crash,
        }
    }
}

/// One [`Port`] for each address at which the port is published, or a single one without an address.
fn ports(port: &str, hosts: Vec<PortBinding>) -> Vec<Port> {
    if hosts.is_empty() {
        return vec![Port { port: port.to_owned(), host: None }];
    }
    let host = |host: PortBinding| format!("{}:{}", host.ip, host.port);
    hosts.into_iter().map(|one| Port { port: port.to_owned(), host: Some(host(one)) }).collect()
}
