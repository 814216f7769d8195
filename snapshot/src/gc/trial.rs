//! Measures what would be freed so far, while images are chosen to reach a target.

use std::collections::HashSet;
use std::path::PathBuf;

use layerfs::ChainId;

use super::images::Candidate;
use super::measure::{LinksRemoved, Measured, measure};
use super::planner::{GcPlanner, directories_of};
use super::remains::{self, RemainsFound, YoungDirectories};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Departure;

/// The bytes that are freed so far.
pub(super) struct Trial {
    pub(super) bytes: u64,
    freed: LinksRemoved,
}

impl Trial {
    /// Begins with the remains, which are removed in any case.
    pub(super) fn new(
        planner: &GcPlanner<'_>,
        departure: &Departure,
        found: &RemainsFound,
        named: &HashSet<CacheId>,
        young: &YoungDirectories,
    ) -> Result<Self, StoreError> {
        let view = planner.view;
        let named = named.union(&directories_of(view, departure)).cloned().collect();
        let gone = view.liveness.once_gone(departure);
        let mut orphans = RemainsFound::default();
        remains::add_orphans(view, young, &gone, &named, &mut orphans)?;
        let mut seen = HashSet::new();
        let mut paths: Vec<Vec<PathBuf>> = Vec::new();
        for (thing, _) in found.going.iter().chain(&orphans.going) {
            let mut own = planner.paths(thing, &gone)?;
            own.retain(|path| seen.insert(path.clone()));
            paths.push(own);
        }
        let mut trial = Self { bytes: 0, freed: LinksRemoved::default() };
        trial.take(&measure(&view.root.dir, &paths, |paths| paths));
        Ok(trial)
    }

    fn take(&mut self, measured: &[Measured]) {
        self.bytes += measured.iter().map(|one| self.freed.add(one)).sum::<u64>();
    }

    /// Adds images and layers.
    pub(super) fn add(&mut self, planner: &GcPlanner<'_>, images: &[Candidate], layers: &[ChainId]) {
        let mut paths: Vec<Vec<PathBuf>> = images.iter().map(|image| planner.paths_of_image(image.id)).collect();
        let records = layers.iter().filter_map(|chain| planner.view.catalog.layer(*chain));
        paths.extend(records.map(|layer| planner.paths_of_layer(layer.chain_id, &layer.cache_id)));
        self.take(&measure(&planner.view.root.dir, &paths, |paths| paths));
    }
}
