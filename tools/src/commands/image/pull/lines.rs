//! What a pull says while it goes on.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use images::load::{Announced, Observer, PlannedLayer};
use layerfs::Digest;
use registry::{BlobListener, RegistryError};
use serde_json::json;

use super::super::events::Events;
use crate::commands::layerfs::NAME;
use crate::output;
use crate::progress::Progress;
use crate::registries::complain_of_retry;

/// In which form it is said how a pull goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Not at all.
    Quiet,
    /// docker's lines, or bars.
    Lines,
    /// Objects for programs.
    Json,
}

/// docker's lines for a reader that is no terminal; bars for one that is.
pub(super) struct Lines {
    bars: Progress,
    plain: bool,
    quiet: bool,
    events: Events,
    /// Layers that are fetched at once; the others wait.
    at_once: usize,
    /// The digests of layers' blobs by their numbers.
    ids: Mutex<HashMap<usize, Digest>>,
    /// Blobs of which it was said that they are complete: an image may have a layer twice.
    ended: Mutex<HashSet<Digest>>,
    /// What is to be said when the layers are known: blobs may arrive while another pull still has the store. `None` afterwards.
    early: Mutex<Option<Vec<(Digest, String)>>>,
}

impl Lines {
    pub(super) fn new(form: Form, at_once: usize) -> Self {
        let plain = form == Form::Lines && !std::io::stdout().is_terminal();
        let bars = Progress::new(NAME, form != Form::Lines || plain);
        let (quiet, events) = (form == Form::Quiet, Events::new(form == Form::Json));
        Self {
            bars,
            plain,
            quiet,
            events,
            at_once,
            ids: Mutex::default(),
            ended: Mutex::default(),
            early: Mutex::new(Some(Vec::new())),
        }
    }

    fn say(&self, id: &str, what: &str) {
        if self.plain {
            // A reader that is gone is noticed when the program ends.
            let _ = output::say(&format!("{id}: {what}"));
        }
    }

    fn of_blob(&self, blob: Digest, what: String) {
        match &mut *locked(&self.early) {
            Some(early) => early.push((blob, what)),
            None => self.say(&blob.short(), &what),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer for Lines {
    fn new_root(&self, root: &Path) {
        self.bars.new_root(root);
    }

    fn waiting(&self, root: &Path) {
        self.events.tell("waiting", json!({}));
        output::complain(NAME, &format!("waiting for another command that writes to {}", root.display()));
    }

    fn planned(&self, layers: &[PlannedLayer]) {
        let shown = |layer: &PlannedLayer| json!({"blob": layer.blob, "diff_id": layer.diff_id, "present": layer.present.is_some()});
        self.events.tell("planned", json!({"layers": layers.iter().map(shown).collect::<Vec<_>>()}));
        let mut seen = HashSet::new();
        let named = layers.iter().filter_map(|layer| Some((layer.blob?, layer.present.is_some())));
        let layers: Vec<(Digest, bool)> = named.filter(|(blob, _)| seen.insert(*blob)).collect();
        for (blob, present) in &layers {
            self.say(&blob.short(), if *present { "Already exists" } else { "Pulling fs layer" });
        }
        for (blob, _) in layers.iter().filter(|(_, present)| !*present).skip(self.at_once) {
            self.say(&blob.short(), "Waiting");
        }
        let missing: HashSet<Digest> = layers.iter().filter(|(_, present)| !present).map(|(blob, _)| *blob).collect();
        let early = locked(&self.early).take().unwrap_or_default();
        for (blob, what) in early.into_iter().filter(|(blob, _)| missing.contains(blob)) {
            self.say(&blob.short(), &what);
        }
    }

    fn begin(&self, layer: usize, announced: &Announced<'_>) {
        let id = announced.name.rsplit('/').next().unwrap_or_default();
        if let Ok(blob) = Digest::from_hex(id) {
            locked(&self.ids).insert(layer, blob);
        }
        self.bars.begin(layer, announced);
    }

    fn advance(&self, layer: usize, bytes: u64) {
        self.bars.advance(layer, bytes);
    }

    fn end(&self, layer: usize) {
        let blob = locked(&self.ids).get(&layer).copied();
        if let Some(blob) = blob.filter(|blob| locked(&self.ended).insert(*blob)) {
            self.say(&blob.short(), "Pull complete");
            self.events.tell("unpacked", json!({"blob": blob}));
        }
        self.bars.end(layer);
    }

    fn warn(&self, layer: &str, member: &[u8], warning: &layerfs::Warning) {
        self.bars.warn(layer, member, warning);
    }
}

impl BlobListener for Lines {
    fn advance(&self, blob: Digest, bytes: u64, size: u64) {
        self.events.advance("blob", blob, bytes, size);
    }

    fn complete(&self, blob: Digest, kept: u64) {
        self.events.tell("downloaded", json!({"blob": blob, "kept": kept}));
        self.of_blob(blob, "Download complete".into());
    }

    fn retry(&self, blob: Digest, at: u64, pause: Duration, error: &RegistryError) {
        let (error_text, milliseconds) = (error.to_string(), pause.as_millis() as u64);
        self.events.tell("retry", json!({"blob": blob, "bytes": at, "pause": milliseconds, "error": error_text}));
        let seconds = output::counted(pause.as_secs().max(1), "second");
        self.of_blob(blob, format!("Retrying in {seconds}"));
        if !self.quiet {
            complain_of_retry(NAME, blob, at, error);
        }
    }
}
