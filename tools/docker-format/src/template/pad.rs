//! Numbers and texts brought to their width and precision, as Go's `fmt/format.go` does it.

use super::value::shortest;
use crate::size;

/// What stands between `%` and the verb.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spec {
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

/// No `float64` has more digits than this; what follows is zeros. The standard library takes 16 bits of precision.
const DIGITS: usize = 1100;

/// As many characters of a text as the precision allows.
pub(super) fn cut(text: &str, spec: &Spec) -> String {
    text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect()
}

/// A text filled up to the width; zeros go after the sign of a number.
pub(super) fn padded(text: &str, spec: &Spec, number: bool) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if !spec.zero {
        return format!("{}{text}", " ".repeat(missing));
    }
    let (sign, rest) = text.split_at(usize::from(number && text.starts_with(['-', '+', ' '])));
    format!("{sign}{}{rest}", "0".repeat(missing))
}

/// An integer to a base, for one of Go's verbs for integers.
pub(super) fn whole(value: i64, base: u32, verb: char, spec: &Spec) -> String {
    let blank = Spec { zero: false, ..*spec };
    if spec.precision == Some(0) && value == 0 {
        return padded("", &blank, false);
    }
    let size = value.unsigned_abs();
    let digits = match (base, verb) {
        (2, _) => format!("{size:b}"),
        (8, _) => format!("{size:o}"),
        (16, 'X') => format!("{size:X}"),
        (16, _) => format!("{size:x}"),
        _ => size.to_string(),
    };
    let sign = match spec {
        _ if value < 0 => "-",
        Spec { plus: true, .. } => "+",
        Spec { space: true, .. } => " ",
        _ => "",
    };
    let wanted = match (spec.precision, spec.width) {
        (Some(precision), _) => precision,
        (None, Some(width)) if spec.zero => width.saturating_sub(sign.len()),
        _ => 0,
    };
    let zeros = "0".repeat(wanted.saturating_sub(digits.len()));
    let prefix = match (base, verb) {
        (8, 'O') if spec.sharp && zeros.is_empty() && !digits.starts_with('0') => "0o0",
        (8, 'O') => "0o",
        _ if !spec.sharp => "",
        (2, _) => "0b",
        (8, _) if zeros.is_empty() && !digits.starts_with('0') => "0",
        (16, 'X') => "0X",
        (16, _) => "0x",
        _ => "",
    };
    padded(&format!("{sign}{prefix}{zeros}{digits}"), &blank, false)
}

/// A finite number for one of Go's verbs for those.
pub(super) fn real(value: f64, verb: char, spec: &Spec) -> String {
    let precision = spec.precision.map(|precision| precision.min(DIGITS));
    let size = value.abs();
    let mut text = match verb {
        'f' | 'F' => format!("{size:.*}", precision.unwrap_or(6)),
        'e' | 'E' => scientific(size, precision.unwrap_or(6)),
        _ => precision.map_or_else(|| shortest(size), |precision| size::general(size, precision)),
    };
    if verb.is_uppercase() {
        text = text.to_uppercase();
    }
    if let (Some(wanted), 'e' | 'E' | 'f' | 'F') = (spec.precision, verb) {
        let end = text.find(['e', 'E']).unwrap_or(text.len());
        text.insert_str(end, &"0".repeat(wanted.saturating_sub(DIGITS)));
    }
    if spec.sharp {
        text = with_point(&text, matches!(verb, 'v' | 'g' | 'G').then(|| spec.precision.unwrap_or(6)));
    }
    let sign = match spec {
        _ if value.is_sign_negative() => "-",
        Spec { plus: true, .. } => "+",
        Spec { space: true, .. } => " ",
        _ => "",
    };
    padded(&format!("{sign}{text}"), spec, true)
}

fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// A number with a point, and with zeros up to `digits` significant digits.
fn with_point(number: &str, digits: Option<usize>) -> String {
    let (mantissa, tail) = number.split_at(number.find(['e', 'E']).unwrap_or(number.len()));
    let significant = mantissa.trim_start_matches(['0', '.']).bytes().filter(u8::is_ascii_digit).count();
    // A zero by itself counts once.
    let significant = if mantissa == "0" { 1 } else { significant };
    let zeros = "0".repeat(digits.unwrap_or(0).saturating_sub(significant));
    let point = if mantissa.contains('.') { "" } else { "." };
    format!("{mantissa}{point}{zeros}{tail}")
}
