//! The progress of each layer, on a terminal only: which layer it is, how much of it is done, how fast, and how long it will
//! take.
//!
//! ```text
//! 3d1b6c2f9a0e RUN apt-get install… ━━━━━━━─────   12.3MB/45.6MB   98.1MB/s     2s
//! ```
//!
//! A line fits 80 columns. Sizes are docker's, as everywhere. When the work ends, however it ends, the lines are gone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use docker_format::size::size;
use images::load::{Announced, Observer};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::output::{complain, escape};
use crate::{columns, steps};

/// Columns of a step.
const STEP: usize = 19;

/// Columns of a layer's id.
const ID: usize = 12;

/// Bars on standard error, and warnings.
pub(crate) struct Progress {
    name: &'static str,
    bars: MultiProgress,
    layers: Mutex<HashMap<usize, ProgressBar>>,
    quiet: bool,
}

impl Progress {
    /// If `quiet`, no bars are shown; warnings are always shown.
    pub(crate) fn new(name: &'static str, quiet: bool) -> Self {
        // Nothing is drawn if standard error is not a terminal.
        Self { name, bars: MultiProgress::new(), layers: Mutex::default(), quiet }
    }

    fn bar(&self, layer: usize) -> Option<ProgressBar> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).get(&layer).cloned()
    }
}

impl Observer for Progress {
    fn new_root(&self, root: &Path) {
        self.bars.suspend(|| complain(self.name, &format!("new data-root {}", root.display())));
    }

    fn begin(&self, layer: usize, announced: &Announced<'_>) {
        if self.quiet {
            return;
        }
        let template = match announced.total {
            Some(_) => "{prefix} {bar:12.cyan/dim} {done:>7}/{all:7} {speed:>9} {left:>6}",
            None => "{prefix} {spinner}            {done:>7}         {speed:>9}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style
            .progress_chars("━━─")
            .with_key("done", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&size(state.pos()));
            })
            .with_key("all", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&size(state.len().unwrap_or_default()));
            })
            .with_key("speed", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}/s", size(state.per_sec() as u64));
            })
            .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&time_left(state.eta()));
            });
        let bar = announced.total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let bar = self.bars.add(bar).with_style(style);
        bar.set_prefix(label(announced));
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, bar);
    }

    fn advance(&self, layer: usize, bytes: u64) {
        if !self.quiet
            && let Some(bar) = self.bar(layer)
        {
            bar.inc(bytes);
        }
    }

    /// Removes the bar and forgets it: a store may have ten thousand layers.
    fn end(&self, layer: usize) {
        let bar = self.layers.lock().unwrap_or_else(PoisonError::into_inner).remove(&layer);
        if let Some(bar) = bar {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn warn(&self, layer: &str, member: &[u8], warning: &layerfs::Warning) {
        let member = member.escape_ascii();
        self.bars.suspend(|| complain(self.name, &format!("warning: layer {layer}: {member}: {warning}")));
    }
}

/// However the work ends, also by an interrupt, the bars are removed, so that the next message has a clean line.
impl Drop for Progress {
    fn drop(&mut self) {
        let _ = self.bars.clear();
    }
}

/// The layer's id and the step that made it, in columns.
fn label(announced: &Announced<'_>) -> String {
    let id = announced.diff_id.map_or_else(|| short_name(announced.name), |diff_id| diff_id.0.short());
    let step = announced.step.map_or_else(String::new, step);
    format!("{id:ID$} {step:STEP$}")
}

/// The beginning of the id if the file's name has one, else the end of the name.
fn short_name(name: &str) -> String {
    let is_id = |part: &&str| part.len() >= 64 && part.bytes().take(64).all(|byte| byte.is_ascii_hexdigit());
    match name.split('/').find(is_id) {
        Some(id) => id[..ID].to_owned(),
        None => {
            let name = escape(name);
            let start = name.chars().count().saturating_sub(ID);
            name.chars().skip(start).collect()
        }
    }
}

/// A step, cut to the width of its column.
fn step(text: &str) -> String {
    columns::end(&escape(&steps::readable(text)), STEP)
}

fn time_left(left: Duration) -> String {
    let seconds = left.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours @ 1..=99, minutes, _) => format!("{hours}h{minutes:02}m"),
        _ => "long".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use images::load::Announced;
    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// A terminal of 80 columns that remembers the lines it was told to show.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<Vec<String>>>);

    impl Screen {
        fn add(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            200
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.add(text)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.add(text)
        }
        fn clear_line(&self) -> std::io::Result<()> {
            self.add("CLEARED")
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const DIFF_ID: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    fn shown(total: Option<u64>, name: &str, step: Option<&str>, id: bool) -> Vec<String> {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let progress = Progress {
            name: "x",
            bars: MultiProgress::with_draw_target(target),
            layers: Mutex::default(),
            quiet: false,
        };
        let diff_id = id.then(|| DIFF_ID.parse().unwrap());
        progress.begin(0, &Announced { name, diff_id, step, total });
        progress.advance(0, 123_456_789);
        progress.bar(0).unwrap().tick();
        let lines = screen.0.lock().unwrap().clone();
        drop(progress);
        assert!(screen.0.lock().unwrap()[lines.len()..].iter().any(|line| line == "CLEARED"), "a clean line is left");
        lines.into_iter().filter(|line| line.contains("MB")).collect()
    }

    #[test]
    fn a_line_fits_a_terminal_and_names_layer_and_step() {
        let step = "/bin/sh -c #(nop) COPY dir:0123456789abcdef in /srv/application";
        let lines = shown(Some(999_999_999_999), "x", Some(step), true);
        assert!(!lines.is_empty());
        for line in &lines {
            let plain = console_free(line);
            assert!(plain.trim_end().chars().count() <= 79, "{plain:?}");
            assert!(plain.starts_with("5f70bf18a086 COPY dir:012345678… "), "{plain:?}");
            assert!(plain.contains("123MB/1e+03GB"), "{plain:?}");
            assert!(plain.contains("B/s"), "{plain:?}");
        }
        let name = "blobs/sha256/cca409453bb901378840601a8285877f802c0209688959091a116a87bba7d676";
        let lines = shown(None, name, None, false);
        assert!(lines.iter().all(|line| console_free(line).starts_with("cca409453bb9 ")), "{lines:?}");
    }

    /// The text without colours.
    fn console_free(line: &str) -> String {
        let mut out = String::new();
        let mut escaped = false;
        for char in line.chars() {
            match char {
                '\u{1b}' => escaped = true,
                'm' if escaped => escaped = false,
                _ if escaped => {}
                char => out.push(char),
            }
        }
        out
    }

    #[test]
    fn names_and_times_are_short() {
        assert_eq!(short_name("a/very/long/name/layer.tar"), "me/layer.tar");
        assert_eq!(short_name("x\n"), "x\\n");
        for (seconds, expected) in [(0, "0s"), (61, "1m01s"), (3599, "59m59s"), (7260, "2h01m"), (1 << 40, "long")] {
            assert_eq!(time_left(Duration::from_secs(seconds)), expected);
        }
    }
}
