//! Strings of JSON as Go reads them: a byte that is not UTF-8, or half of a surrogate pair, becomes U+FFFD.

use std::borrow::Cow;

/// The content of a string literal with its quotes. Its syntax has been checked.
pub(super) fn unquote(raw: &[u8]) -> Cow<'_, [u8]> {
    let inner = &raw[1..raw.len() - 1];
    if !inner.contains(&b'\\') && std::str::from_utf8(inner).is_ok() {
        return inner.into();
    }
    let mut text = String::with_capacity(inner.len());
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        if byte == b'\\' {
            at += escape(&inner[at..], &mut text);
        } else {
            let end = inner[at..].iter().position(|byte| *byte == b'\\').map_or(inner.len(), |length| at + length);
            replace_invalid(&inner[at..end], &mut text);
            at = end;
        }
    }
    text.into_bytes().into()
}

/// Adds the character that an escape stands for, and returns the escape's length.
fn escape(bytes: &[u8], text: &mut String) -> usize {
    let plain = match bytes[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = code_unit(bytes).unwrap_or(0xfffd);
            if let Some(c) = char::from_u32(unit) {
                text.push(c);
                return 6;
            }
            // A high surrogate and a low one after it make one character; any other surrogate becomes U+FFFD.
            let low = bytes.get(6..).and_then(code_unit).filter(|low| (0xdc00..0xe000).contains(low));
            if let Some(low) = low
                && unit < 0xdc00
            {
                let c = char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
                text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
                return 12;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            return 6;
        }
        other => char::from(other),
    };
    text.push(plain);
    2
}

/// The number of `\uXXXX`, if that is what is here.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Adds `bytes`; each byte that is part of no character becomes a U+FFFD of its own.
fn replace_invalid(mut bytes: &[u8], text: &mut String) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => return text.push_str(valid),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                text.push(char::REPLACEMENT_CHARACTER);
                bytes = &rest[1..];
            }
        }
    }
}
