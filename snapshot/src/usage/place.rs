//! Tells which part of a data-root a path belongs to.
//!
//! ```text
//! <root>/[<uid>.<gid>/]
//!   <home>/<name>              what its owner is by `liveness`; a link goes with the directory it leads to
//!   image/<driver>/layerdb/    sha256/<chain>: the layer; mounts/<id>: the container; tmp/<write-set>: unfinished
//!   image/<driver>/imagedb/    content/sha256/<id>, metadata/sha256/<id>: the image
//!   containers/<id>/           the container; its logs apart
//!   volumes/<name>/            the volume; its content apart
//!   buildkit/                  the build cache
//! ```

use std::collections::HashMap;

use layerfs::{ChainId, Digest};

use super::in_containerd::{CONTAINERD_PARTS, ContainerdOwners};
use super::parts::{Part, Registry};
use super::walk::BucketChoice;
use crate::catalog::Catalog;
use crate::driver::{EntryKind, HomeLayout};
use crate::ids::{ContainerId, ImageId, MountName, VolumeName};
use crate::liveness::{Claim, EntryVerdict, Liveness, OwnedEntry};
use crate::schema::container;
use crate::schema::paths::{self, ImagesPath, RootPath};
use crate::schema::volume::DATA;

/// What is known of a data-root to tell what a path belongs to.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// The path of the data-root below the directory that is walked: `<uid>.<gid>` for a daemon that maps users,
    /// otherwise empty.
    pub(super) prefix: Vec<Vec<u8>>,
    /// The path of the driver's home in the data-root.
    pub(super) home: Vec<Vec<u8>>,
    pub(super) driver: &'a str,
    /// The layout of the driver's home.
    pub(super) layout: Option<HomeLayout>,
    pub(super) liveness: &'a Liveness,
    catalog: &'a Catalog,
    containers: HashMap<&'a str, &'a ContainerId>,
    volumes: HashMap<&'a str, &'a VolumeName>,
    containerd: ContainerdOwners,
    pub(super) registry: Registry,
}

/// A part, and whether entries below may belong to another part.
pub(super) type Found = (Part, bool);

pub(super) const SETTLED: bool = false;
pub(super) const ASK: bool = true;

impl<'a> Places<'a> {
    pub(super) fn new(prefix: Vec<Vec<u8>>, home: Vec<Vec<u8>>, catalog: &'a Catalog, liveness: &'a Liveness) -> Self {
        let places = Self {
            prefix,
            home,
            driver: &catalog.driver,
            layout: HomeLayout::of_driver(&catalog.driver),
            liveness,
            catalog,
            containers: catalog.containers.iter().map(|container| (container.id.as_str(), &container.id)).collect(),
            volumes: catalog.volumes.iter().map(|volume| (volume.name.as_str(), &volume.name)).collect(),
            containerd: ContainerdOwners::new(catalog),
            registry: Registry::default(),
        };
        // Number the parts in their order now, so that the numbers do not depend on which thread meets a part first.
        places.registry.number(Part::Store);
        let images = catalog.images.keys().chain(catalog.damaged_images.keys()).copied();
        let layers = catalog.layers.keys().copied();
        let parts = images.map(Part::Image).chain(layers.map(Part::Layer));
        let containers = catalog.containers.iter().flat_map(|container| {
            let id = || container.id.clone();
            [Part::Container(id()), Part::Writable(id()), Part::Log(id())]
        });
        let volumes = catalog.volumes.iter().flat_map(|volume| {
            let name = || volume.name.clone();
            [Part::Volume(name()), Part::VolumeData(name())]
        });
        for part in parts.chain(containers).chain(volumes).chain([Part::BuildKit]) {
            places.registry.number(part);
        }
        places
    }

    /// The part of a path, which is relative to the directory that is walked.
    pub(super) fn find_place(&self, path: &[u8]) -> BucketChoice {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let (part, ask_below) = match starts(&names, &self.prefix) {
            Some(inside) => self.inside(inside),
            None if is_above(&names, &self.prefix) => (Part::Store, ASK),
            None => (Part::Other(names[0].to_vec()), SETTLED),
        };
        BucketChoice { bucket: self.registry.number(part), ask_below }
    }

