//! What the layers of an archive hold: sizes and paths, nothing unpacked and no store needed.
//!
//! Layers are read once each, as many at a time as there are threads. An archive that cannot be read by offset, a pipe or a
//! compressed one, is first copied to a file without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use layerfs::compress::{Compression, Decompressor};
use layerfs::path::LayerPath;
use layerfs::{ChainId, DiffId, Digest};
use snapshot::dir::Dir;
use snapshot::reference::Reference;
use snapshot::usage::files::LayerEntry;
use tarsplit::frame::{Frame, Framer};
use tarsplit::{Member, MemberKind, TarError};

use crate::load::{ImportError, checked_config, keep};
use crate::source::{Archive, ArchiveError, ImageSource, LayerBytes, LayerRef, Opened, Select, SourceContents, steps};

/// What an archive holds.
#[derive(Debug)]
pub struct Measured {
    /// What the archive says, its images included.
    pub contents: SourceContents,
    /// The images, in the archive's order.
    pub images: Vec<MeasuredImage>,
    /// Each layer once, in the order in which images have them.
    pub layers: Vec<MeasuredLayer>,
}

/// An image of an archive.
#[derive(Debug)]
pub struct MeasuredImage {
    /// Its id.
    pub id: Digest,
    /// Its names.
    pub names: Vec<Reference>,
    /// Its layers, base first.
    pub layers: Vec<ChainId>,
}

/// A layer of an archive.
#[derive(Debug)]
pub struct MeasuredLayer {
    /// Its id in a store.
    pub chain_id: ChainId,
    /// The digest of its tar, as the config has it.
    pub diff_id: DiffId,
    /// The name of its file in the archive.
    pub name: String,
    /// The step that made it, where the history says.
    pub step: Option<String>,
    /// How many images have it.
    pub images: usize,
    /// What it holds, or why that cannot be told.
    pub sizes: Result<LayerSizes, LayerUnread>,
}

/// What a layer holds.
#[derive(Debug)]
pub struct LayerSizes {
    /// Bytes in the archive.
    pub stored: u64,
    /// How these are compressed.
    pub compression: Compression,
    /// Bytes of its tar.
    pub tar: u64,
    /// The lengths of its files, added up. A file with hard links counts once.
    pub content: u64,
    /// How many members are neither directories nor global headers.
    pub files: u64,
    /// Each file and each deletion, if they were wanted, in the order of paths. A path that the tar has twice is here once.
    pub entries: Vec<LayerEntry>,
}

/// Why the sizes of a layer cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("layer {name}")]
pub struct LayerUnread {
    /// The name of its file.
    pub name: String,
    /// The cause.
    #[source]
    pub cause: UnreadCause,
}

/// Why a layer could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadCause {
    /// It is not in the archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It cannot be read or decoded.
    #[error("reading it")]
    Io(#[from] std::io::Error),
    /// It is no tar.
    #[error(transparent)]
    Tar(#[from] TarError),
}

/// Measures the images of an archive. `with_paths` keeps the path of each file in memory.
///
/// # Errors
/// [`ImportError`] about the archive or its documents. A layer that cannot be read is no error of the whole.
pub fn measure(opened: Opened, path: &Path, select: &Select, with_paths: bool) -> Result<Measured, ImportError> {
    let archive = by_offset(opened, path)?;
    let mut contents = archive.images(select)?;
    let mut layers: Vec<MeasuredLayer> = Vec::new();
    let mut sources: Vec<LayerRef> = Vec::new();
    let mut places: HashMap<ChainId, usize> = HashMap::new();
    let mut images = Vec::new();
    if let Some(wanted) = &select.image {
        contents.images = vec![contents.one(Some(wanted))?.clone()];
    }
    for image in &contents.images {
        let config = checked_config(image)?;
        let chain = ChainId::chain(&config.diff_ids);
        let mut steps = steps(&image.config, image.layers.len());
        for (place, chain_id) in chain.iter().enumerate() {
            let at = *places.entry(*chain_id).or_insert_with(|| {
                let source = image.layers[place].clone();
                let name = source.name.clone();
                let unread =
                    LayerUnread { name: name.clone(), cause: UnreadCause::Io(std::io::ErrorKind::Interrupted.into()) };
                let (diff_id, step) = (config.diff_ids[place], steps[place].take());
                layers.push(MeasuredLayer { chain_id: *chain_id, diff_id, name, step, images: 0, sizes: Err(unread) });
                sources.push(source);
                layers.len() - 1
            });
            layers[at].images += 1;
        }
        images.push(MeasuredImage { id: image.id, names: image.tags.clone(), layers: chain });
    }
    for (layer, sizes) in layers.iter_mut().zip(read_all(&archive, &sources, with_paths)) {
        layer.sizes = sizes;
    }
    Ok(Measured { contents, images, layers })
}

/// Makes an archive readable by offset.
fn by_offset(opened: Opened, path: &Path) -> Result<Archive, ImportError> {
    let not_one = || ArchiveError::NotAnImageArchive { path: path.to_path_buf() };
    match opened {
        Opened::Archive(archive) => Ok(archive),
        Opened::LayerTar(_) => Err(not_one().into()),
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            let kept = keep(decoded(file, path)?, &Dir::open(&std::env::temp_dir())?)?;
            match Archive::from_file(kept, path)? {
                Opened::Archive(archive) => Ok(archive),
                _ => Err(not_one().into()),
            }
        }
    }
}

