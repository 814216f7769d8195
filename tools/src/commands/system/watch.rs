//! Shows how far each layer is read, by a check or by a repair.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use images::load::{Announced, Observer};
use layerfs::ChainId;
use snapshot::check::ReadObserver;
use snapshot::schema::layer::LayerRecord;
use snapshot::view::View;

use crate::commands::layerfs::NAME;
use crate::progress::Progress;

/// Bars for the layers that are being read.
pub(super) struct Watch<'v> {
    progress: Progress,
    /// Says by which step of an image a layer was made.
    view: Option<&'v View>,
    /// The number of each layer, which says which bar is its own.
    numbers: Mutex<HashMap<ChainId, usize>>,
}

impl<'v> Watch<'v> {
    pub(super) fn new(view: Option<&'v View>, quiet: bool) -> Self {
        Self { progress: Progress::new(NAME, quiet), view, numbers: Mutex::default() }
    }

    fn number(&self, layer: &LayerRecord) -> usize {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = numbers.len();
        *numbers.entry(layer.chain_id).or_insert(next)
    }
}

impl ReadObserver for Watch<'_> {
    fn begin(&self, layer: &LayerRecord) {
        let step = self.view.and_then(|view| view.catalog().uses(layer.chain_id).find_map(|used| used.command()));
        let announced = Announced {
            name: "",
            diff_id: Some(layer.diff_id),
            step,
            total: Some(layer.size).filter(|size| *size > 0),
        };
        self.progress.begin(self.number(layer), &announced);
    }

    fn advance(&self, layer: &LayerRecord, bytes: u64) {
        self.progress.advance(self.number(layer), bytes);
    }

    fn end(&self, layer: &LayerRecord) {
        self.progress.end(self.number(layer));
    }
}
