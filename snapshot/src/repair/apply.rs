//! Does the steps of a plan, and plans again until no further step helps.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;

use layerfs::{ChainId, DiffId, Source, Unpacked, Unpacking};

use super::content;
use super::donor::{Donor, Donors};
use super::error::RepairError;
use super::mending::{Advice, Mending, RepairStep, Unmended};
use super::names;
use super::planning::{Known, RepairPlan, Scope};
use crate::check::{ReadObserver, Reading, keeps_owners};
use crate::dir::Dir;
use crate::driver::{Driver, HomeLayout};
use crate::edit::{Refill, Slot, Transaction, WriteOptions};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::root::{DataRoot, Guard};
use crate::schema::layer::{LayerRecord, RecordField};
use crate::view::{Needs, View};

/// How many rounds of planning and mending there are at most. What one round mends may show what the next can mend, but
/// more than a few rounds never help.
const ROUNDS: usize = 6;

/// How to repair.
#[derive(Debug, Clone, Copy)]
pub struct RepairOptions {
    /// How the store is written to.
    pub write: WriteOptions,
    /// How many threads work while a layer is unpacked.
    pub threads: usize,
}

/// What was mended, and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repaired {
    /// The steps that were done, in this order.
    pub done: Vec<RepairStep>,
    /// What is still wrong.
    pub unmended: Vec<Unmended>,
}

/// Plans what [`repair`] would do in its first round. Writes nothing, but asks for the same permit, so it fails while a
/// daemon runs.
///
/// # Errors
/// [`RepairError`]
pub fn plan(
    root: &Path,
    donors: &Donors,
    scope: Scope<'_>,
    driver: Option<&'static str>,
) -> Result<RepairPlan, RepairError> {
    Ok(look(root, donors, scope, driver, &mut Known::default())?.0)
}

/// Returns the plan, and whether a transaction of ours was left unfinished.
fn look(
    root: &Path,
    donors: &Donors,
    scope: Scope<'_>,
    driver: Option<&'static str>,
    known: &mut Known,
) -> Result<(RepairPlan, bool), RepairError> {
    // Fail if the root does not exist: the guard permits writing to a root that is still to be made.
    DataRoot::find(root, driver)?;
    let permit = Guard { driver }.ask(root)?;
    let view = View::read(root, driver, Needs::CHECK)?;
    let plan = RepairPlan::make_again(&view, donors, scope, known)?;
    let ours = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("layerfs-"));
    let unfinished = view.leftovers()?.iter().any(|leftover| ours(&leftover.path));
    drop(permit);
    Ok((plan, unfinished))
}

/// Mends what can be mended of the data-root at `root`. A store without any damage is not touched.
///
/// `observer` is told about each step when it is done. When the flag of [`Scope::reading`] asks to stop, the step that
/// was begun is finished, and no other is begun.
///
/// # Errors
/// [`RepairError`]. The steps done before stay done, and the next repair does the rest.
pub fn repair(
    root: &Path,
    donors: &Donors,
    scope: Scope<'_>,
    options: RepairOptions,
    observer: &mut dyn FnMut(&RepairStep),
) -> Result<Repaired, RepairError> {
    let driver = options.write.driver;
    let mut known = Known::default();
    let (plan, unfinished) = look(root, donors, scope, driver, &mut known)?;
    if plan.steps.is_empty() && !unfinished {
        return Ok(Repaired { done: Vec::new(), unmended: plan.unmended });
    }
    let transaction = Transaction::begin(root, options.write)?;
    let mut work = Work { transaction, donors, reading: scope.reading, options, done: Vec::new() };
    for _ in 0..ROUNDS {
        let view = View::read(root, driver, Needs::CHECK)?;
        let plan = RepairPlan::make_again(&view, donors, scope, &mut known)?;
        drop(view);
        let new: Vec<&RepairStep> = plan.steps.iter().filter(|step| !work.done.contains(step)).collect();
        if new.is_empty() {
            return Ok(work.end(plan));
        }
        work.transaction.check_again()?;
        let before = work.done.len();
        for step in new {
            if scope.reading.interrupted.load(Ordering::Relaxed) {
                return Err(RepairError::Interrupted);
            }
            if work.perform(step)? {
                observer(step);
                work.done.push(step.clone());
            }
        }
        if work.done.len() == before {
            return Ok(work.end(plan));
        }
    }
    let view = View::read(root, driver, Needs::CHECK)?;
    let plan = RepairPlan::make_again(&view, donors, scope, &mut known)?;
    Ok(work.end(plan))
}

/// Which parts of a layer are good and need not be replaced.
#[derive(Debug, Default)]
struct Good {
    journal: bool,
    content: bool,
}

/// A repair in progress.
struct Work<'w> {
    transaction: Transaction,
    donors: &'w Donors,
    reading: Reading<'w>,
    options: RepairOptions,
    done: Vec<RepairStep>,
}

