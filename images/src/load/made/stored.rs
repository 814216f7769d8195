//! An image that is made here, into containerd's store.
//!
//! The config has the form of the image specification, as docker 28.5 writes it there; the manifest names the layers of the image that
//! it stands on as that one's manifest does, and the new layer as its plain tar.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::compress::Decompressor;
use layerfs::{ChainId, DiffId, Digest};
use snapshot::StoreError;
use snapshot::catalog::Catalog;
use snapshot::containerd::documents::Descriptor;
use snapshot::containerd::images::StoredImage;
use snapshot::containerd::writer::{self, NewSnapshot, SnapshotKind, StoreWriter};
use snapshot::driver::xattr_namespace;
use snapshot::ids::ImageId;

use super::super::error::ImportError;
use super::super::options::ImportRequest;
use super::super::or_interrupted;
use super::super::schedule::{Content, LayerTarget, Work, unpack_all};
use super::super::write_back::WriteBack;
use super::{NEW, NewImage};
use crate::in_containerd::{Made, MadeLayer, NamedImages, NamedTarget, add_made};
use crate::make::stored_config;

/// An image of containerd's store, as others are made on top of it.
#[derive(Debug, Clone)]
pub struct StoredBase {
    /// Its config, byte for byte.
    pub config: Vec<u8>,
    /// The contents of its layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// The manifest that docker shows of it.
    manifest: Digest,
    layers: Vec<MadeLayer>,
}

impl StoredBase {
    /// The manifest that docker shows of an image; `None` if there is none with a config.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn find(catalog: &Catalog, image: ImageId) -> Result<Option<Self>, StoreError> {
        let part = catalog.stored_image(image).and_then(StoredImage::shown);
        let known = part.and_then(|part| Some((part, part.manifest.as_ref()?, catalog.in_containerd()?)));
        let Some((part, manifest, known)) = known else { return Ok(None) };
        let digest = manifest.config.blob();
        let Some(mut file) = digest.map_or(Ok(None), |digest| known.store.content.open(digest))? else {
            return Ok(None);
        };
        let mut config = Vec::new();
        let path = || manifest.config.digest.clone().into();
        file.read_to_end(&mut config).map_err(|source| StoreError::Io { path: path(), call: "reading", source })?;
        let layer = |layer: &Descriptor| {
            Some(MadeLayer { media_type: layer.media_type.clone(), digest: layer.blob()?, size: layer.length() })
        };
        let layers = manifest.layers.iter().map(layer).collect::<Option<Vec<_>>>();
        let fits = layers.filter(|layers| layers.len() == part.diff_ids.len());
        Ok(fits.map(|layers| Self { config, diff_ids: part.diff_ids.to_vec(), manifest: part.digest, layers }))
    }
}

/// What a new image of containerd's store is made of.
#[derive(Debug)]
pub struct OnStored<'b> {
    /// The image that it stands on, and how many of its layers stay.
    pub base: Option<(&'b StoredBase, usize)>,
    /// What the container ran with that was committed, as JSON.
    pub container_config: Option<Vec<u8>>,
}

/// Stores an image in containerd's store; else as [`store_image`](super::store_image). The parent of the image that is described is
/// not looked at.
///
/// # Errors
/// [`ImportError`]; the store is then as it was before.
pub fn store_image_in_containerd<'l>(
    root: &Path,
    on: &OnStored<'_>,
    layer: Option<Box<dyn BufRead + Send + 'l>>,
    request: &ImportRequest<'_>,
    describe: impl FnOnce(Option<DiffId>) -> NewImage,
) -> Result<ImageId, ImportError> {
    let mut store = writer::extend(root, request.options.sync)?;
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    if let Some((base, count)) = on.base {
        layers.extend_from_slice(&base.layers[..count]);
        diff_ids.extend_from_slice(&base.diff_ids[..count]);
    }
    check_layers(&layers, &diff_ids, root, &store)?;
    let mut new = None;
    if let Some(stream) = layer {
        let layer = add_layer(stream, &mut diff_ids, &mut store, request)?;
        new = Some(DiffId(layer.digest));
        layers.push(layer);
    }
    let NewImage { config, names, .. } = describe(new);
    let made = Made {
        config: stored_config(&config),
        top: ChainId::chain(&diff_ids).last().copied(),
        layers,
        container_config: on.container_config.as_deref(),
    };
    let target = add_made(&made, &mut store)?;
    let id = ImageId(target.digest);
    let mut labels = BTreeMap::new();
    if let Some(config) = &on.container_config {
        labels.insert("org.mobyproject.image.containerconfig".to_owned(), Digest::hash(config).to_string());
        labels.extend(on.base.map(|(base, _)| ("org.mobyproject.image.parent".to_owned(), base.manifest.to_string())));
    }
    let target = NamedTarget { target, annotations: BTreeMap::new() };
    let mut recorded = NamedImages::default();
    names.iter().flat_map(|(names, _)| names).for_each(|name| recorded.set(name, &target));
    recorded.record_with([&target], &labels, &mut store);
    if request.is_interrupted() {
        return Err(ImportError::Interrupted);
    }
    store.commit()?;
    Ok(id)
}

