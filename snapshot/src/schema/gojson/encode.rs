//! Encoding as Go's `json.Marshal` writes: compact, keys in the order of the struct, maps by their keys.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::types::{Empty, StrSlice};

/// A type that is written as `encoding/json` of Go 1.19 writes it.
pub trait Encode {
    /// Writes the value.
    fn encode(&self, out: &mut String);

    /// Whether `omitempty` leaves the value out.
    fn is_left_out(&self) -> bool {
        false
    }
}

/// The document of a value, as `json.NewEncoder(..).Encode` writes it: with a newline at its end.
#[must_use]
pub(crate) fn to_line(value: &impl Encode) -> String {
    let mut out = String::new();
    value.encode(&mut out);
    out.push('\n');
    out
}

/// Writes a string in quotes. `<`, `>`, `&`, control characters and the two line separators of Unicode are escaped.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(char)).expect("a string takes everything");
            }
            char => out.push(char),
        }
    }
    out.push('"');
}

impl Encode for String {
    fn encode(&self, out: &mut String) {
        quote(self, out);
    }

    fn is_left_out(&self) -> bool {
        self.is_empty()
    }
}

macro_rules! plain {
    ($($type:ty: $zero:literal),*) => {$(
        impl Encode for $type {
            fn encode(&self, out: &mut String) {
                out.push_str(&self.to_string());
            }

            fn is_left_out(&self) -> bool {
                *self == $zero
            }
        }
    )*};
}

plain!(bool: false, i64: 0, i32: 0, u64: 0, u32: 0, u16: 0);

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut String) {
        match self {
            Some(value) => value.encode(out),
            None => out.push_str("null"),
        }
    }

    fn is_left_out(&self) -> bool {
        self.is_none()
    }
}

fn list<'v, T: Encode + 'v>(values: impl IntoIterator<Item = &'v T>, out: &mut String) {
    out.push('[');
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        value.encode(out);
    }
    out.push(']');
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut String) {
        list(self, out);
    }

    fn is_left_out(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Encode, const N: usize> Encode for [T; N] {
    fn encode(&self, out: &mut String) {
        list(self, out);
    }
}

impl<T: Encode> Encode for BTreeMap<String, T> {
    fn encode(&self, out: &mut String) {
        out.push('{');
        for (at, (key, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            quote(key, out);
            out.push(':');
            value.encode(out);
        }
        out.push('}');
    }

    fn is_left_out(&self) -> bool {
        self.is_empty()
    }
}

impl Encode for Empty {
    fn encode(&self, out: &mut String) {
        out.push_str("{}");
    }
}

impl Encode for StrSlice {
    fn encode(&self, out: &mut String) {
        self.0.encode(out);
    }

    fn is_left_out(&self) -> bool {
        self.0.as_ref().is_none_or(Vec::is_empty)
    }
}

/// Whether `omitempty` leaves out a list or map that Go may have as `nil`: it does if the value is `nil` or empty.
pub(crate) fn is_nil_or_empty<T: Encode>(value: Option<&T>) -> bool {
    value.is_none_or(Encode::is_left_out)
}

/// Declares a struct with its decoding, as [`go_struct!`](crate::go_struct) does, and its encoding. `omitempty` after a key
/// leaves a field out that is empty; `omitnil` one that is `nil` or empty.
#[macro_export]
#[doc(hidden)]
macro_rules! go_file {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty = $key:literal $($omit:ident)?),* $(,)?
    }) => {
        $crate::go_struct! {
            $(#[$meta])*
            $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type = $key),* }
        }

        impl $crate::schema::gojson::Encode for $name {
            fn encode(&self, out: &mut String) {
                let mut before = '{';
                $(
                    if !$crate::go_file!(@omits $($omit)? self.$field) {
                        out.push(before);
                        before = ',';
                        out.push_str(concat!("\"", $key, "\":"));
                        $crate::schema::gojson::Encode::encode(&self.$field, out);
                    }
                )*
                if before == '{' {
                    out.push('{');
                }
                out.push('}');
            }
        }
    };
    (@omits omitempty $value:expr) => { $crate::schema::gojson::Encode::is_left_out(&$value) };
    (@omits omitnil $value:expr) => { $crate::schema::gojson::is_nil_or_empty($value.as_ref()) };
    (@omits $value:expr) => { false };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_go_writes_them() {
        let mut out = String::new();
        quote("a<b>&\"\\\n\r\t\u{8}\u{c}\u{7f}\u{2028}é", &mut out);
        assert_eq!(out, "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\r\\t\\u0008\\u000c\u{7f}\\u2028é\"");
    }
}
