//! From `index.json` to images: names, platforms, nested indexes.

use std::collections::{HashMap, HashSet};

use layerfs::Digest;

use super::super::error::ArchiveError;
use super::super::image::{self, Contents, Documents, Format, Image, LayerRef, Select};
use super::super::platform::Platform;
use super::documents::{self, Descriptor, INDEX, Kind};
use snapshot::reference::Reference;

/// Levels of indexes, `index.json` included. Two are usual.
const MAX_LEVELS: usize = 8;

/// containerd's annotation: a full reference.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The image-spec's annotation: a tag, or whatever the tool had for a name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A manifest that `index.json` leads to.
struct Candidate {
    name: Option<Reference>,
    /// As its own descriptor says; `None` where a nested index was already chosen from.
    platform: Option<Platform>,
    manifest: Descriptor,
}

struct Walk<'w, 'r> {
    documents: &'w mut Documents<'r>,
    select: &'w Select,
    platform: Platform,
    /// What each nested index comes down to: several names may share one.
    chosen: HashMap<Digest, Result<Descriptor, String>>,
    skipped: Vec<String>,
}

pub(in super::super) fn contents(
    index: &[u8],
    select: &Select,
    documents: &mut Documents<'_>,
) -> Result<Contents, ArchiveError> {
    documents::check_layout(documents)?;
    let platform = select.platform.clone().unwrap_or_else(Platform::host);
    let mut walk = Walk { documents, select, platform, chosen: HashMap::new(), skipped: Vec::new() };
    let mut candidates = Vec::new();
    for descriptor in documents::top_index(index)? {
        candidates.extend(walk.candidate(descriptor)?);
    }
    let mut images = Vec::new();
    for (manifest, tags) in merged(walk.narrowed(candidates)) {
        images.extend(walk.image(&manifest, tags)?);
    }
    if images.is_empty() && !walk.skipped.is_empty() {
        return Err(ArchiveError::NoImage { reasons: walk.skipped });
    }
    Ok(Contents { format: Some(Format::Oci), images, skipped: walk.skipped })
}

impl Walk<'_, '_> {
    /// What a descriptor of `index.json` stands for: at most one image.
    fn candidate(&mut self, descriptor: Descriptor) -> Result<Option<Candidate>, ArchiveError> {
        if descriptor.is_attestation() {
            return Ok(None);
        }
        let name = name_of(&descriptor)?;
        match descriptor.kind() {
            Kind::Manifest => Ok(Some(Candidate { name, platform: descriptor.platform.clone(), manifest: descriptor })),
            Kind::Index => match self.choose(&descriptor)? {
                Ok(manifest) => Ok(Some(Candidate { name, platform: None, manifest })),
                Err(reason) => {
                    let label = name.map_or_else(|| descriptor.digest.to_string(), |name| name.familiar());
                    self.skipped.push(format!("{label}: {reason}"));
                    Ok(None)
                }
            },
            Kind::Other => {
                self.skipped.push(format!("{}: {:?} is no image", descriptor.digest, descriptor.media_type));
                Ok(None)
            }
        }
    }

    /// The manifest of an index for our platform, or why there is none.
    fn choose(&mut self, index: &Descriptor) -> Result<Result<Descriptor, String>, ArchiveError> {
        if let Some(known) = self.chosen.get(&index.digest) {
            return Ok(known.clone());
        }
        let mut manifests = Vec::new();
        self.collect(index, 2, &mut HashSet::new(), &mut manifests)?;
        let rank = |found: &(Descriptor, Option<Platform>)| found.1.as_ref().and_then(|p| self.platform.rank(p));
        // The first of equals, as containerd takes it.
        let best = manifests.iter().rev().filter(|found| rank(found).is_some()).max_by_key(|found| rank(found));
        let choice = match (best, &manifests[..]) {
            (Some((manifest, _)), _) => Ok(manifest.clone()),
            (None, [(only, _)]) if self.select.platform.is_none() => Ok(only.clone()),
            (None, []) => Err("an index without images".to_owned()),
            (None, _) => {
                let names = manifests.iter().map(|(_, p)| p.as_ref().map_or("unknown".into(), ToString::to_string));
                Err(format!("no image for {}, only for {}", self.platform, names.collect::<Vec<_>>().join(", ")))
            }
        };
        self.chosen.insert(index.digest, choice.clone());
        Ok(choice)
    }

    /// All image manifests below an index, with their platforms.
    fn collect(
        &mut self,
        index: &Descriptor,
        level: usize,
        seen: &mut HashSet<Digest>,
        manifests: &mut Vec<(Descriptor, Option<Platform>)>,
    ) -> Result<(), ArchiveError> {
        if level > MAX_LEVELS {
            return Err(ArchiveError::TooDeep { file: index.file(), limit: MAX_LEVELS });
        }
        for descriptor in documents::nested_index(index, self.documents)? {
            if descriptor.is_attestation() || !seen.insert(descriptor.digest) {
                continue;
            }
            match descriptor.kind() {
                Kind::Index => self.collect(&descriptor, level + 1, seen, manifests)?,
                Kind::Manifest => {
                    let platform = match &descriptor.platform {
                        Some(platform) => Some(platform.clone()),
                        None => self.platform_of(&descriptor)?,
                    };
                    manifests.push((descriptor, platform));
                }
                Kind::Other => {}
            }
        }
        Ok(())
    }

