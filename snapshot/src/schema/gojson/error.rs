//! Why Go's decoder would refuse a document.

use std::fmt;

/// What belongs where something else was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// Valid JSON; the text is Go's syntax error.
    Json(String),
    /// `true` or `false`.
    Flag,
    /// A text.
    Text,
    /// A whole number that fits this many bits, one of them for the sign.
    Int(u32),
    /// A whole number from zero on that fits this many bits.
    Uint(u32),
    /// A list.
    List,
    /// An object.
    Object,
    /// A time as RFC 3339 writes it.
    Time,
    /// The field itself: it is missing.
    Field,
    /// A value that keeps the rule that this text states.
    Rule(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(what) => f.write_str(what),
            Self::Flag => f.write_str("true or false"),
            Self::Text => f.write_str("a string"),
            Self::Int(bits) => write!(f, "a whole number of {bits} bits"),
            Self::Uint(bits) => write!(f, "a whole number of {bits} bits without sign"),
            Self::List => f.write_str("a list"),
            Self::Object => f.write_str("an object"),
            Self::Time => f.write_str("a time such as \"2006-01-02T15:04:05Z\""),
            Self::Field => f.write_str("the field"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

/// A document that Go's `encoding/json` would not take, or that docker refuses for what it says.
///
/// With a syntax error, `field` is empty, `found` is the byte that must not be there, if there is one, and
/// [`Expected::Json`] has Go's words. Otherwise `field` is the path of the field as Go names it: without the places in
/// lists and the keys of maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The field, as a path of names from the outermost object: `config.User`; empty for the document itself.
    pub field: String,
    /// Which element of a list it is, counted from 0, where the value is one; not what Go says, for people alone.
    pub item: Option<usize>,
    /// What belongs there.
    pub expected: Expected,
    /// What is there: `number`, `number 1.5`, `string`, `bool`, `array`, `object`, or the text that is no time.
    pub found: String,
    /// How many bytes from the beginning of the file Go has read when it notices the error.
    pub offset: usize,
}

impl std::error::Error for DecodeError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expected {
            Expected::Json(what) => write!(f, "{what} (byte {})", self.offset),
            Expected::Field => write!(f, "{} is missing", self.field),
            expected => {
                let found = match self.found.as_str() {
                    "array" => "a list",
                    "object" => "an object",
                    "bool" => "true or false",
                    "number" => "a number",
                    "string" => "a string",
                    other => other,
                };
                match (self.item, self.field.as_str()) {
                    (None, "") => f.write_str("the document")?,
                    (None, field) => f.write_str(field)?,
                    (Some(item), "") => write!(f, "item {item}")?,
                    (Some(item), field) => write!(f, "item {item} of {field}")?,
                }
                write!(f, " must be {expected}, not {found} (byte {})", self.offset)
            }
        }
    }
}
