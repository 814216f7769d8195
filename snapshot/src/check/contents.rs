//! Checks the files of layers against each layer's journal and diff id.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::ChainId;
use layerfs::verify::{Comparison, FaultKind, Shows, Verified, VerifyError, verify};
use rustix::fd::AsFd;

use super::finding::{Cause, Finding, Place, Severity};
use super::repair::Repair;
use super::standing::Standing;
use super::{CheckReport, containerd};
use crate::catalog::with_causes;
use crate::dir::Dir;
use crate::driver::{Driver, xattr_namespace};
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::schema::layer::LayerRecord;
use crate::view::View;

/// How many faults of one layer are reported one by one; of further faults only the number is.
const MOST_FAULTS: usize = 1000;

/// Is told about the progress of reading, from any thread.
pub trait ReadObserver: Sync {
    /// The reading of a layer begins.
    fn begin(&self, layer: &LayerRecord);

    /// This many further bytes of the layer's tar have been reproduced.
    fn advance(&self, layer: &LayerRecord, bytes: u64);

    /// The reading of a layer ends.
    fn end(&self, layer: &LayerRecord);
}

/// How the files of layers are to be read.
#[derive(Clone, Copy)]
pub struct Reading<'r> {
    /// How many layers are read at the same time.
    pub threads: NonZeroUsize,
    /// Is told about the progress.
    pub observer: &'r dyn ReadObserver,
    /// Set to true from outside when reading is to stop.
    pub interrupted: &'r AtomicBool,
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { threads, observer: _, interrupted } = self;
        f.debug_struct("Reading").field("threads", threads).field("interrupted", interrupted).finish_non_exhaustive()
    }
}

/// How much was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadSoFar {
    /// Layers.
    pub layers: u64,
    /// Blobs of containerd's store.
    pub blobs: u64,
    /// Bytes of the blobs, or of the layers' tars.
    pub bytes: u64,
}

/// Reads each file of each layer that dockerd would load, or of each layer of these images, and adds to a report of the
/// [records](super::records) what is found. In containerd's store it reads the blobs.
///
/// Returns `None` if it was interrupted; the report then has what was found until then.
///
/// # Errors
/// [`StoreError::Io`] where a directory cannot be listed.
pub fn contents(
    view: &View,
    report: &mut CheckReport,
    images: Option<&[ImageId]>,
    reading: &Reading<'_>,
) -> Result<Option<ReadSoFar>, StoreError> {
    if let Some(known) = view.catalog.in_containerd() {
        return Ok(containerd::contents(known, report, images, reading));
    }
    let Some(store) = view.root.layers()? else { return Ok(Some(ReadSoFar::default())) };
    let standing = Standing::new(&view.catalog);
    let layers = wanted(view, report, images);
    let mut found = read_each(&layers, reading, |record| {
        let below = record.parent.and_then(|parent| view.catalog.layer(parent)).map(|below| &below.cache_id);
        let journal = store.journal(record.chain_id)?;
        read(view, record, journal, below, reading)
    });
    if view.root.home_layout().is_some_and(|layout| !layout.changes) {
        drop_consequences(&layers, &mut found);
    }
    let mut so_far = ReadSoFar::default();
    let mut interrupted = reading.interrupted.load(Ordering::Relaxed);
    for (record, found) in layers.iter().zip(found) {
        match found {
            None | Some(Err(Failure::Verify(VerifyError::Interrupted))) => interrupted = true,
            Some(found) => {
                so_far.layers += 1;
                so_far.bytes += found.as_ref().map_or(0, |verified| verified.bytes);
                if let Some(Judged { severity, cause, repair }) = judge(record, found) {
                    let (place, affected) = (Place::Layer(record.chain_id), standing.on_layer(record.chain_id));
                    report.findings.push(Finding { severity, place, cause, affected, repair });
                }
            }
        }
    }
    report.sort();
    Ok((!interrupted).then_some(so_far))
}

