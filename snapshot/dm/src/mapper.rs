//! What is asked of a device mapper.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::names::{DeviceName, DeviceNumber};
use crate::target::Table;

/// A device mapper: the [kernel's](crate::Control), or one that tests make.
pub trait Mapper: fmt::Debug + Send + Sync {
    /// The device of a name; `None` if there is none.
    ///
    /// # Errors
    /// [`MapperError`]
    fn info(&self, name: &DeviceName) -> Result<Option<Info>, MapperError>;

    /// Makes a device that works. If its table cannot be used, nothing is left.
    ///
    /// # Errors
    /// [`MapperError`]; [`Problem::Busy`] if there is one of that name.
    fn create(&self, name: &DeviceName, table: &Table) -> Result<DeviceNumber, MapperError>;

    /// Gives a device another table, and resumes it.
    ///
    /// # Errors
    /// [`MapperError`]
    fn reload(&self, name: &DeviceName, table: &Table) -> Result<(), MapperError>;

    /// Lets the file system on a device finish what it is doing, and holds what comes after.
    ///
    /// # Errors
    /// [`MapperError`]
    fn suspend(&self, name: &DeviceName) -> Result<(), MapperError>;

    /// Ends a suspension.
    ///
    /// # Errors
    /// [`MapperError`]
    fn resume(&self, name: &DeviceName) -> Result<(), MapperError>;

    /// Removes a device, not what is on it. Does nothing if there is none of that name.
    ///
    /// # Errors
    /// [`MapperError`]; [`Problem::Busy`] if it is open and was to be removed now.
    fn remove(&self, name: &DeviceName, removal: Removal) -> Result<(), MapperError>;

    /// Sends a message to the target of a device.
    ///
    /// # Errors
    /// [`MapperError`]
    fn message(&self, name: &DeviceName, text: &str) -> Result<(), MapperError>;

    /// The table of a device.
    ///
    /// # Errors
    /// [`MapperError`], also for a target that is neither a thin pool nor a thin device.
    fn table(&self, name: &DeviceName) -> Result<Table, MapperError>;

    /// The status of the target of a device, as the kernel writes it.
    ///
    /// # Errors
    /// [`MapperError`]
    fn status(&self, name: &DeviceName) -> Result<String, MapperError>;

    /// Opens a device for reading and writing.
    ///
    /// # Errors
    /// Of the system.
    fn open(&self, number: DeviceNumber) -> io::Result<(PathBuf, File)>;
}

/// When a device is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// At once.
    Now,
    /// As soon as nobody has it open. [`cancel_removal`] takes that back.
    WhenClosed,
}

/// A device that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The number by which the system knows it.
    pub number: DeviceNumber,
    /// How many have it open; a mount counts as one.
    pub open: u32,
    /// Whether it is removed as soon as nobody has it open.
    pub is_being_removed: bool,
}

/// Takes back a [removal](Removal::WhenClosed) that is to come. `false` if the device is gone already.
///
/// # Errors
/// [`MapperError`]
pub fn cancel_removal(mapper: &dyn Mapper, name: &DeviceName) -> Result<bool, MapperError> {
    match mapper.message(name, "@cancel_deferred_remove") {
        Ok(()) => Ok(true),
        Err(MapperError { problem: Problem::Missing, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The device mapper refuses.
#[derive(Debug, thiserror::Error)]
#[error("{what} the device {name}")]
pub struct MapperError {
    /// What was being done.
    pub what: &'static str,
    /// With which device.
    pub name: DeviceName,
    /// Why it refuses.
    #[source]
    pub problem: Problem,
}

/// Why the device mapper refuses, by the number of the error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// `ENXIO`
    #[error("there is no device of that name")]
    Missing,
    /// `EBUSY`
    #[error("it is in use")]
    Busy,
    /// `EEXIST`
    #[error("the pool has a thin device of that number already")]
    Exists,
    /// `ENODATA`
    #[error("the pool has no thin device of that number")]
    NoThinDevice,
    /// `EOPNOTSUPP`
    #[error("the pool is read-only or has failed")]
    PoolFailed,
    /// `EILSEQ`, of a checksum, and `ENOTBLK`, of a block in the place of another
    #[error("the metadata of the pool is damaged")]
    Damaged,
    /// `ENODEV`
    #[error("its pool is not there")]
    NoPool,
    /// The kernel's answer has another form than is known here.
    #[error("the kernel's answer has a form that is not known")]
    Answer,
    /// Anything else.
    #[error(transparent)]
    Other(io::Error),
}

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NXIO => Self::Missing,
            Errno::BUSY => Self::Busy,
            Errno::EXIST => Self::Exists,
            Errno::NODATA => Self::NoThinDevice,
            Errno::OPNOTSUPP => Self::PoolFailed,
            Errno::ILSEQ | Errno::NOTBLK => Self::Damaged,
            Errno::NODEV => Self::NoPool,
            other => Self::Other(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel answers is said with what was tried on which device.
    #[test]
    fn each_answer_of_the_kernel_has_its_words() {
        for (errno, words) in [
            (Errno::NXIO, "there is no device of that name"),
            (Errno::BUSY, "it is in use"),
            (Errno::EXIST, "the pool has a thin device of that number already"),
            (Errno::NODATA, "the pool has no thin device of that number"),
            (Errno::OPNOTSUPP, "the pool is read-only or has failed"),
            (Errno::ILSEQ, "the metadata of the pool is damaged"),
            (Errno::NOTBLK, "the metadata of the pool is damaged"),
            (Errno::NODEV, "its pool is not there"),
            (Errno::PERM, "Operation not permitted (os error 1)"),
        ] {
            let name = "docker-pool".parse().expect("a name");
            let error = MapperError { what: "removing", name, problem: errno.into() };
            assert_eq!(error.to_string(), "removing the device docker-pool");
            assert_eq!(error.problem.to_string(), words);
        }
        assert_eq!(Problem::Answer.to_string(), "the kernel's answer has a form that is not known");
    }
}
