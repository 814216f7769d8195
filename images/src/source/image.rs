//! What an archive says about its images, wherever its files are read from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use layerfs::Digest;

use super::distinct::Distinct;
use super::error::ArchiveError;
use super::json::{self, AnyObject, MAX_JSON};
use super::names::UnusableName;
use super::namespace::NameError;
use super::platform;
use super::{docker, oci};
use snapshot::platform::Platform;
use snapshot::reference::Reference;

/// Bytes of JSON that are read of one archive: those of a thousand usual images. Bounds the memory that a small archive
/// can ask for.
const MAX_JSON_TOGETHER: u64 = 64 << 20;

/// Which images of an archive are wanted.
#[derive(Debug, Clone, Default)]
pub struct Select {
    /// The platform to take of an image that has several, and to insist on.
    ///
    /// `None` takes the one of this machine where there are several, and whatever there is where there is one.
    pub platform: Option<Platform>,
    /// The one image to take of several, by a name or the beginning of its id; `None` takes all. Where one image is
    /// needed, it must then be the only one.
    pub image: Option<String>,
    /// For a store that keeps indexes, as containerd's does: the index of a layout counts before `manifest.json`, as for
    /// containerd, and images have [targets](SourceImage::targets).
    pub keep_indexes: bool,
}

/// How an archive describes its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// In `manifest.json`, as `docker save` does.
    DockerArchive,
    /// In `index.json`: an OCI image layout.
    Oci,
    /// In a `manifest.json` that is a registry's manifest: skopeo's `dir:`.
    SkopeoDir,
}

/// All images of an archive.
#[derive(Debug, Clone, Default)]
pub struct SourceContents {
    /// How they are described; absent for a bare layer.
    pub format: Option<Format>,
    /// In the archive's order.
    pub images: Vec<SourceImage>,
    /// Parts of the archive that were left out, and why: artifacts, other platforms. Sentences to warn with.
    pub skipped: Vec<String>,
    /// Oddities that did not make the archive unusable. Sentences to warn with.
    pub warnings: Vec<String>,
    /// The repository of a registry that the images come from, in full, if they do: it is noted beside their layers.
    pub repository: Option<String>,
}

/// One image, none of its layers read.
#[derive(Debug, Clone)]
pub struct SourceImage {
    /// The exact bytes of its config: a JSON object.
    pub config: Arc<[u8]>,
    /// The config's name in the archive. Says nothing about the id.
    pub config_name: String,
    /// The SHA-256 of `config`.
    pub id: Digest,
    /// Its names, each with a tag or a digest.
    pub tags: Vec<Reference>,
    /// Names that the archive gives it and that it cannot have, each with the reason.
    pub unusable_names: Vec<UnusableName>,
    /// Its layers, base first.
    pub layers: Vec<LayerRef>,
    /// The image it was built from, as the archive claims: to be checked before it is believed.
    pub parent: Option<Digest>,
    /// Where the archive describes it, for messages: `manifest.json: item 0`, or the name of an OCI manifest.
    pub origin: String,
    /// Its OCI manifest, where the archive has one.
    pub manifest: Option<SourceManifest>,
    /// What its names lead to, where indexes are [kept](Select::keep_indexes) and the archive has one.
    pub targets: Vec<SourceTarget>,
}

/// The manifest of an image, as it is written.
#[derive(Debug, Clone)]
pub struct SourceManifest {
    /// All of it.
    pub bytes: Arc<[u8]>,
    /// What it is.
    pub media_type: String,
    /// The digests of its layers' files, base first.
    pub layers: Vec<Digest>,
}

/// What names of an image lead to: its manifest, or an index that has it beside others.
#[derive(Debug, Clone)]
pub struct SourceTarget {
    /// The names.
    pub names: Vec<Reference>,
    /// What kind of document it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The annotations of the descriptor that has the names.
    pub annotations: BTreeMap<String, String>,
    /// What it leads to, if it is an index.
    pub index: Option<Arc<SourceIndex>>,
}

/// An index with what it leads to beside the image's own manifest.
#[derive(Debug, Clone, Default)]
pub struct SourceIndex {
    /// Manifests and indexes, what is named first; the last one is the index itself. What the archive lacks is left out.
    pub documents: Vec<SourceDocument>,
    /// Configs and layers of these manifests, which the archive may lack.
    pub blobs: Vec<LayerRef>,
}

/// A manifest or an index.
#[derive(Debug, Clone)]
pub struct SourceDocument {
    /// All of it.
    pub bytes: Arc<[u8]>,
    /// The media types and digests of what it names.
    pub children: Vec<(String, Digest)>,
}