/// Where directories show the layers below as well, takes away the faults of a layer that are only faults of the layer
/// below: its copy is right, and the file that it was compared with is not.
fn drop_consequences(layers: &[&LayerRecord], found: &mut [Option<Result<Verified, Failure>>]) {
    let mut paths: HashMap<ChainId, (HashSet<Vec<u8>>, bool)> = HashMap::new();
    for (record, found) in layers.iter().zip(&*found) {
        if let Some(Ok(verified)) = found
            && !verified.faults.is_empty()
        {
            let faults = verified.faults.iter().map(|fault| fault.path.clone()).collect();
            paths.insert(record.chain_id, (faults, verified.more > 0));
        }
    }
    for (record, found) in layers.iter().zip(found) {
        let Some((below, more)) = record.parent.and_then(|below| paths.get(&below)) else { continue };
        let Some(Ok(verified)) = found else { continue };
        verified.faults.retain(|fault| !fault.by_below || !(*more || below.contains(&fault.path)));
        // If all listed faults were consequences of the layer below, the faults that are not listed count as
        // consequences, too.
        if *more && verified.faults.is_empty() && verified.diff_id == Some(record.diff_id) {
            verified.more = 0;
        }
    }
}

/// Calls `look` on each record with the threads of `reading`, and returns the results in the order of the records. Those
/// that no thread came to before reading was interrupted are `None`.
pub(crate) fn read_each<R: Send>(
    records: &[&LayerRecord],
    reading: &Reading<'_>,
    look: impl Fn(&LayerRecord) -> R + Sync,
) -> Vec<Option<R>> {
    layerfs::pool::map(records.len(), reading.threads.get(), |at| {
        let is_stopped = reading.interrupted.load(Ordering::Relaxed);
        (!is_stopped).then(|| look(records[at]))
    })
}

/// The layers to be read, the largest first, so that no thread begins a large one when the others are almost done.
/// Layers are left out whose records already say that there is nothing to compare.
fn wanted<'v>(view: &'v View, report: &CheckReport, images: Option<&[ImageId]>) -> Vec<&'v LayerRecord> {
    let told = |finding: &&Finding| {
        matches!(finding.repair, Some(Repair::RebuildJournal { .. } | Repair::ReextractLayer { .. }))
    };
    let damaged: HashSet<&Place> = report.findings.iter().filter(told).map(|finding| &finding.place).collect();
    let catalog = &view.catalog;
    let of_images: Option<BTreeSet<ChainId>> = images.map(|images| {
        let sound = images.iter().filter_map(|id| Some(catalog.images.get(id)?.chain.as_slice()));
        let damaged = images.iter().filter_map(|id| catalog.layers_of_damaged(*id));
        sound.chain(damaged).flatten().copied().collect()
    });
    let is_wanted = |record: &&LayerRecord| {
        of_images.as_ref().is_none_or(|wanted| wanted.contains(&record.chain_id))
            && !damaged.contains(&Place::Layer(record.chain_id))
    };
    let mut layers: Vec<&LayerRecord> = catalog.layers.values().flatten().filter(is_wanted).collect();
    layers.sort_by_key(|record| (std::cmp::Reverse(record.size), record.chain_id));
    layers
}

/// Whether files should have the owners that the layers' tars say. They have other owners if the daemon maps users, or
/// if a user other than root has written them.
pub(crate) fn keeps_owners(home: Option<&Dir>) -> bool {
    let root = home.and_then(|home| rustix::fs::fstat(home).ok());
    root.is_some_and(|home| (home.st_uid, home.st_gid) == (0, 0))
        && xattr_namespace().is_ok_and(|namespace| namespace == layerfs::apply::XattrNamespace::Trusted)
}

