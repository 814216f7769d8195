//! Images of a store into a repository of a registry: what the registry has already is found first, the rest is packed
//! and sent.
//!
//! ```text
//! layer -> is it in the repository, by a blob that is known?         -> nothing to do
//!       -> in another repository of the registry?                    -> mounted
//!       -> packed, one layer at a time with all threads; is that blob there? -> sent, several layers at once
//! config, then the manifest that names them all
//! ```
//!
//! `distribution/` of the store tells which blobs held a layer. Packing a layer gives the same bytes at every time and
//! on every machine, so a layer that this program has pushed is found again even where nothing was noted.

mod known;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use images::load::Observer;
use images::save::{LayerToSave, SaveError, SaveForm, SaveOptions, SavePlan, layer_file, read_config};
use layerfs::compress::Compression;
use layerfs::compress::encode::Encoding;
use layerfs::{DiffId, Digest};
use snapshot::catalog::{Catalog, Image};
use snapshot::reference::Reference;
use snapshot::root::DataRoot;

use self::known::Known;
use crate::client::RegistryClient;
use crate::error::RegistryError;
use crate::lock;
use crate::manifest::{Descriptor, ManifestForm};
use crate::upload::{Begun, Delivery, Repository, scope_to_push};

/// How a layer is packed that nobody has packed yet and for which no encoding was asked for. One level below that of archives: on the
/// way to a registry the time counts, and the layers are still as small as docker's, within a fortieth (`BENCHMARKS.md`, "Registries").
pub(crate) const PACKED: Encoding = Encoding::Gzip(2);

/// Known blobs of a layer that are asked for, and repositories that they are mounted from (moby v20.10.24
/// `distribution/push_v2.go`: `getMaxMountAndExistenceCheckAttempts`, for large layers).
const MOST_ASKED: usize = 3;
const MOST_MOUNTED: usize = 4;

/// Something that is told how layers are pushed; calls come from any thread.
pub trait PushListener: Sync {
    /// These layers, top first, are to be in the repository.
    fn planned(&self, _layers: &[DiffId]) {}
    /// The layer is sent now; its blob has `size` bytes.
    fn begin(&self, _layer: DiffId, _size: u64) {}
    /// `bytes` of the layer's blob were sent, counted from its beginning.
    fn advance(&self, _layer: DiffId, _bytes: u64) {}
    /// An attempt has failed; the next one follows after a pause.
    fn retry(&self, _layer: DiffId, _pause: Duration, _error: &RegistryError) {}
    /// The layer is in the repository.
    fn end(&self, _layer: &PushedLayer) {}
}

/// How a layer came into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// It was there already.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted {
        /// The path of that repository.
        from: String,
    },
    /// Its bytes were sent.
    Sent,
}

/// A layer in a repository.
#[derive(Debug, Clone)]
pub struct PushedLayer {
    /// The layer's own content.
    pub diff_id: DiffId,
    /// Its blob.
    pub digest: Digest,
    /// How it came there.
    pub arrival: Arrival,
    size: u64,
    media_type: &'static str,
}

/// An image in a repository.
#[derive(Debug, Clone)]
pub struct PushedImage {
    /// The digest of its manifest.
    pub digest: Digest,
    /// The length of its manifest in bytes.
    pub size: usize,
    /// Its layers, base first.
    pub layers: Vec<PushedLayer>,
}

/// How to push.
#[derive(Debug, Clone, Copy)]
pub struct PushOptions<'o> {
    /// Which kind of manifest is made.
    pub form: ManifestForm,
    /// How layers are compressed; `None` leaves the choice: blobs that are known are taken as they are, others are gzip of level 2.
    pub encoding: Option<Encoding>,
    /// Threads that compress.
    pub threads: usize,
    /// Layers that are sent at once.
    pub most: usize,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'o AtomicBool,
}

/// Pushes images of one store into one repository.
pub struct Push<'p> {
    client: Arc<RegistryClient>,
    root: &'p DataRoot,
    repository: &'p Reference,
    /// What a token must allow.
    scope: String,
    options: PushOptions<'p>,
    listener: &'p dyn PushListener,
    /// Layers that are in the repository.
    done: Mutex<HashMap<DiffId, PushedLayer>>,
    /// Held while a layer is packed.
    packing: Mutex<()>,
    /// Whether the rest is not wanted any more: the user asks to stop, or a layer has failed.
    stop: AtomicBool,
}

