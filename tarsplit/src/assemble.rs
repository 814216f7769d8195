//! A journal and the files it names, back into the tar.

use std::collections::HashSet;
use std::io::{BufRead, ErrorKind, Read, Write};

use crate::JournalError;
use crate::crc64::Crc64;
use crate::entry::Entry;
use crate::journal::EntryReader;
use crate::names::clean;

/// Opens the files of a layer by their names in the journal.
pub trait FileGetter {
    /// An open file.
    type File: Read;

    /// Opens the regular file `name`, below the layer's directory and nowhere else.
    ///
    /// # Errors
    /// Any; it is reported with the name.
    fn open(&self, name: &[u8]) -> std::io::Result<Self::File>;
}

impl<G: FileGetter> FileGetter for &G {
    type File = G::File;

    fn open(&self, name: &[u8]) -> std::io::Result<G::File> {
        (**self).open(name)
    }
}

/// Bytes written at a time.
const PIECE: usize = 128 << 10;

/// Writes the tar that `journal` describes to `out`. Returns its length in bytes.
///
/// # Errors
/// [`JournalError`], also where Go's assembler does not look: a file must have exactly the length journalled.
pub fn assemble<R: BufRead, G: FileGetter, W: Write>(
    journal: EntryReader<R>,
    files: &G,
    mut out: W,
) -> Result<u64, JournalError> {
    let mut assembler = Assembler::new(journal, files);
    let mut written = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let read = assembler.fill(&mut piece)?;
        out.write_all(&piece[..read]).map_err(|source| JournalError::Write { source })?;
        written += read as u64;
        if read < piece.len() {
            return Ok(written);
        }
    }
}

/// The tar that a journal describes, put together piece by piece.
pub struct Assembler<R, G: FileGetter> {
    journal: EntryReader<R>,
    files: G,
    /// The cleaned names of all file entries so far.
    names: HashSet<Vec<u8>>,
    current: Current<G::File>,
}

/// What is still to come of an entry.
enum Current<F> {
    Nothing,
    /// A segment's bytes, and the index of the first one not yet written.
    Segment(Vec<u8>, usize),
    Body(Box<Body<F>>),
}

impl<R, G: FileGetter> std::fmt::Debug for Assembler<R, G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembler").field("files", &self.names.len()).finish_non_exhaustive()
    }
}

impl<R: BufRead, G: FileGetter> Assembler<R, G> {
    /// Puts together the tar that `journal` describes, with bodies from `files`.
    pub fn new(journal: EntryReader<R>, files: G) -> Self {
        Self { journal, files, names: HashSet::new(), current: Current::Nothing }
    }

    /// Fills `piece` with the next bytes. Returns how many there are: fewer than fit only at the end of the tar.
    ///
    /// # Errors
    /// As [`assemble`].
    pub fn fill(&mut self, piece: &mut [u8]) -> Result<usize, JournalError> {
        let mut at = 0;
        while at < piece.len() {
            let room = &mut piece[at..];
            let (taken, ended) = match &mut self.current {
                Current::Nothing => match self.next_entry()? {
                    Some(current) => {
                        self.current = current;
                        continue;
                    }
                    None => break,
                },
                Current::Segment(bytes, from) => {
                    let now = room.len().min(bytes.len() - *from);
                    room[..now].copy_from_slice(&bytes[*from..*from + now]);
                    *from += now;
                    (now, *from == bytes.len())
                }
                Current::Body(body) => body.read(room)?,
            };
            at += taken;
            if ended {
                self.current = Current::Nothing;
            }
        }
        Ok(at)
    }

    /// Reads the next entry and opens its file, if it names one. Returns `None` at the journal's end.
    fn next_entry(&mut self) -> Result<Option<Current<G::File>>, JournalError> {
        let Some(entry) = self.journal.next().transpose()? else { return Ok(None) };
        Ok(Some(match entry {
            Entry::Unknown => Current::Nothing,
            Entry::Segment(bytes) => Current::Segment(bytes, 0),
            Entry::File { name, size, crc64 } => {
                if !self.names.insert(clean(&name).into_owned()) {
                    return Err(JournalError::DuplicateName { name: clean(&name).into_owned() });
                }
                if size == 0 {
                    return Ok(Some(Current::Nothing));
                }
                let opened = self.files.open(&name);
                let file = opened.map_err(|source| JournalError::File { name: name.clone(), source })?;
                let (expected, crc) = (size.unsigned_abs(), Crc64::default());
                Current::Body(Box::new(Body { name, file, expected, found: 0, crc, journalled: crc64 }))
            }
        }))
    }
}

/// A file that is being read.
struct Body<F> {
    name: Vec<u8>,
    file: F,
    expected: u64,
    found: u64,
    crc: Crc64,
    /// The checksum in the journal.
    journalled: Option<[u8; 8]>,
}

impl<F: Read> Body<F> {
    /// Reads more into `room`, which is not empty. Returns how much, and whether that was the end.
    fn read(&mut self, room: &mut [u8]) -> Result<(usize, bool), JournalError> {
        let read = loop {
            match self.file.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(JournalError::File { name: self.name.clone(), source }),
                Ok(read) => break read,
            }
        };
        self.found += read as u64;
        if self.found > self.expected || read == 0 && self.found < self.expected {
            let (name, expected, found) = (self.name.clone(), self.expected, self.found);
            return Err(JournalError::Size { name, expected, found });
        }
        self.crc.update(&room[..read]);
        if read == 0 && self.journalled != Some(self.crc.finish()) {
            return Err(JournalError::Checksum { name: self.name.clone() });
        }
        Ok((read, read == 0))
    }
}

/// The length of the tar that `journal` describes, in bytes. No file of the layer is looked at.
///
/// # Errors
/// [`JournalError`] where the journal cannot be read.
pub fn length<R: BufRead>(journal: EntryReader<R>) -> Result<u64, JournalError> {
    let mut length: u64 = 0;
    for (number, entry) in journal.enumerate() {
        let bytes = match entry? {
            Entry::Unknown => 0,
            Entry::Segment(bytes) => bytes.len() as u64,
            Entry::File { size, .. } => size.unsigned_abs(),
        };
        length = length.checked_add(bytes).ok_or_else(|| JournalError::Entry {
            entry: number as u64,
            reason: "the lengths add up to more than there can be".into(),
        })?;
    }
    Ok(length)
}
