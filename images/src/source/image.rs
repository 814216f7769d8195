//! What an archive says about its images, wherever its files are read from.

use std::collections::HashMap;
use std::sync::Arc;

use layerfs::Digest;

use super::error::ArchiveError;
use super::json::{self, AnyObject, MAX_JSON, object};
use super::namespace::NameError;
use super::platform::Platform;
use super::{docker, oci};
use snapshot::reference::Reference;

/// Bytes of JSON that are read of one archive: some hundred images. Bounds the memory that a small archive can ask for.
const MAX_JSON_TOGETHER: u64 = 256 << 20;

/// Which images of an archive are wanted.
#[derive(Debug, Clone, Default)]
pub struct Select {
    /// The platform to take of an image that has several, and to insist on.
    ///
    /// `None` takes the one of this machine where there are several, and whatever there is where there is one.
    pub platform: Option<Platform>,
}

/// How an archive describes its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// In `manifest.json`, as `docker save` does.
    DockerArchive,
    /// In `index.json`: an OCI image layout.
    Oci,
}

/// All images of an archive.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// How they are described; absent for a bare layer.
    pub format: Option<Format>,
    /// In the archive's order.
    pub images: Vec<Image>,
    /// What was left out, and why: artifacts, other platforms. Sentences to warn with.
    pub skipped: Vec<String>,
}

/// One image, none of its layers read.
#[derive(Debug, Clone)]
pub struct Image {
    /// The exact bytes of its config: a JSON object.
    pub config: Arc<[u8]>,
    /// The config's name in the archive. Says nothing about the id.
    pub config_name: String,
    /// The SHA-256 of `config`.
    pub id: Digest,
    /// Its names, each with a tag.
    pub tags: Vec<Reference>,
    /// Its layers, base first.
    pub layers: Vec<LayerRef>,
    /// The image it was built from, as the archive claims: to be checked before it is believed.
    pub parent: Option<Digest>,
    /// Where the archive describes it, for messages: `manifest.json: item 0`, or the name of an OCI manifest.
    pub origin: String,
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
pub type ReadFile<'f> = dyn FnMut(&str) -> Result<Option<Vec<u8>>, ArchiveError> + 'f;

/// Reads the images of an archive: `manifest.json` where there is one, else `index.json`, as `docker load` does with the
/// first (moby `image/tarexport/load.go`) and containerd with the second.
///
/// `read` should refuse what is larger than [`MAX_JSON`]. Returns `None` if the archive has neither file.
///
/// # Errors
/// Those of `read`, and any [`ArchiveError`] about the content of the files.
pub fn contents(select: &Select, read: &mut ReadFile<'_>) -> Result<Option<Contents>, ArchiveError> {
    let mut documents = Documents { read, left: MAX_JSON_TOGETHER, configs: HashMap::new() };
    if let Some(manifest) = documents.optional(docker::MANIFEST)? {
        return docker::contents(&manifest, select, &mut documents).map(Some);
    }
    match documents.optional(oci::INDEX)? {
        Some(index) => oci::contents(&index, select, &mut documents).map(Some),
        None => Ok(None),
    }
}

/// The JSON files of one archive, within limits.
pub(super) struct Documents<'r> {
    read: &'r mut ReadFile<'r>,
    left: u64,
    /// Configs are shared by images that name the same file.
    configs: HashMap<String, Config>,
}

/// A config that was found to be a JSON object.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) bytes: Arc<[u8]>,
    pub(super) id: Digest,
}

object!(last
    /// The fields of a config that select an image.
    struct ConfigPlatform {
        os: String = "os",
        architecture: String = "architecture",
        variant: String = "variant",
    }
);

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
        let config = Config { id: Digest::of(&bytes), bytes: bytes.into() };
        self.configs.insert(file.to_owned(), config.clone());
        Ok(config)
    }
}

impl Config {
    /// The platform that the config in `file` says it is for; docker takes an empty `os` for Linux.
    pub(super) fn platform(&self, file: &str) -> Result<Platform, ArchiveError> {
        let fields: ConfigPlatform = json::whole(file, &self.bytes)?;
        let text = |field: &json::Field<String>| field.as_ref().cloned().unwrap_or_default();
        let os = Some(text(&fields.os)).filter(|os| !os.is_empty());
        let variant = fields.variant.as_ref().map(String::as_str);
        Ok(Platform::new(os.as_deref().unwrap_or("linux"), &text(&fields.architecture), variant))
    }

    /// Refuses a config that is not for the platform asked for.
    pub(super) fn check_platform(&self, file: &str, select: &Select) -> Result<(), ArchiveError> {
        let Some(wanted) = &select.platform else { return Ok(()) };
        let found = self.platform(file)?;
        match wanted.rank(&found) {
            Some(_) => Ok(()),
            None => Err(ArchiveError::Field {
                file: file.to_owned(),
                field: "architecture".into(),
                reason: format!("the image is for {found}, asked for was {wanted}"),
            }),
        }
    }
}
