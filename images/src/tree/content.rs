//! Where the layers of an image are: their headers, and the bytes of their files.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::compress::{Compression, Decompressor};
use layerfs::{ChainId, DiffId, LayerFiles};
use rustix::fd::OwnedFd;
use snapshot::StoreError;
use snapshot::catalog::{Catalog, Image};
use snapshot::driver::{Driver, LayerOrder};
use snapshot::ids::CacheId;
use snapshot::root::DataRoot;
use snapshot::schema::layer::{LayerRecord, LayerStore};
use tarsplit::journal::EntryReader;
use tarsplit::{Entry, JournalError};

use super::members::MemberReader;
use super::node::{Body, NodeId, NodeKind};
use super::wanted::WantedPaths;
use super::{Tree, TreeError};
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

    /// What is in a layer, at least as far as it concerns the paths that are wanted. Where that can be told without it, the rest is
    /// not read. If somebody says stop, the result is of no use.
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
    chain: ChainId,
    cache_id: CacheId,
    files: OpenedFiles,
}

/// The directory of a layer's files, opened when the first one is wanted.
type OpenedFiles = OnceLock<LayerFiles>;

/// Opens a file below a directory that `open` opens, if it is the first one there. Returns its length as well.
fn open_in(
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
        let (diff_id, chain) = (record.diff_id, record.chain_id);
        Self { diff_id, chain, cache_id: record.cache_id.clone(), files: OnceLock::new() }
    }
}

impl<'r> LayersOfStore<'r> {
    /// The layers of `image`.
    ///
    /// # Errors
    /// [`TreeError::Store`]
    pub fn new(root: &'r DataRoot, catalog: &Catalog, image: &Image) -> Result<Self, TreeError> {
        let record = |&chain| catalog.layer(chain).expect("an image counts only if all its layers do");
        let layers = image.chain.iter().map(record).map(StoredLayer::new).collect();
        Ok(Self { root, store: root.layers()?, layers })
    }
}

