//! `--format` of docker's listings: rows of named fields through a template, a table, or one of the names docker knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table;
use super::template::{self, Field, MissingKey, Struct, Template, Value};

/// What is listed: the Go type that errors name, and the fields with their headers.
#[derive(Debug, Clone, Copy)]
pub struct ListingKind {
    /// The Go type of a row, without the `*` of a pointer.
    pub go_type: &'static str,
    /// A field's name and its header; a field without header has none in a table either.
    pub fields: &'static [(&'static str, Option<&'static str>)],
}

/// The values of a row by their fields' names; a field that is not there is empty.
pub type Row = BTreeMap<&'static str, String>;

/// A template that cannot be read, or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template parsing error: {0}")]
pub struct ListingError(pub template::TemplateError);

// The inner error is not the source, since its text is in the message already.
impl From<template::TemplateError> for ListingError {
    fn from(error: template::TemplateError) -> Self {
        Self(error)
    }
}

impl ListingKind {
    /// The rows as `format` says: all of them, or an error and nothing.
    ///
    /// `format` begins with `table` or is a template; docker's names for formats are in [`presets`](super::presets).
    /// Lines end with a line feed, each row is a line of its own.
    ///
    /// # Errors
    ///
    /// docker's own text about a template that cannot be read, or not be evaluated for some row.
    ///
    /// # Examples
    ///
    /// ```
    /// use docker_format::{listing::Row, presets};
    ///
    /// let row = Row::from([("ID", "0123456789ab".to_owned()), ("Tag", "<none>".to_owned())]);
    /// let text = presets::IMAGES.render(r"table {{.ID}}\t{{.Tag}}", &[row])?;
    /// assert_eq!(text, "IMAGE ID       TAG\n0123456789ab   <none>\n");
    /// # Ok::<(), docker_format::listing::ListingError>(())
    /// ```
    pub fn render(&self, format: &str, rows: &[Row]) -> Result<String, ListingError> {
        let (in_table, text) = match format.strip_prefix("table") {
            Some(rest) => (true, rest),
            None => (false, format),
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&text)?;
        let mut lines = String::new();
        for row in rows {
            lines += &template.execute(&self.value(row), MissingKey::Nothing)?;
            lines.push('\n');
        }
        if !in_table {
            return Ok(lines);
        }
        // What goes wrong in the header goes unsaid.
        let (header, _) = template.with_header_functions().execute_as_far(&self.headers(), MissingKey::Nothing);
        Ok(table::align(&format!("{header}\n{lines}")))
    }

    /// A row as a template sees it.
    #[must_use]
    pub fn value(&self, row: &Row) -> Value {
        let field = |name: &'static str| Field {
            name,
            key: name,
            omit_empty: false,
            value: Value::text(row.get(name).map_or("", String::as_str)),
        };
        let fields = self.fields.iter().map(|(name, _)| field(name)).collect();
        Value::Struct(Arc::new(Struct { go_type: self.go_type, pointer: true, row: true, fields }))
    }

    fn headers(&self) -> Value {
        let headers =
            self.fields.iter().filter_map(|(name, header)| Some(((*name).to_owned(), Value::text((*header)?))));
        Value::Map(Arc::new(headers.collect()), "formatter.SubHeaderContext")
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets::IMAGES;
    use super::*;

    #[test]
    fn all_rows_or_none() {
        let rows = ["a/b", "c"].map(|name| Row::from([("Repository", name.to_owned())]));
        let error = IMAGES.render(r#"{{index (split .Repository "/") 1}}"#, &rows).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"template parsing error: template: :1:2: executing "" at <index (split .Repository "/") 1>: error calling index: reflect: slice index out of range"#
        );
    }

    #[test]
    fn an_error_with_its_causes_says_each_once() {
        let error = IMAGES.render("{{.ID", &[]).unwrap_err();
        assert_eq!(format!("{:#}", anyhow::Error::new(error)), "template parsing error: template: :1: unclosed action");
    }

    #[test]
    fn a_header_shows_what_it_can() {
        assert_eq!(IMAGES.render("table {{.ID}} {{index .ID 100}}", &[]).unwrap(), "IMAGE ID \n");
        assert_eq!(IMAGES.render("table {{.Nope}}", &[]).unwrap(), "<no value>\n");
        assert_eq!(IMAGES.render("{{.Nope}}", &[]).unwrap(), "");
    }
}
