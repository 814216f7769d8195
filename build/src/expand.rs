//! Variables in words, as docker 20.10 expands them (moby v20.10.24, vendored `buildkit/frontend/dockerfile/shell/lex.go`), and with
//! the forms that BuildKit has added since.

mod pattern;

use std::iter::Peekable;
use std::str::Chars;

/// A word that cannot be expanded. The texts are docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word}: {reason}")]
pub struct ExpandError {
    /// The word, in quotes.
    word: String,
    /// What is wrong.
    reason: String,
}

/// Expands the variables of a word, and removes its quotes. Of several values of one name, the first counts.
///
/// # Errors
/// [`ExpandError`]
pub(crate) fn expand(word: &str, escape: char, env: &[String]) -> Result<String, ExpandError> {
    process(word, escape, env, Style::Classic).map(|(text, _)| text)
}

/// Expands a word as [`expand`] does, with BuildKit's forms: `${v-d}`, `${v#p}`, `${v%p}`, `${v/a/b}`.
///
/// # Errors
/// [`ExpandError`]
pub(crate) fn expand_modern(word: &str, escape: char, env: &[String]) -> Result<String, ExpandError> {
    process(word, escape, env, Style::Modern).map(|(text, _)| text)
}

/// Expands a word as [`expand_modern`] does, and splits the result at its blanks, except for quoted ones.
///
/// # Errors
/// [`ExpandError`]
pub(crate) fn expand_modern_words(word: &str, escape: char, env: &[String]) -> Result<Vec<String>, ExpandError> {
    process(word, escape, env, Style::Modern).map(|(_, words)| words)
}

/// Expands the variables of a text that stands in a Dockerfile; quotes in it are letters like any other.
///
/// # Errors
/// [`ExpandError`]
pub(crate) fn expand_text(text: &str, env: &[String]) -> Result<String, ExpandError> {
    process(text, '\\', env, Style::Text).map(|(text, _)| text)
}

/// Expands a word as [`expand`] does, and splits the result at its blanks, except for quoted ones.
///
/// # Errors
/// [`ExpandError`]
pub(crate) fn expand_words(word: &str, escape: char, env: &[String]) -> Result<Vec<String>, ExpandError> {
    process(word, escape, env, Style::Classic).map(|(_, words)| words)
}

/// Which forms count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Those of docker 20.10.
    Classic,
    /// Those of BuildKit.
    Modern,
    /// Those of BuildKit, without quotes.
    Text,
}

fn process(word: &str, escape: char, env: &[String], style: Style) -> Result<(String, Vec<String>), ExpandError> {
    process_noting(word, escape, env, style, &mut Names::default())
}

fn process_noting(
    word: &str,
    escape: char,
    env: &[String],
    style: Style,
    names: &mut Names,
) -> Result<(String, Vec<String>), ExpandError> {
    let mut lexer = Lexer { chars: word.chars().peekable(), escape, env, style, keep_escapes: false, depth: 0, names };
    lexer.until(None).map_err(|reason| ExpandError { word: docker_format::quoted(word), reason })
}

/// The names of variables that stand in a word, each once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Those that have a value.
    pub(crate) found: Vec<String>,
    /// Those that have none.
    pub(crate) missing: Vec<String>,
}

impl Names {
    /// Expands a word as [`expand_modern`] does.
    ///
    /// # Errors
    /// [`ExpandError`]; the names that were read before are noted.
    pub(crate) fn expand(&mut self, word: &str, escape: char, env: &[String]) -> Result<String, ExpandError> {
        process_noting(word, escape, env, Style::Modern, self).map(|(text, _)| text)
    }

    /// Expands a text as [`expand_text`] does.
    ///
    /// # Errors
    /// As of [`Self::expand`].
    pub(crate) fn expand_text(&mut self, text: &str, env: &[String]) -> Result<String, ExpandError> {
        process_noting(text, '\\', env, Style::Text, self).map(|(text, _)| text)
    }

    fn note(&mut self, name: &str, is_found: bool) {
        let names = if is_found { &mut self.found } else { &mut self.missing };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
}

/// Words, as they come together from pieces.
#[derive(Debug, Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn raw(&mut self, text: &str) {
        self.word.push_str(text);
    }

    fn split(&mut self, text: &str) {
        for char in text.chars() {
            if !char.is_whitespace() {
                self.word.push(char);
            } else if !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.done.extend(Some(self.word).filter(|word| !word.is_empty()));
        self.done
    }
}

struct Lexer<'w, 'n> {
    chars: Peekable<Chars<'w>>,
    escape: char,
    env: &'w [String],
    style: Style,
    /// Escapes stay where they are: a pattern has its own.
    keep_escapes: bool,
    /// In how many variables the place is.
    depth: usize,
    /// The variables so far.
    names: &'n mut Names,
}

/// The most variables in each other. Docker has no bound; here each takes some of the stack.
const DEEPEST: usize = 200;

