//! `print`, `println` and `printf` with the verbs of Go's `fmt`.

use super::Value;
use super::quote::{quoted, quoted_char};
use super::value::shortest;
use crate::size;

/// A blank between two arguments of which neither is a string.
pub(super) fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (index, arg) in args.iter().enumerate() {
        let text = |value: &Value| matches!(value, Value::Text(..));
        if index > 0 && !text(arg) && !text(&args[index - 1]) {
            out.push(' ');
        }
        out.push_str(&pointed(arg));
    }
    out
}

/// A blank between any two arguments, and the end of the line.
pub(super) fn println(args: &[Value]) -> String {
    args.iter().map(pointed).collect::<Vec<_>>().join(" ") + "\n"
}

/// Functions get pointers, which an action's own value no longer is.
fn pointed(value: &Value) -> String {
    match value {
        Value::Struct(it) if it.pointer => format!("&{}", value.display()),
        _ => value.display(),
    }
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// More blanks than this are cut, lest a template fill the memory.
const WIDEST: usize = 1 << 16;

pub(super) fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut used = 0;
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|flag| "-+# 0".contains(*flag)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                _ => spec.space = true,
            }
        }
        let mut measure = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String, bad: &str| {
            if chars.next_if_eq(&'*').is_some() {
                let value = match args.get(used) {
                    Some(Value::Int(value, "int")) => usize::try_from(*value).ok(),
                    _ => None,
                };
                used += 1;
                if value.is_none() {
                    out.push_str(bad);
                }
                return value.map(|value| value.min(WIDEST));
            }
            let mut value = None;
            while let Some(digit) = chars.peek().and_then(|digit| digit.to_digit(10)) {
                chars.next();
                value = Some((value.unwrap_or(0) * 10 + digit as usize).min(WIDEST));
            }
            value
        };
        spec.width = measure(&mut chars, &mut out, "%!(BADWIDTH)");
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(measure(&mut chars, &mut out, "%!(BADPREC)").unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.get(used) {
                None => {
                    out.push_str("%!");
                    out.push(verb);
                    out.push_str("(MISSING)");
                    // Go counts it nevertheless.
                }
                Some(arg) => {
                    used += 1;
                    out.push_str(&formatted(arg, verb, &spec));
                }
            },
        }
    }
    if used < args.len() {
        let extra = args[used..].iter().map(|arg| match arg {
            Value::Missing | Value::Nil => "<nil>".to_owned(),
            arg => format!("{}={}", arg.go_type(), pointed(arg)),
        });
        out.push_str(&format!("%!(EXTRA {})", extra.collect::<Vec<_>>().join(", ")));
    }
    out
}

