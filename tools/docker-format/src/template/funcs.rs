//! The functions of templates: Go's own, and those that docker adds.

use std::sync::Arc;

use super::{Value, compare, escape, printf};
use crate::json::Html;

/// Which of docker's functions a template gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Functions {
    /// Those that change values.
    Values,
    /// Those of the header of a table, which return their first argument.
    Header,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Any,
    Text,
    Int,
    Strings,
}

impl Param {
    pub(super) fn go_type(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Strings => "[]string",
        }
    }
}

type Call = fn(&[Value]) -> Result<Value, String>;

/// A function: the types of its arguments, the type of any further ones, and the code.
pub(super) struct Function {
    pub(super) params: &'static [Param],
    pub(super) rest: Option<Param>,
    pub(super) call: Call,
}

/// Whether there is a function of that name.
pub(super) fn exists(name: &str) -> bool {
    find(Functions::Values, name).is_some()
}

/// The function of that name.
pub(super) fn find(functions: Functions, name: &str) -> Option<Function> {
    use Param::{Any, Int, Strings, Text};
    if functions == Functions::Header {
        let params: Option<&'static [Param]> = match name {
            "json" | "title" | "lower" | "upper" => Some(&[Text]),
            "split" | "join" => Some(&[Text, Text]),
            "truncate" => Some(&[Text, Int]),
            _ => None,
        };
        if let Some(params) = params {
            return Some(Function { params, rest: None, call: |args| Ok(args[0].clone()) });
        }
    }
    let (params, rest, call): (&'static [Param], Option<Param>, Call) = match name {
        "and" | "or" => (&[Any], Some(Any), |_| Ok(Value::Missing)),
        "not" => (&[Any], None, |args| Ok(Value::Bool(!args[0].truth()))),
        "len" => (&[Any], None, len),
        "index" => (&[Any], Some(Any), index),
        "slice" => (&[Any], Some(Any), slice),
        "call" => (&[Any], Some(Any), |args| match &args[0] {
            Value::Missing | Value::Nil => Err("call of nil".to_owned()),
            other => Err(format!("non-function of type {}", other.go_type())),
        }),
        "print" => (&[], Some(Any), |args| Ok(Value::text(&printf::print(args)))),
        "println" => (&[], Some(Any), |args| Ok(Value::text(&printf::println(args)))),
        "printf" => {
            (&[Text], Some(Any), |args| printf::printf(text(&args[0]), &args[1..]).map(|text| Value::text(&text)))
        }
        "html" => (&[], Some(Any), |args| Ok(Value::text(&escape::html(&joined(args))))),
        "js" => (&[], Some(Any), |args| Ok(Value::text(&escape::js(&joined(args))))),
        "urlquery" => (&[], Some(Any), |args| Ok(Value::text(&escape::url_query(&joined(args))))),
        "eq" => (&[Any], Some(Any), compare::eq),
        "ne" => (&[Any, Any], None, compare::ne),
        "lt" => (&[Any, Any], None, compare::lt),
        "le" => (&[Any, Any], None, compare::le),
        "gt" => (&[Any, Any], None, compare::gt),
        "ge" => (&[Any, Any], None, compare::ge),
        "json" => (&[Any], None, |args| Ok(Value::text(&args[0].json(Html::Plain)))),
        "split" => (&[Text, Text], None, |args| Ok(split(text(&args[0]), text(&args[1])))),
        "join" => (&[Strings, Text], None, join),
        "title" => (&[Text], None, |args| Ok(Value::text(&title(text(&args[0]))))),
        "lower" => (&[Text], None, |args| Ok(Value::text(&text(&args[0]).chars().map(lower).collect::<String>()))),
        "upper" => (&[Text], None, |args| Ok(Value::text(&text(&args[0]).chars().map(upper).collect::<String>()))),
        "pad" => (&[Text, Int, Int], None, pad),
        "truncate" => (&[Text, Int], None, truncate),
        _ => return None,
    };
    Some(Function { params, rest, call })
}

/// The text of an argument that is known to be one.
fn text(value: &Value) -> &str {
    match value {
        Value::Text(text, _) => text,
        _ => "",
    }
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(value, _) => *value,
        _ => 0,
    }
}

/// What the escaping functions escape: a string, or anything as `print` prints it.
fn joined(args: &[Value]) -> String {
    match args {
        [Value::Text(text, "string")] => text.to_string(),
        _ => {
            let shown: Vec<Value> = args
                .iter()
                .map(|arg| match arg {
                    Value::Missing | Value::Nil => Value::text("<no value>"),
                    other => other.clone(),
                })
                .collect();
            printf::print(&shown)
        }
    }
}

fn len(args: &[Value]) -> Result<Value, String> {
    let length = match &args[0] {
        Value::Text(text, _) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map, _) => map.len(),
        Value::NilList(_) | Value::NilMap(_) => 0,
        Value::Missing => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.go_type().trim_start_matches('*'))),
    };
    Ok(Value::int(length as i64))
}

/// An index into what has that capacity.
fn position(index: &Value, capacity: usize) -> Result<usize, String> {
    match index {
        Value::Int(at, _) => {
            usize::try_from(*at).ok().filter(|at| *at <= capacity).ok_or_else(|| format!("index out of range: {at}"))
        }
        Value::Missing | Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!("cannot index slice/array with type {}", other.go_type())),
    }
}

