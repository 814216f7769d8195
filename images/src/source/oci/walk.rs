//! From the descriptors of an index to images: names, platforms, nested indexes, and what is no image.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use layerfs::Digest;

use super::super::distinct::Distinct;
use super::super::error::ArchiveError;
use super::super::image::{self, Documents, Format, LayerRef, Select, SourceContents, SourceImage, SourceTarget};
use super::super::names::Names;
use super::super::namespace::NameError;
use super::super::platform;
use super::documents::{self, BlobDescriptor, DocumentKind, INDEX, Manifest};
use snapshot::platform::Platform;
use snapshot::reference::Reference;

/// Levels of indexes, `index.json` included. Two are usual.
pub(super) const MAX_LEVELS: usize = 8;

/// containerd's annotation: a full reference.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The image-spec's annotation: a tag, or whatever the tool had for a name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A manifest that an index leads to.
struct Candidate {
    names: Names,
    /// The platform in its own descriptor; `None` for a manifest that was already chosen from a nested index.
    platform: Option<Platform>,
    manifest: BlobDescriptor,
    /// What the names lead to, where that is kept.
    target: Option<SourceTarget>,
}

/// What a descriptor of a manifest leads to.
enum LeadsTo {
    Image,
    /// Something else, in words.
    Artifact(String),
    /// Nothing that is in the archive.
    Missing,
}

pub(super) struct IndexWalk<'w, 'r> {
    pub(super) documents: &'w mut Documents<'r>,
    /// The file with which the archive begins.
    top: &'static str,
    pub(super) select: &'w Select,
    pub(super) platform: Platform,
    /// The manifest chosen from each nested index, or why none was. Several names may share one index.
    chosen: HashMap<Digest, Result<BlobDescriptor, String>>,
    manifests: HashMap<Digest, Rc<Manifest>>,
    skipped: Distinct<String>,
    /// Whether something was left out because it is for another platform.
    other_platforms: bool,
}

impl<'w, 'r> IndexWalk<'w, 'r> {
    pub(super) fn new(top: &'static str, select: &'w Select, documents: &'w mut Documents<'r>) -> Self {
        let platform = select.platform.clone().unwrap_or_else(Platform::host);
        let (chosen, manifests) = (HashMap::new(), HashMap::new());
        let skipped = Distinct::default();
        Self { documents, top, select, platform, chosen, manifests, skipped, other_platforms: false }
    }

    /// The images that the descriptors of the index at the top lead to.
    pub(super) fn images(
        mut self,
        format: Format,
        descriptors: Vec<BlobDescriptor>,
    ) -> Result<SourceContents, ArchiveError> {
        let mut candidates = Vec::new();
        for descriptor in descriptors {
            candidates.extend(self.candidate(descriptor)?);
        }
        let mut images = Vec::new();
        for (descriptor, names, targets) in merged(self.narrowed(candidates)) {
            let manifest = self.manifest(&descriptor)?;
            let image = self.image(self.documents.file_of(&descriptor), &manifest, names)?;
            images.extend(image.map(|image| SourceImage { targets, ..image }));
        }
        self.finish(format, images)
    }

    /// The image of a manifest that has no descriptor.
    pub(super) fn only(mut self, format: Format, manifest: &Manifest) -> Result<SourceContents, ArchiveError> {
        if let Some(artifact) = manifest.artifact() {
            self.skipped.push(format!("{}: {artifact}, not an image", self.top));
            return self.finish(format, Vec::new());
        }
        let image = self.image(self.top.to_owned(), manifest, Names::default())?;
        self.finish(format, image.into_iter().collect())
    }

    fn finish(self, format: Format, images: Vec<SourceImage>) -> Result<SourceContents, ArchiveError> {
        let Self { documents, top, skipped, other_platforms, .. } = self;
        if images.is_empty() && !skipped.is_empty() {
            return Err(ArchiveError::NoImage { file: top.into(), reasons: skipped.into_vec(), other_platforms });
        }
        let warnings = std::mem::take(&mut documents.warnings).into_vec();
        let skipped = skipped.into_vec();
        Ok(SourceContents { format: Some(format), images, skipped, warnings, repository: None })
    }

    fn skip(&mut self, descriptor: &BlobDescriptor, reason: &str) {
        let sentence = format!("{}: {reason}", descriptor.digest);
        self.skipped.push(sentence);
    }

