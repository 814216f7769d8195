//! Images from one registry or layout to another, or from containerd's store, as they are: blobs and documents by their digests, nothing unpacked.
//!
//! ```text
//! blob -> is it there?                              -> nothing to do
//!      -> in another repository of the registry?    -> mounted
//!      -> read from the source while it is written to the target
//! documents that an index names, then the one that the name leads to
//! ```

mod document;
mod layout;
mod stored;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use images::source::Platform;
use layerfs::Digest;
use snapshot::reference::Reference;

use self::document::{Descriptor, Parsed};
pub use self::layout::Layout;
pub use self::stored::StoredImage;
use crate::blob::{Blob, Relayed};
use crate::body::Content;
use crate::client::RegistryClient;
use crate::error::RegistryError;
use crate::lock;
use crate::push::Arrival;
use crate::resolve::{Document, choose, document, scope};
use crate::upload::{Begun, Delivery, Repository, scope_to_push};

/// How many indexes may be in each other.
const MAX_DEPTH: usize = 4;

/// The most documents of one image that are copied.
const MAX_DOCUMENTS: usize = 10_000;

/// Where an image is copied from, or to.
#[derive(Debug)]
pub enum Place {
    /// A repository of a registry.
    Registry(Arc<RegistryClient>, Reference),
    /// An OCI image layout, a directory.
    Layout(Layout),
}

/// Where an image is copied from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'s> {
    /// A registry or a layout.
    Place(&'s Place),
    /// containerd's store of a data-root.
    Store(StoredImage<'s>),
}

/// Something that is told how blobs are copied; calls come from any thread.
pub trait CopyListener: Sync {
    /// The blob, of `size` bytes, is copied now.
    fn begin(&self, _blob: Digest, _size: u64) {}
    /// `bytes` of the blob were sent, counted from its beginning.
    fn advance(&self, _blob: Digest, _bytes: u64) {}
    /// An attempt has failed; the next one follows after a pause.
    fn retry(&self, _blob: Digest, _pause: Duration, _error: &RegistryError) {}
    /// The blob is at the target.
    fn end(&self, _blob: Digest, _arrival: &Arrival) {}
}

/// How to copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions<'o> {
    /// Whether an index is copied whole; else the image for one platform is.
    pub all: bool,
    /// Which platform; `None` for this machine's.
    pub platform: Option<&'o Platform>,
    /// Blobs that are copied at once.
    pub most: usize,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'o AtomicBool,
}

/// What was copied.
#[derive(Debug, Clone, Copy)]
pub struct Copied {
    /// The digest of what the target's name leads to.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: usize,
}

/// Copies an image.
///
/// # Errors
/// [`RegistryError`]. Blobs that are at the target stay there.
pub fn copy(
    from: Source<'_>,
    to: &Place,
    options: CopyOptions<'_>,
    listener: &dyn CopyListener,
) -> Result<Copied, RegistryError> {
    let work = Work { from, to, options, listener, done: Mutex::default(), stop: AtomicBool::new(false) };
    let mut top = from.document(None)?;
    if !options.all {
        for _ in 0..MAX_DEPTH {
            if !top.is_index() {
                break;
            }
            let host = Platform::host();
            let chosen = choose(&top, &from.shown(), options.platform.unwrap_or(&host))?;
            top = from.document(Some(chosen))?;
        }
    }
    if let Place::Registry(_, target) = to
        && let Some(expected) = target.digest().filter(|digest| *digest != top.digest)
    {
        return Err(RegistryError::ManifestDigest { host: from.shown(), expected, found: top.digest });
    }
    let mut documents = Vec::new();
    work.collect(&top, 0, &mut HashSet::new(), &mut documents)?;
    let blobs: Vec<Descriptor> = documents.iter().flat_map(|(_, parsed)| parsed.blobs.iter().cloned()).collect();
    work.blobs(blobs)?;
    for (document, _) in &documents {
        work.check_stop()?;
        to.put(document, document.digest == top.digest)?;
    }
    Ok(Copied { digest: top.digest, size: top.bytes.len() })
}

/// One copy.
struct Work<'w> {
    from: Source<'w>,
    to: &'w Place,
    options: CopyOptions<'w>,
    listener: &'w dyn CopyListener,
    /// Blobs that are at the target, or on their way there.
    done: Mutex<HashSet<Digest>>,
    /// Whether the rest is not wanted any more: the user asks to stop, or a blob has failed.
    stop: AtomicBool,
}

