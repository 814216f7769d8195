//! A file of an archive, to look into and to read.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use layerfs::compress::{Compression, SNIFF_LEN};
use layerfs::meter;

use super::map::Map;

/// A part of a regular file, shared and cheap to clone.
///
/// Looking at its bytes looks at a memory map, which suits a header here and there. Whoever wants all of them, or many headers,
/// [reads](Blob::reader) them: a system call that copies a large piece into a buffer that is used again costs less than the
/// page faults of a map.
#[derive(Debug, Clone)]
pub struct Blob {
    mapped: Arc<Mapped>,
    range: Range<usize>,
}

#[derive(Debug)]
struct Mapped {
    map: Map,
    file: File,
}

impl Blob {
    /// Maps a regular file.
    ///
    /// The file must not be made shorter while its bytes are looked at: that is a SIGBUS. A [reader](Blob::reader) gets an
    /// error.
    ///
    /// # Errors
    /// Those of `fstat(2)` and `mmap(2)`.
    pub fn map(file: File) -> io::Result<Self> {
        let map = Map::new(&file)?;
        let range = 0..map.bytes().len();
        Ok(Self { mapped: Arc::new(Mapped { map, file }), range })
    }

    /// A part of this blob. `None` if it reaches beyond the end.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        self.as_slice().get(range.clone())?;
        let start = self.range.start;
        Some(Self { mapped: Arc::clone(&self.mapped), range: start + range.start..start + range.end })
    }

    /// The bytes, mapped.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.mapped.map.bytes()[self.range.clone()]
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Reads the bytes from the front.
    #[must_use]
    pub fn reader(&self) -> BlobReader<'_> {
        BlobReader { file: &self.mapped.file, left: self.range.start as u64..self.range.end as u64 }
    }

    /// How the bytes are compressed, as their first ones say. These are read; where that fails, reading all will, too.
    #[must_use]
    pub fn compression(&self) -> Compression {
        let mut head = Vec::new();
        let read = self.reader().take(SNIFF_LEN as u64).read_to_end(&mut head);
        Compression::sniff(read.map(|_| head.as_slice()).unwrap_or_default())
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

/// Reads a [`Blob`], wherever the file's own position is.
#[derive(Debug)]
pub struct BlobReader<'a> {
    file: &'a File,
    left: Range<u64>,
}

impl BlobReader<'_> {
    /// Passes over `bytes` bytes, or over all where fewer are left.
    pub fn skip(&mut self, bytes: u64) {
        self.left.start = self.left.start.saturating_add(bytes).min(self.left.end);
    }
}

impl Read for BlobReader<'_> {
    /// # Errors
    /// Those of `pread(2)`, and [`io::ErrorKind::UnexpectedEof`] if the file has become shorter.
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let wanted = left.min(output.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut output[..wanted], self.left.start)?;
        if read == 0 {
            let reason = format!("the file has become shorter: it ends before byte {}", self.left.start);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        self.left.start += read as u64;
        meter::copied(read);
        Ok(read)
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
        let blob = Blob::map(file).unwrap();
        let part = blob.slice(5_000..9_000).unwrap();
        assert_eq!(part.len(), 4_000);
        assert_eq!(part.slice(3_999..4_000).unwrap().as_slice(), [7]);
        assert!(part.slice(3_999..4_001).is_none());
        assert!(part.slice(0..usize::MAX).is_none());
        assert_eq!(blob.as_slice(), [7; 10_000]);
    }

    #[test]
    fn what_is_read_is_what_is_mapped() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..10_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        file.write_all(&bytes).unwrap();
        let blob = Blob::map(file).unwrap();
        for range in [0..10_000, 1..9_999, 511..512, 10_000..10_000] {
            let part = blob.slice(range.clone()).unwrap();
            let mut read = Vec::new();
            part.reader().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes[range]);
            assert_eq!(read, part.as_slice());
        }
    }

    #[test]
    fn what_is_skipped_is_not_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"not this, but this, not that").unwrap();
        let part = Blob::map(file).unwrap().slice(0..18).unwrap();
        let mut read = String::new();
        let mut reader = part.reader();
        reader.skip(10);
        reader.by_ref().take(3).read_to_string(&mut read).unwrap();
        reader.skip(1);
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "butthis");
        for beyond in [1, 18, u64::MAX] {
            let mut reader = part.reader();
            reader.skip(17);
            reader.skip(beyond);
            assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let same = file.try_clone().unwrap();
        let part = Blob::map(file).unwrap().slice(1_000..10_000).unwrap();
        same.set_len(6_000).unwrap();
        let mut read = Vec::new();
        let error = part.reader().read_to_end(&mut read).unwrap_err();
        assert_eq!((error.kind(), read.len()), (io::ErrorKind::UnexpectedEof, 5_000));
        assert!(error.to_string().ends_with("it ends before byte 6000"), "{error}");
    }

    #[test]
    fn an_empty_file_is_an_empty_blob() {
        let blob = Blob::map(tempfile::tempfile().unwrap()).unwrap();
        assert!(blob.is_empty());
        assert_eq!(blob.reader().read(&mut [0; 10]).unwrap(), 0);
    }
}