impl Lexer<'_, '_> {
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        let (mut result, mut words) = (String::new(), Words::default());
        while let Some(&char) = self.chars.peek() {
            if Some(char) == stop {
                self.chars.next();
                return Ok((result, words.finish()));
            }
            match char {
                '\'' | '"' if self.style != Style::Text => {
                    let text = if char == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    words.raw(&text);
                    result.push_str(&text);
                }
                '$' => {
                    let text = self.dollar()?;
                    words.split(&text);
                    result.push_str(&text);
                }
                _ => {
                    self.chars.next();
                    if char == self.escape {
                        let Some(next) = self.chars.next() else { break };
                        if self.keep_escapes {
                            words.raw(char.encode_utf8(&mut [0; 4]));
                            result.push(char);
                        }
                        words.raw(next.encode_utf8(&mut [0; 4]));
                        result.push(next);
                    } else {
                        words.split(char.encode_utf8(&mut [0; 4]));
                        result.push(char);
                    }
                }
            }
        }
        match stop {
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
            None => Ok((result, words.finish())),
        }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut result = String::new();
        loop {
            match self.chars.next() {
                None => return Err("unexpected end of statement while looking for matching single-quote".into()),
                Some('\'') => return Ok(result),
                Some(char) => result.push(char),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut result = String::new();
        loop {
            match self.chars.peek().copied() {
                None => return Err("unexpected end of statement while looking for matching double-quote".into()),
                Some('"') => {
                    self.chars.next();
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(char) => {
                    self.chars.next();
                    if char != self.escape {
                        result.push(char);
                        continue;
                    }
                    // Any other escape stays as it is.
                    match self.chars.peek().copied() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            self.chars.next();
                            result.push(next);
                        }
                        Some(_) => result.push(char),
                    }
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        if self.depth == DEEPEST {
            return Err(format!("more than {DEEPEST} variables in each other"));
        }
        self.depth += 1;
        let read = self.variable();
        self.depth -= 1;
        read
    }

    fn variable(&mut self) -> Result<String, String> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".into() } else { self.value(&name) });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            Some('}') => return Ok(self.value(&name)),
            Some(':') => {}
            modifier if self.style != Style::Classic => {
                return self.modified(&name, modifier.unwrap_or('\u{fffd}'));
            }
            _ => return Err("missing ':' in substitution".into()),
        }
        let modifier = self.chars.next();
        let word = self.word_until('}')?;
        let value = self.value(&name);
        match modifier {
            Some('+') => Ok(if value.is_empty() { value } else { word }),
            Some('-') => Ok(if value.is_empty() { word } else { value }),
            Some('?') if value.is_empty() && word.is_empty() => Err(format!("{name}: is not allowed to be unset")),
            Some('?') if value.is_empty() => Err(format!("{name}: {word}")),
            Some('?') => Ok(value),
            other => Err(format!("unsupported modifier ({}) in substitution", other.unwrap_or('\u{fffd}'))),
        }
    }

    /// A name: letters, digits and underscores, or a number, or one of the shell's special characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&char) = self.chars.peek() {
            let special = matches!(char, '@' | '*' | '#' | '?' | '-' | '$' | '!' | '0');
            if name.is_empty() && char.is_ascii_digit() {
                while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
                    name.push(digit);
                }
                return name;
            }
            if name.is_empty() && special {
                self.chars.next();
                return char.into();
            }
            if !char.is_alphanumeric() && char != '_' {
                break;
            }
            self.chars.next();
            name.push(char);
        }
        name
    }

    /// What stands before a character that ends it.
    fn word_until(&mut self, end: char) -> Result<String, String> {
        let read = self.until(Some(end)).map(|(word, _)| word);
        read.map_err(|reason| if self.chars.peek().is_none() { "syntax error: missing '}'".to_owned() } else { reason })
    }

    /// `${NAME` and a modifier without a colon, which BuildKit knows.
    fn modified(&mut self, name: &str, modifier: char) -> Result<String, String> {
        if !matches!(modifier, '-' | '+' | '?' | '#' | '%' | '/') {
            return Err(format!("unsupported modifier ({modifier}) in substitution"));
        }
        let found = self.find(name);
        if matches!(modifier, '-' | '+' | '?') {
            let word = self.word_until('}')?;
            return match (modifier, found) {
                ('-', found) => Ok(found.unwrap_or(word)),
                ('+', found) => Ok(found.map(|_| word).unwrap_or_default()),
                (_, Some(value)) => Ok(value),
                (_, None) if word.is_empty() => Err(format!("{name}: is not allowed to be unset")),
                (_, None) => Err(format!("{name}: {word}")),
            };
        }
        let twice = self.chars.next_if_eq(&modifier).is_some();
        self.keep_escapes = true;
        let pattern = self.word_until(if modifier == '/' { '/' } else { '}' });
        self.keep_escapes = false;
        let value = found.unwrap_or_default();
        let invalid = |_| "invalid pattern in substitution".to_owned();
        match modifier {
            '#' => pattern::without_prefix(&value, &pattern?, twice).map_err(invalid),
            '%' => pattern::without_suffix(&value, &pattern?, twice).map_err(invalid),
            _ => {
                let pattern = pattern?;
                let replacement = self.word_until('}')?;
                pattern::replaced(&value, &pattern, &replacement, twice).map_err(invalid)
            }
        }
    }

    fn value(&mut self, name: &str) -> String {
        self.find(name).unwrap_or_default()
    }

    fn find(&mut self, name: &str) -> Option<String> {
        let value = |entry: &String| {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            (key == name).then(|| value.to_owned())
        };
        let found = self.env.iter().find_map(value);
        self.names.note(name, found.is_some());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Vec<String> {
        ["A=1", "B=two words", "E=", "A=2"].map(str::to_owned).to_vec()
    }

    #[test]
    fn variables_are_expanded() {
        for (word, expected) in [
            ("$A", "1"),
            ("x${A}y", "x1y"),
            ("${N:-d$A}", "d1"),
            ("${E:-d}", "d"),
            ("${A:-d}", "1"),
            ("${A:+a}${N:+b}", "a"),
            ("${A:?no}", "1"),
            ("$1$_x$", "$"),
            ("\\$A '$A' \"$A\" \"\\$A\"", "$A $A 1 $A"),
            ("$Ax$N", ""),
            ("\"a\\b\\\"c\"", "a\\b\"c"),
            ("a\\", "a"),
            ("$$A", "A"),
            ("caf\u{e9}$A", "caf\u{e9}1"),
        ] {
            assert_eq!(expand(word, '\\', &env()).as_deref(), Ok(expected), "{word}");
        }
        assert_eq!(expand("`$A\\x", '`', &env()).as_deref(), Ok("$A\\x"));
    }

    #[test]
    fn what_cannot_be_expanded_is_said_as_docker_says_it() {
        for (word, expected) in [
            ("${A#foo}", "missing ':' in substitution"),
            ("${", "syntax error: missing '}'"),
            ("${A:-x", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${A:xy}", "unsupported modifier (x) in substitution"),
            ("${N:?}", "N: is not allowed to be unset"),
            ("${N:?why}", "N: why"),
            ("\"x", "unexpected end of statement while looking for matching double-quote"),
            ("'x", "unexpected end of statement while looking for matching single-quote"),
        ] {
            let error = expand(word, '\\', &env()).unwrap_err().to_string();
            assert_eq!(error, format!("failed to process {}: {expected}", docker_format::quoted(word)), "{word}");
        }
    }

    #[test]
    fn variables_in_each_other_have_a_bound() {
        let word = |levels: usize| format!("{}x{}", "${N:-".repeat(levels), "}".repeat(levels));
        assert_eq!(expand(&word(DEEPEST), '\\', &env()).as_deref(), Ok("x"));
        for levels in [DEEPEST + 1, 100_000] {
            let error = expand(&word(levels), '\\', &env()).unwrap_err().to_string();
            assert!(error.ends_with(": more than 200 variables in each other"), "{error}");
            let quoted = format!("\"{}", "${N:-\"".repeat(levels));
            assert!(expand_modern(&quoted, '\\', &env()).is_err());
        }
    }

    /// The values are those of docker 28.5.
    #[test]
    fn patterns_cut_and_replace() {
        let env = ["V=foobarfoo", "E=", "P=a.b*c"].map(str::to_owned);
        for (word, expected) in [
            ("${V#f*o}", "obarfoo"),
            ("${V##f*o}", ""),
            ("${V%o*}", "foobarfo"),
            ("${V%%o*}", "f"),
            ("${V/foo/x}", "xbarfoo"),
            ("${V//foo/x}", "xbarx"),
            ("${V//o/}", "fbarf"),
            ("${V#nothing}${V#?}", "foobarfoooobarfoo"),
            ("${P/.b\\*/-}", "a-c"),
            ("${P%\\*c}", "a.b"),
            ("${N-d}${E-d}${E+s}${N+s}", "ds"),
            ("${V?x}", "foobarfoo"),
        ] {
            assert_eq!(expand_modern(word, '\\', &env).as_deref(), Ok(expected), "{word}");
        }
        assert!(expand_modern("${N?why}", '\\', &env).unwrap_err().to_string().ends_with(": N: why"));
        assert!(expand_modern("${V#x", '\\', &env).is_err());
        assert_eq!(expand_text("'$V' \"${N:-d}\" \\$V", &env).as_deref(), Ok("'foobarfoo' \"d\" $V"));
    }

    #[test]
    fn words_are_split_where_they_are_not_quoted() {
        assert_eq!(expand_words("$B", '\\', &env()).unwrap(), ["two", "words"]);
        assert_eq!(expand_words("\"$B\" a\\ b", '\\', &env()).unwrap(), ["two words", "a b"]);
        assert_eq!(expand_words("$N", '\\', &env()).unwrap(), Vec::<String>::new());
    }
}
