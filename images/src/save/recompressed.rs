//! Layers of containerd's store compressed in another way than they came, and the documents that name them changed for that.
//!
//! ```text
//! layer's blob -> hashed -> decompressed -> compressed by N threads -> a file without a name: its digest is another one
//! manifest -> names the new layers -> index -> names the new manifests
//! ```
//!
//! What is compressed as it is wanted stays as it is, and with it each manifest and index of which nothing changes. What an
//! attestation says inside of a manifest's digest stays, too, and is then that of the image before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use layerfs::compress::encode::Encoding;
use layerfs::compress::{Compression, Decompressor, SNIFF_LEN};
use layerfs::{Digest, HashingReader};
use serde_json::Value;
use snapshot::catalog::{Catalog, InContainerd};
use snapshot::containerd::content::BlobFault;
use snapshot::containerd::documents::Kind;
use snapshot::dir::Dir;

use super::SaveOptions;
use super::compressor::{Compressed, Compressor};
use super::documents::blob_name;
use super::error::SaveError;
use super::stored::{BlobToSave, StoredPlan, as_go_writes, known};
use crate::load::Announced;

/// What layers' media types begin with; the rest says how they are compressed.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// The annotation by which an attestation names its manifest in an index.
const REFERENCE: &str = "vnd.docker.reference.digest";

/// Blobs that the store does not have.
#[derive(Debug, Default)]
pub struct MadeBlobs(BTreeMap<Digest, Made>);

#[derive(Debug)]
enum Made {
    Document(Vec<u8>),
    Layer(File),
}

impl MadeBlobs {
    /// Opens a blob at its beginning; `None` if it is one of the store.
    pub(super) fn open(&self, digest: Digest) -> io::Result<Option<Box<dyn Read + '_>>> {
        Ok(match self.0.get(&digest) {
            None => None,
            Some(Made::Document(bytes)) => Some(Box::new(&bytes[..])),
            Some(Made::Layer(file)) => {
                let mut file = file;
                file.rewind()?;
                Some(Box::new(file))
            }
        })
    }
}

/// Compresses the layers of a plan, which was made from `catalog`, as `options` say, into temporary files. Returns the plan with
/// the new blobs.
///
/// # Errors
/// [`SaveError`]
pub fn recompressed(
    catalog: &Catalog,
    plan: &StoredPlan,
    options: &SaveOptions<'_>,
) -> Result<(StoredPlan, MadeBlobs), SaveError> {
    let blobs = plan.blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
    let mut work = Work {
        known: known(catalog)?,
        options,
        before: &blobs,
        changed: BTreeMap::new(),
        made: MadeBlobs::default(),
        after: BTreeMap::new(),
    };
    let mut index = value(&plan.index);
    for entry in list(&mut index, "manifests") {
        work.follow(entry)?;
    }
    let manifest = plan.manifest.as_ref().map(|manifest| {
        let mut items = value(manifest);
        for item in items.as_array_mut().into_iter().flatten() {
            list(item, "Layers").iter_mut().for_each(|path| work.rename(path));
        }
        as_go_writes(&items)
    });
    let Work { made, after, .. } = work;
    let blobs = after.into_iter().map(|(digest, size)| BlobToSave { digest, size }).collect();
    Ok((StoredPlan { images: plan.images.clone(), blobs, index: as_go_writes(&index), manifest }, made))
}

/// A document of ours, or one that was read as a document before.
fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

fn list<'v>(value: &'v mut Value, key: &str) -> &'v mut [Value] {
    match value.get_mut(key) {
        Some(Value::Array(list)) => list,
        _ => &mut [],
    }
}

/// A blob in the place of another one.
#[derive(Debug, Clone, Copy)]
struct Replaced {
    digest: Digest,
    size: u64,
}

struct Work<'w> {
    known: &'w InContainerd,
    options: &'w SaveOptions<'w>,
    /// The blobs of the plan.
    before: &'w BTreeMap<Digest, u64>,
    /// What each blob that was looked at is now.
    changed: BTreeMap<Digest, Replaced>,
    made: MadeBlobs,
    /// The blobs that are saved.
    after: BTreeMap<Digest, u64>,
}

