//! `print`, `println` and `printf` with the verbs of Go's `fmt` (Go 1.19 `fmt/print.go`, `fmt/format.go`).

use super::Value;
use super::pad::{Spec, cut, padded, real, whole};
use super::quote::{is_printable, quoted, quoted_ascii, quoted_rune};
use super::verbs::{Directive, Piece, Verbs};

/// What one call may print, lest a template fill the memory.
const LONGEST: usize = 1 << 26;

/// Prints the arguments, with a blank between two of which neither is a string.
pub(super) fn print(args: &[Value]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for arg in args {
        let is_text = matches!(arg, Value::Text(..));
        if !is_text && !after_text {
            out.push(' ');
        }
        out.push_str(&pointed(arg));
        after_text = is_text;
    }
    out
}

/// Prints the arguments with a blank between any two, and ends the line.
pub(super) fn println(args: &[Value]) -> String {
    args.iter().map(pointed).collect::<Vec<_>>().join(" ") + "\n"
}

/// The text of an argument. A function gets a pointer to a struct, where an action prints the struct itself.
fn pointed(value: &Value) -> String {
    match value {
        Value::Struct(it) if it.pointer => format!("&{}", value.display()),
        _ => value.display(),
    }
}

/// # Errors
/// Names a form that Go prints and this function does not.
pub(super) fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut verbs = Verbs::new(format, args);
    while let Some(piece) = verbs.read() {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Bad(text) => out.push_str(&text),
            Piece::Verb(Directive { verb, spec, arg }) => formatted(&mut out, arg, verb, &spec, 0)?,
        }
        if out.len() > LONGEST {
            return Err(format!("more than {LONGEST} bytes in one call are not supported"));
        }
    }
    let rest = verbs.unused();
    if !rest.is_empty() {
        let extra = rest.iter().map(|arg| match arg {
            Value::Missing | Value::Nil => "<nil>".to_owned(),
            arg => format!("{}={}", arg.go_type(), pointed(arg)),
        });
        out.push_str(&format!("%!(EXTRA {})", extra.collect::<Vec<_>>().join(", ")));
    }
    Ok(out)
}

