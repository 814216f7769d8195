//! An index with all that an archive has of what it leads to, for a store that keeps it.

use std::collections::HashSet;
use std::sync::Arc;

use layerfs::Digest;

use super::super::error::ArchiveError;
use super::super::image::{Descriptor, LayerRef, SourceIndex, SourceTarget};
use super::super::namespace::NameError;
use super::documents::{self, BlobDescriptor, DocumentKind};
use super::walk::{IndexWalk, MAX_LEVELS};
use snapshot::reference::Reference;

impl IndexWalk<'_, '_> {
    /// What the descriptor `top` of the index at the top leads to, where the image's own manifest is `chosen`.
    pub(super) fn target(
        &mut self,
        top: &BlobDescriptor,
        names: &[Reference],
        chosen: Digest,
    ) -> Result<SourceTarget, ArchiveError> {
        let index = match top.kind() {
            DocumentKind::Index => {
                let mut keeping = Keeping { chosen, seen: HashSet::new(), kept: SourceIndex::default() };
                self.keep(top, 2, &mut keeping)?;
                Some(Arc::new(keeping.kept))
            }
            DocumentKind::Manifest | DocumentKind::Other => None,
        };
        Ok(SourceTarget {
            names: names.to_vec(),
            media_type: top.media_type.clone(),
            digest: top.digest,
            size: top.size,
            annotations: top.annotations.clone(),
            index,
        })
    }

    /// Keeps a document with what it names. Where a platform is asked for, what is for another one is left out, as docker does.
    fn keep(&mut self, descriptor: &BlobDescriptor, level: usize, keeping: &mut Keeping) -> Result<(), ArchiveError> {
        if !keeping.seen.insert(descriptor.digest) {
            return Ok(());
        }
        match descriptor.kind() {
            DocumentKind::Index if level > MAX_LEVELS => {
                Err(ArchiveError::TooDeep { file: self.documents.file_of(descriptor), limit: MAX_LEVELS })
            }
            DocumentKind::Index => {
                let found = present(documents::index_document(descriptor, self.documents))?;
                let Some((children, document)) = found else { return Ok(()) };
                for child in &children {
                    if self.wants(child) {
                        self.keep(child, level + 1, keeping)?;
                    }
                }
                keeping.kept.documents.push(document);
                Ok(())
            }
            // The image's own manifest goes with the image.
            DocumentKind::Manifest if descriptor.digest == keeping.chosen => Ok(()),
            DocumentKind::Manifest => {
                let Some(manifest) = present(self.manifest(descriptor))? else { return Ok(()) };
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    if keeping.seen.insert(blob.digest) {
                        keeping.kept.blobs.push(self.blob(blob));
                    }
                }
                keeping.kept.documents.push(manifest.document());
                Ok(())
            }
            DocumentKind::Other => {
                keeping.kept.blobs.push(self.blob(descriptor));
                Ok(())
            }
        }
    }

    fn wants(&self, child: &BlobDescriptor) -> bool {
        let (Some(_), Some(platform)) = (&self.select.platform, &child.platform) else { return true };
        self.platform.rank(platform).is_some()
    }

    fn blob(&self, blob: &BlobDescriptor) -> LayerRef {
        let descriptor = Descriptor { digest: blob.digest, size: blob.size, urls: blob.urls.clone() };
        LayerRef { name: self.documents.file_of(blob), descriptor: Some(descriptor) }
    }
}

struct Keeping {
    /// The image's own manifest.
    chosen: Digest,
    seen: HashSet<Digest>,
    kept: SourceIndex,
}

/// A document, or `None` if the archive lacks it.
fn present<T>(read: Result<T, ArchiveError>) -> Result<Option<T>, ArchiveError> {
    match read {
        Ok(document) => Ok(Some(document)),
        Err(ArchiveError::Name(NameError::Missing { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
