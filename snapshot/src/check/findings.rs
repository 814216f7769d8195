//! Findings while they are collected: what has the same cause becomes one.

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
    /// Where the findings about a thing are.
    by_place: HashMap<Place, Vec<usize>>,
    /// Layers that are missing under their name, and the name that their record has.
    renamed: HashMap<ChainId, ChainId>,
    /// Layers whose chains are not known, since a record on them is not at its place.
    misnamed: HashSet<ChainId>,
    /// Directories that a container has lost.
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

    /// Adds a finding; to one that is there already, whom it affects.
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

    /// Adds whom the findings about a thing affect, if there are any that are damage. Returns whether there are.
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

    /// Whether there is damage of a thing.
    pub(super) fn is_damaged(&self, place: &Place) -> bool {
        let at_place = self.by_place.get(place).into_iter().flatten();
        at_place.into_iter().any(|at| self.found[*at].severity == Severity::Damage)
    }

    /// Notes that a layer has its record under another name.
    pub(super) fn note_renamed(&mut self, missing: ChainId, record: ChainId) {
        self.renamed.insert(missing, record);
    }

    /// Notes layers whose chains are not known.
    pub(super) fn note_misnamed(&mut self, layers: HashSet<ChainId>) {
        self.misnamed = layers;
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