/// A value at `depth` within the argument.
fn formatted(out: &mut String, arg: &Value, verb: char, spec: &Spec, depth: usize) -> Result<(), String> {
    // Go prints many small pieces of a list one by one, and so the end is looked for here, too.
    if out.len() > LONGEST {
        return Err(format!("more than {LONGEST} bytes in one call are not supported"));
    }
    // `%#v` and `%+v` ask for another form of the whole value; what is inside has no such flags.
    let (syntax, names) = (verb == 'v' && spec.sharp, verb == 'v' && spec.plus);
    let plain = Spec { sharp: spec.sharp && verb != 'v', plus: spec.plus && verb != 'v', ..*spec };
    let text = match (verb, arg) {
        ('p', Value::List(_) | Value::Map(..) | Value::Struct(_)) => return Err("%p is not supported".into()),
        ('T', Value::Missing | Value::Nil) => padded("<nil>", spec, false),
        ('T', _) => padded(&cut(&arg.go_type(), spec), spec, false),
        ('v', Value::Missing | Value::Nil) if syntax && depth > 0 => "interface {}(nil)".to_owned(),
        ('v', Value::Missing | Value::Nil) if depth == 0 => padded("<nil>", spec, false),
        (_, Value::Missing | Value::Nil) if depth > 0 => "<nil>".to_owned(),
        (_, Value::Missing | Value::Nil) => format!("%!{verb}(<nil>)"),
        ('v', Value::NilPointer(go_type)) if syntax => format!("(*{go_type})(nil)"),
        ('v', Value::NilList(go_type) | Value::NilMap(go_type)) if syntax => format!("{go_type}(nil)"),
        ('v', Value::Text(text, _)) if syntax => padded(&quoted(&cut(text, spec)), spec, false),
        ('v' | 's', Value::Text(text, _) | Value::Shown { text, .. }) if !(syntax && is_shown(arg)) => {
            padded(&cut(text, spec), spec, false)
        }
        ('q', Value::Text(text, _) | Value::Shown { text, .. }) => {
            padded(&quoted_text(&cut(text, spec), spec), spec, false)
        }
        ('x' | 'X', Value::Text(text, _) | Value::Shown { text, .. }) => hex(text, verb, spec),
        (_, Value::Shown { json, go_type, .. }) => match json.parse() {
            // A duration is a number.
            Ok(nanoseconds) => return formatted(out, &Value::Int(nanoseconds, go_type), verb, spec, depth),
            Err(_) if syntax => return Err(format!("%#v of {go_type} is not supported")),
            Err(_) => bad_verb(arg, verb, spec)?,
        },
        ('v' | 't', Value::Bool(value)) => padded(&value.to_string(), spec, false),
        ('v' | 'd', Value::Int(value, _)) => whole(*value, 10, verb, &plain),
        ('b', Value::Int(value, _)) => whole(*value, 2, verb, spec),
        ('o' | 'O', Value::Int(value, _)) => whole(*value, 8, verb, spec),
        ('x' | 'X', Value::Int(value, _)) => whole(*value, 16, verb, spec),
        ('c' | 'q', Value::Int(value, _)) => {
            let char = u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            padded(&if verb == 'c' { char.to_string() } else { quoted_rune(char, spec.plus) }, spec, false)
        }
        ('U', Value::Int(value, _)) => unicode(*value, spec),
        ('v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(value)) => real(*value, verb, &plain),
        ('b' | 'x' | 'X', Value::Float(_)) => return Err(format!("%{verb} of a float64 is not supported")),
        (_, Value::Struct(it)) if it.pointer && depth > 0 => {
            return Err(format!("%{verb} of a pointer within a value is not supported"));
        }
        (_, Value::List(_) | Value::Map(..) | Value::Struct(_)) => {
            return each(out, arg, verb, spec, syntax, names, depth);
        }
        ('v', _) => padded(&pointed(arg), spec, false),
        _ => bad_verb(arg, verb, spec)?,
    };
    out.push_str(&text);
    Ok(())
}

fn is_shown(value: &Value) -> bool {
    matches!(value, Value::Shown { .. })
}

/// What Go prints of a verb that does not fit: the value in it has the same width.
fn bad_verb(arg: &Value, verb: char, spec: &Spec) -> Result<String, String> {
    let mut value = String::new();
    formatted(&mut value, arg, 'v', &Spec { sharp: false, plus: false, ..*spec }, 0)?;
    Ok(format!("%!{verb}({}={value})", arg.go_type()))
}

/// The verb applies to what is inside; `syntax` asks for Go's own, `names` for those of fields.
fn each(
    out: &mut String,
    arg: &Value,
    verb: char,
    spec: &Spec,
    syntax: bool,
    names: bool,
    depth: usize,
) -> Result<(), String> {
    let between = if syntax { ", " } else { " " };
    let open = |out: &mut String, bracket: &str| {
        if syntax {
            out.push_str(&arg.go_type().replace('*', "&"));
        }
        out.push_str(if syntax { "{" } else { bracket });
    };
    match arg {
        Value::List(list) => {
            open(out, "[");
            for (index, item) in list.items.iter().enumerate() {
                out.push_str(if index > 0 { between } else { "" });
                formatted(out, item, verb, spec, depth + 1)?;
            }
            out.push_str(if syntax { "}" } else { "]" });
        }
        Value::Map(map, _) => {
            open(out, "map[");
            for (index, (key, value)) in map.iter().enumerate() {
                out.push_str(if index > 0 { between } else { "" });
                formatted(out, &Value::text(key), verb, spec, depth + 1)?;
                out.push(':');
                formatted(out, value, verb, spec, depth + 1)?;
            }
            out.push_str(if syntax { "}" } else { "]" });
        }
        Value::Struct(it) => {
            open(out, if it.pointer { "&{" } else { "{" });
            for (index, field) in it.fields.iter().enumerate() {
                out.push_str(if index > 0 { between } else { "" });
                if syntax || names {
                    out.push_str(field.name);
                    out.push(':');
                }
                formatted(out, &field.value, verb, spec, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&arg.display()),
    }
    Ok(())
}

fn quoted_text(text: &str, spec: &Spec) -> String {
    let raw = !text.contains(['`', '\u{feff}', '\u{7f}']) && !text.contains(|char: char| char < ' ' && char != '\t');
    match spec {
        Spec { sharp: true, .. } if raw => format!("`{text}`"),
        Spec { plus: true, .. } => quoted_ascii(text),
        _ => quoted(text),
    }
}

fn hex(text: &str, verb: char, spec: &Spec) -> String {
    let bytes: Vec<String> =
        text.bytes().take(spec.precision.unwrap_or(usize::MAX)).map(|byte| format!("{byte:02x}")).collect();
    let (prefix, between) = match spec {
        _ if bytes.is_empty() => ("", ""),
        Spec { sharp: true, space: true, .. } => ("0x", " 0x"),
        Spec { sharp: true, .. } => ("0x", ""),
        Spec { space: true, .. } => ("", " "),
        _ => ("", ""),
    };
    let text = format!("{prefix}{}", bytes.join(between));
    padded(&if verb == 'X' { text.to_uppercase() } else { text }, spec, false)
}

fn unicode(value: i64, spec: &Spec) -> String {
    let digits = spec.precision.unwrap_or(4).max(4);
    let code = format!("{value:X}");
    let zeros = "0".repeat(digits.saturating_sub(code.len()));
    let char = u32::try_from(value).ok().and_then(char::from_u32).filter(|char| spec.sharp && is_printable(*char));
    let shown = char.map_or_else(String::new, |char| format!(" '{char}'"));
    padded(&format!("U+{zeros}{code}{shown}"), &Spec { zero: false, ..*spec }, false)
}
