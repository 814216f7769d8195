//! An image of an archive as `docker save` makes it, with a manifest as it would have at a registry: its layers packed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use images::source::{Archive, Blob, ImageSource as _, LayerBytes, LayerRef, Opened, Select, SourceImage};
use layerfs::compress::Compression;
use layerfs::{DiffId, Digest, HashingReader};
use snapshot::dir::Dir;

use crate::body::Content;
use crate::error::RegistryError;
use crate::manifest::{Descriptor, ManifestForm};
use crate::push::PACKED;
use crate::resolve::Document;

/// An image of a docker archive.
#[derive(Debug)]
pub struct Packed {
    shown: String,
    document: Document,
    blobs: HashMap<Digest, (u64, Bytes)>,
}

/// Where the bytes of a blob are.
#[derive(Debug)]
enum Bytes {
    Memory(Arc<[u8]>),
    /// A file without a name: a layer that was packed.
    File(File),
    Archive(Blob),
}

impl Packed {
    /// The image `name` of the archive at `path`; without a name, the only one. Its layers are packed as `docker push` packs them, those
    /// that are compressed already are left as they are; `form` is the manifest's.
    ///
    /// # Errors
    /// [`RegistryError::Image`], [`RegistryError::NotOne`], [`RegistryError::Compressed`], [`RegistryError::Interrupted`]; [`RegistryError::Document`] for layers
    /// that are not what the config says, [`RegistryError::MediaType`] for a compression that such a manifest has no name for.
    pub fn open(
        path: PathBuf,
        name: Option<&str>,
        form: ManifestForm,
        interrupted: &AtomicBool,
    ) -> Result<Self, RegistryError> {
        let shown = format!("docker-archive:{}", path.display());
        let archive = opened(&path)?;
        let contents = archive.images(&Select::default())?;
        let image = contents.one(name).map_err(|source| RegistryError::NotOne { of: shown.clone(), source })?;
        let packing = Packing { archive: &archive, image, shown: &shown, interrupted };
        let mut blobs = HashMap::new();
        let mut layers = Vec::new();
        for (layer, diff_id) in packing.layers()? {
            let (digest, size, compression, bytes) = packing.layer(layer, diff_id)?;
            let media_type = form
                .layer_type(compression)
                .ok_or_else(|| RegistryError::MediaType { media_type: format!("{compression:?} of {}", layer.name) })?;
            layers.push(Descriptor { media_type, size, digest });
            blobs.insert(digest, (size, bytes));
        }
        let config = (image.id, image.config.len() as u64);
        blobs.insert(image.id, (config.1, Bytes::Memory(Arc::clone(&image.config))));
        let bytes = form.document(config, &layers);
        let document = Document { media_type: form.media_type().to_owned(), digest: Digest::hash(&bytes), bytes };
        Ok(Self { shown, document, blobs })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Its manifest, which is all the documents that there are.
    pub(super) fn document(&self, digest: Option<Digest>) -> Result<Document, RegistryError> {
        match digest {
            Some(other) if other != self.document.digest => Err(RegistryError::Document {
                url: self.shown.clone(),
                reason: format!("there is no manifest {other}"),
            }),
            _ => Ok(self.document.clone()),
        }
    }

    /// A blob that the manifest names.
    pub(super) fn blob(&self, digest: Digest) -> &dyn Content {
        match &self.blobs.get(&digest).expect("the manifest names blobs that were packed").1 {
            Bytes::Memory(bytes) => bytes,
            Bytes::File(file) => file,
            Bytes::Archive(blob) => blob,
        }
    }
}

/// Opens an archive that can be read by offset.
pub(super) fn opened(path: &Path) -> Result<Archive, RegistryError> {
    let reason = match Archive::open(path)? {
        Opened::Archive(archive) => return Ok(archive),
        Opened::LayerTar(_) => "it is no image archive: it has neither manifest.json nor index.json",
        Opened::Compressed(..) => return Err(RegistryError::Compressed { path: path.into() }),
        Opened::Pipe(_) => "it is no regular file",
    };
    Err(RegistryError::Config { path: path.into(), reason: reason.into() })
}

struct Packing<'p> {
    archive: &'p Archive,
    image: &'p SourceImage,
    shown: &'p str,
    interrupted: &'p AtomicBool,
}

