//! The outer tar: members whose length and name are known only when they are written.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use super::content::Class;
use super::entry::{Entry, EntryKind, day};
use super::member::{self, Style};

/// Of a header, and of what everything is rounded up to.
const BLOCK: u64 = 512;

/// A tar in a file. The header of a layer is written after it, into the room left for it: nothing is copied, no layer is
/// in memory.
pub(super) struct Archive(BufWriter<File>);

impl Archive {
    pub(super) fn new(file: File) -> Self {
        Self(BufWriter::with_capacity(256 << 10, file))
    }

    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        member::write(&mut self.0, Style::Go, &Entry::new(path, EntryKind::Directory, day(0)))
    }

    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.header(path, content.len() as u64)?;
        self.0.write_all(content)?;
        member::pad(&mut self.0, content.len() as u64)
    }

    /// Begins a file of unknown name and length. What comes next is its content.
    pub(super) fn begin(mut self) -> io::Result<(u64, BufWriter<File>)> {
        let at = self.0.stream_position()?;
        self.0.write_all(&[0; BLOCK as usize])?;
        Ok((at, self.0))
    }

    /// Ends the file that began at `at`.
    pub(super) fn end((at, out): (u64, BufWriter<File>), path: &str, length: u64) -> io::Result<Self> {
        let mut archive = Self(out);
        member::pad(&mut archive.0, length)?;
        archive.0.seek(SeekFrom::Start(at))?;
        archive.header(path, length)?;
        archive.0.seek(SeekFrom::End(0))?;
        Ok(archive)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        member::finish(&mut self.0)?;
        self.0.flush()
    }

    fn header(&mut self, path: &str, length: u64) -> io::Result<()> {
        let kind = EntryKind::File { size: length, class: Class::Packed };
        member::write(&mut self.0, Style::Go, &Entry::new(path, kind, day(0)))
    }
}