    fn inside(&self, names: &[&[u8]]) -> Found {
        if is_above(names, &self.home) {
            return (Part::Store, ASK);
        }
        if let Some(names) = starts(names, &self.home) {
            return self.in_home(names);
        }
        if let Some(found) = self.beside_home(names) {
            return found;
        }
        match paths::whose(names) {
            RootPath::Directory => (Part::Store, ASK),
            RootPath::Images { driver, of } if driver == self.driver.as_bytes() => self.in_images(&of),
            RootPath::Images { .. } => (Part::Other(names[..2].join(&b'/')), SETTLED),
            RootPath::Container { id, below } => self.in_container(id, below),
            RootPath::Volume { name, below } => {
                match text(name).and_then(|name| self.volumes.get(name).copied().cloned()) {
                    Some(name) if below.is_empty() => (Part::Volume(name), ASK),
                    Some(name) if below == [DATA.as_bytes()] => (Part::VolumeData(name), SETTLED),
                    Some(name) => (Part::Volume(name), SETTLED),
                    None => (Part::Store, SETTLED),
                }
            }
            RootPath::BuildCache => (Part::BuildKit, SETTLED),
            RootPath::Other => self.in_other(names),
        }
    }

    /// The part of a path that a driver keeps for a layer beside its home, under the layer's name: its mount point, or
    /// the list of what it stands on.
    fn beside_home(&self, names: &[&[u8]]) -> Option<Found> {
        let [top, _, ..] = self.home.as_slice() else { return None };
        if names.first()? != top {
            return None;
        }
        let other = Part::Other(top.clone());
        let known = |name: &[u8]| text(name).is_some_and(|name| self.liveness.entry(name).is_some_and(is_layer));
        Some(match names {
            [_, _, name, ..] if known(name) => (self.entry(name), SETTLED),
            [_, _] => (other, ASK),
            _ => (other, SETTLED),
        })
    }

    fn in_home(&self, names: &[&[u8]]) -> Found {
        let layout = self.layout.as_ref();
        let is_links =
            |name: &[u8]| layout.and_then(|layout| layout.links).is_some_and(|links| links.as_bytes() == name);
        let is_content = |below: &[&[u8]]| {
            let content = layout.map(|layout| layout.content).unwrap_or_default();
            content.len() <= below.len() && content.iter().zip(below).all(|(a, b)| a.as_bytes() == *b)
        };
        match names {
            [] => (Part::Store, ASK),
            [links] if is_links(links) => (Part::Store, ASK),
            [links, link, ..] if is_links(links) => {
                let known = text(link).and_then(|link| self.liveness.links().get(link));
                match known {
                    Some(Some(entry)) => (self.entry(entry.as_bytes()), SETTLED),
                    Some(None) => (Part::StaleLinks, SETTLED),
                    // The link was created after the owners were read, so its owner is not known.
                    None => (Part::Unknown([*links, *link].join(&b'/')), SETTLED),
                }
            }
            [name, rest @ ..] => match (self.entry(name), rest) {
                // An init layer belongs to the container, and so does an image that it has mounted, but neither is
                // something that the container has written.
                (Part::Container(id), _) if name.ends_with(b"-init") || !self.is_writable(name) => {
                    (Part::Container(id), SETTLED)
                }
                (Part::Container(id), rest) if is_content(rest) => (Part::Writable(id), SETTLED),
                (Part::Container(id), []) => (Part::Container(id), ASK),
                (Part::Cache(id), rest) if is_content(rest) => (Part::CacheData(id), SETTLED),
                (Part::Cache(id), []) => (Part::Cache(id), ASK),
                (part, _) => (part, SETTLED),
            },
        }
    }

    /// Which part an entry of the driver's home belongs to.
    fn entry(&self, name: &[u8]) -> Part {
        let unknown = || Part::Unknown(name.to_vec());
        let Some(known) = text(name) else { return unknown() };
        let Some(entry) = self.liveness.entry(known) else { return unknown() };
        let name = || known.to_owned();
        match (entry.claims.first(), self.liveness.verdict_on(entry)) {
            (Some(Claim::Layer(chain)), _) => Part::Layer(*chain),
            (Some(Claim::Mount(id) | Claim::Init(id)), _) => self.mount(id),
            (Some(Claim::BuildKit(_)), _) => Part::Cache(name()),
            (Some(Claim::Removing(record)), _) => Part::Removing(record.clone()),
            (Some(Claim::Lost(_) | Claim::Below(_) | Claim::Mounted(_)), _) => Part::Referred(name()),
            (None, EntryVerdict::Service) => Part::Store,
            (None, _) if entry.unfinished.is_some() => Part::Unfinished(entry.unfinished.clone().unwrap_or_default()),
            (None, EntryVerdict::Orphan) => Part::Orphan(name()),
            (None, EntryVerdict::Live(_) | EntryVerdict::Unknown(_)) => unknown(),
        }
    }

