//! The order in which docker's client lists volumes: numbers in names count by their value.
//!
//! `v2` stands before `v10`, and the random name `5b5c` before `31fd` (docker/cli v20.10.24 `cli/command/volume/list.go`,
//! which sorts with `sortorder.NaturalLess`).

use std::cmp::Ordering;

/// How two names stand to each other: equal only if they are the same.
///
/// Runs of ASCII digits compare as numbers of any length, and equal numbers by their zeros in front, fewer first. All
/// else compares byte by byte, a digit before what is none.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while let (Some(&one), Some(&other)) = (left.first(), right.first()) {
        let order = if one.is_ascii_digit() && other.is_ascii_digit() {
            let ours = Number::take(&mut left);
            ours.cmp(&Number::take(&mut right))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            other.is_ascii_digit().cmp(&one.is_ascii_digit()).then(one.cmp(&other))
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// A run of digits. Fields compare from the first to the last.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Number<'a> {
    /// How many digits it has without the zeros in front.
    length: usize,
    digits: &'a [u8],
    zeros: usize,
}

impl<'a> Number<'a> {
    /// Takes a run of digits off the beginning of a text.
    fn take(text: &mut &'a [u8]) -> Self {
        let count = |text: &[u8], of: fn(&u8) -> bool| text.iter().take_while(|byte| of(byte)).count();
        let zeros = count(text, |byte| *byte == b'0');
        let length = count(&text[zeros..], u8::is_ascii_digit);
        let digits = &text[zeros..zeros + length];
        *text = &text[zeros + length..];
        Self { length, digits, zeros }
    }
}
