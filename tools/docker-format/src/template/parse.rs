//! Nodes of a template's tokens.

mod pipeline;

use std::collections::BTreeMap;

use super::TemplateError;
use super::lex::{self, Token, TokenKind};
use super::node::{Branch, Loop, Node};
use super::quote::{quoted, unquoted};

type Nodes = Vec<Node>;

/// How deep branches and parentheses may nest.
const DEEPEST: usize = 200;

/// The text's own nodes, and those of the templates that it defines.
pub(super) fn parse(text: &str) -> Result<(Nodes, BTreeMap<String, Nodes>), TemplateError> {
    let mut parser = Parser {
        tokens: lex::tokens(text),
        next: 0,
        action_line: 0,
        variables: vec!["$".to_owned()],
        ranges: 0,
        depth: 0,
        defined: BTreeMap::new(),
    };
    let mut nodes = Nodes::new();
    while parser.peek().kind != TokenKind::End {
        if parser.peek().kind == TokenKind::LeftDelim {
            let before = parser.next;
            parser.advance();
            if parser.next_solid().is("define") {
                parser.definition()?;
                continue;
            }
            parser.next = before;
        }
        match parser.text_or_action()? {
            Item::Node(node) => nodes.push(node),
            Item::End => return Err(parser.error("unexpected {{end}}")),
            Item::Else => return Err(parser.error("unexpected {{else}}")),
        }
    }
    Ok((nodes, parser.defined))
}

/// What comes next in a list of nodes.
enum Item {
    Node(Node),
    End,
    Else,
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// The line of the action that is being read.
    action_line: usize,
    /// The variables that are visible.
    variables: Vec<String>,
    ranges: usize,
    depth: usize,
    defined: BTreeMap<String, Nodes>,
}

