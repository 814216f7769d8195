//! The bytes of a page, and numbers in them.

use super::source::PageBytes;
use super::{BoltError, PageProblem};

pub(super) const PAGE_HEADER: usize = 16;
pub(super) const ELEMENT: usize = 16;
pub(super) const BUCKET_HEADER: usize = 16;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
/// The flag of a leaf's element whose value is a bucket.
pub(super) const IS_BUCKET: u32 = 0x01;

/// Reads a number; `None` beyond the end.
pub(super) fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// A length or position in the file. On a small machine a number that does not fit is beyond the end anyway.
pub(super) fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    u32_at(bytes, at).map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

/// Where the pages of a bucket begin.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Page {
        id: u64,
        /// Where in the file the reference to this page is.
        referred: usize,
    },
    /// In the value that is the bucket.
    Inline(Page),
}

/// A page with its overflow, or the one inside a value.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// For errors; a page inside a value has that of the page around it.
    pub(super) id: u64,
    /// Where in the file it begins.
    pub(super) start: usize,
    pub(super) bytes: PageBytes,
}

impl Page {
    pub(super) fn failed(&self, problem: PageProblem) -> BoltError {
        BoltError { page: self.id, problem }
    }

    /// The page's flags and the number of its elements, whose headers are all inside the page.
    pub(super) fn header(&self) -> Result<(u16, usize), BoltError> {
        let short = || self.failed(PageProblem::Short);
        let flags = u16_at(&self.bytes, 8).ok_or_else(short)?;
        let count = usize::from(u16_at(&self.bytes, 10).ok_or_else(short)?);
        if PAGE_HEADER + count * ELEMENT > self.bytes.len() {
            return Err(self.failed(PageProblem::Count { found: count }));
        }
        Ok((flags, count))
    }

    /// The bytes of element `index` that begin at `position` and are `length` long. `free` is where the bytes before
    /// them ended, and is moved to the end of these.
    pub(super) fn data(
        &self,
        index: usize,
        position: usize,
        length: usize,
        free: &mut usize,
    ) -> Result<(usize, PageBytes), BoltError> {
        let start = (PAGE_HEADER + index * ELEMENT).checked_add(position);
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        let range = range.filter(|range| range.start >= *free);
        let bytes = range.and_then(|range| Some((range.start, self.bytes.part(range)?)));
        let (start, bytes) = bytes.ok_or_else(|| self.failed(PageProblem::Element { index }))?;
        *free = start + length;
        Ok((start, bytes))
    }
}
