//! An OCI image layout (image-spec 1.1, `image-layout.md`): a directory of blobs by their digests, and an index of names.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use images::source::MAX_JSON;
use layerfs::Digest;
use serde_json::{Map, Value, json};

use crate::body::Content;
use crate::error::RegistryError;
use crate::resolve::Document;
use crate::upload::Delivery;

/// The annotation with an image's name in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

const INDEX: &str = "index.json";
const MARK: &str = "oci-layout";

/// Bytes that are written at once.
const PIECE: usize = 256 << 10;

/// An image of a layout, or the place for one.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
    /// Its name there; without, it is the only image.
    name: Option<String>,
}

impl Layout {
    /// The image `name` of the layout in `dir`; without a name, the only one.
    #[must_use]
    pub fn new(dir: PathBuf, name: Option<String>) -> Self {
        Self { dir, name }
    }

    pub(super) fn shown(&self) -> String {
        let name = self.name.as_ref().map_or_else(String::new, |name| format!(":{name}"));
        format!("oci:{}{name}", self.dir.display())
    }

    fn failed(&self, path: &Path) -> impl Fn(std::io::Error) -> RegistryError + use<> {
        let path = path.to_owned();
        move |source| RegistryError::File { path: path.clone(), source }
    }

    fn wrong(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Document { url: self.shown(), reason: reason.into() }
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs").join("sha256").join(digest.hex())
    }

    /// A small file, not longer than documents may be.
    fn read(&self, path: &Path) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(self.failed(path))?;
        file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(self.failed(path))?;
        if bytes.len() as u64 > MAX_JSON {
            let (url, what) = (path.display().to_string(), "a document");
            return Err(RegistryError::TooLarge { url, what, limit: MAX_JSON });
        }
        Ok(bytes)
    }

    /// The index, as it is.
    fn index(&self) -> Result<Map<String, Value>, RegistryError> {
        let bytes = self.read(&self.dir.join(INDEX))?;
        serde_json::from_slice(&bytes).map_err(|error| self.wrong(format!("{INDEX}: {error}")))
    }

    /// The document that the name leads to, or the one of this digest.
    pub(super) fn document(&self, digest: Option<Digest>) -> Result<Document, RegistryError> {
        if let Some(digest) = digest {
            return self.document_of(digest, None);
        }
        let index = self.index()?;
        let entries = index.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut named = entries.iter().filter(|entry| self.name.is_none() || name_of(entry) == self.name.as_deref());
        let entry = named.next().ok_or_else(|| self.wrong("there is no such image"))?;
        if named.next().is_some() {
            return Err(self.wrong("there are several images; oci:DIRECTORY:NAME says which one is meant"));
        }
        let digest =
            digest_of(entry).ok_or_else(|| self.wrong(format!("{INDEX}: an entry without a SHA-256 digest")))?;
        self.document_of(digest, entry.get("mediaType").and_then(Value::as_str))
    }

    fn document_of(&self, digest: Digest, media_type: Option<&str>) -> Result<Document, RegistryError> {
        let bytes = self.read(&self.blob_path(digest))?;
        let found = Digest::hash(&bytes);
        if found != digest {
            return Err(RegistryError::ManifestDigest { host: self.shown(), expected: digest, found });
        }
        let media_type = media_type.unwrap_or_default().to_owned();
        Document { media_type, digest, bytes }.typed(&self.shown())
    }

    pub(super) fn has_blob(&self, digest: Digest, size: u64) -> bool {
        std::fs::metadata(self.blob_path(digest)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
    }

    pub(super) fn open_blob(&self, digest: Digest, size: u64) -> Result<File, RegistryError> {
        let path = self.blob_path(digest);
        let file = File::open(&path).map_err(self.failed(&path))?;
        let found = file.metadata().map_err(self.failed(&path))?.len();
        if found != size {
            return Err(self.wrong(format!("the blob {digest} has {found} bytes, its manifest says {size}")));
        }
        Ok(file)
    }

    /// Writes a blob, under its name only when it is whole and proven.
    pub(super) fn write_blob(
        &self,
        digest: Digest,
        (content, size): (&dyn Content, u64),
        delivery: &dyn Delivery,
    ) -> Result<(), RegistryError> {
        let path = self.blob_path(digest);
        self.replace(&path, |file| {
            let failed = self.failed(&path);
            let mut hashed = layerfs::HashingReader::new(content.open(0).map_err(&failed)?);
            let (mut piece, mut at) = (vec![0; PIECE], 0);
            loop {
                if delivery.is_stopped() {
                    return Err(RegistryError::Interrupted);
                }
                let read = hashed.read(&mut piece).map_err(|error| content.fault().unwrap_or_else(|| failed(error)))?;
                if read == 0 {
                    break;
                }
                file.write_all(&piece[..read]).map_err(&failed)?;
                at += read as u64;
                delivery.advance(at);
            }
            let (found, _) = hashed.finish();
            if found != digest || at != size {
                return Err(
                    self.wrong(format!("the blob {digest} has the digest {found} and {at} bytes where it comes from"))
                );
            }
            Ok(())
        })
    }

    /// Puts a document there, and its name into the index if it is the one that the name shall lead to.
    pub(super) fn put(&self, document: &Document, is_top: bool) -> Result<(), RegistryError> {
        let path = self.blob_path(document.digest);
        self.replace(&path, |file| file.write_all(&document.bytes).map_err(self.failed(&path)))?;
        if !is_top {
            return Ok(());
        }
        let mark = self.dir.join(MARK);
        if !mark.exists() {
            let text = json!({"imageLayoutVersion": "1.0.0"}).to_string();
            self.replace(&mark, |file| file.write_all(text.as_bytes()).map_err(self.failed(&mark)))?;
        }
        let path = self.dir.join(INDEX);
        let mut index = if path.exists() { self.index()? } else { Map::new() };
        index.entry("schemaVersion").or_insert_with(|| 2.into());
        index.entry("mediaType").or_insert_with(|| "application/vnd.oci.image.index.v1+json".into());
        let digest = document.digest.to_string();
        let mut entry = json!({"mediaType": document.media_type, "digest": digest, "size": document.bytes.len()});
        if let Some(name) = &self.name {
            entry["annotations"] = json!({ (NAME): name });
        }
        let entries = index.entry("manifests").or_insert_with(|| json!([]));
        let entries = entries.as_array_mut().ok_or_else(|| self.wrong(format!("{INDEX}: manifests is no list")))?;
        // A name leads to one image, and what has no name is there once.
        let is_replaced = |old: &Value| match &self.name {
            Some(name) => name_of(old) == Some(name),
            None => name_of(old).is_none() && digest_of(old) == Some(document.digest),
        };
        entries.retain(|old| !is_replaced(old));
        entries.push(entry);
        let text = Value::Object(index).to_string();
        self.replace(&path, |file| file.write_all(text.as_bytes()).map_err(self.failed(&path)))
    }

    /// Makes a file anew in one step: nobody sees it before it is whole and on the disk.
    fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&mut File) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let dir = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(dir).map_err(self.failed(dir))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = dir.join(format!(".{name}.{}", std::process::id()));
        let written = File::create(&temporary).map_err(self.failed(&temporary)).and_then(|mut file| {
            write(&mut file)?;
            file.sync_all().map_err(self.failed(&temporary))?;
            std::fs::rename(&temporary, path).map_err(self.failed(path))
        });
        written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(NAME)?.as_str()
}

fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}
