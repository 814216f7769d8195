//! What stands between the braces: commands, their operands and the numbers among them.

use super::Parser;
use crate::template::lex::{Token, TokenKind};
use crate::template::node::{Command, Number, Pipe, Term, TermKind};
use crate::template::quote::{quoted, unquoted};
use crate::template::{TemplateError, funcs};

impl Parser {
    pub(super) fn pipeline(&mut self, context: &str, end: TokenKind) -> Result<Pipe, TemplateError> {
        let pos = self.peek_solid().pos;
        let mut pipe = Pipe { pos, assigns: false, variables: Vec::new(), commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_solid();
            match token.kind {
                kind if kind == end => break,
                TokenKind::Bool
                | TokenKind::CharConstant
                | TokenKind::Dot
                | TokenKind::Field
                | TokenKind::Identifier
                | TokenKind::Number
                | TokenKind::Nil
                | TokenKind::RawString
                | TokenKind::String
                | TokenKind::Variable
                | TokenKind::LeftParen => {
                    self.next -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if pipe.commands.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            use TermKind::{Bool, Dot, Nil, Number, Text};
            if matches!(command.terms[0].kind, Bool(_) | Dot | Nil | Number { .. } | Text { .. }) {
                return Err(self.error(&format!("non executable command in pipeline stage {}", index + 1)));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =` or `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), TemplateError> {
        loop {
            if self.peek_solid().kind != TokenKind::Variable {
                return Ok(());
            }
            let before = self.next;
            let variable = self.advance();
            let follows = self.peek_solid().clone();
            match follows.kind {
                TokenKind::Assign | TokenKind::Declare => {
                    pipe.assigns = follows.kind == TokenKind::Assign;
                    self.advance();
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    return Ok(());
                }
                TokenKind::Char if follows.text == "," => {
                    self.advance();
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    if context == "range" && pipe.variables.len() < 2 {
                        match self.peek_solid().kind {
                            TokenKind::Variable | TokenKind::RightDelim | TokenKind::RightParen => continue,
                            _ => return Err(self.error("range can only initialize variables")),
                        }
                    }
                    return Err(self.error(&format!("too many declarations in {context}")));
                }
                _ => {
                    self.next = before;
                    return Ok(());
                }
            }
        }
    }

    fn command(&mut self) -> Result<Command, TemplateError> {
        let mut command = Command { pos: self.peek_solid().pos, terms: Vec::new() };
        loop {
            self.skip_space();
            if let Some(term) = self.operand()? {
                command.terms.push(term);
            }
            let token = self.advance();
            match token.kind {
                TokenKind::Space => continue,
                TokenKind::RightDelim | TokenKind::RightParen => self.next -= 1,
                TokenKind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if command.terms.is_empty() { Err(self.error("empty command")) } else { Ok(command) }
    }

    /// A term with the fields that follow it.
    fn operand(&mut self) -> Result<Option<Term>, TemplateError> {
        let Some(mut term) = self.term()? else { return Ok(None) };
        if self.peek().kind != TokenKind::Field {
            return Ok(Some(term));
        }
        let pos = self.peek().pos;
        let mut more = Vec::new();
        while self.peek().kind == TokenKind::Field {
            more.push(self.advance().text[1..].to_owned());
        }
        match &mut term.kind {
            TermKind::Field(fields) | TermKind::Variable { fields, .. } => {
                fields.append(&mut more);
                term.pos = pos;
                Ok(Some(term))
            }
            TermKind::Pipe(_) | TermKind::Function(_) | TermKind::Chain { .. } => {
                Ok(Some(Term { pos, kind: TermKind::Chain { of: Box::new(term), fields: more } }))
            }
            _ => Err(self.error(&format!("unexpected . after term {}", quoted(&term.to_string())))),
        }
    }

    fn term(&mut self) -> Result<Option<Term>, TemplateError> {
        let token = self.next_solid();
        let kind = match token.kind {
            TokenKind::Identifier => {
                if !funcs::exists(&token.text) {
                    return Err(self.error(&format!("function {} not defined", quoted(&token.text))));
                }
                TermKind::Function(token.text)
            }
            TokenKind::Dot => TermKind::Dot,
            TokenKind::Nil => TermKind::Nil,
            TokenKind::Variable => {
                if !self.variables.contains(&token.text) {
                    return Err(self.error(&format!("undefined variable {}", quoted(&token.text))));
                }
                TermKind::Variable { name: token.text, fields: Vec::new() }
            }
            TokenKind::Field => TermKind::Field(vec![token.text[1..].to_owned()]),
            TokenKind::Bool => TermKind::Bool(token.text == "true"),
            TokenKind::CharConstant | TokenKind::Number => {
                let value = number(&token).map_err(|message| Self::error_at(&token, &message))?;
                TermKind::Number { text: token.text, value }
            }
            TokenKind::LeftParen => {
                self.deeper()?;
                let pipe = self.pipeline("parenthesized pipeline", TokenKind::RightParen)?;
                self.depth -= 1;
                TermKind::Pipe(pipe)
            }
            TokenKind::String | TokenKind::RawString => {
                let text = unquoted(&token.text).ok_or_else(|| Self::error_at(&token, "invalid syntax"))?;
                TermKind::Text { quoted: token.text, text }
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Term { pos: token.pos, kind }))
    }
}

fn number(token: &Token) -> Result<Number, String> {
    let text = token.text.as_str();
    let bad = || format!("illegal number syntax: {}", quoted(text));
    if token.kind == TokenKind::CharConstant {
        let inner = unquoted(text).ok_or_else(|| "invalid syntax".to_owned())?;
        let mut chars = inner.chars();
        return match (chars.next(), chars.next()) {
            (Some(char), None) => Ok(Number::Int(i64::from(u32::from(char)))),
            _ => Err(format!("malformed character constant: {text}")),
        };
    }
    if let Some(value) = integer(text) {
        return Ok(i64::try_from(value).map_or(Number::Unsigned, Number::Int));
    }
    if text.ends_with('i') {
        return Err(format!("complex numbers are not supported: {text}"));
    }
    if text.contains("0x") || text.contains("0X") {
        return Err(bad());
    }
    match text.replace('_', "").parse::<f64>() {
        Ok(_) if !text.contains(['.', 'e', 'E', 'p', 'P']) => Err(format!("integer overflow: {}", quoted(text))),
        Ok(value) if value.is_finite() => Ok(Number::Float(value)),
        _ => Err(bad()),
    }
}

/// An integer with Go's prefixes, of up to 64 bits with a sign or without.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let digits = digits.replace('_', "");
    let value = i128::from(u64::from_str_radix(&digits, radix).ok()?);
    let value = if negative { -value } else { value };
    (value >= i128::from(i64::MIN)).then_some(value)
}
