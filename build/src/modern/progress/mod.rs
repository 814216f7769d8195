//! What a build says while it goes. Stages that are built side by side say it in turn; how it is shown is a [`View`]'s.

mod plain;

pub(crate) use self::plain::Plain;

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::check::{self, Warning};
use crate::BuildError;
use crate::output::CommandOutput;

/// How a step has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was done.
    Done(Duration),
    /// It was done before.
    Cached,
    /// It was not done: another one has failed, or the user has asked to stop.
    Canceled,
    /// It has failed. Why is said once more at the end of the build.
    Failed(String),
}

/// A way to show what a build does. Steps have numbers from 1 on, in the order in which they begin.
pub trait View: Send {
    /// A step begins.
    ///
    /// # Errors
    /// What the system says, here and of the others.
    fn begin(&mut self, number: usize, name: &str) -> io::Result<()>;
    /// Something about a step.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    fn note(&mut self, number: usize, text: &str) -> io::Result<()>;
    /// A line that the command of a step has written, and the time since the step has begun.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    fn output(&mut self, number: usize, since: Duration, line: &str) -> io::Result<()>;
    /// A step has ended.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    fn end(&mut self, number: usize, how: &End) -> io::Result<()>;
    /// Something about the whole build.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    fn warning(&mut self, text: &str) -> io::Result<()>;
}

/// The steps of a build, and where they are shown.
pub(super) struct Progress<'t>(Mutex<State<'t>>);

struct State<'t> {
    view: Box<dyn View + 't>,
    /// When each step has begun.
    begun: Vec<Instant>,
}

impl State<'_> {
    fn since(&self, number: usize) -> Duration {
        self.begun.get(number - 1).map_or(Duration::ZERO, Instant::elapsed)
    }
}

/// That nobody reads any more what is said is no reason to end.
fn told(written: io::Result<()>) -> Result<(), BuildError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BuildError::io("writing the output")(error)),
        _ => Ok(()),
    }
}

impl<'t> Progress<'t> {
    pub(super) fn new(view: Box<dyn View + 't>) -> Self {
        Self(Mutex::new(State { view, begun: Vec::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State<'t>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn warning(&self, text: &str) -> Result<(), BuildError> {
        told(self.state().view.warning(text.trim_end()))
    }

    /// What is not as it should be in the Dockerfile.
    pub(super) fn warnings(&self, all: &[Warning]) -> Result<(), BuildError> {
        if all.is_empty() { Ok(()) } else { self.warning(&check::list(all)) }
    }

    /// A step begins. Returns its number.
    pub(super) fn begin(&self, name: &str) -> Result<usize, BuildError> {
        let mut state = self.state();
        state.begun.push(Instant::now());
        let number = state.begun.len();
        told(state.view.begin(number, name))?;
        Ok(number)
    }

    /// Something about a step.
    pub(super) fn note(&self, number: usize, text: &str) -> Result<(), BuildError> {
        told(self.state().view.note(number, text))
    }

    /// A step is done.
    pub(super) fn done(&self, number: usize) -> Result<(), BuildError> {
        let mut state = self.state();
        let how = End::Done(state.since(number));
        told(state.view.end(number, &how))
    }

    /// A step was done before.
    pub(super) fn cached(&self, number: usize) -> Result<(), BuildError> {
        told(self.state().view.end(number, &End::Cached))
    }

    /// A step was not done.
    pub(super) fn failed(&self, number: usize, error: &BuildError) -> Result<(), BuildError> {
        let how = if error.is_interrupt() { End::Canceled } else { End::Failed(error.to_string()) };
        told(self.state().view.end(number, &how))
    }

    /// A step that takes no time.
    pub(super) fn instant(&self, name: &str) -> Result<(), BuildError> {
        let number = self.begin(name)?;
        self.done(number)
    }

    /// What a command of a step writes.
    pub(super) fn output(&self, number: usize) -> StepOutput<'_, 't> {
        StepOutput { progress: self, number, pending: Vec::new() }
    }
}

/// The output of a command, line by line.
pub(super) struct StepOutput<'p, 't> {
    progress: &'p Progress<'t>,
    number: usize,
    pending: Vec<u8>,
}

/// A line without an end is passed on when it is as long as this.
const LONGEST: usize = 64 << 10;

impl StepOutput<'_, '_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.say(&line[..end])?;
        }
        if self.pending.len() > LONGEST { self.end() } else { Ok(()) }
    }

    fn say(&mut self, line: &[u8]) -> Result<(), BuildError> {
        let text = String::from_utf8_lossy(line);
        let mut state = self.progress.state();
        let since = state.since(self.number);
        told(state.view.output(self.number, since, text.trim_end_matches('\r')))
    }

    /// Passes on a last line without an end.
    pub(super) fn end(&mut self) -> Result<(), BuildError> {
        let line = std::mem::take(&mut self.pending);
        if line.is_empty() { Ok(()) } else { self.say(&line) }
    }
}

impl CommandOutput for StepOutput<'_, '_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.take(bytes)
    }

    fn errors(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.take(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_has_numbers_and_whole_lines() {
        let mut out = Vec::new();
        let progress = Progress::new(Box::new(Plain::new(&mut out)));
        let number = progress.begin("[1/2] RUN x").unwrap();
        let mut output = progress.output(number);
        for piece in [&b"a"[..], b"b\r\nc\n", b"d"] {
            output.bytes(piece).unwrap();
        }
        output.end().unwrap();
        progress.done(number).unwrap();
        drop(progress);
        let text = String::from_utf8(out).unwrap();
        let ends: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(ends[..4], ["x", "ab", "c", "d"], "{text}");
        assert!(text.starts_with("#1 [1/2] RUN x\n#1 0.0") && text.ends_with("s\n\n"), "{text}");
    }
}
