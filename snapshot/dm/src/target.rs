//! The tables and status lines of thin pools and thin devices: what the kernel is told of a device, and what it says.
//!
//! `Documentation/admin-guide/device-mapper/thin-provisioning.rst` of the kernel describes them.

use std::fmt;
use std::str::FromStr;

use crate::names::{DeviceNumber, ThinId};

/// What a device consists of: one target that begins at its first sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// A thin pool.
    Pool(PoolTable),
    /// A thin device.
    Thin(ThinTable),
}

/// The table of a thin pool: `0 LENGTH thin-pool METADATA DATA BLOCK LOW_WATER [FEATURES]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTable {
    /// Sectors of its data.
    pub length: u64,
    /// The device of its metadata.
    pub metadata: DeviceNumber,
    /// The device of its data.
    pub data: DeviceNumber,
    /// Sectors of a data block.
    pub block: u64,
    /// With fewer free blocks than this the kernel gives an event.
    pub low_water: u64,
    /// `skip_block_zeroing`, `error_if_no_space` and others.
    pub features: Vec<String>,
}

/// The table of a thin device: `0 LENGTH thin POOL ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinTable {
    /// Sectors of the device.
    pub length: u64,
    /// Its pool.
    pub pool: DeviceNumber,
    /// Its number there.
    pub id: ThinId,
}

/// A line that is no table or status of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line:?} is not {expected}")]
pub struct InvalidLine {
    /// The line.
    pub line: String,
    /// What was expected.
    pub expected: &'static str,
}

/// The words of a line, each of which must be what is asked for.
struct Words<'l> {
    line: &'l str,
    words: std::str::SplitAsciiWhitespace<'l>,
    expected: &'static str,
}

impl<'l> Words<'l> {
    fn new(line: &'l str, expected: &'static str) -> Self {
        Self { line, words: line.split_ascii_whitespace(), expected }
    }

    fn invalid(&self) -> InvalidLine {
        InvalidLine { line: self.line.to_owned(), expected: self.expected }
    }

    fn word(&mut self) -> Result<&'l str, InvalidLine> {
        self.words.next().ok_or_else(|| self.invalid())
    }

    fn parse<T: FromStr>(&mut self) -> Result<T, InvalidLine> {
        let word = self.word()?;
        word.parse().map_err(|_| self.invalid())
    }

    fn exactly(&mut self, word: &str) -> Result<(), InvalidLine> {
        if self.word()? == word { Ok(()) } else { Err(self.invalid()) }
    }

    /// Two numbers with a slash between.
    fn of(&mut self) -> Result<Used, InvalidLine> {
        let word = self.word()?;
        let parts = word.split_once('/').and_then(|(used, total)| Some((used.parse().ok()?, total.parse().ok()?)));
        let (used, total) = parts.ok_or_else(|| self.invalid())?;
        Ok(Used { used, total })
    }

    fn end(mut self) -> Result<(), InvalidLine> {
        if self.words.next().is_none() { Ok(()) } else { Err(self.invalid()) }
    }
}

impl Table {
    /// The kernel's name for the target.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pool(_) => "thin-pool",
            Self::Thin(_) => "thin",
        }
    }

    /// Sectors of the device.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Pool(pool) => pool.length,
            Self::Thin(thin) => thin.length,
        }
    }

    /// What comes after the target's name.
    #[must_use]
    pub fn parameters(&self) -> String {
        match self {
            Self::Pool(PoolTable { metadata, data, block, low_water, features, .. }) => {
                let mut text = format!("{metadata} {data} {block} {low_water} {}", features.len());
                features.iter().for_each(|feature| text.extend([" ", feature]));
                text
            }
            Self::Thin(ThinTable { pool, id, .. }) => format!("{pool} {id}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0 {} {} {}", self.length(), self.kind(), self.parameters())
    }
}

impl FromStr for Table {
    type Err = InvalidLine;

    fn from_str(line: &str) -> Result<Self, InvalidLine> {
        let mut words = Words::new(line, "the table of a thin pool or a thin device");
        words.exactly("0")?;
        let length = words.parse()?;
        let table = match words.word()? {
            "thin-pool" => {
                let (metadata, data) = (words.parse()?, words.parse()?);
                let (block, low_water) = (words.parse()?, words.parse()?);
                let mut features = Vec::new();
                if let Some(count) = words.words.next() {
                    let count: usize = count.parse().map_err(|_| words.invalid())?;
                    features = words.words.by_ref().map(str::to_owned).collect();
                    if features.len() != count {
                        return Err(words.invalid());
                    }
                }
                Self::Pool(PoolTable { length, metadata, data, block, low_water, features })
            }
            "thin" => {
                let pool = words.parse()?;
                let id = ThinId::new(words.parse()?).ok_or_else(|| words.invalid())?;
                Self::Thin(ThinTable { length, pool, id })
            }
            _ => return Err(words.invalid()),
        };
        words.end()?;
        Ok(table)
    }
}

/// So many of so many blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Blocks in use.
    pub used: u64,
    /// Blocks in all.
    pub total: u64,
}