impl Parser {
    /// The next token; past the end it is the last one again.
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == TokenKind::Space {
            self.next += 1;
        }
    }

    fn peek_solid(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn next_solid(&mut self) -> Token {
        self.skip_space();
        self.advance()
    }

    /// An error at the token that was looked at last.
    fn error(&self, message: &str) -> TemplateError {
        let last = self.next.saturating_sub(1).min(self.tokens.len() - 1);
        TemplateError(format!("template: :{}: {message}", self.tokens[last].line))
    }

    fn error_at(token: &Token, message: &str) -> TemplateError {
        TemplateError(format!("template: :{}: {message}", token.line))
    }

    fn unexpected(&self, token: &Token, context: &str) -> TemplateError {
        if token.kind == TokenKind::Error {
            let mut message = token.text.clone();
            if self.action_line != 0 && self.action_line != token.line {
                let place = format!(" started at :{}", self.action_line);
                message += &if message.ends_with(" action") { place } else { format!(" in action{place}") };
            }
            return Self::error_at(token, &message);
        }
        Self::error_at(token, &format!("unexpected {} in {context}", token.described()))
    }

    fn expect(&mut self, kind: TokenKind, context: &str) -> Result<Token, TemplateError> {
        let token = self.next_solid();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(self.error("template nests too deep")) } else { Ok(()) }
    }

    fn text_or_action(&mut self) -> Result<Item, TemplateError> {
        let token = self.next_solid();
        match token.kind {
            TokenKind::Text => Ok(Item::Node(Node::Text(token.text))),
            TokenKind::LeftDelim => {
                self.action_line = token.line;
                let item = self.action();
                self.action_line = 0;
                item
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Item, TemplateError> {
        let token = self.next_solid();
        if token.kind == TokenKind::Keyword {
            return match token.text.as_str() {
                "if" => self.branch(Loop::If, token.pos),
                "with" => self.branch(Loop::With, token.pos),
                "range" => self.branch(Loop::Range, token.pos),
                "block" => self.block(&token),
                "template" => self.call(),
                "break" => self.leave(&token, Node::Break),
                "continue" => self.leave(&token, Node::Continue),
                "else" => {
                    // What follows `else if` is another action.
                    if !self.peek_solid().is("if") {
                        self.expect(TokenKind::RightDelim, "else")?;
                    }
                    Ok(Item::Else)
                }
                "end" => self.expect(TokenKind::RightDelim, "end").map(|_| Item::End),
                _ => Err(self.unexpected(&token, "command")),
            };
        }
        self.next -= 1;
        let pos = self.peek().pos;
        let pipe = self.pipeline("command", TokenKind::RightDelim)?;
        Ok(Item::Node(Node::Action { pos, pipe }))
    }

    fn leave(&mut self, keyword: &Token, node: Node) -> Result<Item, TemplateError> {
        let token = self.next_solid();
        if token.kind != TokenKind::RightDelim {
            return Err(self.unexpected(&token, &node.to_string()));
        }
        if self.ranges == 0 {
            return Err(Self::error_at(keyword, &format!("{node} outside {{{{range}}}}")));
        }
        Ok(Item::Node(node))
    }

    /// Nodes until `{{end}}` or `{{else}}`.
    fn list(&mut self) -> Result<(Nodes, Item), TemplateError> {
        self.deeper()?;
        let mut nodes = Nodes::new();
        while self.peek_solid().kind != TokenKind::End {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                last => {
                    self.depth -= 1;
                    return Ok((nodes, last));
                }
            }
        }
        Err(Self::error_at(self.peek(), "unexpected EOF"))
    }

    fn branch(&mut self, kind: Loop, pos: usize) -> Result<Item, TemplateError> {
        let visible = self.variables.len();
        let pipe = self.pipeline(kind.name(), TokenKind::RightDelim)?;
        self.ranges += usize::from(kind == Loop::Range);
        let (body, mut last) = self.list()?;
        self.ranges -= usize::from(kind == Loop::Range);
        let mut otherwise = None;
        if let Item::Else = last {
            if kind == Loop::If && self.peek().is("if") {
                let pos = self.advance().pos;
                self.deeper()?;
                if let Item::Node(inner) = self.branch(Loop::If, pos)? {
                    otherwise = Some(vec![inner]);
                }
                self.depth -= 1;
                last = Item::End;
            } else {
                let (nodes, end) = self.list()?;
                otherwise = Some(nodes);
                last = end;
            }
            if !matches!(last, Item::End) {
                return Err(self.error("expected end; found {{else}}"));
            }
        }
        self.variables.truncate(visible);
        Ok(Item::Node(Node::Branch(Branch { pos, kind, pipe, body, otherwise })))
    }

    /// The name in quotes that follows.
    fn name(&mut self, context: &str) -> Result<(String, String), TemplateError> {
        let token = self.next_solid();
        if !matches!(token.kind, TokenKind::String | TokenKind::RawString) {
            return Err(self.unexpected(&token, context));
        }
        let name = unquoted(&token.text).ok_or_else(|| Self::error_at(&token, "invalid syntax"))?;
        Ok((quoted(&name), name))
    }

    fn call(&mut self) -> Result<Item, TemplateError> {
        self.skip_space();
        let pos = self.peek().pos;
        let (quoted, name) = self.name("template clause")?;
        let mut pipe = None;
        if self.next_solid().kind != TokenKind::RightDelim {
            self.next -= 1;
            pipe = Some(self.pipeline("template clause", TokenKind::RightDelim)?);
        }
        Ok(Item::Node(Node::Template { pos, name, quoted, pipe }))
    }

    fn block(&mut self, keyword: &Token) -> Result<Item, TemplateError> {
        let (quoted, name) = self.name("block clause")?;
        let pipe = Some(self.pipeline("block clause", TokenKind::RightDelim)?);
        self.body(&name, "block clause")?;
        Ok(Item::Node(Node::Template { pos: keyword.pos, name, quoted, pipe }))
    }

    fn definition(&mut self) -> Result<(), TemplateError> {
        let (_, name) = self.name("define clause")?;
        self.expect(TokenKind::RightDelim, "define clause")?;
        self.body(&name, "define clause")
    }

    /// The nodes of a template of its own, with its own variables.
    fn body(&mut self, name: &str, context: &str) -> Result<(), TemplateError> {
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, last) = self.list()?;
        if !matches!(last, Item::End) {
            return Err(self.error(&format!("unexpected {{{{else}}}} in {context}")));
        }
        self.variables = outside;
        self.ranges = ranges;
        let empty = |nodes: &Nodes| nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        match self.defined.get(name) {
            Some(_) if empty(&nodes) => {}
            Some(old) if !empty(old) => {
                return Err(self.error(&format!("template: multiple definition of template {}", quoted(name))));
            }
            _ => drop(self.defined.insert(name.to_owned(), nodes)),
        }
        Ok(())
    }
}
