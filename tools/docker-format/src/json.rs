//! JSON as Go's `encoding/json` writes it.
//!
//! Objects keep the order they come in, which stands for the order of a Go struct; a Go map is a
//! [`BTreeMap`](std::collections::BTreeMap), or is sorted before.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

/// Whether `<`, `>` and `&` are written as `\u003c` and the like. U+2028 and U+2029 always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Html {
    /// What `json.Marshal` does: docker's own files, and the rows of its listings.
    Escaped,
    /// What docker's API and the `json` function of its templates do.
    Plain,
}

/// Writes a value on one line.
///
/// # Errors
///
/// Whatever the value's own serialisation fails with.
pub(crate) fn compact(value: &(impl Serialize + ?Sized), html: Html) -> serde_json::Result<String> {
    written(value, Go { layout: serde_json::ser::CompactFormatter, html })
}

/// Writes a value indented by four blanks, as `docker inspect` prints its answer.
///
/// # Errors
///
/// As for [`compact`].
pub(crate) fn indented(value: &(impl Serialize + ?Sized), html: Html) -> serde_json::Result<String> {
    written(value, Go { layout: PrettyFormatter::with_indent(b"    "), html })
}

/// The text of a string as JSON, with its quotes.
#[must_use]
pub(crate) fn string(text: &str, html: Html) -> String {
    compact(text, html).unwrap_or_default()
}

/// A number as Go writes a `float64`: fixed but for the very small and the very large.
#[must_use]
pub(crate) fn float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits}"),
        None => format!("{mantissa}e+{exponent}"),
    }
}

fn written<F: Formatter>(value: &(impl Serialize + ?Sized), formatter: F) -> serde_json::Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, formatter))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Go's strings and numbers in any layout.
struct Go<F> {
    layout: F,
    html: Html,
}

impl<F: Formatter> Formatter for Go<F> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, char) in fragment.char_indices() {
            let special = match char {
                '<' | '>' | '&' => self.html == Html::Escaped,
                '\u{2028}' | '\u{2029}' => true,
                _ => false,
            };
            if special {
                out.write_all(&fragment.as_bytes()[plain..at])?;
                write!(out, "\\u{:04x}", u32::from(char))?;
                plain = at + char.len_utf8();
            }
        }
        out.write_all(&fragment.as_bytes()[plain..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            // Go had no short forms of these before 1.22.
            CharEscape::Backspace => out.write_all(b"\\u0008"),
            CharEscape::FormFeed => out.write_all(b"\\u000c"),
            other => self.layout.write_char_escape(out, other),
        }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.layout.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.layout.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.layout.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.layout.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.layout.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.layout.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.layout.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.layout.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.layout.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_as_go_escapes_them() {
        let text = "<a&b> \u{2028}\u{2029} \"\\/ \n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f} é日";
        let common = "\\u2028\\u2029 \\\"\\\\/ \\n\\r\\t\\u0008\\u000c\\u0000\\u001f\u{7f} é日\"";
        assert_eq!(string(text, Html::Escaped), format!("\"\\u003ca\\u0026b\\u003e {common}"));
        assert_eq!(string(text, Html::Plain), format!("\"<a&b> {common}"));
    }

    #[test]
    fn numbers_as_go_writes_them() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.25e-7, "1.25e-7"),
        ];
        for (value, text) in cases {
            assert_eq!(compact(&value, Html::Plain).unwrap(), text);
        }
        assert_eq!(compact(&u64::MAX, Html::Plain).unwrap(), "18446744073709551615");
    }

    #[test]
    fn objects_keep_their_order() {
        let value = json!({"b": [1, {"z": null, "y": true}], "a": {}, "c": []});
        assert_eq!(compact(&value, Html::Plain).unwrap(), r#"{"b":[1,{"z":null,"y":true}],"a":{},"c":[]}"#);
        let text = "{\n    \"b\": [\n        1,\n        {\n            \"z\": null,\n            \"y\": true\n        }\n    ],\n    \"a\": {},\n    \"c\": []\n}";
        assert_eq!(indented(&value, Html::Plain).unwrap(), text);
    }
}
