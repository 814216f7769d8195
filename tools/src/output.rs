//! The one door for everything that these programs print: text, JSON, CSV, pages, and messages on standard error.
//!
//! Names come from stores and archives that others have made. Whoever prints chooses the form here, and the form decides what
//! happens to such names: a terminal does not act on them, a table gets no row that they made up, a spreadsheet does not run
//! them, and a program still reads them exactly.
//!
//! A standard output that cannot be written to is an error, [`Lost`], even if the system notices it late; see [`finish`].

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

/// Bytes of JSON, or of many lines, that are written at a time.
const PIECE: usize = 64 << 10;

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output")]
pub(crate) struct Lost(#[source] std::io::Error);

impl Lost {
    /// A write that failed.
    pub(crate) fn new(error: std::io::Error) -> Self {
        Self(error)
    }

    /// Whether the reader has hung up, which is no failure: `layerfs image ls | head -1`.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == std::io::ErrorKind::BrokenPipe
    }
}

/// Escapes what a terminal would act on: control characters, and marks that reorder text.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            _ if reorders(char) => out.extend(char.escape_unicode()),
            char if char.is_control() => out.extend(char.escape_default()),
            char => out.push(char),
        }
    }
    out
}

/// A name for a row of a table. Characters that would end the row or the cell, or on which a terminal acts, are escaped; the
/// rest is as docker prints it.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { escape(text).into() } else { text.into() }
}

/// A number with the word for what it counts, to which an `s` is added for every number but one.
pub(crate) fn counted(number: impl Into<u64>, one: &str) -> String {
    let number = number.into();
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}

/// Like [`counted`], for the word `entry`.
pub(crate) fn entries(number: u64) -> String {
    format!("{number} {}", if number == 1 { "entry" } else { "entries" })
}

/// Marks that reorder text.
fn reorders(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// A line to standard error, after the program's name. A standard error that cannot be written to changes nothing.
pub(crate) fn complain(name: &str, message: &str) {
    let _ = writeln!(std::io::stderr(), "{name}: {}", escape(message));
}

/// A line for a person.
pub(crate) fn say(line: &str) -> Result<(), Lost> {
    send(format!("{}\n", escape(line)).as_bytes())
}

/// Many lines for a person, written in pieces: one call for each would take longer than to make it.
pub(crate) fn lines(lines: impl Iterator<Item = String>) -> Result<(), Lost> {
    let mut piece = String::with_capacity(PIECE);
    for line in lines {
        piece.push_str(&escape(&line));
        piece.push('\n');
        if piece.len() >= PIECE {
            send(piece.as_bytes())?;
            piece.clear();
        }
    }
    send(piece.as_bytes())
}

/// Lines for a person. Only the names in them were foreign, and the caller has escaped those.
pub(crate) fn page(text: &str) -> Result<(), Lost> {
    send(text.as_bytes())
}

/// Text in docker's own form, for programs: unchanged. On a terminal it is escaped line by line.
pub(crate) fn raw(text: &str) -> Result<(), Lost> {
    if !std::io::stdout().is_terminal() {
        return send(text.as_bytes());
    }
    let ended = text.lines().map(|line| escape(line) + "\n");
    send(ended.collect::<String>().as_bytes())
}

/// JSON as docker writes it. On a terminal, characters on which that would act are escaped as JSON escapes them.
pub(crate) fn document(text: &str) -> Result<(), Lost> {
    if std::io::stdout().is_terminal() { send(shown_json(text).as_bytes()) } else { send(text.as_bytes()) }
}

/// One of several objects, each on a line of its own, as they become known.
pub(crate) fn json_line(value: &serde_json::Value) -> Result<(), Lost> {
    document(&format!("{value}\n"))
}

/// JSON to standard output: indented for a person, on one line for a program. For a program it goes out while it is made, since
/// what there is to say of a large store takes more memory than the store's records do.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() {
        return Ok(document(&(serde_json::to_string_pretty(value)? + "\n"))?);
    }
    let mut out = std::io::BufWriter::with_capacity(PIECE, stdout()?);
    match serde_json::to_writer(&mut out, value) {
        Err(error) if !error.is_io() => return Err(error.into()),
        written => written.map_err(|error| Lost(error.into()))?,
    }
    Ok(out.write_all(b"\n").and_then(|()| out.flush()).map_err(Lost)?)
}

