//! `.dockerignore`: which files of a context do not count (docker/cli v20.10.24 `cli/command/image/build/dockerignore.go`, moby
//! `builder/dockerignore`, `pkg/fileutils`).

use regex::bytes::{Regex, RegexBuilder};

use crate::parser::Dialect;

/// A pattern that cannot be read. The text is docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A class or an escape has no end.
    #[error("syntax error in pattern")]
    Syntax,
    /// A line holds `!` alone.
    #[error("illegal exclusion pattern: \"!\"")]
    Nothing,
}

/// The patterns of a file, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns {
    all: Vec<Pattern>,
    dialect: Dialect,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// Whether it takes files back in.
    again: bool,
    text: String,
    /// How many names it has.
    depth: usize,
    expression: Regex,
}

/// The lines of a file that are patterns, cleaned.
pub(crate) fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let clean = |line: &str| {
        if line.starts_with('#') {
            return None;
        }
        let line = line.trim();
        let (mark, pattern) = match line.strip_prefix('!') {
            Some(rest) => ("!", rest.trim()),
            None => ("", line),
        };
        if pattern.is_empty() {
            return (!mark.is_empty()).then(|| "!".to_owned());
        }
        let pattern = cleaned(pattern);
        let pattern = if pattern.len() > 1 { pattern.strip_prefix('/').unwrap_or(&pattern) } else { &pattern };
        Some(format!("{mark}{pattern}"))
    };
    text.lines().filter_map(clean).collect()
}

/// A path as Go's `filepath.Clean` leaves it.
pub(crate) fn cleaned(path: &str) -> String {
    String::from_utf8_lossy(&tarsplit::names::clean(path.as_bytes())).into_owned()
}

impl Patterns {
    /// Reads the values of a flag, of which each is a pattern as it is (moby/patternmatcher `New`).
    ///
    /// # Errors
    /// [`IgnoreError`]
    pub(crate) fn of_flags(values: &[String]) -> Result<Self, IgnoreError> {
        let given = values.iter().map(|value| value.trim()).filter(|value| !value.is_empty());
        Self::parse(&given.map(cleaned).collect::<Vec<_>>(), Dialect::Modern)
    }

    /// Reads the cleaned lines of a file.
    ///
    /// # Errors
    /// [`IgnoreError`]
    pub(crate) fn parse(lines: &[String], dialect: Dialect) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for line in lines {
            let (again, text) = match line.strip_prefix('!') {
                Some("") => return Err(IgnoreError::Nothing),
                Some(rest) => (true, rest),
                None => (false, line.as_str()),
            };
            docker_format::pattern::matches(text, ".").map_err(|_| IgnoreError::Syntax)?;
            let expression = RegexBuilder::new(&expression(text)).dot_matches_new_line(false).build();
            let expression = expression.map_err(|_| IgnoreError::Syntax)?;
            patterns.push(Pattern { again, depth: text.split('/').count(), text: text.to_owned(), expression });
        }
        Ok(Self { all: patterns, dialect })
    }

    /// Whether a path is excluded. The last pattern decides that matches the path or a directory above it; for docker 20.10 that is
    /// only the one that has as many names as the pattern.
    pub(crate) fn exclude(&self, path: &[u8]) -> bool {
        let mut excluded = false;
        let slashes: Vec<usize> =
            path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).collect();
        for pattern in &self.all {
            if pattern.again != excluded {
                continue;
            }
            let above = match self.dialect {
                Dialect::Classic => slashes.get(pattern.depth - 1..).and_then(|rest| rest.get(..1)).unwrap_or_default(),
                Dialect::Modern => &slashes,
            };
            let matches = |end: usize| pattern.expression.is_match(&path[..end]);
            if matches(path.len()) || above.iter().any(|&end| matches(end)) {
                excluded = !pattern.again;
            }
        }
        excluded
    }

    /// Whether something in an excluded directory may be taken back in.
    pub(crate) fn may_take_back(&self, dir: &[u8]) -> bool {
        let dir = [dir, b"/"].concat();
        self.all
            .iter()
            .filter(|pattern| pattern.again)
            .any(|pattern| format!("{}/", pattern.text).as_bytes().starts_with(&dir))
    }
}

