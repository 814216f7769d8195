//! JSON as Go's `encoding/json` reads it: keys without regard to case, the first value of a stream.

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};

use super::error::ArchiveError;

/// The largest JSON file that is read. containerd's `jsonLimit`, against CVE-2020-1702 and CVE-2023-25153.
pub const MAX_JSON: u64 = 8 << 20;

/// A field of an object. Go does not distinguish an absent field from one that is null. Here they differ, because a document
/// with a field that it must not have is refused even if that field is null.
#[derive(Debug, Clone, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Field<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    pub(super) fn as_ref(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Field<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// Any value, not looked at: for fields of which only the presence matters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anything;

impl<'de> serde::Deserialize<'de> for Anything {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Defines a struct that is read from an object by keys given in lower case. Unknown keys are skipped. Of a key that comes
/// twice, in whatever case, either the last one counts (`last`) or the object is refused (`once`).
macro_rules! object {
    ($repeated:ident $(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub(super) struct $name {
            $(pub(super) $field: $crate::source::json::Field<$type>,)*
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut object = $name::default();
                        while let Some(key) = map.next_key::<String>()? {
                            match $crate::source::json::fold(&key).as_str() {
                                $($key => {
                                    if stringify!($repeated) == "once" && !object.$field.is_absent() {
                                        let message = format!("duplicate field `{key}`");
                                        return Err(serde::de::Error::custom(message));
                                    }
                                    object.$field = map.next_value()?;
                                })*
                                _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                            }
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
}
pub(super) use object;

/// A key as Go compares it (`bytes.EqualFold`): the Kelvin sign is a `k`, the long s an `s`.
pub(super) fn fold(key: &str) -> String {
    key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Reads the first JSON value of a file, as Go's `json.Decoder` does; what follows it is not looked at. In texts and keys Go takes what is
/// no UTF-8 for replacement characters.
pub(super) fn first<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    let text = String::from_utf8_lossy(bytes);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    T::deserialize(&mut deserializer).map_err(|error| failure(file, bytes, &error))
}

/// Reads a file that is one JSON value and nothing else; what is no UTF-8 is replaced as by [`first`].
pub(super) fn whole<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_str(&String::from_utf8_lossy(bytes)).map_err(|error| failure(file, bytes, &error))
}

fn failure(file: &str, bytes: &[u8], error: &serde_json::Error) -> ArchiveError {
    let reason = if bytes.is_empty() { "empty file".to_owned() } else { error.to_string() };
    ArchiveError::Json { file: file.to_owned(), reason }
}

/// A well-formed object whose fields do not matter.
#[derive(Debug)]
pub(super) struct AnyObject;

impl<'de> serde::Deserialize<'de> for AnyObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = AnyObject;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyObject, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(AnyObject)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    object!(last struct Loose { name: String = "name", list: Vec<u8> = "list", });
    object!(once struct Strict { name: String = "name", });

    #[test]
    fn keys_are_compared_as_go_does() {
        let loose: Loose = first("x", r#"{"NAME":"a","skip":[{}],"liſt":[1],"Name":"b"} trailing"#.as_bytes()).unwrap();
        assert_eq!(loose.name.value().as_deref(), Some("b"));
        assert_eq!(loose.list.value(), Some(vec![1]));
        let loose: Loose = first("x", br#"{"list":null}"#).unwrap();
        assert!(loose.name.is_absent() && !loose.list.is_absent() && loose.list.as_ref().is_none());
        // dockerd 20.10 takes a config with either.
        let odd: Loose = whole("x", b"{\"\xff\":1,\"name\":\"a\xfe\"}").unwrap();
        assert_eq!(odd.name.value().as_deref(), Some("a\u{fffd}"));
        whole::<AnyObject>("x", b"{\"\xff\":{\"\xfe\":\"\xff\"}}").unwrap();
        whole::<AnyObject>("x", b"{\xff:1}").unwrap_err();
        let error = whole::<Strict>("x", br#"{"name":"a","Name":"a"}"#).unwrap_err();
        assert_eq!(error.to_string(), "x: duplicate field `Name` at line 1 column 18");
    }

    #[test]
    fn errors_name_file_and_place() {
        let cases = [
            ("", "x: empty file"),
            ("{\n", "x: EOF while parsing an object at line 2 column 0"),
            ("[]", "x: invalid type: sequence, expected an object at line 1 column 0"),
            ("{\"name\":\n1}", "x: invalid type: integer `1`, expected a string at line 2 column 1"),
            ("{} {}", "x: trailing characters at line 1 column 4"),
        ];
        for (text, expected) in cases {
            assert_eq!(whole::<Strict>("x", text.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn any_object_must_be_well_formed_to_its_end() {
        whole::<AnyObject>("x", "{\"a\":{\"b\":[1,\"é\"]}}".as_bytes()).unwrap();
        let nested = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        whole::<AnyObject>("x", nested.as_bytes()).unwrap();
        for text in ["[]", "null", "1", "{", "{\"a\"}", "{} x"] {
            whole::<AnyObject>("x", text.as_bytes()).unwrap_err();
        }
    }
}
