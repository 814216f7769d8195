//! A Dockerfile as lines and words, as the parser of docker 20.10 reads it (moby v20.10.24, vendored
//! `buildkit/frontend/dockerfile/parser`).
//!
//! ```text
//! directives                  # escape=`, # syntax=...: only before any other line
//! comments, continuations     lines that are joined
//! NAME --flag=value REST      REST is a list in JSON, pairs, words or one text: that depends on NAME
//! ```

mod heredoc;
mod words;

use std::sync::LazyLock;

use regex::Regex;

pub(crate) use heredoc::Heredoc;
pub(crate) use words::{Arguments, has_old_form};
use words::{arguments, split_flags};

/// The longest line: Go's scanner has a buffer of this size.
const LONGEST: usize = 65_535;

/// A Dockerfile that cannot be taken apart. The texts are docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A directive names a character that cannot be the escape character.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    Escape(String),
    /// A directive comes twice.
    #[error("only one {0} parser directive can be used")]
    SecondDirective(String),
    /// `NAME` without a value, in the form without an equals sign.
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    /// A word of a list of pairs has no equals sign.
    #[error("Syntax error - can't find = in {0}. Must be of the form: name=value")]
    NoEquals(String),
    /// A JSON list with something else than texts in it.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotTexts,
    /// Nothing but comments.
    #[error("file with no instructions")]
    NoInstructions,
    /// A text that is to stand in the Dockerfile has no end.
    #[error("unterminated heredoc: no line after line {line} is {name:?}")]
    Heredoc {
        /// The line that announces it, from 1.
        line: usize,
        /// What must stand alone on the line behind it.
        name: String,
    },
    /// A line is too long.
    #[error("dockerfile line greater than max allowed size of {LONGEST}: line {line} has {length} bytes")]
    LongLine {
        /// Which, from 1.
        line: usize,
        /// Its length.
        length: usize,
    },
}

/// Whose language a Dockerfile is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Dialect {
    /// The classic builder's, of docker 20.10.
    Classic,
    /// BuildKit's.
    #[default]
    Modern,
}

/// A Dockerfile, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The character that escapes, and that continues a line.
    pub(crate) escape: char,
    /// What the directive `syntax` names; empty for nothing.
    pub(crate) syntax: String,
    /// What the directive `check` says, up to its first blank; empty for nothing.
    pub(crate) check: String,
    /// What docker warns of, each a line.
    pub(crate) warnings: Vec<String>,
    /// The instructions.
    pub(crate) lines: Vec<Line>,
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The number of its first line, from 1.
    pub(crate) number: usize,
    /// The number of its last line, or that of the texts behind it.
    pub(crate) last: usize,
    /// Whether there are empty lines within it.
    pub(crate) gap: bool,
    /// The last comment before it, and behind the instruction before, that says anything.
    pub(crate) comment: Option<String>,
    /// The instruction as it was written, continuations joined.
    pub(crate) text: String,
    /// Its name, in lower case.
    pub(crate) name: String,
    /// Its flags, with their dashes.
    pub(crate) flags: Vec<String>,
    /// What comes after the flags.
    pub(crate) arguments: Arguments,
    /// Texts that stand behind the line.
    pub(crate) heredocs: Vec<Heredoc>,
}

impl Line {
    /// The name of the instruction as it was written.
    pub(crate) fn written(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or_default()
    }
}

static DIRECTIVE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$").expect("a valid expression"));

/// Which directives were seen, and what they say.
#[derive(Debug)]
struct Directives {
    dialect: Dialect,
    escape: char,
    syntax: String,
    check: String,
    seen: Vec<String>,
    done: bool,
}

impl Directives {
    fn take(&mut self, line: &str) -> Result<(), ParseError> {
        if self.done {
            return Ok(());
        }
        let found = DIRECTIVE.captures(line).map(|found| (found[1].to_ascii_lowercase(), found[2].to_owned()));
        let is_known = |name: &str| match self.dialect {
            Dialect::Classic => matches!(name, "escape" | "syntax"),
            Dialect::Modern => matches!(name, "escape" | "syntax" | "check"),
        };
        let Some((name, value)) = found.filter(|(name, _)| is_known(name)) else {
            self.done = true;
            return Ok(());
        };
        if self.seen.contains(&name) {
            return Err(ParseError::SecondDirective(name));
        }
        if name == "escape" {
            self.escape = match value.as_str() {
                "\\" => '\\',
                "`" => '`',
                _ => return Err(ParseError::Escape(value)),
            };
        } else if name == "syntax" {
            self.syntax = value;
        } else if name == "check" {
            self.check = value.split_whitespace().next().unwrap_or_default().to_owned();
        }
        self.seen.push(name);
        Ok(())
    }
}

/// Whether a line is a comment, blanks before it aside.
fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A line without the mark that it goes on, and whether it ends here.
fn continued(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) => (rest, false),
        None => (line, true),
    }
}

