//! What a template is evaluated over: values with the Go types that docker's have.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::json::{self, Html};
use crate::size;

/// A value with its Go type.
#[derive(Debug, Clone)]
pub enum Value {
    /// No value at all: what a map does not have.
    Missing,
    /// A nil interface: JSON's `null` where the type is not known.
    Nil,
    /// A nil pointer to a struct of that type.
    NilPointer(&'static str),
    /// A nil slice of that type.
    NilList(&'static str),
    /// A nil map of that type.
    NilMap(&'static str),
    /// `bool`
    Bool(bool),
    /// An integer of that type.
    Int(i64, &'static str),
    /// `float64`
    Float(f64),
    /// A string of that type.
    Text(Arc<str>, &'static str),
    /// A slice.
    List(Arc<List>),
    /// A map from strings, of that type.
    Map(Arc<BTreeMap<String, Self>>, &'static str),
    /// A struct, or a pointer to one.
    Struct(Arc<Struct>),
    /// A value that is printed otherwise than it is written as JSON: times and durations.
    Shown {
        /// As it is printed.
        text: Arc<str>,
        /// As JSON.
        json: Arc<str>,
        /// Its type.
        go_type: &'static str,
        /// Whether it counts as true.
        truth: bool,
    },
}

/// A slice.
#[derive(Debug)]
pub struct List {
    /// What it holds.
    pub items: Vec<Value>,
    /// Its type.
    pub go_type: &'static str,
    /// How many it could hold, which shows in an error.
    pub capacity: usize,
}

/// A struct.
#[derive(Debug)]
pub struct Struct {
    /// Its type, without the `*` of a pointer.
    pub go_type: &'static str,
    /// Whether this is a pointer to it.
    pub pointer: bool,
    /// Whether its fields are methods and its JSON a map's: docker's rows.
    pub row: bool,
    /// In the order of the type.
    pub fields: Vec<Field>,
}

/// A field of a struct.
#[derive(Debug)]
pub struct Field {
    /// The name in templates.
    pub name: &'static str,
    /// The name in JSON.
    pub key: &'static str,
    /// Whether JSON omits it when it is empty.
    pub omit_empty: bool,
    /// What it holds.
    pub value: Value,
}

/// The type of what a slice or map of unknown JSON holds.
pub(super) const INTERFACE: &str = "interface {}";
const INTERFACES: &str = "[]interface {}";
const INTERFACE_MAP: &str = "map[string]interface {}";

impl Value {
    /// A `string`.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into(), "string")
    }

    /// An `int`.
    #[must_use]
    pub(crate) fn int(value: i64) -> Self {
        Self::Int(value, "int")
    }

    /// A `[]string` as long as it can be.
    #[must_use]
    pub(crate) fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        let items: Vec<Self> = items.into_iter().map(Self::text).collect();
        let capacity = items.len();
        Self::List(Arc::new(List { items, go_type: "[]string", capacity }))
    }

    /// A slice that Go's JSON decoder has filled.
    #[must_use]
    pub(crate) fn decoded(items: Vec<Self>, go_type: &'static str) -> Self {
        let mut capacity = 0;
        while capacity < items.len() {
            capacity = usize::max(capacity + capacity / 2, 4);
        }
        Self::List(Arc::new(List { items, go_type, capacity }))
    }

    /// JSON of no known type, with numbers that keep their text.
    #[must_use]
    pub fn raw(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => {
                let text = match number.as_f64() {
                    Some(value) if number.is_f64() => json::float(value),
                    _ => number.to_string(),
                };
                Self::Text(text.into(), "json.Number")
            }
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(items) => {
                let items: Vec<Self> = items.iter().map(Self::raw).collect();
                let capacity = if items.is_empty() { 0 } else { items.len().next_power_of_two() };
                Self::List(Arc::new(List { items, go_type: INTERFACES, capacity }))
            }
            serde_json::Value::Object(object) => {
                let entries = object.iter().map(|(key, value)| (key.clone(), Self::raw(value)));
                Self::Map(Arc::new(entries.collect()), INTERFACE_MAP)
            }
        }
    }

    /// Its type as Go names it.
    #[must_use]
    pub(crate) fn go_type(&self) -> String {
        match self {
            Self::Missing | Self::Nil => INTERFACE.to_owned(),
            Self::NilPointer(go_type) => format!("*{go_type}"),
            Self::NilList(go_type) | Self::NilMap(go_type) => (*go_type).to_owned(),
            Self::Bool(_) => "bool".to_owned(),
            Self::Float(_) => "float64".to_owned(),
            Self::Int(_, go_type) | Self::Text(_, go_type) | Self::Map(_, go_type) => (*go_type).to_owned(),
            Self::Shown { go_type, .. } => (*go_type).to_owned(),
            Self::List(list) => list.go_type.to_owned(),
            Self::Struct(it) => format!("{}{}", if it.pointer { "*" } else { "" }, it.go_type),
        }
    }

    /// Whether what it holds is of type `interface {}`.
    pub(super) fn holds_interfaces(&self) -> bool {
        match self {
            Self::Map(_, go_type) => *go_type == INTERFACE_MAP,
            Self::List(list) => list.go_type == INTERFACES,
            _ => false,
        }
    }

    /// Whether `if` takes it for true.
    #[must_use]
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil | Self::NilPointer(_) | Self::NilList(_) | Self::NilMap(_) => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text, _) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map, _) => !map.is_empty(),
            Self::Struct(_) => true,
            Self::Shown { truth, .. } => *truth,
        }
    }

    /// Its text as `%v` prints it.
    #[must_use]
    pub(crate) fn display(&self) -> String {
        let mut out = String::new();
        self.display_into(&mut out, 0);
        out
    }

    fn display_into(&self, out: &mut String, depth: usize) {
        match self {
            Self::Missing | Self::Nil | Self::NilPointer(_) => out.push_str("<nil>"),
            Self::NilList(_) => out.push_str("[]"),
            Self::NilMap(_) => out.push_str("map[]"),
            Self::Bool(value) => drop(write!(out, "{value}")),
            Self::Int(value, _) => drop(write!(out, "{value}")),
            Self::Float(value) => out.push_str(&shortest(*value)),
            Self::Text(text, _) | Self::Shown { text, .. } => out.push_str(text),
            Self::List(list) => {
                out.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    item.display_into(out, depth + 1);
                }
                out.push(']');
            }
            Self::Map(map, _) => {
                out.push_str("map[");
                for (index, (key, value)) in map.iter().enumerate() {
                    let _ = write!(out, "{}{key}:", if index > 0 { " " } else { "" });
                    value.display_into(out, depth + 1);
                }
                out.push(']');
            }
            // Go prints an address here, which differs from run to run.
            Self::Struct(it) if it.pointer && depth > 0 => out.push_str("0xc000000000"),
            Self::Struct(it) => {
                out.push('{');
                for (index, field) in it.fields.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    field.value.display_into(out, depth + 1);
                }
                out.push('}');
            }
        }
    }

    /// Its JSON.
    #[must_use]
    pub(crate) fn json(&self, html: Html) -> String {
        let mut out = String::new();
        self.json_into(&mut out, html);
        out
    }

    fn json_into(&self, out: &mut String, html: Html) {
        match self {
            Self::Missing | Self::Nil | Self::NilPointer(_) | Self::NilList(_) | Self::NilMap(_) => {
                out.push_str("null");
            }
            Self::Bool(value) => drop(write!(out, "{value}")),
            Self::Int(value, _) => drop(write!(out, "{value}")),
            Self::Float(value) => out.push_str(&json::float(*value)),
            Self::Text(text, "json.Number") => out.push_str(text),
            Self::Text(text, _) => out.push_str(&json::string(text, html)),
            Self::Shown { json, .. } => out.push_str(json),
            Self::List(list) => {
                out.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.json_into(out, html);
                }
                out.push(']');
            }
            Self::Map(map, _) => object(out, map.iter().map(|(key, value)| (key.as_str(), value)), html),
            Self::Struct(it) if it.row => {
                // A row makes its own JSON, with Go's usual escapes.
                let sorted: BTreeMap<&str, &Self> = it.fields.iter().map(|field| (field.key, &field.value)).collect();
                object(out, sorted.into_iter(), Html::Escaped);
            }
            Self::Struct(it) => {
                let fields = it.fields.iter().filter(|field| !(field.omit_empty && field.value.is_empty()));
                object(out, fields.map(|field| (field.key, &field.value)), html);
            }
        }
    }

    /// What `omitempty` omits.
    fn is_empty(&self) -> bool {
        !matches!(self, Self::Struct(_)) && !self.truth()
    }
}

fn object<'a>(out: &mut String, entries: impl Iterator<Item = (&'a str, &'a Value)>, html: Html) {
    out.push('{');
    for (index, (key, value)) in entries.enumerate() {
        let _ = write!(out, "{}{}:", if index > 0 { "," } else { "" }, json::string(key, html));
        value.json_into(out, html);
    }
    out.push('}');
}

/// A `float64` as `%v` prints it.
pub(super) fn shortest(value: f64) -> String {
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if value.is_finite() && value != 0.0 => {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            match exponent {
                -4..=5 => format!("{value}"),
                _ => format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
            }
        }
        _ if value == 0.0 => format!("{value}"),
        _ => size::general(value, 1),
    }
}
