//! Sparse maps: old GNU (`S`), PAX 0.0, 0.1 and 1.0, checked as Go's `validateSparseEntries` checks them.

use std::collections::VecDeque;

use crate::block::{self, Block};
use crate::error::TarErrorKind;
use crate::limits::{MAX_SPARSE_ENTRIES, MAX_SPARSE_MAP};
use crate::pax;

/// One run of stored data; everything between runs, and up to the file's size, is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where the data stands in the expanded file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// The runs of one sparse file: in order, not overlapping, all within the size of the expanded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    runs: Vec<Run>,
    stored: u64,
}

/// Where the stored bytes of a body go in the file, as they come.
#[derive(Debug, Clone)]
pub struct Spread(VecDeque<Run>);

impl Spread {
    pub(crate) fn new(map: Option<&SparseMap>, stored: u64) -> Self {
        Self(map.map_or_else(
            || VecDeque::from([Run { offset: 0, length: stored }]),
            |map| map.runs.iter().copied().collect(),
        ))
    }

    /// Takes bytes that belong together off the front of `bytes`, and says at which offset of the file they stand. `None` when all
    /// are taken; what comes after the last run belongs to no file.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<(u64, &'b [u8])> {
        while self.0.front()?.length == 0 {
            self.0.pop_front();
        }
        let run = self.0.front_mut().filter(|_| !bytes.is_empty())?;
        let (now, later) = bytes.split_at(usize::try_from(run.length).unwrap_or(usize::MAX).min(bytes.len()));
        let offset = run.offset;
        *bytes = later;
        (run.offset, run.length) = (offset + now.len() as u64, run.length - now.len() as u64);
        Some((offset, now))
    }
}

impl SparseMap {
    /// The runs, in the order their data is stored.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Bytes stored in the archive for all runs together.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored
    }

    pub(crate) fn new(numbers: &[(i64, i64)], size: i64) -> Result<Self, TarErrorKind> {
        let size = u64::try_from(size).map_err(|_| TarErrorKind::SparseMap)?;
        let (mut end, mut stored) = (0, 0);
        let mut runs = Vec::with_capacity(numbers.len());
        for &(offset, length) in numbers {
            let run = match (u64::try_from(offset), u64::try_from(length)) {
                (Ok(offset), Ok(length)) => Run { offset, length },
                _ => return Err(TarErrorKind::SparseMap),
            };
            let run_end = run.offset.checked_add(run.length).ok_or(TarErrorKind::SparseMap)?;
            if run.offset < end || run_end > size {
                return Err(TarErrorKind::SparseMap);
            }
            end = run_end;
            stored += run.length;
            runs.push(run);
        }
        Ok(Self { runs, stored })
    }
}

/// Which PAX records announce a sparse file, and where its map is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PaxSparse {
    /// 0.0 and 0.1: the map stands in the records.
    InRecords(Vec<(i64, i64)>),
    /// 1.0: the map stands in front of the body.
    InBody,
}

/// Reads `GNU.sparse.*`; `records` yields a key's last value.
pub(crate) fn from_pax<'r>(records: impl Fn(&str) -> Option<&'r [u8]>) -> Result<Option<PaxSparse>, TarErrorKind> {
    let record = |key: &str| records(key).unwrap_or_default();
    match (record("GNU.sparse.major"), record("GNU.sparse.minor")) {
        (b"1", b"0") => return Ok(Some(PaxSparse::InBody)),
        (b"0", b"0" | b"1") => {}
        (b"", b"") if !record("GNU.sparse.map").is_empty() => {}
        _ => return Ok(None),
    }
    let count = pax::integer(record("GNU.sparse.numblocks")).and_then(|n| usize::try_from(n).ok());
    let count = count.ok_or(TarErrorKind::SparseMap)?;
    let map = record("GNU.sparse.map");
    let numbers: Option<Vec<i64>> =
        if map.is_empty() { Some(Vec::new()) } else { map.split(|&b| b == b',').map(pax::integer).collect() };
    let numbers = numbers.ok_or(TarErrorKind::SparseMap)?;
    if count.checked_mul(2) != Some(numbers.len()) {
        return Err(TarErrorKind::SparseMap);
    }
    let (pairs, _) = numbers.as_chunks::<2>();
    Ok(Some(PaxSparse::InRecords(pairs.iter().map(|&[offset, length]| (offset, length)).collect())))
}

/// Collects the map of the PAX 1.0 format, which fills whole blocks at the start of the body.
///
/// The text is parsed once, when all of its lines are there; until then only line ends are counted.
#[derive(Debug, Default)]
pub(crate) struct BodyMap {
    text: Vec<u8>,
    newlines: usize,
    /// How many runs the first line announces, once that line is whole.
    count: Option<usize>,
}

