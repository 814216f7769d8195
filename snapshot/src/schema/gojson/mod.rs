//! A JSON decoder that accepts and refuses what dockerd 20.10.24 does, and an encoder that writes what dockerd writes.
//! Both follow `encoding/json` of Go 1.19, with which dockerd was built. The decoder's rules:
//!
//! - Syntax is checked first: [`from_slice`] refuses a document with an error anywhere before it uses any of it;
//!   [`first_value`], for files that dockerd reads with a `json.Decoder`, checks only as far as the first value
//!   reaches. Lists and objects may be nested at most 10,000 deep.
//! - A key means the field of that name, else the first one whose name differs only in case. Unknown keys are passed over.
//!   Of equal keys the last wins, but objects are decoded into what the earlier one has set, and maps add up.
//! - `null` empties pointers, lists and maps, and leaves everything else as it is.
//! - A whole number is written in digits alone: `1.0` and `1e2` are refused, and so is a number that does not fit its
//!   type.
//! - The first value of the wrong kind is reported, with its field; the rest is decoded nevertheless.
//!
//! Values go straight into the target: there is no tree of values in between. `testdata/gojson/` has Go's answers to
//! some hundred documents, with the program that produced them.

mod decode;
mod encode;
mod error;
mod scan;
mod string;
mod structs;
mod types;

#[cfg(test)]
mod tests;

pub use decode::{Decode, JsonDecoder};
pub use encode::Encode;
pub(crate) use encode::{is_nil_or_empty, to_line};
pub use error::{DecodeError, Expected};
#[doc(hidden)]
pub use structs::find;
pub(in crate::schema) use types::shortened;
pub(crate) use types::{Checked, text};
pub use types::{Empty, StrSlice};

/// Decodes a whole document, as `json.Unmarshal` does.
///
/// # Errors
/// [`DecodeError`], also where anything but white space follows the value.
pub fn from_slice<T: Decode>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut value = T::default();
    let end = scan::value_end(bytes)?;
    scan::nothing_follows(bytes, end)?;
    JsonDecoder::new(bytes).document(&mut value)?;
    Ok(value)
}

/// Decodes the first value of a file, as `json.NewDecoder(..).Decode` does; what follows it is not looked at.
///
/// # Errors
/// [`DecodeError`]
pub fn first_value<T: Decode>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut value = T::default();
    let end = scan::value_end(bytes)?;
    JsonDecoder::new(&bytes[..end]).document(&mut value)?;
    Ok(value)
}