impl SourceImage {
    /// What a message calls it: its first name, or else its config's name in the archive.
    fn label(&self) -> String {
        self.tags.first().map_or_else(|| self.config_name.clone(), Reference::familiar)
    }
}

/// A layer by name. Its file need not exist: a layer that is already stored is never looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRef {
    /// The name of its file in the archive, as the manifest has it.
    pub name: String,
    /// What the OCI manifest says of it; `docker save` archives say nothing that is to be trusted.
    pub descriptor: Option<Descriptor>,
}

/// What an OCI manifest says of a layer's file, which may be compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// Where else it can be had, if it is a foreign layer.
    pub urls: Vec<String>,
}

/// Gives the content of a regular file of an archive by name, links resolved, or `None` if there is none.
pub(crate) type ReadFile<'f> = dyn FnMut(&str) -> Result<Option<Vec<u8>>, ArchiveError> + 'f;

/// Reads the images of an archive: `manifest.json` where there is one, else `index.json`, as `docker load` does with the
/// first (moby `image/tarexport/load.go`) and containerd with the second.
///
/// A platform that was asked for is looked up in `index.json` where `manifest.json` lacks it: `docker save` of Docker 28
/// describes one platform in the first and all of them in the second.
///
/// `read` should refuse what is larger than [`MAX_JSON`]. Returns `None` if the archive has neither file.
///
/// # Errors
/// Those of `read`, and any [`ArchiveError`] about the content of the files.
pub fn contents(select: &Select, read: &mut ReadFile<'_>) -> Result<Option<SourceContents>, ArchiveError> {
    let mut documents = Documents::new(read);
    if select.keep_indexes
        && documents.optional(oci::LAYOUT)?.is_some()
        && let Some(index) = documents.optional(oci::INDEX)?
    {
        return oci::contents(&index, select, &mut documents).map(Some);
    }
    let Some(manifest) = documents.optional(docker::MANIFEST)? else {
        let Some(index) = documents.optional(oci::INDEX)? else { return Ok(None) };
        return oci::contents(&index, select, &mut documents).map(Some);
    };
    if oci::is_registry_manifest(&manifest) {
        return oci::directory_contents(&manifest, select, &mut documents).map(Some);
    }
    let mut contents = docker::contents(&manifest, &mut documents)?;
    leave_out_artifacts(&mut contents, &mut documents)?;
    add_manifests(&mut contents, &mut documents);
    match &select.platform {
        None => Ok(Some(contents)),
        Some(wanted) => for_platform(contents, wanted, select, &mut documents).map(Some),
    }
}

/// Leaves out items of `manifest.json` that are no images. A program that saves what containerd holds may list a signature
/// like an image; that it is none can be read from the types in the index beside.
fn leave_out_artifacts(contents: &mut SourceContents, documents: &mut Documents<'_>) -> Result<(), ArchiveError> {
    // An index that cannot be read is no reason to refuse what docker loads without it.
    let Ok(Some(index)) = documents.optional(oci::INDEX) else { return Ok(()) };
    let artifacts = oci::artifacts(&index, documents);
    let (others, images): (Vec<_>, Vec<_>) =
        std::mem::take(&mut contents.images).into_iter().partition(|image| artifacts.contains_key(&image.id));
    contents.images = images;
    let reasons: Vec<String> =
        others.iter().map(|other| format!("{}: {}", other.label(), artifacts[&other.id])).collect();
    if contents.images.is_empty() && !reasons.is_empty() {
        return Err(ArchiveError::NoImage { file: docker::MANIFEST.into(), reasons, other_platforms: false });
    }
    contents.skipped.extend(reasons);
    Ok(())
}

/// Gives the images of `manifest.json` the manifests that the index beside it has for them. What cannot be read of an index is
/// no reason to refuse what docker loads without it.
fn add_manifests(contents: &mut SourceContents, documents: &mut Documents<'_>) {
    let Ok(Some(index)) = documents.optional(oci::INDEX) else { return };
    let manifests = oci::manifests(&index, documents);
    for image in &mut contents.images {
        image.manifest =
            manifests.get(&image.id).filter(|manifest| manifest.layers.len() == image.layers.len()).cloned();
    }
}