fn decoded(file: File, path: &Path) -> Result<impl BufRead, ArchiveError> {
    let decoder = Decompressor::new(BufReader::with_capacity(BUFFER, file));
    let read = |source| ArchiveError::Read { file: path.display().to_string(), source };
    Ok(BufReader::with_capacity(BUFFER, decoder.map_err(read)?))
}

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// Reads the layers, several at a time.
fn read_all(archive: &Archive, sources: &[LayerRef], with_paths: bool) -> Vec<Result<LayerSizes, LayerUnread>> {
    let threads = layerfs::pool::processors().get();
    let read = layerfs::pool::map(sources.len(), threads, |at| {
        let source = &sources[at];
        let sizes = read_layer(archive, source, with_paths);
        Some(sizes.map_err(|cause| LayerUnread { name: source.name.clone(), cause }))
    });
    read.into_iter().flatten().collect()
}

fn read_layer(archive: &Archive, source: &LayerRef, with_paths: bool) -> Result<LayerSizes, UnreadCause> {
    let LayerBytes::File(blob) = archive.layer(source)? else {
        unreachable!("an archive that is read by offset has its layers in files")
    };
    let mut decoder = Decompressor::new(BufReader::with_capacity(BUFFER, blob.reader()))?;
    let mut sizes = LayerSizes {
        stored: blob.len() as u64,
        compression: decoder.compression(),
        tar: 0,
        content: 0,
        files: 0,
        entries: Vec::new(),
    };
    let mut framer = Framer::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = decoder.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sizes.tar += read as u64;
        let mut piece = &buffer[..read];
        loop {
            let (taken, frame) = framer.next(piece)?;
            match frame {
                None => break,
                Some(Frame::Member(member)) => sizes.add(&member, with_paths),
                Some(Frame::Raw(_) | Frame::Body(_) | Frame::End) => {}
            }
            piece = &piece[taken..];
        }
    }
    framer.finish()?;
    sizes.arrange();
    Ok(sizes)
}

impl LayerSizes {
    fn add(&mut self, member: &Member, with_paths: bool) {
        let is_file = !matches!(member.kind, MemberKind::Directory | MemberKind::GlobalHeader);
        let size = if is_file { member.size } else { 0 };
        self.content = self.content.saturating_add(size);
        self.files += u64::from(is_file);
        // A name that leads out of the layer is refused when the layer is unpacked; here the member only counts.
        if let Some(path) = LayerPath::parse(&member.name).ok().flatten().filter(|_| is_file && with_paths) {
            self.entries.extend(LayerEntry::of_member(path.as_bytes(), size));
        }
    }

    /// Sorts the entries; of several with the same path the last one is kept.
    fn arrange(&mut self) {
        self.entries.reverse();
        self.entries.sort_by(|a, b| a.path().cmp(b.path()));
        self.entries.dedup_by(|later, first| later.path() == first.path());
    }
}
