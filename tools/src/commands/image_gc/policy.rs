//! The flags that say what goes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use docker_format::{size, until};
use jiff::Timestamp;
use snapshot::gc::{Amount, Excludes, Label, Pattern, Policy, SpaceTarget};

use crate::exit::UsageError;

/// The most bytes of a file of excludes that are read.
const MAX_FILE: u64 = 1 << 20;

/// The threshold, in percent, that kubelet takes if only the other one is given.
const HIGH_THRESHOLD: &str = "85";
const LOW_THRESHOLD: &str = "80";

#[derive(Debug, Args)]
pub(super) struct PolicyFlags {
    /// Also images with a name that no container uses
    #[arg(short, long)]
    all: bool,

    /// Only images that were made before TIME: a date, or an age such as 240h
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Only images that nobody has stored, tagged or put a container on for so long: an age such as 720h
    #[arg(long, value_name = "AGE")]
    unused_for: Option<String>,

    /// Leave images of this name, with * for any characters and ? for one, of this id, or of this digest
    #[arg(long, value_name = "GLOB|DIGEST")]
    keep: Vec<String>,

    /// Leave images with this label
    #[arg(long, value_name = "KEY[=VALUE]")]
    keep_label: Vec<String>,

    /// Leave the N newest images of each repository, and take the others as --all does
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,

    /// Leave images that a line of FILE means, as docker-gc reads it: NAME:TAG or an id, as a regular expression of grep
    #[arg(long, value_name = "FILE")]
    exclude_from: Option<PathBuf>,

    /// Take unused images, least recently used first, until so much of the file system is free: 20%, 50GB
    #[arg(long, value_name = "AMOUNT", conflicts_with_all = ["target_size", "high_threshold", "low_threshold"])]
    target_free: Option<String>,

    /// Take unused images, least recently used first, until images take up at most so much: 100GB
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["high_threshold", "low_threshold"])]
    target_size: Option<String>,

    /// Take unused images only if more than so many percent of the file system are in use, as kubelet does [default: 85, with
    /// --low-threshold]
    #[arg(long, value_name = "PERCENT", visible_alias = "high-mark")]
    high_threshold: Option<String>,

    /// Then take them, least recently used first, until at most so many are [default: 80, with --high-threshold]
    #[arg(long, value_name = "PERCENT", visible_alias = "low-mark")]
    low_threshold: Option<String>,

    /// Leave directories and files without an owner that changed later than so long ago
    #[arg(long, value_name = "AGE", default_value = "1h")]
    min_age: String,
}

impl PolicyFlags {
    pub(super) fn policy(&self) -> anyhow::Result<Policy> {
        let now = Timestamp::now();
        let mut policy = Policy::new(now);
        if let Some(text) = &self.until {
            let time = until::parse(text, now).map_err(|error| UsageError(format!("--until: {error}")))?;
            policy.created_before = Some(time);
        }
        if let Some(text) = &self.unused_for {
            let age = age("--unused-for", text)?;
            policy.unused_since = Some(now.checked_sub(age).unwrap_or(Timestamp::MIN));
        }
        // A variable of a script that is empty would keep nothing, and not what its author meant.
        for (flag, texts) in [("--keep", &self.keep), ("--keep-label", &self.keep_label)] {
            if texts.iter().any(|text| text.is_empty() || text.starts_with('=')) {
                return Err(UsageError(format!("{flag}: it is empty, and means no image")).into());
            }
        }
        policy.keep = self.keep.iter().map(|text| Pattern::new(text)).collect();
        policy.keep_labels = self.keep_label.iter().map(|text| Label::new(text)).collect();
        policy.keep_last = self.keep_last;
        policy.min_age = age("--min-age", &self.min_age)?;
        policy.target = self.target()?;
        policy.named = self.all || self.keep_last.is_some() || policy.target.is_some();
        if let Some(path) = &self.exclude_from {
            policy.excludes = excludes(path)?;
        }
        Ok(policy)
    }

