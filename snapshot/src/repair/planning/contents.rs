//! Plans the repair of layers' contents and journals. What is wrong, and what mends it, is what a
//! [check](crate::check::contents()) finds.

use std::fs::File;

use layerfs::DiffId;
use layerfs::verify::VerifyError;

use super::RepairPlanner;
use crate::catalog::{Subject, with_causes};
use crate::check::{Cause, Failure, Judged, Repair, judge, read, read_each};
use crate::repair::content;
use crate::repair::error::RepairError;
use crate::repair::mending::{Advice, Mending};
use crate::schema::layer::LayerRecord;

/// What was found in a layer's directory and its journal.
enum LayerContent {
    Nothing,
    /// The files were read, and are the layer's.
    Sound,
    /// The whole content is missing.
    NoContent(String),
    /// What a check finds, and whether what can be read of the journal makes the layer.
    Wrong {
        cause: String,
        repair: Option<Repair>,
        salvageable: bool,
    },
    Interrupted,
}

impl RepairPlanner<'_> {
    /// Looks at the layers that have, or will have, a record: whether they have content and a journal. If the user
    /// asked for that, or if a source could help, also checks that both make the diff id.
    pub(super) fn plan_contents(&mut self) -> Result<(), RepairError> {
        if self.view.root.driver.is_none() {
            return Ok(());
        }
        let mut records: Vec<LayerRecord> =
            self.records.values().filter(|record| self.is_chosen(record.chain_id)).cloned().collect();
        // The largest first, so that no thread begins a large one when the others are almost done.
        records.sort_by_key(|record| (std::cmp::Reverse(record.size), record.chain_id));
        let each: Vec<&LayerRecord> = records.iter().collect();
        let found = {
            let this = &*self;
            read_each(&each, &this.reading, |record| this.look_at(record))
        };
        for (record, found) in records.iter().zip(found) {
            let (layer, subject) = (record.chain_id, Subject::Layer(record.chain_id));
            let has_source = self.donors.has_layer(record.diff_id);
            let found = found.unwrap_or(LayerContent::Interrupted);
            let lost = matches!(found, LayerContent::NoContent(_) | LayerContent::Wrong { repair: None, .. });
            if !lost || has_source {
                self.filled.insert(layer);
            }
            let (cause, repair, salvageable) = match found {
                LayerContent::Interrupted => return Err(RepairError::Interrupted),
                LayerContent::Nothing => continue,
                LayerContent::Sound => {
                    self.known.sound.insert(record.cache_id.clone());
                    continue;
                }
                LayerContent::NoContent(cause) => (cause, Some(Repair::ReextractLayer { layer }), false),
                LayerContent::Wrong { cause, repair, salvageable } => (cause, repair, salvageable),
            };
            match repair {
                Some(_) if salvageable => {
                    self.step(subject, cause, Mending::SalvageJournal { layer });
                }
                Some(Repair::RemoveExtraFiles { files, .. }) if self.has_single_files() => {
                    self.step(subject, cause, Mending::RemoveExtraFiles { layer, files });
                }
                Some(Repair::ReextractFiles { files, .. }) if has_source && self.has_single_files() => {
                    self.step(subject, cause, Mending::RefillFiles { layer, files });
                }
                Some(_) if has_source => self.step(subject, cause, Mending::RefillLayer { layer }),
                Some(Repair::RebuildJournal { .. }) => {
                    let reason = format!("{cause}: it runs, but cannot be saved or pushed");
                    self.cannot(subject, reason, Advice::NameSource);
                }
                Some(_) => {
                    let used = self.view.catalog.uses(layer).next().is_some();
                    self.cannot(subject, cause, if used { Advice::LoadAgain } else { Advice::CollectLater });
                }
                None => self.cannot(subject, cause, Advice::LookAtFile),
            }
        }
        Ok(())
    }

    /// Whether a layer's directory has only the layer's own files, so that one of them can be replaced by itself. Where
    /// a directory shows the layers below as well, those above have copies of each file.
    pub(super) fn has_single_files(&self) -> bool {
        self.view.root.home_layout().is_some_and(|layout| layout.changes)
    }

    fn look_at(&self, record: &LayerRecord) -> LayerContent {
        let layer = record.chain_id;
        let unknown = |error: &crate::StoreError| LayerContent::Wrong {
            cause: with_causes(error),
            repair: None,
            salvageable: false,
        };
        match self.view.root.content(&record.cache_id) {
            Ok(Some(_)) => {}
            Ok(None) => {
                return LayerContent::NoContent(format!("the content of its directory {} is missing", record.cache_id));
            }
            Err(error) => return unknown(&error),
        }
        let journal = match self.layers.journal(self.name_now(layer)) {
            Ok(journal) => journal,
            Err(error) => return unknown(&error),
        };
        let broken = |cause| LayerContent::Wrong {
            cause,
            repair: Some(Repair::RebuildJournal { layer }),
            salvageable: self.is_salvageable(record),
        };
        let Some(journal) = journal else { return broken("tar-split.json.gz is missing".into()) };
        if !self.deep && !self.donors.has_layer(record.diff_id) {
            let begun = content::begins_well(journal);
            return begun
                .map_or_else(|reason| broken(format!("tar-split.json.gz: {reason}")), |()| LayerContent::Nothing);
        }
        if self.known.sound.contains(&record.cache_id) {
            return LayerContent::Nothing;
        }
        self.compare(record, journal)
    }

    fn compare(&self, record: &LayerRecord, journal: File) -> LayerContent {
        if !self.has_single_files() {
            // Compare the layer's own files only. The directory also shows files of the layer below; if they differ
            // from that layer, that layer may be the damaged one.
            let content = self.view.root.content(&record.cache_id).map_err(|error| with_causes(&error));
            let replayed =
                content.and_then(|content| content.map_or(Ok(None), |content| content::replay(journal, content)));
            let Some((cause, repair)) = judge_replay(record, replayed) else { return LayerContent::Sound };
            let salvageable = repair.is_some() && self.is_salvageable(record);
            return LayerContent::Wrong { cause, repair, salvageable };
        }
        let found = read(self.view, record, Some(journal), None, &self.reading);
        if matches!(found, Err(Failure::Verify(VerifyError::Interrupted))) {
            return LayerContent::Interrupted;
        }
        let Some(Judged { cause, repair, .. }) = judge(record, found) else { return LayerContent::Sound };
        let salvageable = matches!(repair, Some(Repair::RebuildJournal { .. })) && self.is_salvageable(record);
        let cause = match cause {
            Cause::JournalInvalid { reason } => format!("tar-split.json.gz: {reason}"),
            cause => cause.to_string(),
        };
        LayerContent::Wrong { cause, repair, salvageable }
    }

    /// Whether what can be read of a broken journal makes the layer.
    fn is_salvageable(&self, record: &LayerRecord) -> bool {
        let journal = self.layers.journal(self.name_now(record.chain_id)).ok().flatten();
        let content = self.view.root.content(&record.cache_id).ok().flatten();
        let (Some(saved), Some(content)) = (journal.and_then(content::salvage), content) else { return false };
        content::replay(saved.as_slice(), content) == Ok(Some(record.diff_id))
    }
}

