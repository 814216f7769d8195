//! A tar, piece by piece, into journal entries and bodies.
//!
//! The caller says of each body whether it can be replayed from disk. What tar-split itself cannot replay is stored in
//! the journal instead, in a form that every Go reader accepts: the bytes as a segment behind a file entry of size zero,
//! or behind no file entry at all where the name was journalled before, since Go refuses a name that comes twice.

use std::io::Write;

use crate::crc64::Crc64;
use crate::error::{JournalError, TarError};
use crate::frame::{Frame, Framer};
use crate::journal::EntryWriter;
use crate::member::Member;
use crate::names::{SeenNames, clean};

/// Where replay will find a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// In a regular file below the layer's directory, under the member's name, with exactly the member's bytes.
    OnDisk,
    /// In the journal.
    Inline,
}

/// Receives members and bodies as they are framed.
pub trait Sink {
    /// What can go wrong with a member or a body.
    type Error;

    /// Takes a member. `first` says whether its cleaned name comes for the first time; only then may the answer be
    /// [`Keep::OnDisk`].
    ///
    /// # Errors
    /// The sink's own; disassembling ends.
    fn member(&mut self, member: Box<Member>, first: bool) -> Result<Keep, Self::Error>;

    /// Takes the next bytes of the current member's body: `data` is at `at` in the input being pushed, and `last` says
    /// that the body ends with it.
    ///
    /// # Errors
    /// The sink's own.
    fn body(&mut self, data: &[u8], at: usize, last: bool) -> Result<(), Self::Error>;
}

/// What ended disassembling.
#[derive(Debug)]
pub enum Failure<E> {
    /// The tar is not valid.
    Tar(TarError),
    /// The journal cannot be written.
    Journal(JournalError),
    /// The sink failed.
    Sink(E),
}

impl<E> From<TarError> for Failure<E> {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl<E> From<JournalError> for Failure<E> {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

#[derive(Debug)]
struct Current {
    left: u64,
    /// Size and running checksum of a body that replay finds on disk; `None` for one that goes into the journal.
    on_disk: Option<(u64, Crc64)>,
}

/// Splits a tar, which comes in pieces of any size, into journal entries and bodies.
#[derive(Debug)]
pub struct Disassembler<W> {
    framer: Framer,
    journal: Option<EntryWriter<W>>,
    seen: SeenNames,
    /// The name of the last member; kept only if there is a journal.
    name: Vec<u8>,
    current: Option<Current>,
    members: u64,
}

impl<W: Write> Disassembler<W> {
    /// Writes journal lines, uncompressed, to `journal`. Without a journal, the sink still gets all members and bodies.
    pub fn new(journal: Option<W>) -> Self {
        Self {
            framer: Framer::new(),
            journal: journal.map(EntryWriter::new),
            seen: SeenNames::default(),
            name: Vec::new(),
            current: None,
            members: 0,
        }
    }

    /// Members seen so far.
    #[must_use]
    pub fn members(&self) -> u64 {
        self.members
    }

    /// Takes the next piece of the tar.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn push<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<(), Failure<S::Error>> {
        let mut at = 0;
        loop {
            let (taken, frame) = self.framer.next(&input[at..])?;
            match frame {
                None => return Ok(()),
                Some(Frame::Raw(bytes)) => {
                    if let Some(journal) = &mut self.journal {
                        journal.literal(bytes)?;
                    }
                }
                Some(Frame::Member(member)) => {
                    self.members += 1;
                    let first = self.seen.insert(&clean(&member.name));
                    let size = member.stored;
                    if self.journal.is_some() {
                        self.name.clone_from(&member.name);
                    }
                    let keep = sink.member(member, first).map_err(Failure::Sink)?;
                    let on_disk = keep == Keep::OnDisk && first && size > 0;
                    if let Some(journal) = &mut self.journal
                        && first
                        && !on_disk
                    {
                        journal.file(&self.name, 0, None)?;
                    }
                    let on_disk = on_disk.then(|| (size, Crc64::default()));
                    self.current = (size > 0).then_some(Current { left: size, on_disk });
                }
                Some(Frame::Body(data)) => {
                    let current = self.current.as_mut().expect("the framer yields a body only after its member");
                    current.left -= data.len() as u64;
                    let last = current.left == 0;
                    match (&mut self.journal, &mut current.on_disk) {
                        (None, _) => {}
                        (Some(journal), None) => journal.literal(data)?,
                        (Some(journal), Some((size, crc64))) => {
                            crc64.update(data);
                            if last {
                                journal.file(&self.name, *size, Some(crc64.finish()))?;
                            }
                        }
                    }
                    sink.body(data, at, last).map_err(Failure::Sink)?;
                }
                Some(Frame::End) => {}
            }
            at += taken;
        }
    }

    /// Ends the tar. Returns what the journal was written to, if there is one.
    ///
    /// # Errors
    /// [`Failure::Tar`] if the archive is cut, [`Failure::Journal`] if the journal cannot be written.
    pub fn finish<E>(mut self) -> Result<Option<W>, Failure<E>> {
        self.framer.finish()?;
        Ok(self.journal.map(EntryWriter::finish).transpose()?)
    }
}
