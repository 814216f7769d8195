//! Which of several images of one name is meant for this machine.

use std::fmt;
use std::str::FromStr;

use crate::schema::config::ImageConfig;

/// Operating system, architecture and variant in Go's words, as OCI documents have them: `linux/arm/v7`.
///
/// Normalised as containerd's `platforms.Normalize` does: `x86_64` is `amd64`, `aarch64` is `arm64`, and the default
/// variants (`v1` of amd64, `v8` of arm64) are left out. Unlike there, so is `v7` of arm.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor.
    pub architecture: String,
    /// Its variant, where that is not the usual one.
    pub variant: Option<String>,
}

/// A text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a platform, such as linux/amd64 or linux/arm/v7")]
pub struct InvalidPlatform {
    text: String,
}

impl Platform {
    /// A platform by its parts, in any spelling.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let lower = architecture.to_ascii_lowercase();
        let (architecture, variant) = match (lower.as_str(), variant.filter(|variant| !variant.is_empty())) {
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", None),
            ("armhf" | "arm", Some("7" | "v7") | None) => ("arm", None),
            ("armel", None) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            (other, variant) => (other, variant),
        };
        let (os, architecture) = (os.to_ascii_lowercase(), architecture.to_owned());
        Self { os, architecture, variant: variant.map(str::to_ascii_lowercase) }
    }

    /// The platform of this process.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            other => other,
        };
        Self::new("linux", architecture, None)
    }

    /// Whether dockerd takes an image for one of this platform (moby v20.10.24 `daemon/images/image.go: GetImage`).
    ///
    /// # Errors
    /// The image's platform.
    pub fn takes(&self, image: &ImageConfig) -> Result<(), Self> {
        let fields = &image.fields;
        let found = Self::new(&fields.os, &fields.architecture, Some(&fields.variant));
        let is_smaller =
            matches!((self.architecture.as_str(), found.architecture.as_str()), ("amd64", "386") | ("arm64", "arm"));
        let fits = self.rank(&found).is_some() || (is_smaller && self.os == found.os);
        if fits { Ok(()) } else { Err(found) }
    }

    /// How well an image for `other` runs on this platform: `None` if not at all; of two numbers, the higher is better.
    ///
    /// A newer arm or amd64 runs what was built for an older one, and the newest of those is best.
    #[must_use]
    pub fn rank(&self, other: &Self) -> Option<u32> {
        if (&self.os, &self.architecture) != (&other.os, &other.architecture) {
            return None;
        }
        match (self.level(), other.level()) {
            (Some(have), Some(needs)) => (needs <= have).then_some(needs),
            _ => (self.variant == other.variant).then_some(0),
        }
    }

    /// Whether both are the same: an arm64 of which no variant is told is one of v8.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.rank(other).is_some() && other.rank(self).is_some()
    }

    /// The number of the variant, for architectures where they are ordered.
    fn level(&self) -> Option<u32> {
        let default = match self.architecture.as_str() {
            "amd64" => 1,
            "arm" => 7,
            "arm64" => 8,
            _ => return None,
        };
        self.variant.as_ref().map_or(Some(default), |variant| variant.strip_prefix('v')?.parse().ok())
    }

    /// Whether this is the platform that BuildKit gives to attestations.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let valid =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        match parts[..] {
            [os, architecture] if parts.iter().all(valid) => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(valid) => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(InvalidPlatform { text: text.chars().take(100).collect() }),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_are_normalised() {
        let cases = [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm"),
            ("linux/arm/v7", "linux/arm"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/riscv64", "linux/riscv64"),
        ];
        for (text, expected) in cases {
            assert_eq!(platform(text).to_string(), expected);
        }
        for text in ["", "linux", "/amd64", "linux/", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert!(Platform::host().rank(&Platform::host()).is_some());
    }

    #[test]
    fn older_variants_run_and_newer_ones_are_better() {
        let (host, v6, v8) = (platform("linux/arm/v7"), platform("linux/arm/v6"), platform("linux/arm/v8"));
        assert!(host.rank(&host) > host.rank(&v6));
        assert_eq!(v6.rank(&host), None);
        assert_eq!(host.rank(&v8), None);
        assert_eq!(platform("linux/amd64").rank(&platform("linux/amd64/v3")), None);
        assert_eq!(platform("linux/amd64").rank(&platform("windows/amd64")), None);
        assert_eq!(platform("linux/amd64").rank(&platform("linux/arm64")), None);
    }
}
