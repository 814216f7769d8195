//! BuildKit's plain form (moby/buildkit `util/progress/progressui/printer.go`): each step has a number, and its output the seconds
//! since its beginning in front. Where another step says something before this one has ended, both are named.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::{End, View};

/// Lines, one after the other.
pub(crate) struct Plain<'t> {
    out: &'t mut (dyn Write + Send),
    /// The step whose lines come now.
    current: Option<usize>,
    /// The names of the steps that have not ended.
    running: BTreeMap<usize, String>,
}

impl<'t> Plain<'t> {
    pub(crate) fn new(out: &'t mut (dyn Write + Send)) -> Self {
        Self { out, current: None, running: BTreeMap::new() }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(format!("{text}\n").as_bytes())?;
        self.out.flush()
    }

    /// What comes next is of this step.
    fn turn_to(&mut self, number: usize) -> io::Result<()> {
        if self.current == Some(number) {
            return Ok(());
        }
        self.leave()?;
        self.current = Some(number);
        let name = self.running.get(&number).cloned().unwrap_or_default();
        self.line(&format!("#{number} {name}"))
    }

    fn leave(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(left) => self.line(&format!("#{left} ...\n")),
            None => Ok(()),
        }
    }
}

impl View for Plain<'_> {
    fn begin(&mut self, number: usize, name: &str) -> io::Result<()> {
        self.running.insert(number, name.to_owned());
        self.turn_to(number)
    }

    fn note(&mut self, number: usize, text: &str) -> io::Result<()> {
        self.turn_to(number)?;
        self.line(&format!("#{number} {text}"))
    }

    fn output(&mut self, number: usize, since: Duration, line: &str) -> io::Result<()> {
        self.turn_to(number)?;
        self.line(&format!("#{number} {:.3} {line}", since.as_secs_f64()))
    }

    fn end(&mut self, number: usize, how: &End) -> io::Result<()> {
        self.turn_to(number)?;
        self.running.remove(&number);
        self.current = None;
        self.line(&match how {
            End::Done(since) => format!("#{number} DONE {:.1}s\n", since.as_secs_f64()),
            End::Cached => format!("#{number} CACHED\n"),
            End::Canceled => format!("#{number} CANCELED\n"),
            End::Failed(reason) => format!("#{number} ERROR: {reason}\n"),
        })
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.leave()?;
        self.line(&format!("{text}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_steps_are_told_apart() {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        plain.begin(1, "[a 1/1] RUN x").unwrap();
        plain.begin(2, "[b 1/1] RUN y").unwrap();
        plain.output(1, Duration::from_millis(1500), "x").unwrap();
        plain.end(1, &End::Done(Duration::from_secs(2))).unwrap();
        plain.end(2, &End::Canceled).unwrap();
        let expected = "#1 [a 1/1] RUN x\n#1 ...\n\n#2 [b 1/1] RUN y\n#2 ...\n\n#1 [a 1/1] RUN x\n#1 1.500 x\n#1 DONE 2.0s\n\n\
                        #2 [b 1/1] RUN y\n#2 CANCELED\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