impl Used {
    /// Blocks that are free.
    #[must_use]
    pub fn free(self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

/// What a pool still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// Everything.
    ReadWrite,
    /// It only reads: its metadata is full or damaged.
    ReadOnly,
    /// It gives no new blocks.
    OutOfDataSpace,
}

impl PoolMode {
    const NAMES: [(Self, &'static str); 3] =
        [(Self::ReadWrite, "rw"), (Self::ReadOnly, "ro"), (Self::OutOfDataSpace, "out_of_data_space")];
}

impl fmt::Display for PoolMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.into_iter().find(|(mode, _)| mode == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// The state of a pool: what comes after `thin-pool` in a line of its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolStatus {
    /// The pool has failed: it neither reads nor writes.
    Failed,
    /// It works, or some of it does.
    Working(WorkingPool),
}

/// The state of a pool that has not failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingPool {
    /// The number that the pool's user counts transactions with.
    pub transaction: u64,
    /// Blocks of 4 KiB of the metadata.
    pub metadata: Used,
    /// Blocks of the data.
    pub data: Used,
    /// The block of a reserved snapshot of the metadata.
    pub held_root: Option<u64>,
    /// What it still does.
    pub mode: PoolMode,
    /// `discard_passdown`, `no_discard_passdown` or `ignore_discard`.
    pub discard: String,
    /// Whether a write without a free block fails at once, and does not wait for one.
    pub error_if_no_space: bool,
    /// Whether the kernel wants the metadata checked.
    pub needs_check: bool,
    /// With fewer free blocks of metadata than this the kernel gives an event; kernels before 4.20 do not say it.
    pub metadata_low_water: Option<u64>,
}

impl FromStr for PoolStatus {
    type Err = InvalidLine;

    fn from_str(line: &str) -> Result<Self, InvalidLine> {
        let mut words = Words::new(line, "the status of a thin pool");
        if matches!(line.trim(), "Fail" | "Error") {
            return Ok(Self::Failed);
        }
        let transaction = words.parse()?;
        let (metadata, data) = (words.of()?, words.of()?);
        let held_root = match words.word()? {
            "-" => None,
            block => Some(block.parse().map_err(|_| words.invalid())?),
        };
        let mode = words.word()?;
        let mode = PoolMode::NAMES.into_iter().find(|(_, name)| *name == mode).ok_or_else(|| words.invalid())?.0;
        let discard = words.word()?.to_owned();
        let error_if_no_space = match words.word()? {
            "queue_if_no_space" => false,
            "error_if_no_space" => true,
            _ => return Err(words.invalid()),
        };
        let needs_check = match words.words.next() {
            None | Some("-") => false,
            Some("needs_check") => true,
            Some(_) => return Err(words.invalid()),
        };
        let metadata_low_water =
            words.words.next().map(|word| word.parse().map_err(|_| words.invalid())).transpose()?;
        words.end()?;
        Ok(Self::Working(WorkingPool {
            transaction,
            metadata,
            data,
            held_root,
            mode,
            discard,
            error_if_no_space,
            needs_check,
            metadata_low_water,
        }))
    }
}

impl fmt::Display for PoolStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Working(pool) = self else { return f.write_str("Fail") };
        let WorkingPool { transaction, metadata, data, mode, discard, .. } = pool;
        write!(f, "{transaction} {}/{} {}/{}", metadata.used, metadata.total, data.used, data.total)?;
        match pool.held_root {
            Some(block) => write!(f, " {block}")?,
            None => f.write_str(" -")?,
        }
        let full = if pool.error_if_no_space { "error_if_no_space" } else { "queue_if_no_space" };
        let check = if pool.needs_check { "needs_check" } else { "-" };
        write!(f, " {mode} {discard} {full} {check}")?;
        pool.metadata_low_water.map_or(Ok(()), |blocks| write!(f, " {blocks}"))
    }
}

/// The state of a thin device: what comes after `thin` in a line of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinStatus {
    /// Its pool has failed.
    Failed,
    /// It works.
    Working {
        /// Sectors that have blocks in the pool.
        mapped: u64,
        /// The last of them.
        highest: Option<u64>,
    },
}

impl FromStr for ThinStatus {
    type Err = InvalidLine;

    fn from_str(line: &str) -> Result<Self, InvalidLine> {
        let mut words = Words::new(line, "the status of a thin device");
        if matches!(line.trim(), "Fail" | "Error") {
            return Ok(Self::Failed);
        }
        let mapped = words.parse()?;
        let highest = match words.word()? {
            "-" => None,
            sector => Some(sector.parse().map_err(|_| words.invalid())?),
        };
        words.end()?;
        Ok(Self::Working { mapped, highest })
    }
}

impl fmt::Display for ThinStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed => f.write_str("Fail"),
            Self::Working { mapped, highest: Some(highest) } => write!(f, "{mapped} {highest}"),
            Self::Working { mapped, highest: None } => write!(f, "{mapped} -"),
        }
    }
}
