//! Where the bytes of a database come from, and the pages of it that are in memory.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::{BoltError, PageProblem};

/// The longest page, with the pages that belong to it, that is read into memory. Real ones are a few pages long.
pub(super) const MAX_PAGE: usize = 16 << 20;

/// The longest page of which memory is asked for before the file is known to be as long: bbolt takes those of the machine.
const USUAL_PAGE: usize = 64 << 10;

/// Bytes of a page, which stay in memory as long as something refers to them.
#[derive(Clone, PartialEq, Eq)]
pub struct PageBytes {
    page: Arc<[u8]>,
    range: Range<usize>,
}

impl PageBytes {
    pub(super) fn new(page: Arc<[u8]>) -> Self {
        Self { range: 0..page.len(), page }
    }

    /// A part of them; `None` if it is not inside.
    pub(super) fn part(&self, range: Range<usize>) -> Option<Self> {
        self.get(range.clone())?;
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        Some(Self { page: Arc::clone(&self.page), range: start..end })
    }
}

impl Deref for PageBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.page[self.range.clone()]
    }
}

impl AsRef<[u8]> for PageBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for PageBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

/// A database in memory or in a file.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Memory(&'a [u8]),
    File(&'a File),
}

impl Source<'_> {
    /// How many bytes there are now. This is asked anew each time: a file that a daemon writes to grows, and the last
    /// transaction may be in the new part.
    fn length(&self, id: u64) -> Result<usize, BoltError> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len()),
            Self::File(file) => {
                let length = file.metadata().map_err(|error| unreadable(id, &error))?.len();
                Ok(usize::try_from(length).unwrap_or(usize::MAX))
            }
        }
    }

    /// `N` bytes from `at` on, for page `id`; `None` if the database ends before.
    pub(super) fn array<const N: usize>(&self, id: u64, at: usize) -> Result<Option<[u8; N]>, BoltError> {
        let mut array = [0; N];
        Ok(self.read(id, at, &mut array)?.then_some(array))
    }

    /// `length` bytes from `at` on, for page `id`: a page without those that may belong to it. One read does for those of the usual
    /// lengths.
    pub(super) fn first_page(&self, id: u64, at: usize, length: usize) -> Result<PageBytes, BoltError> {
        if length > USUAL_PAGE {
            return self.bytes(id, at, length);
        }
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        let to = Arc::get_mut(&mut bytes).expect("nobody else has it yet");
        if self.read(id, at, to)? {
            Ok(PageBytes::new(bytes))
        } else {
            Err(BoltError { page: id, problem: PageProblem::Beyond })
        }
    }

    /// `length` bytes from `at` on, for page `id`.
    pub(super) fn bytes(&self, id: u64, at: usize, length: usize) -> Result<PageBytes, BoltError> {
        let failed = |problem| BoltError { page: id, problem };
        let there = self.length(id)?;
        if at.checked_add(length).is_none_or(|end| end > there) {
            return Err(failed(PageProblem::Beyond));
        }
        if length > MAX_PAGE {
            return Err(failed(PageProblem::Long { found: length }));
        }
        let mut bytes = vec![0; length];
        if self.read(id, at, &mut bytes)? { Ok(PageBytes::new(bytes.into())) } else { Err(failed(PageProblem::Beyond)) }
    }

    /// Fills `to` from `at` on. Returns false if the database ends before.
    fn read(&self, id: u64, at: usize, to: &mut [u8]) -> Result<bool, BoltError> {
        match self {
            Self::Memory(bytes) => {
                let found = at.checked_add(to.len()).and_then(|end| bytes.get(at..end));
                Ok(found.map(|found| to.copy_from_slice(found)).is_some())
            }
            Self::File(file) => match file.read_exact_at(to, at as u64) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                Err(error) => Err(unreadable(id, &error)),
            },
        }
    }
}

fn unreadable(page: u64, error: &io::Error) -> BoltError {
    BoltError { page, problem: PageProblem::Unreadable { kind: error.kind() } }
}
