//! The files of an unpacked layer, for rebuilding its tar from the journal, and that rebuilding on the threads of a pool.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use tarsplit::JournalError;
use tarsplit::assemble::{self, Assembler, FileGetter};
use tarsplit::journal::EntryReader;

use crate::bytes::Bytes;
use crate::chain::Chain;
use crate::digest::DiffId;
use crate::path::LayerPath;
use crate::pool::Pool;
use crate::source::buffers::Buffers;
use crate::sys::in_root::open_in_root;
use crate::sys::node;

/// Opens a layer's files by the names in its journal, never anything outside its directory.
///
/// Journals by Docker may name a file through a symlink of the layer. Here an absolute symlink leads from the layer's
/// root; dockerd follows it on the host and fails.
#[derive(Debug)]
pub struct LayerFiles {
    root: OwnedFd,
}

impl LayerFiles {
    /// The files below `root`, a layer's `diff` directory.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Opens a file, and says how long it is.
    ///
    /// # Errors
    /// Those of [`FileGetter::open`].
    pub fn open_sized(&self, name: &[u8]) -> io::Result<(File, u64)> {
        let path = LayerPath::parse(name).map_err(io::Error::other)?.ok_or(io::ErrorKind::IsADirectory)?;
        // With these flags, opening a fifo or a terminal neither blocks nor has side effects.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |flags| open_in_root(&self.root, path.as_bytes(), flags);
        // `NOATIME` leaves no trace in the access time; the kernel allows it to the file's owner and to root.
        let file = File::from(match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags)?,
            opened => opened?,
        });
        let stat = rustix::fs::fstat(&file)?;
        match node::file_type(&stat) {
            FileType::RegularFile => Ok((file, stat.st_size.unsigned_abs())),
            other => Err(io::Error::other(format!("a regular file is expected, found {other:?}"))),
        }
    }
}

impl FileGetter for LayerFiles {
    type File = LayerFile;

    fn open(&self, name: &[u8]) -> io::Result<LayerFile> {
        self.open_sized(name).map(|(file, left)| LayerFile { file, left })
    }
}

/// A file of a layer, read up to the length that it had when it was opened: no call asks the kernel whether there is more.
#[derive(Debug)]
pub struct LayerFile {
    file: File,
    left: u64,
}

impl Read for LayerFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let read = self.file.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

fn entries(journal: File) -> EntryReader<BufReader<File>> {
    EntryReader::new(BufReader::new(journal))
}

/// The length of the tar that `journal` (`tar-split.json.gz`) describes, in bytes. No file of the layer is looked at.
///
/// # Errors
/// [`JournalError`] where the journal cannot be read.
pub fn tar_length(journal: File) -> Result<u64, JournalError> {
    assemble::length(entries(journal))
}

/// A layer's tar, put together a piece at a time. The threads of a pool make its digest, together with those of other
/// layers.
pub struct Rebuilding<'a> {
    assembler: Assembler<BufReader<File>, LayerFiles>,
    buffers: Buffers,
    chain: Arc<Chain<'a>>,
}

impl std::fmt::Debug for Rebuilding<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rebuilding").field("assembler", &self.assembler).finish_non_exhaustive()
    }
}

impl<'a> Rebuilding<'a> {
    /// Prepares to rebuild the tar that `journal` (`tar-split.json.gz`) describes, with bodies from `files`.
    #[must_use]
    pub fn new(journal: File, files: LayerFiles) -> Self {
        Self { assembler: Assembler::new(entries(journal), files), buffers: Buffers::default(), chain: Arc::default() }
    }

    /// Puts the next piece together; it is empty at the end of the tar.
    ///
    /// # Errors
    /// Those of [`tarsplit::assemble::assemble`].
    pub fn next_piece(&mut self) -> Result<Arc<Vec<u8>>, JournalError> {
        self.buffers.fill(|buffer| self.assembler.fill(buffer))
    }

    /// Lets the threads of `pool` hash a piece that the caller has used. Pieces must be given in the order in which
    /// they came.
    pub fn hash(&self, piece: Arc<Vec<u8>>, pool: &Pool<'a>) {
        self.chain.add(Bytes::whole(piece), pool);
    }

    /// The digest of all pieces that were given to [`Self::hash`].
    #[must_use]
    pub fn finish(self) -> DiffId {
        DiffId(self.chain.finish())
    }
}
