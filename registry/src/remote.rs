//! An image of a registry as a source of images: its layers are fetched when they are asked for, and read while they arrive.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use images::source::{
    ArchiveError, ImageSource, LayerBytes, LayerRef, Select, SourceContents, SourceIndex, SourceTarget,
};
use layerfs::Digest;
use snapshot::reference::Reference;

use crate::client::RegistryClient;
use crate::download::{BlobListener, Downloads, Layer, Shared};
use crate::error::RegistryError;
use crate::resolve::{Resolved, scope};

/// How an image is fetched.
pub struct PullRequest {
    /// The registry.
    pub client: Arc<RegistryClient>,
    /// The image.
    pub reference: Reference,
    /// The directory for the files of blobs; made when it is needed.
    pub dir: PathBuf,
    /// Transfers at once.
    pub most: usize,
    /// Who is told how blobs arrive.
    pub listener: Arc<dyn BlobListener>,
}

impl std::fmt::Debug for PullRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullRequest")
            .field("reference", &self.reference)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// One image of a registry.
#[derive(Debug)]
pub struct Remote {
    contents: SourceContents,
    downloads: Downloads,
}

impl Remote {
    /// An image as [`resolve`](crate::resolve()) has found it, with the names that it shall have.
    #[must_use]
    pub fn new(resolved: Resolved, names: &[Reference], request: PullRequest) -> Self {
        let Resolved { digest, media_type, indexes, mut contents, .. } = resolved;
        let size = indexes.last().map(|index| index.bytes.len() as u64);
        let index = SourceIndex { documents: indexes, blobs: Vec::new() };
        let target = size.map(|size| SourceTarget {
            names: names.to_vec(),
            media_type,
            digest,
            size,
            annotations: BTreeMap::new(),
            index: Some(Arc::new(index)),
        });
        for image in &mut contents.images {
            image.targets = target.iter().cloned().collect();
            image.tags = names.to_vec();
            image.unusable_names.clear();
        }
        contents.repository = Some(request.reference.name());
        let PullRequest { client, reference, dir, most, listener } = request;
        let downloads = Downloads::new(Shared {
            client,
            listener,
            repository: reference.path().to_owned(),
            name: reference.familiar(),
            scope: scope(&reference),
            dir,
            most,
        });
        Self { contents, downloads }
    }

    /// What went wrong with a blob, if anything did: the transfer failed, or what came is not what was asked for. Files of
    /// wrong blobs are removed. The second part says whether the wrong bytes may be those of an earlier pull, so that
    /// another attempt may go better.
    #[must_use]
    pub fn fault(&self) -> Option<(Arc<RegistryError>, bool)> {
        if let Some((error, may_go_better)) = self.downloads.wrong() {
            return Some((Arc::new(error), may_go_better));
        }
        self.downloads.error().map(|error| (error, false))
    }

    /// Ends all transfers. The files of blobs stay for the next attempt if `keep` says so.
    pub fn finish(&self, keep: bool) {
        self.downloads.stop();
        self.downloads.clean(!keep);
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.downloads.stop();
    }
}

impl ImageSource for Remote {
    fn images(&self, _select: &Select) -> Result<SourceContents, ArchiveError> {
        Ok(self.contents.clone())
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn expect(&self, layers: &[&LayerRef]) {
        let blobs = layers.iter().filter_map(|layer| layer.descriptor.as_ref());
        self.downloads.expect(&blobs.map(|descriptor| (descriptor.digest, descriptor.size)).collect::<Vec<_>>());
    }

    fn layer(&self, layer: &LayerRef) -> Result<LayerBytes, ArchiveError> {
        let descriptor = layer.descriptor.as_ref().expect("a registry's manifest describes each layer");
        let (digest, size): (Digest, u64) = (descriptor.digest, descriptor.size);
        let fetched = self.downloads.fetch(digest, size);
        let transfer = fetched
            .map_err(|error| ArchiveError::Read { file: layer.name.clone(), source: std::io::Error::other(error) })?;
        Ok(LayerBytes::Fetched(Arc::new(Layer(transfer))))
    }
}