fn index(args: &[Value]) -> Result<Value, String> {
    if matches!(args[0], Value::Missing | Value::Nil) {
        return Err("index of untyped nil".to_owned());
    }
    let mut value = args[0].clone();
    for key in &args[1..] {
        value = match &value {
            Value::Text(text, _) => {
                let at = position(key, text.len())?;
                let byte = text.as_bytes().get(at).ok_or("reflect: string index out of range")?;
                Value::Int(i64::from(*byte), "uint8")
            }
            Value::List(list) => {
                let at = position(key, list.items.len())?;
                list.items.get(at).cloned().ok_or("reflect: slice index out of range")?
            }
            Value::NilList(_) => {
                position(key, 0)?;
                return Err("reflect: slice index out of range".to_owned());
            }
            Value::NilMap(go_type) if matches!(key, Value::Text(_, "string")) => zero(go_type),
            Value::Map(map, go_type) => match key {
                Value::Text(key, "string") => map.get(&**key).cloned().unwrap_or_else(|| zero(go_type)),
                Value::Missing | Value::Nil => return Err("value is nil; should be of type string".to_owned()),
                other => return Err(format!("value has type {}; should be string", other.go_type())),
            },
            Value::Missing | Value::Nil | Value::NilPointer(_) => return Err("index of nil pointer".to_owned()),
            other => return Err(format!("can't index item of type {}", other.go_type().trim_start_matches('*'))),
        };
    }
    Ok(value)
}

/// What a map of that type gives for a key that it does not have.
fn zero(go_type: &str) -> Value {
    if go_type.ends_with("]string") { Value::text("") } else { Value::Nil }
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let (length, capacity) = match &args[0] {
        Value::Missing | Value::Nil => return Err("slice of untyped nil".to_owned()),
        _ if args.len() > 4 => return Err(format!("too many slice indexes: {}", args.len() - 1)),
        Value::Text(..) if args.len() == 4 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text, _) => (text.len(), text.len()),
        Value::List(list) => (list.items.len(), list.capacity),
        Value::NilList(_) => (0, 0),
        other => return Err(format!("can't slice item of type {}", other.go_type())),
    };
    let mut bounds = [0, length, capacity];
    for (bound, arg) in bounds.iter_mut().zip(&args[1..]) {
        *bound = position(arg, capacity)?;
    }
    let [from, to, most] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > most {
        return Err(format!("invalid slice index: {to} > {most}"));
    }
    Ok(match &args[0] {
        Value::List(list) => {
            let mut items = list.items.clone();
            items.resize(items.len().max(to), zero(list.go_type));
            Value::List(Arc::new(super::List {
                items: items[from..to].to_vec(),
                go_type: list.go_type,
                capacity: most - from,
            }))
        }
        other => Value::text(&String::from_utf8_lossy(&text(other).as_bytes()[from..to])),
    })
}

/// An empty separator cuts the text into its characters.
fn split(text: &str, between: &str) -> Value {
    if between.is_empty() {
        let ends = text.char_indices().map(|(at, char)| &text[at..at + char.len_utf8()]);
        return Value::strings(ends);
    }
    Value::strings(text.split(between))
}

fn join(args: &[Value]) -> Result<Value, String> {
    let items: Vec<&str> = match &args[0] {
        Value::List(list) => list.items.iter().map(text).collect(),
        _ => Vec::new(),
    };
    Ok(Value::text(&items.join(text(&args[1]))))
}

/// The upper case of one character. Where that would be several, the character stays as it is, as in Go.
fn upper(char: char) -> char {
    let mut upper = char.to_uppercase();
    upper.next().filter(|_| upper.next().is_none()).unwrap_or(char)
}

fn lower(char: char) -> char {
    char.to_lowercase().next().unwrap_or(char)
}

/// Every letter that begins a word in upper case.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for char in text.chars() {
        let inside = before == '_' || before.is_alphanumeric() || !(before.is_ascii() || before.is_whitespace());
        if inside {
            out.push(char);
        } else {
            out.push(upper(char));
        }
        before = char;
    }
    out
}

fn pad(args: &[Value]) -> Result<Value, String> {
    let inner = text(&args[0]);
    if inner.is_empty() {
        return Ok(Value::text(""));
    }
    let blanks = |count: i64| {
        let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count".to_owned())?;
        // More than a line can take is a mistake, not a wish.
        if count > 1 << 20 { Err("strings: Repeat count causes overflow".to_owned()) } else { Ok(" ".repeat(count)) }
    };
    Ok(Value::text(&format!("{}{inner}{}", blanks(int(&args[1]))?, blanks(int(&args[2]))?)))
}

fn truncate(args: &[Value]) -> Result<Value, String> {
    let (inner, length) = (text(&args[0]), int(&args[1]));
    match usize::try_from(length) {
        Ok(length) if inner.len() < length => Ok(args[0].clone()),
        Ok(length) => Ok(Value::text(&String::from_utf8_lossy(&inner.as_bytes()[..length]))),
        Err(_) => Err(format!("runtime error: slice bounds out of range [:{length}]")),
    }
}
