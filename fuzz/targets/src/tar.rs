//! Tars and journals.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Cursor, Write};

use tarsplit::assemble::{FileGetter, assemble};
use tarsplit::disassemble::{Disassembler, Keep, Sink};
use tarsplit::frame::{Frame, Framer};
use tarsplit::journal::{EntryReader, EntryWriter, gzip};
use tarsplit::{Entry, Member};

/// What a framer said of a tar, fed in pieces of `step` bytes.
fn frames(tar: &[u8], step: usize) -> (Vec<Member>, Vec<u8>, Option<String>) {
    let (mut framer, mut members, mut bytes) = (Framer::new(), Vec::new(), Vec::new());
    for piece in tar.chunks(step) {
        let mut at = 0;
        loop {
            let (taken, frame) = match framer.next(&piece[at..]) {
                Ok(next) => next,
                Err(error) => return (members, bytes, Some(error.to_string())),
            };
            at += taken;
            match frame {
                None if taken == 0 => break,
                None | Some(Frame::End) => {}
                Some(Frame::Raw(raw) | Frame::Body(raw)) => bytes.extend_from_slice(raw),
                Some(Frame::Member(member)) => members.push(*member),
            }
        }
        assert_eq!(at, piece.len(), "all of the input was taken");
    }
    let end = framer.finish().err().map(|error| error.to_string());
    (members, bytes, end)
}

/// A tar: framing loses nothing, however it is cut, and what is accepted comes back from its journal.
pub fn framer(tar: &[u8]) {
    let (members, bytes, error) = frames(tar, usize::MAX);
    for step in [1000, 512] {
        let (others, other_bytes, other_error) = frames(tar, step);
        assert_eq!((&others, &other_error), (&members, &error), "in pieces of {step}");
        assert_eq!(other_bytes, bytes, "in pieces of {step}");
    }
    if error.is_none() {
        assert_eq!(bytes, tar);
    }
    round_trip(tar, error.is_none());
}

/// Keeps the content of files, as a layer's directory does.
#[derive(Default)]
struct Files {
    content: HashMap<Vec<u8>, Vec<u8>>,
    current: Option<Vec<u8>>,
}

impl Sink for Files {
    type Error = Infallible;

    fn member(&mut self, member: Box<Member>, first: bool) -> Result<Keep, Infallible> {
        self.current = (first && member.position.is_multiple_of(1024)).then_some(member.name);
        Ok(if self.current.is_some() { Keep::OnDisk } else { Keep::Inline })
    }

    fn body(&mut self, data: &[u8], _at: usize, _last: bool) -> Result<(), Infallible> {
        if let Some(name) = &self.current {
            self.content.entry(name.clone()).or_default().extend_from_slice(data);
        }
        Ok(())
    }
}

impl FileGetter for Files {
    type File = Cursor<Vec<u8>>;

    fn open(&self, name: &[u8]) -> std::io::Result<Self::File> {
        self.content.get(name).cloned().map(Cursor::new).ok_or(std::io::ErrorKind::NotFound.into())
    }
}

fn round_trip(tar: &[u8], accepted: bool) {
    let mut files = Files::default();
    let mut disassembler = Disassembler::new(Some(gzip(Vec::new())));
    let pushed = disassembler.push(tar, &mut files).is_ok();
    let Ok(journal) = disassembler.finish::<Infallible>() else {
        assert!(!accepted, "the framer accepts what the disassembler does not");
        return;
    };
    if pushed {
        let journal = journal.unwrap().finish().unwrap();
        let mut again = Vec::new();
        assemble(EntryReader::new(journal.as_slice()), &files, &mut again).unwrap();
        assert_eq!(again, tar);
    }
}

/// The lines of a journal: what is read from them is what is read from the same entries written anew.
pub fn journal(lines: &[u8]) {
    let mut packed = gzip(Vec::new());
    packed.write_all(lines).unwrap();
    let packed = packed.finish().unwrap();
    let Ok(entries) = EntryReader::new(packed.as_slice()).collect::<Result<Vec<Entry>, _>>() else { return };
    let (mut writer, mut expected) = (EntryWriter::new(gzip(Vec::new())), Vec::new());
    for entry in entries {
        match entry {
            Entry::Segment(bytes) => {
                writer.literal(&bytes).unwrap();
                match expected.last_mut() {
                    Some(Entry::Segment(before)) => before.extend_from_slice(&bytes),
                    _ if bytes.is_empty() => {}
                    _ => expected.push(Entry::Segment(bytes)),
                }
            }
            // Sizes below zero are read, as Go reads them, and never written.
            Entry::File { name, size, crc64 } => {
                writer.file(&name, size.unsigned_abs(), crc64).unwrap();
                expected.push(Entry::File { name, size: size.saturating_abs(), crc64 });
            }
            Entry::Unknown => {}
        }
    }
    let written = writer.finish().unwrap().finish().unwrap();
    let again = EntryReader::new(written.as_slice()).collect::<Result<Vec<Entry>, _>>();
    if expected
        .iter()
        .any(|entry| matches!(entry, Entry::Segment(bytes) if bytes.len() > tarsplit::limits::MAX_SEGMENT))
    {
        return;
    }
    match again {
        Ok(again) => assert_eq!(again, expected),
        // The one number without a positive counterpart.
        Err(_) => assert!(expected.iter().any(|entry| matches!(entry, Entry::File { size: i64::MAX, .. }))),
    }
}
