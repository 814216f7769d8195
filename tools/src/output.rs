//! Text for people: escaped, and to the right stream.

use std::io::{IsTerminal, Write};

/// Escapes what a terminal would act on: control characters, and marks that reorder text.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                out.extend(char.escape_unicode());
            }
            char if char.is_control() => out.extend(char.escape_default()),
            char => out.push(char),
        }
    }
    out
}

/// A line to standard error, after the program's name. A standard error that cannot be written to changes nothing.
pub(crate) fn complain(name: &str, message: &str) {
    let _ = writeln!(std::io::stderr(), "{name}: {}", escape(message));
}

/// A line to standard output.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", escape(line))?;
    Ok(())
}

/// JSON to standard output: indented for a person, on one line for a program.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        serde_json::to_writer_pretty(&mut out, value)?;
    } else {
        serde_json::to_writer(&mut out, value)?;
    }
    writeln!(out)?;
    Ok(())
}

/// Bytes with three significant digits and powers of a thousand, as docker prints them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let number = format!("{value:.decimals$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_told_what_to_do() {
        assert_eq!(escape("a\x1b[31mb\r\n\u{202e}é"), "a\\u{1b}[31mb\\r\\n\\u{202e}é");
    }

    #[test]
    fn sizes_as_docker_prints_them() {
        for (bytes, text) in [(0, "0B"), (3, "3B"), (1_982_417, "1.98MB"), (1_000, "1kB"), (12_340_000, "12.3MB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