impl Packing<'_> {
    fn wrong(&self, reason: String) -> RegistryError {
        RegistryError::Document { url: format!("{}: {}", self.shown, self.image.origin), reason }
    }

    /// The layers, with what their tars must be.
    fn layers(&self) -> Result<Vec<(&LayerRef, DiffId)>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Config {
            rootfs: RootFs,
        }
        #[derive(serde::Deserialize)]
        struct RootFs {
            #[serde(default)]
            diff_ids: Option<Vec<DiffId>>,
        }
        let config: Config = serde_json::from_slice(&self.image.config)
            .map_err(|error| self.wrong(format!("{}: {error}", self.image.config_name)))?;
        let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() != self.image.layers.len() {
            let (layers, expected) = (self.image.layers.len(), diff_ids.len());
            return Err(
                self.wrong(format!("invalid manifest, layers length mismatch: expected {expected}, got {layers}"))
            );
        }
        Ok(self.image.layers.iter().zip(diff_ids).collect())
    }

    /// Packs a layer, if it is not, and proves that it is the right one.
    fn layer(&self, layer: &LayerRef, diff_id: DiffId) -> Result<(Digest, u64, Compression, Bytes), RegistryError> {
        let LayerBytes::File(blob) = self.archive.layer(layer)? else {
            return Err(self.wrong(format!("{} is no file of the archive", layer.name)));
        };
        let failed = |source| RegistryError::File { path: layer.name.clone().into(), source };
        let compression = blob.compression();
        if compression != Compression::None {
            let mut hashed = HashingReader::new(blob.reader_at(0));
            self.each(&mut hashed, 256 << 10, &failed, |_| Ok(()))?;
            let (digest, size) = hashed.finish();
            return Ok((digest, size, compression, Bytes::Archive(blob)));
        }
        let mut file =
            Dir::open(&std::env::temp_dir()).and_then(|dir| dir.unnamed_file()).map_err(RegistryError::Store)?;
        let written = |source| RegistryError::File { path: std::env::temp_dir(), source };
        let (mut plain, mut packed, mut size) = (HashingReader::new(blob.reader_at(0)), layerfs::Hasher::default(), 0);
        let encoding = PACKED;
        self.each(&mut plain, encoding.block_len(), &failed, |block| {
            let block = encoding.block(block).map_err(written)?;
            packed.update(&block);
            size += block.len() as u64;
            file.write_all(&block).map_err(written)
        })?;
        let found = DiffId(plain.finish().0);
        if found != diff_id {
            let name = &layer.name;
            return Err(self.wrong(format!("invalid diffID for layer {name}: expected {diff_id}, got {found}")));
        }
        Ok((packed.finish(), size, encoding.compression(), Bytes::File(file)))
    }

    /// Reads blocks of one length, but for the last one, which may be empty if it is the only one.
    fn each(
        &self,
        reader: &mut impl Read,
        length: usize,
        failed: &impl Fn(io::Error) -> RegistryError,
        mut take: impl FnMut(&[u8]) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut block = Vec::with_capacity(length);
        let mut is_first = true;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(RegistryError::Interrupted);
            }
            block.clear();
            reader.by_ref().take(length as u64).read_to_end(&mut block).map_err(failed)?;
            if block.is_empty() && !is_first {
                return Ok(());
            }
            take(&block)?;
            is_first = false;
        }
    }
}

impl Content for Blob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.reader_at(from)))
    }
}

impl Content for Arc<[u8]> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + '_>> {
        let mut cursor = Cursor::new(&self[..]);
        cursor.set_position(from);
        Ok(Box::new(cursor))
    }
}
