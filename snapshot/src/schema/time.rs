//! Times as Go reads and writes them in JSON: RFC 3339, by the rules of `time.Parse` of Go 1.19, with which dockerd
//! 20.10.24 was built.
//!
//! Go takes more than the standard says: one digit for the hour, a comma before the fraction, a fraction of any length
//! (what is below a nanosecond is cut off), offsets of any two digits and even with a sign in them. It also refuses
//! what the standard allows: lower-case `t` and `z`, and a leap second. Later versions of Go refuse some of it.

use std::fmt;

use jiff::Timestamp;

use super::gojson::{Decode, DecodeError, Encode, Expected, JsonDecoder, shortened};

/// Seconds from year 1, Go's zero time, to 1970.
const ZERO_TO_UNIX: i64 = 62_135_596_800;

const DAY: i64 = 86_400;

/// A moment, and the offset from UTC it was written with. Years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    seconds: i64,
    /// Nanoseconds after that, below 10^9.
    nanos: u32,
    /// Seconds east of UTC.
    offset: i32,
}

/// A text that Go would not take for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time such as \"2006-01-02T15:04:05Z\"")]
pub struct InvalidTime;

impl Time {
    /// Go's zero time, `0001-01-01T00:00:00Z`: it stands for no time at all.
    pub const ZERO: Self = Self { seconds: -ZERO_TO_UNIX, nanos: 0, offset: 0 };

    /// Reads a time.
    ///
    /// # Errors
    /// [`InvalidTime`] where `time.Parse(time.RFC3339Nano, text)` fails.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let mut at = Reader(text.as_bytes());
        let time = at.time().ok_or(InvalidTime)?;
        if at.0.is_empty() { Ok(time) } else { Err(InvalidTime) }
    }

    /// Reads the form of `time.Time.MarshalBinary`, version 1: a one, seconds since year 1 and nanoseconds with the highest
    /// byte first, and the zone in minutes, -1 for UTC. `None` for anything else.
    #[must_use]
    pub(crate) fn from_go_binary(bytes: &[u8]) -> Option<Self> {
        const UTC: i16 = -1;
        let [1, rest @ ..] = bytes else { return None };
        let (seconds, rest) = rest.split_first_chunk::<8>()?;
        let (nanos, zone) = rest.split_first_chunk::<4>()?;
        let seconds = i64::from_be_bytes(*seconds).checked_sub(ZERO_TO_UNIX)?;
        // Years 0 to 9999, as everywhere here.
        (-ZERO_TO_UNIX - 366 * DAY..=253_402_300_799).contains(&seconds).then_some(())?;
        let nanos = Some(u32::from_be_bytes(*nanos)).filter(|nanos| *nanos < 1_000_000_000)?;
        let offset = match i16::from_be_bytes(zone.try_into().ok()?) {
            UTC => 0,
            minutes => i32::from(minutes) * 60,
        };
        Some(Self { seconds, nanos, offset })
    }

    /// The form that [`Self::from_go_binary`] reads, in UTC.
    #[must_use]
    pub(crate) fn to_go_binary(self) -> [u8; 15] {
        let mut bytes = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        bytes[1..9].copy_from_slice(&(self.seconds + ZERO_TO_UNIX).to_be_bytes());
        bytes[9..13].copy_from_slice(&self.nanos.to_be_bytes());
        bytes
    }

    /// Whether it stands for no time, as `time.Time.IsZero` says: whether it is the first moment of year 1, in any
    /// zone.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.seconds == -ZERO_TO_UNIX && self.nanos == 0
    }

    /// The moment; `None` for the zero time.
    #[must_use]
    pub fn moment(self) -> Option<Timestamp> {
        if self.is_zero() { None } else { Timestamp::new(self.seconds, i32::try_from(self.nanos).ok()?).ok() }
    }

    /// Whether this moment is later than another, whatever zones they are written in, as `time.Time.After` says.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        (self.seconds, self.nanos) > (other.seconds, other.nanos)
    }

    /// Seconds since 1970; the zero time is far before that.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.seconds
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<Timestamp> for Time {
    /// The moment, in UTC.
    fn from(moment: Timestamp) -> Self {
        let (mut seconds, mut nanos) = (moment.as_second(), moment.subsec_nanosecond());
        if nanos < 0 {
            (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
        }
        Self { seconds, nanos: nanos.unsigned_abs(), offset: 0 }
    }
}

/// As Go's `RFC3339Nano`: no zeros at the end of the fraction, `Z` where the offset is zero.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.seconds + i64::from(self.offset);
        let (year, month, day) = date(local.div_euclid(DAY));
        let second = local.rem_euclid(DAY);
        write!(f, "{year:04}-{month:02}-{day:02}T")?;
        write!(f, "{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)?;
        if self.nanos != 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        let minutes = self.offset.abs() / 60;
        match self.offset {
            0 => f.write_str("Z"),
            offset => write!(f, "{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60),
        }
    }
}

/// Go's `time.Time` decodes itself: an error in it ends the decoding. It reads the literal without resolving escapes,
/// so a string with an escape in it is never a time.
impl Decode for Time {
    fn expected() -> Expected {
        Expected::Time
    }

    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        let raw = String::from_utf8_lossy(decoder.raw());
        if raw == "null" {
            return Ok(());
        }
        let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        match inner.map(Self::parse) {
            Some(Ok(time)) => {
                *self = time;
                Ok(())
            }
            _ => Err(decoder.error(Expected::Time, &shortened(&raw), decoder.at())),
        }
    }
}

