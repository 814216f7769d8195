//! Checks the syntax of JSON as `encoding/json/scanner.go` does, with the same error texts, offsets and limit on depth.

use super::error::{DecodeError, Expected};

/// How deep lists and objects may be nested for Go to read them.
const MAX_DEPTH: usize = 10_000;

/// A list or object that encloses the value being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    List,
    Object,
}

/// Finds the end of the value at the beginning of `bytes`, white space before it included. Only the open lists and
/// objects are kept in memory.
///
/// # Errors
/// [`DecodeError`] where Go reports a syntax error.
pub(super) fn value_end(bytes: &[u8]) -> Result<usize, DecodeError> {
    Scanner { bytes, at: 0, open: Vec::new() }.value()
}

/// Checks that only white space follows.
pub(super) fn nothing_follows(bytes: &[u8], end: usize) -> Result<(), DecodeError> {
    let mut scanner = Scanner { bytes, at: end, open: Vec::new() };
    scanner.skip_space();
    if scanner.at == bytes.len() { Ok(()) } else { Err(scanner.unexpected("after top-level value")) }
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

struct Scanner<'b> {
    bytes: &'b [u8],
    at: usize,
    open: Vec<Open>,
}

impl Scanner<'_> {
    fn value(mut self) -> Result<usize, DecodeError> {
        loop {
            self.skip_space();
            match self.peek()? {
                b'{' => {
                    self.enter(Open::Object)?;
                    self.skip_space();
                    if self.peek()? != b'}' {
                        self.key()?;
                        continue;
                    }
                    self.leave();
                }
                b'[' => {
                    self.enter(Open::List)?;
                    self.skip_space();
                    if self.peek()? != b']' {
                        continue;
                    }
                    self.leave();
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return Err(self.unexpected("looking for beginning of value")),
            }
            // A value has ended; the lists and objects around it may end here as well.
            loop {
                let Some(open) = self.open.last().copied() else { return Ok(self.at) };
                self.skip_space();
                match (open, self.peek()?) {
                    (Open::List, b']') | (Open::Object, b'}') => self.leave(),
                    (Open::List, b',') => {
                        self.at += 1;
                        break;
                    }
                    (Open::Object, b',') => {
                        self.at += 1;
                        self.skip_space();
                        self.key()?;
                        break;
                    }
                    (Open::List, _) => return Err(self.unexpected("after array element")),
                    (Open::Object, _) => return Err(self.unexpected("after object key:value pair")),
                }
            }
        }
    }

    fn enter(&mut self, what: Open) -> Result<(), DecodeError> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.unexpected("exceeded max depth"));
        }
        self.open.push(what);
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.open.pop();
        self.at += 1;
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(), DecodeError> {
        if self.peek()? != b'"' {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        self.string()?;
        self.skip_space();
        if self.peek()? != b':' {
            return Err(self.unexpected("after object key"));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), DecodeError> {
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f);
            self.at += rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len());
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return Err(self.unexpected("in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.unexpected("in string escape code")),
                    }
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn number(&mut self) -> Result<(), DecodeError> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), DecodeError> {
        for expected in word.bytes() {
            if self.peek()? != expected {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{}')", char::from(expected))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        while self.bytes.get(self.at).copied().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, DecodeError> {
        self.bytes.get(self.at).copied().ok_or_else(|| DecodeError {
            field: String::new(),
            item: None,
            expected: Expected::Json("unexpected end of JSON input".into()),
            found: String::new(),
            offset: self.bytes.len(),
        })
    }

    /// The error for a byte that must not be here. Go counts that byte as read.
    fn unexpected(&self, context: &str) -> DecodeError {
        let byte = self.bytes.get(self.at).copied().unwrap_or_default();
        DecodeError {
            field: String::new(),
            item: None,
            expected: Expected::Json(format!("invalid character {} {context}", quote(byte))),
            found: char::from(byte).to_string(),
            offset: self.at + 1,
        }
    }
}

/// A byte as Go's `quoteChar` writes it.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'\\' => r"'\\'".into(),
        0x07 => r"'\a'".into(),
        0x08 => r"'\b'".into(),
        0x0c => r"'\f'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0x0b => r"'\v'".into(),
        0..=0x1f | 0x7f => format!(r"'\x{byte:02x}'"),
        0x80..=0x9f | 0xa0 | 0xad => format!(r"'\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
