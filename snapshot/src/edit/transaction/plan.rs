//! The plan of a transaction: what it is going to change, found out before it registers or removes anything. The plan
//! is the content of its record of intent.

use std::collections::{BTreeSet, HashSet};

use layerfs::ChainId;

use super::Transaction;
use crate::edit::changes::{Edit, KeptLayer, Slot};
use crate::edit::clear::{KeptRemains, orphan_mounts};
use crate::edit::record::{Note, Record};
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::liveness::{Departing, Owners};
use crate::reference::Reference;
use crate::schema::layer::LayerStore;
use crate::schema::references::References;

impl Transaction {
    /// Plans everything but the removals: fills the record, and returns the names as they will be.
    pub(super) fn plan(
        &self,
        edits: &[Edit],
        layers: &[(Slot, ChainId)],
        before: &References,
    ) -> Result<(Record, References), StoreError> {
        let mut record = Record { added_layers: layers.iter().map(|(_, id)| *id).collect(), ..Record::default() };
        let mut after = before.clone();
        let mut touched: Vec<&Reference> = Vec::new();
        for edit in edits {
            match edit {
                Edit::AddLayer { .. } | Edit::RemoveLayer { .. } | Edit::Clear { .. } | Edit::NoteSource { .. } => {}
                Edit::AddImage { config, parent } => {
                    let id = ImageId(layerfs::Digest::hash(config));
                    let there = self.root.images.config(id)?.is_some();
                    if !there && !record.added_images.contains(&id) {
                        record.added_images.push(id);
                    }
                    let noted = self.root.images.metadata(id, "parent")?;
                    if let Some(parent) = parent.filter(|parent| there && noted != Some(parent.to_string())) {
                        record.notes.push((id, Note::Parent(parent)));
                    }
                }
                Edit::SetTag { reference, image } => {
                    after.tag(reference, *image);
                    touched.push(reference);
                }
                Edit::Untag { reference } => {
                    after.untag(reference);
                    touched.push(reference);
                }
                Edit::SetLastUpdated { image, time } => {
                    record.notes.push((*image, Note::LastUpdated(time.clone())));
                }
                Edit::RemoveImage { image } => record.removed_images.push(*image),
            }
        }
        let mut seen = HashSet::new();
        for reference in touched.into_iter().filter(|reference| seen.insert(*reference)) {
            let image = after.get(reference);
            if image != before.get(reference) {
                record.names.push((reference.clone(), image));
            }
        }
        Ok((record, after))
    }

    /// Plans the removals: which layers and remains go, and which stay although they were to go.
    pub(super) fn plan_removals(
        &self,
        edits: &[Edit],
        record: &mut Record,
    ) -> Result<(Vec<KeptLayer>, Vec<KeptRemains>), StoreError> {
        let (mut leaving, mut cleared) = (Vec::new(), BTreeSet::new());
        for edit in edits {
            match edit {
                Edit::RemoveLayer { chain_id } => leaving.push(*chain_id),
                Edit::Clear { remains } => drop(cleared.insert(remains.clone())),
                _ => {}
            }
        }
        record.cleared = cleared.into_iter().collect();
        let (mounts, refused) = orphan_mounts(&self.root, &record.cleared)?;
        record.cleared.retain(|remains| !refused.iter().any(|kept| kept.remains == *remains));
        let mut kept = Vec::new();
        if !leaving.is_empty() {
            let images = record.removed_images.iter().copied().collect();
            let owners = Owners::read_all(&self.root, &Departing { images, mounts })?;
            let (going, staying) = owners.removable(&leaving);
            record.removed_layers = going.into_iter().map(|id| (id, LayerStore::removing_name(id))).collect();
            kept.extend(staying.into_iter().map(|(chain_id, reason)| KeptLayer { chain_id, reason }));
        }
        Ok((kept, refused))
    }
}
