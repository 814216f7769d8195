//! A new archive with what is copied: an OCI layout, which with docker's `manifest.json` is a docker archive as well.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use images::save::NewArchive as Tar;
use layerfs::{Digest, HashingReader};
use serde_json::{Value, json};
use snapshot::reference::Reference;

use super::layout::{INDEX, LAYOUT, MARK, NAME, blob_name, entry, index};
use super::place::Role;
use super::referrers;
use crate::body::Content;
use crate::error::RegistryError;
use crate::lock;
use crate::resolve::Document;
use crate::upload::Delivery;

/// The annotation by which containerd and podman know an image.
const FULL_NAME: &str = "io.containerd.image.name";

/// An archive that is written. Nobody sees it before all of it is there.
#[derive(Debug)]
pub struct NewArchive {
    path: PathBuf,
    name: ArchiveName,
    /// `None` when it has its name.
    tar: Mutex<Option<Tar>>,
    documents: Mutex<Documents>,
}

/// What an image is called in an archive.
#[derive(Debug)]
pub enum ArchiveName {
    /// In a layout: whatever the user calls it, if anything.
    Layout(Option<String>),
    /// In a docker archive: a name with a tag, if anything.
    Docker(Option<Reference>),
}

#[derive(Debug, Default)]
struct Documents {
    entries: Vec<Value>,
    /// The image's own manifest, for docker.
    top: Option<Value>,
}

impl NewArchive {
    /// Begins an archive at `path`.
    ///
    /// # Errors
    /// [`RegistryError::Output`]
    pub fn create(path: PathBuf, name: ArchiveName) -> Result<Self, RegistryError> {
        let tar = Mutex::new(Some(Tar::create(path.clone())?));
        Ok(Self { path, name, tar, documents: Mutex::default() })
    }

    fn wrong(&self, reason: impl Into<String>) -> RegistryError {
        let kind = if matches!(self.name, ArchiveName::Docker(_)) { "docker-archive" } else { "oci-archive" };
        RegistryError::Document { url: format!("{kind}:{}", self.path.display()), reason: reason.into() }
    }

    fn failed(&self, source: std::io::Error) -> RegistryError {
        RegistryError::File { path: self.path.clone(), source }
    }

    fn with_tar<R>(&self, write: impl FnOnce(&mut Tar) -> R) -> R {
        let mut tar: MutexGuard<'_, Option<Tar>> = lock(&self.tar);
        write(tar.as_mut().expect("nothing is written when it has its name"))
    }

    /// Writes a blob; one at a time, since they come one after the other in the archive.
    pub(super) fn write_blob(
        &self,
        digest: Digest,
        (content, size): (&dyn Content, u64),
        delivery: &dyn Delivery,
    ) -> Result<(), RegistryError> {
        self.with_tar(|tar| {
            let failed = |source| content.fault().unwrap_or_else(|| self.failed(source));
            let (mut hashed, mut at) = (HashingReader::new(content.open(0).map_err(failed)?), 0);
            let read = |piece: &mut [u8]| {
                if delivery.is_stopped() {
                    return Err(RegistryError::Interrupted);
                }
                let read = hashed.read(piece).map_err(failed)?;
                at += read as u64;
                delivery.advance(at);
                Ok(read)
            };
            tar.add_from((&blob_name(digest), size), read, |source| self.failed(source))?;
            let (found, _) = hashed.finish();
            if found != digest {
                let reason = format!("the blob {digest} has the digest {found} where it comes from");
                return Err(self.wrong(reason));
            }
            Ok(())
        })
    }

    pub(super) fn put(&self, document: &Document, role: &Role) -> Result<(), RegistryError> {
        self.with_tar(|tar| tar.add(&blob_name(document.digest), &document.bytes))
            .map_err(|error| self.failed(error))?;
        let mut documents = lock(&self.documents);
        match role {
            Role::Part => return Ok(()),
            Role::Referrer(_) => documents.entries.push(referrers::describe(document)),
            Role::Tag(tag) => documents.entries.push(entry(document, Some((NAME, tag)))),
            Role::Top => {
                let mut top = entry(document, None);
                match &self.name {
                    ArchiveName::Layout(Some(name)) => top["annotations"] = json!({ (NAME): name }),
                    ArchiveName::Docker(Some(name)) => {
                        top["annotations"] =
                            json!({ (FULL_NAME): name.canonical(), (NAME): name.tag().unwrap_or_default() });
                    }
                    ArchiveName::Layout(None) | ArchiveName::Docker(None) => {}
                }
                documents.entries.insert(0, top);
                documents.top = serde_json::from_slice(&document.bytes).ok();
            }
        }
        Ok(())
    }

    /// Writes the documents that say what is there, and gives the archive its name.
    pub(super) fn finish(&self) -> Result<(), RegistryError> {
        let documents = std::mem::take(&mut *lock(&self.documents));
        let docker = match &self.name {
            ArchiveName::Docker(name) => Some(self.manifest(&documents, name.as_ref())?),
            ArchiveName::Layout(_) => None,
        };
        let mut tar = lock(&self.tar).take().expect("it is given its name once");
        let index = index(documents.entries).to_string();
        let manifest = docker.map(|manifest| ("manifest.json", manifest.to_string()));
        for (name, text) in manifest.into_iter().chain([(INDEX, index), (MARK, LAYOUT.to_owned())]) {
            tar.add(name, text.as_bytes()).map_err(|error| self.failed(error))?;
        }
        Ok(tar.finish()?)
    }

    /// docker's own list of images.
    fn manifest(&self, documents: &Documents, name: Option<&Reference>) -> Result<Value, RegistryError> {
        let path = |entry: &Value| {
            let digest = entry.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse().ok());
            digest.map(blob_name)
        };
        let top = documents.top.as_ref();
        let config = top.and_then(|top| path(top.get("config")?));
        let layers = top.and_then(|top| top.get("layers")?.as_array()?.iter().map(path).collect::<Option<Vec<_>>>());
        let (Some(config), Some(layers)) = (config, layers) else {
            return Err(self.wrong("it holds an image for one platform, and no index of several"));
        };
        let tags = name.map(|name| vec![name.familiar()]);
        Ok(json!([{"Config": config, "RepoTags": tags, "Layers": layers}]))
    }
}
