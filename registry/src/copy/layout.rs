//! An OCI image layout (image-spec 1.1, `image-layout.md`): a directory of blobs by their digests, and an index of names.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use images::source::{Archive, MAX_JSON};
use layerfs::Digest;
use serde_json::{Map, Value, json};

use super::packed::opened;
use super::place::{Role, Stored};
use super::referrers;
use crate::body::Content;
use crate::error::RegistryError;
use crate::resolve::{Document, INDEXES};
use crate::upload::Delivery;

/// The annotation with an image's name in a layout.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";

pub(super) const INDEX: &str = "index.json";

/// The file that tells the layout's version, and what is in it.
pub(super) const MARK: &str = "oci-layout";
pub(super) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Bytes that are written at once.
const PIECE: usize = 256 << 10;

/// An image of a layout that is read.
#[derive(Debug)]
pub struct LayoutSource {
    path: PathBuf,
    /// The archive that it is in; without, it is a directory.
    archive: Option<Archive>,
    /// The image's name there; without, it is the only one.
    name: Option<String>,
}

impl LayoutSource {
    /// The image `name` of the layout in the directory `path`; without a name, the only one.
    #[must_use]
    pub fn directory(path: PathBuf, name: Option<String>) -> Self {
        Self { path, archive: None, name }
    }

    /// The image `name` of the layout in the archive at `path`; without a name, the only one.
    ///
    /// # Errors
    /// [`RegistryError::Image`]; [`RegistryError::Compressed`], [`RegistryError::Config`] for what cannot be read by offset.
    pub fn archive(path: PathBuf, name: Option<String>) -> Result<Self, RegistryError> {
        Ok(Self { archive: Some(opened(&path)?), path, name })
    }

    pub(super) fn shown(&self) -> String {
        let name = self.name.as_ref().map_or_else(String::new, |name| format!(":{name}"));
        let kind = if self.archive.is_some() { "oci-archive" } else { "oci" };
        format!("{kind}:{}{name}", self.path.display())
    }

    fn wrong(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Document { url: self.shown(), reason: reason.into() }
    }

    /// A small file, not longer than documents may be.
    fn read(&self, name: &str) -> Result<Vec<u8>, RegistryError> {
        if let Some(archive) = &self.archive {
            return archive.json(name)?.ok_or_else(|| self.wrong(format!("there is no {name}")));
        }
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(failed(&path))?;
        file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(failed(&path))?;
        if bytes.len() as u64 > MAX_JSON {
            let (url, what) = (path.display().to_string(), "a document");
            return Err(RegistryError::TooLarge { url, what, limit: MAX_JSON });
        }
        Ok(bytes)
    }

    /// The index, as it is.
    fn index(&self) -> Result<Map<String, Value>, RegistryError> {
        serde_json::from_slice(&self.read(INDEX)?).map_err(|error| self.wrong(format!("{INDEX}: {error}")))
    }

    fn entries(&self) -> Result<Vec<Value>, RegistryError> {
        match self.index()?.remove("manifests") {
            Some(Value::Array(entries)) => Ok(entries),
            _ => Ok(Vec::new()),
        }
    }

    /// The document that the name leads to, or the one of this digest.
    pub(super) fn document(&self, digest: Option<Digest>) -> Result<Document, RegistryError> {
        if let Some(digest) = digest {
            return self.document_of(digest, None);
        }
        let entries = self.entries()?;
        let is_meant = |entry: &&Value| match &self.name {
            Some(name) => name_of(entry) == Some(name),
            // What only says something of an image is none.
            None => !name_of(entry).is_some_and(is_attached) && entry.get("artifactType").is_none(),
        };
        let mut named = entries.iter().filter(is_meant);
        let entry = named.next().ok_or_else(|| self.wrong("there is no such image"))?;
        if named.next().is_some() {
            return Err(self.wrong(format!("there are several images; {}:NAME says which one is meant", self.shown())));
        }
        self.leads_to(entry)
    }

    fn leads_to(&self, entry: &Value) -> Result<Document, RegistryError> {
        let digest =
            digest_of(entry).ok_or_else(|| self.wrong(format!("{INDEX}: an entry without a SHA-256 digest")))?;
        self.document_of(digest, entry.get("mediaType").and_then(Value::as_str))
    }

    fn document_of(&self, digest: Digest, media_type: Option<&str>) -> Result<Document, RegistryError> {
        let bytes = self.read(&blob_name(digest))?;
        let found = Digest::hash(&bytes);
        if found != digest {
            return Err(RegistryError::ManifestDigest { host: self.shown(), expected: digest, found });
        }
        let media_type = media_type.unwrap_or_default().to_owned();
        Document { media_type, digest, bytes }.typed(&self.shown())
    }

    /// The document that a name leads to, if there is one.
    pub(super) fn tagged(&self, name: &str) -> Result<Option<Document>, RegistryError> {
        let entries = self.entries()?;
        entries.iter().find(|entry| name_of(entry) == Some(name)).map(|entry| self.leads_to(entry)).transpose()
    }