    /// What a descriptor of the index at the top stands for: at most one image.
    fn candidate(&mut self, descriptor: BlobDescriptor) -> Result<Option<Candidate>, ArchiveError> {
        if descriptor.is_attestation() {
            self.skip(&descriptor, ATTESTATION);
            return Ok(None);
        }
        let names = names_of(&descriptor, self.top);
        match descriptor.kind() {
            DocumentKind::Manifest => match self.find(&descriptor)? {
                LeadsTo::Artifact(artifact) => {
                    self.skip(&descriptor, &format!("{artifact}, not an image"));
                    Ok(None)
                }
                // One that is missing is an error when it is read, unless it is for another platform.
                LeadsTo::Image | LeadsTo::Missing => {
                    let target = self.kept_target(&descriptor, &names, descriptor.digest)?;
                    Ok(Some(Candidate { names, platform: descriptor.platform.clone(), manifest: descriptor, target }))
                }
            },
            DocumentKind::Index => match self.choose(&descriptor)? {
                Ok(manifest) => {
                    let target = self.kept_target(&descriptor, &names, manifest.digest)?;
                    Ok(Some(Candidate { names, platform: None, manifest, target }))
                }
                Err(reason) => {
                    self.skipped.push(format!("{}: {reason}", label(&names, &descriptor)));
                    Ok(None)
                }
            },
            DocumentKind::Other => {
                self.skip(&descriptor, &format!("{:?} is no image", descriptor.media_type));
                Ok(None)
            }
        }
    }

    fn kept_target(
        &mut self,
        top: &BlobDescriptor,
        names: &Names,
        chosen: Digest,
    ) -> Result<Option<SourceTarget>, ArchiveError> {
        self.select.keep_indexes.then(|| self.target(top, &names.tags, chosen)).transpose()
    }

    /// Says that a part of an index is left out, unless the index is kept with it.
    fn skip_in_index(&mut self, descriptor: &BlobDescriptor, reason: &str) {
        if !self.select.keep_indexes {
            self.skip(descriptor, reason);
        }
    }

    /// The manifest of an index for our platform, or why there is none.
    fn choose(&mut self, index: &BlobDescriptor) -> Result<Result<BlobDescriptor, String>, ArchiveError> {
        if let Some(known) = self.chosen.get(&index.digest) {
            return Ok(known.clone());
        }
        let mut manifests = Vec::new();
        self.collect(index, 2, &mut HashSet::new(), &mut manifests)?;
        let choice = self.best(manifests)?;
        self.chosen.insert(index.digest, choice.clone());
        Ok(choice)
    }

