//! A file of an archive, to look into and to read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Deref, Range};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use layerfs::compress::{Compression, SNIFF_LEN};
use layerfs::meter;

use super::map::Map;

/// A part of a regular file, shared and cheap to clone.
///
/// Its bytes can be looked at in a memory map, which suits a header here and there. Code that needs all bytes, or many
/// headers, uses a reader: a system call that copies into a buffer that is used again costs less than the page faults
/// of a map.
#[derive(Debug, Clone)]
pub struct Blob {
    mapped: Arc<Mapped>,
    range: Range<usize>,
}

#[derive(Debug)]
struct Mapped {
    map: Map,
    file: Handle,
}

/// Where a blob is read from.
enum Handle {
    /// One descriptor for all parts of an archive.
    Kept(File),
    /// One for each file of a directory, which may have thousands: they are open only while they are read.
    Reopened {
        open: Box<dyn Fn() -> io::Result<File> + Send + Sync>,
        /// Device and inode. The map keeps the inode, so no other file can get its number.
        identity: (u64, u64),
    },
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept(file) => file.fmt(f),
            Self::Reopened { identity, .. } => identity.fmt(f),
        }
    }
}

/// Calls `read` with the file that is open, or that is opened now and kept in `opened` for the next time.
fn with_file<T>(
    handle: &Handle,
    opened: &mut Option<File>,
    read: impl FnOnce(&File) -> io::Result<T>,
) -> io::Result<T> {
    match handle {
        Handle::Kept(file) => read(file),
        Handle::Reopened { open, identity } => {
            if let Some(file) = opened {
                return read(file);
            }
            let file = open()?;
            if identity_of(&file)? != *identity {
                return Err(io::Error::other("the file has been replaced by another one"));
            }
            read(opened.insert(file))
        }
    }
}

