//! Text as docker's client prints it: sizes, ages, JSON, tables, templates and filters.
//!
//! Nothing here knows a store. Everything is measured against the client 20.10.24, byte for byte;
//! `tools/tests/docker_format.rs` holds the comparison.
//!
//! [`listing`] makes what `--format` asks for, [`filter`] reads what `--filter` says; the other modules are what these are
//! made of.
//!
//! ```
//! use docker_format::{ago, size, table};
//!
//! assert_eq!(size::size(4_860_873), "4.86MB");
//! assert_eq!(ago::human_duration(7200.0), "2 hours");
//! assert_eq!(table::align("NAME\tSIZE\nbusybox\t1B\n"), "NAME      SIZE\nbusybox   1B\n");
//! ```

pub mod ago;
pub mod filter;
pub mod inspect;
mod json;
pub mod listing;
pub mod natural;
pub mod pattern;
pub mod presets;
pub mod size;
pub mod table;
pub mod template;
pub mod until;

pub use template::{quoted, quoted_char};

/// A truth value, in the forms that Go's `strconv.ParseBool` accepts.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// As much of a text as takes up `width` columns, the last one an ellipsis if there is more (docker/cli v20.10.24
/// `cli/command/formatter/displayutils.go`).
#[must_use]
pub fn ellipsis(text: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthChar;
    // Go counts what is not wide as one column.
    let columns = |char: char| char.width().unwrap_or(1).max(1);
    if text.chars().map(columns).sum::<usize>() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |char: &char| left.checked_sub(columns(*char)).inspect(|less| left = *less).is_some();
    text.chars().take_while(fits).chain(['…']).collect()
}
