//! Plans the repair of layers' contents and journals.

use std::fs::File;

use layerfs::ChainId;

use super::Planner;
use crate::catalog::Subject;
use crate::check::keeps_owners;
use crate::dir::Dir;
use crate::parallel;
use crate::repair::content::{self, Fault};
use crate::repair::error::RepairError;
use crate::repair::mending::{Advice, Mending};
use crate::schema::layer::LayerRecord;

/// What is wrong with a layer's content or journal.
enum Found {
    Nothing,
    /// The content is missing, or has changed.
    Content(String),
    /// The journal is missing or broken. Without it, the content cannot be judged.
    Journal(String),
    /// The journal is broken, but what can be read of it makes the layer.
    Salvageable(String),
    /// It cannot be checked.
    Unknown(String),
}

impl Planner<'_> {
    /// Looks at the layers that have, or will have, a record: whether they have content and a journal. If the user
    /// asked for that, or if a source could help, also checks that both make the diff id.
    pub(super) fn plan_contents(&mut self) -> Result<(), RepairError> {
        if self.view.root.driver.is_none() {
            return Ok(());
        }
        let records: Vec<LayerRecord> =
            self.records.values().filter(|record| self.is_chosen(record.chain_id)).cloned().collect();
        let found = {
            let this = &*self;
            parallel::map(&records, |record| this.look_at(record))
        };
        for (record, found) in records.iter().zip(found) {
            let (layer, subject) = (record.chain_id, Subject::Layer(record.chain_id));
            let has_source = self.donors.has_layer(record.diff_id);
            if !matches!(found, Found::Content(_) | Found::Unknown(_)) || has_source {
                self.filled.insert(layer);
            }
            match found {
                Found::Nothing => {}
                Found::Salvageable(cause) => self.step(subject, cause, Mending::SalvageJournal { layer }),
                Found::Content(cause) | Found::Journal(cause) if has_source => {
                    self.step(subject, cause, Mending::RefillLayer { layer });
                }
                Found::Content(reason) => {
                    let used = self.view.catalog.uses(layer).next().is_some();
                    self.cannot(subject, reason, if used { Advice::LoadAgain } else { Advice::CollectLater });
                }
                Found::Journal(reason) => {
                    let reason = format!("{reason}: it runs, but cannot be saved or pushed");
                    self.cannot(subject, reason, Advice::NameSource);
                }
                Found::Unknown(reason) => self.cannot(subject, reason, Advice::LookAtFile),
            }
        }
        Ok(())
    }

    fn look_at(&self, record: &LayerRecord) -> Found {
        let content = match self.view.root.content(&record.cache_id) {
            Ok(Some(content)) => content,
            Ok(None) => return Found::Content(format!("the content of its directory {} is missing", record.cache_id)),
            Err(error) => return Found::Unknown(crate::catalog::with_causes(&error)),
        };
        // If the record will be moved, its journal is still under the chain id that it has now.
        let journal = match self.layers.journal(self.name_now(record.chain_id)) {
            Ok(journal) => journal,
            Err(error) => return Found::Unknown(crate::catalog::with_causes(&error)),
        };
        let Some(journal) = journal else { return Found::Journal("tar-split.json.gz is missing".into()) };
        let thorough = self.deep || self.donors.has_layer(record.diff_id);
        let fault = if thorough {
            self.compare(record, journal, content)
        } else {
            content::begins_well(journal).err().map(Fault::Journal)
        };
        match fault {
            None => Found::Nothing,
            Some(Fault::Content(cause)) => Found::Content(cause),
            Some(Fault::Journal(cause)) if self.is_salvageable(record) => Found::Salvageable(cause),
            Some(Fault::Journal(cause)) => Found::Journal(cause),
        }
    }

    /// Why a journal and a directory do not match the layer; `None` if they do. If the driver's directories contain the
    /// layers below as well, files that do not belong to this layer cannot be found.
    fn compare(&self, record: &LayerRecord, journal: File, content: Dir) -> Option<Fault> {
        if self.view.root.home_layout().is_some_and(|layout| layout.changes) {
            let owners = keeps_owners(self.view.root.home.as_ref());
            return content::compare(journal, &content, owners, record.diff_id).err();
        }
        replay(record, journal, content)
    }

    fn name_now(&self, layer: ChainId) -> ChainId {
        let moved = self.plan.steps.iter().find_map(|step| match step.mending {
            Mending::RenameRecord { from, to } if to == layer => Some(from),
            _ => None,
        });
        moved.unwrap_or(layer)
    }

    /// Whether what can be read of a broken journal makes the layer.
    fn is_salvageable(&self, record: &LayerRecord) -> bool {
        let journal = self.layers.journal(self.name_now(record.chain_id)).ok().flatten();
        let content = self.view.root.content(&record.cache_id).ok().flatten();
        let (Some(saved), Some(content)) = (journal.and_then(content::salvage), content) else { return false };
        content::replay(saved.as_slice(), content).is_ok_and(|found| found == record.diff_id)
    }
}

/// Why a journal and a directory do not make the layer's diff id; `None` if they do.
fn replay(record: &LayerRecord, journal: File, content: Dir) -> Option<Fault> {
    match content::replay(journal, content) {
        Ok(found) if found == record.diff_id => None,
        Ok(found) => Some(Fault::Content(format!("its files and its journal make {found}, not {}", record.diff_id))),
        Err(fault) => Some(fault),
    }
}
