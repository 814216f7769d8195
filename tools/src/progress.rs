//! Progress of each layer, on a terminal only.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use images::load::Observer;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::{complain, escape};

/// Bars on standard error, and warnings.
pub(crate) struct Progress {
    name: &'static str,
    bars: MultiProgress,
    layers: Mutex<HashMap<usize, ProgressBar>>,
    quiet: bool,
}

impl Progress {
    /// `quiet` shows no bars; warnings are always shown.
    pub(crate) fn new(name: &'static str, quiet: bool) -> Self {
        // Draws nothing where standard error is not a terminal.
        Self { name, bars: MultiProgress::new(), layers: Mutex::default(), quiet }
    }

    fn bar(&self, layer: usize) -> Option<ProgressBar> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).get(&layer).cloned()
    }
}

impl Observer for Progress {
    fn new_root(&self, root: &Path) {
        complain(self.name, &format!("new data-root {}", root.display()));
    }

    fn begin(&self, layer: usize, name: &str, total: Option<u64>) {
        if self.quiet {
            return;
        }
        let template = match total {
            Some(_) => "{prefix} {bar:30} {decimal_bytes:>9}/{decimal_total_bytes:9} {decimal_bytes_per_sec}",
            None => "{prefix} {spinner} {decimal_bytes:>9} {decimal_bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(total.map_or_else(ProgressBar::no_length, ProgressBar::new)).with_style(style);
        let name = escape(name);
        bar.set_prefix(match name.char_indices().nth_back(39) {
            Some((start, _)) => format!("…{}", &name[start..]),
            None => name,
        });
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, bar);
    }

    fn advance(&self, layer: usize, bytes: u64) {
        if !self.quiet
            && let Some(bar) = self.bar(layer)
        {
            bar.inc(bytes);
        }
    }

    fn end(&self, layer: usize) {
        if let Some(bar) = self.bar(layer) {
            bar.finish_and_clear();
        }
    }

    fn warn(&self, layer: &str, member: &[u8], warning: &layerfs::Warning) {
        let member = member.escape_ascii();
        self.bars.suspend(|| complain(self.name, &format!("warning: layer {layer}: {member}: {warning}")));
    }
}
