//! What an image of an archive comes with, and what its names lead to in the store.

use std::collections::{BTreeMap, HashSet};

use layerfs::Digest;
use snapshot::containerd::metadata::Target;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;

use super::super::error::ImportError;
use super::super::options::ImportRequest;
use super::super::plan::{Existing, ImportPlan};
use super::super::report::TagReport;
use crate::in_containerd::{NamedImages, NamedTarget};
use crate::save::{NAMES, ref_name};
use crate::source::{
    ImageSource, LayerBytes, LayerRef, SourceContents, SourceImage, SourceIndex, SourceManifest, SourceTarget,
};

/// A plan for a store without anything in it, and what the images came with.
pub(super) struct Planned {
    pub(super) plan: ImportPlan,
    pub(super) origins: Vec<Origin>,
}

impl Planned {
    pub(super) fn new(contents: &mut SourceContents, request: &ImportRequest<'_>) -> Result<Self, ImportError> {
        let images = std::mem::take(&mut contents.images);
        let from_registry = contents.repository.is_some();
        let origin = |image: &SourceImage| Origin {
            manifest: image.manifest.clone(),
            targets: image.targets.clone(),
            names: if from_registry { Vec::new() } else { image.tags.clone() },
        };
        let origins = images.iter().map(origin).collect();
        let nothing = Existing { layers: None, images: None, driver: None };
        let plan = ImportPlan::new(images, request.options.tag.as_ref(), nothing)?;
        Ok(Self { plan, origins })
    }
}

/// What an image came with.
pub(super) struct Origin {
    pub(super) manifest: Option<SourceManifest>,
    targets: Vec<SourceTarget>,
    /// The names that an archive gives it.
    names: Vec<Reference>,
}

impl Origin {
    /// What each name leads to, where the image has this manifest; the first is for names that the archive does not know.
    ///
    /// An index is only kept if the manifest is the one that it names. Where there is no index, containerd makes descriptors as
    /// those of a layout (containerd v2.1.9 `core/images/archive/importer.go`).
    pub(super) fn named(&self, manifest: Target) -> Vec<(Vec<Reference>, NamedTarget)> {
        if self.keeps(&manifest) && !self.targets.is_empty() {
            return self.targets.iter().map(|target| (target.names.clone(), target.into())).collect();
        }
        let described = |name: &Reference| {
            let annotations = name_annotations(name);
            (vec![name.clone()], NamedTarget { target: manifest.clone(), annotations })
        };
        let named: Vec<_> = self.names.iter().map(described).collect();
        if named.is_empty() { vec![(Vec::new(), manifest.into())] } else { named }
    }

    /// Whether this is the manifest that the image came with.
    pub(super) fn keeps(&self, manifest: &Target) -> bool {
        self.manifest.as_ref().is_some_and(|own| Digest::hash(&own.bytes) == manifest.digest)
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = &SourceIndex> {
        self.targets.iter().filter_map(|target| target.index.as_deref())
    }
}

/// A blob that an index leads to beside the image's own manifest: its place, its length, its bytes.
pub(super) type OtherBlob<'o> = (&'o LayerRef, u64, LayerBytes);

/// The blobs of kept indexes that the archive has, each once.
pub(super) fn other_blobs<'o>(
    source: &dyn ImageSource,
    origins: &'o [Origin],
) -> Result<Vec<OtherBlob<'o>>, ImportError> {
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for blob in origins.iter().flat_map(Origin::indexes).flat_map(|index| &index.blobs) {
        let Some(descriptor) = blob.descriptor.as_ref().filter(|descriptor| seen.insert(descriptor.digest)) else {
            continue;
        };
        match source.layer(blob) {
            Ok(bytes) => found.push((blob, descriptor.size, bytes)),
            Err(error) if error.is_absence() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// The annotations of a descriptor by which containerd gives an image a name.
fn name_annotations(name: &Reference) -> BTreeMap<String, String> {
    let [whole, tag] = NAMES;
    [(whole, name.canonical()), (tag, ref_name(name))].map(|(key, value)| (key.to_owned(), value)).into()
}

/// What the names of each image lead to.
pub(super) type Targets = [Vec<(Vec<Reference>, NamedTarget)>];

/// Gives all images their names, in the archive's order: as in a daemon, a name belongs to the last image that asks for it. `known` is
/// what a name leads to in the store.
pub(super) fn give_names<'t>(
    plan: &ImportPlan,
    targets: &'t Targets,
    known: impl Fn(&str) -> Option<Digest>,
    retag: bool,
) -> (NamedImages<'t>, Vec<Vec<TagReport>>) {
    let mut names = NamedImages::default();
    let mut tags = Vec::with_capacity(targets.len());
    for (image, named) in plan.images.iter().zip(targets) {
        let mut of_image = Vec::with_capacity(image.tags.len());
        for reference in &image.tags {
            let (_, target) = named.iter().find(|(names, _)| names.contains(reference)).unwrap_or(&named[0]);
            let digest = target.target.digest;
            let before = names.get(reference).map(|before| before.target.digest);
            let before = before.or_else(|| known(&reference.canonical())).filter(|before| *before != digest);
            let kept = before.is_some() && !retag;
            if !kept {
                names.set(reference, target);
            }
            let moved_from = before.filter(|_| !kept).map(ImageId);
            of_image.push(TagReport { name: reference.familiar(), kept, moved_from });
        }
        tags.push(of_image);
    }
    (names, tags)
}
