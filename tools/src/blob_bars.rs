//! How far blobs have come that are sent, as bars on a terminal.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use images::load::{Announced, Observer};
use layerfs::Digest;
use registry::RegistryError;

use crate::commands::layerfs::NAME;
use crate::output;
use crate::progress::Progress;

/// A bar for each blob that is sent.
pub(crate) struct BlobBars {
    bars: Progress,
    quiet: bool,
    /// The number of each blob's bar, and how many bytes it shows.
    shown: Mutex<HashMap<Digest, (usize, u64)>>,
}

impl BlobBars {
    /// None if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { bars: Progress::new(NAME, quiet), quiet, shown: Mutex::default() }
    }

    /// Begins the bar of a blob.
    pub(crate) fn begin(&self, blob: Digest, size: u64) {
        let number = {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let number = shown.len();
            shown.insert(blob, (number, 0));
            number
        };
        self.bars.begin(number, &Announced { name: &blob.hex(), diff_id: None, step: None, total: Some(size) });
    }

    /// `bytes` of the blob were sent, counted from its beginning.
    pub(crate) fn advance(&self, blob: Digest, bytes: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, before)) = shown.get_mut(&blob) {
            // An attempt that begins anew shows nothing until it is past the one before.
            self.bars.advance(*number, bytes.saturating_sub(*before));
            *before = bytes.max(*before);
        }
    }

    /// Says that an attempt has failed, and that there will be another one.
    pub(crate) fn retry(&self, blob: Digest, pause: Duration, error: &RegistryError) {
        if !self.quiet {
            let seconds = output::counted(pause.as_secs().max(1), "second");
            output::complain(NAME, &format!("{}: {error}; again in {seconds}", blob.short()));
        }
    }

    /// Ends the bar of a blob, if it has one.
    pub(crate) fn end(&self, blob: Digest) {
        if let Some((number, _)) = self.shown.lock().unwrap_or_else(PoisonError::into_inner).get(&blob).copied() {
            self.bars.end(number);
        }
    }

    /// Says a line, unless that is not wanted.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            // A reader that is gone is noticed when the program ends.
            let _ = output::say(line);
        }
    }
}
