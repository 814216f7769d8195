//! One journal entry, and its JSON form as Go writes it and as Go reads it.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead as _, Write as _};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::values::{Bytes, Text, Whole, is_field};

/// One entry of a journal, in replay order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Type 2: bytes of the tar, to be written as they are.
    Segment(Vec<u8>),
    /// Type 1: a member was here.
    File {
        /// The member's name, not cleaned.
        name: Vec<u8>,
        /// Bytes to take from the file on disk; none if zero. Go writes what the header says, even a negative number.
        size: i64,
        /// CRC-64 of those bytes.
        crc64: Option<[u8; 8]>,
    },
    /// A type that Go's reader passes over.
    Unknown,
}

/// Appends a segment's line.
pub(crate) fn write_segment(out: &mut Vec<u8>, payload: &[u8], position: u64) {
    out.extend_from_slice(br#"{"type":2,"payload":""#);
    push_base64(out, payload);
    end(out, "\"", position);
}

/// Appends a file's line: `name_raw` where the name is not UTF-8, `size` where it is not zero.
pub(crate) fn write_file(out: &mut Vec<u8>, name: &[u8], size: u64, crc64: Option<[u8; 8]>, position: u64) {
    out.extend_from_slice(br#"{"type":1"#);
    match std::str::from_utf8(name) {
        Ok("") => {}
        Ok(text) => {
            out.extend_from_slice(br#","name":""#);
            push_escaped(out, text);
            out.push(b'"');
        }
        Err(_) => {
            out.extend_from_slice(br#","name_raw":""#);
            push_base64(out, name);
            out.push(b'"');
        }
    }
    if size != 0 {
        append(out, format_args!(r#","size":{size}"#));
    }
    match crc64 {
        None => end(out, r#","payload":null"#, position),
        Some(crc64) => {
            out.extend_from_slice(br#","payload":""#);
            push_base64(out, &crc64);
            end(out, "\"", position);
        }
    }
}

fn end(out: &mut Vec<u8>, payload_end: &str, position: u64) {
    out.extend_from_slice(payload_end.as_bytes());
    append(out, format_args!(",\"position\":{position}}}\n"));
}

fn append(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

/// The base64 codec. As Go's, it does not look at the bits that the last character has too many. It uses vector instructions, because most of a journal is headers in base64.
pub(crate) static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD.with_decode_allow_trailing_bits(true)));

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    BASE64.encode_slice(bytes, &mut out[start..]).expect("the buffer has exactly the encoded length");
}

/// Go's `encoding/json` escaping, HTML characters and line separators included.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for char in text.chars() {
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                append(out, format_args!("\\u{:04x}", u32::from(char)));
            }
            _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

impl Entry {
    /// Reads the entry that `text` begins with if it is in the form in which Go's `encoding/json` and we write entries: these keys in this
    /// order, no blanks, and nothing escaped. Returns the entry and its length.
    ///
    /// `None` says nothing about `text`: the JSON decoder reads all other forms.
    pub(crate) fn from_usual_form(text: &[u8]) -> Option<(Self, usize)> {
        let mut rest = Usual(text);
        // The newline after the entry before.
        let _ = rest.literal(b"\n");
        rest.literal(br#"{"type":"#)?;
        let entry = if rest.literal(br#"2,"payload":""#).is_some() {
            Self::Segment(BASE64.decode(rest.string()?).ok()?)
        } else {
            rest.literal(br#"1,"name":""#)?;
            let name = rest.string()?;
            if name.iter().any(|&byte| byte < b' ' || byte == b'\\') || std::str::from_utf8(name).is_err() {
                return None;
            }
            let size = if rest.literal(br#","size":"#).is_some() { rest.number()? } else { 0 };
            rest.literal(br#","payload":"#)?;
            let crc64 = if rest.literal(b"null").is_some() {
                None
            } else {
                rest.literal(b"\"")?;
                Some(BASE64.decode(rest.string()?).ok()?.try_into().ok()?)
            };
            Self::File { name: name.to_vec(), size, crc64 }
        };
        rest.literal(br#","position":"#)?;
        rest.number()?;
        rest.literal(b"}")?;
        Some((entry, text.len() - rest.0.len()))
    }
}

/// What is left of a text in the usual form.
struct Usual<'a>(&'a [u8]);

impl<'a> Usual<'a> {
    /// Passes over `text`, if that comes next.
    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// What comes before the next quote, over which this passes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let from = self.0;
        let length = self.0.skip_until(b'"').ok()?;
        from[..length].strip_suffix(b"\"")
    }

    /// A number as JSON has it, with no sign and no fraction.
    fn number(&mut self) -> Option<i64> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        if digits.len() > 1 && digits[0] == b'0' {
            return None;
        }
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tar-split entry")
    }

    /// Go leaves the entry as it is, which has no type then.
    fn visit_unit<E>(self) -> Result<Entry, E> {
        Ok(Entry::Unknown)
    }

    /// Keys in any order and any case, each as often as it likes, unknown ones ignored, null as absent: what Go's decoder takes.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut kind = 0i64;
        let mut size = 0i64;
        let mut name: Cow<'de, str> = Cow::Borrowed("");
        let (mut name_raw, mut payload) = (Bytes::default(), Bytes::default());
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let is = |name| is_field(&key.0, name);
            match () {
                () if is("type") => kind = map.next_value::<Option<Whole>>()?.map_or(kind, |number| number.0),
                () if is("size") => size = map.next_value::<Option<Whole>>()?.map_or(size, |number| number.0),
                () if is("name") => name = map.next_value::<Option<Text<'de>>>()?.map_or(name, |text| text.0),
                () if is("name_raw") => map.next_value_seed(&mut name_raw)?,
                () if is("payload") => map.next_value_seed(&mut payload)?,
                // Nobody needs it, and Go refuses what is no number.
                () if is("position") => {
                    map.next_value::<Option<Whole>>()?;
                }
                () => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let (name_raw, payload) = (name_raw.into_vec(), payload.into_vec());
        Ok(match kind {
            1 => Entry::File {
                name: if name_raw.is_empty() { name.into_owned().into_bytes() } else { name_raw },
                size,
                crc64: payload.try_into().ok(),
            },
            2 => Entry::Segment(payload),
            _ => Entry::Unknown,
        })
    }
}