    /// The best of an index's manifests for our platform, of those that are in the archive; or the only one that is there,
    /// if none was asked for.
    fn best(
        &mut self,
        manifests: Vec<(BlobDescriptor, Platform)>,
    ) -> Result<Result<BlobDescriptor, String>, ArchiveError> {
        let mut ranked: Vec<_> =
            manifests.iter().map(|(manifest, platform)| (self.platform.rank(platform), manifest, platform)).collect();
        // The sort keeps the order of equals, so the first of them is taken, as in containerd.
        ranked.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
        let (mut others, mut missing, mut lacks_ours) = (Vec::new(), Vec::new(), false);
        for (rank, manifest, platform) in ranked {
            match self.find(manifest)? {
                LeadsTo::Image if rank.is_some() => return Ok(Ok(manifest.clone())),
                LeadsTo::Image => others.push((manifest, platform)),
                LeadsTo::Missing => {
                    lacks_ours |= rank.is_some();
                    missing.push(platform);
                }
                LeadsTo::Artifact(artifact) => self.skip_in_index(manifest, &format!("{artifact}, not an image")),
            }
        }
        let list = |platforms: &mut dyn Iterator<Item = &Platform>| {
            platforms.map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        Ok(match others[..] {
            [(only, _)] if self.select.platform.is_none() => Ok(only.clone()),
            [] if missing.is_empty() => Err("an index without images".to_owned()),
            [] => Err(format!("its images, for {}, are not in the archive", list(&mut missing.into_iter()))),
            _ => {
                self.other_platforms = true;
                let found = list(&mut others.iter().map(|(_, platform)| *platform));
                Err(match lacks_ours {
                    true => format!("its image for {} is not in the archive, only for {found}", self.platform),
                    false => format!("no image for {}, only for {found}", self.platform),
                })
            }
        })
    }

    /// All image manifests below an index, with their platforms.
    fn collect(
        &mut self,
        index: &BlobDescriptor,
        level: usize,
        seen: &mut HashSet<Digest>,
        manifests: &mut Vec<(BlobDescriptor, Platform)>,
    ) -> Result<(), ArchiveError> {
        if level > MAX_LEVELS {
            return Err(ArchiveError::TooDeep { file: self.documents.file_of(index), limit: MAX_LEVELS });
        }
        for descriptor in documents::nested_index(index, self.documents)? {
            if !seen.insert(descriptor.digest) {
                continue;
            }
            if descriptor.is_attestation() {
                self.skip_in_index(&descriptor, ATTESTATION);
                continue;
            }
            match (descriptor.kind(), descriptor.platform.clone()) {
                (DocumentKind::Index, _) => self.collect(&descriptor, level + 1, seen, manifests)?,
                (DocumentKind::Manifest, Some(platform)) => manifests.push((descriptor, platform)),
                (DocumentKind::Manifest, None) => match self.find(&descriptor)? {
                    LeadsTo::Image => {
                        let platform = self.platform_of(&descriptor)?;
                        manifests.push((descriptor, platform));
                    }
                    LeadsTo::Artifact(artifact) => {
                        self.skip_in_index(&descriptor, &format!("{artifact}, not an image"));
                    }
                    LeadsTo::Missing => self.skip_in_index(&descriptor, "not in the archive"),
                },
                (DocumentKind::Other, _) => {
                    self.skip_in_index(&descriptor, &format!("{:?} is no image", descriptor.media_type));
                }
            }
        }
        Ok(())
    }

    fn find(&mut self, descriptor: &BlobDescriptor) -> Result<LeadsTo, ArchiveError> {
        match self.manifest(descriptor) {
            Ok(manifest) => Ok(manifest.artifact().map_or(LeadsTo::Image, LeadsTo::Artifact)),
            Err(ArchiveError::Name(NameError::Missing { .. })) => Ok(LeadsTo::Missing),
            Err(error) => Err(error),
        }
    }

    pub(super) fn manifest(&mut self, descriptor: &BlobDescriptor) -> Result<Rc<Manifest>, ArchiveError> {
        if let Some(manifest) = self.manifests.get(&descriptor.digest) {
            return Ok(Rc::clone(manifest));
        }
        let manifest = Rc::new(documents::manifest(descriptor, self.documents)?);
        self.manifests.insert(descriptor.digest, Rc::clone(&manifest));
        Ok(manifest)
    }

    /// The platform in the config of an image's manifest.
    fn platform_of(&mut self, descriptor: &BlobDescriptor) -> Result<Platform, ArchiveError> {
        let manifest = self.manifest(descriptor)?;
        let file = self.documents.file_of(&manifest.config);
        let config = self.documents.config(&file, |documents| manifest.config.load(documents))?;
        platform::of_config(&file, &config.bytes)
    }

    /// Of several manifests with the same names (or none) and a platform each, the best; all others as they are.
    fn narrowed(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut platforms: HashMap<Vec<Reference>, HashMap<Digest, Option<u32>>> = HashMap::new();
        for candidate in &candidates {
            if let Some(platform) = &candidate.platform {
                let group = platforms.entry(candidate.names.tags.to_vec()).or_default();
                group.insert(candidate.manifest.digest, self.platform.rank(platform));
            }
        }
        let mut kept = Vec::new();
        for candidate in candidates {
            let group = platforms.get(&*candidate.names.tags).filter(|group| group.len() > 1);
            let best = group.and_then(|group| group.values().max().copied().flatten());
            let rank = candidate.platform.as_ref().and_then(|platform| self.platform.rank(platform));
            match (&candidate.platform, group) {
                (Some(platform), Some(_)) if rank.is_none() || rank < best => {
                    let label = label(&candidate.names, &candidate.manifest);
                    self.skipped.push(format!("{label}: an image for {platform}, not for {}", self.platform));
                    self.other_platforms = true;
                }
                _ => kept.push(candidate),
            }
        }
        kept
    }

    /// The image of a manifest, whose file is `origin`. `None` if it is for another platform than the one asked for.
    fn image(
        &mut self,
        origin: String,
        manifest: &Manifest,
        names: Names,
    ) -> Result<Option<SourceImage>, ArchiveError> {
        let config_name = self.documents.file_of(&manifest.config);
        let config = self.documents.config(&config_name, |documents| manifest.config.load(documents))?;
        if let Some(wanted) = &self.select.platform {
            let found = platform::of_config(&config_name, &config.bytes)?;
            if wanted.rank(&found).is_none() {
                let label = names.tags.first().map_or_else(|| origin.clone(), Reference::familiar);
                self.skipped.push(format!("{label}: an image for {found}, not for {wanted}"));
                self.other_platforms = true;
                return Ok(None);
            }
        }
        // What is of no type that a layer can have goes with the image: to be ignored (image-spec v1.1 `manifest.md`).
        let (layers, others): (Vec<_>, Vec<_>) =
            manifest.layers.iter().enumerate().partition(|(_, layer)| layer.is_of_an_image());
        for (number, other) in others {
            self.skipped.push(format!("{origin}: layers: item {number}: {:?} is no layer", other.media_type));
        }
        let layers = layers.into_iter().map(|(number, layer)| layer_ref(&origin, number, layer, self.documents));
        let layers = layers.collect::<Result<_, _>>()?;
        let Names { tags, unusable } = names;
        let (config, id) = (config.bytes, config.id);
        let (tags, unusable_names) = (tags.into_vec(), unusable.into_vec());
        let manifest = Some(manifest.source());
        let (parent, targets) = (None, Vec::new());
        Ok(Some(SourceImage {
            config,
            config_name,
            id,
            tags,
            unusable_names,
            layers,
            parent,
            origin,
            manifest,
            targets,
        }))
    }
}

pub(super) const ATTESTATION: &str = "an attestation, not an image";

fn label(names: &Names, descriptor: &BlobDescriptor) -> String {
    names.tags.first().map_or_else(|| descriptor.digest.to_string(), Reference::familiar)
}

fn layer_ref(
    file: &str,
    number: usize,
    layer: &BlobDescriptor,
    documents: &Documents<'_>,
) -> Result<LayerRef, ArchiveError> {
    if !layer.is_layer() {
        let (file, media_type) = (file.to_owned(), layer.media_type.clone());
        return Err(ArchiveError::LayerKind { file, number, media_type });
    }
    let name = documents.file_of(layer);
    let descriptor = image::Descriptor { digest: layer.digest, size: layer.size, urls: layer.urls.clone() };
    Ok(LayerRef { name, descriptor: Some(descriptor) })
}

/// The names that annotations give to an image: containerd's, which are full references, or else the image-spec's.
fn names_of(descriptor: &BlobDescriptor, place: &str) -> Names {
    let annotation = |key| descriptor.annotations.get(key).filter(|text| !text.is_empty());
    let mut names = Names::default();
    match (annotation(CONTAINERD_NAME), annotation(REF_NAME)) {
        (Some(list), _) => names.add_references(place, list),
        (None, Some(list)) => names.add_ref_name(place, list),
        (None, None) => {}
    }
    names
}

/// One image for each manifest, with the names of all its descriptors, and what they lead to.
fn merged(candidates: Vec<Candidate>) -> Vec<(BlobDescriptor, Names, Vec<SourceTarget>)> {
    let mut places: HashMap<Digest, usize> = HashMap::new();
    let mut images: Vec<(BlobDescriptor, Names, Vec<SourceTarget>)> = Vec::new();
    for candidate in candidates {
        let place = *places.entry(candidate.manifest.digest).or_insert(images.len());
        match images.get_mut(place) {
            Some((_, names, targets)) => {
                names.merge(candidate.names);
                targets.extend(candidate.target);
            }
            None => images.push((candidate.manifest, candidate.names, candidate.target.into_iter().collect())),
        }
    }
    images
}

/// The images of an OCI layout.
pub(in super::super) fn contents(
    index: &[u8],
    select: &Select,
    documents: &mut Documents<'_>,
) -> Result<SourceContents, ArchiveError> {
    documents::check_layout(documents)?;
    let descriptors = documents::top_index(INDEX, index, documents)?;
    IndexWalk::new(INDEX, select, documents).images(Format::Oci, descriptors)
}
