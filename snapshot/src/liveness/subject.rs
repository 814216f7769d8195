//! What a path, an id or a link stands for: the question that `layerfs system owner` answers.

use std::path::{Path, PathBuf};

use layerfs::ChainId;

use super::{Ownership, layers_home};
use crate::catalog::{Catalog, Image};
use crate::driver::Form;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::root::DataRoot;

/// A thing of a data-root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An entry of the driver's home, and the path below it that was asked for.
    Entry {
        /// Its name.
        name: String,
        /// What of it, relative to it; empty for all.
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
    Container(String),
    /// A local volume.
    Volume(String),
    /// Something else of the data-root: its place in it, and whose it is.
    Other {
        /// The path below the root.
        below: PathBuf,
        /// Whose.
        whose: &'static str,
    },
}

/// Directories of a data-root, and whose they are.
const PARTS: [(&str, &str); 15] = [
    ("buildkit", "BuildKit's: databases and content of the build cache"),
    ("image", "the image store's: records of images and layers"),
    ("containers", "of containers: configs and logs"),
    ("volumes", "of local volumes"),
    ("network", "of networks"),
    ("plugins", "of plugins"),
    ("swarm", "swarm mode's"),
    ("tmp", "temporary files of the daemon, which empties it at each start"),
    ("tmp-old", "temporary files that the daemon was about to remove"),
    ("runtimes", "wrappers of runtimes"),
    ("trust", "keys of content trust"),
    ("containerd", "containerd's"),
    ("builder", "the builder's of Docker before 18.09"),
    ("engine-id", "the daemon's identity"),
    ("overlay2", "the storage driver's"),
];

/// Finds what `text` means, as a path first if it looks like one, else as an id, whole or its beginning.
///
/// # Errors
/// [`StoreError::Io`]
pub fn find(
    root: &DataRoot,
    catalog: &Catalog,
    ownership: &Ownership,
    text: &str,
) -> Result<Option<Subject>, StoreError> {
    let path = Path::new(text);
    if (text.contains('/') || path.exists())
        && let Some(subject) = by_path(root, catalog, ownership, path)?
    {
        return Ok(Some(subject));
    }
    Ok(by_id(catalog, ownership, text))
}

fn by_path(
    root: &DataRoot,
    catalog: &Catalog,
    ownership: &Ownership,
    path: &Path,
) -> Result<Option<Subject>, StoreError> {
    let absolute = std::path::absolute(path).map_err(StoreError::io(path, "looking up"))?;
    let real_root = |dir: &Path| std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    // A link is asked about as itself: only the directory it is in is resolved. What does not exist may be asked about, too.
    let parent = absolute.parent().map(&real_root).unwrap_or_default();
    let real = parent.join(absolute.file_name().unwrap_or_default());
    if let Some(home) = layers_home(root)? {
        let (plain, home) = (home.path().to_path_buf(), real_root(home.path()));
        let below = [&absolute, &real].into_iter().find_map(|path| {
            path.strip_prefix(&plain).or_else(|_| path.strip_prefix(&home)).ok().map(Path::to_path_buf)
        });
        if let Some(below) = below
            && let Some(found) = in_home(root.form(), ownership, &below)
        {
            return Ok(Some(found));
        }
    }
    let (plain, root_path) = (root.dir.path(), real_root(root.dir.path()));
    let below = [&absolute, &real]
        .into_iter()
        .find_map(|path| path.strip_prefix(plain).or_else(|_| path.strip_prefix(&root_path)).ok());
    Ok(below.and_then(|below| in_root(catalog, below)))
}

fn text_of(part: std::path::Component<'_>) -> String {
    part.as_os_str().to_string_lossy().into_owned()
}

fn in_home(form: Option<Form>, ownership: &Ownership, below: &Path) -> Option<Subject> {
    let mut parts = below.components();
    let name = text_of(parts.next()?);
    let links = form.and_then(|form| form.links).is_some_and(|links| name == links);
    if !links || parts.as_path().as_os_str().is_empty() {
        let known = ownership.entries.contains_key(&name);
        return known.then(|| Subject::Entry { name, below: parts.as_path().to_path_buf() });
    }
    let id = text_of(parts.next()?);
    let entry = ownership.links.get(&id)?.clone();
    // `l/<id>/x` is in the layer.
    match entry {
        Some(name) if parts.clone().next().is_some() => {
            let content: PathBuf = form.iter().flat_map(|form| form.content).collect();
            Some(Subject::Entry { name, below: content.join(parts.as_path()) })
        }
        entry => Some(Subject::Link { id, entry }),
    }
}

