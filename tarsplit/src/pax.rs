//! PAX records, read by their length prefix, as Go's `parsePAXRecord` reads them.
//!
//! The length decides where a record ends, never a newline: values are bytes and may hold newlines
//! (`security.capability` does).

use crate::error::TarErrorKind;

/// One `KEY=VALUE` record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Never empty, never holds `=` or NUL.
    pub(crate) key: &'a [u8],
    /// Any bytes; without NUL for `path`, `linkpath`, `uname` and `gname`.
    pub(crate) value: &'a [u8],
}

/// Iterates over the records of one extension header's data.
///
/// Yields [`TarErrorKind::PaxRecord`] once and ends where a record is malformed.
pub(crate) fn records(data: &[u8]) -> impl Iterator<Item = Result<Record<'_>, TarErrorKind>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = split_record(rest);
        rest = parsed.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(parsed.map(|(record, _)| record).ok_or(TarErrorKind::PaxRecord))
    })
}

fn split_record(data: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = data.iter().position(|&b| b == b' ')?;
    let length = usize::try_from(integer(&data[..space])?).ok()?;
    if length < 5 || length > data.len() || length <= space + 1 {
        return None;
    }
    let (record, rest) = data.split_at(length);
    let (b'\n', record) = record[space + 1..].split_last()? else { return None };
    let equals = record.iter().position(|&b| b == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let text = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value,
        _ => key,
    };
    (!key.is_empty() && !text.contains(&0)).then_some((Record { key, value }, rest))
}

/// A decimal integer as Go's `strconv.ParseInt(s, 10, 64)` takes it: an optional sign, then digits only.
#[must_use]
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A point in time: seconds since 1970 and nanoseconds that count forward from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PaxTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl PaxTime {
    /// Whole seconds.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// A PAX time: decimal seconds with an optional fraction, which is cut after nine digits (Go's `parsePAXTime`).
#[must_use]
pub(crate) fn time(text: &[u8]) -> Option<PaxTime> {
    let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let seconds = integer(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |value, at| value * 10 + fraction.get(at).map_or(0, |&b| u32::from(b - b'0')));
    Some(if whole.first() == Some(&b'-') && nanoseconds > 0 {
        PaxTime { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds }
    } else {
        PaxTime { seconds, nanoseconds }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_prefix_ends_a_record() {
        let data = b"19 path=a\nb\n11 x=y\n=z\n";
        let all: Vec<_> = records(b"13 path=a\nbc\n8 k=v=\n\n").collect();
        assert_eq!(all[0], Ok(Record { key: b"path", value: b"a\nbc" }));
        assert_eq!(all[1], Ok(Record { key: b"k", value: b"v=\n" }));
        assert_eq!(all.len(), 2);
        assert!(records(data).any(|r| r.is_err()));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in ["5 a=", "4 =\n", "6 a=b\n6 c=d", "99 a=b\n", "x a=b\n", "7 =abc\n", "6 abc\n", "-6 a=b\n", " a=b\n"]
        {
            assert!(records(bad.as_bytes()).any(|r| r.is_err()), "{bad:?}");
        }
        assert!(records(b"10 path=\0\n").any(|r| r.is_err()));
        assert!(records(b"8 a\0b=c\n").any(|r| r.is_err()));
        assert!(records(b"+6 a=b\n").all(|r| r.is_err()), "the sign counts towards the length");
        assert!(records(b"+7 a=b\n").all(|r| r.is_ok()), "Go's ParseInt takes a plus sign");
    }

    #[test]
    fn times_as_go_reads_them() {
        let at = |seconds, nanoseconds| Some(PaxTime { seconds, nanoseconds });
        assert_eq!(time(b"1350244992.023960108"), at(1_350_244_992, 23_960_108));
        assert_eq!(time(b"1350244992.0239601089999"), at(1_350_244_992, 23_960_108));
        assert_eq!(time(b"-1.5"), at(-2, 500_000_000));
        assert_eq!(time(b"-0.5"), at(-1, 500_000_000));
        assert_eq!(time(b"12."), at(12, 0));
        assert_eq!(time(b".5"), None);
        assert_eq!(time(b"1.5x"), None);
        assert_eq!(time(b"junk"), None);
    }
}
