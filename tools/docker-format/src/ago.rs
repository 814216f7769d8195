//! Points in time and ages, as docker's columns show them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What stands for a time before any image.
const ZERO: i64 = -62_135_596_800;

/// An age in seconds, as docker words it.
#[must_use]
pub fn human_duration(seconds: f64) -> String {
    let whole = seconds as i64;
    let hours = (seconds / 3600.0 + 0.5) as i64;
    match (whole, whole / 60, hours) {
        (..1, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{whole} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, minutes @ ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        (.., ..1440) => format!("{} weeks", hours / 24 / 7),
        (.., ..17520) => format!("{} months", hours / 24 / 30),
        // Only here the hours are cut, not rounded.
        _ => format!("{} years", whole / 3600 / 24 / 365),
    }
}

/// The longest span of time that Go can express, in seconds: no age is shown as greater.
const LONGEST: f64 = 9_223_372_036.854_776;

/// The field `CreatedSince` of `image ls`: the age of Unix time `created` (in seconds), and nothing for the zero time.
#[must_use]
pub fn ago_or_nothing(created: i64, now: Timestamp) -> String {
    if created == ZERO { String::new() } else { ago(created, now) }
}

/// The age of Unix time `created` (in seconds), the zero time included: `docker history` shows 292 years.
#[must_use]
pub fn ago(created: i64, now: Timestamp) -> String {
    let seconds = now.as_nanosecond() as f64 / 1e9 - created as f64;
    human_duration(seconds.min(LONGEST)) + " ago"
}

/// Go's default text of a time: `2026-11-20 13:09:24.5 +0000 UTC`.
#[must_use]
pub fn go_time(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
        + &fraction(time)
        + " "
        + &hours_and_minutes(&zoned, "")
        + &zoned.strftime(" %Z").to_string()
}

/// [`go_time`] of a Unix time in this machine's zone, as the CREATED AT column has it.
#[must_use]
pub fn created_at(seconds: i64) -> String {
    from_unix(seconds).map_or_else(String::new, |time| go_time(time, &TimeZone::system()))
}

/// RFC 3339 without fractions in this machine's zone, as `docker history` prints it.
#[must_use]
pub fn created_at_rfc3339(seconds: i64) -> String {
    from_unix(seconds).map_or_else(String::new, |time| rfc3339(time, &TimeZone::system()))
}

/// RFC 3339 without fractions: `2026-11-20T13:09:24Z`.
#[must_use]
pub fn rfc3339(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string() + &offset(&zoned)
}

/// A Unix time, if it is within the years that can be written.
#[must_use]
pub fn from_unix(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

fn offset(zoned: &jiff::Zoned) -> String {
    if zoned.offset().seconds() == 0 { "Z".to_owned() } else { hours_and_minutes(zoned, ":") }
}

/// The offset as Go writes it: its seconds, which local mean times have, are cut off.
fn hours_and_minutes(zoned: &jiff::Zoned, between: &str) -> String {
    let minutes = zoned.offset().seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}{between}{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// The decimals of the second, without zeros at their end.
fn fraction(time: Timestamp) -> String {
    match time.subsec_nanosecond() {
        0 => String::new(),
        // Before 1970 the fraction counts from the second before.
        nanos => format!(".{:09}", nanos.rem_euclid(1_000_000_000)).trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_as_docker_words_them() {
        let cases = [(0.0, "Less than a second"), (1.9, "1 second"), (59.9, "59 seconds"), (60.0, "About a minute")];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text);
        }
        assert_eq!(human_duration(-5.0), "Less than a second");
        assert_eq!(ago_or_nothing(ZERO, Timestamp::UNIX_EPOCH), "");
        assert_eq!(ago(ZERO, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 20_000)), "292 years ago");
    }

    /// `testdata/format/duration.tsv`: milliseconds, text.
    #[test]
    fn ages_are_those_of_the_recorded_table() {
        let table = include_str!("../../../testdata/format/duration.tsv");
        for line in table.lines() {
            let (millis, text) = line.split_once('\t').unwrap();
            assert_eq!(human_duration(millis.parse::<f64>().unwrap() / 1000.0), text, "{millis} ms");
        }
        assert!(table.lines().count() > 1000);
    }

    /// `testdata/format/time.tsv`: seconds, nanoseconds, zone, `String()`, RFC3339, and RFC3339Nano, which no command prints.
    #[test]
    fn times_are_those_of_the_recorded_table() {
        for line in include_str!("../../../testdata/format/time.tsv").lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let time = Timestamp::new(cells[0].parse().unwrap(), cells[1].parse().unwrap()).unwrap();
            let Ok(zone) = TimeZone::get(cells[2]) else { continue };
            assert_eq!([go_time(time, &zone), rfc3339(time, &zone)], cells[3..5], "{line}");
        }
    }
}
