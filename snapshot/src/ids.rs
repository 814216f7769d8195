//! Names of things in a data-root. They are checked when they are read, so that none, used as a path, leads out of its
//! directory.
//!
//! # Names that stay text
//!
//! A value of one of these types is a name that such a thing can have. Some names promise less, and stay plain text:
//!
//! - the entries of a driver's home ([`HomeEntries`](crate::driver::HomeEntries)). The home holds whatever was put there: layers,
//!   the driver's own `l` and `backingFsBlockDev`, a daemon's leftovers, the files of a stranger. Accounts and verdicts
//!   speak of all of them. Whoever deletes an entry as a layer parses its name into a [`CacheId`] first, and must ask
//!   [`Liveness`](crate::liveness::Liveness) about that id; an entry with any other name is never deleted as a layer.
//!   Names that are not UTF-8 are not among the entries: Docker makes none, and nobody deletes them.
//! - BuildKit's names for its records (`schema/buildkit`). Such a key is an id of BuildKit's own or `sha256:` and a chain id, it
//!   may outlive what it named, and it is compared and shown, but never used as a path. The directories and layers that
//!   a record names are typed: [`CacheId`] and [`layerfs::ChainId`].
//! - the names of records that dockerd has begun to remove (`layerdb/sha256/<hex>-<random>-removing`), since only
//!   their beginning means something.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use layerfs::Digest;
use rustix::io::Errno;

/// A text that is not a valid id or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a valid {what}")]
pub struct InvalidId {
    what: &'static str,
    found: String,
}

impl InvalidId {
    fn new(what: &'static str, found: &str) -> Self {
        Self { what, found: found.chars().take(100).collect() }
    }
}

/// Bytes of the longest cache id that is accepted: `<64 hex>-init` and BuildKit's ids are shorter.
const MAX_ID: usize = 128;

fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= MAX_ID && !text.starts_with('.') && text.bytes().all(plain)
}

/// Random bytes from the kernel.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Err(Errno::INTR) => {}
            drawn => filled += drawn.expect("every kernel that has overlayfs gives random bytes"),
        }
    }
    bytes
}

/// The name of a layer's directory in a driver's home. Docker draws 64 hexadecimal digits; any plain name is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CacheId(String);

impl TryFrom<String> for CacheId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<CacheId> for String {
    fn from(id: CacheId) -> Self {
        id.0
    }
}

impl CacheId {
    /// A new one, drawn as Docker draws it: the first twelve digits are never all decimal, since such a short id could be
    /// taken for a number (moby `pkg/stringid`).
    #[must_use]
    pub fn random() -> Self {
        loop {
            let hex: String = random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
            if !hex.bytes().take(12).all(|b| b.is_ascii_digit()) {
                return Self(hex);
            }
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a name that Docker draws: 64 hexadecimal digits (moby `pkg/stringid`) or BuildKit's 25 characters (buildkit
    /// `identity/randomid.go`), with or without an ending such as `-init`. The driver takes directories of any name.
    #[must_use]
    pub(crate) fn is_drawn(&self) -> bool {
        let drawn = self.0.split('-').next().unwrap_or_default();
        match drawn.len() {
            64 => drawn.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            25 => drawn.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z')),
            _ => false,
        }
    }
}

impl FromStr for CacheId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // `l` is the directory of links.
        if is_plain(text) && text != "l" { Ok(Self(text.to_owned())) } else { Err(InvalidId::new("cache id", text)) }
    }
}

impl fmt::Display for CacheId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The short name of an overlay2 layer, which keeps mount options short: `l/<link id>` leads to its `diff`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LinkId(String);

impl LinkId {
    /// A new one, as Docker draws it: 26 characters of base32 (moby `daemon/graphdriver/overlay2/randomid.go`).
    #[must_use]
    pub(crate) fn random() -> Self {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        Self(random::<26>().iter().map(|&byte| char::from(ALPHABET[usize::from(byte & 31)])).collect())
    }

    /// Whether a text could be one.
    pub(crate) fn is_valid(text: &str) -> bool {
        is_plain(text)
    }

    /// The name.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if Self::is_valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId::new("link id", text)) }
    }
}

/// An image: the digest of its config.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Whether `text` is a single path component that leads down, and so can be the name of a directory.
fn is_component(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.len() <= 255 && !text.contains(['/', '\0'])
}

/// Whether `text` is a relative path that leads down, without any `.` or `..`.
fn is_path_down(text: &str) -> bool {
    text.len() < 4096 && text.split('/').all(is_component)
}

macro_rules! directory_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $is_valid:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if $is_valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId::new($what, text)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        /// Gives a name the methods of `str`.
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }
    };
}

directory_name! {
    /// A container: the name of its directory. Docker draws 64 hexadecimal digits, but reads a directory of any name.
    ContainerId, "container id", is_component
}

directory_name! {
    /// A volume: the name of its directory. Docker makes only names of the form `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, but reads
    /// a directory of any name.
    VolumeName, "volume name", is_component
}

directory_name! {
    /// An entry of `layerdb/mounts`. The mount of a container has the container's id for its name. Builds and image mounts
    /// have names of their own, and those that Docker 28 gives to image mounts may have slashes in them.
    MountName, "mount name", is_path_down
}

impl ContainerId {
    /// The first twelve characters, as docker shows an id.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl From<ContainerId> for MountName {
    /// The mount of the container.
    fn from(container: ContainerId) -> Self {
        Self(container.0)
    }
}

impl PartialEq<ContainerId> for MountName {
    /// Whether this is the mount of the container.
    fn eq(&self, container: &ContainerId) -> bool {
        self.0 == container.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_nowhere_else() {
        for bad in ["", ".", "..", "../x", "a/b", "l", "a\nb", "a:b", "a,b", &"x".repeat(200)] {
            assert!(bad.parse::<CacheId>().is_err(), "{bad:?}");
        }
        let mount = format!("{}-init", "a1".repeat(32));
        for good in ["my-custom_ID.7df03e06", &mount, "6pk92vy2g3qxq4p0a1hbnvs1d"] {
            assert!(good.parse::<CacheId>().is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a\0b", &"x".repeat(256)] {
            assert!(bad.parse::<ContainerId>().is_err() && bad.parse::<VolumeName>().is_err(), "{bad:?}");
        }
        for bad in ["", "/", "/a", "a/", "a//b", "a/../b", "a/./b", "a\0b"] {
            assert!(bad.parse::<MountName>().is_err(), "{bad:?}");
        }
        assert_eq!("c-src=x-dst=/mnt/y".parse::<MountName>().unwrap().as_str(), "c-src=x-dst=/mnt/y");
        assert_eq!("ABC short".parse::<ContainerId>().unwrap().as_str(), "ABC short");
        let (id, link) = (CacheId::random(), LinkId::random());
        assert_eq!((id.as_str().len(), link.as_str().len()), (64, 26));
        assert!(id.as_str().parse::<CacheId>().is_ok() && link.as_str().parse::<LinkId>().is_ok());
    }
}