    /// The platform in a manifest's config. `None` for an artifact.
    fn platform_of(&mut self, descriptor: &Descriptor) -> Result<Option<Platform>, ArchiveError> {
        let manifest = documents::manifest(descriptor, self.documents)?;
        if !manifest.config.is_image_config() {
            return Ok(None);
        }
        let file = manifest.config.file();
        let config = self.documents.config(&file, |documents| manifest.config.load(documents))?;
        config.platform(&file).map(Some)
    }

    /// Of several manifests with one name (or none) and a platform each, the best; all others as they are.
    fn narrowed(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut platforms: HashMap<Option<Reference>, HashMap<Digest, Option<u32>>> = HashMap::new();
        for candidate in &candidates {
            if let Some(platform) = &candidate.platform {
                let group = platforms.entry(candidate.name.clone()).or_default();
                group.insert(candidate.manifest.digest, self.platform.rank(platform));
            }
        }
        let mut kept = Vec::new();
        for candidate in candidates {
            let group = platforms.get(&candidate.name).filter(|group| group.len() > 1);
            let best = group.and_then(|group| group.values().max().copied().flatten());
            let rank = candidate.platform.as_ref().and_then(|platform| self.platform.rank(platform));
            match (&candidate.platform, group) {
                (Some(platform), Some(_)) if rank.is_none() || rank < best => {
                    let label = candidate.name.map_or_else(|| candidate.manifest.digest.to_string(), |n| n.familiar());
                    self.skipped.push(format!("{label}: an image for {platform}, not for {}", self.platform));
                }
                _ => kept.push(candidate),
            }
        }
        kept
    }

    /// Reads manifest and config. `None` if it is not an image.
    fn image(&mut self, descriptor: &Descriptor, tags: Vec<Reference>) -> Result<Option<Image>, ArchiveError> {
        let file = descriptor.file();
        let manifest = documents::manifest(descriptor, self.documents)?;
        let artifact = match &manifest.artifact_type {
            Some(kind) => Some(kind),
            None if !manifest.config.is_image_config() => Some(&manifest.config.media_type),
            None => None,
        };
        if let Some(kind) = artifact {
            self.skipped.push(format!("{}: an artifact of type {kind:?}, not an image", descriptor.digest));
            return Ok(None);
        }
        let config_name = manifest.config.file();
        let config = self.documents.config(&config_name, |documents| manifest.config.load(documents))?;
        config.check_platform(&config_name, self.select)?;
        let layers = manifest.layers.into_iter().enumerate().map(|(number, layer)| layer_ref(&file, number, layer));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Some(Image { config: config.bytes, config_name, id: config.id, tags, layers, parent: None, origin: file }))
    }
}

fn layer_ref(file: &str, number: usize, layer: Descriptor) -> Result<LayerRef, ArchiveError> {
    if !layer.is_layer() {
        return Err(ArchiveError::Field {
            file: file.to_owned(),
            field: format!("layers: item {number}"),
            reason: format!("media type {:?} is not supported", layer.media_type),
        });
    }
    let name = layer.file();
    let descriptor = image::Descriptor { digest: layer.digest, size: layer.size, urls: layer.urls };
    Ok(LayerRef { name, descriptor: Some(descriptor) })
}

/// The name that annotations give to an image. What skopeo and others put into the standard one is taken if it is a full
/// reference; it may also be just a tag, which names nothing.
fn name_of(descriptor: &Descriptor) -> Result<Option<Reference>, ArchiveError> {
    let annotation = |key| descriptor.annotations.get(key).filter(|text| !text.is_empty());
    if let Some(name) = annotation(CONTAINERD_NAME) {
        let reference = Reference::parse(name).map_err(|source| ArchiveError::InvalidName {
            file: INDEX.into(),
            name: name.clone(),
            source,
        })?;
        return Ok(Some(reference.with_default_tag()));
    }
    let full = annotation(REF_NAME).filter(|name| name.contains(['/', ':']));
    Ok(full.and_then(|name| Reference::parse(name).ok()).map(Reference::with_default_tag))
}

/// One image for each manifest, with the names of all its descriptors.
fn merged(candidates: Vec<Candidate>) -> Vec<(Descriptor, Vec<Reference>)> {
    let mut places: HashMap<Digest, usize> = HashMap::new();
    let mut images: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
    for candidate in candidates {
        let place = *places.entry(candidate.manifest.digest).or_insert(images.len());
        if place == images.len() {
            images.push((candidate.manifest, Vec::new()));
        }
        let tags = &mut images[place].1;
        // A name by digest only is no tag.
        tags.extend(candidate.name.filter(|name| name.tag().is_some() && !tags.contains(name)));
    }
    images
}
