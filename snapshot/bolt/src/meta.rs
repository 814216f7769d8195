//! The two pages that say where everything else is.

use super::page::{PAGE_HEADER, number, u32_at, u64_at};
use super::source::Source;
use super::{BoltError, PageProblem};

pub(super) const MAGIC: u32 = 0xED0C_DAED;
pub(super) const VERSION: u32 = 2;
/// Bytes of all fields of a meta but its checksum.
const SUMMED: usize = 56;
/// Bytes of a meta with its checksum.
const LENGTH: usize = SUMMED + 8;
/// If the first meta is damaged, bbolt looks for the second at each page size of 2 to one of these powers (`db.go`
/// `getPageSizeFromSecondMeta`).
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 10..=25;

/// A valid meta.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub(super) page_size: usize,
    /// The page of the root bucket.
    pub(super) root: u64,
    /// The number that was given last to something in the root bucket.
    pub(super) sequence: u64,
    /// The page of the list of free pages.
    pub(super) free_list: u64,
    /// How many pages are in use; no page has this number or a higher one.
    pub(super) pages: u64,
    pub(super) transaction: u64,
    /// Where in the file it is.
    pub(super) offset: usize,
}

impl Meta {
    /// The meta of the last transaction that was committed whole. If one of the two metas cannot be used, for whatever
    /// reason, the other one counts.
    pub(super) fn newest(source: &Source<'_>) -> Result<Self, BoltError> {
        let first = Self::at(source, 0);
        let second = match first {
            Ok(Some(meta)) => Self::at(source, meta.page_size),
            _ => PAGE_SIZES
                .map(|bits| Self::at(source, 1 << bits))
                .find(|meta| !matches!(meta, Ok(None)))
                .unwrap_or(Ok(None)),
        };
        match (first, second) {
            (Ok(Some(first)), Ok(Some(second))) if second.transaction > first.transaction => Ok(second),
            (Ok(Some(meta)), _) | (_, Ok(Some(meta))) => Ok(meta),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(None), Ok(None)) => Err(BoltError { page: 0, problem: PageProblem::NoMeta }),
        }
    }

    /// The meta of the page at `offset`; `None` if it is not a valid one.
    fn at(source: &Source<'_>, offset: usize) -> Result<Option<Self>, BoltError> {
        let Some(start) = offset.checked_add(PAGE_HEADER) else { return Ok(None) };
        let Some(bytes) = source.array::<LENGTH>(u64::from(offset > 0), start)? else { return Ok(None) };
        let (Some(summed), Some(sum)) = (number::<SUMMED>(&bytes, 0), u64_at(&bytes, SUMMED)) else { return Ok(None) };
        if u32_at(&summed, 0) != Some(MAGIC) || fnv1a(&summed) != sum {
            return Ok(None);
        }
        // A meta that is whole and of another version is an error of its own, so that a database of a newer format is
        // not called damaged.
        match u32_at(&summed, 4) {
            Some(VERSION) => {}
            found => {
                let found = found.unwrap_or_default();
                return Err(BoltError { page: u64::from(offset > 0), problem: PageProblem::Version { found } });
            }
        }
        let read = || {
            Some(Self {
                page_size: usize::try_from(u32_at(&summed, 8)?).ok()?,
                root: u64_at(&summed, 16)?,
                sequence: u64_at(&summed, 24)?,
                free_list: u64_at(&summed, 32)?,
                pages: u64_at(&summed, 40)?,
                transaction: u64_at(&summed, 48)?,
                offset,
            })
        };
        let placed = |meta: &Self| meta.page_size >= 1024 && (offset == 0 || offset == meta.page_size);
        Ok(read().filter(placed))
    }
}

/// FNV-1a with 64 bits.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
