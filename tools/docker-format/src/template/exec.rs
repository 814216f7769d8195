//! The walk over a template's nodes.

use super::funcs::{self, Function, Param};
use super::node::{At, Branch, Command, Loop, Node, Number, Pipe, Term, TermKind};
use super::quote::quoted;
use super::value::INTERFACE;
use super::{MissingKey, Template, TemplateError, Value};

/// How deep branches and calls of templates may nest: Go goes further, on a stack that grows.
const DEEPEST: usize = 400;

/// Prints the template over `dot` as far as it goes.
pub(super) fn execute(template: &Template, dot: Value, missing: MissingKey) -> (String, Result<(), TemplateError>) {
    let mut state = State {
        template,
        name: String::new(),
        at: None,
        missing,
        variables: vec![("$".to_owned(), dot.clone())],
        depth: 0,
        boxed: false,
        out: String::new(),
    };
    let result = match state.list(&dot, &template.main) {
        Err(Stop::Error(error)) => Err(error),
        _ => Ok(()),
    };
    (state.out, result)
}

/// Why a walk does not go on.
enum Stop {
    Error(TemplateError),
    Break,
    Continue,
}

type Step<T> = Result<T, Stop>;

struct State<'a> {
    template: &'a Template,
    /// The name of the template that is being walked.
    name: String,
    /// What an error is about.
    at: Option<At<'a>>,
    missing: MissingKey,
    variables: Vec<(String, Value)>,
    depth: usize,
    /// Whether dot is what a slice or map of unknown JSON holds, which shows in an error.
    boxed: bool,
    out: String,
}

