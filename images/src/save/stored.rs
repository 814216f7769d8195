//! Images of containerd's store into an archive: blobs as the store has them, with layers compressed as they were pulled.
//!
//! ```text
//! blobs/ blobs/sha256/           in a tar only
//! blobs/sha256/<hex>             indexes, manifests, configs, layers; in the order of their digests
//! index.json                     a descriptor for each argument, in their order
//! manifest.json                  docker's, of one platform of each image; not in a pure OCI layout
//! oci-layout
//! ```
//!
//! The archive is to the byte the one of `docker save` of version 28.5 (moby v28.5.2 `daemon/containerd/image_exporter.go`,
//! containerd v2.1.9 `core/images/archive/exporter.go`), but for the order of the images in `manifest.json`, which is that of
//! the arguments here and random there. Unlike docker we hold each blob against its digest.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering;

use layerfs::{Digest, Hasher};
use serde::Serialize;
use snapshot::catalog::{Catalog, InContainerd};
use snapshot::containerd::content::BlobFault;
use snapshot::containerd::images::StoredManifest;
use snapshot::ids::ImageId;
use snapshot::platform::Platform;
use snapshot::reference::Reference;

use super::documents::{INDEX, INDEX_TYPE, Item, MANIFEST, OCI_LAYOUT, OciIndex, blob_name, ref_name, save_item};
use super::error::SaveError;
use super::output::{Output, SaveDestination};
use super::recompressed::MadeBlobs;
use super::select::SelectedImage;
use super::{SaveForm, SaveOptions};
use crate::load::Announced;

/// The annotations by which an archive gives an image its name; an image that is saved by its id has none.
pub(crate) const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Modes of the archive's members.
const BLOB_MODE: u32 = 0o444;
const DOCUMENT_MODE: u32 = 0o644;

/// What goes into an archive of containerd's images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredPlan {
    /// The images, in the order of the arguments.
    pub images: Vec<StoredImageToSave>,
    /// The blobs, ordered by digest.
    pub blobs: Vec<BlobToSave>,
    #[serde(skip)]
    pub(super) index: Vec<u8>,
    /// docker's document; `None` for a pure OCI layout.
    #[serde(skip)]
    pub(super) manifest: Option<Vec<u8>>,
}

/// An image that is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredImageToSave {
    /// Its id.
    pub id: ImageId,
    /// The name it is saved by, as docker shows it.
    pub name: Option<String>,
}

/// A blob that is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlobToSave {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// An entry of `index.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<EntryPlatform>,
}

/// What an index says of the platform of a manifest.
#[derive(Serialize)]
struct EntryPlatform {
    architecture: String,
    os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
}

impl StoredPlan {
    /// Plans the saving of these images of a store: all platforms that are there, or one of them alone, which has the place of the
    /// image then.
    ///
    /// # Errors
    /// [`SaveError::Blob`] for an index or a manifest that cannot be read, [`SaveError::OtherPlatform`].
    pub fn new(
        catalog: &Catalog,
        selection: &[SelectedImage],
        form: SaveForm,
        platform: Option<&Platform>,
    ) -> Result<Self, SaveError> {
        let known = known(catalog)?;
        let faulty = |(digest, fault)| SaveError::Blob { digest, fault };
        let (mut blobs, mut entries) = (BTreeMap::new(), Vec::new());
        let mut items: Vec<(Digest, Item<Vec<String>>)> = Vec::new();
        let mut images = Vec::new();
        for SelectedImage { id, name } in selection {
            let stored = known.images.images.get(&id.0).ok_or(SaveError::ConfigGone { image: *id })?;
            let other = |platform: &Platform| SaveError::OtherPlatform {
                image: name.as_ref().map_or_else(|| id.0.short(), Reference::familiar),
                platform: platform.clone(),
            };
            let find = |platform| known.store.whole_manifest(stored, platform).ok_or_else(|| other(platform));
            // What is the image's only manifest anyway is saved as the image is.
            let part = platform.map(find).transpose()?.filter(|part| part.digest != stored.target.digest);
            let of_part = part.map(StoredManifest::as_target);
            let target = of_part.as_ref().unwrap_or(&stored.target);
            blobs.extend(known.store.exported(target).map_err(faulty)?.blobs);
            let record = name.as_ref().and_then(|name| known.store.metadata.images.get(&name.canonical()));
            let of_image = || record.map_or(&stored.annotations, |record| &record.annotations);
            let mut annotations = part.map_or_else(of_image, |part| &part.descriptor.annotations).clone();
            annotations.retain(|key, _| !NAMES.contains(&key.as_str()));
            if let Some(name) = name {
                let values = [name.canonical(), ref_name(name)];
                annotations.extend(NAMES.map(str::to_owned).into_iter().zip(values));
            }
            entries.push(Entry {
                media_type: target.media_type.clone(),
                digest: target.digest,
                size: target.size,
                annotations,
                platform: part.and_then(|part| part.descriptor.platform.as_ref()).map(|written| EntryPlatform {
                    architecture: written.architecture.clone(),
                    os: written.os.clone(),
                    variant: written.variant.clone(),
                }),
            });
            let familiar = name.as_ref().map(Reference::familiar);
            if form == SaveForm::Docker
                && let Some((digest, manifest)) = known.store.described(target).map_err(faulty)?
            {
                let at = items.iter().position(|(of, _)| *of == digest).unwrap_or_else(|| {
                    items.push((digest, save_item(&manifest)));
                    items.len() - 1
                });
                if let Some(name) = &familiar {
                    items[at].1.repo_tags.get_or_insert_default().push(name.clone());
                }
            }
            images.push(StoredImageToSave { id: *id, name: familiar });
        }
        let index = OciIndex { schema_version: 2, media_type: INDEX_TYPE, manifests: entries };
        let items: Vec<Item<Vec<String>>> = items.into_iter().map(|(_, item)| item).collect();
        Ok(Self {
            images,
            blobs: blobs.into_iter().map(|(digest, size)| BlobToSave { digest, size }).collect(),
            index: as_go_writes(&index),
            manifest: (form == SaveForm::Docker).then(|| as_go_writes(&items)),
        })
    }