impl BodyMap {
    /// Takes one block. Returns the map once it is complete.
    pub(crate) fn push(&mut self, block: &Block) -> Result<Option<Vec<(i64, i64)>>, TarErrorKind> {
        if self.text.len() + block.len() > MAX_SPARSE_MAP {
            return Err(TarErrorKind::SparseMapTooLong);
        }
        self.text.extend_from_slice(block);
        self.newlines += block.iter().filter(|&&b| b == b'\n').count();
        let count = match self.count {
            Some(count) => count,
            None if self.newlines == 0 => return Ok(None),
            None => {
                let first = self.text.split(|&b| b == b'\n').next().and_then(pax::integer);
                let count = first.and_then(|n| usize::try_from(n).ok()).ok_or(TarErrorKind::SparseMap)?;
                if count > MAX_SPARSE_ENTRIES {
                    return Err(TarErrorKind::SparseMapTooLong);
                }
                *self.count.insert(count)
            }
        };
        if self.newlines < 1 + 2 * count {
            return Ok(None);
        }
        let mut lines = self.text.split(|&b| b == b'\n').skip(1).map(pax::integer);
        let mut pair = || Some((lines.next()??, lines.next()??));
        (0..count).map(|_| pair()).collect::<Option<Vec<_>>>().ok_or(TarErrorKind::SparseMap).map(Some)
    }
}

/// Collects the map of the old GNU format from the header block and its extension blocks.
#[derive(Debug, Default)]
pub(crate) struct GnuMap {
    numbers: Vec<(i64, i64)>,
    size: i64,
}

impl GnuMap {
    /// Reads the header block. Returns the collector and whether extension blocks follow.
    pub(crate) fn from_header(header: &Block) -> Result<(Self, bool), TarErrorKind> {
        let (entries, extended, size) = block::gnu_sparse_fields(header);
        let mut map = Self { numbers: Vec::new(), size: size.ok_or(TarErrorKind::SparseMap)? };
        map.extend(entries)?;
        Ok((map, extended))
    }

    /// Takes an extension block. Returns whether another follows.
    pub(crate) fn push(&mut self, extension: &Block) -> Result<bool, TarErrorKind> {
        let (entries, extended) = block::gnu_sparse_extension(extension);
        self.extend(entries)?;
        Ok(extended)
    }

    /// The numbers and the size of the expanded file.
    pub(crate) fn finish(self) -> (Vec<(i64, i64)>, i64) {
        (self.numbers, self.size)
    }

    /// Adds the entries of one block, up to the first one that starts with NUL, which ends the block's list.
    fn extend(&mut self, entries: &[u8]) -> Result<(), TarErrorKind> {
        let (entries, _) = entries.as_chunks::<24>();
        for entry in entries.iter().take_while(|entry| entry[0] != 0) {
            if self.numbers.len() == MAX_SPARSE_ENTRIES {
                return Err(TarErrorKind::SparseMapTooLong);
            }
            let number = |field: &[u8]| block::numeric(field).ok_or(TarErrorKind::SparseMap);
            self.numbers.push((number(&entry[..12])?, number(&entry[12..])?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_go_where_the_map_says_in_pieces_of_any_size() {
        let map = SparseMap::new(&[(2, 3), (5, 0), (10, 4)], 20).unwrap();
        for size in 1..9 {
            let mut spread = Spread::new(Some(&map), map.stored());
            let mut file = *b"....................";
            for mut piece in b"abcdefgXX".chunks(size) {
                while let Some((offset, bytes)) = spread.next(&mut piece) {
                    let at = usize::try_from(offset).unwrap();
                    file[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
            assert_eq!(&file, b"..abc.....defg......", "in pieces of {size}");
        }
        let (mut whole, mut bytes) = (Spread::new(None, 3), &b"abcd"[..]);
        assert_eq!((whole.next(&mut bytes), whole.next(&mut bytes)), (Some((0, &b"abc"[..])), None));
    }

    #[test]
    fn maps_that_are_too_long_are_refused() {
        let block = |text: &[u8]| {
            let mut block = [b'0'; 512];
            block[..text.len()].copy_from_slice(text);
            block
        };
        // In the body: by the number that it announces, and by its bytes where that number never ends.
        let announced = BodyMap::default().push(&block(b"1048577\n"));
        assert!(matches!(announced, Err(TarErrorKind::SparseMapTooLong)), "{announced:?}");
        let mut map = BodyMap::default();
        let pushed = (1..).find_map(|count| map.push(&block(b"")).err().map(|error| (count, error)));
        assert!(matches!(pushed, Some((2049, TarErrorKind::SparseMapTooLong))), "{pushed:?}");
        // In blocks of the old format, with 21 entries each.
        let mut map = GnuMap { numbers: Vec::new(), size: 1 };
        let mut extension = [b'0'; 512];
        extension[504] = 1;
        let pushed = (1..).find_map(|count| map.push(&extension).err().map(|error| (count, error)));
        assert!(matches!(pushed, Some((49_933, TarErrorKind::SparseMapTooLong))), "{pushed:?}");
    }
}
