//! Collects findings, and joins those with the same cause.

use std::collections::{HashMap, HashSet};

use layerfs::ChainId;

use super::finding::{Affected, Cause, Finding, Place, Severity};
use super::repair::Repair;
use super::standing::Standing;
use crate::catalog::Catalog;
use crate::view::View;

/// Collects findings.
#[derive(Debug)]
pub(super) struct Findings<'v> {
    pub(super) view: &'v View,
    pub(super) standing: &'v Standing<'v>,
    found: Vec<Finding>,
    /// The indices of the findings about each thing.
    by_place: HashMap<Place, Vec<usize>>,
    /// Layers without a record under their chain id, and the chain id under which their record is.
    renamed: HashMap<ChainId, ChainId>,
    /// Layers whose chains are not known, because a record in the chain is under a wrong chain id, or names a directory
    /// that may be another's.
    misnamed: HashSet<ChainId>,
    /// Directories of containers that have lost their mounts.
    pub(super) adopted: HashSet<String>,
}

impl<'v> Findings<'v> {
    pub(super) fn new(view: &'v View, standing: &'v Standing<'v>) -> Self {
        Self {
            view,
            standing,
            found: Vec::new(),
            by_place: HashMap::new(),
            renamed: HashMap::new(),
            misnamed: HashSet::new(),
            adopted: HashSet::new(),
        }
    }

    pub(super) fn catalog(&self) -> &'v Catalog {
        &self.view.catalog
    }

    /// Adds a finding. If there is one with the same cause already, only adds whom it affects.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        place: Place,
        cause: Cause,
        affected: Affected,
        repair: Option<Repair>,
    ) {
        let at_place = self.by_place.entry(place.clone()).or_default();
        if let Some(at) = at_place.iter().find(|at| self.found[**at].cause == cause) {
            self.found[*at].affected.join(affected);
            return;
        }
        at_place.push(self.found.len());
        self.found.push(Finding { severity, place, cause, affected, repair });
    }

    /// Adds `affected` to those whom the damage of a thing affects. Returns whether any damage of the thing was found.
    pub(super) fn join(&mut self, place: &Place, affected: &Affected) -> bool {
        let mut known = false;
        let renamed = match place {
            Place::Layer(layer) => self.renamed.get(layer).map(|layer| Place::Layer(*layer)),
            _ => None,
        };
        for at in self.by_place.get(renamed.as_ref().unwrap_or(place)).into_iter().flatten() {
            let finding = &mut self.found[*at];
            if finding.severity == Severity::Damage {
                finding.affected.join(affected.clone());
                known = true;
            }
        }
        known
    }

    /// Whether damage of a thing was found.
    pub(super) fn is_damaged(&self, place: &Place) -> bool {
        let at_place = self.by_place.get(place).into_iter().flatten();
        at_place.into_iter().any(|at| self.found[*at].severity == Severity::Damage)
    }

    /// Notes that the record of a layer is under another chain id.
    pub(super) fn note_renamed(&mut self, missing: ChainId, record: ChainId) {
        self.renamed.insert(missing, record);
    }

    /// Notes layers whose chains are not known.
    pub(super) fn note_misnamed(&mut self, layers: HashSet<ChainId>) {
        self.misnamed.extend(layers);
    }

    /// Whether it is not known what is below a layer.
    pub(super) fn is_misnamed(&self, layer: ChainId) -> bool {
        self.misnamed.contains(&layer)
    }

    /// All findings.
    pub(super) fn all(self) -> Vec<Finding> {
        self.found
    }
}
