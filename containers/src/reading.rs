//! The records of a log of json-file, read back (moby v20.10.24 `daemon/logger/jsonfilelog/read.go`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags};
use serde::Deserialize;
use snapshot::schema::time::Time;

/// Bytes of the longest record that is read. Docker cuts lines into pieces of 16 KiB, each byte of which takes up six at
/// most; the rest is left for what `--log-opt` adds.
pub const MAX_RECORD: u64 = 1 << 20;

/// What a container has written, or a piece of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogRecord {
    /// The line with its end, or a piece of a line.
    #[serde(default)]
    pub log: String,
    /// `stdout` or `stderr`.
    #[serde(default)]
    pub stream: String,
    /// What `--log-opt` adds.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// When it was written.
    #[serde(deserialize_with = "moment")]
    pub time: Timestamp,
}

fn moment<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = Time::parse(&text).map_err(serde::de::Error::custom)?;
    time.moment().ok_or_else(|| serde::de::Error::custom("no time"))
}

/// What comes next in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A whole record.
    Record(LogRecord),
    /// What comes next is no whole record; it may be written just now, and is read again.
    Broken,
    /// Nothing yet.
    End,
}

/// Reads records one after the other, with bounded memory.
#[derive(Debug)]
pub struct LogReader<R>(BufReader<R>);

impl LogReader<File> {
    /// Opens a log; `None` if there is none.
    ///
    /// # Errors
    /// What the system says; an error too for what is not a regular file.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        // A pipe with this name must not make us wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Some(Self::new(file)))
    }
}

impl<R: Read + Seek> LogReader<R> {
    /// Reads from where `file` stands.
    pub fn new(file: R) -> Self {
        Self(BufReader::new(file))
    }

    /// Where the records come from.
    pub fn get_ref(&self) -> &R {
        self.0.get_ref()
    }

    /// What comes next.
    ///
    /// # Errors
    /// What the system says.
    pub fn next_record(&mut self) -> io::Result<Next> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(MAX_RECORD).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(Next::End);
        }
        if let Ok(record) = serde_json::from_slice(&line) {
            return Ok(Next::Record(record));
        }
        self.0.seek_relative(-i64::try_from(read).map_err(io::Error::other)?)?;
        Ok(Next::Broken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn records_come_back_and_broken_ones_stay() {
        let record =
            |text: &str| format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05Z\"}}\n");
        let text = record("one") + &record("two") + "{\"log\":\"th";
        let mut reader = LogReader::new(Cursor::new(text));
        let mut next = || reader.next_record().unwrap();
        assert!(matches!(next(), Next::Record(record) if record.log == "one\n" && record.stream == "stdout"));
        assert!(matches!(next(), Next::Record(record) if record.log == "two\n"));
        assert_eq!([next(), next()], [Next::Broken, Next::Broken]);
        assert_eq!(LogReader::new(Cursor::new("")).next_record().unwrap(), Next::End);
    }

    /// Without the bound, a sparse file of this length would fill the memory.
    #[test]
    fn a_line_without_an_end_is_broken_and_not_kept() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let mut reader = LogReader::open(&path).unwrap().unwrap();
        assert_eq!(reader.next_record().unwrap(), Next::Broken);
        assert_eq!(reader.0.stream_position().unwrap(), 0);
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let pipe = temp.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::RWXU).unwrap();
        assert!(LogReader::open(&pipe).is_err());
        assert!(LogReader::open(temp.path()).is_err());
        std::os::unix::fs::symlink("/etc/passwd", temp.path().join("link")).unwrap();
        assert!(LogReader::open(&temp.path().join("link")).is_err());
        assert!(LogReader::open(&temp.path().join("none")).unwrap().is_none());
    }
}
