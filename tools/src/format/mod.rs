//! Text as docker's client prints it: sizes, ages, JSON, tables, templates and filters.
//!
//! Nothing here knows a store. Everything is measured against the client 20.10.24, byte for byte;
//! `tools/tests/docker_format.rs` holds the comparison.

pub mod ago;
pub mod filter;
pub mod inspect;
pub mod json;
pub mod listing;
pub mod pattern;
pub mod presets;
pub mod size;
pub mod table;
pub mod template;
pub mod until;

/// At most `length` characters of a text, the last one an ellipsis if there are more.
#[must_use]
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}
