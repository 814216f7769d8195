//! What BuildKit takes as a filter of records (containerd `pkg/filters`): `FIELD`, `FIELD==VALUE`, `FIELD!=VALUE` or `FIELD~=REGEX`, of
//! which all must hold, with commas between them.

use std::iter::Peekable;
use std::str::CharIndices;

use regex::Regex;
use snapshot::schema::buildkit::CacheRecord;

/// How a value is compared.
#[derive(Debug, Clone)]
enum Is {
    /// The field has a value.
    There,
    Equal(String),
    Other(String),
    /// An expression that cannot be read fits nothing.
    Like(Option<Regex>),
}

/// One of the conditions.
#[derive(Debug, Clone)]
struct Selector {
    field: String,
    is: Is,
}

/// All conditions that a record must meet.
#[derive(Debug, Clone, Default)]
pub(super) struct Selectors(Vec<Selector>);

impl Selectors {
    /// Reads a filter. An error is containerd's message.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut input = Input { text, rest: text.char_indices().peekable() };
        let mut selectors = vec![input.selector()?];
        loop {
            match input.next() {
                None => return Ok(Self(selectors)),
                Some((_, ',')) => selectors.push(input.selector()?),
                Some((at, other)) => return Err(input.wrong(at, &format!("unexpected input: {other}"))),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&self, record: &CacheRecord) -> bool {
        self.0.iter().all(|selector| selector.takes(record))
    }
}

impl Selector {
    fn takes(&self, record: &CacheRecord) -> bool {
        let text = |text: &str| (text.to_owned(), !text.is_empty());
        let (value, there) = match self.field.as_str() {
            "id" => text(&record.id),
            "parents" => text(record.parent.as_deref().unwrap_or_default()),
            "description" => text(&record.description),
            "type" => text(&record.kind),
            // These have no value; they are there or not. Nothing is in use while nothing is built.
            "mutable" => (String::new(), record.mutable),
            "immutable" => (String::new(), !record.mutable),
            "shared" => (String::new(), record.shared),
            "private" => (String::new(), !record.shared),
            _ => (String::new(), false),
        };
        match &self.is {
            Is::There => there,
            Is::Equal(wanted) => there && value == *wanted,
            Is::Other(wanted) => value != *wanted,
            Is::Like(regex) => regex.as_ref().is_some_and(|regex| regex.is_match(&value)),
        }
    }
}

/// A filter that is being read.
struct Input<'t> {
    text: &'t str,
    rest: Peekable<CharIndices<'t>>,
}

impl<'t> Input<'t> {
    fn next(&mut self) -> Option<(usize, char)> {
        self.rest.next()
    }

    fn blanks(&mut self) {
        while self.rest.next_if(|(_, char)| char.is_whitespace()).is_some() {}
    }

    fn place(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    /// The longest piece of such characters.
    fn piece(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let begin = self.place();
        while self.rest.next_if(|(_, char)| belongs(*char)).is_some() {}
        let end = self.place();
        &self.text[begin..end]
    }

    fn selector(&mut self) -> Result<Selector, String> {
        self.blanks();
        let at = self.place();
        let field = self.piece(|char| char.is_ascii_alphanumeric() || char == '_').to_owned();
        if field.is_empty() {
            return Err(self.wrong(at, "expected field or quoted"));
        }
        self.blanks();
        if self.rest.peek().is_none_or(|(_, char)| *char == ',') {
            return Ok(Selector { field, is: Is::There });
        }
        let at = self.place();
        let operator = self.piece(|char| matches!(char, '=' | '!' | '~'));
        if !matches!(operator, "==" | "!=" | "~=") {
            let reason = match operator {
                "" => "expected an operator (\"==\"|\"!=\"|\"~=\")".to_owned(),
                _ => format!("unsupported operator {}", docker_format::quoted(operator)),
            };
            return Err(self.wrong(at, &reason));
        }
        self.blanks();
        let at = self.place();
        let value = self.value(operator == "~=")?;
        if value.is_empty() {
            return Err(self.wrong(at, "expected value or quoted"));
        }
        let is = match operator {
            "==" => Is::Equal(value),
            "!=" => Is::Other(value),
            _ => Is::Like(Regex::new(&value).ok()),
        };
        Ok(Selector { field, is })
    }

    /// A word, or what is between quotes; around an expression these may be `/` or `|`.
    fn value(&mut self, is_expression: bool) -> Result<String, String> {
        let at = self.place();
        let quote = self.rest.next_if(|(_, char)| *char == '"' || is_expression && matches!(char, '/' | '|'));
        let Some((_, quote)) = quote else {
            return Ok(self.piece(|char| char != ',' && !char.is_whitespace() && !char.is_control()).to_owned());
        };
        let mut value = String::new();
        while let Some((_, char)) = self.next() {
            match char {
                _ if char == quote => return Ok(value),
                '\\' => {
                    let escaped = self.next().map(|(_, char)| char);
                    // An expression keeps its own escapes.
                    value.extend((is_expression && escaped != Some(quote)).then_some('\\'));
                    value.extend(escaped);
                }
                _ => value.push(char),
            }
        }
        Err(self.wrong(at, "quoted literal not terminated"))
    }

    /// An error, with its place as containerd shows it.
    fn wrong(&self, at: usize, reason: &str) -> String {
        let text = self.text;
        let shown = match text[at..].chars().next() {
            Some(char) => format!("[{} >|{char}|< {}]", &text[..at], &text[at + char.len_utf8()..]),
            None => format!("[{text}]"),
        };
        format!("filters: parse error: {shown}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use snapshot::schema::buildkit::CacheSize;

    use super::*;

    fn record() -> CacheRecord {
        CacheRecord {
            id: "abc1".into(),
            parent: Some("p1".into()),
            kind: "regular".into(),
            description: "COPY a b".into(),
            size: CacheSize::Known(1),
            created: None,
            last_used: None,
            usage_count: 0,
            shared: true,
            mutable: false,
        }
    }

    #[test]
    fn records_are_chosen_as_buildkit_chooses_them() {
        for (filter, takes) in [
            ("", true),
            ("id==abc1", true),
            ("id==abc", false),
            ("id~=b.1", true),
            ("id~=[", false),
            ("id~=/^abc/", true),
            ("id~=/a\\/b/", false),
            ("parents==p1", true),
            ("parent==p1", false),
            ("type!=regular", false),
            ("type!=other", true),
            ("description==\"COPY a b\"", true),
            ("description~=|^COPY a b$|", true),
            ("shared", true),
            ("private", false),
            ("immutable,shared", true),
            ("mutable", false),
            ("inuse", false),
            // A field that is only there or not has no value.
            ("shared==true", false),
            ("shared!=true", true),
            ("type==regular, id~=x", false),
        ] {
            assert_eq!(Selectors::parse(filter).unwrap().take(&record()), takes, "{filter}");
        }
        for (filter, reason) in [
            ("shared==", "[shared==]: expected value or quoted"),
            ("description==x y", "[description==x >| |< y]: unexpected input:  "),
            ("type===x", "[type >|=|< ==x]: unsupported operator \"===\""),
            ("type x", "[type  >|x|< ]: expected an operator (\"==\"|\"!=\"|\"~=\")"),
            ("id==\"x", "[id== >|\"|< x]: quoted literal not terminated"),
            (",", "[ >|,|< ]: expected field or quoted"),
        ] {
            assert_eq!(Selectors::parse(filter).unwrap_err(), format!("filters: parse error: {reason}"), "{filter}");
        }
    }
}
