//! What a push says while it goes on.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use images::load::{Announced, Observer};
use layerfs::DiffId;
use registry::{Arrival, PushListener, PushedLayer, RegistryError};

use crate::commands::layerfs::NAME;
use crate::output;
use crate::progress::Progress;

/// docker's lines for a reader that is no terminal; bars for one that is.
pub(super) struct Lines {
    bars: Progress,
    plain: bool,
    quiet: bool,
    /// Layers that are sent at once; the others wait.
    at_once: usize,
    /// The number of each layer's bar, and how many bytes it shows.
    shown: Mutex<HashMap<DiffId, (usize, u64)>>,
}

impl Lines {
    pub(super) fn new(quiet: bool, at_once: usize) -> Self {
        let plain = !quiet && !std::io::stdout().is_terminal();
        Self { bars: Progress::new(NAME, quiet || plain), plain, quiet, at_once, shown: Mutex::default() }
    }

    fn say(&self, layer: DiffId, what: &str) {
        if self.plain {
            // A reader that is gone is noticed when the program ends.
            let _ = output::say(&format!("{}: {what}", layer.0.short()));
        }
    }
}

impl PushListener for Lines {
    fn planned(&self, layers: &[DiffId]) {
        layers.iter().for_each(|layer| self.say(*layer, "Preparing"));
        layers.iter().skip(self.at_once).for_each(|layer| self.say(*layer, "Waiting"));
    }

    fn begin(&self, layer: DiffId, size: u64) {
        let number = {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let number = shown.len();
            shown.insert(layer, (number, 0));
            number
        };
        self.bars.begin(number, &Announced { name: "", diff_id: Some(layer), step: None, total: Some(size) });
    }

    fn advance(&self, layer: DiffId, bytes: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, before)) = shown.get_mut(&layer) {
            // An attempt that begins anew shows nothing until it is past the one before.
            self.bars.advance(*number, bytes.saturating_sub(*before));
            *before = bytes.max(*before);
        }
    }

    fn retry(&self, layer: DiffId, pause: Duration, error: &RegistryError) {
        let seconds = output::counted(pause.as_secs().max(1), "second");
        self.say(layer, &format!("Retrying in {seconds}"));
        if !self.quiet {
            output::complain(NAME, &format!("{}: {error}", layer.0.short()));
        }
    }

    fn end(&self, layer: &PushedLayer) {
        if let Some((number, _)) =
            self.shown.lock().unwrap_or_else(PoisonError::into_inner).get(&layer.diff_id).copied()
        {
            self.bars.end(number);
        }
        let what = match &layer.arrival {
            Arrival::Existed => "Layer already exists".to_owned(),
            Arrival::Mounted { from } => format!("Mounted from {from}"),
            Arrival::Sent => "Pushed".to_owned(),
        };
        self.say(layer.diff_id, &what);
    }
}
