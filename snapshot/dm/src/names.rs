//! What a device is called, and by which numbers the kernel knows devices.

use std::fmt;
use std::str::FromStr;

use rustix::fs::{Dev, major, minor};

/// The name of a device of the device mapper.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

/// A text that no device can be called by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name a device: 1 to 127 printable characters, no slash")]
pub struct InvalidName(String);

impl DeviceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = InvalidName;

    /// The kernel has room for 127 bytes, and refuses a slash (`drivers/md/dm-ioctl.c: check_name`).
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=127).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidName(text.to_owned())) }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Which driver of the kernel has it.
    pub major: u32,
    /// Which of the driver's devices it is.
    pub minor: u32,
}

impl From<Dev> for DeviceNumber {
    fn from(dev: Dev) -> Self {
        Self { major: major(dev), minor: minor(dev) }
    }
}

/// A text that is no number of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the number of a device: MAJOR:MINOR")]
pub struct InvalidNumber(String);

impl FromStr for DeviceNumber {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        let parts = text.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let (major, minor) = parts.ok_or_else(|| InvalidNumber(text.to_owned()))?;
        Ok(Self { major, minor })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The number of a thin device in its pool, below 2 to the 24th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThinId(u32);

impl ThinId {
    /// How many there are.
    pub const COUNT: u32 = 1 << 24;

    /// The id of this number; `None` if the number is too large for a pool.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        u32::try_from(number).ok().filter(|number| *number < Self::COUNT).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The next one; after the last comes 0.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1) % Self::COUNT)
    }
}

impl From<ThinId> for u64 {
    fn from(id: ThinId) -> Self {
        id.0.into()
    }
}

impl From<ThinId> for i64 {
    fn from(id: ThinId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for ThinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_checked() {
        assert!("docker-254:0-7777-pool".parse::<DeviceName>().is_ok());
        for bad in ["", "a/b", "a b", "ä", &"x".repeat(128)] {
            let words = format!("{bad:?} cannot name a device: 1 to 127 printable characters, no slash");
            assert_eq!(bad.parse::<DeviceName>().unwrap_err().to_string(), words);
        }
        assert_eq!("253:12".parse(), Ok(DeviceNumber { major: 253, minor: 12 }));
        for bad in ["", "253", ":", "253:", "a:1", "1:2:3"] {
            let words = format!("{bad:?} is not the number of a device: MAJOR:MINOR");
            assert_eq!(bad.parse::<DeviceNumber>().unwrap_err().to_string(), words);
        }
        assert_eq!(ThinId::new(1 << 24), None);
        assert_eq!(ThinId::new((1 << 24) - 1).map(ThinId::next), ThinId::new(0));
    }
}
