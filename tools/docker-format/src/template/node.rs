//! The parts of a template, which print themselves as errors show them.

use std::fmt::{Display, Formatter, Result};

/// A part of a template's text.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action { pos: usize, pipe: Pipe },
    Branch(Branch),
    Template { pos: usize, name: String, quoted: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// `if`, `with` or `range`.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pos: usize,
    pub(super) kind: Loop,
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Option<Vec<Node>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    If,
    With,
    Range,
}

impl Loop {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

/// `$x := a | b`
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) pos: usize,
    pub(super) assigns: bool,
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<Command>,
}

/// A function or a value with arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) pos: usize,
    pub(super) terms: Vec<Term>,
}

/// An operand.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) pos: usize,
    pub(super) kind: TermKind,
}

#[derive(Debug)]
pub(super) enum TermKind {
    Dot,
    Nil,
    Bool(bool),
    Number { text: String, value: Number },
    Text { quoted: String, text: String },
    Field(Vec<String>),
    Variable { name: String, fields: Vec<String> },
    Function(String),
    Pipe(Pipe),
    Chain { of: Box<Term>, fields: Vec<String> },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    /// Written as a float; equal to an integer or not.
    Float(f64),
    /// Too large for an `int`.
    Unsigned,
}

/// What an error can point at.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'a> {
    Node(&'a Node),
    Pipe(&'a Pipe),
    Command(&'a Command),
    Term(&'a Term),
}

impl At<'_> {
    pub(super) fn pos(self) -> usize {
        match self {
            Self::Node(Node::Action { pos, .. } | Node::Template { pos, .. }) => *pos,
            Self::Node(Node::Branch(branch)) => branch.pos,
            Self::Node(_) => 0,
            Self::Pipe(pipe) => pipe.pos,
            Self::Command(command) => command.pos,
            Self::Term(term) => term.pos,
        }
    }
}

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Pipe(pipe) => pipe.fmt(f),
            Self::Command(command) => command.fmt(f),
            Self::Term(term) => term.fmt(f),
        }
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Action { pipe, .. } => write!(f, "{{{{{pipe}}}}}"),
            Self::Branch(branch) => branch.fmt(f),
            Self::Template { quoted, pipe: None, .. } => write!(f, "{{{{template {quoted}}}}}"),
            Self::Template { quoted, pipe: Some(pipe), .. } => write!(f, "{{{{template {quoted} {pipe}}}}}"),
            Self::Break => f.write_str("{{break}}"),
            Self::Continue => f.write_str("{{continue}}"),
        }
    }
}

impl Display for Branch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{{{{{} {}}}}}", self.kind.name(), self.pipe)?;
        self.body.iter().try_for_each(|node| node.fmt(f))?;
        if let Some(otherwise) = &self.otherwise {
            f.write_str("{{else}}")?;
            otherwise.iter().try_for_each(|node| node.fmt(f))?;
        }
        f.write_str("{{end}}")
    }
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        joined(f, &self.commands, " | ")
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        joined(f, &self.terms, " ")
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            TermKind::Dot => f.write_str("."),
            TermKind::Nil => f.write_str("nil"),
            TermKind::Bool(value) => write!(f, "{value}"),
            TermKind::Number { text, .. } => f.write_str(text),
            TermKind::Text { quoted, .. } => f.write_str(quoted),
            TermKind::Function(name) => f.write_str(name),
            TermKind::Field(fields) => fields.iter().try_for_each(|field| write!(f, ".{field}")),
            TermKind::Variable { name, fields } => {
                f.write_str(name)?;
                fields.iter().try_for_each(|field| write!(f, ".{field}"))
            }
            TermKind::Pipe(pipe) => write!(f, "({pipe})"),
            TermKind::Chain { of, fields } => {
                of.fmt(f)?;
                fields.iter().try_for_each(|field| write!(f, ".{field}"))
            }
        }
    }
}

fn joined(f: &mut Formatter<'_>, items: &[impl Display], between: &str) -> Result {
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index > 0 { between } else { "" })?;
        item.fmt(f)?;
    }
    Ok(())
}
