//! Texts that stand in a Dockerfile itself, behind `<<NAME` (moby/buildkit `frontend/dockerfile/parser/parser.go`, 0.8 and newer).

use super::words::quoted_words;
use super::{Line, ParseError, check_length};

/// A text in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// What ends it, and its name as a file.
    pub(crate) name: String,
    /// The text as it stands there.
    pub(crate) text: String,
    /// Tabs at the beginning of its lines do not count.
    pub(crate) strip_tabs: bool,
    /// Variables in it are expanded.
    pub(crate) expand: bool,
}

impl Heredoc {
    /// The text, without the tabs that do not count.
    pub(crate) fn content(&self) -> String {
        if !self.strip_tabs {
            return self.text.clone();
        }
        self.text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// The text that a word announces, if it does: `<<NAME`, `<<-NAME`, perhaps with a number in front or a quoted name.
    pub(crate) fn announced(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|char: char| char.is_ascii_digit()).strip_prefix("<<")?;
        let (strip_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let name: String = rest.chars().filter(|char| !matches!(char, '"' | '\'')).collect();
        let is_name = !name.is_empty() && !name.contains(|char: char| char == '<' || char.is_whitespace());
        is_name.then(|| Self { expand: name == rest, name, text: String::new(), strip_tabs })
    }
}

/// Reads the texts that a line announces from the rows behind it.
///
/// # Errors
/// [`ParseError::Heredoc`] for a text without an end.
pub(super) fn read<'r>(
    line: &mut Line,
    escape: char,
    rows: &mut impl Iterator<Item = (usize, &'r str)>,
) -> Result<(), ParseError> {
    let name = match line.name.as_str() {
        "onbuild" => line.text.split_whitespace().nth(1).unwrap_or_default().to_lowercase(),
        name => name.to_owned(),
    };
    if !matches!(name.as_str(), "add" | "copy" | "run") {
        return Ok(());
    }
    for mut heredoc in quoted_words(&line.text, escape).iter().filter_map(|word| Heredoc::announced(word)) {
        loop {
            let ended = || ParseError::Heredoc { line: line.number, name: heredoc.name.clone() };
            let (at, row) = rows.next().ok_or_else(ended)?;
            check_length(at, row)?;
            line.last = at + 1;
            let end = if heredoc.strip_tabs { row.trim_start_matches('\t') } else { row };
            if end == heredoc.name {
                break;
            }
            heredoc.text.push_str(row);
            heredoc.text.push('\n');
        }
        line.heredocs.push(heredoc);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, parse};
    use super::*;

    /// As docker 28.5 reads them.
    #[test]
    fn texts_are_read_to_their_ends() {
        let text = "FROM a\nRUN <<-\"E\" cat <<B\n\ta\n\t E\n\tE\n b\nB\nCOPY x <<y /z\n$X\ny\nCMD <<no\n";
        let parsed = parse(text.as_bytes(), Dialect::Modern).unwrap();
        let run = &parsed.lines[1].heredocs;
        assert_eq!((run[0].content().as_str(), run[0].expand, run[0].name.as_str()), ("a\n E\n", false, "E"));
        assert_eq!((run[1].content().as_str(), run[1].expand), (" b\n", true));
        assert_eq!(parsed.lines[2].heredocs[0].text, "$X\n");
        assert_eq!((parsed.lines.len(), parsed.lines[3].heredocs.len()), (4, 0));
        assert_eq!(
            parse(b"FROM a\nRUN <<E\nx\n", Dialect::Modern),
            Err(ParseError::Heredoc { line: 2, name: "E".into() })
        );
        assert!(Heredoc::announced("<a").is_none() && Heredoc::announced("<<").is_none());
        assert!(Heredoc::announced("<<<a").is_none() && Heredoc::announced("3<<a").is_some());
    }
}
