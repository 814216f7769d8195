//! The one memory map: archives and layers are read where the page cache has them.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A read-only map of a whole regular file.
#[derive(Debug)]
struct Map(Option<memmap2::Mmap>);

impl Map {
    fn new(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            // `mmap(2)` refuses an empty length.
            return Ok(Self(None));
        }
        // SAFETY: the map is private to this module, read-only, and only ever seen as bytes: no type with invalid values
        // is read from it, and text is copied out before it is checked. What remains is that someone changes the file
        // meanwhile. Changed bytes are caught by the digests that everything from an archive must have; a file that is
        // made shorter ends this process with SIGBUS. Both need write access to a file that the user chose to read, and
        // neither can be excluded on Linux; the crate documents it.
        let map = unsafe { memmap2::Mmap::map(file) }?;
        Ok(Self(Some(map)))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// How a range of a map will be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// From front to back: read ahead further, drop pages behind earlier.
    Sequential,
    /// Soon: start reading now.
    WillNeed,
    /// At once: read, and enter the pages into the page table (Linux 5.14).
    Populate,
    /// Not again soon: take the pages out of the page table. Whoever reads them all the same gets them back.
    Done,
}

/// A part of a mapped file, shared and cheap to clone.
#[derive(Debug, Clone)]
pub struct Blob {
    map: Arc<Map>,
    range: Range<usize>,
}

impl Blob {
    /// Maps a regular file.
    ///
    /// The file must not be made shorter while the blob is in use: reading behind its new end is a SIGBUS.
    ///
    /// # Errors
    /// Those of `fstat(2)` and `mmap(2)`.
    pub fn map(file: &File) -> io::Result<Self> {
        let map = Map::new(file)?;
        let range = 0..map.bytes().len();
        Ok(Self { map: Arc::new(map), range })
    }

    /// A part of this blob. `None` if it reaches beyond the end.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        self.as_slice().get(range.clone())?;
        let start = self.range.start;
        Some(Self { map: Arc::clone(&self.map), range: start + range.start..start + range.end })
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.map.bytes()[self.range.clone()]
    }

    /// Tells the kernel how the bytes will be used. A hint: where the kernel does not take it, nothing is lost.
    pub fn advise(&self, access: Access) {
        let Some(map) = &self.map.0 else { return };
        let (start, length) = (self.range.start, self.range.len());
        let _hint = match access {
            Access::Sequential => map.advise_range(memmap2::Advice::Sequential, start, length),
            Access::WillNeed => map.advise_range(memmap2::Advice::WillNeed, start, length),
            Access::Populate => map.advise_range(memmap2::Advice::PopulateRead, start, length),
            // SAFETY: the map is shared with its file and never written to, so the pages that are dropped hold nothing
            // that the file does not: a later read finds the same bytes (madvise(2), MADV_DONTNEED).
            Access::Done => unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, length) },
        };
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_slice_stays_within_its_blob() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let blob = Blob::map(&file).unwrap();
        let part = blob.slice(5_000..9_000).unwrap();
        assert_eq!(part.len(), 4_000);
        assert_eq!(part.slice(3_999..4_000).unwrap().as_slice(), [7]);
        assert!(part.slice(3_999..4_001).is_none());
        assert!(part.slice(0..usize::MAX).is_none());
        for access in [Access::Sequential, Access::WillNeed, Access::Populate, Access::Done] {
            part.advise(access);
            blob.slice(10_000..10_000).unwrap().advise(access);
        }
        assert_eq!(blob.as_slice(), [7; 10_000]);
    }

    #[test]
    fn an_empty_file_is_an_empty_blob() {
        let blob = Blob::map(&tempfile::tempfile().unwrap()).unwrap();
        assert!(blob.is_empty());
        blob.advise(Access::Sequential);
    }
}
