//! Thresholds on what an image may waste: `dive`'s, with its names, values and file.

use std::path::Path;

use anyhow::Context;
use snapshot::usage::files::Waste;

use crate::exit::UsageError;

/// Flags of the thresholds. Each takes a number or `disabled`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct RuleFlags {
    /// Fail if the efficiency of an image is lower: 0 to 1, or `disabled`
    #[arg(long, value_name = "SHARE")]
    lowest_efficiency: Option<String>,

    /// Fail if an image wastes more: bytes such as 20MB, or `disabled`
    #[arg(long, value_name = "BYTES")]
    highest_wasted_bytes: Option<String>,

    /// Fail if a larger share of what the layers above the first add is wasted: 0 to 1, or `disabled`
    #[arg(long, value_name = "SHARE")]
    highest_user_wasted_percent: Option<String>,

    /// Take the thresholds from this file, in the form of dive's `.dive-ci`; thresholds that it does not set have dive's defaults
    #[arg(long, value_name = "FILE")]
    ci_config: Option<std::path::PathBuf>,
}

/// The thresholds; `None` where everything is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rules {
    lowest_efficiency: Option<f64>,
    highest_wasted_bytes: Option<u64>,
    highest_user_wasted_percent: Option<f64>,
}

/// What a rule says of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) rule: &'static str,
    pub(super) failed: bool,
    pub(super) reason: String,
}

const EFFICIENCY: &str = "lowestEfficiency";
const BYTES: &str = "highestWastedBytes";
const PERCENT: &str = "highestUserWastedPercent";

/// The most bytes of a file of thresholds that are read.
const MAX_FILE: u64 = 1 << 20;

impl RuleFlags {
    /// Whether the user gave any threshold.
    pub(super) fn any(&self) -> bool {
        let flags = [&self.lowest_efficiency, &self.highest_wasted_bytes, &self.highest_user_wasted_percent];
        self.ci_config.is_some() || flags.iter().any(|flag| flag.is_some())
    }

    /// The thresholds. A flag takes precedence over the file.
    pub(super) fn rules(&self) -> anyhow::Result<Rules> {
        let mut rules = Rules::default();
        if let Some(path) = &self.ci_config {
            rules.set(EFFICIENCY, "0.9", EFFICIENCY)?;
            rules.set(PERCENT, "0.1", PERCENT)?;
            rules.read(path)?;
        }
        let flags = [
            (EFFICIENCY, &self.lowest_efficiency, "--lowest-efficiency"),
            (BYTES, &self.highest_wasted_bytes, "--highest-wasted-bytes"),
            (PERCENT, &self.highest_user_wasted_percent, "--highest-user-wasted-percent"),
        ];
        for (rule, value, flag) in flags {
            if let Some(value) = value {
                rules.set(rule, value, flag)?;
            }
        }
        Ok(rules)
    }
}

impl Rules {
    /// Sets what a rule asks for; an error names it as `called`.
    fn set(&mut self, rule: &str, value: &str, called: &str) -> Result<(), UsageError> {
        let off = matches!(value.trim().to_lowercase().as_str(), "" | "disabled" | "off" | "false");
        let invalid = || UsageError(format!("{called}: {value:?} is neither a threshold nor \"disabled\""));
        let share = || match value.trim().parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(invalid()),
        };
        match rule {
            EFFICIENCY => self.lowest_efficiency = if off { None } else { Some(share()?) },
            BYTES => self.highest_wasted_bytes = if off { None } else { Some(bytes(value).ok_or_else(invalid)?) },
            PERCENT => self.highest_user_wasted_percent = if off { None } else { Some(share()?) },
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, path: &Path) -> anyhow::Result<()> {
        use std::io::Read;
        let could_not = || UsageError(format!("cannot read {}", path.display()));
        let mut text = String::new();
        let file = std::fs::File::open(path).with_context(could_not)?;
        file.take(MAX_FILE).read_to_string(&mut text).with_context(could_not)?;
        for (rule, value) in pairs(&text) {
            self.set(rule, value, &format!("{}: {rule}", path.display()))?;
        }
        Ok(())
    }

    /// What each rule says.
    pub(super) fn judge(&self, waste: &Waste) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut say = |rule, failed, reason: String| verdicts.push(Verdict { rule, failed, reason });
        if let Some(lowest) = self.lowest_efficiency {
            let value = waste.efficiency;
            say(EFFICIENCY, value < lowest, format!("efficiency {value:.4}, at least {lowest} wanted"));
        }
        if let Some(highest) = self.highest_wasted_bytes {
            let value = waste.wasted;
            say(BYTES, value > highest, format!("{value} bytes wasted, at most {highest} wanted"));
        }
        if let Some(highest) = self.highest_user_wasted_percent {
            let value = waste.user_share();
            say(PERCENT, value > highest, format!("{value:.4} of what layers add is wasted, at most {highest} wanted"));
        }
        verdicts
    }
}

/// The `key: value` lines, without comments and quotes: files of thresholds have no other YAML.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = if line.trim_start().starts_with('#') { "" } else { line };
        let line = line.split_once(" #").map_or(line, |(line, _)| line);
        let (key, value) = line.split_once(':')?;
        Some((unquoted(key), unquoted(value)))
    })
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inside = |quote| text.strip_prefix(quote).and_then(|text: &str| text.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// `20MB`, `20 MiB`, `5e3`: powers of a thousand, or with an `i` of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..end].trim().replace(',', "").parse().ok()?;
    let unit = text[end..].trim().to_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (unit, base) = unit.strip_suffix('i').map_or((unit, 1000.0), |unit| (unit, 1024.0));
    let power = ["", "k", "m", "g", "t", "p", "e"].iter().position(|prefix| *prefix == unit)?;
    let value = number * f64::powi(base, i32::try_from(power).ok()?);
    (value.is_finite() && value >= 0.0 && value < u64::MAX as f64).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_people_write_them() {
        for (text, value) in
            [("20MB", 20_000_000), ("20 MiB", 20 << 20), ("7", 7), ("1.5kB", 1500), ("1G", 1_000_000_000)]
        {
            assert_eq!(bytes(text), Some(value), "{text}");
        }
        for text in ["", "MB", "1XB", "-1", "1e30EB", "inf"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_of_dives() {
        let text = "# ours\nrules:\n  lowestEfficiency: 0.95 # low\n  highestWastedBytes: \"20MB\"\n  highestUserWastedPercent: 'disabled'\n";
        let mut rules = Rules::default();
        for (rule, value) in pairs(text) {
            rules.set(rule, value, rule).unwrap();
        }
        let wanted = Rules {
            lowest_efficiency: Some(0.95),
            highest_wasted_bytes: Some(20_000_000),
            highest_user_wasted_percent: None,
        };
        assert_eq!(rules, wanted);
        assert!(rules.set(EFFICIENCY, "1.5", EFFICIENCY).is_err());
        let said = rules.set(BYTES, "lots", "--highest-wasted-bytes").unwrap_err().to_string();
        assert_eq!(said, "--highest-wasted-bytes: \"lots\" is neither a threshold nor \"disabled\"");
    }
}
