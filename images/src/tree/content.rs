//! Where the layers of an image are: their headers, and the bytes of their files.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use layerfs::{ChainId, DiffId, LayerFiles};
use rustix::fd::OwnedFd;
use snapshot::StoreError;
use snapshot::catalog::{Catalog, Image};
use snapshot::containerd::images::StoredImage;
use snapshot::driver::{Driver, LayerOrder};
use snapshot::ids::CacheId;
use snapshot::root::DataRoot;
use snapshot::schema::layer::{LayerRecord, LayerStore};
use tarsplit::journal::EntryReader;
use tarsplit::{Entry, JournalError};

use super::directory::Holds;
use super::members::MemberReader;
use super::node::{Body, NodeId, NodeKind};
use super::wanted::WantedPaths;
use super::{Tree, TreeError, blob};
use crate::source::{Archive, ArchiveError, Blob, ImageSource, LayerBytes, LayerRef};

/// Bytes of a layer's file, which is read once.
pub(crate) type FileBytes<'l> = Box<dyn Read + 'l>;

/// The layers of one image, base first.
pub trait Layers: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in a layer.
    ///
    /// # Errors
    /// [`TreeError`]
    fn tree(&self, layer: usize) -> Result<Tree, TreeError>;

    /// What is in a layer, at least as far as it concerns the paths that are wanted. The rest is not read if that can
    /// be told without it. If `stop` becomes true, the result is of no use.
    ///
    /// # Errors
    /// [`TreeError`]
    fn part(&self, layer: usize, _wanted: &WantedPaths, _stop: &AtomicBool) -> Result<Tree, TreeError> {
        self.tree(layer)
    }

    /// Says how long it takes to read a layer, in comparison to others.
    fn weight(&self, _layer: usize) -> usize {
        0
    }

    /// The bytes of the regular file `path` of a layer, without a slash in front.
    ///
    /// # Errors
    /// [`TreeError`]
    fn open(&self, layer: usize, path: &[u8], size: u64, body: &Body) -> Result<FileBytes<'_>, TreeError>;
}

impl Tree {
    /// The bytes of a regular file, by a path that means it.
    ///
    /// # Errors
    /// [`TreeError`]
    pub fn open<'l>(&self, layers: &'l dyn Layers, path: &[u8], id: NodeId) -> Result<FileBytes<'l>, TreeError> {
        match &self.node(id).kind {
            NodeKind::File { size: 0, .. } => Ok(Box::new(io::empty())),
            NodeKind::File { size, body } => layers.open(self.node(id).layer, path, *size, body),
            _ => Err(TreeError::File { path: path.to_vec(), source: io::Error::other("not a regular file") }),
        }
    }
}

/// The layers of an image in a store.
#[derive(Debug)]
pub struct LayersOfStore<'r> {
    root: &'r DataRoot,
    store: Option<LayerStore>,
    layers: Vec<StoredLayer>,
}

#[derive(Debug)]
struct StoredLayer {
    diff_id: DiffId,
    place: Place,
}

/// Where a layer is.
#[derive(Debug)]
enum Place {
    /// In a directory of the storage driver, or in a snapshot of containerd's, which has no journal.
    Directory { chain: ChainId, cache_id: CacheId, files: OpenedFiles },
    /// In containerd's store as it was pulled; it was never unpacked.
    Blob(Blob),
}

/// The directory of a layer's files, opened when the first one is wanted.
pub(super) type OpenedFiles = OnceLock<LayerFiles>;

/// Opens a file below the directory of a layer, which `open` opens for the first file. Returns the file's length as
/// well.
pub(super) fn open_in(
    files: &OpenedFiles,
    path: &[u8],
    open: impl FnOnce() -> Result<OwnedFd, TreeError>,
) -> Result<(File, u64), TreeError> {
    let files = match files.get() {
        Some(files) => files,
        None => {
            let opened = LayerFiles::new(open()?);
            files.get_or_init(|| opened)
        }
    };
    files.open_sized(path).map_err(|source| TreeError::File { path: path.to_vec(), source })
}

impl StoredLayer {
    fn new(record: &LayerRecord) -> Self {
        let (cache_id, files) = (record.cache_id.clone(), OnceLock::new());
        Self { diff_id: record.diff_id, place: Place::Directory { chain: record.chain_id, cache_id, files } }
    }

