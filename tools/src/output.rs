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

/// Text to standard output as it is: of docker's form, for programs. On a terminal it is escaped line by line.
pub(crate) fn raw(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        for line in text.lines() {
            writeln!(out, "{}", escape(line))?;
        }
    } else {
        out.write_all(text.as_bytes())?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_told_what_to_do() {
        assert_eq!(escape("a\x1b[31mb\r\n\u{202e}é"), "a\\u{1b}[31mb\\r\\n\\u{202e}é");
    }
}
