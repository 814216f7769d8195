//! `eq`, `lt` and their like.

use std::cmp::Ordering;

use super::Value;

const BAD_TYPE: &str = "invalid type for comparison";
const DIFFERENT: &str = "incompatible types for comparison";

/// What can be compared with what.
#[derive(PartialEq)]
enum TokenKind {
    Bool,
    Int,
    Float,
    Text,
    Other,
}

fn kind(value: &Value) -> TokenKind {
    match value {
        Value::Bool(_) => TokenKind::Bool,
        Value::Int(..) => TokenKind::Int,
        Value::Float(_) => TokenKind::Float,
        Value::Text(..) => TokenKind::Text,
        _ => TokenKind::Other,
    }
}

fn is_comparable(value: &Value) -> bool {
    !matches!(value, Value::List(_) | Value::Map(..) | Value::NilList(_) | Value::NilMap(_))
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Missing | Value::Nil)
}

fn same(first: &Value, second: &Value) -> bool {
    match (first, second) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a, _), Value::Int(b, _)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a, _), Value::Text(b, _)) => a == b,
        (Value::Shown { json: a, .. }, Value::Shown { json: b, .. }) => a == b,
        _ => is_nothing(first) && is_nothing(second),
    }
}

/// Whether the first equals any of the others.
pub(super) fn eq(args: &[Value]) -> Result<Value, String> {
    let first = &args[0];
    if args.len() == 1 {
        return Err("missing argument for comparison".to_owned());
    }
    for other in &args[1..] {
        if kind(first) != kind(other) {
            if !is_nothing(first) && !is_nothing(other) {
                return Err(DIFFERENT.to_owned());
            }
            continue;
        }
        if !is_comparable(first) || !is_comparable(other) {
            return Err(format!("non-comparable type {}: {}", first.display(), first.go_type()));
        }
        if same(first, other) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(super) fn ne(args: &[Value]) -> Result<Value, String> {
    eq(args).map(|equal| Value::Bool(!equal.truth()))
}

fn ordered(args: &[Value]) -> Result<Option<Ordering>, String> {
    if [&args[0], &args[1]].iter().any(|arg| kind(arg) == TokenKind::Other) {
        return Err(BAD_TYPE.to_owned());
    }
    match (&args[0], &args[1]) {
        (Value::Int(a, _), Value::Int(b, _)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a, _), Value::Text(b, _)) => Ok(Some(a.cmp(b))),
        (Value::Bool(_), Value::Bool(_)) => Err(BAD_TYPE.to_owned()),
        _ => Err(DIFFERENT.to_owned()),
    }
}

pub(super) fn lt(args: &[Value]) -> Result<Value, String> {
    ordered(args).map(|order| Value::Bool(order.is_some_and(Ordering::is_lt)))
}

pub(super) fn le(args: &[Value]) -> Result<Value, String> {
    ordered(args).map(|order| Value::Bool(order.is_some_and(Ordering::is_le)))
}

pub(super) fn gt(args: &[Value]) -> Result<Value, String> {
    le(args).map(|order| Value::Bool(!order.truth()))
}

pub(super) fn ge(args: &[Value]) -> Result<Value, String> {
    lt(args).map(|order| Value::Bool(!order.truth()))
}
