//! What a path, an id or a link stands for: the question that `layerfs system owner` answers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use layerfs::ChainId;

use super::Liveness;
use crate::catalog::Catalog;
use crate::containerd::owner::StoredItem;
use crate::driver::{EntryKind, FOUND_BY_HOME, HomeLayout, WRITABLE};
use crate::error::StoreError;
use crate::ids::{ContainerId, ImageId, VolumeName};
use crate::root::DataRoot;
use crate::schema::buildkit::BUILDKIT;
use crate::schema::container::CONTAINERS;
use crate::schema::paths::{self, CONTAINERD, IMAGE, ImagesPath, RootPath};
use crate::schema::volume::VOLUMES;

/// A thing of a data-root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreItem {
    /// An entry of the driver's home, and the path below it that was asked for.
    Entry {
        /// Its name.
        name: String,
        /// The path below the entry; empty for the entry itself.
        below: PathBuf,
    },
    /// A link id, which may lead nowhere.
    Link {
        /// The link id.
        id: String,
        /// The entry it leads to.
        entry: Option<String>,
    },
    /// A registered layer.
    Layer(ChainId),
    /// An image.
    Image(ImageId),
    /// A container.
    Container(ContainerId),
    /// A local volume.
    Volume(VolumeName),
    /// Something of containerd's store.
    Stored(StoredItem),
    /// Something else of the data-root: its place in it, and whose it is.
    Other {
        /// The path below the root.
        below: PathBuf,
        /// Whose.
        whose: &'static str,
    },
}

/// Directories of a data-root, and whose they are.
const PARTS: [(&str, &str); 16] = [
    (BUILDKIT, "BuildKit's: databases and content of the build cache"),
    (IMAGE, "the image store's: records of images and layers"),
    (CONTAINERS, "of containers: configs and logs"),
    (VOLUMES, "of local volumes"),
    ("network", "of networks"),
    ("plugins", "of plugins"),
    ("swarm", "swarm mode's"),
    ("tmp", "temporary files of the daemon, which empties it at each start"),
    ("tmp-old", "temporary files that the daemon was about to remove"),
    ("runtimes", "wrappers of runtimes"),
    ("trust", "keys of content trust"),
    (CONTAINERD, "containerd's"),
    ("builder", "the builder's of Docker before 18.09"),
    ("engine-id", "the daemon's identity"),
    ("devicemapper", "the storage driver's: with the files of its pool"),
    ("rootfs", "where containers are mounted whose layers containerd keeps"),
];

/// Finds what `text` means, as a path first if it looks like one, else as an id, whole or its beginning.
///
/// # Errors
/// [`StoreError::Io`]
pub fn find_item(
    root: &DataRoot,
    catalog: &Catalog,
    liveness: &Liveness,
    text: &str,
) -> Result<Option<StoreItem>, StoreError> {
    let path = Path::new(text);
    if (text.contains('/') || path.exists())
        && let Some(target) = by_path(root, catalog, liveness, path)?
    {
        return Ok(Some(target));
    }
    Ok(by_id(catalog, liveness, text))
}

/// Finds what `text` means as [`find_item`] does, if it is certainly an image, a container or a volume, so that nobody need be
/// asked who needs what of the driver's home. `None` if it may be anything else, or nothing.
///
/// # Errors
/// [`StoreError::Io`]
pub fn find_record(root: &DataRoot, catalog: &Catalog, text: &str) -> Result<Option<StoreItem>, StoreError> {
    let path = Path::new(text);
    if path.exists() || (text.contains('/') && is_below(root, path)?) || is_in_home(root, text)? {
        return Ok(None);
    }
    Ok(by_record(catalog, text))
}

/// Whether a path that does not exist would be below the data-root.
fn is_below(root: &DataRoot, path: &Path) -> Result<bool, StoreError> {
    let absolute = std::path::absolute(path).map_err(StoreError::io(path, "looking up"))?;
    // The directories that exist may have other names by links.
    let real = absolute.ancestors().find_map(|above| std::fs::canonicalize(above).ok()).unwrap_or_default();
    let tops = [Some(&root.dir), root.home.as_ref()];
    Ok(tops.into_iter().flatten().any(|top| {
        let real_top = std::fs::canonicalize(top.path()).unwrap_or_else(|_| top.path().to_path_buf());
        absolute.starts_with(top.path()) || real.starts_with(real_top)
    }))
}

