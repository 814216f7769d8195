//! Structs: which field a key stands for, and the declaration that makes a struct decodable.

/// The field that a key stands for: the field of that name, else the first field whose name differs only in case.
#[must_use]
pub fn find<'n>(names: &[&'n str], key: &[u8]) -> Option<&'n str> {
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