impl<'a> State<'a> {
    fn error<T>(&self, message: &str) -> Step<T> {
        let Some(at) = self.at else {
            return Err(Stop::Error(TemplateError(format!("template: {}: {message}", self.name))));
        };
        let before = &self.template.text[..at.pos()];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1);
        let name = quoted(&self.name);
        Err(Stop::Error(TemplateError(format!("template: :{line}:{column}: executing {name} at <{at}>: {message}"))))
    }

    fn list(&mut self, dot: &Value, nodes: &'a [Node]) -> Step<()> {
        if self.depth == DEEPEST {
            return self.error(&format!("exceeded maximum template depth ({DEEPEST})"));
        }
        self.depth += 1;
        let result = nodes.iter().try_for_each(|node| self.node(dot, node));
        self.depth -= 1;
        result
    }

    fn node(&mut self, dot: &Value, node: &'a Node) -> Step<()> {
        self.at = Some(At::Node(node));
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action { pipe, .. } => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    match value {
                        Value::Missing | Value::Nil => self.out.push_str("<no value>"),
                        value => self.out.push_str(&value.display()),
                    }
                }
            }
            Node::Branch(branch) => {
                let visible = self.variables.len();
                let result = match branch.kind {
                    Loop::Range => self.range(dot, branch),
                    _ => self.if_or_with(dot, branch),
                };
                self.variables.truncate(visible);
                result?;
            }
            Node::Template { name, pipe, .. } => self.call_template(dot, name, pipe.as_ref())?,
            Node::Break => return Err(Stop::Break),
            Node::Continue => return Err(Stop::Continue),
        }
        Ok(())
    }

    fn if_or_with(&mut self, dot: &Value, branch: &'a Branch) -> Step<()> {
        let value = self.pipeline(dot, &branch.pipe)?;
        if value.truth() {
            if branch.kind == Loop::If {
                return self.list(dot, &branch.body);
            }
            let boxed = std::mem::replace(&mut self.boxed, false);
            let result = self.list(&value, &branch.body);
            self.boxed = boxed;
            return result;
        }
        branch.otherwise.as_ref().map_or(Ok(()), |nodes| self.list(dot, nodes))
    }

    fn range(&mut self, dot: &Value, branch: &'a Branch) -> Step<()> {
        let value = self.pipeline(dot, &branch.pipe)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::List(list) => {
                let items = list.items.iter().enumerate();
                items.map(|(index, item)| (Value::int(index as i64), item.clone())).collect()
            }
            Value::Map(map, _) => map.iter().map(|(key, value)| (Value::text(key), value.clone())).collect(),
            Value::Missing | Value::Nil | Value::NilList(_) | Value::NilMap(_) => Vec::new(),
            other => return self.error(&format!("range can't iterate over {}", other.display())),
        };
        if items.is_empty() {
            return branch.otherwise.as_ref().map_or(Ok(()), |nodes| self.list(dot, nodes));
        }
        let visible = self.variables.len();
        let names = &branch.pipe.variables;
        for (index, item) in items {
            let values = if names.len() > 1 { vec![index, item.clone()] } else { vec![item.clone()] };
            for (name, value) in names.iter().zip(values) {
                self.set(name, value);
            }
            let boxed = std::mem::replace(&mut self.boxed, value.holds_interfaces());
            let result = self.list(&item, &branch.body);
            self.boxed = boxed;
            match result {
                Err(Stop::Break) => break,
                Err(Stop::Error(error)) => return Err(Stop::Error(error)),
                Ok(()) | Err(Stop::Continue) => self.variables.truncate(visible),
            }
        }
        Ok(())
    }

    fn call_template(&mut self, dot: &Value, name: &str, pipe: Option<&'a Pipe>) -> Step<()> {
        let template = self.template;
        let nodes = match template.defined.get(name) {
            Some(nodes) => nodes,
            None if name.is_empty() => &template.main,
            None => return self.error(&format!("template {} not defined", quoted(name))),
        };
        let dot = pipe.map_or(Ok(Value::Missing), |pipe| self.pipeline(dot, pipe))?;
        let variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        let outer = std::mem::replace(&mut self.name, name.to_owned());
        let boxed = std::mem::replace(&mut self.boxed, false);
        self.list(&dot, nodes)?;
        self.boxed = boxed;
        self.name = outer;
        self.variables = variables;
        Ok(())
    }

    /// Sets the innermost variable of that name.
    fn set(&mut self, name: &str, value: Value) {
        match self.variables.iter_mut().rev().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, dot: &Value, pipe: &'a Pipe) -> Step<Value> {
        self.at = Some(At::Pipe(pipe));
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipe.variables {
            if pipe.assigns {
                self.set(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    /// A command with what the one before it in its pipe gave.
    fn command(&mut self, dot: &Value, command: &'a Command, piped: Option<Value>) -> Step<Value> {
        let first = &command.terms[0];
        let args = &command.terms[1..];
        match &first.kind {
            TermKind::Field(_) | TermKind::Chain { .. } | TermKind::Variable { .. } => {
                return self.fields(dot, first, args, piped);
            }
            TermKind::Function(name) => return self.function(dot, first, name, At::Command(command), args, piped),
            _ => {}
        }
        if !matches!(first.kind, TermKind::Pipe(_)) {
            self.at = Some(At::Term(first));
        }
        self.no_function(first, args, piped.as_ref())?;
        match &first.kind {
            TermKind::Pipe(pipe) => self.pipeline(dot, pipe),
            TermKind::Nil => self.error("nil is not a command"),
            _ => self.literal(dot, first),
        }
    }

    fn no_function(&self, first: &Term, args: &[Term], piped: Option<&Value>) -> Step<()> {
        if args.is_empty() && piped.is_none() {
            return Ok(());
        }
        self.error(&format!("can't give argument to non-function {first}"))
    }

    fn literal(&self, dot: &Value, term: &Term) -> Step<Value> {
        Ok(match &term.kind {
            TermKind::Dot => dot.clone(),
            TermKind::Bool(value) => Value::Bool(*value),
            TermKind::Text { text, .. } => Value::text(text),
            TermKind::Number { value: Number::Int(value), .. } => Value::int(*value),
            TermKind::Number { value: Number::Float(value), .. } => Value::Float(*value),
            TermKind::Number { value: Number::Unsigned, text } => return self.error(&format!("{text} overflows int")),
            _ => Value::Missing,
        })
    }

    /// A term that ends with fields, or is a variable.
    fn fields(&mut self, dot: &Value, term: &'a Term, args: &'a [Term], piped: Option<Value>) -> Step<Value> {
        self.at = Some(At::Term(term));
        let (mut value, fields) = match &term.kind {
            TermKind::Field(fields) => (dot.clone(), fields),
            TermKind::Variable { name, fields } => {
                let found = self.variables.iter().rev().find(|(other, _)| other == name);
                let Some(value) = found.map(|(_, value)| value.clone()) else {
                    return self.error(&format!("undefined variable: {name}"));
                };
                if fields.is_empty() {
                    self.no_function(term, args, piped.as_ref())?;
                }
                (value, fields)
            }
            TermKind::Chain { of, .. } if matches!(of.kind, TermKind::Nil) => {
                return self.error(&format!("indirection through explicit nil in {term}"));
            }
            TermKind::Chain { of, fields } => (self.argument(dot, Param::Any, of)?, fields),
            _ => return self.literal(dot, term),
        };
        let mut in_interface = self.boxed && matches!(term.kind, TermKind::Field(_));
        for (index, name) in fields.iter().enumerate() {
            let last = index + 1 == fields.len();
            let given = if last { args.len() + usize::from(piped.is_some()) } else { 0 };
            let inside = value.holds_interfaces();
            value = self.field(&value, name, given, in_interface)?;
            in_interface = inside;
        }
        Ok(value)
    }

    fn field(&self, of: &Value, name: &str, given: usize, in_interface: bool) -> Step<Value> {
        let go_type = if in_interface { INTERFACE.to_owned() } else { of.go_type() };
        match of {
            Value::Missing if self.missing == MissingKey::Error => {
                self.error(&format!("nil data; no entry for key {}", quoted(name)))
            }
            Value::Missing => Ok(Value::Missing),
            Value::Nil | Value::NilPointer(_) => self.error(&format!("nil pointer evaluating {go_type}.{name}")),
            Value::Struct(it) => match it.fields.iter().find(|field| field.name == name) {
                None => self.error(&format!("can't evaluate field {name} in type {go_type}")),
                Some(_) if it.row && given > 0 => {
                    self.error(&format!("wrong number of args for {name}: want 0 got {given}"))
                }
                Some(_) if given > 0 => self.error(&format!("{name} has arguments but cannot be invoked as function")),
                Some(field) => Ok(field.value.clone()),
            },
            Value::Map(..) | Value::NilMap(_) if given > 0 => {
                self.error(&format!("{name} is not a method but has arguments"))
            }
            Value::NilMap(_) if self.missing == MissingKey::Nothing => Ok(Value::Missing),
            Value::Map(map, _) => match map.get(name) {
                Some(value) => Ok(value.clone()),
                None if self.missing == MissingKey::Error => {
                    self.error(&format!("map has no entry for key {}", quoted(name)))
                }
                None => Ok(Value::Missing),
            },
            _ => self.error(&format!("can't evaluate field {name} in type {go_type}")),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        term: &'a Term,
        name: &str,
        whole: At<'a>,
        args: &'a [Term],
        piped: Option<Value>,
    ) -> Step<Value> {
        self.at = Some(At::Term(term));
        let Some(Function { params, rest, call }) = funcs::find(self.template.functions, name) else {
            return self.error(&format!("{} is not a defined function", quoted(name)));
        };
        let given = args.len() + usize::from(piped.is_some());
        if rest.is_some() && given < params.len() {
            let count = args.len();
            return self.error(&format!("wrong number of args for {name}: want at least {} got {count}", params.len()));
        }
        if rest.is_none() && given != params.len() {
            return self.error(&format!("wrong number of args for {name}: want {} got {given}", params.len()));
        }
        if matches!(name, "and" | "or") {
            return self.and_or(dot, name == "or", args, piped);
        }
        let param = |index: usize| params.get(index).copied().or(rest).unwrap_or(Param::Any);
        let mut values = Vec::with_capacity(given);
        for (index, arg) in args.iter().enumerate() {
            values.push(self.argument(dot, param(index), arg)?);
        }
        if let Some(value) = piped {
            values.push(self.checked(param(args.len()), value)?);
        }
        match call(&values) {
            Ok(value) => Ok(value),
            Err(message) => {
                self.at = Some(whole);
                self.error(&format!("error calling {name}: {message}"))
            }
        }
    }

    /// `and` and `or` evaluate no more arguments than they need.
    fn and_or(&mut self, dot: &Value, until: bool, args: &'a [Term], piped: Option<Value>) -> Step<Value> {
        let mut value = Value::Missing;
        for arg in args {
            value = self.argument(dot, Param::Any, arg)?;
            if value.truth() == until {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    fn argument(&mut self, dot: &Value, param: Param, term: &'a Term) -> Step<Value> {
        self.at = Some(At::Term(term));
        let value = match &term.kind {
            TermKind::Nil if param == Param::Any || param == Param::Strings => return Ok(Value::Missing),
            TermKind::Nil => return self.error(&format!("cannot assign nil to {}", param.go_type())),
            TermKind::Dot => dot.clone(),
            TermKind::Field(_) | TermKind::Chain { .. } | TermKind::Variable { .. } => {
                self.fields(dot, term, &[], None)?
            }
            TermKind::Pipe(pipe) => self.pipeline(dot, pipe)?,
            TermKind::Function(name) => self.function(dot, term, name, At::Term(term), &[], None)?,
            kind => {
                return match (param, kind) {
                    (Param::Any, _)
                    | (Param::Text, TermKind::Text { .. })
                    | (Param::Int, TermKind::Number { value: Number::Int(_), .. }) => self.literal(dot, term),
                    (Param::Int, TermKind::Number { value: Number::Float(value), .. }) if value.fract() == 0.0 => {
                        Ok(Value::int(*value as i64))
                    }
                    (Param::Int, _) => self.error(&format!("expected integer; found {term}")),
                    (Param::Text, _) => self.error(&format!("expected string; found {term}")),
                    (Param::Strings, _) => {
                        self.error(&format!("can't handle {term} for arg of type {}", param.go_type()))
                    }
                };
            }
        };
        self.checked(param, value)
    }

    /// A value that a function takes at that place.
    fn checked(&self, param: Param, value: Value) -> Step<Value> {
        let want = param.go_type();
        match (param, &value) {
            (Param::Any, _) | (Param::Strings, Value::Missing) => Ok(value),
            (_, Value::Missing) => self.error(&format!("invalid value; expected {want}")),
            _ if value.go_type() == want => Ok(value),
            // The type has a name of its own, but is a slice of strings all the same.
            (Param::Strings, Value::List(_) | Value::NilList(_)) if value.go_type() == "strslice.StrSlice" => Ok(value),
            _ => self.error(&format!("wrong type for value; expected {want}; got {}", value.go_type())),
        }
    }
}