fn identity_of(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Blob {
    /// Maps a regular file.
    ///
    /// The file must not be made shorter while its bytes are looked at: that is a SIGBUS. A [reader](Blob::reader) gets an
    /// error.
    ///
    /// # Errors
    /// Those of `fstat(2)` and `mmap(2)`.
    pub(crate) fn map(file: File) -> io::Result<Self> {
        let map = Map::new(&file)?;
        let range = 0..map.bytes().len();
        Ok(Self { mapped: Arc::new(Mapped { map, file: Handle::Kept(file) }), range })
    }

    /// Maps `file`, a regular file, and closes it. `open` opens the same file again whenever it is read.
    ///
    /// # Errors
    /// Those of `fstat(2)` and `mmap(2)`. Reading fails if `open` does, or if it finds another file.
    pub(crate) fn map_reopening(
        file: File,
        open: impl Fn() -> io::Result<File> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (map, identity) = (Map::new(&file)?, identity_of(&file)?);
        let range = 0..map.bytes().len();
        let file = Handle::Reopened { open: Box::new(open), identity };
        Ok(Self { mapped: Arc::new(Mapped { map, file }), range })
    }

    /// A part of this blob. `None` if it reaches beyond the end.
    #[must_use]
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Self> {
        self.as_slice().get(range.clone())?;
        let start = self.range.start;
        Some(Self { mapped: Arc::clone(&self.mapped), range: start + range.start..start + range.end })
    }

    /// The bytes, mapped.
    #[must_use]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.mapped.map.bytes()[self.range.clone()]
    }

    /// The number of bytes.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    /// Reads the bytes from the front.
    #[must_use]
    pub(crate) fn reader(&self) -> BlobReader<'_> {
        BlobReader { blob: self, opened: None, at: 0 }
    }

    /// Reads the bytes from the byte `at` on.
    #[must_use]
    pub fn reader_at(&self, at: u64) -> impl Read + '_ {
        BlobReader { blob: self, opened: None, at }
    }

    /// Reads the bytes from the front, and keeps the file open as long as that lasts.
    pub(crate) fn into_reader(self) -> OwnedBlobReader {
        OwnedBlobReader { blob: self, opened: None, at: 0 }
    }

    /// Reads from the byte `at` on.
    fn read_at(&self, at: u64, opened: &mut Option<File>, output: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from((self.len() as u64).saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = left.min(output.len());
        if wanted == 0 {
            return Ok(0);
        }
        let position = self.range.start as u64 + at;
        // This call avoids the C library: there, `pread` prepares for the thread being cancelled, which takes a good
        // part of the time of a small read.
        let pread = |file: &File| Ok(rustix::io::pread(file, &mut output[..wanted], position)?);
        let read = with_file(&self.mapped.file, opened, pread)?;
        if read == 0 {
            let reason = format!("the file has become shorter: it ends before byte {position}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        meter::copied(read);
        Ok(read)
    }

    /// How the bytes are compressed, according to the first ones, which are read. An error is ignored here: whoever reads the
    /// blob meets it again.
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
pub(crate) struct BlobReader<'a> {
    blob: &'a Blob,
    /// What was opened for this reader.
    opened: Option<File>,
    /// The next byte of the blob.
    at: u64,
}

impl BlobReader<'_> {
    /// Lets the next read begin at the byte `at`, which may be behind the last one.
    pub(crate) fn go_to(&mut self, at: u64) {
        self.at = at;
    }
}

impl Seek for BlobReader<'_> {
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a position before the first byte. One behind the last reads as the end.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => (self.blob.len() as u64).checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Read for BlobReader<'_> {
    /// # Errors
    /// Those of `pread(2)`, and [`io::ErrorKind::UnexpectedEof`] if the file has become shorter.
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.blob.read_at(self.at, &mut self.opened, output)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads a [`Blob`] that it owns.
#[derive(Debug)]
pub(crate) struct OwnedBlobReader {
    blob: Blob,
    /// What was opened for this reader.
    opened: Option<File>,
    /// The next byte of the blob.
    at: u64,
}

impl Read for OwnedBlobReader {
    /// # Errors
    /// As of [`BlobReader`].
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.blob.read_at(self.at, &mut self.opened, output)?;
        self.at += read as u64;
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
    fn seeking_stays_within_the_blob() {
        let bytes = b"...not this, but this, not that";
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let (part, mut same) = (Blob::map(file).unwrap().slice(3..21).unwrap(), io::Cursor::new(&bytes[3..21]));
        let mut reader = part.reader();
        let ends =
            [SeekFrom::Start(u64::MAX), SeekFrom::Start(0), SeekFrom::End(-18), SeekFrom::End(-19), SeekFrom::End(7)];
        let steps = [10, 1, -4, 18, i64::MAX, i64::MIN, -1].map(SeekFrom::Current);
        for to in steps.into_iter().chain(ends).chain(steps) {
            let (ours, theirs) = (reader.seek(to), same.seek(to));
            assert_eq!(ours.map_err(|error| error.kind()), theirs.map_err(|error| error.kind()), "{to:?}");
            let (mut ours, mut theirs) = ([0; 3], [0; 3]);
            assert_eq!(reader.read(&mut ours).unwrap(), same.read(&mut theirs).unwrap(), "{to:?}");
            assert_eq!(ours, theirs, "{to:?}");
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
    fn a_file_that_is_opened_again_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer");
        std::fs::write(&path, "the content").unwrap();
        let again = path.clone();
        let blob = Blob::map_reopening(File::open(&path).unwrap(), move || File::open(&again)).unwrap();
        let read = |blob: &Blob| {
            let (mut read, mut owned) = (String::new(), String::new());
            blob.reader().read_to_string(&mut read)?;
            blob.clone().into_reader().read_to_string(&mut owned)?;
            assert_eq!(read, owned);
            Ok::<_, io::Error>(read)
        };
        assert_eq!(read(&blob).unwrap(), "the content");
        assert_eq!(read(&blob.slice(4..11).unwrap()).unwrap(), "content");
        std::fs::write(dir.path().join("other"), "other stuff").unwrap();
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert!(read(&blob).unwrap_err().to_string().contains("replaced"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&blob).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_empty_file_is_an_empty_blob() {
        let blob = Blob::map(tempfile::tempfile().unwrap()).unwrap();
        assert!(blob.as_slice().is_empty());
        assert_eq!(blob.reader().read(&mut [0; 10]).unwrap(), 0);
    }
}
