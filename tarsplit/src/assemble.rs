//! A journal and the files it names, back into the tar.

use std::collections::HashSet;
use std::io::{BufRead, Read, Write};

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

/// Writes the tar that `journal` describes to `out`. Returns its length in bytes.
///
/// # Errors
/// [`JournalError`], also where Go's assembler does not look: a file must have exactly the length journalled.
pub fn assemble<R: BufRead, G: FileGetter, W: Write>(
    journal: EntryReader<R>,
    files: &G,
    mut out: W,
) -> Result<u64, JournalError> {
    let mut names = HashSet::new();
    let mut written = 0;
    let mut piece = vec![0; 128 << 10];
    for entry in journal {
        match entry? {
            Entry::Unknown => {}
            Entry::Segment(bytes) => {
                out.write_all(&bytes).map_err(|source| JournalError::Write { source })?;
                written += bytes.len() as u64;
            }
            Entry::File { name, size, crc64 } => {
                if !names.insert(clean(&name).into_owned()) {
                    return Err(JournalError::DuplicateName { name: clean(&name).into_owned() });
                }
                if size != 0 {
                    written += copy_file(files, &name, size.unsigned_abs(), crc64, &mut out, &mut piece)?;
                }
            }
        }
    }
    Ok(written)
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

fn copy_file<G: FileGetter, W: Write>(
    files: &G,
    name: &[u8],
    expected: u64,
    crc64: Option<[u8; 8]>,
    out: &mut W,
    piece: &mut [u8],
) -> Result<u64, JournalError> {
    let failed = |source| JournalError::File { name: name.to_vec(), source };
    let mut file = files.open(name).map_err(failed)?;
    let mut crc = Crc64::default();
    let mut found = 0;
    loop {
        let read = file.read(piece).map_err(failed)?;
        found += read as u64;
        if read == 0 || found > expected {
            break;
        }
        crc.update(&piece[..read]);
        out.write_all(&piece[..read]).map_err(|source| JournalError::Write { source })?;
    }
    if found != expected {
        return Err(JournalError::Size { name: name.to_vec(), expected, found });
    }
    if crc64 != Some(crc.finish()) {
        return Err(JournalError::Checksum { name: name.to_vec() });
    }
    Ok(found)
}