/// Whether the driver's home has an entry or a link of this name.
fn is_in_home(root: &DataRoot, name: &str) -> Result<bool, StoreError> {
    let Some(home) = root.home.as_ref().filter(|_| !name.is_empty() && !name.contains('/')) else { return Ok(false) };
    if home.stat(name)?.is_some() {
        return Ok(true);
    }
    let links = root.home_layout().and_then(|layout| layout.links).map_or(Ok(None), |links| home.sub(links))?;
    Ok(links.map_or(Ok(None), |links| links.stat(name))?.is_some())
}

fn by_path(
    root: &DataRoot,
    catalog: &Catalog,
    liveness: &Liveness,
    path: &Path,
) -> Result<Option<StoreItem>, StoreError> {
    let absolute = std::path::absolute(path).map_err(StoreError::io(path, "looking up"))?;
    let real_root = |dir: &Path| std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    // A link is asked about as itself: only the directory it is in is resolved. What does not exist may be asked about, too.
    let parent = absolute.parent().map(&real_root).unwrap_or_default();
    let real = parent.join(absolute.file_name().unwrap_or_default());
    if let Some(home) = &root.home {
        let (plain, home) = (home.path().to_path_buf(), real_root(home.path()));
        let below = [&absolute, &real].into_iter().find_map(|path| {
            path.strip_prefix(&plain).or_else(|_| path.strip_prefix(&home)).ok().map(Path::to_path_buf)
        });
        if let Some(below) = below
            && let Some(found) = in_home(root.home_layout(), liveness, &below)
        {
            return Ok(Some(found));
        }
    }
    let (plain, root_path) = (root.dir.path(), real_root(root.dir.path()));
    let below = [&absolute, &real]
        .into_iter()
        .find_map(|path| path.strip_prefix(plain).or_else(|_| path.strip_prefix(&root_path)).ok());
    let beside = || below.and_then(|below| beside_home(&root.driver_name, liveness, below));
    Ok(beside().or_else(|| below.map(|below| in_root(root, catalog, below))))
}

fn text_of(part: std::path::Component<'_>) -> String {
    part.as_os_str().to_string_lossy().into_owned()
}

fn in_home(layout: Option<HomeLayout>, liveness: &Liveness, below: &Path) -> Option<StoreItem> {
    let mut parts = below.components();
    let name = text_of(parts.next()?);
    let links = layout.and_then(|layout| layout.links).is_some_and(|links| name == links);
    if !links || parts.as_path().as_os_str().is_empty() {
        let known = liveness.entry(&name).is_some();
        return known.then(|| StoreItem::Entry { name, below: parts.as_path().to_path_buf() });
    }
    let id = text_of(parts.next()?);
    let entry = liveness.links().get(&id)?.as_deref().map(str::to_owned);
    // `l/<id>/x` is in the layer.
    match entry {
        Some(name) if parts.clone().next().is_some() => {
            let content: PathBuf = layout.iter().flat_map(|layout| layout.content).collect();
            Some(StoreItem::Entry { name, below: content.join(parts.as_path()) })
        }
        entry => Some(StoreItem::Link { id, entry }),
    }
}

/// What a driver keeps of a layer beside its home, under the same name: where it is mounted, what it stands on.
fn beside_home(driver: &str, liveness: &Liveness, below: &Path) -> Option<StoreItem> {
    let home = HomeLayout::home_path(driver);
    let [top, _, ..] = home.as_slice() else { return None };
    let mut parts = below.components();
    let (first, _, name) = (text_of(parts.next()?), parts.next()?, text_of(parts.next()?));
    let known = first == *top && liveness.entry(&name).is_some_and(|entry| entry.kind == EntryKind::Layer);
    known.then(|| StoreItem::Entry { name, below: PathBuf::new() })
}

