//! The one memory map: headers, indexes and documents of an archive are looked at where the page cache has them.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

/// A read-only map of a whole regular file.
#[derive(Debug)]
pub(super) struct Map(Option<memmap2::Mmap>);

impl Map {
    /// Maps all of `file`.
    ///
    /// # Errors
    /// Those of `fstat(2)` and `mmap(2)`.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            // `mmap(2)` refuses an empty length.
            return Ok(Self(None));
        }
        // SAFETY: the map is read-only, and only ever seen as bytes: no type with invalid values is read from it, and
        // text is copied out before it is checked. What remains is that someone changes the file meanwhile. Changed
        // bytes are caught by the digests that everything from an archive must have; a file that is made shorter ends
        // this process with SIGBUS if it is the map that is read. Both need write access to a file that the user chose
        // to read, and neither can be excluded on Linux; the module documentation of `source` says so.
        let map = unsafe { memmap2::Mmap::map(file) }?;
        Ok(Self(Some(map)))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