impl Work<'_> {
    /// The result: what was done, and what the last plan still finds damaged.
    fn end(self, plan: RepairPlan) -> Repaired {
        let mut unmended = plan.unmended;
        unmended.extend(plan.steps.into_iter().map(|step| {
            let advice = match step.mending {
                Mending::FinishRemoval { .. } | Mending::DropRecord { .. } => Advice::CollectLater,
                _ => Advice::LookAtFile,
            };
            Unmended {
                subject: step.subject,
                reason: format!("{}, and it did not help to {}", step.cause, step.mending),
                advice,
            }
        }));
        let done = self.done.into_iter().filter(|step| {
            // A step that had no effect does not count as done.
            !unmended.iter().any(|left| left.subject == step.subject && left.reason.starts_with(&step.cause))
        });
        Repaired { done: done.collect(), unmended }
    }

    /// Does a step. Returns whether it was done: a step that needs another step first waits for the next round.
    fn perform(&mut self, step: &RepairStep) -> Result<bool, RepairError> {
        let transaction = &self.transaction;
        match &step.mending {
            Mending::FinishRemoval { record } => {
                transaction.finish_removal(record)?;
                // The record stays if somebody may need its directory.
                return Ok(!transaction.root().layers.removing()?.contains(record));
            }
            Mending::RewriteNames { names } => {
                names::rewrite(&transaction.root().images_dir, names, transaction.syncs())?;
            }
            Mending::RenameRecord { from, to } => transaction.rename_record(*from, *to)?,
            Mending::DropRecord { layer } => transaction.drop_record(*layer)?,
            Mending::RestoreField { layer, field, value } => transaction.set_field(*layer, *field, value.as_deref())?,
            Mending::RestoreConfig { image } => match self.donors.config(*image) {
                Some(config) => transaction.put_config(&config)?,
                None => return Ok(false),
            },
            Mending::AddLayer { layer, diff_id, parent } => return self.add(*layer, *diff_id, *parent),
            Mending::SalvageJournal { layer } => {
                let journal = transaction.root().layers.journal(*layer)?;
                let Some(saved) = journal.and_then(content::salvage) else { return Ok(false) };
                transaction.set_journal(*layer, &saved)?;
            }
            Mending::RefillLayer { layer } => return self.refill(*layer, &[]),
            Mending::RefillFiles { layer, files } => return self.refill(*layer, files),
            Mending::RemoveExtraFiles { layer, files } => return self.remove_extra(*layer, files),
            Mending::RestoreMount { container, mount_id, init_id, parent } => {
                transaction.restore_mount(container, mount_id, init_id, *parent)?;
            }
            Mending::RestoreMountFile { mount, file, value } => transaction.set_mount_file(mount, file, value)?,
            Mending::Restack(what) => transaction.restack(what)?,
            Mending::ForgetImageParent { image } => transaction.forget_image_parent(*image)?,
            Mending::ForgetImageTime { image } => transaction.forget_image_time(*image)?,
        }
        Ok(true)
    }

    fn add(&mut self, layer: ChainId, diff_id: DiffId, parent: Option<ChainId>) -> Result<bool, RepairError> {
        let Some(below) = self.usable_parents(parent)? else { return Ok(false) };
        let cache_id = CacheId::random();
        let (slot, unpacked) =
            self.unpack(&LayerRecord { chain_id: layer, diff_id, parent, cache_id, size: 0 }, below.first())?;
        self.transaction.register(slot, layer, diff_id, parent, unpacked.size)?;
        Ok(true)
    }

    /// Unpacks a layer again and replaces these files of it, or all of it if none are named or they cannot be replaced
    /// one by one.
    fn refill(&mut self, layer: ChainId, files: &[Vec<u8>]) -> Result<bool, RepairError> {
        let Some(record) = self.transaction.root().layers.get(layer)? else { return Ok(false) };
        let below = match self.transaction.root().driver.order() {
            crate::driver::LayerOrder::Independent => Vec::new(),
            crate::driver::LayerOrder::ParentFirst => match self.usable_parents(record.parent)? {
                Some(below) => below,
                None => return Ok(false),
            },
        };
        let (slot, unpacked) = self.unpack(&record, below.first())?;
        if !files.is_empty() && self.transaction.refill_files(slot, &record.cache_id, files)? {
            return Ok(true);
        }
        let good = self.what_is_good(slot, &record)?;
        let directory = (!good.content).then_some(&record.cache_id);
        self.transaction.refill(slot, layer, Refill { directory, journal: !good.journal })?;
        // The size could not be measured while the content was missing.
        if record.size == 0 && unpacked.size > 0 {
            self.transaction.set_field(layer, RecordField::Size, Some(&unpacked.size.to_string()))?;
        }
        Ok(true)
    }

    /// Removes files that are not the layer's.
    fn remove_extra(&mut self, layer: ChainId, files: &[Vec<u8>]) -> Result<bool, RepairError> {
        let Some(record) = self.transaction.root().layers.get(layer)? else { return Ok(false) };
        let slot = self.transaction.stage()?;
        self.transaction.announce()?;
        drop(self.transaction.prepare(slot, None)?);
        let removed = self.transaction.refill_files(slot, &record.cache_id, files)?;
        if !removed {
            self.transaction.discard(slot)?;
        }
        Ok(removed)
    }

    /// Which of a layer's journal and content is good: the one that makes the layer's diff id together with the fresh
    /// copy of the other.
    fn what_is_good(&self, fresh: Slot, record: &LayerRecord) -> Result<Good, StoreError> {
        let root = self.transaction.root();
        let makes_it = |journal: Option<File>, content: Option<Dir>| {
            let (Some(journal), Some(content)) = (journal, content) else { return false };
            content::replay(journal, content) == Ok(Some(record.diff_id))
        };
        let fresh_content = root.driver.content(self.transaction.cache_id(fresh))?;
        let journal = makes_it(root.layers.journal(record.chain_id).ok().flatten(), Some(fresh_content));
        let fresh_journal = self.transaction.staged_journal(fresh)?;
        let content = match (fresh_journal, root.driver.content(&record.cache_id)) {
            (Some(fresh), Ok(content))
                if HomeLayout::of_driver(root.driver.name()).is_some_and(|layout| layout.changes) =>
            {
                let owners = keeps_owners(Some(root.driver.home()));
                content::is_as_written(fresh, &content, owners, record.diff_id).unwrap_or_default()
            }
            (fresh, content) => makes_it(fresh, content.ok()),
        };
        // Each is good with the copy of the other, but the two do not make the layer together: replace both.
        if journal && content { Ok(Good::default()) } else { Ok(Good { journal, content }) }
    }

    /// The directories of a layer and of all layers below it, the nearest first; `None` if a new layer cannot be put on
    /// top of it yet.
    fn usable_parents(&self, parent: Option<ChainId>) -> Result<Option<Vec<CacheId>>, StoreError> {
        let root = self.transaction.root();
        let (mut below, mut next) = (Vec::new(), parent);
        while let Some(layer) = next {
            let Some(fields) = root.layers.fields(layer)? else { return Ok(None) };
            let (Ok(id), Ok(below_it)) = (fields.cache_id, fields.parent) else { return Ok(None) };
            if below.contains(&id) {
                return Ok(None);
            }
            below.push(id);
            next = below_it;
        }
        let sound = below.split_first().map_or(Ok(None), |(top, others)| root.driver.damage(top, others))?.is_none();
        Ok(sound.then_some(below))
    }

    /// Unpacks a layer from the first source whose copy has the layer's diff id. Of `record`, only the chain id and the
    /// diff id count.
    fn unpack(&mut self, record: &LayerRecord, below: Option<&CacheId>) -> Result<(Slot, Unpacked), RepairError> {
        let mut failed = None;
        for donor in self.donors.with_layer(record.diff_id) {
            let slot = self.transaction.stage()?;
            self.reading.observer.begin(record);
            let unpacked = self.unpack_from(donor, slot, record, below);
            self.reading.observer.end(record);
            match unpacked {
                Ok(unpacked) => return Ok((slot, unpacked)),
                Err(error) => {
                    self.transaction.discard(slot)?;
                    // If the store cannot be written to, another source would not help.
                    if matches!(error, RepairError::Store(_)) {
                        return Err(error);
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        let gone = || RepairError::Donor {
            donor: "no source has it any more".into(),
            source: record.chain_id.to_string().into(),
        };
        Err(failed.unwrap_or_else(gone))
    }

    fn unpack_from(
        &self,
        donor: &dyn Donor,
        slot: Slot,
        record: &LayerRecord,
        below: Option<&CacheId>,
    ) -> Result<Unpacked, RepairError> {
        let (layer, expected) = (record.chain_id, record.diff_id);
        self.transaction.announce()?;
        let (target, journal) = self.transaction.prepare(slot, below)?;
        let cannot = |source| RepairError::Donor { donor: donor.name(), source };
        let tar = donor.layer(expected).map_err(cannot)?.ok_or_else(|| cannot("it has lost a layer".into()))?;
        let tar = Watched { tar, record, observer: self.reading.observer };
        let unpacked = Unpacking::begin(Source::Plain(Box::new(tar)), target, Some(journal))
            .and_then(|unpacking| unpacking.run(self.options.threads));
        let unpacked =
            unpacked.map_err(|source| RepairError::Unpack { layer, donor: donor.name(), source: Box::new(source) })?;
        let found = unpacked.diff_id;
        if found != expected {
            return Err(RepairError::DiffId { layer, donor: donor.name(), expected, found });
        }
        Ok(unpacked)
    }
}

/// A tar of which an observer is told how much was read.
struct Watched<'w> {
    tar: Box<dyn Read + Send + 'w>,
    record: &'w LayerRecord,
    observer: &'w dyn ReadObserver,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.tar.read(buffer)?;
        self.observer.advance(self.record, count as u64);
        Ok(count)
    }
}
