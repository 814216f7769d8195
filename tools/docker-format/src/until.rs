//! Times and durations as Go writes and reads them, for `until` and for what `inspect` shows.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Why a value of `until` cannot be read: dockerd's own text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UntilError {
    /// Neither a duration nor a time.
    #[error("failed to parse value as time or duration: {}", go_quote(.0))]
    Neither(String),
    /// A part of a date is out of its range.
    #[error("parsing time {}: {what} out of range", go_quote(.value))]
    OutOfRange {
        /// What was given.
        value: String,
        /// Which part of it.
        what: &'static str,
    },
    /// A date that is written wrongly.
    #[error("parsing time {} as {}: cannot parse {} as {}", go_quote(.value), go_quote(.layout), go_quote(.rest), go_quote(.element))]
    Unreadable {
        /// What was given.
        value: String,
        /// The layout it should have, as Go names it.
        layout: String,
        /// The rest of the value, from where it departs from the layout.
        rest: String,
        /// What should be there.
        element: &'static str,
    },
    /// More than the time follows.
    #[error("parsing time {}: extra text: {}", go_quote(.value), go_quote(.rest))]
    Extra {
        /// What was given.
        value: String,
        /// What follows.
        rest: String,
    },
}

fn go_quote(text: &str) -> String {
    super::template::quoted(text)
}

/// The time that a value of `until` or `since` means: a duration before `now`, seconds since 1970, or a date with what
/// follows it, in this machine's zone unless it names another.
///
/// # Errors
///
/// dockerd's own text.
pub fn parse(value: &str, now: Timestamp) -> Result<Timestamp, UntilError> {
    parse_in(value, now, &TimeZone::system())
}