/// Why the files of a layer could not be compared.
pub(crate) enum Failure {
    /// The store cannot be read.
    Store(StoreError),
    /// The layer cannot be read.
    Verify(VerifyError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Compares the files of a layer with its journal. `below` is the directory of the layer below, for drivers whose
/// directories show that layer as well.
pub(crate) fn read(
    view: &View,
    record: &LayerRecord,
    journal: Option<File>,
    below: Option<&CacheId>,
    reading: &Reading<'_>,
) -> Result<Verified, Failure> {
    let Some(driver) = &view.root.driver else {
        let reason = "its storage driver is not known here".to_owned();
        return Err(StoreError::Invalid { path: view.root.dir.join(&view.root.driver_name), reason }.into());
    };
    reading.observer.begin(record);
    let compare = || {
        let tree = driver.content(&record.cache_id)?;
        let shows = if view.root.home_layout().is_none_or(|layout| layout.changes) {
            Shows::LayerAlone
        } else {
            Shows::Below(below.map(|below| driver.content(below)).transpose()?.map(Into::into))
        };
        let missing = || VerifyError::Journal { reason: "it is missing".into() };
        let journal = BufReader::with_capacity(128 << 10, journal.ok_or_else(missing).map_err(Failure::Verify)?);
        let owners = keeps_owners(view.root.home.as_ref());
        let comparison = Comparison { tree: tree.as_fd(), shows, owners, most: MOST_FAULTS };
        let advance = |bytes| reading.observer.advance(record, bytes);
        verify(journal, &comparison, &advance, reading.interrupted).map_err(Failure::Verify)
    };
    let found = compare();
    if let Err(Failure::Verify(error)) = &found
        && let Some(errno) = error.shortage()
    {
        view.root.dir.note_shortage(errno);
    }
    reading.observer.end(record);
    found
}

/// What is wrong with a layer whose files were read.
pub(crate) struct Judged {
    pub(crate) severity: Severity,
    pub(crate) cause: Cause,
    pub(crate) repair: Option<Repair>,
}

/// Judges what was read of a layer; `None` if nothing is wrong.
pub(crate) fn judge(record: &LayerRecord, found: Result<Verified, Failure>) -> Option<Judged> {
    let (layer, diff_id) = (record.chain_id, record.diff_id);
    let unknown = |reason| Judged { severity: Severity::Unknown, cause: Cause::Unknown { reason }, repair: None };
    let damage = |cause, repair| Judged { severity: Severity::Damage, cause, repair: Some(repair) };
    Some(match found {
        Err(Failure::Verify(VerifyError::Journal { reason })) => {
            damage(Cause::JournalInvalid { reason }, Repair::RebuildJournal { layer })
        }
        Err(Failure::Verify(error)) => unknown(with_causes(&error)),
        Err(Failure::Store(error)) => unknown(with_causes(&error)),
        Ok(Verified { faults, more, diff_id: found, .. }) if !faults.is_empty() || more > 0 => {
            let only_extra = found == Some(diff_id) && faults.iter().all(|fault| fault.kind == FaultKind::Extra);
            // If only metadata of files is wrong, journal and files still make the diff id. If they do not, the journal
            // is wrong as well, so the digest is reported.
            let found = found.filter(|found| *found != diff_id);
            let repair = if more == 0 && found.is_none() {
                let mut files: Vec<Vec<u8>> = faults.iter().map(|fault| fault.path.clone()).collect();
                files.dedup();
                if only_extra {
                    Repair::RemoveExtraFiles { layer, files }
                } else {
                    Repair::ReextractFiles { layer, files }
                }
            } else {
                Repair::ReextractLayer { layer }
            };
            damage(Cause::Content { files: faults, more, found }, repair)
        }
        Ok(Verified { diff_id: Some(found), .. }) if found == diff_id => return None,
        Ok(Verified { diff_id: found, .. }) => {
            damage(Cause::Content { files: Vec::new(), more: 0, found }, Repair::ReextractLayer { layer })
        }
    })
}