fn in_root(root: &DataRoot, catalog: &Catalog, below: &Path) -> StoreItem {
    let names: Vec<&[u8]> = below.iter().map(OsStrExt::as_bytes).collect();
    let text = |name: &[u8]| std::str::from_utf8(name).ok().map(str::to_owned);
    let digest = |name: &[u8]| layerfs::Digest::from_hex(&text(name)?).ok();
    let container = |name: &[u8]| {
        let name = text(name)?;
        let known = catalog.container_of_mount(&name).map(|known| known.id.clone());
        known.or_else(|| name.parse().ok()).map(StoreItem::Container)
    };
    let found = match paths::whose(&names) {
        RootPath::Images { of: ImagesPath::LayerRecord(name), .. } => {
            digest(name).map(|id| StoreItem::Layer(ChainId(id)))
        }
        RootPath::Images { of: ImagesPath::Image(name), .. } => digest(name).map(|id| StoreItem::Image(ImageId(id))),
        RootPath::Images { of: ImagesPath::Mount(name), .. } => container(name),
        RootPath::Container { id, .. } => container(id),
        RootPath::Volume { name, .. } => {
            text(name).and_then(|name| volume_named(catalog, &name)).map(StoreItem::Volume)
        }
        _ if root.is_containerd_only() => match names.as_slice() {
            [b"rootfs", _, id, ..] => container(id),
            names => StoredItem::of_path(names).map(StoreItem::Stored),
        },
        _ => None,
    };
    found.unwrap_or_else(|| {
        let first = below.iter().next();
        let own = HomeLayout::home_path(&root.driver_name);
        let homes = own.iter().take(1).copied().chain(FOUND_BY_HOME).chain(WRITABLE);
        let is_home = |first: &OsStr| homes.into_iter().any(|home| first == home);
        let whose = PARTS.iter().find(|(name, _)| first == Some(OsStr::new(name))).map(|(_, whose)| *whose);
        let whose = match first {
            None => "the data-root itself",
            Some(first) => whose.unwrap_or_else(|| {
                if is_home(first) { "the storage driver's" } else { "nothing that Docker keeps here" }
            }),
        };
        StoreItem::Other { below: below.to_path_buf(), whose }
    })
}

fn volume_named(catalog: &Catalog, name: &str) -> Option<VolumeName> {
    catalog.volumes.iter().find(|volume| volume.name == name).map(|volume| volume.name.clone())
}

/// The container, image or volume of this name or id.
fn by_record(catalog: &Catalog, text: &str) -> Option<StoreItem> {
    if let Some(container) = catalog.containers.iter().find(|container| container.name == text || container.id == text)
    {
        return Some(StoreItem::Container(container.id.clone()));
    }
    match catalog.resolve(text) {
        crate::catalog::Resolved::Image(id) | crate::catalog::Resolved::Damaged(id) => {
            return Some(StoreItem::Image(id));
        }
        crate::catalog::Resolved::Nothing => {}
    }
    volume_named(catalog, text).map(StoreItem::Volume)
}

/// What a name or an id means; the id may be whole or its beginning. A beginning that several ids share means nothing.
fn by_id(catalog: &Catalog, liveness: &Liveness, text: &str) -> Option<StoreItem> {
    if let Some(entry) = liveness.links().get(text) {
        return Some(StoreItem::Link { id: text.to_owned(), entry: entry.as_deref().map(str::to_owned) });
    }
    if liveness.entry(text).is_some() {
        return Some(StoreItem::Entry { name: text.to_owned(), below: PathBuf::new() });
    }
    if let Some(found) = by_record(catalog, text) {
        return Some(found);
    }
    if let Some(stored) = StoredItem::of_id(catalog, text) {
        return Some(StoreItem::Stored(stored));
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.is_empty() {
        return None;
    }
    let layers = catalog.layers.keys().filter(|id| id.0.hex().starts_with(hex)).map(|id| StoreItem::Layer(*id));
    let entries =
        liveness.entries().map(|(name, _)| name).filter(|name| name.starts_with(hex) && !name.ends_with("-init"));
    let entries = entries.map(|name| StoreItem::Entry { name: name.to_owned(), below: PathBuf::new() });
    let containers = catalog.containers.iter().filter(|container| container.id.as_str().starts_with(hex));
    let containers = containers.map(|container| StoreItem::Container(container.id.clone()));
    // Docker finds sound images alone by the beginning of an id; who asks what a damaged image is has no other name for it.
    let damaged =
        catalog.damaged_images.keys().filter(|id| id.0.hex().starts_with(hex)).map(|id| StoreItem::Image(*id));
    let mut all = layers.chain(entries).chain(containers).chain(damaged);
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}
