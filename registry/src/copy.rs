//! Images from one registry, layout or archive to another, or from containerd's store, as they are: blobs and documents by their digests,
//! nothing unpacked.
//!
//! ```text
//! blob -> is it there?                              -> nothing to do
//!      -> in another repository of the registry?    -> mounted
//!      -> read from the source while it is written to the target
//! documents that an index names, then the one that the name leads to
//! ```

mod archive;
mod document;
mod layout;
mod packed;
mod place;
mod referrers;
mod stored;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use images::source::Platform;
use layerfs::Digest;

pub use self::archive::{ArchiveName, NewArchive};
use self::document::{Descriptor, Parsed};
pub use self::layout::{Layout, LayoutSource};
pub use self::packed::Packed;
use self::place::Role;
pub use self::place::{Source, Target};
pub use self::stored::StoredImage;
use crate::error::RegistryError;
use crate::lock;
use crate::push::Arrival;
use crate::resolve::{Document, choose};
use crate::upload::Delivery;

/// How many indexes may be in each other.
const MAX_DEPTH: usize = 4;

/// The most documents of one image that are copied.
const MAX_DOCUMENTS: usize = 10_000;

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
    /// Whether what is said of the image, by signatures and other documents about it, is copied as well.
    pub referrers: bool,
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
    from: &Source<'_>,
    to: &Target,
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
    if let Target::Registry(_, target) = to
        && let Some(expected) = target.digest().filter(|digest| *digest != top.digest)
    {
        return Err(RegistryError::ManifestDigest { host: from.shown(), expected, found: top.digest });
    }
    let (mut documents, mut seen) = (Vec::new(), HashSet::new());
    work.collect(&top, Role::Top, 0, &mut seen, &mut documents)?;
    if options.referrers {
        work.referrers(&mut seen, &mut documents)?;
    }
    let blobs: Vec<Descriptor> = documents.iter().flat_map(|found| found.parsed.blobs.iter().cloned()).collect();
    work.blobs(blobs)?;
    for Found { document, role, .. } in &documents {
        work.check_stop()?;
        to.put(document, role)?;
    }
    to.finish()?;
    Ok(Copied { digest: top.digest, size: top.bytes.len() })
}

/// A document that is copied.
struct Found {
    document: Document,
    role: Role,
    /// What it names, as far as that is not there.
    parsed: Parsed,
}

/// One copy.
struct Work<'w> {
    from: &'w Source<'w>,
    to: &'w Target,
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
        role: Role,
        depth: usize,
        seen: &mut HashSet<Digest>,
        found: &mut Vec<Found>,
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
        if !matches!(self.from, Source::Store(_)) && self.to.has(document)? {
            parsed.blobs.clear();
            // What is said of the documents it names may have come later.
            if !self.options.referrers {
                parsed.documents.clear();
            }
        }
        for digest in parsed.documents.drain(..) {
            if !seen.contains(&digest) {
                let inner = self.from.document(Some(digest))?;
                self.collect(&inner, Role::Part, depth + 1, seen, found)?;
            }
        }
        found.push(Found { document: document.clone(), role, parsed });
        Ok(())
    }

    /// Appends what is said of the documents, and what is said of that.
    fn referrers(&self, seen: &mut HashSet<Digest>, found: &mut Vec<Found>) -> Result<(), RegistryError> {
        let mut at = 0;
        while let Some(subject) = found.get(at).map(|found| found.document.digest) {
            at += 1;
            for digest in self.from.referrers(subject)? {
                let document = self.from.document(Some(digest))?;
                self.collect(&document, Role::Referrer(subject), 0, seen, found)?;
            }
            for tag in referrers::tags(subject) {
                if let Some(document) = self.from.tagged(&tag)? {
                    self.collect(&document, Role::Tag(tag), 0, seen, found)?;
                }
            }
        }
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
                self.from.send(blob, self.to, &BlobDelivery { work: self, blob: blob.digest })?;
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
