//! Go's string literals.

use std::fmt::Write;

/// A string as Go's `%q` writes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        escaped(&mut out, char, '"', false);
    }
    out.push('"');
    out
}

/// A string in ASCII, as Go's `%+q` writes it.
pub(super) fn quoted_ascii(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        escaped(&mut out, char, '"', true);
    }
    out.push('"');
    out
}

/// A number as `%q` writes it: the character of that number.
#[must_use]
pub fn quoted_char(char: char) -> String {
    quoted_rune(char, false)
}

/// A character as `%q` writes it, or `%+q` in ASCII.
pub(super) fn quoted_rune(char: char, ascii: bool) -> String {
    let mut out = String::from("'");
    escaped(&mut out, char, '\'', ascii);
    out.push('\'');
    out
}

fn escaped(out: &mut String, char: char, quote: char, ascii: bool) {
    match char {
        _ if char == quote || char == '\\' => {
            out.push('\\');
            out.push(char);
        }
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        _ if is_printable(char) && (char.is_ascii() || !ascii) => out.push(char),
        _ => {
            let code = u32::from(char);
            let _ = match code {
                0..=0x7f => write!(out, "\\x{code:02x}"),
                0x80..=0xffff => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            };
        }
    }
}

/// Nearly what Go takes for printable: not control, not a blank other than the blank.
pub(super) fn is_printable(char: char) -> bool {
    let unseen = matches!(char,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..);
    char == ' ' || !(char.is_control() || char.is_whitespace() || unseen)
}

/// What a literal in quotes of any kind stands for.
pub(super) fn unquoted(literal: &str) -> Option<String> {
    let quote = literal.chars().next()?;
    let inner = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    if quote == '`' {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::new();
    let mut rest = inner.chars();
    while let Some(char) = rest.next() {
        if char != '\\' {
            if char == quote || char == '\n' {
                return None;
            }
            bytes.extend(char.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        let char = match rest.next()? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' => '\\',
            escaped if escaped == quote => quote,
            'u' => {
                let hex: String = rest.by_ref().take(4).collect();
                char::from_u32(u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4)?)?
            }
            'U' => {
                let hex: String = rest.by_ref().take(8).collect();
                char::from_u32(u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 8)?)?
            }
            'x' => {
                let hex: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 2)?);
                continue;
            }
            first @ '0'..='7' => {
                let octal: String = std::iter::once(first).chain(rest.by_ref().take(2)).collect();
                bytes.push(u8::from_str_radix(&octal, 8).ok().filter(|_| octal.len() == 3)?);
                continue;
            }
            _ => return None,
        };
        bytes.extend(char.encode_utf8(&mut [0; 4]).bytes());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