    /// The layer in the place `at` of an image that containerd has not unpacked.
    fn packed(catalog: &Catalog, image: &Image, at: usize) -> Result<Self, TreeError> {
        let diff_id = image.diff_ids[at];
        let missing = || TreeError::Missing { diff_id, what: "its blob, and it was not unpacked" };
        let part = catalog.stored_image(image.id).and_then(StoredImage::shown);
        let descriptor = part.and_then(|part| part.manifest.as_ref()?.layers.get(at)).ok_or_else(missing)?;
        let known = catalog.in_containerd().zip(descriptor.blob());
        let known = known.filter(|(known, digest)| known.store.metadata.blobs.contains_key(digest));
        let (known, digest) = known.ok_or_else(missing)?;
        let file = known.store.content.open(digest)?.ok_or_else(missing)?;
        let blob = Blob::map(file).map_err(|source| TreeError::Read { layer: digest.to_string(), source })?;
        Ok(Self { diff_id, place: Place::Blob(blob) })
    }
}

impl<'r> LayersOfStore<'r> {
    /// The layers of `image`.
    ///
    /// # Errors
    /// [`TreeError::Store`]
    pub fn new(root: &'r DataRoot, catalog: &Catalog, image: &Image) -> Result<Self, TreeError> {
        let layer = |(at, &chain)| match catalog.layer(chain) {
            Some(record) => Ok(StoredLayer::new(record)),
            None => StoredLayer::packed(catalog, image, at),
        };
        let layers = image.chain.iter().enumerate().map(layer).collect::<Result<_, _>>()?;
        Ok(Self { root, store: root.layers()?, layers })
    }
}

impl Layers for LayersOfStore<'_> {
    fn len(&self) -> usize {
        self.layers.len()
    }

    fn tree(&self, layer: usize) -> Result<Tree, TreeError> {
        let StoredLayer { diff_id, place } = &self.layers[layer];
        let (chain, cache_id) = match place {
            Place::Directory { chain, cache_id, .. } => (chain, cache_id),
            Place::Blob(packed) => return blob::tree(packed, &diff_id.to_string(), layer),
        };
        let Some(store) = &self.store else {
            return super::read_directory(&directory(self.root, *diff_id, cache_id)?, layer);
        };
        let missing = || TreeError::Missing { diff_id: *diff_id, what: "the journal of its tar (tar-split.json.gz)" };
        let journal = store.journal(*chain)?.ok_or_else(missing)?;
        let mut tree = Tree::empty();
        let mut members = MemberReader::new(diff_id.to_string(), layer);
        let failed = |source: JournalError| TreeError::Journal { diff_id: *diff_id, source };
        for entry in EntryReader::new(BufReader::new(journal)) {
            match entry.map_err(failed)? {
                Entry::Segment(bytes) => members.take(&bytes, &mut tree)?,
                // The bytes of a file are on the disk, and not in the journal.
                Entry::File { size, .. } => members.pass_over(size.unsigned_abs())?,
                Entry::Unknown => {}
            }
        }
        Ok(tree)
    }

    /// Looks the paths up in the layer's directory, if it has one of its own that is owned as its tar says. If that is
    /// not possible, reads the journal.
    fn part(&self, layer: usize, wanted: &WantedPaths, stop: &AtomicBool) -> Result<Tree, TreeError> {
        let StoredLayer { diff_id, place } = &self.layers[layer];
        let cache_id = match place {
            Place::Directory { cache_id, .. } => cache_id,
            Place::Blob(packed) => return blob::part(packed, &diff_id.to_string(), layer, wanted, stop),
        };
        let is_its_own = self.root.driver().is_some_and(|driver| driver.order() == LayerOrder::Independent);
        if !is_its_own || !rustix::process::geteuid().is_root() {
            return self.tree(layer);
        }
        let Ok(Some(dir)) = self.root.content(cache_id) else { return self.tree(layer) };
        let dir = OwnedFd::from(dir);
        // Where ids are mapped, the owner of a file on the disk is another one than in the tar.
        if !rustix::fs::fstat(&dir).is_ok_and(|stat| stat.st_uid == 0) {
            return self.tree(layer);
        }
        super::directory::read_part(&dir, layer, wanted, Holds::Layer).or_else(|_| self.tree(layer))
    }

    fn open(&self, layer: usize, path: &[u8], size: u64, body: &Body) -> Result<FileBytes<'_>, TreeError> {
        let StoredLayer { diff_id, place } = &self.layers[layer];
        let (cache_id, files) = match place {
            Place::Directory { cache_id, files, .. } => (cache_id, files),
            Place::Blob(packed) => return blob::open(packed.clone(), path, size, body),
        };
        let failed = |source| TreeError::File { path: path.to_vec(), source };
        let (file, found) = open_in(files, path, || directory(self.root, *diff_id, cache_id))?;
        if found != size {
            return Err(failed(io::Error::other(format!("{found} bytes on disk, {size} in the journal"))));
        }
        Ok(Box::new(file))
    }
}