    fn target(&self) -> Result<Option<SpaceTarget>, UsageError> {
        if let Some(text) = &self.target_free {
            let wanted = amount("--target-free", text)?;
            return Ok(Some(SpaceTarget::Free { wanted, unless: wanted }));
        }
        if let Some(text) = &self.target_size {
            let most = size::parse(text)
                .ok_or_else(|| UsageError(format!("--target-size: {text:?} is no size such as 100GB")))?;
            return Ok(Some(SpaceTarget::Size(most)));
        }
        if self.high_threshold.is_none() && self.low_threshold.is_none() {
            return Ok(None);
        }
        let high = used("--high-threshold", self.high_threshold.as_deref().unwrap_or(HIGH_THRESHOLD))?;
        let low = used("--low-threshold", self.low_threshold.as_deref().unwrap_or(LOW_THRESHOLD))?;
        if low > high {
            return Err(UsageError(format!(
                "--low-threshold {}% is above --high-threshold {}%",
                tenth(low),
                tenth(high)
            )));
        }
        let free = |used: u16| Amount::PerMille(1000 - used);
        Ok(Some(SpaceTarget::Free { wanted: free(low), unless: free(high) }))
    }
}

fn tenth(per_mille: u16) -> String {
    format!("{}.{}", per_mille / 10, per_mille % 10)
}

fn age(flag: &str, text: &str) -> Result<Duration, UsageError> {
    let nanos = until::duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| UsageError(format!("{flag}: {text:?} is no age such as 90m or 24h")))
}

/// Thousandths of `N%`.
fn per_mille(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 1 {
        return None;
    }
    let part = whole.parse::<u16>().ok()?.checked_mul(10)?.checked_add(fraction.parse().ok()?)?;
    Some(part).filter(|part| *part <= 1000)
}

fn used(flag: &str, text: &str) -> Result<u16, UsageError> {
    let percent = per_mille(text.strip_suffix('%').unwrap_or(text));
    percent.ok_or_else(|| UsageError(format!("{flag}: {text:?} is no percentage such as 85")))
}

fn amount(flag: &str, text: &str) -> Result<Amount, UsageError> {
    let amount = match text.strip_suffix('%') {
        Some(percent) => per_mille(percent).map(Amount::PerMille),
        None => size::parse(text).map(Amount::Bytes),
    };
    amount.ok_or_else(|| {
        UsageError(format!("{flag}: {text:?} is neither a percentage such as 20% nor a size such as 50GB"))
    })
}

fn excludes(path: &PathBuf) -> anyhow::Result<Excludes> {
    use std::io::Read;
    let could_not = || UsageError(format!("cannot read {}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(could_not)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).with_context(could_not)?;
    // A line that was cut off might be one that keeps an image.
    if text.len() as u64 > MAX_FILE {
        return Err(UsageError(format!("{}: longer than {MAX_FILE} bytes", path.display())).into());
    }
    Ok(Excludes::parse(&text).map_err(|error| UsageError(format!("{}: {error}", path.display())))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_percentages() {
        for (text, size) in [
            ("100", Some(100)),
            ("1k", Some(1000)),
            ("1.5GB", Some(1_500_000_000)),
            ("2GiB", Some(2 << 30)),
            ("3 MB", Some(3_000_000)),
            ("0.000001MB", Some(1)),
            ("1ib", None),
            ("GB", None),
            ("1..2k", None),
            ("-1", None),
            ("1x", None),
            ("99999999999PB", None),
        ] {
            assert_eq!(size::parse(text), size, "{text}");
        }
        for (text, part) in
            [("20", Some(200)), ("12.5", Some(125)), ("100", Some(1000)), ("101", None), ("", None), ("1.25", None)]
        {
            assert_eq!(per_mille(text), part, "{text}");
        }
        assert_eq!(amount("x", "20%").unwrap(), Amount::PerMille(200));
        assert!(amount("x", "x").is_err() && age("x", "-1h").is_err() && age("x", "7").is_err());
        assert_eq!(age("x", "1h30m").unwrap(), Duration::from_secs(5400));
    }
}
