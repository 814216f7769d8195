//! The values of a journal entry's fields, as Go's `encoding/json` reads them.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::entry::BASE64;

/// Whether Go takes `key` for the field `name`: in any case, and with the long s of old prints for an s.
pub(crate) fn is_field(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name) || key.contains('ſ') && key.replace('ſ', "s").eq_ignore_ascii_case(name)
}

/// How deep lists and objects may be nested for Go to read them.
const MAX_DEPTH: usize = 10_000;

/// What Go refuses in the text of an entry that serde_json lets through: a control character in a string, and lists and objects in each other
/// that go too deep.
pub(crate) fn refusal(text: &[u8]) -> Option<&'static str> {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            ..b' ' if in_string => return Some("control character (\\u0000-\\u001F) found while parsing a string"),
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some("lists and objects are more than 10,000 deep");
        }
    }
    None
}

/// A whole number. Read as one of 128 bits, because serde_json takes `-0` to be a fraction where it reads any other.
pub(crate) struct Whole(pub i64);

impl<'de> serde::Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i128::deserialize(deserializer)?;
        i64::try_from(number).map(Self).map_err(|_| D::Error::custom(format_args!("{number} has more than 64 bits")))
    }
}

/// A string, borrowed where nothing is escaped. What is not UTF-8 becomes U+FFFD.
pub(crate) struct Text<'a>(pub Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes: as a string, serde_json would refuse what Go replaces. Control characters, which it lets through then, are found by `refusal`.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
        Ok(Text(std::str::from_utf8(bytes).map_or_else(|_| replaced(bytes, false).into(), Cow::Borrowed)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
        Ok(Text(replaced(bytes, true).into()))
    }
}

/// `bytes` with U+FFFD for each byte that is not UTF-8, or, where something was escaped, for each half of a surrogate pair.
fn replaced(bytes: &[u8], escaped: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(chunk) = rest.utf8_chunks().next() {
        text.push_str(chunk.valid());
        rest = match &rest[chunk.valid().len()..] {
            [] => break,
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] if escaped => after,
            [_, after @ ..] => after,
        };
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

/// A `[]byte`: base64, or a list of numbers. A list goes over what an earlier value of the same key has left, as in Go, where `null` in a list
/// changes nothing.
#[derive(Default)]
pub(crate) struct Bytes {
    /// What values have left, also behind the end of a shorter later list.
    left: Vec<u8>,
    length: usize,
}

impl Bytes {
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        self.left.truncate(self.length);
        self.left
    }

    fn set(&mut self, bytes: Vec<u8>) {
        self.length = bytes.len();
        self.left = bytes;
    }
}

impl<'de> DeserializeSeed<'de> for &mut Bytes {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Bytes {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes in base64")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.set(Vec::new());
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.set(decode_base64(text)?);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut length = 0;
        while let Some(byte) = list.next_element::<Option<u8>>()? {
            if length == self.left.len() {
                self.left.push(0);
            }
            if let Some(byte) = byte {
                self.left[length] = byte;
            }
            length += 1;
        }
        self.length = length;
        if length == 0 {
            self.left.clear();
        }
        Ok(())
    }
}

/// Decodes base64 as Go does: padding required, line breaks ignored.
fn decode_base64<E: Error>(text: &str) -> Result<Vec<u8>, E> {
    let failed = |error| E::custom(format_args!("illegal base64 data: {error}"));
    BASE64.decode(text).or_else(|error| {
        // Journals hold no line breaks here in practice, so the text is searched for them only if decoding fails.
        let without = text.replace(['\r', '\n'], "");
        if without.len() == text.len() { Err(failed(error)) } else { BASE64.decode(without).map_err(failed) }
    })
}