fn formatted(arg: &Value, verb: char, spec: &Spec) -> String {
    match (verb, arg) {
        ('T', Value::Missing | Value::Nil) => padded("<nil>", spec, false),
        ('T', _) => padded(&arg.go_type(), spec, false),
        ('v', Value::Missing | Value::Nil) => padded("<nil>", spec, false),
        (_, Value::Missing | Value::Nil) => format!("%!{verb}(<nil>)"),
        ('v', Value::Text(text, _)) if spec.sharp => padded(&quoted(text), spec, false),
        ('v' | 's', Value::Text(text, _)) => padded(&cut(text, spec), spec, false),
        ('q', Value::Text(text, _)) => {
            let text = cut(text, spec);
            let raw =
                spec.sharp && !text.contains('`') && !text.contains(|char: char| char.is_control() && char != '\t');
            padded(&if raw { format!("`{text}`") } else { quoted(&text) }, spec, false)
        }
        ('x' | 'X', Value::Text(text, _)) => {
            let between = if spec.space { " " } else { "" };
            let bytes = text.bytes().take(spec.precision.unwrap_or(usize::MAX));
            let hex: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
            let hex = hex.join(between);
            padded(&if verb == 'X' { hex.to_uppercase() } else { hex }, spec, false)
        }
        ('v' | 't', Value::Bool(value)) => padded(&value.to_string(), spec, false),
        ('v' | 'd', Value::Int(value, _)) => whole(*value, 10, "", verb, spec),
        ('b', Value::Int(value, _)) => whole(*value, 2, "0b", verb, spec),
        ('o', Value::Int(value, _)) => whole(*value, 8, "0", verb, spec),
        ('O', Value::Int(value, _)) => whole(*value, 8, "0o", verb, spec),
        ('x', Value::Int(value, _)) => whole(*value, 16, "0x", verb, spec),
        ('X', Value::Int(value, _)) => whole(*value, 16, "0X", verb, spec),
        ('c' | 'q', Value::Int(value, _)) => {
            let char = u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            padded(&if verb == 'c' { char.to_string() } else { quoted_char(char) }, spec, false)
        }
        ('U', Value::Int(value, _)) => padded(&format!("U+{value:04X}"), spec, false),
        ('v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(value)) => real(*value, verb, spec),
        ('v', Value::List(_) | Value::Map(..)) => each(arg, 'v', spec),
        ('v' | 's', Value::Shown { text, .. }) => padded(&cut(text, spec), spec, false),
        ('q', Value::Shown { text, .. }) => padded(&quoted(&cut(text, spec)), spec, false),
        ('v', _) => padded(&pointed(arg), spec, false),
        (_, Value::List(_) | Value::Map(..)) => each(arg, verb, spec),
        // What is wrong is printed with the same width.
        _ => format!("%!{verb}({}={})", arg.go_type(), formatted(arg, 'v', spec)),
    }
}

/// The verb applies to what is inside.
fn each(arg: &Value, verb: char, spec: &Spec) -> String {
    match arg {
        Value::List(list) => {
            let items: Vec<String> = list.items.iter().map(|item| formatted(item, verb, spec)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(map, _) => {
            let entry = |(key, value): (&String, &Value)| {
                format!("{}:{}", formatted(&Value::text(key), verb, spec), formatted(value, verb, spec))
            };
            format!("map[{}]", map.iter().map(entry).collect::<Vec<_>>().join(" "))
        }
        other => other.display(),
    }
}

/// As many characters as the precision says.
fn cut(text: &str, spec: &Spec) -> String {
    text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect()
}

fn padded(text: &str, spec: &Spec, number: bool) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if !spec.zero {
        return format!("{}{text}", " ".repeat(missing));
    }
    // Zeros go after a sign.
    let sign = usize::from(number && text.starts_with(['-', '+', ' ']));
    format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
}

fn whole(value: i64, base: u32, prefix: &str, verb: char, spec: &Spec) -> String {
    let size = value.unsigned_abs();
    let mut digits = match base {
        2 => format!("{size:b}"),
        8 => format!("{size:o}"),
        16 => format!("{size:x}"),
        _ => size.to_string(),
    };
    if verb == 'X' {
        digits = digits.to_uppercase();
    }
    if let Some(precision) = spec.precision {
        if precision == 0 && value == 0 {
            digits.clear();
        }
        digits = format!("{}{digits}", "0".repeat(precision.saturating_sub(digits.len())));
    }
    let sign = if value < 0 {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    };
    let prefix = if (spec.sharp || verb == 'O') && !prefix.is_empty() { prefix } else { "" };
    let zeros = if spec.zero && !spec.minus && spec.precision.is_none() {
        spec.width.unwrap_or(0).saturating_sub(sign.len() + digits.len())
    } else {
        0
    };
    let text = format!("{sign}{prefix}{}{digits}", "0".repeat(zeros));
    padded(&text, &Spec { zero: false, minus: spec.minus, width: spec.width, ..Spec::default() }, true)
}

fn real(value: f64, verb: char, spec: &Spec) -> String {
    let scientific = |digits: usize| {
        let text = format!("{value:.digits$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    };
    let text = match (verb, spec.precision) {
        _ if !value.is_finite() => size::general(value, 1),
        ('f' | 'F', precision) => format!("{value:.*}", precision.unwrap_or(6)),
        ('e' | 'E', precision) => scientific(precision.unwrap_or(6)),
        (_, Some(precision)) => size::general(value, precision),
        (_, None) => shortest(value),
    };
    let text = if verb.is_uppercase() { text.to_uppercase() } else { text };
    let sign = match (value < 0.0, spec) {
        (false, Spec { plus: true, .. }) => "+",
        (false, Spec { space: true, .. }) => " ",
        _ => "",
    };
    padded(&format!("{sign}{text}"), spec, true)
}
