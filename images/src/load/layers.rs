//! The layers that the store lacks, each unpacked into its place in the transaction.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};

use layerfs::{ChainId, LayerFiles, Unpacked};
use tarsplit::journal::EntryReader;

use super::error::ImportError;
use super::options::ImportRequest;
use super::plan::{ImportPlan, MissingLayer};
use super::room;
use super::schedule::{Content, LayerTarget, Work, unpack_all, unpack_ordered};
use super::stream::Arrivals;
use super::write_back::WriteBack;
use crate::source::{ArchiveError, Blob, ImageSource, LayerBytes};
use snapshot::StoreError;
use snapshot::driver::Driver;
use snapshot::edit::{Slot, Transaction};

/// A layer that was unpacked into its place in the transaction.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(super) missing: MissingLayer,
    pub(super) slot: Slot,
    pub(super) unpacked: Unpacked,
}

/// The directories into which layers from a pipe are unpacked, by the number of each layer in the pipe.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    arrivals: Arrivals,
}

impl Slots {
    /// Adds the place of the next layer, and returns its number.
    pub(super) fn add(&mut self, slot: Slot) -> usize {
        self.slots.push(slot);
        self.slots.len() - 1
    }

    /// Records what was unpacked into these places.
    pub(super) fn fill(&mut self, arrivals: Arrivals) {
        self.arrivals = arrivals;
    }
}

/// Unpacks the missing layers of a plan, in the order that the driver wants. Layers that are unpacked already are
/// checked, and kept or discarded.
pub(super) fn stage(
    plan: &ImportPlan,
    source: &dyn ImageSource,
    slots: Slots,
    transaction: &mut Transaction,
    request: &ImportRequest<'_>,
) -> Result<Vec<Staged>, ImportError> {
    let Slots { slots, mut arrivals } = slots;
    if request.options.preflight && source.is_remote() {
        // The lengths in the manifests are checked before any byte is asked for.
        let descriptors = plan.missing.iter().filter_map(|missing| missing.source.descriptor.as_ref());
        let driver = transaction.root().driver();
        room::check_lengths(descriptors.map(|descriptor| descriptor.size), driver.home().path(), driver.room()?)?;
    }
    source.expect(&plan.missing.iter().map(|missing| &missing.source).collect::<Vec<_>>());
    let bytes = plan.missing.iter().map(|missing| source.layer(&missing.source)).collect::<Result<Vec<_>, _>>()?;
    if request.options.preflight {
        let files: Vec<&Blob> = bytes.iter().filter_map(file_of).collect();
        let driver = transaction.root().driver();
        room::check(&files, driver.home().path(), driver.room()?)?;
    }
    let mut staged: HashMap<usize, Staged> = HashMap::new();
    let (mut fresh, mut copies) = (Vec::new(), Vec::new());
    for (at, (missing, bytes)) in plan.missing.iter().zip(&bytes).enumerate() {
        let content = match bytes {
            LayerBytes::File(blob) => Content::File(blob),
            LayerBytes::Memory(bytes) => Content::Memory(bytes),
            LayerBytes::Fetched(fetched) => Content::Fetched(&**fetched),
            LayerBytes::Unpacked(number) => {
                match arrivals.remove(number) {
                    Some(unpacked) => {
                        check_diff_id(missing, &unpacked)?;
                        staged.insert(at, Staged { missing: missing.clone(), slot: slots[*number], unpacked });
                    }
                    None => copies.push((at, slots[*number])),
                }
                continue;
            }
            LayerBytes::PassedOver(_) => {
                return Err(ArchiveError::NotALayer { file: missing.source.name.clone() }.into());
            }
        };
        fresh.push((at, transaction.stage()?, work(missing, content)));
    }
    if !fresh.is_empty() {
        staged.extend(unpack_fresh(plan, fresh, transaction, request)?);
    }
    for (at, original) in copies {
        staged.insert(at, unpack_again(&plan.missing[at], original, transaction, request)?);
    }
    for number in arrivals.into_keys() {
        transaction.discard(slots[number])?;
    }
    let mut staged: Vec<(usize, Staged)> = staged.into_iter().collect();
    staged.sort_by_key(|(at, _)| *at);
    Ok(staged.into_iter().map(|(_, staged)| staged).collect())
}

fn file_of(bytes: &LayerBytes) -> Option<&Blob> {
    match bytes {
        LayerBytes::File(blob) => Some(blob),
        LayerBytes::Memory(_) | LayerBytes::Fetched(_) | LayerBytes::Unpacked(_) | LayerBytes::PassedOver(_) => None,
    }
}

