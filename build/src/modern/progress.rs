//! What a build says while it goes, in the form of BuildKit's plain progress (moby/buildkit `util/progress/progressui/printer.go`):
//! each step has a number, its output has the seconds since its beginning in front.

use std::io::{self, Write};
use std::time::Instant;

use crate::BuildError;
use crate::output::CommandOutput;

/// Where the lines go.
pub(super) struct Progress<'t> {
    out: &'t mut dyn Write,
    number: usize,
    begun: Instant,
}

impl<'t> Progress<'t> {
    pub(super) fn new(out: &'t mut dyn Write) -> Self {
        Self { out, number: 0, begun: Instant::now() }
    }

    fn line(&mut self, text: &str) -> Result<(), BuildError> {
        let written = self.out.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BuildError::io("writing the output")(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn warning(&mut self, text: &str) -> Result<(), BuildError> {
        self.line(&format!("{}\n", text.trim_end()))
    }

    /// A step begins. Returns its number.
    pub(super) fn begin(&mut self, name: &str) -> Result<usize, BuildError> {
        self.number += 1;
        self.begun = Instant::now();
        self.line(&format!("#{} {name}", self.number))?;
        Ok(self.number)
    }

    /// Something about a step.
    pub(super) fn note(&mut self, number: usize, text: &str) -> Result<(), BuildError> {
        self.line(&format!("#{number} {text}"))
    }

    /// A step is done.
    pub(super) fn done(&mut self, number: usize) -> Result<(), BuildError> {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.line(&format!("#{number} DONE {seconds:.1}s\n"))
    }

    /// A step was done before.
    pub(super) fn cached(&mut self, number: usize) -> Result<(), BuildError> {
        self.line(&format!("#{number} CACHED\n"))
    }

    /// A step has failed. Why is said at the end of the build.
    pub(super) fn failed(&mut self, number: usize, error: &BuildError) -> Result<(), BuildError> {
        self.line(&format!("#{number} ERROR: {error}\n"))
    }

    /// A step that takes no time.
    pub(super) fn instant(&mut self, name: &str) -> Result<(), BuildError> {
        let number = self.begin(name)?;
        self.done(number)
    }

    /// What a command of a step writes.
    pub(super) fn output(&mut self, number: usize) -> StepOutput<'_, 't> {
        StepOutput { progress: self, number, pending: Vec::new() }
    }
}

/// The output of a command, line by line.
pub(super) struct StepOutput<'p, 't> {
    progress: &'p mut Progress<'t>,
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
        let seconds = self.progress.begun.elapsed().as_secs_f64();
        let text = String::from_utf8_lossy(line);
        self.progress.line(&format!("#{} {seconds:.3} {}", self.number, text.trim_end_matches('\r')))
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
        let mut progress = Progress::new(&mut out);
        let number = progress.begin("[1/2] RUN x").unwrap();
        let mut output = progress.output(number);
        for piece in [&b"a"[..], b"b\r\nc\n", b"d"] {
            output.bytes(piece).unwrap();
        }
        output.end().unwrap();
        progress.done(number).unwrap();
        let text = String::from_utf8(out).unwrap();
        let ends: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(ends[..4], ["x", "ab", "c", "d"], "{text}");
        assert!(text.starts_with("#1 [1/2] RUN x\n#1 0.0") && text.ends_with("s\n\n"), "{text}");
    }
}
