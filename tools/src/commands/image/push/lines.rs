//! What a push says while it goes on.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use images::load::{Announced, Observer};
use layerfs::DiffId;
use registry::{Arrival, PushListener, PushedLayer, RegistryError};
use serde_json::json;

use super::super::events::Events;
use crate::commands::layerfs::NAME;
use crate::output;
use crate::progress::Progress;

/// docker's lines for a reader that is no terminal; bars for one that is.
pub(super) struct Lines {
    bars: Progress,
    plain: bool,
    quiet: bool,
    events: Events,
    /// Layers that are sent at once; the others wait.
    at_once: usize,
    /// Each layer that is sent.
    shown: Mutex<HashMap<DiffId, Shown>>,
}

/// A layer that is sent.
#[derive(Clone, Copy)]
struct Shown {
    /// The number of its bar.
    number: usize,
    /// How many bytes the bar shows.
    bytes: u64,
    size: u64,
}

impl Lines {
    pub(super) fn new(quiet: bool, json: bool, at_once: usize) -> Self {
        let plain = !quiet && !json && !std::io::stdout().is_terminal();
        let (bars, events) = (Progress::new(NAME, quiet || json || plain), Events::new(json));
        Self { bars, plain, quiet, events, at_once, shown: Mutex::default() }
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
        self.events.tell("planned", json!({"layers": layers}));
        layers.iter().for_each(|layer| self.say(*layer, "Preparing"));
        layers.iter().skip(self.at_once).for_each(|layer| self.say(*layer, "Waiting"));
    }

    fn begin(&self, layer: DiffId, size: u64) {
        let number = {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let number = shown.len();
            shown.insert(layer, Shown { number, bytes: 0, size });
            number
        };
        self.bars.begin(number, &Announced { name: "", diff_id: Some(layer), step: None, total: Some(size) });
    }

    fn advance(&self, layer: DiffId, bytes: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = shown.get_mut(&layer) {
            // An attempt that begins anew shows nothing until it is past the one before.
            self.bars.advance(shown.number, bytes.saturating_sub(shown.bytes));
            shown.bytes = bytes.max(shown.bytes);
            self.events.advance("layer", layer.0, bytes, shown.size);
        }
    }

    fn retry(&self, layer: DiffId, pause: Duration, error: &RegistryError) {
        let (error_text, milliseconds) = (error.to_string(), pause.as_millis() as u64);
        self.events.tell("retry", json!({"layer": layer, "pause": milliseconds, "error": error_text}));
        let seconds = output::counted(pause.as_secs().max(1), "second");
        self.say(layer, &format!("Retrying in {seconds}"));
        if !self.quiet {
            output::complain(NAME, &format!("{}: {error}", layer.0.short()));
        }
    }

    fn end(&self, layer: &PushedLayer) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).get(&layer.diff_id).copied();
        if let Some(shown) = shown {
            self.bars.end(shown.number);
        }
        let (arrival, from) = match &layer.arrival {
            Arrival::Existed => ("existed", None),
            Arrival::Mounted { from } => ("mounted", Some(from)),
            Arrival::Sent => ("sent", None),
        };
        let mut done = json!({"layer": layer.diff_id, "blob": layer.digest, "arrival": arrival});
        if let Some(from) = from {
            done["from"] = from.as_str().into();
        }
        self.events.tell("done", done);
        let what = match &layer.arrival {
            Arrival::Existed => "Layer already exists".to_owned(),
            Arrival::Mounted { from } => format!("Mounted from {from}"),
            Arrival::Sent => "Pushed".to_owned(),
        };
        self.say(layer.diff_id, &what);
    }
}