/// [`parse`] in that zone.
///
/// # Errors
///
/// As for [`parse`].
pub(crate) fn parse_in(value: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, UntilError> {
    let neither = || UntilError::Neither(value.to_owned());
    if let Some(nanos) = duration(value) {
        return now.checked_sub(SignedDuration::from_nanos(nanos)).map_err(|_| neither());
    }
    match date(value, zone) {
        Ok(time) => Ok(time),
        Err(error) if value.contains('-') => Err(error),
        Err(_) => unix(value).ok_or_else(neither),
    }
}

/// Nanoseconds of a duration as Go reads it: `1h30m`, `-1.5s`, `0`.
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let digits = |text: &str| text.len() - text.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    let mut total = 0_i128;
    while !rest.is_empty() {
        let whole_length = digits(rest);
        let (whole, after) = rest.split_at(whole_length);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_length = after.find(|char: char| char == '.' || char.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
        total += whole.checked_mul(unit)?;
        if !fraction.is_empty() {
            // More digits than a nanosecond has do not count.
            let fraction = &fraction[..fraction.len().min(18)];
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total += fraction.parse::<i128>().ok()? * unit / scale;
        }
        if total > i128::from(i64::MAX) {
            return None;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Go's words for a text that is no [`duration`].
#[must_use]
pub fn duration_error(text: &str) -> String {
    let quoted = crate::quoted(text);
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    while !rest.is_empty() {
        let is_number = |char: char| char.is_ascii_digit() || char == '.';
        let number = rest.trim_start_matches(is_number);
        if number.len() == rest.len() {
            break;
        }
        let unit = &number[..number.find(is_number).unwrap_or(number.len())];
        match unit {
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => rest = &number[unit.len()..],
            "" => return format!("time: missing unit in duration {quoted}"),
            _ => return format!("time: unknown unit {} in duration {quoted}", crate::quoted(unit)),
        }
    }
    format!("time: invalid duration {quoted}")
}

/// A duration as Go writes it: `1h30m0s`, `1.5ms`, `0s`.
#[must_use]
pub fn go_duration(nanos: i64) -> String {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let decimal = |unit: u64, decimals: usize| {
        let text = format!("{}.{:0decimals$}", size / unit, size % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000, 6)),
        _ => {
            let minutes = size / 60_000_000_000;
            let seconds = format!("{}.{:09}", size / 1_000_000_000 % 60, size % 1_000_000_000);
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `seconds` or `seconds.nanoseconds`.
fn unix(value: &str) -> Option<Timestamp> {
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: i64 =
        Some(fraction).filter(|text| !text.is_empty()).map(|text| format!("{text:0<9}").parse().ok())??;
    Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()
}

/// What a date is followed by.
struct Layout {
    clock: usize,
    fraction: bool,
    zone: bool,
}

impl Layout {
    /// Which layout docker takes from the look of a value.
    fn from_value(value: &str) -> Self {
        let zone = value.contains(['z', 'Z', '+']) || value.matches('-').count() == 3;
        let fraction = value.contains('.');
        let mut colons = value.matches(':').count();
        if zone && !value.contains(['z', 'Z']) {
            colons = colons.saturating_sub(1);
        }
        let clock = match (fraction, value.contains('T'), colons) {
            (true, ..) => 3,
            (_, false, _) => 0,
            (.., colons) => (colons + 1).min(3),
        };
        Self { clock, fraction, zone }
    }

    fn name(&self) -> String {
        let clock = ["", "T15", "T15:04", "T15:04:05"][self.clock];
        let fraction = if self.fraction { ".999999999" } else { "" };
        format!("2006-01-02{clock}{fraction}{}", if self.zone { "Z07:00" } else { "" })
    }
}

fn date(value: &str, local: &TimeZone) -> Result<Timestamp, UntilError> {
    let layout = Layout::from_value(value);
    let mut rest = value;
    let unreadable = |rest: &str, element: &'static str| UntilError::Unreadable {
        value: value.to_owned(),
        layout: layout.name(),
        rest: rest.to_owned(),
        element,
    };
    let out_of_range = |what: &'static str| UntilError::OutOfRange { value: value.to_owned(), what };
    let number = |rest: &mut &str, length: usize, element: &'static str| -> Result<i16, UntilError> {
        let digits = rest.get(..length).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok()).ok_or_else(|| unreadable(rest, element))?;
        *rest = &rest[length..];
        Ok(number)
    };
    let literal = |rest: &mut &str, text: &'static str| -> Result<(), UntilError> {
        *rest = rest.strip_prefix(text).ok_or_else(|| unreadable(rest, text))?;
        Ok(())
    };
    let in_range = |number: i16, range: std::ops::RangeInclusive<i16>, what: &'static str| {
        if range.contains(&number) { Ok(i8::try_from(number).unwrap_or(0)) } else { Err(out_of_range(what)) }
    };
    let year = number(&mut rest, 4, "2006")?;
    literal(&mut rest, "-")?;
    let month = in_range(number(&mut rest, 2, "01")?, 1..=12, "month")?;
    literal(&mut rest, "-")?;
    let day = number(&mut rest, 2, "02")?;
    let mut clock = [0_i8; 3];
    let parts = [("T", "15", 23, "hour"), (":", "04", 59, "minute"), (":", "05", 59, "second")];
    for (part, (before, element, most, what)) in clock.iter_mut().zip(parts).take(layout.clock) {
        literal(&mut rest, before)?;
        // One digit will do for an hour.
        let single =
            what == "hour" && !rest.get(1..2).is_some_and(|next| next.bytes().all(|byte| byte.is_ascii_digit()));
        *part = in_range(number(&mut rest, if single { 1 } else { 2 }, element)?, 0..=most, what)?;
    }
    let mut nanos = 0;
    if let Some(fraction) = rest
        .strip_prefix('.')
        .filter(|after| layout.clock == 3 && after.starts_with(|next: char| next.is_ascii_digit()))
    {
        let length = fraction.len() - fraction.trim_start_matches(|char: char| char.is_ascii_digit()).len();
        nanos = format!("{:0<9.9}", &fraction[..length]).parse().unwrap_or(0);
        rest = &fraction[length..];
    }
    let mut zone = local.clone();
    if layout.zone {
        (zone, rest) = offset(rest).ok_or_else(|| unreadable(rest, "Z07:00"))?;
    }
    if !rest.is_empty() {
        return Err(UntilError::Extra { value: value.to_owned(), rest: rest.to_owned() });
    }
    let day = i8::try_from(day).unwrap_or(0);
    let date = Date::new(year, month, day).map_err(|_| out_of_range("day"))?;
    let time = Time::new(clock[0], clock[1], clock[2], nanos).map_err(|_| out_of_range("second"))?;
    let zoned = DateTime::from_parts(date, time).to_zoned(zone).map_err(|_| out_of_range("year"))?;
    Ok(zoned.timestamp())
}

/// `Z` or `+01:00`, and what follows.
fn offset(text: &str) -> Option<(TimeZone, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((TimeZone::UTC, rest));
    }
    let (written, rest) = text.split_at_checked(6)?;
    let sign = match written.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = written[1..].split_once(':')?;
    let seconds = hours.parse::<u8>().ok()? as i32 * 3600 + minutes.parse::<u8>().ok()? as i32 * 60;
    Some((TimeZone::fixed(Offset::from_seconds(sign * seconds).ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_both_ways() {
        let cases = [
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("0", 0, "0s"),
            ("100ms", 100_000_000, "100ms"),
            (".5us", 500, "500ns"),
            ("1.5µs", 1_500, "1.5µs"),
            ("36h", 129_600_000_000_000, "36h0m0s"),
        ];
        for (text, nanos, back) in cases {
            assert_eq!((duration(text), go_duration(nanos).as_str()), (Some(nanos), back), "{text}");
        }
        for bad in ["", "1", "1x", "h", "-", ".s", "1h-1m", "10000000h", "1 h", "1d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_until_means() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(Offset::constant(1));
        let cases = [
            ("1h", "2026-11-21T09:00:00Z"),
            ("-1h", "2026-11-21T11:00:00Z"),
            ("0", "2026-11-21T10:00:00Z"),
            ("1136073600", "2006-01-01T00:00:00Z"),
            ("1136073600.000000001", "2006-01-01T00:00:00.000000001Z"),
            ("2030-01-01", "2029-12-31T23:00:00Z"),
            ("2030-01-01Z", "2030-01-01T00:00:00Z"),
            ("2030-01-01T12", "2030-01-01T11:00:00Z"),
            ("2030-01-01T12:30", "2030-01-01T11:30:00Z"),
            ("2030-01-01T12:30:45", "2030-01-01T11:30:45Z"),
            ("2030-01-01T12:30:45.5", "2030-01-01T11:30:45.5Z"),
            ("2030-01-01T12:30:45.5Z", "2030-01-01T12:30:45.5Z"),
            ("2030-01-01T12:30:45-05:00", "2030-01-01T17:30:45Z"),
            ("2030-01-01+02:00", "2029-12-31T22:00:00Z"),
        ];
        for (value, time) in cases {
            assert_eq!(parse_in(value, now, &zone).unwrap(), time.parse().unwrap(), "{value}");
        }
        let errors = [
            ("", "failed to parse value as time or duration: \"\""),
            ("1x", "failed to parse value as time or duration: \"1x\""),
            ("2030-13-01", "parsing time \"2030-13-01\": month out of range"),
        ];
        for (value, text) in errors {
            assert_eq!(parse_in(value, now, &zone).unwrap_err().to_string(), text);
        }
    }
}
