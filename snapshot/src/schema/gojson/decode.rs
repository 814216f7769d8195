//! Decoding into types, as `encoding/json/decode.go` does it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

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

    /// `null`: changes nothing, except where the type has a state of its own for it.
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
    first: Option<DecodeError>,
}

impl<'b> JsonDecoder<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, path: Vec::new(), first: None }
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
    pub(crate) fn members(
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
            member(self, &key)?;
            self.skip_space();
            if self.peek() == b'}' {
                break;
            }
            self.at += 1; // the comma
        }
        self.at += 1;
        Ok(())
    }

    /// Goes through the elements of a list; `element` has to read or skip the value.
    ///
    /// # Errors
    /// What `element` returns.
    pub(crate) fn elements(
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
            element(self, count)?;
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
    pub(crate) fn field<T: Decode>(&mut self, name: &'static str, into: &mut T) -> Result<(), DecodeError> {
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
    pub(crate) fn skip(&mut self) {
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
        DecodeError { field: self.path.join("."), expected, found: found.to_owned(), offset }
    }

    /// Bytes read so far.
    pub(in crate::schema) fn at(&self) -> usize {
        self.at
    }
}

/// The field that a key stands for: the field of that name, else the first field whose name differs only in case.
#[must_use]
pub(crate) fn find<'n>(names: &[&'n str], key: &[u8]) -> Option<&'n str> {
    let exact = names.iter().find(|name| name.as_bytes() == key);
    exact.or_else(|| names.iter().find(|name| equal_but_for_case(name, key))).copied()
}

/// Go's rule: ASCII letters in any case, and the two other characters that Unicode folds to `k` and `s`.
fn equal_but_for_case(name: &str, key: &[u8]) -> bool {
    let Ok(key) = std::str::from_utf8(key) else { return false };
    let folded = |c: char| match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(folded).eq(key.chars().map(folded))
}

impl Decode for String {
    fn expected() -> Expected {
        Expected::Text
    }

    fn string(&mut self, raw: &[u8], _decoder: &mut JsonDecoder<'_>) {
        *self = text(unquote(raw));
    }
}

/// Makes a `String` of what [`unquote`] returns, which is UTF-8.
pub(crate) fn text(bytes: Cow<'_, [u8]>) -> String {
    String::from_utf8(bytes.into_owned()).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl Decode for bool {
    fn expected() -> Expected {
        Expected::Flag
    }

    fn flag(&mut self, value: bool, _decoder: &mut JsonDecoder<'_>) {
        *self = value;
    }
}

macro_rules! numbers {
    ($($type:ty => $expected:ident),*) => {$(
        impl Decode for $type {
            fn expected() -> Expected {
                Expected::$expected(<$type>::BITS)
            }

            fn number(&mut self, text: &str, decoder: &mut JsonDecoder<'_>) {
                // Go's `ParseUint` takes no sign, not even of zero.
                let signed = stringify!($expected) == "Uint" && text.starts_with('-');
                match text.parse() {
                    Ok(number) if !signed => *self = number,
                    _ => decoder.mismatch(Self::expected(), &format!("number {}", shortened(text)), decoder.at()),
                }
            }
        }
    )*};
}

numbers!(i64 => Int, i32 => Int, u64 => Uint, u32 => Uint, u16 => Uint);

/// Shortens a text of the document for an error message.
pub(in crate::schema) fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        None => text.into(),
        Some((end, _)) => format!("{}...", &text[..end]).into(),
    }
}

/// A pointer: `null` makes it `None`, every other value is decoded into what it points to.
impl<T: Decode> Decode for Option<T> {
    fn expected() -> Expected {
        T::expected()
    }

    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        if decoder.peek() == b'n' {
            decoder.literal();
            *self = None;
            return Ok(());
        }
        self.get_or_insert_default().value(decoder)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn expected() -> Expected {
        T::expected()
    }

    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        (**self).value(decoder)
    }
}

/// A slice. Elements are decoded into those that an earlier list has left there, as Go does; those beyond the end of
/// the new list are dropped.
impl<T: Decode> Decode for Vec<T> {
    fn expected() -> Expected {
        Expected::List
    }

    fn null(&mut self) {
        self.clear();
    }

    fn array(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        let count = decoder.elements(|decoder, at| {
            if at == self.len() {
                self.push(T::default());
            }
            self[at].value(decoder)
        })?;
        self.truncate(count);
        Ok(())
    }
}

/// An array of fixed length: elements beyond its length are passed over, missing ones are zero.
impl<T: Decode + Copy, const N: usize> Decode for [T; N]
where
    Self: Default,
{
    fn expected() -> Expected {
        Expected::List
    }

    fn array(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        let count = decoder.elements(|decoder, at| match self.get_mut(at) {
            Some(element) => element.value(decoder),
            None => {
                decoder.skip();
                Ok(())
            }
        })?;
        self.iter_mut().skip(count).for_each(|element| *element = T::default());
        Ok(())
    }
}

/// A map: keys of a second object are added, and a value replaces the one that its key had before.
impl<T: Decode> Decode for BTreeMap<String, T> {
    fn expected() -> Expected {
        Expected::Object
    }

    fn null(&mut self) {
        self.clear();
    }

    fn object(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        decoder.members(|decoder, key| {
            let mut value = T::default();
            value.value(decoder)?;
            self.insert(text(key.into()), value);
            Ok(())
        })
    }
}

/// Go's `struct{}`: any object; its members are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Empty;

impl Decode for Empty {
    fn expected() -> Expected {
        Expected::Object
    }

    fn object(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        decoder.skip();
        Ok(())
    }
}

/// A value whose type is checked, but which is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked<T>(PhantomData<T>);

impl<T> Default for Checked<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Decode> Decode for Checked<T> {
    fn expected() -> Expected {
        T::expected()
    }

    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        T::default().value(decoder)
    }
}

/// Docker's `strslice.StrSlice`: a list of strings, or one string for a list of one. It decodes itself, so an error in it
/// ends the decoding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StrSlice(pub Option<Vec<String>>);

impl Decode for StrSlice {
    fn expected() -> Expected {
        Expected::Text
    }

    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        let start = decoder.at();
        let kind = decoder.peek();
        let raw = decoder.raw();
        let mut list = Some(Vec::new());
        if JsonDecoder::new(raw).document(&mut list).is_ok() {
            self.0 = list;
            return Ok(());
        }
        let (found, offset) = match kind {
            b'"' => {
                self.0 = Some(vec![text(unquote(raw))]);
                return Ok(());
            }
            b'[' => ("array", start + 1),
            b'{' => ("object", start + 1),
            b't' | b'f' => ("bool", decoder.at()),
            _ => ("number", decoder.at()),
        };
        Err(decoder.error(Expected::Text, found, offset))
    }
}

/// Declares a struct and its decoding: the text after each `=` is the field's JSON key.
#[macro_export]
#[doc(hidden)]
macro_rules! go_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty = $key:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default)]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $crate::schema::gojson::Decode for $name {
            fn expected() -> $crate::schema::gojson::Expected {
                $crate::schema::gojson::Expected::Object
            }

            fn object(
                &mut self,
                decoder: &mut $crate::schema::gojson::JsonDecoder<'_>,
            ) -> Result<(), $crate::schema::gojson::DecodeError> {
                const NAMES: &[&str] = &[$($key),*];
                decoder.members(|decoder, key| {
                    match $crate::schema::gojson::find(NAMES, key) {
                        $(Some($key) => decoder.field($key, &mut self.$field),)*
                        _ => {
                            decoder.skip();
                            Ok(())
                        }
                    }
                })
            }
        }
    };
}