impl Work<'_> {
    fn is_stopped(&self) -> bool {
        if self.options.interrupted.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    fn check_stop(&self) -> Result<(), RegistryError> {
        if self.options.interrupted.load(Ordering::Relaxed) { Err(RegistryError::Interrupted) } else { Ok(()) }
    }

    /// Reads what a document names, and what that names, and appends all of it, what is named first. A document that the target
    /// has is there with all that it names.
    fn collect(
        &self,
        document: &Document,
        depth: usize,
        seen: &mut HashSet<Digest>,
        found: &mut Vec<(Document, Parsed)>,
    ) -> Result<(), RegistryError> {
        self.check_stop()?;
        if !seen.insert(document.digest) {
            return Ok(());
        }
        let mut parsed = Parsed::of(document, &self.from.shown())?;
        if depth > MAX_DEPTH || seen.len() > MAX_DOCUMENTS {
            let reason = format!("more than {MAX_DEPTH} indexes in each other, or more than {MAX_DOCUMENTS} manifests");
            return Err(RegistryError::Document { url: self.from.shown(), reason });
        }
        // What is pushed from a store is said layer by layer, as docker says it, and a blob more may be looked for.
        if matches!(self.from, Source::Place(_)) && self.to.has(document)? {
            parsed = Parsed::default();
        }
        for digest in parsed.documents.drain(..) {
            if !seen.contains(&digest) {
                let inner = self.from.document(Some(digest))?;
                self.collect(&inner, depth + 1, seen, found)?;
            }
        }
        found.push((document.clone(), parsed));
        Ok(())
    }

    /// Copies blobs, several at once.
    fn blobs(&self, blobs: Vec<Descriptor>) -> Result<(), RegistryError> {
        let most = self.options.most.min(blobs.len());
        let queue = Mutex::new(blobs.into_iter());
        let errors: Mutex<Vec<RegistryError>> = Mutex::default();
        let next = || lock(&queue).next();
        let work = || {
            while let Some(blob) = next() {
                if self.is_stopped() {
                    return;
                }
                if lock(&self.done).insert(blob.digest)
                    && let Err(error) = self.blob(&blob)
                {
                    self.stop.store(true, Ordering::Relaxed);
                    lock(&errors).push(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..most {
                // Where the system refuses a thread, the others do its work.
                let _ = std::thread::Builder::new().name("copy".into()).spawn_scoped(scope, work);
            }
            work();
        });
        self.check_stop()?;
        // Others may only have stopped because of the first one that has an error of its own.
        let mut errors = errors.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        errors.sort_by_key(|error| (matches!(error, RegistryError::Interrupted), error.to_string()));
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    fn blob(&self, blob: &Descriptor) -> Result<(), RegistryError> {
        let arrival = match self.to.find(self.from, blob)? {
            Some(arrival) => arrival,
            None => {
                self.listener.begin(blob.digest, blob.size);
                let delivery = BlobDelivery { work: self, blob: blob.digest };
                match self.from {
                    Source::Place(Place::Registry(client, reference)) => {
                        let (name, scope) = (reference.familiar(), scope(reference));
                        let (repository, name, scope) = (reference.path(), name.as_str(), scope.as_str());
                        let &Descriptor { digest, size } = blob;
                        let blob = Blob { client, repository, name, scope, digest, size };
                        self.to.take(blob.digest, (&Relayed::new(blob), size), &delivery)?;
                    }
                    Source::Store(image) => {
                        let file = image.open_blob(blob.digest, blob.size)?;
                        self.to.take(blob.digest, (&file, blob.size), &delivery)?;
                    }
                    Source::Place(Place::Layout(layout)) => {
                        let file = layout.open_blob(blob.digest, blob.size)?;
                        self.to.take(blob.digest, (&file, blob.size), &delivery)?;
                    }
                }
                Arrival::Sent
            }
        };
        self.listener.end(blob.digest, &arrival);
        Ok(())
    }
}

/// A blob that is copied.
struct BlobDelivery<'d> {
    work: &'d Work<'d>,
    blob: Digest,
}

impl Delivery for BlobDelivery<'_> {
    fn advance(&self, bytes: u64) {
        self.work.listener.advance(self.blob, bytes);
    }

    fn retry(&self, pause: Duration, error: &RegistryError) {
        self.work.listener.retry(self.blob, pause, error);
    }

    fn is_stopped(&self) -> bool {
        self.work.is_stopped()
    }
}

impl Source<'_> {
    /// What it is, for messages.
    fn shown(&self) -> String {
        match self {
            Self::Place(place) => place.shown(),
            Self::Store(image) => image.name.to_owned(),
        }
    }

    /// The document that the name leads to, or the one of this digest.
    fn document(&self, digest: Option<Digest>) -> Result<Document, RegistryError> {
        match self {
            Self::Place(place) => place.document(digest),
            Self::Store(image) => image.document(digest),
        }
    }
}