/// A list in JSON whose elements are made one at a time, while it is written.
pub(crate) struct Each<'a, T>(pub(crate) &'a [T], pub(crate) fn(&T) -> serde_json::Value);

impl<T> serde::Serialize for Each<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

/// A line of comma-separated values (RFC 4180). Control characters in cells are escaped, and a cell that a spreadsheet would
/// calculate begins with an apostrophe.
pub(crate) fn csv(cells: &[&str]) -> Result<(), Lost> {
    let line: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
    send((line.join(",") + "\r\n").as_bytes())
}

/// What [`csv`] makes of a cell.
pub(crate) fn csv_cell(cell: &str) -> String {
    let shown = escape(cell);
    let guard = if shown.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if shown.contains(['"', ',']) {
        format!("\"{guard}{}\"", shown.replace('"', "\"\""))
    } else {
        format!("{guard}{shown}")
    }
}

/// A file for other programs: a manual page, completions.
pub(crate) fn file(bytes: &[u8]) -> Result<(), Lost> {
    send(bytes)
}

/// Standard output for an archive: bytes go out unchanged, and not through the buffer for text.
pub(crate) fn binary() -> Result<std::fs::File, Lost> {
    stdout()?.as_fd().try_clone_to_owned().map(Into::into).map_err(Lost)
}

/// Writes the text that is still in the buffer. Only after this is it known that everything printed has left the program.
pub(crate) fn finish() -> Result<(), Lost> {
    std::io::stdout().flush().map_err(Lost)
}

fn send(bytes: &[u8]) -> Result<(), Lost> {
    stdout()?.write_all(bytes).map_err(Lost)
}

/// Standard output, unless there was none when the program began.
fn stdout() -> Result<std::io::StdoutLock<'static>, Lost> {
    if stdio::stdout_was_closed() {
        return Err(Lost(std::io::Error::from_raw_os_error(nix::libc::EBADF)));
    }
    Ok(std::io::stdout().lock())
}

/// JSON whose strings have nothing on which a terminal acts.
fn shown_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if reorders(char) || (char.is_control() && char != '\n' && char != '\t') {
            let mut units = [0; 2];
            out.extend(char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_told_what_to_do() {
        assert_eq!(escape("a\x1b[31mb\r\n\u{202e}é"), "a\\u{1b}[31mb\\r\\n\\u{202e}é");
    }

    #[test]
    fn json_on_a_terminal_says_the_same_and_does_nothing() {
        let text = serde_json::to_string(&["a\u{202e}b\u{7f}\u{9b}é\n"]).unwrap();
        let shown = shown_json(&text);
        assert_eq!(shown, r#"["a\u202eb\u007f\u009bé\n"]"#);
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), ["a\u{202e}b\u{7f}\u{9b}é\n"]);
    }

    #[test]
    fn a_cell_is_a_cell() {
        for (cell, csv) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines\r", "two\\nlines\\r"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("@SUM(1,2)", "\"'@SUM(1,2)\""),
            ("-1+1", "'-1+1"),
            ("\t=1", "\\t=1"),
            ("\u{202e}fdp", "\\u{202e}fdp"),
        ] {
            assert_eq!(csv_cell(cell), csv);
        }
    }

    #[test]
    fn one_is_one() {
        assert_eq!(
            [0, 1, 2].map(|count: u64| counted(count, "new layer")),
            ["0 new layers", "1 new layer", "2 new layers"]
        );
        assert_eq!([0, 1, 2].map(entries), ["0 entries", "1 entry", "2 entries"]);
    }

    #[test]
    fn a_name_makes_no_row() {
        assert_eq!(name("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(name("ünicode \u{202e}"), "ünicode \u{202e}");
    }
}