fn in_root(catalog: &Catalog, below: &Path) -> Option<Subject> {
    let parts: Vec<String> = below.components().map(text_of).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let digest = |hex: &str| layerfs::Digest::from_hex(hex).ok();
    let found = match parts.as_slice() {
        ["image", _, "layerdb", "sha256", chain, ..] => digest(chain).map(|id| Subject::Layer(ChainId(id))),
        ["image", _, "layerdb", "mounts", container, ..] | ["containers", container, ..] => {
            Some(Subject::Container((*container).to_owned()))
        }
        ["image", _, "imagedb", "content" | "metadata", "sha256", image, ..] => {
            digest(image).map(|id| Subject::Image(ImageId(id)))
        }
        ["volumes", volume, ..] if catalog.volumes.iter().any(|known| known.name == *volume) => {
            Some(Subject::Volume((*volume).to_owned()))
        }
        [] => return Some(Subject::Other { below: below.to_path_buf(), whose: "the data-root itself" }),
        _ => None,
    };
    let whose = || PARTS.iter().find(|(name, _)| name == parts.first().unwrap_or(&"")).map(|(_, whose)| *whose);
    found.or_else(|| {
        let whose = whose().unwrap_or("nothing that Docker keeps here");
        Some(Subject::Other { below: below.to_path_buf(), whose })
    })
}

/// Ids, whole or their beginning; one that several things begin with is none.
fn by_id(catalog: &Catalog, ownership: &Ownership, text: &str) -> Option<Subject> {
    if let Some(entry) = ownership.links.get(text) {
        return Some(Subject::Link { id: text.to_owned(), entry: entry.clone() });
    }
    if ownership.entries.contains_key(text) {
        return Some(Subject::Entry { name: text.to_owned(), below: PathBuf::new() });
    }
    if let Some(container) = catalog.containers.iter().find(|container| container.name == text || container.id == text)
    {
        return Some(Subject::Container(container.id.clone()));
    }
    match catalog.resolve(text) {
        crate::catalog::Resolved::Image(id) | crate::catalog::Resolved::Damaged(id) => return Some(Subject::Image(id)),
        crate::catalog::Resolved::Nothing => {}
    }
    if catalog.volumes.iter().any(|volume| volume.name == text) {
        return Some(Subject::Volume(text.to_owned()));
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.is_empty() {
        return None;
    }
    let layers = catalog.layers.keys().filter(|id| id.0.hex().starts_with(hex)).map(|id| Subject::Layer(*id));
    let entries = ownership.entries.keys().filter(|name| name.starts_with(hex) && !name.ends_with("-init"));
    let entries = entries.map(|name| Subject::Entry { name: name.clone(), below: PathBuf::new() });
    let containers = catalog.containers.iter().filter(|container| container.id.starts_with(hex));
    let containers = containers.map(|container| Subject::Container(container.id.clone()));
    let mut all = layers.chain(entries).chain(containers);
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// A layer in one image.
#[derive(Debug, Clone, Copy)]
pub struct Use<'c> {
    /// The image.
    pub image: &'c Image,
    /// The layer's place in it, 0 for the base.
    pub place: usize,
}

impl Use<'_> {
    /// The step that made the layer, where the history tells: its entries that made layers are in the layers' order.
    #[must_use]
    pub fn step(&self) -> Option<&crate::catalog::History> {
        self.image.history().iter().filter(|step| !step.empty_layer).nth(self.place)
    }
}

/// The images that have a layer.
pub fn uses(catalog: &Catalog, chain: ChainId) -> impl Iterator<Item = Use<'_>> {
    catalog.images.values().filter_map(move |image| {
        let place = image.chain.iter().position(|layer| *layer == chain)?;
        Some(Use { image, place })
    })
}
