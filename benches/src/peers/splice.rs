//! Puts the report between its markers, and leaves every other byte of the file alone.

use anyhow::{Context, Result};

/// The line before the report.
pub const BEGIN: &str = "<!-- peers: begin -->";
/// The line after it.
pub const END: &str = "<!-- peers: end -->";

/// The text with what stands between the markers replaced.
///
/// # Errors
///
/// If a marker is missing.
pub fn replace(text: &str, report: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("there is no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("there is no {END} behind {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", report.trim()))
}