/// The images of `manifest.json` that are for a platform, and those that only the index has.
fn for_platform(
    mut contents: SourceContents,
    wanted: &Platform,
    select: &Select,
    documents: &mut Documents<'_>,
) -> Result<SourceContents, ArchiveError> {
    let mut others = Vec::new();
    for image in std::mem::take(&mut contents.images) {
        let found = platform::of_config(&image.config_name, &image.config)?;
        match wanted.rank(&found) {
            Some(_) => contents.images.push(image),
            None => others.push((image, found)),
        }
    }
    if others.is_empty() && !contents.images.is_empty() {
        return Ok(contents);
    }
    let mut skipped = Distinct::default();
    contents.skipped.drain(..).for_each(|reason| skipped.push(reason));
    let mut other_platforms = !others.is_empty();
    if let Some(index) = documents.optional(oci::INDEX)? {
        let indexed = match oci::contents(&index, select, documents) {
            Err(ArchiveError::NoImage { reasons, other_platforms: more, .. }) => {
                other_platforms |= more;
                SourceContents { skipped: reasons, ..SourceContents::default() }
            }
            indexed => indexed?,
        };
        let known: HashSet<Digest> = contents.images.iter().map(|image| image.id).collect();
        contents.images.extend(indexed.images.into_iter().filter(|image| !known.contains(&image.id)));
        indexed.skipped.into_iter().for_each(|reason| skipped.push(reason));
        contents.warnings.extend(indexed.warnings);
    }
    let names: HashSet<&Reference> = contents.images.iter().flat_map(|image| &image.tags).collect();
    let has_name = |name: &Reference| names.contains(name);
    let lost = others.into_iter().filter(|(image, _)| image.tags.is_empty() || !image.tags.iter().all(has_name));
    for (image, found) in lost {
        skipped.push(format!("{}: an image for {found}, not for {wanted}", image.label()));
    }
    contents.skipped = skipped.into_vec();
    if contents.images.is_empty() && !contents.skipped.is_empty() {
        let (file, reasons) = (docker::MANIFEST.into(), contents.skipped);
        return Err(ArchiveError::NoImage { file, reasons, other_platforms });
    }
    Ok(contents)
}

/// How an archive names its blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobNames {
    /// `blobs/sha256/<hex>`, as in an OCI layout.
    Layout,
    /// `<hex>`, and `<hex>.manifest.json` for manifests, as in skopeo's `dir:`.
    Flat,
}

/// The JSON files of one archive, within limits.
pub(super) struct Documents<'r> {
    read: &'r mut ReadFile<'r>,
    left: u64,
    /// Configs are shared by images that name the same file.
    configs: HashMap<String, Config>,
    pub(super) blobs: BlobNames,
    /// Oddities of these files, to warn of.
    pub(super) warnings: Distinct<String>,
}

/// A config that was found to be a JSON object.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) bytes: Arc<[u8]>,
    pub(super) id: Digest,
}

impl<'r> Documents<'r> {
    fn new(read: &'r mut ReadFile<'r>) -> Self {
        let (configs, warnings) = (HashMap::new(), Distinct::default());
        Self { read, left: MAX_JSON_TOGETHER, configs, blobs: BlobNames::Layout, warnings }
    }
}

impl Documents<'_> {
    /// The content of `file`, if there is such a file.
    pub(super) fn optional(&mut self, file: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(bytes) = (self.read)(file)? else { return Ok(None) };
        let size = bytes.len() as u64;
        if size > MAX_JSON {
            return Err(ArchiveError::TooLarge { file: file.to_owned(), size, limit: MAX_JSON });
        }
        self.left = self
            .left
            .checked_sub(size)
            .ok_or_else(|| ArchiveError::TooLargeTogether { file: file.to_owned(), limit: MAX_JSON_TOGETHER })?;
        Ok(Some(bytes))
    }

    /// The content of a file that must be there.
    pub(super) fn required(&mut self, file: &str) -> Result<Vec<u8>, ArchiveError> {
        self.optional(file)?.ok_or_else(|| NameError::Missing { file: file.to_owned() }.into())
    }

    /// The config in `file`, which `load` reads if it was not read before.
    pub(super) fn config(
        &mut self,
        file: &str,
        load: impl FnOnce(&mut Self) -> Result<Vec<u8>, ArchiveError>,
    ) -> Result<Config, ArchiveError> {
        if let Some(config) = self.configs.get(file) {
            return Ok(config.clone());
        }
        let bytes = load(self)?;
        json::whole::<AnyObject>(file, &bytes)?;
        let config = Config { id: Digest::hash(&bytes), bytes: bytes.into() };
        self.configs.insert(file.to_owned(), config.clone());
        Ok(config)
    }
}
