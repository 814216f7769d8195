//! Times as people read them.

use std::fmt;

/// A time with three digits that count.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub f64);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 0.1 => write!(formatter, "{:.1} ms", seconds * 1e3),
            seconds if seconds < 1.0 => write!(formatter, "{:.0} ms", seconds * 1e3),
            seconds if seconds < 10.0 => write!(formatter, "{seconds:.2} s"),
            seconds => write!(formatter, "{seconds:.1} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_reads_well() {
        let shown = [0.004, 0.25, 1.2345, 13.78].map(|seconds| Seconds(seconds).to_string());
        assert_eq!(shown, ["4.0 ms", "250 ms", "1.23 s", "13.8 s"]);
    }
}