    /// The bytes of all blobs.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add)
    }
}

pub(super) fn known(catalog: &Catalog) -> Result<&InContainerd, SaveError> {
    catalog.in_containerd().ok_or(SaveError::NotInContainerd)
}

/// Writes the images of `plan`, which was made from `catalog`; `made` has what the store has not. Layers are written as they are,
/// whatever `options` says of compression.
///
/// # Errors
/// [`SaveError`]; there is no output then, but for what has gone through a stream.
pub fn save_stored(
    catalog: &Catalog,
    (plan, made): (&StoredPlan, &MadeBlobs),
    destination: SaveDestination<'_>,
    options: &SaveOptions<'_>,
) -> Result<(), SaveError> {
    let known = known(catalog)?;
    let mut output = Output::open(destination)?;
    for directory in ["blobs/", "blobs/sha256/"] {
        output.directory(directory).map_err(output.failed())?;
    }
    for (number, blob) in plan.blobs.iter().enumerate() {
        let made = made
            .open(blob.digest)
            .map_err(|error| SaveError::output(&std::env::temp_dir(), "reading a temporary file in")(error))?;
        let stored = || -> Result<Box<dyn Read + '_>, SaveError> {
            let failed = |fault| SaveError::Blob { digest: blob.digest, fault };
            let file = known.store.content.open(blob.digest)?.ok_or_else(|| failed(BlobFault::FileMissing))?;
            let unreadable = |error: std::io::Error| failed(BlobFault::Unreadable { cause: error.to_string() });
            let found = file.metadata().map_err(unreadable)?.len();
            let other = || failed(BlobFault::OtherLength { found, recorded: blob.size });
            if found == blob.size { Ok(Box::new(file)) } else { Err(other()) }
        };
        let file = made.map_or_else(stored, Ok)?;
        let total = Some(blob.size);
        options.observer.begin(number, &Announced { name: "", diff_id: None, step: None, total });
        write_blob(file, blob, &mut output, (number, options))?;
        options.observer.end(number);
    }
    let documents = [(INDEX, Some(&plan.index), DOCUMENT_MODE), (MANIFEST, plan.manifest.as_ref(), DOCUMENT_MODE)];
    for (name, content, mode) in documents {
        if let Some(content) = content {
            output.add_file(name, content, mode).map_err(output.failed())?;
        }
    }
    output.add_file(OCI_LAYOUT.0, OCI_LAYOUT.1, BLOB_MODE).map_err(output.failed())?;
    if options.interrupted.load(Ordering::Relaxed) {
        return Err(SaveError::Interrupted);
    }
    output.finish()
}

fn write_blob(
    mut file: Box<dyn Read + '_>,
    blob: &BlobToSave,
    output: &mut Output<'_>,
    (number, options): (usize, &SaveOptions<'_>),
) -> Result<(), SaveError> {
    let digest = blob.digest;
    let failed = |fault| SaveError::Blob { digest, fault };
    let unreadable = |error: std::io::Error| failed(BlobFault::Unreadable { cause: error.to_string() });
    let found = blob.size;
    output.begin_file(&blob_name(digest), found, BLOB_MODE).map_err(output.failed())?;
    let (mut hasher, mut piece, mut read) = (Hasher::default(), vec![0; 256 << 10], 0);
    loop {
        if options.interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted);
        }
        let count = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        read += count as u64;
        // A file that grows meanwhile would shift all that comes after it.
        if read > found {
            return Err(failed(BlobFault::OtherLength { found: read, recorded: blob.size }));
        }
        hasher.update(&piece[..count]);
        output.write(&piece[..count]).map_err(output.failed())?;
        options.observer.advance(number, count as u64);
    }
    let content = hasher.finish();
    match (read == found, content == digest) {
        (false, _) => Err(failed(BlobFault::OtherLength { found: read, recorded: blob.size })),
        (true, false) => Err(failed(BlobFault::DigestDiffers { found: content })),
        (true, true) => output.end_file(found).map_err(output.failed()),
    }
}

/// JSON as Go's `json.Marshal` writes it, with escapes for what means something in HTML. Outside of texts, none of these
/// characters is in JSON.
pub(super) fn as_go_writes(value: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("texts and numbers always serialise");
    let escapes =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    escapes.iter().fold(text, |text, (character, escape)| text.replace(*character, escape)).into_bytes()
}
