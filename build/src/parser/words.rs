//! What stands behind an instruction's name: flags, and words in one of docker's five forms.

use serde_json::Value;

use super::{Line, ParseError, instruction};

/// What stands behind the name and the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// A list in JSON.
    Json(Vec<String>),
    /// Words; a text that is not taken apart is one word.
    Words(Vec<String>),
    /// Names and values.
    Pairs(Vec<(String, String)>),
    /// The first word, and a command after it: of `HEALTHCHECK`.
    Command(String, Box<Self>),
    /// Another instruction: of `ONBUILD`.
    Instruction(Box<Line>),
}

impl Arguments {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Json(words) | Self::Words(words) => words.is_empty(),
            Self::Pairs(pairs) => pairs.is_empty(),
            Self::Command(..) | Self::Instruction(_) => false,
        }
    }
}

/// What separates words, other than those of pairs.
pub(super) fn is_blank(char: char) -> bool {
    matches!(char, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Reads what stands behind a name. Names that are not known have one text.
pub(super) fn arguments(name: &str, rest: &str, escape: char) -> Result<Arguments, ParseError> {
    let text = || Arguments::Words(Some(rest.to_owned()).filter(|rest| !rest.is_empty()).into_iter().collect());
    Ok(match name {
        "add" | "copy" | "volume" => match json(rest)? {
            Some(list) => list,
            None => Arguments::Words(split(rest)),
        },
        "cmd" | "entrypoint" | "run" | "shell" => json(rest)?.unwrap_or_else(text),
        "from" | "expose" => Arguments::Words(split(rest)),
        "arg" => Arguments::Words(quoted_words(rest, escape)),
        "env" => Arguments::Pairs(pairs("ENV", rest, escape)?),
        "label" => Arguments::Pairs(pairs("LABEL", rest, escape)?),
        "healthcheck" => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (first, command) = rest.split_at(end);
            if first.is_empty() {
                return Ok(text());
            }
            let command = command.trim_start();
            let words = Some(command.to_owned()).filter(|command| !command.is_empty());
            let command = json(command)?.unwrap_or_else(|| Arguments::Words(words.into_iter().collect()));
            Arguments::Command(first.to_owned(), Box::new(command))
        }
        "onbuild" if !rest.is_empty() => Arguments::Instruction(Box::new(trigger(rest, escape)?)),
        _ => text(),
    })
}

/// The instruction of an `ONBUILD`. One that is an `ONBUILD` itself is refused later, so of a chain of them only the last instruction
/// is read, for its errors: each level of reading takes some of the stack.
fn trigger(rest: &str, escape: char) -> Result<Line, ParseError> {
    let mut last = rest;
    while let Some((name, more)) = last.split_once(is_blank)
        && name.to_lowercase() == "onbuild"
    {
        last = split_flags(more).1.trim();
    }
    let mut line = instruction(last, 0, escape)?;
    if last.len() < rest.len() {
        line.name = "onbuild".into();
    }
    Ok(line)
}

fn split(rest: &str) -> Vec<String> {
    rest.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A list in JSON, if the text begins with one; what comes behind it does not count.
fn json(rest: &str) -> Result<Option<Arguments>, ParseError> {
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Vec<Value>>();
    let Some(Ok(list)) = values.next() else { return Ok(None) };
    let word = |value: Value| match value {
        Value::String(word) => Ok(word),
        _ => Err(ParseError::NotTexts),
    };
    list.into_iter().map(word).collect::<Result<_, _>>().map(|words| Some(Arguments::Json(words)))
}

/// The pairs of `ENV` and `LABEL`: in the form with equals signs, or in the old form, which is one pair without an
/// equals sign.
fn pairs(name: &'static str, rest: &str, escape: char) -> Result<Vec<(String, String)>, ParseError> {
    let words = quoted_words(rest, escape);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    if is_old_form(&words) {
        let (key, value) = rest.split_once(is_blank).ok_or(ParseError::TwoArguments(name))?;
        return Ok(vec![(key.to_owned(), value.trim_start_matches(is_blank).to_owned())]);
    }
    let pair = |word: &String| {
        let parts = word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        parts.ok_or_else(|| ParseError::NoEquals(docker_format::quoted(word)))
    };
    words.iter().map(pair).collect()
}

/// Whether the words of `ENV` or `LABEL` are one pair without an equals sign.
fn is_old_form(words: &[String]) -> bool {
    words.first().is_some_and(|first| !first.contains('='))
}

/// Whether an instruction, as it was written, is one of pairs in the old form.
pub(crate) fn has_old_form(text: &str, escape: char) -> bool {
    let (_, rest) = text.split_once(is_blank).unwrap_or_default();
    is_old_form(&quoted_words(split_flags(rest).1, escape))
}

/// Words that blanks separate, but not within quotes or behind an escape. Quotes and escapes stay.
pub(super) fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = rest.chars().peekable();
    while let Some(char) = chars.next() {
        match quote {
            None if char.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if char == '\'' || char == '"' => quote = Some(char),
            Some(open) if char == open => quote = None,
            _ => {}
        }
        if char == escape && quote != Some('\'') {
            // At the very end an escape does not count.
            let Some(next) = chars.next() else { continue };
            word.extend([char, next]);
            continue;
        }
        word.push(char);
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The flags at the beginning of a text, without quotes, and what comes behind them.
pub(super) fn split_flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (mut word, mut quote, mut quotes) = (String::new(), None, false);
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, char)) = chars.next() {
            match (char, quote) {
                (_, None) if char.is_whitespace() => {
                    end = at;
                    break;
                }
                ('\'' | '"', None) => (quote, quotes) = (Some(char), true),
                (_, Some(open)) if char == open => quote = None,
                ('\\', _) => word.extend(chars.next().map(|(_, char)| char)),
                _ => word.push(char),
            }
        }
        rest = &rest[end..];
        if word == "--" {
            return (flags, rest);
        }
        if quotes || !word.is_empty() {
            flags.push(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, rest: &str) -> Arguments {
        arguments(name, rest, '\\').unwrap()
    }

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    /// Measured with docker 20.10.24.
    #[test]
    fn json_is_what_begins_as_json() {
        assert_eq!(words("cmd", r#"["a", "b\"c"] x"#), Arguments::Json(list(&["a", "b\"c"])));
        assert_eq!(words("cmd", "['a']"), Arguments::Words(list(&["['a']"])));
        assert_eq!(words("cmd", r#"["a","#), Arguments::Words(list(&[r#"["a","#])));
        assert_eq!(words("cmd", "[]"), Arguments::Json(Vec::new()));
        assert_eq!(words("cmd", ""), Arguments::Words(Vec::new()));
        assert_eq!(arguments("cmd", r#"["a", 1]"#, '\\'), Err(ParseError::NotTexts));
        assert_eq!(words("copy", "a  b\tc"), Arguments::Words(list(&["a", "b", "c"])));
        assert_eq!(
            words("healthcheck", "CMD  a  b"),
            Arguments::Command("CMD".into(), Box::new(Arguments::Words(list(&["a  b"]))))
        );
    }

    #[test]
    fn pairs_have_two_forms() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            words("env", r#"A=1 B="two words" C=a\ b"#),
            Arguments::Pairs(vec![pair("A", "1"), pair("B", "\"two words\""), pair("C", "a\\ b")])
        );
        assert_eq!(words("env", "D  old  style   x"), Arguments::Pairs(vec![pair("D", "old  style   x")]));
        assert_eq!(words("env", "b = c"), Arguments::Pairs(vec![pair("b", "= c")]));
        assert_eq!(arguments("env", "A", '\\').unwrap_err().to_string(), "ENV must have two arguments");
        assert_eq!(
            arguments("label", "a=b c", '\\').unwrap_err().to_string(),
            "Syntax error - can't find = in \"c\". Must be of the form: name=value"
        );
    }

    #[test]
    fn flags_come_first() {
        let (flags, rest) = split_flags(r#"--from=a --chown="b c" --x\ y  --- d --e"#);
        assert_eq!((flags, rest), (list(&["--from=a", "--chown=b c", "--x y", "---"]), "d --e"));
        assert_eq!(split_flags("-- --a b"), (Vec::new(), " --a b"));
        assert_eq!(split_flags("a --b"), (Vec::new(), "a --b"));
    }
}