fn work<'a>(missing: &MissingLayer, content: Content<'a>) -> Work<'a> {
    Work {
        name: missing.source.name.clone(),
        index: missing.index,
        diff_id: Some(missing.diff_id),
        digest: missing.source.descriptor.as_ref().map(|descriptor| descriptor.digest),
        step: missing.step.clone(),
        content,
    }
}

/// Checks a layer that came before its manifest against the config.
fn check_diff_id(missing: &MissingLayer, unpacked: &Unpacked) -> Result<(), ImportError> {
    let (index, expected, found) = (missing.index, missing.diff_id, unpacked.diff_id);
    if found == expected {
        return Ok(());
    }
    Err(ImportError::DiffId { layer: missing.source.name.clone(), index, expected, found })
}

fn unpack_fresh(
    plan: &ImportPlan,
    fresh: Vec<(usize, Slot, Work<'_>)>,
    transaction: &Transaction,
    request: &ImportRequest<'_>,
) -> Result<Vec<(usize, Staged)>, ImportError> {
    transaction.announce()?;
    let places: Vec<(usize, Slot)> = fresh.iter().map(|(at, slot, _)| (*at, *slot)).collect();
    let works = fresh.into_iter().map(|(_, _, work)| work).collect();
    // The directory of the layer below: unpacked by this import, or in the store already.
    let on_its_way: HashMap<ChainId, Slot> =
        places.iter().map(|(at, slot)| (plan.missing[*at].chain_id, *slot)).collect();
    let below = |chain_id: &ChainId| match on_its_way.get(chain_id) {
        Some(slot) => Some(transaction.cache_id(*slot)),
        None => plan.present.get(chain_id),
    };
    let place = |number: usize| {
        let (at, slot) = places[number];
        let parent = plan.missing[at].parent.as_ref().and_then(below);
        let (target, journal) = transaction.prepare(slot, parent)?;
        Ok(LayerTarget { target, journal: Some(journal) })
    };
    let write_back = WriteBack::begin(transaction.root().driver().home(), request.options.sync)?;
    let driver = transaction.root().driver();
    let unpacked = unpack_ordered(works, driver.order(), request, &place).map_err(|error| match error {
        // The kernel only says that an input or output has failed.
        ImportError::Layer { .. } | ImportError::Store(StoreError::Io { .. } | StoreError::Mapper(_)) => {
            driver.trouble().map_or(error, ImportError::Store)
        }
        other => other,
    })?;
    drop(write_back);
    let stage = |((at, slot), unpacked): ((usize, Slot), Unpacked)| {
        (at, Staged { missing: plan.missing[at].clone(), slot, unpacked })
    };
    Ok(places.into_iter().zip(unpacked).map(stage).collect())
}

/// Unpacks a layer of a stream a second time. The stream cannot be read again, so the layer's tar is put together from its
/// journal and its files.
fn unpack_again(
    missing: &MissingLayer,
    original: Slot,
    transaction: &mut Transaction,
    request: &ImportRequest<'_>,
) -> Result<Staged, ImportError> {
    let files = LayerFiles::new(transaction.root().driver().content(transaction.cache_id(original))?.into());
    let journal = transaction.journal(original)?;
    let broken = |source| ImportError::Archive(ArchiveError::Read { file: missing.source.name.clone(), source });
    let journal = rustix::fs::openat(&journal.dir, journal.name, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    let journal = File::from(journal.map_err(|errno| broken(errno.into()))?);
    let (reader, writer) = std::io::pipe().map_err(broken)?;
    let slot = transaction.stage()?;
    transaction.announce()?;
    let place = |_| {
        let (target, journal) = transaction.prepare(slot, None)?;
        Ok(LayerTarget { target, journal: Some(journal) })
    };
    let content = Content::Stream(Box::new(BufReader::with_capacity(128 << 10, reader)));
    // The digest of the file was checked when it came.
    let work = Work { digest: None, ..work(missing, content) };
    std::thread::scope(|scope| {
        let assemble = move || {
            tarsplit::assemble::assemble(EntryReader::new(BufReader::new(journal)), &files, BufWriter::new(writer))
        };
        let assembling = std::thread::Builder::new().spawn_scoped(scope, assemble).map_err(broken)?;
        let unpacked = unpack_all(vec![work], request, &place);
        // Ignore this error: a tar that was not put together to its end does not have the diff id either, and that error is
        // reported.
        let _ = assembling.join();
        let unpacked = unpacked?.pop().expect("one layer, one result");
        Ok(Staged { missing: missing.clone(), slot, unpacked })
    })
}
