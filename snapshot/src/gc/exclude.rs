//! docker-gc's file of images that must stay. Each line is a basic regular expression as `grep` reads it, which is
//! matched against an image's name with its tag, or its id.
//!
//! docker-gc puts a blank before and after each line, writes a line ` NAME:TAG ID ` for each row of `docker images`,
//! with the first twelve digits of the id, and searches each row for each line (spotify/docker-gc `docker-gc:
//! compute_exclude_ids`). So `app:.*` means all tags of `app`, and `9681260c3ad5` means one image. A line of blanks
//! alone is ignored.
//!
//! We understand the parts of basic regular expressions that such files use: characters, `.`, `*`, brackets, a
//! backslash before a special character, `^` and `$`. Groups, bounds, alternatives and named classes are an error,
//! since a line that is not understood must not let an image be removed.

use crate::ids::ImageId;

/// The lines of a file of excludes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excludes(Vec<Vec<Piece>>);

/// A line that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ExcludeError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A part of an expression, and whether a star after it lets it repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    one: One,
    any_number: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum One {
    Byte(u8),
    Any,
    Of { ranges: Vec<(u8, u8)>, negated: bool },
}

impl Excludes {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ExcludeError`]
    pub fn parse(text: &str) -> Result<Self, ExcludeError> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.bytes().all(|byte| byte == b' ') {
                continue;
            }
            let pieces = expression(format!(" {line} ").as_bytes());
            lines.push(pieces.map_err(|what| ExcludeError { line: number + 1, what })?);
        }
        Ok(Self(lines))
    }

    /// Whether a line matches this image, which has these names.
    #[must_use]
    pub(crate) fn matches(&self, id: ImageId, names: &[&str]) -> bool {
        let short = id.0.short();
        let none = ["<none>:<none>"];
        let names = if names.is_empty() { &none[..] } else { names };
        names.iter().any(|name| {
            // `docker images` shows `<none>` as the tag of a name with a digest.
            let shown = name.split_once('@').map_or_else(|| (*name).to_owned(), |(name, _)| format!("{name}:<none>"));
            self.matches_row(&format!(" {shown} {short} "))
        })
    }

    fn matches_row(&self, row: &str) -> bool {
        self.0.iter().any(|line| finds(line, row.as_bytes()))
    }
}

fn expression(text: &[u8]) -> Result<Vec<Piece>, &'static str> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let one = match byte {
            b'*' => {
                let last = pieces.last_mut().expect("the blank before the line");
                last.any_number = true;
                continue;
            }
            b'.' => One::Any,
            b'[' => {
                let (set, after) = bracket(rest)?;
                rest = after;
                set
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first().expect("the blank after the line");
                rest = after;
                if !matches!(escaped, b'.' | b'*' | b'[' | b']' | b'\\' | b'^' | b'$' | b'/' | b'-') {
                    return Err("groups, bounds, alternatives and classes are not understood");
                }
                One::Byte(escaped)
            }
            // Every other byte stands for itself. So do `^` and `$` here: with the blanks around the line, they are
            // never at the start or the end of the expression.
            other => One::Byte(other),
        };
        pieces.push(Piece { one, any_number: false });
    }
    Ok(pieces)
}

fn bracket(text: &[u8]) -> Result<(One, &[u8]), &'static str> {
    const OPEN: &str = "a bracket that is not closed";
    let negated = text.first() == Some(&b'^');
    let mut rest = if negated { &text[1..] } else { text };
    let mut ranges = Vec::new();
    loop {
        let (&byte, after) = rest.split_first().ok_or(OPEN)?;
        match (byte, after) {
            (b']', _) if !ranges.is_empty() => return Ok((One::Of { ranges, negated }, after)),
            (b'[', [b':' | b'.' | b'=', ..]) => {
                return Err("groups, bounds, alternatives and classes are not understood");
            }
            (low, [b'-', high, beyond @ ..]) if *high != b']' => {
                if low > *high {
                    return Err("a range whose end is before its beginning");
                }
                ranges.push((low, *high));
                rest = beyond;
            }
            _ => {
                ranges.push((byte, byte));
                rest = after;
            }
        }
    }
}

impl One {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Any => true,
            Self::Of { ranges, negated } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated,
        }
    }
}

/// Whether the expression matches anywhere in the text. All possible matches are followed at once, so the work is at
/// most the product of both lengths.
fn finds(pieces: &[Piece], text: &[u8]) -> bool {
    let mut states = vec![false; pieces.len() + 1];
    let advance = |states: &mut [bool]| {
        states[0] = true;
        for at in 0..pieces.len() {
            states[at + 1] |= states[at] && pieces[at].any_number;
        }
    };
    advance(&mut states);
    for byte in text {
        if states[pieces.len()] {
            return true;
        }
        let mut next = vec![false; pieces.len() + 1];
        for (at, piece) in pieces.iter().enumerate().filter(|(at, piece)| states[*at] && piece.one.takes(*byte)) {
            next[if piece.any_number { at } else { at + 1 }] = true;
        }
        advance(&mut next);
        states = next;
    }
    states[pieces.len()]
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What `grep` finds of these lines, as docker-gc calls it.
    fn grep(line: &str, rows: &[String]) -> Vec<String> {
        let pattern = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(pattern.path(), format!(" {line} \n")).unwrap();
        let mut grep = Command::new("grep")
            .arg("-f")
            .arg(pattern.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        grep.stdin.take().unwrap().write_all((rows.join("\n") + "\n").as_bytes()).unwrap();
        let output = grep.wait_with_output().unwrap();
        assert!(output.status.code().is_some_and(|code| code < 2), "{line}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_finds_what_grep_finds() {
        let rows: Vec<String> = [
            "app:1 9681260c3ad5",
            "app:12 0123456789ab",
            "reg.example:5000/x/y:2 9681260c3ad6",
            "<none>:<none> abcdefabcdef",
            "a*p:1 000000000000",
            "x]y:1 111111111111",
            "a^b:1$ 222222222222",
            "regxexample:1 333333333333",
        ]
        .iter()
        .map(|row| format!(" {row} "))
        .collect();
        for line in [
            "app:1",
            "app:.*",
            "app:1[0-9]*",
            "app",
            "9681260c3ad5",
            "9681260c3ad.",
            "[a-f]*",
            "reg.example.*",
            r"reg\.example.*",
            "<none>:<none>",
            r"a\*p:1",
            "a*p:1",
            "x[]]y:1",
            "x[^a-z]y:1",
            "[^ ]*:1",
            "^app:1",
            "app:1$",
            "a^b:1$",
            "*",
            ".*",
            "app:1 *",
            "[x-z].*",
            "a[*]p:1",
            "app:1  9681260c3ad5",
            "app:1 9681260c3ad5",
        ] {
            let excludes = Excludes::parse(line).unwrap();
            let found: Vec<String> = rows.iter().filter(|row| excludes.matches_row(row)).cloned().collect();
            assert_eq!(found, grep(line, &rows), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_blank_lines_are_nothing() {
        for line in [r"\(app\)", r"app\|x", r"a\{2\}", "[[:alpha:]]", "[a", "[z-a]", r"app\+", r"\w"] {
            assert_eq!(Excludes::parse(&format!("app\n\n{line}\n")).unwrap_err().line, 3, "{line}");
        }
        let id = ImageId(layerfs::Digest::hash(b"x"));
        assert_eq!(Excludes::parse("\n   \n").unwrap(), Excludes::default());
        assert!(!Excludes::default().matches(id, &["app:1"]));
        assert!(Excludes::parse(&id.0.short()).unwrap().matches(id, &[]));
        assert!(Excludes::parse("app:<none>").unwrap().matches(id, &[&format!("app@{}", layerfs::Digest::hash(b"m"))]));
    }
}