impl Encode for Time {
    fn encode(&self, out: &mut String) {
        out.push('"');
        out.push_str(&self.to_string());
        out.push('"');
    }
}

/// What is left to read.
struct Reader<'t>(&'t [u8]);

impl Reader<'_> {
    fn time(&mut self) -> Option<Time> {
        let year = self.year()?;
        self.skip(b'-')?;
        let month = self.number(true).filter(|month| (1..=12).contains(month))?;
        self.skip(b'-')?;
        let day = self.number(true)?;
        self.skip(b'T')?;
        let hour = self.number(false).filter(|hour| *hour < 24)?;
        self.skip(b':')?;
        let minute = self.number(true).filter(|minute| *minute < 60)?;
        self.skip(b':')?;
        let second = self.number(true).filter(|second| *second < 60)?;
        let nanos = self.fraction();
        let offset = self.offset()?;
        if day < 1 || day > days_in(year, month) {
            return None;
        }
        let local = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        Some(Time { seconds: local - i64::from(offset), nanos, offset })
    }

    fn year(&mut self) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        digits.iter().try_fold(0, |year, digit| Some(year * 10 + digit_value(*digit)?))
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Reads a number of one or two digits; exactly two if `fixed`.
    fn number(&mut self, fixed: bool) -> Option<i64> {
        let first = digit_value(*self.0.first()?)?;
        let second = self.0.get(1).copied().and_then(digit_value);
        let (number, length) = match second {
            Some(second) => (first * 10 + second, 2),
            None if fixed => return None,
            None => (first, 1),
        };
        self.0 = &self.0[length..];
        Some(number)
    }

    /// Reads a fraction as nanoseconds; 0 if there is no fraction.
    fn fraction(&mut self) -> u32 {
        let [b'.' | b',', digits @ ..] = self.0 else { return 0 };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        self.0 = &digits[count..];
        let nine = digits[..count].iter().chain(std::iter::repeat(&b'0')).take(9);
        nine.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'))
    }

    fn offset(&mut self) -> Option<i32> {
        if self.skip(b'Z').is_some() {
            return Some(0);
        }
        let (text, rest) = self.0.split_at_checked(6)?;
        let [sign, h1, h2, b':', m1, m2] = *text else { return None };
        self.0 = rest;
        let seconds = (signed([h1, h2])? * 60 + signed([m1, m2])?) * 60;
        match sign {
            b'+' => Some(seconds),
            b'-' => Some(-seconds),
            _ => None,
        }
    }
}

fn digit_value(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

/// Go's `atoi` of two characters: the first may be a sign.
fn signed([first, second]: [u8; 2]) -> Option<i32> {
    let digit = |byte: u8| digit_value(byte).and_then(|digit| i32::try_from(digit).ok());
    match first {
        b'+' => digit(second),
        b'-' => digit(second).map(|digit| -digit),
        _ => Some(digit(first)? * 10 + digit(second)?),
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, which Go extends to year 0.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day that is so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_moment_is_the_later_one_in_any_zone() {
        let time = |text: &str| Time::parse(text).unwrap();
        let [first, later] = ["2026-11-29T21:10:33.256959219Z", "2026-11-29T23:10:33.957419482+02:00"].map(time);
        assert!(later.is_after(first) && !first.is_after(later) && !first.is_after(first));
        assert!(first.is_after(Time::ZERO) && time("2026-11-29T21:10:34Z").is_after(later));
    }

    #[test]
    fn what_is_no_time_is_told_how_one_looks() {
        let error = Time::parse("yesterday").unwrap_err();
        assert_eq!(error.to_string(), "not a time such as \"2006-01-02T15:04:05Z\"");
    }
}
