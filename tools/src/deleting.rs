//! Progress of a deletion that takes long, on a terminal only. When it ends, the line is gone.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use layerfs::delete::Deletion;

/// A deletion that takes less than this shows nothing.
const LONG: Duration = Duration::from_millis(500);

/// How often the count is updated.
const TICK: Duration = Duration::from_millis(100);

/// A line that shows how many entries are deleted, for as long as this value lives.
#[derive(Debug)]
#[must_use]
pub(crate) struct Deleting(Option<(Sender<()>, JoinHandle<()>)>);

impl Deleting {
    /// Begins to watch.
    pub(crate) fn watch(deletion: &Deletion) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let deletion = deletion.clone();
        let (stop, stopped) = mpsc::channel();
        let watch = move || {
            let goes_on = |time| stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !goes_on(LONG) {
                return;
            }
            let style = ProgressStyle::with_template("{spinner} {human_pos} files deleted");
            let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            while goes_on(TICK) {
                bar.set_position(deletion.deleted());
                bar.tick();
            }
            bar.finish_and_clear();
        };
        // If no thread can be made, no progress is shown.
        Self(Builder::new().spawn(watch).ok().map(|thread| (stop, thread)))
    }
}

impl Drop for Deleting {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}