impl Work<'_> {
    /// Compresses what a descriptor leads to, and lets it name the new blob.
    fn follow(&mut self, descriptor: &mut Value) -> Result<(), SaveError> {
        let text = |descriptor: &Value, key: &str| descriptor.get(key).and_then(Value::as_str).map(str::to_owned);
        let digest: Option<Digest> = text(descriptor, "digest").and_then(|digest| digest.parse().ok());
        let before = self.before;
        let known = digest.and_then(|digest| Some((digest, *before.get(&digest)?)));
        let Some((digest, size)) = known else { return Ok(()) };
        let media_type = text(descriptor, "mediaType").unwrap_or_default();
        let family = [OCI_LAYER, DOCKER_LAYER].into_iter().find(|family| media_type.starts_with(family));
        let replaced = match (self.changed.get(&digest).copied(), Kind::of(&media_type), family) {
            (Some(known), ..) => known,
            (None, Kind::Index, _) => self.document(digest, size, "manifests")?,
            (None, Kind::Manifest, _) => self.document(digest, size, "layers")?,
            (None, Kind::Other, Some(_)) => self.layer(digest, size)?,
            (None, Kind::Other, None) => Replaced { digest, size },
        };
        self.changed.insert(digest, replaced);
        self.after.insert(replaced.digest, replaced.size);
        if replaced.digest == digest {
            return Ok(());
        }
        descriptor["digest"] = replaced.digest.to_string().into();
        descriptor["size"] = replaced.size.into();
        if let Some(family) = family {
            descriptor["mediaType"] = format!("{family}{}", suffix(family, self.options.encoding)).into();
        }
        Ok(())
    }

    /// Changes a document whose list `key` names what may change.
    fn document(&mut self, digest: Digest, size: u64, key: &str) -> Result<Replaced, SaveError> {
        let failed = |fault| SaveError::Blob { digest, fault };
        let bytes = self.known.store.content.read_document(digest, size).map_err(failed)?;
        let mut document: Value =
            serde_json::from_slice(&bytes).map_err(|error| failed(BlobFault::Invalid { cause: error.to_string() }))?;
        if let Some(config) = document.get_mut("config") {
            self.follow(config)?;
        }
        list(&mut document, key).iter_mut().try_for_each(|child| self.follow(child))?;
        for child in list(&mut document, key) {
            let Some(Value::String(named)) = child.pointer_mut(&format!("/annotations/{REFERENCE}")) else { continue };
            if let Some(replaced) = named.parse::<Digest>().ok().and_then(|named| self.changed.get(&named)) {
                *named = replaced.digest.to_string();
            }
        }
        if value(&bytes) == document {
            return Ok(Replaced { digest, size });
        }
        let bytes = serde_json::to_vec(&document).expect("what was read as JSON can be written");
        let replaced = Replaced { digest: Digest::hash(&bytes), size: bytes.len() as u64 };
        self.made.0.insert(replaced.digest, Made::Document(bytes));
        Ok(replaced)
    }

    fn rename(&self, path: &mut Value) {
        let digest = path.as_str().and_then(|path| Digest::from_hex(path.rsplit('/').next()?).ok());
        if let Some(replaced) = digest.and_then(|digest| self.changed.get(&digest)) {
            *path = blob_name(replaced.digest).into();
        }
    }

    /// Compresses a layer, unless it is compressed in that way.
    fn layer(&mut self, digest: Digest, size: u64) -> Result<Replaced, SaveError> {
        let failed = |fault| SaveError::Blob { digest, fault };
        let unreadable = |error: io::Error| failed(BlobFault::Unreadable { cause: error.to_string() });
        let encoding = self.options.encoding;
        let mut file = self.known.store.content.open(digest)?.ok_or_else(|| failed(BlobFault::FileMissing))?;
        let mut head = Vec::new();
        (&mut file).take(SNIFF_LEN as u64).read_to_end(&mut head).map_err(unreadable)?;
        if Compression::sniff(&head) == encoding.compression() {
            return Ok(Replaced { digest, size });
        }
        file.rewind().map_err(unreadable)?;
        let number = self.changed.len();
        self.options.observer.begin(number, &Announced { name: "", diff_id: None, step: None, total: Some(size) });
        let mut hashed = HashingReader::new(Advancing { file, number, options: self.options });
        let temporary = SaveError::output(&std::env::temp_dir(), "writing to a temporary file in");
        let mut packed = Dir::open(&std::env::temp_dir())?.unnamed_file()?;
        let unpacked = Decompressor::new(BufReader::with_capacity(128 << 10, &mut hashed)).map_err(unreadable)?;
        let compressed = match pack(unpacked, &mut packed, self.options) {
            Ok(compressed) => compressed,
            Err(Unpacked::Read(_)) if self.options.interrupted.load(Ordering::Relaxed) => {
                return Err(SaveError::Interrupted);
            }
            Err(Unpacked::Read(error)) => return Err(unreadable(error)),
            Err(Unpacked::Write(error)) => return Err(temporary(error)),
        };
        // What comes after the end of the compressed stream belongs to the blob, too.
        io::copy(&mut hashed, &mut io::sink()).map_err(unreadable)?;
        let (found, _) = hashed.finish();
        if found != digest {
            return Err(failed(BlobFault::DigestDiffers { found }));
        }
        self.options.observer.end(number);
        let replaced = Replaced { digest: compressed.digest, size: compressed.size };
        self.made.0.insert(replaced.digest, Made::Layer(packed));
        Ok(replaced)
    }
}

/// How a layer's media type ends.
fn suffix(family: &str, encoding: Encoding) -> &'static str {
    match (encoding, family == DOCKER_LAYER) {
        (Encoding::None, _) => "",
        (Encoding::Gzip(_), true) => ".gzip",
        (Encoding::Gzip(_), false) => "+gzip",
        (Encoding::Zstd(_), true) => ".zstd",
        (Encoding::Zstd(_), false) => "+zstd",
    }
}

/// Why a layer was not compressed.
enum Unpacked {
    Read(io::Error),
    Write(io::Error),
}

fn pack(mut from: impl Read, to: &mut File, options: &SaveOptions<'_>) -> Result<Compressed, Unpacked> {
    std::thread::scope(|scope| {
        let mut compressor = Compressor::start(scope, options.encoding, options.threads);
        let length = options.encoding.block_len();
        loop {
            let mut block = Vec::with_capacity(length);
            (&mut from).take(length as u64).read_to_end(&mut block).map_err(Unpacked::Read)?;
            if block.is_empty() {
                break;
            }
            for done in compressor.add(&Arc::new(block)).map_err(Unpacked::Write)? {
                to.write_all(&done).map_err(Unpacked::Write)?;
            }
        }
        compressor.finish(|block| to.write_all(block)).map_err(Unpacked::Write)
    })
}

/// Tells how far a blob was read, and ends when the user asks to stop.
struct Advancing<'a> {
    file: File,
    number: usize,
    options: &'a SaveOptions<'a>,
}

impl Read for Advancing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.options.interrupted.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.file.read(buffer)?;
        self.options.observer.advance(self.number, read as u64);
        Ok(read)
    }
}