impl Layers for LayersOfStore<'_> {
    fn len(&self) -> usize {
        self.layers.len()
    }

    fn tree(&self, layer: usize) -> Result<Tree, TreeError> {
        let StoredLayer { diff_id, chain, .. } = &self.layers[layer];
        let missing = || TreeError::Missing { diff_id: *diff_id, what: "the journal of its tar (tar-split.json.gz)" };
        let journal = self.store.as_ref().map_or(Ok(None), |store| store.journal(*chain))?.ok_or_else(missing)?;
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

    /// Looks the paths up in the layer's directory, where it has one of its own that is owned as its tar says. Its journal is only
    /// read if that fails.
    fn part(&self, layer: usize, wanted: &WantedPaths, _stop: &AtomicBool) -> Result<Tree, TreeError> {
        let is_its_own = self.root.driver().is_some_and(|driver| driver.order() == LayerOrder::Independent);
        if !is_its_own || !rustix::process::geteuid().is_root() {
            return self.tree(layer);
        }
        let Ok(Some(dir)) = self.root.content(&self.layers[layer].cache_id) else { return self.tree(layer) };
        let dir = OwnedFd::from(dir);
        // Where ids are mapped, the owner of a file on the disk is another one than in the tar.
        if !rustix::fs::fstat(&dir).is_ok_and(|stat| stat.st_uid == 0) {
            return self.tree(layer);
        }
        super::directory::read_part(&dir, layer, wanted).or_else(|_| self.tree(layer))
    }

    fn open(&self, layer: usize, path: &[u8], size: u64, _body: &Body) -> Result<FileBytes<'_>, TreeError> {
        let StoredLayer { diff_id, cache_id, files, .. } = &self.layers[layer];
        let missing = || TreeError::Missing { diff_id: *diff_id, what: "the directory of its files" };
        let failed = |source| TreeError::File { path: path.to_vec(), source };
        let (file, found) = open_in(files, path, || Ok(self.root.content(cache_id)?.ok_or_else(missing)?.into()))?;
        if found != size {
            return Err(failed(io::Error::other(format!("{found} bytes on disk, {size} in the journal"))));
        }
        Ok(Box::new(file))
    }
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
    /// These layers, which are in `archive`.
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
        let blob = self.blob(layer)?;
        let name = &self.layers[layer].name;
        let failed = |source| TreeError::Read { layer: name.clone(), source };
        let mut tree = Tree::empty();
        let mut members = MemberReader::new(name.clone(), layer);
        if blob.compression() == Compression::None {
            // From one header to the next: no body is read.
            let mut reader = BufReader::with_capacity(4096, blob.reader());
            members.read(&mut reader, &mut tree, |reader, bytes| {
                let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
                reader.seek_relative(bytes)
            })
        } else {
            let decoder = Decompressor::new(BufReader::with_capacity(128 << 10, blob.reader())).map_err(failed)?;
            let mut reader = BufReader::with_capacity(128 << 10, decoder);
            members.read(&mut reader, &mut tree, |reader, bytes| {
                io::copy(&mut reader.take(bytes), &mut io::sink()).map(drop)
            })
        }?;
        Ok(tree)
    }

    fn part(&self, layer: usize, wanted: &WantedPaths, stop: &AtomicBool) -> Result<Tree, TreeError> {
        let blob = self.blob(layer)?;
        if blob.compression() == Compression::None {
            let members = MemberReader::new(self.layers[layer].name.clone(), layer);
            let part = members.read_part(&blob, wanted, stop)?;
            if let Some(part) = part.or_else(|| stop.load(Ordering::Relaxed).then(Tree::empty)) {
                return Ok(part);
            }
        }
        self.tree(layer)
    }

    fn weight(&self, layer: usize) -> usize {
        self.blob(layer).map_or(0, |blob| blob.len())
    }

    fn open(&self, layer: usize, path: &[u8], size: u64, body: &Body) -> Result<FileBytes<'_>, TreeError> {
        let failed = |source| TreeError::File { path: path.to_vec(), source };
        let blob = self.blob(layer)?;
        let stored: FileBytes<'_> = if blob.compression() == Compression::None {
            let range = || {
                let (start, length) = (usize::try_from(body.offset).ok()?, usize::try_from(body.stored).ok()?);
                blob.slice(start..start.checked_add(length)?)
            };
            let blob = range().ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
            Box::new(OwnedReader { blob, at: 0 })
        } else {
            let source = BufReader::with_capacity(128 << 10, OwnedReader { blob, at: 0 });
            let mut decoder = Decompressor::new(source).map_err(failed)?;
            io::copy(&mut decoder.by_ref().take(body.offset), &mut io::sink()).map_err(failed)?;
            Box::new(decoder.take(body.stored))
        };
        Ok(match &body.sparse {
            None => stored,
            Some(map) => expand(stored, map.runs().iter().map(|run| (run.offset, run.length)), size),
        })
    }
}

/// The bytes of a sparse file: zeros, and what is stored, in turn.
fn expand<'l>(stored: FileBytes<'l>, runs: impl Iterator<Item = (u64, u64)>, size: u64) -> FileBytes<'l> {
    struct Sparse<'l> {
        stored: FileBytes<'l>,
        /// Zeros and bytes that are still to come, the next ones last.
        left: Vec<(bool, u64)>,
    }
    impl Read for Sparse<'_> {
        fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
            while let Some((zeros, left)) = self.left.last_mut() {
                if *left == 0 {
                    self.left.pop();
                    continue;
                }
                let most = output.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let read = if *zeros {
                    output[..most].fill(0);
                    most
                } else {
                    self.stored.read(&mut output[..most])?
                };
                if read == 0 && most > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= read as u64;
                return Ok(read);
            }
            Ok(0)
        }
    }
    let (mut left, mut at) = (Vec::new(), 0);
    for (offset, length) in runs {
        left.push((true, offset.saturating_sub(at)));
        left.push((false, length));
        at = offset.saturating_add(length);
    }
    left.push((true, size.saturating_sub(at)));
    left.reverse();
    Box::new(Sparse { stored, left })
}

/// Reads a blob that it owns.
struct OwnedReader {
    blob: Blob,
    at: u64,
}

impl Read for OwnedReader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let mut reader = self.blob.reader();
        reader.seek(SeekFrom::Start(self.at))?;
        let read = reader.read(output)?;
        self.at += read as u64;
        Ok(read)
    }
}