    /// The documents of the index that say of themselves that they are about this one, and those in the index that a registry without
    /// lists of its own would have.
    pub(super) fn referrers(&self, subject: Digest) -> Result<Vec<Digest>, RegistryError> {
        let mut found = Vec::new();
        for entry in self.entries()? {
            if name_of(&entry) == Some(&referrers::fallback(subject)) {
                found.extend(referrers::digests(&self.leads_to(&entry)?.bytes, &self.shown())?);
            } else if name_of(&entry).is_none()
                && let Some(digest) = digest_of(&entry)
                && referrers::subject_of(&self.read(&blob_name(digest))?) == Some(subject)
            {
                found.push(digest);
            }
        }
        Ok(found)
    }

    pub(super) fn open_blob(&self, digest: Digest, size: u64) -> Result<Stored, RegistryError> {
        let name = blob_name(digest);
        let (stored, found) = match &self.archive {
            Some(archive) => {
                let blob = archive.blob(&name)?;
                let length = blob.as_ref().len() as u64;
                (Stored::Mapped(blob), length)
            }
            None => {
                let path = self.path.join(name);
                let file = File::open(&path).map_err(failed(&path))?;
                let length = file.metadata().map_err(failed(&path))?.len();
                (Stored::File(file), length)
            }
        };
        if found != size {
            return Err(self.wrong(format!("the blob {digest} has {found} bytes, its manifest says {size}")));
        }
        Ok(stored)
    }
}

/// A layout in a directory that is written to.
#[derive(Debug)]
pub struct Layout {
    own: LayoutSource,
}

impl Layout {
    /// The place of the image `name` in the layout in `dir`; without a name, one without a name.
    #[must_use]
    pub fn new(dir: PathBuf, name: Option<String>) -> Self {
        Self { own: LayoutSource::directory(dir, name) }
    }

    fn wrong(&self, reason: impl Into<String>) -> RegistryError {
        self.own.wrong(reason)
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.own.path.join(blob_name(digest))
    }

    pub(super) fn has_blob(&self, digest: Digest, size: u64) -> bool {
        std::fs::metadata(self.blob_path(digest)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
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
            let failed = failed(&path);
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

    /// Puts a document there, and into the index what must be found there.
    pub(super) fn put(&self, document: &Document, role: &Role) -> Result<(), RegistryError> {
        let path = self.blob_path(document.digest);
        self.replace(&path, |file| file.write_all(&document.bytes).map_err(failed(&path)))?;
        let (new, name) = match role {
            Role::Part => return Ok(()),
            Role::Top => {
                let name = self.own.name.as_deref();
                (entry(document, name.map(|name| (NAME, name))), name)
            }
            Role::Tag(tag) => (entry(document, Some((NAME, tag))), Some(tag.as_str())),
            Role::Referrer(_) => (referrers::describe(document), None),
        };
        let mark = self.own.path.join(MARK);
        if !mark.exists() {
            self.replace(&mark, |file| file.write_all(LAYOUT.as_bytes()).map_err(failed(&mark)))?;
        }
        let path = self.own.path.join(INDEX);
        let Value::Object(mut index) = index(Vec::new()) else { unreachable!("it is an object") };
        if path.exists() {
            for (key, value) in self.own.index()? {
                index.insert(key, value);
            }
        }
        let entries = index.entry("manifests").or_insert_with(|| json!([]));
        let entries = entries.as_array_mut().ok_or_else(|| self.wrong(format!("{INDEX}: manifests is no list")))?;
        // A name leads to one image, and what has no name is there once.
        let is_replaced = |old: &Value| match name {
            Some(name) => name_of(old) == Some(name),
            None => name_of(old).is_none() && digest_of(old) == Some(document.digest),
        };
        entries.retain(|old| !is_replaced(old));
        entries.push(new);
        let text = Value::Object(index).to_string();
        self.replace(&path, |file| file.write_all(text.as_bytes()).map_err(failed(&path)))
    }

    /// Makes a file anew in one step: nobody sees it before it is whole and on the disk.
    fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&mut File) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let dir = path.parent().unwrap_or(&self.own.path);
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = dir.join(format!(".{name}.{}", std::process::id()));
        let written = File::create(&temporary).map_err(failed(&temporary)).and_then(|mut file| {
            write(&mut file)?;
            file.sync_all().map_err(failed(&temporary))?;
            std::fs::rename(&temporary, path).map_err(failed(path))
        });
        written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> RegistryError + use<> {
    let path = path.to_owned();
    move |source| RegistryError::File { path: path.clone(), source }
}

/// Where a blob is.
pub(super) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// An index of these entries.
pub(super) fn index(entries: Vec<Value>) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEXES[1], "manifests": entries})
}

/// What an index says of a document, with an annotation.
pub(super) fn entry(document: &Document, annotation: Option<(&str, &str)>) -> Value {
    let digest = document.digest.to_string();
    let mut entry = json!({"mediaType": document.media_type, "digest": digest, "size": document.bytes.len()});
    if let Some((key, value)) = annotation {
        entry["annotations"] = json!({ (key): value });
    }
    entry
}

/// Whether a name is one under which something is said of an image.
fn is_attached(name: &str) -> bool {
    let hex = name.strip_prefix("sha256-").and_then(|rest| rest.split('.').next());
    hex.is_some_and(|hex| Digest::from_hex(hex).is_ok())
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(NAME)?.as_str()
}

fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}
