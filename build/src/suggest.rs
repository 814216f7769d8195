//! What somebody may have meant who wrote a word that is not known (moby/buildkit `util/suggest/error.go`).

/// A word is not suggested if this many letters would have to change.
const TOO_FAR: usize = 3;

/// The known word that is nearest to this one, if one is near; the first of several. `None` also for a word that is known: then
/// something else is wrong.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let (mut nearest, mut least) = (None, TOO_FAR);
    for one in known {
        if one == word {
            return None;
        }
        // Each letter too many is a change.
        if one.chars().count().abs_diff(word.chars().count()) < least && distance(one, word) < least {
            (nearest, least) = (Some(one), distance(one, word));
        }
    }
    nearest
}

/// What a message says of the known word that may have been meant, with a mark before it; nothing if none is near.
pub(crate) fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>, mark: &str) -> String {
    nearest(word, known).map(|meant| format!(" (did you mean {mark}{meant}?)")).unwrap_or_default()
}

/// How many letters must be put in, taken out or replaced to make one word of another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, char) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], number + 1);
        for (at, same) in other.iter().map(|known| *known == char).enumerate() {
            let replaced = diagonal + usize::from(!same);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docker 28.5 says it.
    #[test]
    fn the_nearest_word_is_suggested() {
        let known = ["ABCDEF", "XX1", "XX2", "PATH"];
        for (word, expected) in [
            ("ABCDxx", Some("ABCDEF")),
            ("ABCxxx", None),
            ("BCDEF", Some("ABCDEF")),
            ("ABCDEFGH", Some("ABCDEF")),
            ("ABCDEFGHI", None),
            ("abcdef", None),
            ("XX3", Some("XX1")),
            ("PTH", Some("PATH")),
            ("PATH", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("äb", "ab")), (3, 2, 1));
    }
}