/// The directory of a layer's files.
fn directory(root: &DataRoot, diff_id: DiffId, cache_id: &CacheId) -> Result<OwnedFd, TreeError> {
    let missing = || TreeError::Missing { diff_id, what: "the directory of its files" };
    Ok(root.content(cache_id)?.ok_or_else(missing)?.into())
}

/// The layers of a container: those of its image, its init files, and what it has written.
#[derive(Debug)]
pub struct LayersOfContainer<'r> {
    below: LayersOfStore<'r>,
    /// Directories of the container itself, which have no journal.
    own: Vec<(CacheId, OpenedFiles)>,
    /// Whether each of them holds everything that is to be seen, and not only what is new.
    whole: bool,
}

impl<'r> LayersOfContainer<'r> {
    /// The layers of a container: the chain that ends with `top`, and on it the directories `own`, the lowest first.
    ///
    /// # Errors
    /// [`TreeError::Store`]
    pub fn new(
        root: &'r DataRoot,
        catalog: &Catalog,
        top: Option<ChainId>,
        own: Vec<CacheId>,
    ) -> Result<Self, TreeError> {
        let records = top.into_iter().flat_map(|top| catalog.chain(top));
        let mut layers: Vec<_> = records.map(StoredLayer::new).collect();
        layers.reverse();
        let own = own.into_iter().map(|id| (id, OnceLock::new())).collect();
        let whole = root.driver().is_some_and(|driver| driver.order() == LayerOrder::ParentFirst);
        Ok(Self { below: LayersOfStore { root, store: root.layers()?, layers }, own, whole })
    }

    /// Whether the directory of a container holds everything that it sees, as with vfs, and not only what it has written.
    #[must_use]
    pub fn are_whole(&self) -> bool {
        self.whole
    }

    fn directory(&self, layer: usize) -> Result<OwnedFd, TreeError> {
        let id = &self.own[layer - self.below.len()].0;
        let missing = || StoreError::Invalid {
            path: self.below.root.home().map_or_else(|| id.as_str().into(), |home| home.join(id.as_str())),
            reason: "the directory of a container's layer is missing".into(),
        };
        Ok(self.below.root.content(id)?.ok_or_else(missing)?.into())
    }
}

impl Layers for LayersOfContainer<'_> {
    fn len(&self) -> usize {
        self.below.len() + self.own.len()
    }

    fn tree(&self, layer: usize) -> Result<Tree, TreeError> {
        if layer < self.below.len() {
            // What the init files stand on need not be read where their directory holds all of it.
            let hidden = self.whole && self.own.len() > 1;
            return if hidden { Ok(Tree::empty()) } else { self.below.tree(layer) };
        }
        let mut tree = super::read_directory(&self.directory(layer)?, layer)?;
        tree.set_opaque(Tree::ROOT, self.whole);
        Ok(tree)
    }

    fn open(&self, layer: usize, path: &[u8], size: u64, body: &Body) -> Result<FileBytes<'_>, TreeError> {
        if layer < self.below.len() {
            return self.below.open(layer, path, size, body);
        }
        let files = &self.own[layer - self.below.len()].1;
        let (file, _) = open_in(files, path, || self.directory(layer))?;
        Ok(Box::new(file))
    }
}

/// The layers of an image in an archive or a layout that can be read by offset.
#[derive(Debug)]
pub struct LayersOfArchive<'a> {
    archive: &'a Archive,
    layers: Vec<LayerRef>,
}

impl<'a> LayersOfArchive<'a> {
    /// The layers `layers`, which are in `archive`.
    #[must_use]
    pub fn new(archive: &'a Archive, layers: Vec<LayerRef>) -> Self {
        Self { archive, layers }
    }

    fn blob(&self, layer: usize) -> Result<Blob, TreeError> {
        let layer = &self.layers[layer];
        match self.archive.layer(layer)? {
            LayerBytes::File(blob) => Ok(blob),
            _ => Err(ArchiveError::NotALayer { file: layer.name.clone() }.into()),
        }
    }
}

impl Layers for LayersOfArchive<'_> {
    fn len(&self) -> usize {
        self.layers.len()
    }

    fn tree(&self, layer: usize) -> Result<Tree, TreeError> {
        blob::tree(&self.blob(layer)?, &self.layers[layer].name, layer)
    }

    fn part(&self, layer: usize, wanted: &WantedPaths, stop: &AtomicBool) -> Result<Tree, TreeError> {
        blob::part(&self.blob(layer)?, &self.layers[layer].name, layer, wanted, stop)
    }

    fn weight(&self, layer: usize) -> usize {
        self.blob(layer).map_or(0, |blob| blob.len())
    }

    fn open(&self, layer: usize, path: &[u8], size: u64, body: &Body) -> Result<FileBytes<'_>, TreeError> {
        blob::open(self.blob(layer)?, path, size, body)
    }
}