/// What is wrong with a layer whose journal and content were put together, and what mends it; `None` if nothing is. What
/// cannot be read is not known to differ.
fn judge_replay(record: &LayerRecord, replayed: Result<Option<DiffId>, String>) -> Option<(String, Option<Repair>)> {
    match replayed {
        Err(cause) => Some((cause, None)),
        Ok(Some(found)) if found == record.diff_id => None,
        Ok(found) => {
            let cause = Cause::Content { files: Vec::new(), more: 0, found }.to_string();
            Some((cause, Some(Repair::ReextractLayer { layer: record.chain_id })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;
    use layerfs::{ChainId, Digest};

    #[test]
    fn a_layer_that_cannot_be_read_is_not_said_to_differ() {
        let diff_id = DiffId(Digest::hash(b"layer"));
        let chain_id = ChainId::next(None, diff_id);
        let cache_id = "a".parse().unwrap();
        let record = LayerRecord { chain_id, diff_id, parent: None, cache_id, size: 1 };
        let temp = tempfile::tempdir().unwrap();
        let replay = |journal: File| content::replay(journal, Dir::open(temp.path()).unwrap());
        // No process has memory at address 0, so the kernel cannot read there.
        let unread = judge_replay(&record, replay(File::open("/proc/self/mem").unwrap())).unwrap();
        assert!(unread.1.is_none() && unread.0.contains("Input/output error"), "{unread:?}");
        let other = judge_replay(&record, replay(File::open("/dev/null").unwrap())).unwrap();
        assert_eq!(other.1, Some(Repair::ReextractLayer { layer: chain_id }));
        assert_eq!(judge_replay(&record, Ok(Some(diff_id))), None);
    }
}
