//! The journal as a file: gzip around one JSON object a line (`tar-split.json.gz`).

use std::io::{self, BufRead, Read, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::JournalError;
use crate::entry::{self, Entry};
use crate::limits::{MAX_JOURNAL_ENTRY, MAX_SEGMENT};
use crate::values;

/// Deflate level of the journals we write. Nobody compares the compressed bytes, and headers repeat so much that
/// higher levels cost several times the time for a few per cent.
const LEVEL: u32 = 1;

/// Bytes of lines that are gathered before they are written: the encoder clears its whole output buffer on every call.
const WRITE_SIZE: usize = 64 << 10;

/// Writes journal lines to `W`, uncompressed. Adjacent literal bytes are gathered into one segment.
#[derive(Debug)]
pub struct EntryWriter<W> {
    out: W,
    /// Literal bytes not yet written.
    segment: Vec<u8>,
    /// Lines not yet written.
    lines: Vec<u8>,
    position: u64,
}

impl<W: Write> EntryWriter<W> {
    /// A journal without entries.
    pub fn new(out: W) -> Self {
        Self { out, segment: Vec::new(), lines: Vec::new(), position: 0 }
    }

    /// Appends bytes that are to be replayed as they are, in segments of at most [`MAX_SEGMENT`] bytes.
    ///
    /// # Errors
    /// [`JournalError::Write`]
    pub fn literal(&mut self, mut bytes: &[u8]) -> Result<(), JournalError> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(MAX_SEGMENT - self.segment.len()));
            self.segment.extend_from_slice(now);
            bytes = rest;
            if self.segment.len() == MAX_SEGMENT {
                self.flush_segment()?;
            }
        }
        Ok(())
    }

    /// Appends a member whose `size` bytes stand in a file of its name; zero for none.
    ///
    /// # Errors
    /// [`JournalError::Write`]
    pub fn file(&mut self, name: &[u8], size: u64, crc64: Option<[u8; 8]>) -> Result<(), JournalError> {
        self.flush_segment()?;
        entry::write_file(&mut self.lines, name, size, crc64, self.position);
        self.end_line()
    }

    /// Writes what is left and returns the writer below.
    ///
    /// # Errors
    /// [`JournalError::Write`]
    pub fn finish(mut self) -> Result<W, JournalError> {
        self.flush_segment()?;
        self.write_lines()?;
        Ok(self.out)
    }

    fn flush_segment(&mut self) -> Result<(), JournalError> {
        if self.segment.is_empty() {
            return Ok(());
        }
        entry::write_segment(&mut self.lines, &self.segment, self.position);
        self.segment.clear();
        self.end_line()
    }

    fn end_line(&mut self) -> Result<(), JournalError> {
        self.position += 1;
        if self.lines.len() >= WRITE_SIZE { self.write_lines() } else { Ok(()) }
    }

    fn write_lines(&mut self) -> Result<(), JournalError> {
        self.out.write_all(&self.lines).map_err(|source| JournalError::Write { source })?;
        self.lines.clear();
        Ok(())
    }
}

/// The gzip layer of a journal we write.
///
/// # Errors
/// Writing to the encoder and finishing it return the errors of `out`.
pub fn gzip<W: Write>(out: W) -> GzEncoder<W> {
    GzEncoder::new(out, Compression::new(LEVEL))
}

/// Reads the entries of a journal that any version of Docker wrote.
///
/// Holds one entry at a time. Entries may touch, span lines or miss the last newline; the gzip may have several members.
#[derive(Debug)]
pub struct EntryReader<R> {
    gzip: MultiGzDecoder<R>,
    buffer: Vec<u8>,
    start: usize,
    entry: u64,
    ended: bool,
}

impl<R: BufRead> EntryReader<R> {
    /// Reads the gzip stream `compressed`.
    pub fn new(compressed: R) -> Self {
        Self { gzip: MultiGzDecoder::new(compressed), buffer: Vec::new(), start: 0, entry: 0, ended: false }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, JournalError> {
        loop {
            let rest = &self.buffer[self.start..];
            if let Some((entry, length)) = Entry::from_usual_form(rest) {
                self.start += length;
                self.entry += 1;
                return Ok(Some(entry));
            }
            let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<Entry>();
            match stream.next() {
                // An object ends with its brace, so what was parsed is whole. (A number could go on in the next bytes.)
                Some(Ok(entry)) => {
                    let length = stream.byte_offset();
                    if let Some(reason) = values::refusal(&rest[..length]) {
                        return Err(JournalError::Entry { entry: self.entry, reason: reason.to_owned() });
                    }
                    self.start += length;
                    self.entry += 1;
                    return Ok(Some(entry));
                }
                Some(Err(error)) if !error.is_eof() || self.ended => {
                    return Err(JournalError::Entry { entry: self.entry, reason: error.to_string() });
                }
                None if self.ended => return Ok(None),
                _ => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> Result<(), JournalError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > MAX_JOURNAL_ENTRY {
            return Err(JournalError::EntryTooLong { entry: self.entry, limit: MAX_JOURNAL_ENTRY });
        }
        // Doubling keeps the work linear: a long entry is parsed anew only when twice as much of it is there.
        let want = self.buffer.len().max(64 << 10) as u64;
        let read = (&mut self.gzip).take(want).read_to_end(&mut self.buffer);
        let read = read.map_err(|source| JournalError::Read { source })?;
        self.ended = read == 0;
        Ok(())
    }
}

impl<R: BufRead> Iterator for EntryReader<R> {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// Writes the journal in `from` anew to `to`, with the bodies that `body` knows stored inline.
///
/// `body` is asked with each cleaned name of a file entry that has content. Where it returns a reader, the content is
/// copied into the journal and the entry's size becomes zero, so that the file is no longer needed for replay.
///
/// # Errors
/// Those of reading and writing a journal; [`JournalError::Checksum`] if a body is not the one journalled.
pub fn inline_bodies<R: BufRead, W: Write, B: Read>(
    from: EntryReader<R>,
    to: W,
    mut body: impl FnMut(&[u8]) -> io::Result<Option<B>>,
) -> Result<W, JournalError> {
    let mut writer = EntryWriter::new(to);
    for entry in from {
        match entry? {
            Entry::Segment(bytes) => writer.literal(&bytes)?,
            Entry::File { name, size, crc64 } => {
                let failed = |source| JournalError::File { name: name.clone(), source };
                let inline = if size == 0 { None } else { body(&crate::names::clean(&name)).map_err(failed)? };
                let Some(mut body) = inline else {
                    writer.file(&name, size.unsigned_abs(), crc64)?;
                    continue;
                };
                writer.file(&name, 0, None)?;
                let mut crc = crate::crc64::Crc64::default();
                let mut piece = vec![0; 64 << 10];
                loop {
                    let read = body.read(&mut piece).map_err(failed)?;
                    if read == 0 {
                        break;
                    }
                    crc.update(&piece[..read]);
                    writer.literal(&piece[..read])?;
                }
                if Some(crc.finish()) != crc64 {
                    return Err(JournalError::Checksum { name });
                }
            }
            Entry::Unknown => {}
        }
    }
    writer.finish()
}