/// Takes a Dockerfile apart. Bytes that are no text are replaced.
///
/// # Errors
/// [`ParseError`]
pub(crate) fn parse(bytes: &[u8], dialect: Dialect) -> Result<Parsed, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut directives = Directives {
        dialect,
        escape: '\\',
        syntax: String::new(),
        check: String::new(),
        seen: Vec::new(),
        done: false,
    };
    let (mut warnings, mut lines, mut comment) = (Vec::new(), Vec::new(), None);
    let mut rows = text.lines().map(|row| row.strip_suffix('\r').unwrap_or(row)).enumerate();
    while let Some((at, row)) = rows.next() {
        check_length(at, row)?;
        let said = row.strip_prefix('#').map(str::trim).filter(|said| !said.is_empty());
        let row = row.trim_start();
        directives.take(row)?;
        if directives.done {
            comment = said.map(str::to_owned).or(comment);
        }
        let row = if row.starts_with('#') { "" } else { row };
        let (start, mut ended) = continued(row, directives.escape);
        if ended && start.is_empty() {
            continue;
        }
        let mut whole = start.to_owned();
        let (mut gap, mut last) = (false, at);
        while !ended {
            let Some((at, row)) = rows.next() else { break };
            last = at;
            check_length(at, row)?;
            if is_comment(row) {
                continue;
            }
            if row.trim().is_empty() {
                gap = true;
                continue;
            }
            let (more, end) = continued(row, directives.escape);
            whole.push_str(more);
            ended = end;
        }
        if gap {
            warnings.push(format!("[WARNING]: Empty continuation line found in:\n    {whole}"));
        }
        let mut line = instruction(&whole, at + 1, directives.escape)?;
        (line.last, line.gap, line.comment) = (last + 1, gap, comment.take());
        if dialect == Dialect::Modern {
            heredoc::read(&mut line, directives.escape, &mut rows)?;
        }
        lines.push(line);
    }
    if !warnings.is_empty() {
        warnings.push("[WARNING]: Empty continuation lines will become errors in a future release.".into());
    }
    if lines.is_empty() {
        return Err(ParseError::NoInstructions);
    }
    let Directives { escape, syntax, check, .. } = directives;
    Ok(Parsed { escape, syntax, check, warnings, lines })
}

/// Refuses a line, by its number from 0, that is too long.
fn check_length(at: usize, row: &str) -> Result<(), ParseError> {
    if row.len() > LONGEST { Err(ParseError::LongLine { line: at + 1, length: row.len() }) } else { Ok(()) }
}

/// One instruction, of a Dockerfile's line or after `ONBUILD`.
fn instruction(text: &str, number: usize, escape: char) -> Result<Line, ParseError> {
    let trimmed = text.trim();
    let (name, rest) = trimmed.split_once(words::is_blank).unwrap_or((trimmed, ""));
    let (flags, rest) = split_flags(rest.trim_start_matches(words::is_blank));
    let name = name.to_lowercase();
    let arguments = arguments(&name, rest.trim(), escape)?;
    let (text, heredocs) = (trimmed.to_owned(), Vec::new());
    Ok(Line { number, last: number, gap: false, comment: None, text, name, flags, arguments, heredocs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text.as_bytes(), Dialect::Classic).unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    /// The rows of a table that was measured with docker 20.10.24.
    #[test]
    fn directives_stand_before_everything_else() {
        let escape = |text: &str| parse(text.as_bytes(), Dialect::Classic).map(|parsed| parsed.escape);
        for text in [
            "# escape=`\nFROM a",
            "#ESCAPE = `  \nFROM a",
            "# syntax=x/y\n#escape=`\nFROM a",
            "\u{feff}#escape=`\nFROM a",
        ] {
            assert_eq!(escape(text), Ok('`'), "{text}");
        }
        for text in [
            "\n# escape=`\nFROM a",
            "# a word\n# escape=`\nFROM a",
            "# check=x\n# escape=`\nFROM a",
            "FROM a\n# escape=`",
        ] {
            assert_eq!(escape(text), Ok('\\'), "{text}");
        }
        assert_eq!(
            escape("# escape=x\nFROM a").unwrap_err().to_string(),
            "invalid escape token 'x' does not match ` or \\"
        );
        assert_eq!(
            escape("# escape=`\n# escape=`\nFROM a").unwrap_err().to_string(),
            "only one escape parser directive can be used"
        );
    }

    #[test]
    fn lines_go_on() {
        assert_eq!(names("RUN a \\\n   b\\  \nc"), ["RUN a    bc"]);
        assert_eq!(names("RUN a \\\n# no\n  # neither\nb # this\n#x\nRUN c"), ["RUN a b # this", "RUN c"]);
        assert_eq!(names("  from a\r\nRun b\r\n"), ["from a", "Run b"]);
        assert_eq!(names("# escape=`\nRUN a\\\nRUN b `\nc"), ["RUN a\\", "RUN b c"]);
        assert_eq!(names("RUN a \\"), ["RUN a"]);
        let parsed = parse(b"FROM a\nRUN a \\\n\n  \n b\n", Dialect::Classic).unwrap();
        assert_eq!(parsed.warnings[0], "[WARNING]: Empty continuation line found in:\n    RUN a  b");
        assert_eq!((parsed.warnings.len(), parsed.lines[1].number), (2, 2));
        assert_eq!(parse(b"# nothing\n\n", Dialect::Classic), Err(ParseError::NoInstructions));
        assert_eq!(
            parse(&[b"RUN ".as_slice(), &[b'x'; 65_600]].concat(), Dialect::Classic),
            Err(ParseError::LongLine { line: 1, length: 65_604 })
        );
    }

    proptest::proptest! {
        /// Whatever a file holds, it is read or refused.
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "[A-Za-z #\\\\`\"'\\[\\]=\n$-]{0,200}") {
            for dialect in [Dialect::Classic, Dialect::Modern] {
                let _ = (parse(&bytes, dialect), parse(text.as_bytes(), dialect));
            }
        }
    }
}