    /// Whether an entry is a directory that a container writes to, and not an image that is mounted into the container.
    fn is_writable(&self, name: &[u8]) -> bool {
        let claims = text(name).and_then(|name| self.liveness.entry(name)).map_or(&[][..], |entry| &entry.claims);
        claims.iter().any(|claim| matches!(claim, Claim::Mount(name) if self.container(name.as_str()).is_some()))
    }

    fn mount(&self, name: &MountName) -> Part {
        let container = self.catalog.container_of_mount(name.as_str());
        container.map_or_else(|| Part::Mount(name.clone()), |container| Part::Container(container.id.clone()))
    }

    fn container(&self, id: &str) -> Option<ContainerId> {
        self.containers.get(id).copied().cloned()
    }

    fn in_images(&self, of: &ImagesPath<'_>) -> Found {
        let digest = |name: &[u8]| text(name).and_then(|name| Digest::from_hex(name).ok());
        let unknown = |place: &[&str], name: &[u8]| {
            let path = [place.join("/").as_bytes(), name].join(&b'/');
            (Part::Unknown(path), SETTLED)
        };
        match *of {
            ImagesPath::Directory => (Part::Store, ASK),
            ImagesPath::LayerRecord(name) => match (digest(name), text(name)) {
                (Some(digest), _) => (Part::Layer(ChainId(digest)), SETTLED),
                (None, Some(name)) if name.ends_with(paths::REMOVING) => (Part::Removing(name.into()), SETTLED),
                (None, _) => unknown(&paths::LAYER_RECORDS, name),
            },
            ImagesPath::Mount(name) => match text(name).and_then(|name| name.parse().ok()) {
                Some(name) => (self.mount(&name), SETTLED),
                None => unknown(&paths::MOUNTS, name),
            },
            ImagesPath::WriteSet(name) => (Part::Unfinished(String::from_utf8_lossy(name).into_owned()), SETTLED),
            ImagesPath::Image(name) => match digest(name) {
                Some(digest) => (Part::Image(ImageId(digest)), SETTLED),
                None => (Part::Store, SETTLED),
            },
            ImagesPath::Other => (Part::Store, SETTLED),
        }
    }

    /// The part of a path without a known owner: it is named after the first component of the path.
    fn in_other(&self, names: &[&[u8]]) -> Found {
        const CONTAINERD: &[u8] = paths::CONTAINERD_DAEMON[0].as_bytes();
        const DAEMON: &[u8] = paths::CONTAINERD_DAEMON[1].as_bytes();
        match names {
            // The large parts of containerd's store are counted apart.
            [CONTAINERD] | [CONTAINERD, DAEMON] => (Part::Other(CONTAINERD.to_vec()), ASK),
            [CONTAINERD, DAEMON, plugin, below @ ..] if CONTAINERD_PARTS.contains(plugin) => {
                let rest = Part::Other(names[..3].join(&b'/'));
                self.containerd.find(plugin, below).unwrap_or((rest, ASK))
            }
            // In containerd's own root.
            [plugin, below @ ..] if CONTAINERD_PARTS.contains(plugin) => {
                let rest = Part::Other(plugin.to_vec());
                self.containerd.find(plugin, below).unwrap_or((rest, ASK))
            }
            _ => (Part::Other(names[0].to_vec()), SETTLED),
        }
    }

    fn in_container(&self, id: &[u8], rest: &[&[u8]]) -> Found {
        let Some(id) = text(id).and_then(|id| self.container(id)) else { return (Part::Store, SETTLED) };
        match rest {
            [] => (Part::Container(id), ASK),
            [name, ..] if container::is_log(&id, name) => (Part::Log(id), SETTLED),
            _ => (Part::Container(id), SETTLED),
        }
    }
}

fn is_layer(entry: &OwnedEntry) -> bool {
    entry.kind == EntryKind::Layer
}

pub(super) fn text(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok()
}

/// The rest of `names` after `first`; `None` if they do not begin with it.
fn starts<'n>(names: &'n [&'n [u8]], first: &[Vec<u8>]) -> Option<&'n [&'n [u8]]> {
    let (head, tail) = names.split_at_checked(first.len())?;
    head.iter().zip(first).all(|(a, b)| a == b).then_some(tail)
}

/// Whether `names` leads to `below`, and is not that itself.
fn is_above(names: &[&[u8]], below: &[Vec<u8>]) -> bool {
    names.len() < below.len() && names.iter().zip(below).all(|(a, b)| a == b)
}