/// The regular expression that docker makes of a pattern; whatever it does not know goes in as it is.
fn expression(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                out.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '.' | '$' => out.extend(['\\', char]),
            '[' => class(&mut chars, &mut out),
            '\\' => match chars.next() {
                // The crate `regex` refuses to escape a letter that has no meaning then, so the letter goes in alone; and for it, but not
                // for Go, `\<` and `\>` are the ends of a word.
                Some(next) if next.is_ascii_alphanumeric() || !next.is_ascii() || matches!(next, '<' | '>') => {
                    out.push(next);
                }
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            _ => out.push(char),
        }
    }
    out + "$"
}

/// The rest of a class of characters, in which the crate `regex` knows more than Go: classes within it, and sets.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut is_first = true;
    for char in chars.by_ref() {
        match char {
            ']' if !is_first => {
                out.push(']');
                return;
            }
            '[' | ']' | '&' | '~' => out.extend(['\\', char]),
            _ => out.push(char),
        }
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 12] = [
        "f.txt",
        "a/f.txt",
        "a/b/f.txt",
        "a/b/c/f.txt",
        "node_modules/x",
        "a/node_modules/x",
        "a/b/node_modules/x",
        "src/x/y",
        "README.md",
        "OTHER.md",
        "#hash",
        "!bang",
    ];

    /// The table was measured with docker 20.10.24.
    #[test]
    fn patterns_exclude_what_docker_excludes() {
        for (file, expected) in [
            ("*.txt", &["f.txt"][..]),
            ("/f.txt", &["f.txt"]),
            ("./f.txt", &["f.txt"]),
            ("f.tx?", &["f.txt"]),
            ("[a-f].txt", &["f.txt"]),
            ("**/*.txt", &FILES[..4]),
            ("**/**/f.txt", &FILES[..4]),
            ("a/*.txt", &["a/f.txt"]),
            ("a/b/../f.txt", &["a/f.txt"]),
            ("a/**/f.txt", &FILES[1..4]),
            ("a", &["a/f.txt", "a/b/f.txt", "a/b/c/f.txt", "a/node_modules/x", "a/b/node_modules/x"]),
            ("a/", &["a/f.txt", "a/b/f.txt", "a/b/c/f.txt", "a/node_modules/x", "a/b/node_modules/x"]),
            ("node_modules", &["node_modules/x"]),
            ("*/node_modules", &["a/node_modules/x"]),
            ("**/node_modules", &FILES[4..7]),
            (
                "**\n!src",
                &[
                    "f.txt",
                    "a/f.txt",
                    "a/b/f.txt",
                    "a/b/c/f.txt",
                    "node_modules/x",
                    "a/node_modules/x",
                    "a/b/node_modules/x",
                    "README.md",
                    "OTHER.md",
                    "#hash",
                    "!bang",
                ],
            ),
            ("a/b\n!a/b/c", &["a/b/f.txt", "a/b/node_modules/x"]),
            ("*.md\n!README.md", &["OTHER.md"]),
            ("!README.md\n*.md", &["README.md", "OTHER.md"]),
            (".", &[]),
            ("..", &[]),
            ("!x", &[]),
            ("#hash", &[]),
            ("\\#hash", &["#hash"]),
            ("\\!bang", &["!bang"]),
            ("\u{feff}  f.txt \r\n\n", &["f.txt"]),
        ] {
            let patterns = Patterns::parse(&lines(file.as_bytes()), Dialect::Classic).unwrap();
            // As a walk does it: what is in an excluded directory is not looked at, unless it may be taken back in.
            let is_excluded = |path: &&str| {
                let ends = path.match_indices('/').map(|(at, _)| at);
                let hidden = |end: usize| {
                    let dir = &path.as_bytes()[..end];
                    patterns.exclude(dir) && !patterns.may_take_back(dir)
                };
                ends.into_iter().any(hidden) || patterns.exclude(path.as_bytes())
            };
            let excluded: Vec<&str> = FILES.into_iter().filter(is_excluded).collect();
            assert_eq!(excluded, expected, "{file:?}");
        }
        let angles = Patterns::parse(&lines(b"\\<a\\>"), Dialect::Classic).unwrap();
        assert!(angles.exclude(b"<a>") && !angles.exclude(b"a"));
        assert_eq!(Patterns::parse(&lines(b"["), Dialect::Classic).unwrap_err().to_string(), "syntax error in pattern");
        assert_eq!(Patterns::parse(&lines(b"!"), Dialect::Classic).unwrap_err(), IgnoreError::Nothing);
        let patterns = Patterns::parse(&lines(b"*\n!a/b/f.txt"), Dialect::Classic).unwrap();
        assert!(patterns.may_take_back(b"a") && patterns.may_take_back(b"a/b") && !patterns.may_take_back(b"src"));
    }
}
