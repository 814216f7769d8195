//! Which versions of other runtimes have holes that are known.

/// A runtime's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first line that the program prints: `runc version 1.1.5`.
    pub text: String,
    /// What is wrong with this version, if something is known to be.
    pub warning: Option<String>,
}

/// The three numbers of a version.
type Numbers = (u64, u64, u64);

/// The first versions of each line in which the masked paths and `/dev` cannot be redirected any more
/// (CVE-2024-21626, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881 and, for crun, CVE-2025-24965).
const FIXED: [(&str, &[Numbers]); 3] =
    [("runc", &[(1, 2, 8), (1, 3, 3), (1, 4, 0)]), ("crun", &[(1, 25, 0)]), ("youki", &[(0, 5, 7)])];

impl Version {
    pub(crate) fn own() -> Self {
        Self { text: format!("builtin {}", env!("CARGO_PKG_VERSION")), warning: None }
    }

    /// What `PROGRAM --version` prints, with a warning if it is an old one.
    pub(crate) fn parse(program: &str, output: &str) -> Self {
        let text = output.lines().next().unwrap_or_default().trim().to_owned();
        let fixed = FIXED.iter().find(|(name, _)| *name == program).map(|(_, fixed)| *fixed);
        let warning = fixed.zip(numbers(&text)).filter(|(fixed, found)| is_old(fixed, *found)).map(|(fixed, _)| {
            let first: Vec<String> = fixed.iter().map(|(a, b, c)| format!("{a}.{b}.{c}")).collect();
            format!(
                "{text} lets a hostile image write to files of the host's kernel (CVE-2025-31133, CVE-2025-52565, \
                 CVE-2025-52881 and older ones); mended in {}",
                first.join(", ")
            )
        });
        Self { text, warning }
    }
}

/// Whether a version is older than the first good one of its line, or its line is older than all of them.
fn is_old(fixed: &[Numbers], found: Numbers) -> bool {
    let line = fixed.iter().find(|(major, minor, _)| (*major, *minor) == (found.0, found.1));
    match line {
        Some(first) => found < *first,
        None => fixed.iter().all(|first| found < *first),
    }
}

/// The first `1.2.3` or `1.2` of a text.
fn numbers(text: &str) -> Option<Numbers> {
    text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches('v');
        let mut parts = word.split(|char: char| !char.is_ascii_digit());
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((major, minor, parts.next().and_then(|part| part.parse().ok()).unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_warned_about() {
        for (program, text, old) in [
            ("runc", "runc version 1.1.5\ncommit: x", true),
            ("runc", "runc version 1.1.15", true),
            ("runc", "runc version 1.2.7", true),
            ("runc", "runc version 1.2.8", false),
            ("runc", "runc version 1.3.0-rc1", true),
            ("runc", "runc version 1.4.0", false),
            ("runc", "runc version 1.5.1", false),
            ("crun", "crun version 1.8.1", true),
            ("crun", "crun version 1.25", false),
            ("youki", "youki version: 0.5.6", true),
            ("other", "other version 0.1.0", false),
            ("runc", "nonsense", false),
        ] {
            assert_eq!(Version::parse(program, text).warning.is_some(), old, "{text}");
        }
    }
}
