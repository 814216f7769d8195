//! Patterns of a shell in `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and escapes (moby/buildkit
//! `frontend/dockerfile/shell/lex.go: convertShellPatternToRegex`).

use regex::{Error, NoExpand, Regex};

/// What a pattern is made of, each part as an expression.
fn parts(pattern: &str, greedy: bool) -> Vec<String> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        parts.push(match char {
            '*' if greedy => ".*".to_owned(),
            '*' => ".*?".to_owned(),
            '?' => ".".to_owned(),
            '\\' => regex::escape(chars.next().unwrap_or('\\').encode_utf8(&mut [0; 4])),
            char => regex::escape(char.encode_utf8(&mut [0; 4])),
        });
    }
    parts
}

fn expression(parts: &[String], at_start: bool) -> Result<Regex, Error> {
    let start = if at_start { "^" } else { "" };
    Regex::new(&format!("(?s){start}{}", parts.concat()))
}

/// A text without the shortest or longest beginning that fits.
pub(super) fn without_prefix(text: &str, pattern: &str, longest: bool) -> Result<String, Error> {
    let found = expression(&parts(pattern, longest), true)?.find(text).map_or(0, |found| found.end());
    Ok(text[found..].to_owned())
}

/// A text without the shortest or longest end that fits: its beginning, if both are read backwards.
pub(super) fn without_suffix(text: &str, pattern: &str, longest: bool) -> Result<String, Error> {
    let mut parts = parts(pattern, longest);
    parts.reverse();
    let backwards: String = text.chars().rev().collect();
    let found = expression(&parts, true)?.find(&backwards).map_or(0, |found| found.end());
    Ok(text[..text.len() - found].to_owned())
}

/// A text with something else in the place of the first, or of everything, that fits.
pub(super) fn replaced(text: &str, pattern: &str, by: &str, all: bool) -> Result<String, Error> {
    let expression = expression(&parts(pattern, true), false)?;
    let replaced =
        if all { expression.replace_all(text, NoExpand(by)) } else { expression.replace(text, NoExpand(by)) };
    Ok(replaced.into_owned())
}