/// Checks that the layers below are there, and unpacked.
fn check_layers(
    layers: &[MadeLayer],
    diff_ids: &[DiffId],
    root: &Path,
    store: &StoreWriter,
) -> Result<(), ImportError> {
    let lacks = |reason: String| Err(StoreError::Invalid { path: root.to_path_buf(), reason }.into());
    let mut below: Option<String> = None;
    for (layer, chain) in layers.iter().zip(ChainId::chain(diff_ids)) {
        if !store.has_blob(layer.digest)? {
            return lacks(format!(
                "the blob {} of a layer is not there: pull or load the image once more",
                layer.digest
            ));
        }
        let key = chain.to_string();
        if !store.has_snapshot(&key, below.as_deref())? {
            return lacks(format!("the layer {key} is not unpacked: create a container of its image once"));
        }
        below = Some(key);
    }
    Ok(())
}

/// Unpacks a layer on top of the others, whose contents are `diff_ids`, to which it is added, and keeps its plain tar as a blob.
fn add_layer(
    stream: Box<dyn BufRead + Send + '_>,
    diff_ids: &mut Vec<DiffId>,
    store: &mut StoreWriter,
    request: &ImportRequest<'_>,
) -> Result<MadeLayer, ImportError> {
    let write_back = WriteBack::begin(store.staging(), request.options.sync)?;
    let number = store.first_number();
    let dir = store.create_snapshot(number)?;
    let root = dir.create("fs", 0o755)?.owned_fd()?;
    let (scratch, ownership) = (dir.owned_fd()?, Ownership::Layer);
    let whiteouts = WhiteoutMode::Overlay(xattr_namespace()?);
    let target = Target { root, scratch, whiteouts, ownership, defer_directories: false };
    let place = Mutex::new(Some(LayerTarget { target, journal: None }));
    let give = |_| {
        let place = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(place.expect("one layer asks once"))
    };
    let path = store.staging().path().to_path_buf();
    let failed = |call| move |source| ImportError::from(StoreError::Io { path, call, source });
    let file = store.staging().unnamed_file()?;
    let kept = file.try_clone().map_err(failed.clone()("writing a blob in"))?;
    let plain = Decompressor::new(stream).map_err(failed("reading for"))?;
    let content = Content::Stream(Box::new(BufReader::with_capacity(128 << 10, Tee { from: plain, to: kept })));
    let work = Work { name: NEW.into(), index: diff_ids.len(), diff_id: None, digest: None, step: None, content };
    let unpacked = unpack_all(vec![work], request, &give).map_err(|error| match error {
        // An interrupt also stops whatever writes the stream, and that error may come first.
        ImportError::Layer { source, .. } => or_interrupted(ImportError::NewLayer(source), request),
        other => other,
    })?;
    drop(write_back);
    let unpacked = unpacked.into_iter().next().expect("one layer, one result");
    let digest = unpacked.diff_id.0;
    let below = ChainId::chain(diff_ids).last().map(ChainId::to_string);
    diff_ids.push(unpacked.diff_id);
    let key = ChainId::chain(diff_ids).last().expect("it was just pushed").to_string();
    if store.has_snapshot(&key, below.as_deref())? {
        store.drop_snapshot(number)?;
    } else {
        let kind = SnapshotKind::Committed;
        store.add_snapshot(&NewSnapshot { number, key: &key, parent: below.as_deref(), kind })?;
    }
    let size = match store.blob_size(digest)? {
        Some(size) => size,
        None => store.keep_file(digest, &file)?,
    };
    store.add_blob(digest, [("containerd.io/uncompressed", digest.to_string())])?;
    Ok(MadeLayer { media_type: MadeLayer::PLAIN.into(), digest, size })
}

/// Keeps what is read.
struct Tee<R> {
    from: R,
    to: std::fs::File,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(to)?;
        self.to.write_all(&to[..length])?;
        Ok(length)
    }
}
