//! An image of containerd's store of a data-root, as it is.

use std::fs::File;
use std::io::Read;

use images::source::MAX_JSON;
use layerfs::Digest;
use snapshot::containerd::content::Content;
use snapshot::containerd::metadata::Target;

use crate::error::RegistryError;
use crate::resolve::Document;

/// An image of containerd's store: only copied from.
#[derive(Debug, Clone, Copy)]
pub struct StoredImage<'s> {
    /// The blobs.
    pub content: &'s Content,
    /// The manifest or index that is copied, with all that it leads to.
    pub target: &'s Target,
    /// What messages call it.
    pub name: &'s str,
}

impl StoredImage<'_> {
    /// The document that is copied, or the one of this digest.
    pub(super) fn document(&self, digest: Option<Digest>) -> Result<Document, RegistryError> {
        let (digest, media_type) = match digest {
            Some(digest) => (digest, String::new()),
            None => (self.target.digest, self.target.media_type.clone()),
        };
        let mut bytes = Vec::new();
        let file = self.open(digest)?;
        file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(|error| self.wrong(digest, &error.to_string()))?;
        if bytes.len() as u64 > MAX_JSON {
            let (url, what) = (format!("{}: {digest}", self.name), "a document");
            return Err(RegistryError::TooLarge { url, what, limit: MAX_JSON });
        }
        let found = Digest::hash(&bytes);
        if found != digest {
            return Err(RegistryError::ManifestDigest { host: self.name.to_owned(), expected: digest, found });
        }
        Document { media_type, digest, bytes }.typed(self.name)
    }

    pub(super) fn open_blob(&self, digest: Digest, size: u64) -> Result<File, RegistryError> {
        let file = self.open(digest)?;
        let found = file.metadata().map_err(|error| self.wrong(digest, &error.to_string()))?.len();
        if found != size {
            return Err(self.wrong(digest, &format!("it has {found} bytes, its manifest says {size}")));
        }
        Ok(file)
    }

    fn open(&self, digest: Digest) -> Result<File, RegistryError> {
        let opened = self.content.open(digest).map_err(|error| self.wrong(digest, &error.to_string()))?;
        opened.ok_or_else(|| self.wrong(digest, "it is not in the store"))
    }

    fn wrong(&self, digest: Digest, reason: &str) -> RegistryError {
        RegistryError::Document { url: format!("{}: blob {digest}", self.name), reason: reason.to_owned() }
    }
}