impl std::fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push")
            .field("repository", &self.repository)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'p> Push<'p> {
    /// Prepares to push; nothing is sent yet. The tag of `repository` does not count.
    #[must_use]
    pub fn new(
        client: Arc<RegistryClient>,
        root: &'p DataRoot,
        repository: &'p Reference,
        options: PushOptions<'p>,
        listener: &'p dyn PushListener,
    ) -> Self {
        let scope = scope_to_push(repository.path(), &[]);
        let (done, packing, stop) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { client, root, repository, scope, options, listener, done, packing, stop }
    }

    /// Pushes an image under a tag.
    ///
    /// # Errors
    /// [`RegistryError`]. Layers that are in the repository stay there; the registry removes them in time if nobody names them.
    pub fn image(&self, catalog: &Catalog, image: &Image, tag: &str) -> Result<PushedImage, RegistryError> {
        let selection = [(image.id, std::iter::once(self.repository.clone()).collect())].into();
        let plan = SavePlan::new(catalog, &selection, &Default::default());
        let mut seen = HashSet::new();
        let top_first: Vec<DiffId> = image.diff_ids.iter().rev().copied().filter(|id| seen.insert(*id)).collect();
        self.listener.planned(&top_first);
        self.layers(&plan, &top_first)?;
        let layers: Vec<PushedLayer> = {
            let done = lock(&self.done);
            image.diff_ids.iter().map(|diff_id| done[diff_id].clone()).collect()
        };
        let config = read_config(self.root.images()?.as_ref(), image.id)?;
        let repository = self.repository(&self.scope);
        repository.send_bytes(image.id.0, &config)?;
        let descriptor =
            |layer: &PushedLayer| Descriptor { media_type: layer.media_type, size: layer.size, digest: layer.digest };
        let descriptors: Vec<Descriptor> = layers.iter().map(descriptor).collect();
        let form = self.options.form;
        let manifest = form.document((image.id.0, config.len() as u64), &descriptors);
        let digest = repository.put_manifest(tag, form.media_type(), &manifest)?.digest;
        Ok(PushedImage { digest, size: manifest.len(), layers })
    }

    fn repository<'r>(&'r self, scope: &'r str) -> Repository<'r> {
        Repository { client: &self.client, path: self.repository.path(), scope }
    }

    fn is_stopped(&self) -> bool {
        if self.options.interrupted.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    /// Brings the layers into the repository, several at once.
    fn layers(&self, plan: &SavePlan, top_first: &[DiffId]) -> Result<(), RegistryError> {
        let queue: Mutex<VecDeque<(usize, DiffId)>> = Mutex::new(top_first.iter().copied().enumerate().collect());
        let errors: Mutex<Vec<(usize, RegistryError)>> = Mutex::default();
        let work = || {
            while let Some((number, diff_id)) = next(&queue) {
                if self.is_stopped() {
                    return;
                }
                if let Err(error) = self.layer(plan, diff_id) {
                    self.stop.store(true, Ordering::Relaxed);
                    lock(&errors).push((number, error));
                }
            }
        };
        std::thread::scope(|scope| {
            let helpers = self.options.most.min(top_first.len()).saturating_sub(1);
            for _ in 0..helpers {
                // Where the system refuses a thread, the others do its work.
                let _ = std::thread::Builder::new().name("upload".into()).spawn_scoped(scope, work);
            }
            work();
        });
        if self.options.interrupted.load(Ordering::Relaxed) {
            return Err(RegistryError::Interrupted);
        }
        // The error of the first layer that has one of its own: the others may only have stopped because of it.
        let mut errors = errors.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        errors.sort_by_key(|(number, error)| (is_stop(error), *number));
        errors.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    fn layer(&self, plan: &SavePlan, diff_id: DiffId) -> Result<(), RegistryError> {
        let before = lock(&self.done).get(&diff_id).cloned();
        let pushed = match before {
            Some(layer) => PushedLayer { arrival: Arrival::Existed, ..layer },
            None => match self.find(diff_id)? {
                Some(found) => found,
                None => self.send(plan, diff_id)?,
            },
        };
        self.listener.end(&pushed);
        lock(&self.done).insert(diff_id, pushed);
        Ok(())
    }

    /// Looks for a layer at the registry, by the blobs that are known to have held it.
    fn find(&self, diff_id: DiffId) -> Result<Option<PushedLayer>, RegistryError> {
        let repository = self.repository(&self.scope);
        let known = Known::of(self.root.blob_sources(diff_id)?, self.repository);
        for digest in known.here.into_iter().take(MOST_ASKED) {
            if let Some(found) = self.found(&repository, (diff_id, digest), Arrival::Existed)? {
                return Ok(Some(found));
            }
        }
        for (digest, from) in known.mountable.into_iter().take(MOST_MOUNTED) {
            let scope = scope_to_push(self.repository.path(), &[&from]);
            let begun = match self.client.repeat(|| self.repository(&scope).begin(Some((digest, &from)))) {
                // Mounting only saves time: whatever the registry has against it, the bytes can be sent.
                Err(error) if error.is_answer() => continue,
                begun => begun?,
            };
            if begun == Begun::Mounted
                && let Some(found) = self.found(&repository, (diff_id, digest), Arrival::Mounted { from })?
            {
                return Ok(Some(found));
            }
        }
        for digest in known.elsewhere.into_iter().take(MOST_ASKED) {
            if let Some(found) = self.found(&repository, (diff_id, digest), Arrival::Existed)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks at a blob: whether the repository has it, and whether the manifest has a name for its compression.
    fn found(
        &self,
        repository: &Repository<'_>,
        (diff_id, digest): (DiffId, Digest),
        arrival: Arrival,
    ) -> Result<Option<PushedLayer>, RegistryError> {
        let Some(size) = repository.blob_size(digest)? else { return Ok(None) };
        let compression = Compression::sniff(&repository.first_bytes(digest)?);
        let is_wanted = self.options.encoding.is_none_or(|encoding| compression == encoding.compression());
        let media_type = self.options.form.layer_type(compression).filter(|_| is_wanted);
        Ok(media_type.map(|media_type| PushedLayer { diff_id, digest, arrival, size, media_type }))
    }

    /// Packs a layer and sends it, unless the repository has the blob that comes of it.
    fn send(&self, plan: &SavePlan, diff_id: DiffId) -> Result<PushedLayer, RegistryError> {
        let repository = self.repository(&self.scope);
        let place = plan.layers.binary_search_by_key(&diff_id, |layer| layer.diff_id).expect("the plan has all layers");
        let encoding = self.options.encoding.unwrap_or(PACKED);
        let (file, digest, size) = self.pack((place, &plan.layers[place]), encoding)?;
        let media_type = self.options.form.layer_type(encoding.compression());
        let media_type = media_type.ok_or_else(|| RegistryError::MediaType { media_type: encoding.to_string() })?;
        let pushed = |arrival| PushedLayer { diff_id, digest, arrival, size, media_type };
        if repository.blob_size(digest)?.is_some() {
            return Ok(pushed(Arrival::Existed));
        }
        self.listener.begin(diff_id, size);
        repository.deliver(digest, (&file, size), &LayerDelivery { push: self, diff_id })?;
        Ok(pushed(Arrival::Sent))
    }

    fn pack(
        &self,
        (place, layer): (usize, &LayerToSave),
        encoding: Encoding,
    ) -> Result<(File, Digest, u64), RegistryError> {
        let _turn = lock(&self.packing);
        let watch = || self.is_stopped();
        let options = SaveOptions {
            form: SaveForm::Docker,
            encoding,
            threads: self.options.threads,
            skip_damaged: false,
            interrupted: &self.stop,
            observer: &Watching(&watch),
        };
        let (file, saved) = layer_file(self.root, (place, layer), &options)?;
        Ok((file, saved.digest, saved.size))
    }
}

/// A layer that is sent.
struct LayerDelivery<'d> {
    push: &'d Push<'d>,
    diff_id: DiffId,
}

impl Delivery for LayerDelivery<'_> {
    fn advance(&self, bytes: u64) {
        self.push.listener.advance(self.diff_id, bytes);
    }

    fn retry(&self, pause: Duration, error: &RegistryError) {
        self.push.listener.retry(self.diff_id, pause, error);
    }

    fn is_stopped(&self) -> bool {
        self.push.is_stopped()
    }
}

/// Calls its function for each piece of a layer that is packed, so that a wish of the user to stop is noticed
/// meanwhile.
struct Watching<'w>(&'w (dyn Fn() -> bool + Sync));

impl Observer for Watching<'_> {
    fn advance(&self, _layer: usize, _bytes: u64) {
        (self.0)();
    }
}

fn next(queue: &Mutex<VecDeque<(usize, DiffId)>>) -> Option<(usize, DiffId)> {
    lock(queue).pop_front()
}

fn is_stop(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Interrupted | RegistryError::Layer(SaveError::Interrupted))
}
