//! Sizes in powers of a thousand, with Go's `%.Ng` for the number.

const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// Bytes as `docker image ls` and `docker history` print them: three digits.
#[must_use]
pub fn size(bytes: u64) -> String {
    human_size(bytes as f64, 3)
}

/// Bytes as `docker system df` prints them, shared and reclaimable ones too: four digits.
#[must_use]
pub fn size4(bytes: u64) -> String {
    human_size(bytes as f64, 4)
}

/// Bytes with `digits` significant digits.
///
/// Rounding comes after the unit is chosen, so that 999 999 bytes with three digits are `1e+03kB`.
#[must_use]
pub fn human_size(bytes: f64, digits: usize) -> String {
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    general(value, digits) + UNITS[unit]
}

/// A number as Go's and C's `%.Ng` print it: fixed while the exponent fits the digits, scientific beyond.
#[must_use]
pub(crate) fn general(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return match value {
            _ if value.is_nan() => "NaN",
            ..0.0 => "-Inf",
            _ => "+Inf",
        }
        .to_owned();
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let last = i32::try_from(digits).unwrap_or(i32::MAX) - 1;
    if (-4..=last).contains(&exponent) {
        let decimals = usize::try_from(last - exponent).unwrap_or(0);
        return trimmed(&format!("{value:.decimals$}")).to_owned();
    }
    format!("{}e{}{:02}", trimmed(mantissa), if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// A size with a unit as docker prints and takes them: `GB` is 1000 MB, `GiB` 1024 MiB; without a unit, bytes.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (letter, rest) = unit.split_at(unit.len().min(usize::from(unit.starts_with(['k', 'm', 'g', 't', 'p']))));
    let base: u64 = match rest {
        "" | "b" => 1000,
        "ib" if !letter.is_empty() => 1024,
        _ => return None,
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => 5,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 {
        return None;
    }
    let unit = base.checked_pow(power)?;
    let part = match fraction {
        "" => 0,
        digits => {
            u64::try_from(digits.parse::<u128>().ok()? * u128::from(unit) / 10_u128.pow(digits.len() as u32)).ok()?
        }
    };
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

/// Bytes in powers of 1024, as docker's client takes them: `64m`, `1.5GiB`, `7` (docker/go-units v0.4.0 `RAMInBytes`).
#[must_use]
pub fn ram_in_bytes(text: &str) -> Option<i64> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let (shift, rest) = [('k', 10), ('m', 20), ('g', 30), ('t', 40), ('p', 50)]
        .into_iter()
        .find_map(|(letter, shift)| Some((shift, unit.strip_prefix(letter)?)))
        .unwrap_or((0, &unit));
    let is_number = digits.split('.').all(|part| !part.is_empty()) && matches!(rest, "" | "i" | "b" | "ib");
    let value: f64 = digits.parse().ok().filter(|_| is_number)?;
    let bytes = value * (1_i64 << shift) as f64;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

/// A number without the zeros at the end of its decimals.
fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_prints_them() {
        for (bytes, text) in [(0, "0B"), (3, "3B"), (1_982_417, "1.98MB"), (1_000, "1kB"), (12_340_000, "12.3MB")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size4(1_986_017), "1.986MB");
    }

    #[test]
    fn what_rounds_up_to_a_thousand_stays_in_its_unit() {
        assert_eq!(size(999_999), "1e+03kB");
        assert_eq!(size(999_499), "999kB");
        assert_eq!(size4(999_999), "1000kB");
    }

    /// `testdata/format/size.tsv`: bytes, three digits, four digits.
    #[test]
    fn sizes_are_those_of_the_recorded_table() {
        let table = include_str!("../../../testdata/format/size.tsv");
        for line in table.lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let bytes: u64 = cells[0].parse().unwrap();
            assert_eq!([size(bytes), size4(bytes)], cells[1..], "{bytes}");
        }
        assert!(table.lines().count() > 1000);
    }
}
