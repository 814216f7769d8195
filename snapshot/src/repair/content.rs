//! Compares a layer's content with its diff id, and saves what can be read of a broken journal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::AtomicBool;

use flate2::bufread::GzDecoder;
use layerfs::verify::{Comparison, Shows, VerifyError, verify};
use layerfs::{DiffId, Hasher, LayerFiles};
use rustix::fd::AsFd;
use tarsplit::assemble::assemble;
use tarsplit::journal::{EntryReader, gzip};

use super::unread;
use crate::catalog::with_causes;
use crate::dir::Dir;

/// Bytes, uncompressed, of the largest journal that is mended.
const MAX_JOURNAL: usize = 256 << 20;

struct HashingWriter(Hasher);

impl Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The diff id that a journal and a directory make together; `None` if they make none.
///
/// # Errors
/// Why one of them cannot be read: they may make any diff id.
pub(super) fn replay(journal: impl Read, content: Dir) -> Result<Option<DiffId>, String> {
    let mut out = HashingWriter(Hasher::default());
    let entries = EntryReader::new(BufReader::with_capacity(128 << 10, journal));
    match assemble(entries, &LayerFiles::new(content.into()), &mut out) {
        Ok(_) => Ok(Some(DiffId(out.0.finish()))),
        Err(error) if unread::failed_to_read(&error) => Err(with_causes(&error)),
        Err(_) => Ok(None),
    }
}

/// Whether a layer's directory, which holds only its changes, is as it was written: journal and directory make the
/// diff id, and no file is unknown to the journal or has other metadata.
///
/// # Errors
/// Why one of them cannot be read.
pub(super) fn is_as_written(
    journal: impl Read,
    content: &Dir,
    owners: bool,
    diff_id: DiffId,
) -> Result<bool, VerifyError> {
    let comparison = Comparison { tree: content.as_fd(), shows: Shows::LayerAlone, owners, most: 1 };
    let journal = BufReader::with_capacity(128 << 10, journal);
    let found = verify(journal, &comparison, &|_| {}, &AtomicBool::new(false))?;
    Ok(found.faults.is_empty() && found.diff_id == Some(diff_id))
}

/// Checks the beginning of a journal.
pub(super) fn begins_well(journal: File) -> Result<(), String> {
    match EntryReader::new(BufReader::new(journal)).next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(with_causes(&error)),
        None => Err("it is empty".into()),
    }
}

/// The sum of the sizes of all members, which is a layer's size for drivers whose layers are whole trees.
pub(super) fn member_sizes(journal: impl Read) -> Option<u64> {
    let mut sum: u64 = 0;
    for entry in EntryReader::new(BufReader::new(journal)) {
        if let tarsplit::Entry::File { size, .. } = entry.ok()? {
            sum = sum.saturating_add(u64::try_from(size).unwrap_or_default());
        }
    }
    Some(sum)
}

/// Makes a whole journal of what can be read of a broken one: its gzip was cut short, or lost the checksum at its end,
/// or its text was left uncompressed. Nothing proves that the result is complete, so the caller must replay it. `None`
/// if nothing can be read.
pub(super) fn salvage(journal: impl Read) -> Option<Vec<u8>> {
    const GZIP: u8 = 0x1f;
    let mut reader = BufReader::new(journal);
    let head = *reader.fill_buf().ok()?.first()?;
    let mut decoded: Box<dyn Read> = match head {
        GZIP => Box::new(GzDecoder::new(reader)),
        b'{' => Box::new(reader),
        _ => return None,
    };
    let (mut text, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    // What comes before an error can be used, so an error only ends the reading.
    while let Ok(read @ 1..) = decoded.read(&mut piece) {
        text.extend_from_slice(&piece[..read]);
        if text.len() > MAX_JOURNAL {
            return None;
        }
    }
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if serde_json::from_slice::<serde_json::Value>(&text[whole..]).is_err() {
        text.truncate(whole);
    }
    let mut out = gzip(Vec::new());
    out.write_all(&text).ok()?;
    out.finish().ok()
}

#[cfg(test)]
mod tests {
    use tarsplit::journal::EntryWriter;

    use super::*;

    fn journal() -> Vec<u8> {
        let mut writer = EntryWriter::new(gzip(Vec::new()));
        writer.literal(&[7; 512]).unwrap();
        writer.file(b"a", 0, None).unwrap();
        writer.literal(&[0; 1024]).unwrap();
        writer.finish().unwrap().finish().unwrap()
    }

    fn entries(journal: &[u8]) -> Vec<tarsplit::Entry> {
        EntryReader::new(journal).map(Result::unwrap).collect()
    }

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(rustix::io::Errno::IO.into())
        }
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_not_that_of_another_layer() {
        let (temp, whole) = (tempfile::tempdir().unwrap(), journal());
        let dir = || Dir::open(temp.path()).unwrap();
        assert!(replay(whole.as_slice(), dir()).unwrap().is_some());
        for read in [0, 5, whole.len() - 20] {
            assert!(replay((&whole[..read]).chain(Failing), dir()).is_err(), "{read}");
            assert_eq!(replay(&whole[..read], dir()), Ok(None), "{read}");
        }
    }

    #[test]
    fn what_is_left_of_a_journal_is_read() {
        let whole = journal();
        let expected = entries(&whole);
        let mut plain = Vec::new();
        GzDecoder::new(whole.as_slice()).read_to_end(&mut plain).unwrap();
        let mut wrong_sum = whole.clone();
        let at = whole.len() - 6;
        wrong_sum[at] ^= 1;
        for broken in [&whole[..whole.len() - 8], &plain, &plain[..plain.len() - 1], &wrong_sum] {
            assert_eq!(entries(&salvage(broken).unwrap()), expected);
        }
        assert_eq!(entries(&salvage(&plain[..plain.len() - 9]).unwrap()), expected[..2]);
        assert!(salvage(&b""[..]).is_none() && salvage(&b"no"[..]).is_none());
    }
}
