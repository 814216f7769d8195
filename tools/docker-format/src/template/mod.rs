//! Go's `text/template`, as far as docker's `--format` can reach it.
//!
//! An evaluator of our own, because the text of its errors and the order of a struct's fields are part of what docker
//! prints: `template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type *formatter.imageContext`.
//! It follows Go 1.19, with which the client 20.10 is built.
//!
//! `lex` cuts the text into tokens, `parse` makes nodes of them, `exec` walks these over values with the functions of
//! `funcs` and the verbs of `printf`.

mod compare;
mod escape;
mod exec;
mod funcs;
mod lex;
mod node;
mod pad;
mod parse;
mod printf;
mod quote;
mod value;
mod verbs;

use std::collections::BTreeMap;

pub(crate) use funcs::Functions;
pub use quote::{quoted, quoted_char};
pub use value::{Field, List, Struct, Value};

use node::Node;

/// Why a template is no template, or cannot be evaluated: Go's own text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub(crate) String);

/// What a field is that a map does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// No value, printed as `<no value>`.
    Nothing,
    /// An error.
    Error,
}

/// A template without a name.
#[derive(Debug)]
pub struct Template {
    text: String,
    functions: Functions,
    main: Vec<Node>,
    defined: BTreeMap<String, Vec<Node>>,
}

impl Template {
    /// Reads a template that may call docker's functions.
    ///
    /// # Errors
    ///
    /// What Go says about the first mistake.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (main, defined) = parse::parse(text)?;
        Ok(Self { text: text.to_owned(), functions: Functions::Values, main, defined })
    }

    /// The same template with docker's functions for a table's header, which leave the words as they are.
    #[must_use]
    pub(crate) fn with_header_functions(mut self) -> Self {
        self.functions = Functions::Header;
        self
    }

    /// Evaluates over `dot`.
    ///
    /// # Errors
    ///
    /// What Go says about the first failure.
    pub fn execute(&self, dot: &Value, missing: MissingKey) -> Result<String, TemplateError> {
        let (out, result) = self.execute_as_far(dot, missing);
        result.map(|()| out)
    }

    /// Evaluates over `dot` as far as it goes: what is printed until then, and how it ends.
    pub fn execute_as_far(&self, dot: &Value, missing: MissingKey) -> (String, Result<(), TemplateError>) {
        exec::execute(self, dot.clone(), missing)
    }
}

#[cfg(test)]
mod tests;
