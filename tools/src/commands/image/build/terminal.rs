//! `build` on a terminal: a line for each step, with the time that it takes, and below a step that runs the last lines of what its
//! command writes.
//!
//! ```text
//!  => [internal] load build definition from Dockerfile                       0.0s
//!  => CACHED [made 1/3] FROM busybox                                         0.0s
//!  => [made 2/3] RUN make                                                   12.4s
//!    | cc -c one.c
//! [+] Building (2/3)                                                         12.5s
//! ```
//!
//! Steps that have ended stay; what is below them is drawn anew, and is gone when the build ends, however it ends.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use ::build::{End, View};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::columns;
use crate::output::escape;

/// How many lines of a running command are shown.
const SHOWN: usize = 4;

/// How many of its lines stay if it fails.
const KEPT: usize = 20;

/// How often times are drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// The columns of a time, with the blanks around it.
const TIME: usize = 9;

/// The columns where the terminal does not say how many it has.
const WIDTH: usize = 80;

/// The steps of a build on standard error.
pub(super) struct Terminal {
    bars: MultiProgress,
    /// The line below all steps.
    total: ProgressBar,
    running: BTreeMap<usize, Step>,
    begun: usize,
}

/// A step that has not ended.
struct Step {
    name: String,
    bar: ProgressBar,
    /// The last lines of its command.
    lines: VecDeque<String>,
    /// Where they are shown.
    shown: Vec<ProgressBar>,
}

/// A line with a time at its end.
fn timed(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    style.with_key("time", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = out.write_str(&seconds(state.elapsed()));
    })
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// A text without what a terminal would act on. A tabulator is a blank, since nobody knows how wide it is; colours go.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        out += before;
        let end = after.find(|char: char| ('@'..='~').contains(&char));
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    out += rest;
    // What stands before a lone carriage return was written over.
    escape(&out.rsplit('\r').next().unwrap_or_default().replace('\t', " "))
}

/// A line of the terminal's width: a text, and a time at the right.
fn line(text: &str, time: &str, width: usize) -> String {
    // A line that is full makes some terminals begin the next one.
    let room = width.saturating_sub(TIME + 1).max(1);
    let text = columns::end(text, room);
    let used = unicode_width::UnicodeWidthStr::width(text.as_str());
    format!("{text}{:blank$}{time:>TIME$}", "", blank = room - used.min(room))
}

fn width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(WIDTH, |(width, _)| width.0.into())
}

impl Terminal {
    pub(super) fn new() -> Self {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(0).with_style(timed("{wide_msg} {time:>8}")));
        total.enable_steady_tick(TICK);
        Self { bars, total, running: BTreeMap::new(), begun: 0 }
    }

    fn count(&self) {
        let done = self.begun - self.running.len();
        self.total.set_message(format!("[+] Building ({done}/{})", self.begun));
    }

    /// A line that stays.
    fn say(&self, text: &str) -> io::Result<()> {
        self.bars.println(text)
    }

    /// Shows the last lines of a step below it.
    fn show(&mut self, number: usize) {
        let Some(step) = self.running.get_mut(&number) else { return };
        while step.shown.len() < step.lines.len().min(SHOWN) {
            let above = step.shown.last().unwrap_or(&step.bar);
            let style =
                ProgressStyle::with_template("   | {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = self.bars.insert_after(above, ProgressBar::new(0).with_style(style));
            step.shown.push(bar);
        }
        let last = step.lines.iter().skip(step.lines.len().saturating_sub(SHOWN));
        for (bar, line) in step.shown.iter().zip(last) {
            bar.set_message(line.clone());
        }
    }
}

impl View for Terminal {
    fn begin(&mut self, number: usize, name: &str) -> io::Result<()> {
        let name = plain(name);
        let bar = ProgressBar::new(0).with_style(timed(" => {wide_msg} {time:>8}")).with_message(name.clone());
        let bar = self.bars.insert_before(&self.total, bar);
        bar.enable_steady_tick(TICK);
        self.begun += 1;
        self.running.insert(number, Step { name, bar, lines: VecDeque::new(), shown: Vec::new() });
        self.count();
        Ok(())
    }

    fn note(&mut self, number: usize, text: &str) -> io::Result<()> {
        self.output(number, Duration::ZERO, text)
    }

    fn output(&mut self, number: usize, _: Duration, line: &str) -> io::Result<()> {
        let Some(step) = self.running.get_mut(&number) else { return Ok(()) };
        step.lines.push_back(plain(line));
        if step.lines.len() > KEPT {
            step.lines.pop_front();
        }
        self.show(number);
        Ok(())
    }

    fn end(&mut self, number: usize, how: &End) -> io::Result<()> {
        let Some(step) = self.running.remove(&number) else { return Ok(()) };
        let time = seconds(step.bar.elapsed());
        for bar in step.shown.iter().chain([&step.bar]) {
            bar.finish_and_clear();
            self.bars.remove(bar);
        }
        let word = match how {
            End::Done(_) => "",
            End::Cached => "CACHED ",
            End::Canceled => "CANCELED ",
            End::Failed(_) => "ERROR ",
        };
        self.say(&line(&format!(" => {word}{}", step.name), &time, width()))?;
        if matches!(how, End::Failed(_)) {
            for text in &step.lines {
                self.say(&columns::end(&format!("   | {text}"), width().saturating_sub(1)))?;
            }
        }
        self.count();
        Ok(())
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            self.say(&plain(line))?;
        }
        Ok(())
    }
}

/// However the build ends, what is drawn anew is gone, so that the next message has a clean line.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.bars.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn a_line_is_narrower_than_the_terminal_whatever_is_in_it() {
        for width in [1, 5, 10, 11, 20, 80] {
            for text in ["", "x", " => [1/2] RUN something that is long enough to be cut off", "漢字漢字漢字漢字漢字"]
            {
                let line = line(text, "12.3s", width);
                assert!(line.width() < width.max(TIME + 3), "{width}: {line:?}");
                assert!(line.ends_with("12.3s"), "{line:?}");
            }
        }
    }

    #[test]
    fn nothing_that_a_command_writes_speaks_to_the_terminal() {
        for (text, expected) in [
            ("a\tb", "a b"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("10%\r20%\r30%", "30%"),
            ("\x1b]0;title\x07x", "\\u{1b}]0;title\\u{7}x"),
            ("\x1b[", ""),
        ] {
            assert_eq!(plain(text), expected);
        }
    }
}
