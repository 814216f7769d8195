//! The tokens of a template.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// The text of the token says what is wrong; nothing follows.
    Error,
    Bool,
    Char,
    CharConstant,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Dot,
    Nil,
    /// Any other word of the language: its text tells which.
    Keyword,
}

/// A token of a template.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Where it starts, in bytes.
    pub(super) pos: usize,
    /// The line it starts in, from one.
    pub(super) line: usize,
    pub(super) text: String,
}

impl Token {
    /// The token as errors name it.
    pub(super) fn described(&self) -> String {
        match self.kind {
            TokenKind::End => "EOF".to_owned(),
            TokenKind::Error => self.text.clone(),
            TokenKind::Keyword | TokenKind::Nil | TokenKind::Dot => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                format!("{}...", super::quote::quoted(&self.text.chars().take(10).collect::<String>()))
            }
            _ => super::quote::quoted(&self.text),
        }
    }

    /// Whether it is that word of the language.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Keyword && self.text == keyword
    }
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const KEYWORDS: [&str; 10] = ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// All tokens; the last one is the end or an error.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, line: 1, tokens: Vec::new() };
    if let Err(message) = lexer.all() {
        lexer.emit(TokenKind::Error, lexer.at, message);
    } else {
        lexer.emit(TokenKind::End, text.len(), String::new());
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// The line of `at`.
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn emit(&mut self, kind: TokenKind, pos: usize, text: String) {
        self.tokens.push(Token { kind, pos, line: self.line, text });
    }

    /// Emits the next `length` bytes.
    fn take(&mut self, kind: TokenKind, length: usize) {
        let text = self.rest()[..length].to_owned();
        self.emit(kind, self.at, text);
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest()[..length].matches('\n').count();
        self.at += length;
    }

    fn all(&mut self) -> Result<(), String> {
        while !self.rest().is_empty() {
            let Some(action) = self.rest().find(LEFT) else {
                self.take(TokenKind::Text, self.rest().len());
                return Ok(());
            };
            let inside = &self.rest()[action + LEFT.len()..];
            let trims = inside.starts_with('-') && inside[1..].starts_with(is_space);
            let text = &self.rest()[..action];
            let kept = if trims { text.trim_end_matches(is_space).len() } else { action };
            if kept > 0 {
                self.take(TokenKind::Text, kept);
            }
            self.skip(action - kept);
            let marker = if trims { 2 } else { 0 };
            if inside[marker..].starts_with("/*") {
                self.skip(LEFT.len() + marker);
                self.comment()?;
            } else {
                self.take(TokenKind::LeftDelim, LEFT.len());
                self.skip(marker);
                self.action()?;
            }
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<(), String> {
        let end = self.rest().find("*/").ok_or("unclosed comment")?;
        self.skip(end + 2);
        let trims = self.right_trim();
        if !self.rest()[trims..].starts_with(RIGHT) {
            return Err("comment ends before closing delimiter".to_owned());
        }
        self.skip(trims + RIGHT.len());
        if trims > 0 {
            self.trim();
        }
        Ok(())
    }

    /// The length of the blank and the dash, if a closing delimiter that trims comes next.
    fn right_trim(&self) -> usize {
        let rest = self.rest();
        if rest.starts_with(is_space) && rest[1..].starts_with("-}}") { 2 } else { 0 }
    }

    fn trim(&mut self) {
        let blank = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        self.skip(blank);
    }

    fn at_right(&self) -> bool {
        self.rest()[self.right_trim()..].starts_with(RIGHT)
    }

    fn action(&mut self) -> Result<(), String> {
        let mut depth = 0_i32;
        loop {
            if self.at_right() {
                if depth != 0 {
                    return Err("unclosed left paren".to_owned());
                }
                let trims = self.right_trim();
                self.skip(trims);
                self.take(TokenKind::RightDelim, RIGHT.len());
                if trims > 0 {
                    self.trim();
                }
                return Ok(());
            }
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
            match first {
                ' ' | '\t' | '\r' | '\n' => self.space(),
                '=' => self.take(TokenKind::Assign, 1),
                ':' if rest.starts_with(":=") => self.take(TokenKind::Declare, 2),
                ':' => return Err("expected :=".to_owned()),
                '|' => self.take(TokenKind::Pipe, 1),
                '"' => self.quoted('"', TokenKind::String, "unterminated quoted string")?,
                '\'' => self.quoted('\'', TokenKind::CharConstant, "unterminated character constant")?,
                '`' => {
                    let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                    self.take(TokenKind::RawString, end + 2);
                }
                '$' => self.name(TokenKind::Variable)?,
                '.' if !rest[1..].starts_with(|next: char| next.is_ascii_digit()) => self.name(TokenKind::Field)?,
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                '(' => {
                    self.take(TokenKind::LeftParen, 1);
                    depth += 1;
                }
                ')' => {
                    depth -= 1;
                    self.take(TokenKind::RightParen, 1);
                }
                _ if is_word(first) => self.word()?,
                _ if first.is_ascii_graphic() => self.take(TokenKind::Char, 1),
                _ => return Err(format!("unrecognized character in action: {}", code_point(first))),
            }
        }
    }

    fn space(&mut self) {
        let rest = self.rest();
        let mut length = rest.len() - rest.trim_start_matches(is_space).len();
        // The last blank may belong to the delimiter.
        if rest[length..].starts_with("-}}") {
            length -= 1;
        }
        self.take(TokenKind::Space, length);
    }

    fn quoted(&mut self, quote: char, kind: TokenKind, unterminated: &str) -> Result<(), String> {
        let mut escaped = true;
        for (at, char) in self.rest().char_indices() {
            match char {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if char == quote => {
                    self.take(kind, at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(unterminated.to_owned())
    }

    /// `.Name` or `$name`, or the dot or dollar alone.
    fn name(&mut self, kind: TokenKind) -> Result<(), String> {
        let length = 1 + word_length(&self.rest()[1..]);
        if length == 1 && self.ends_word(1) {
            self.take(if kind == TokenKind::Field { TokenKind::Dot } else { kind }, 1);
            return Ok(());
        }
        self.checked_end(length)?;
        self.take(kind, length);
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        let length = word_length(self.rest());
        self.checked_end(length)?;
        let kind = match &self.rest()[..length] {
            "true" | "false" => TokenKind::Bool,
            "nil" => TokenKind::Nil,
            word if KEYWORDS.contains(&word) => TokenKind::Keyword,
            _ => TokenKind::Identifier,
        };
        self.take(kind, length);
        Ok(())
    }

    fn checked_end(&self, length: usize) -> Result<(), String> {
        let next = self.rest()[length..].chars().next();
        match next {
            Some(next) if !self.ends_word(length) => Err(format!("bad character {}", code_point(next))),
            _ => Ok(()),
        }
    }

    /// Whether a word may end before this byte of the rest.
    fn ends_word(&self, length: usize) -> bool {
        let rest = &self.rest()[length..];
        rest.is_empty()
            || rest.starts_with([' ', '\t', '\r', '\n', '.', ',', '|', ':', ')', '('])
            || rest.starts_with(RIGHT)
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let (mut length, mut good) = number_length(rest);
        // A complex number, which no function takes.
        if good && rest[length..].starts_with(['+', '-']) {
            length += number_length(&rest[length..]).0;
            good = rest[..length].ends_with('i');
        }
        if !good {
            return Err(format!("bad number syntax: {}", super::quote::quoted(&rest[..length])));
        }
        self.take(TokenKind::Number, length);
        Ok(())
    }
}

/// How long the number is that the text starts with, and whether it ends there.
fn number_length(text: &str) -> (usize, bool) {
    let mut at = usize::from(text.starts_with(['+', '-']));
    let some = |at: &mut usize, set: &str| {
        *at += text[*at..].len() - text[*at..].trim_start_matches(|char| set.contains(char)).len();
    };
    let one = |at: &mut usize, set: &str| {
        let found = text[*at..].starts_with(|char| set.contains(char));
        *at += usize::from(found);
        found
    };
    let mut digits = "0123456789_";
    let mut power = "eE";
    if one(&mut at, "0") {
        if one(&mut at, "xX") {
            (digits, power) = ("0123456789abcdefABCDEF_", "pP");
        } else if one(&mut at, "oO") {
            (digits, power) = ("01234567_", "");
        } else if one(&mut at, "bB") {
            (digits, power) = ("01_", "");
        }
    }
    some(&mut at, digits);
    if one(&mut at, ".") {
        some(&mut at, digits);
    }
    if one(&mut at, power) {
        one(&mut at, "+-");
        some(&mut at, "0123456789_");
    }
    one(&mut at, "i");
    match text[at..].chars().next().filter(|next| is_word(*next)) {
        Some(next) => (at + next.len_utf8(), false),
        None => (at, true),
    }
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n')
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

fn word_length(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_word).len()
}

/// A character as `%#U` prints it.
fn code_point(char: char) -> String {
    let code = format!("U+{:04X}", u32::from(char));
    if super::quote::is_printable(char) { format!("{code} '{char}'") } else { code }
}
