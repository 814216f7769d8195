//! `imagedb`: image configs (an image is its config), and the metadata that Docker keeps beside them.
//!
//! ```text
//! imagedb/content/sha256/<image id>     the config, byte for byte; its digest is the id
//! imagedb/metadata/sha256/<image id>/
//!   parent        sha256:<image id>, set by builds, commit and load
//!   lastUpdated   RFC 3339, set by tagging
//! ```
//!
//! Follows moby v20.10.24 `image/fs.go`.

use layerfs::Digest;

use super::config::MAX_CONFIG;
use crate::dir::quick::{self, Files, Small};
use crate::dir::{CreatedDirectories, Dir};
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::schema::paths::{CONFIGS, METADATA};

const PARENT: &str = "parent";
const LAST_UPDATED: &str = "lastUpdated";

/// Bytes of the largest metadata file that is read; Docker writes less than a hundred.
const SMALL_FILE: usize = 4096;

/// The size of a buffer that holds such a file as Docker writes it, and has room left.
const LINE: usize = 192;

/// The images of one driver.
#[derive(Debug)]
pub struct ImageStore {
    content: Option<Dir>,
    metadata: Option<Dir>,
}

impl ImageStore {
    /// Opens `imagedb`; a missing one counts as empty.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn open(image_root: &Dir) -> Result<Self, StoreError> {
        Ok(Self { content: image_root.descend(&CONFIGS)?, metadata: image_root.descend(&METADATA)? })
    }

    /// Opens or creates `imagedb`.
    pub(crate) fn create(image_root: &Dir, created: &mut CreatedDirectories) -> Result<Self, StoreError> {
        let mut ensure = |[database, kind, algorithm]: [&str; 3]| {
            let database = created.ensure(image_root, database, 0o700)?;
            let kind = created.ensure(&database, kind, 0o700)?;
            created.ensure(&kind, algorithm, 0o700)
        };
        Ok(Self { content: Some(ensure(CONFIGS)?), metadata: Some(ensure(METADATA)?) })
    }

    /// Bytes of a config's file, 0 if there is none.
    pub(crate) fn config_length(&self, id: ImageId) -> u64 {
        let stat = self.content.as_ref().and_then(|content| content.stat(&id.0.hex()).ok()?);
        stat.map_or(0, |stat| stat.st_size.unsigned_abs())
    }

    /// What to say of a config that is not read.
    pub(crate) fn config_not_read(&self, id: ImageId, reason: String) -> String {
        let path = self.content.as_ref().map(|content| content.join(&id.0.hex())).unwrap_or_default();
        StoreError::Invalid { path, reason }.to_string()
    }

    /// Reads a config; `None` if there is none or its digest is not its name: dockerd does not see such an image either.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn config(&self, id: ImageId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(content) = &self.content else { return Ok(None) };
        let bytes = content.read(&id.0.hex(), MAX_CONFIG)?;
        Ok(bytes.filter(|bytes| Digest::hash(bytes) == id.0))
    }

    /// Reads a config with few system calls into `buffer`, if it leaves room there and its digest is its name. For any other the caller
    /// asks [`config`](Self::config), which says what is wrong.
    pub(crate) fn short_config<'b>(&self, id: ImageId, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let config = quick::read(self.content.as_ref()?, &id.0.hex(), buffer).text()?.as_bytes();
        (Digest::hash(config) == id.0).then_some(config)
    }

    /// A metadata file of an image, as it stands; `None` if it does not exist or is not text.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) fn metadata(&self, id: ImageId, name: &str) -> Result<Option<String>, StoreError> {
        let Some(dir) = self.metadata.as_ref().map_or(Ok(None), |all| all.sub(&id.0.hex()))? else { return Ok(None) };
        Ok(dir.read(name, SMALL_FILE)?.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// A metadata file of an image; `None` if it is missing, empty or cannot be read.
    fn line(&self, id: ImageId, name: &str) -> Option<String> {
        let mut buffer = [0; LINE];
        match Files::of(self.metadata.as_ref()?, &id.0.hex()).read(name, &mut buffer) {
            Small::Text(text) => Some(text.to_owned()),
            Small::Missing => None,
            Small::Other => self.metadata(id, name).ok().flatten().filter(|text| !text.is_empty()),
        }
    }

    /// The text of the file that names the image's parent, unchecked; `None` if the file is missing, empty or cannot be
    /// read.
    #[must_use]
    pub(crate) fn parent(&self, id: ImageId) -> Option<String> {
        self.line(id, PARENT)
    }

    /// The text of the file that says when the image was tagged last, unchecked; `None` if the file is missing, empty
    /// or cannot be read.
    pub(crate) fn last_updated(&self, id: ImageId) -> Option<String> {
        self.line(id, LAST_UPDATED)
    }

    /// All images with a config file, damaged ones included.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn list(&self) -> Result<Vec<ImageId>, StoreError> {
        let names = self.content.as_ref().map_or(Ok(Vec::new()), Dir::names)?;
        let mut ids: Vec<ImageId> = names.iter().filter_map(|name| Digest::from_hex(name).ok().map(ImageId)).collect();
        ids.sort();
        Ok(ids)
    }

    /// The ids of all metadata directories, whether an image of that id exists or not.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn list_metadata(&self) -> Result<Vec<ImageId>, StoreError> {
        let names = self.metadata.as_ref().map_or(Ok(Vec::new()), Dir::names)?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok().map(ImageId)).collect())
    }

    /// Stores a config, durably if `sync`. A file with that name and other content is replaced.
    pub(crate) fn put(&self, config: &[u8], sync: bool) -> Result<ImageId, StoreError> {
        let id = Digest::hash(config);
        self.content_dir().replace(&id.hex(), config, 0o600, sync)?;
        Ok(ImageId(id))
    }

    /// Records the image that `id` was built from.
    pub(crate) fn set_parent(&self, id: ImageId, parent: ImageId, sync: bool) -> Result<(), StoreError> {
        self.set_metadata(id, PARENT, &parent.to_string(), sync)
    }

    /// Records when `id` was tagged last: RFC 3339.
    pub(crate) fn set_last_updated(&self, id: ImageId, time: &str, sync: bool) -> Result<(), StoreError> {
        self.set_metadata(id, LAST_UPDATED, time, sync)
    }

    /// Forgets the image that `id` was built from.
    pub(crate) fn forget_parent(&self, id: ImageId, sync: bool) -> Result<(), StoreError> {
        self.forget(id, PARENT, sync)
    }

    /// Forgets when `id` was tagged last.
    pub(crate) fn forget_last_updated(&self, id: ImageId, sync: bool) -> Result<(), StoreError> {
        self.forget(id, LAST_UPDATED, sync)
    }

    fn forget(&self, id: ImageId, name: &str, sync: bool) -> Result<(), StoreError> {
        let Some(dir) = self.metadata_dir().sub(&id.0.hex())? else { return Ok(()) };
        dir.unlink(name)?;
        if sync { dir.sync() } else { Ok(()) }
    }

    fn set_metadata(&self, id: ImageId, name: &str, text: &str, sync: bool) -> Result<(), StoreError> {
        let metadata = self.metadata_dir();
        let dir = metadata.sub_or_create(&id.0.hex(), 0o700)?;
        dir.replace(name, text.as_bytes(), 0o600, sync)?;
        if sync { metadata.sync() } else { Ok(()) }
    }

    /// When a config was written, in seconds and nanoseconds since 1970; `None` if there is none.
    pub(crate) fn written(&self, id: ImageId) -> Result<Option<(i64, u64)>, StoreError> {
        Ok(self.content_dir().stat(&id.0.hex())?.map(|stat| crate::dir::modified(&stat)))
    }

    /// Syncs the directory of configs: which images exist is then durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.content_dir().sync()
    }

    /// Removes temporary files that a crash has left among the configs.
    pub(crate) fn remove_temporaries(&self) -> Result<(), StoreError> {
        self.content_dir().remove_temporaries()
    }

    /// Removes temporary files that a crash has left among the metadata, which has a directory for each image.
    pub(crate) fn remove_temporary_metadata(&self) -> Result<(), StoreError> {
        self.metadata_dir().remove_temporaries_below()
    }

    /// Removes an image; its layers stay. The config goes first: without it there is no image.
    pub(crate) fn remove(&self, id: ImageId) -> Result<(), StoreError> {
        self.content_dir().unlink(&id.0.hex())?;
        self.metadata_dir().remove_tree(&id.0.hex())
    }

    fn content_dir(&self) -> &Dir {
        self.content.as_ref().expect("a store that is written to was created, with its directories")
    }

    fn metadata_dir(&self) -> &Dir {
        self.metadata.as_ref().expect("a store that is written to was created, with its directories")
    }
}
