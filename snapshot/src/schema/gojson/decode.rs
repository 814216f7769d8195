//! Decoding into types, as `encoding/json/decode.go` does it.

use super::error::{DecodeError, Expected};
use super::scan::is_space;
use super::string::unquote;

/// A type that Go's decoder fills from JSON.
///
/// A value is decoded into what the target holds already, so the second of two equal keys changes what the first has
/// set. A value of the wrong kind is remembered by the decoder and leaves the target as it is; decoding goes on, as
/// Go's does.
pub trait Decode: Default {
    /// What kind of value belongs here.
    fn expected() -> Expected;

    /// Decodes the value that begins at the decoder's place.
    ///
    /// # Errors
    /// [`DecodeError`] where Go stops at once: in types that decode themselves.
    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        match decoder.peek() {
            b'{' => self.object(decoder),
            b'[' => self.array(decoder),
            b'"' => {
                let raw = decoder.literal();
                self.string(raw, decoder);
                Ok(())
            }
            b'n' => {
                decoder.literal();
                self.null();
                Ok(())
            }
            first @ (b't' | b'f') => {
                decoder.literal();
                self.flag(first == b't', decoder);
                Ok(())
            }
            _ => {
                let text = decoder.literal();
                self.number(std::str::from_utf8(text).unwrap_or_default(), decoder);
                Ok(())
            }
        }
    }

    /// Takes a `null`: it changes nothing, except where the type has a state of its own for it.
    fn null(&mut self) {}

    /// `true` or `false`.
    fn flag(&mut self, _value: bool, decoder: &mut JsonDecoder<'_>) {
        decoder.mismatch(Self::expected(), "bool", decoder.at);
    }

    /// A number, as it is written.
    fn number(&mut self, _text: &str, decoder: &mut JsonDecoder<'_>) {
        decoder.mismatch(Self::expected(), "number", decoder.at);
    }

    /// A string with its quotes.
    fn string(&mut self, _raw: &[u8], decoder: &mut JsonDecoder<'_>) {
        decoder.mismatch(Self::expected(), "string", decoder.at);
    }

    /// A list; the decoder stands at its bracket.
    ///
    /// # Errors
    /// As [`Decode::value`].
    fn array(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        decoder.mismatch(Self::expected(), "array", decoder.at + 1);
        decoder.skip();
        Ok(())
    }

    /// An object; the decoder stands at its brace.
    ///
    /// # Errors
    /// As [`Decode::value`].
    fn object(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        decoder.mismatch(Self::expected(), "object", decoder.at + 1);
        decoder.skip();
        Ok(())
    }
}

/// A place in a document whose syntax is known to be right.
#[derive(Debug)]
pub struct JsonDecoder<'b> {
    bytes: &'b [u8],
    at: usize,
    path: Vec<&'static str>,
    /// Of each list and object that this place is in, which element of the list it is.
    within: Vec<Option<usize>>,
    first: Option<DecodeError>,
}

impl<'b> JsonDecoder<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, path: Vec::new(), within: Vec::new(), first: None }
    }

    /// Decodes the one value of the document.
    pub(super) fn document<T: Decode>(mut self, into: &mut T) -> Result<(), DecodeError> {
        self.skip_space();
        into.value(&mut self)?;
        self.first.map_or(Ok(()), Err)
    }

    /// Goes through the members of an object; `member` has to read or skip the value.
    ///
    /// # Errors
    /// What `member` returns.
    pub fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.at += 1;
        loop {
            self.skip_space();
            if self.peek() == b'}' {
                break;
            }
            let key = unquote(self.literal());
            self.skip_space();
            self.at += 1; // the colon
            self.skip_space();
            self.within.push(None);
            let decoded = member(self, &key);
            self.within.pop();
            decoded?;
            self.skip_space();
            if self.peek() == b'}' {
                break;
            }
            self.at += 1; // the comma
        }
        self.at += 1;
        Ok(())
    }

    /// Goes through the elements of a list and returns how many there are; `element` has to read or skip the value.
    ///
    /// # Errors
    /// What `element` returns.
    pub fn elements(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), DecodeError>,
    ) -> Result<usize, DecodeError> {
        self.at += 1;
        let mut count = 0;
        loop {
            self.skip_space();
            if self.peek() == b']' {
                break;
            }
            self.within.push(Some(count));
            let decoded = element(self, count);
            self.within.pop();
            decoded?;
            count += 1;
            self.skip_space();
            if self.peek() == b']' {
                break;
            }
            self.at += 1; // the comma
        }
        self.at += 1;
        Ok(count)
    }

    /// Decodes the value of a field.
    ///
    /// # Errors
    /// As [`Decode::value`].
    pub fn field<T: Decode>(&mut self, name: &'static str, into: &mut T) -> Result<(), DecodeError> {
        self.path.push(name);
        let decoded = into.value(self);
        self.path.pop();
        decoded
    }

    /// Reads a string, number, `true`, `false` or `null`, as it is written.
    pub(in crate::schema) fn literal(&mut self) -> &'b [u8] {
        let start = self.at;
        self.at += match self.peek() {
            b'"' => self.string_length(),
            b't' | b'n' => 4,
            b'f' => 5,
            _ => {
                let number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                self.bytes[start..].iter().take_while(number).count().max(1)
            }
        };
        &self.bytes[start..self.at]
    }

    fn string_length(&self) -> usize {
        let mut at = self.at + 1;
        while self.bytes[at] != b'"' {
            at += if self.bytes[at] == b'\\' { 2 } else { 1 };
        }
        at + 1 - self.at
    }

    /// Passes over a value of any kind.
    pub fn skip(&mut self) {
        let mut depth = 0_usize;
        loop {
            self.skip_space();
            match self.peek() {
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => drop(self.literal()),
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Passes over the value at this place and returns it as it is written.
    pub(in crate::schema) fn raw(&mut self) -> &'b [u8] {
        let start = self.at;
        self.skip();
        &self.bytes[start..self.at]
    }

    pub(in crate::schema) fn peek(&self) -> u8 {
        self.bytes[self.at]
    }

    fn skip_space(&mut self) {
        while self.bytes.get(self.at).copied().is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// Remembers a value of the wrong kind, unless an earlier one is remembered: Go reports the first.
    pub(super) fn mismatch(&mut self, expected: Expected, found: &str, offset: usize) {
        if self.first.is_none() {
            self.first = Some(self.error(expected, found, offset));
        }
    }

    /// The error for the field at this place.
    pub(in crate::schema) fn error(&self, expected: Expected, found: &str, offset: usize) -> DecodeError {
        let item = self.within.last().copied().flatten();
        DecodeError { field: self.path.join("."), item, expected, found: found.to_owned(), offset }
    }

    /// Bytes read so far.
    pub(in crate::schema) fn at(&self) -> usize {
        self.at
    }
}
