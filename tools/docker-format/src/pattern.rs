//! Go's `path.Match`, which docker's `reference` filter uses.

/// A pattern that cannot be read: a class or an escape has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct Malformed;

/// Whether the whole of `name` matches: `*` and `?` do not match `/`, `[a-z]` and `[^a-z]` are classes, `\` escapes.
///
/// # Errors
///
/// [`Malformed`], also if the name differs before the place that is wrong.
///
/// # Examples
///
/// ```
/// use docker_format::pattern::matches;
///
/// assert_eq!(matches("library/*", "library/busybox"), Ok(true));
/// assert_eq!(matches("*", "library/busybox"), Ok(false));
/// ```
pub fn matches(pattern: &str, name: &str) -> Result<bool, Malformed> {
    let parts = parts(pattern)?;
    let name: Vec<char> = name.chars().collect();
    // The last star, and where it began to match.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut part) = (0, 0);
    loop {
        let fits = match parts.get(part) {
            Some(Part::Star) => {
                star = Some((part, at));
                part += 1;
                continue;
            }
            Some(single) => name.get(at).is_some_and(|char| single.fits(*char)),
            None if at == name.len() => return Ok(true),
            None => false,
        };
        if fits {
            (at, part) = (at + 1, part + 1);
            continue;
        }
        // The star takes one character more, if it may.
        match star {
            Some((from, begin)) if name.get(begin).is_some_and(|char| *char != '/') => {
                star = Some((from, begin + 1));
                (at, part) = (begin + 1, from + 1);
            }
            _ => return Ok(false),
        }
    }
}

/// Whether docker's `reference` filter takes an image for the pattern, given its familiar name with the tag or digest
/// (`busybox:latest`) and without (`busybox`).
///
/// # Errors
///
/// [`Malformed`], as dockerd says it.
pub fn familiar(pattern: &str, reference: &str, name: &str) -> Result<bool, Malformed> {
    Ok(matches(pattern, reference)? || matches(pattern, name)?)
}

enum Part {
    Star,
    Any,
    One(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Part {
    fn fits(&self, char: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => char != '/',
            Self::One(one) => *one == char,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&char)) != *negated
            }
        }
    }
}

fn parts(pattern: &str) -> Result<Vec<Part>, Malformed> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        parts.push(match char {
            '*' => Part::Star,
            '?' => Part::Any,
            '\\' => Part::One(chars.next().ok_or(Malformed)?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.peek() != Some(&']') {
                    let low = end(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() { end(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                chars.next();
                Part::Class { negated, ranges }
            }
            _ => Part::One(char),
        });
    }
    Ok(parts)
}

/// One end of a range in a class.
fn end(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, Malformed> {
    let char = match chars.next() {
        None | Some('-' | ']') => return Err(Malformed),
        Some('\\') => chars.next().ok_or(Malformed)?,
        Some(char) => char,
    };
    if chars.peek().is_none() { Err(Malformed) } else { Ok(char) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `testdata/format/pattern.tsv`: pattern, name, result.
    #[test]
    fn patterns_match_as_recorded() {
        let table = include_str!("../../../testdata/format/pattern.tsv");
        for line in table.lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let result = matches(cells[0], cells[1]).map_or_else(|error| error.to_string(), |found| found.to_string());
            assert_eq!(result, cells[2], "{line}");
        }
        assert!(table.lines().count() > 500);
    }
}
