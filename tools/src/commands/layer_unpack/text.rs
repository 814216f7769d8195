//! The report of a benchmark as a person reads it.

use super::report::Report;

/// Its lines.
pub(super) fn lines(report: &Report) -> Vec<String> {
    vec![format!("{report:?}")]
}
