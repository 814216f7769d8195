//! How values of each type are decoded: Go's own, and those of Docker that decode themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::decode::{Decode, JsonDecoder};
use super::error::{DecodeError, Expected};
use super::string::unquote;

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