impl Place {
    /// What it is, for messages.
    fn shown(&self) -> String {
        match self {
            Self::Registry(_, reference) => reference.familiar(),
            Self::Layout(layout) => layout.shown(),
        }
    }

    /// The document that the name leads to, or the one of this digest.
    fn document(&self, digest: Option<Digest>) -> Result<Document, RegistryError> {
        match self {
            Self::Registry(client, reference) => document(client, reference, digest),
            Self::Layout(layout) => layout.document(digest),
        }
    }

    /// Whether the document is there, with all that it names.
    fn has(&self, document: &Document) -> Result<bool, RegistryError> {
        match self {
            Self::Registry(client, reference) => {
                let scope = scope_to_push(reference.path(), &[]);
                let repository = Repository { client, path: reference.path(), scope: &scope };
                repository.has_manifest(document.digest, &document.media_type)
            }
            // Its blobs may be missing all the same, and to look for them is cheap.
            Self::Layout(_) => Ok(false),
        }
    }

    /// Finds a blob, or has the registry take it from another of its repositories.
    fn find(&self, from: Source<'_>, blob: &Descriptor) -> Result<Option<Arrival>, RegistryError> {
        let (client, to) = match self {
            Self::Layout(layout) => return Ok(layout.has_blob(blob.digest, blob.size).then_some(Arrival::Existed)),
            Self::Registry(client, reference) => (client, reference),
        };
        let scope = scope_to_push(to.path(), &[]);
        let repository = Repository { client, path: to.path(), scope: &scope };
        if repository.blob_size(blob.digest)?.is_some() {
            return Ok(Some(Arrival::Existed));
        }
        let Source::Place(Self::Registry(_, from)) = from else { return Ok(None) };
        if from.domain() != to.domain() || from.path() == to.path() {
            return Ok(None);
        }
        let scope = scope_to_push(to.path(), &[from.path()]);
        let repository = Repository { client, path: to.path(), scope: &scope };
        match client.repeat(|| repository.begin(Some((blob.digest, from.path())))) {
            Ok(Begun::Mounted) => Ok(Some(Arrival::Mounted { from: from.path().to_owned() })),
            Ok(Begun::Session(_)) => Ok(None),
            // Mounting only saves time: whatever the registry has against it, the bytes can be sent.
            Err(error) if error.is_answer() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the bytes of a blob.
    fn take(
        &self,
        digest: Digest,
        (content, size): (&dyn Content, u64),
        delivery: &dyn Delivery,
    ) -> Result<(), RegistryError> {
        match self {
            Self::Registry(client, reference) => {
                let scope = scope_to_push(reference.path(), &[]);
                let repository = Repository { client, path: reference.path(), scope: &scope };
                repository.deliver(digest, (content, size), delivery)
            }
            Self::Layout(layout) => layout.write_blob(digest, (content, size), delivery),
        }
    }

    /// Puts a document there: under the name if it is the one that the name shall lead to.
    fn put(&self, document: &Document, is_top: bool) -> Result<(), RegistryError> {
        match self {
            Self::Registry(client, reference) => {
                let scope = scope_to_push(reference.path(), &[]);
                let repository = Repository { client, path: reference.path(), scope: &scope };
                let digest = document.digest.to_string();
                let which = reference.tag().filter(|_| is_top).unwrap_or(&digest);
                repository.put_manifest(which, &document.media_type, &document.bytes).map(drop)
            }
            Self::Layout(layout) => layout.put(document, is_top),
        }
    }
}
