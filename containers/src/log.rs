//! The log of a container as Docker's driver json-file writes it (moby v20.10.24 `daemon/logger/copier.go`,
//! `daemon/logger/jsonfilelog`, `daemon/logger/loggerutils/logfile.go`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use snapshot::schema::containerfile::LogConfig;
use snapshot::schema::time::Time;

/// The longest piece of a line in one record.
pub(crate) const PIECE: usize = 16 << 10;

/// The file, which several threads write to in turn.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: Option<u64>,
    max_files: u32,
    attributes: String,
}

/// Reads a size such as `10m`, in powers of a thousand.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, factor) = match number.as_bytes().last()? {
        b'k' => (&number[..number.len() - 1], 1_000),
        b'm' => (&number[..number.len() - 1], 1_000_000),
        b'g' => (&number[..number.len() - 1], 1_000_000_000),
        _ => (number, 1),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

impl Log {
    pub(crate) fn open(path: &Path, config: &LogConfig, attributes: String) -> io::Result<Self> {
        let option = |name: &str| config.config.as_ref().and_then(|config| config.get(name));
        let file = Self::append(path)?;
        let size_now = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size: size_now,
            max_size: option("max-size").and_then(|text| size(text)),
            max_files: option("max-file").and_then(|text| text.parse().ok()).unwrap_or(1),
            attributes,
        })
    }

    fn append(path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o640).open(path)
    }

    /// Writes one record.
    pub(crate) fn write(&mut self, stream: &str, line: &[u8], time: Timestamp) -> io::Result<()> {
        if self.max_size.is_some_and(|most| self.size >= most) {
            self.rotate()?;
        }
        let record = record(stream, line, time, &self.attributes);
        self.file.write_all(&record)?;
        self.size += record.len() as u64;
        Ok(())
    }

    /// The numbers of older files, the highest first.
    fn rotated(&self) -> io::Result<Vec<u32>> {
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(Vec::new()) };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?.file_name();
            let rest = entry.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
            let digits =
                rest.and_then(|rest| rest.strip_prefix(b".")).and_then(|digits| std::str::from_utf8(digits).ok());
            let number = digits.and_then(|digits| Some((digits, digits.parse::<u32>().ok()?)));
            numbers.extend(
                number.filter(|(digits, number)| *number > 0 && number.to_string() == *digits).map(|found| found.1),
            );
        }
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        Ok(numbers)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.max_files < 2 {
            self.file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&self.path)?;
        } else {
            // Only files that exist are renamed: `max-file` may be thousands of millions.
            for number in self.rotated()?.into_iter().filter(|number| *number < self.max_files - 1) {
                match fs::rename(numbered(number), numbered(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.path, numbered(1))?;
        }
        self.file = Self::append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// A record: `{"log":"...","stream":"stdout","attrs":{...},"time":"..."}` and a newline.
fn record(stream: &str, line: &[u8], time: Timestamp, attributes: &str) -> Vec<u8> {
    let mut out = String::from("{");
    if !line.is_empty() {
        out.push_str("\"log\":");
        quote(line, &mut out);
        out.push(',');
    }
    if !stream.is_empty() {
        out.push_str("\"stream\":\"");
        out.push_str(stream);
        out.push_str("\",");
    }
    if !attributes.is_empty() {
        out.push_str("\"attrs\":");
        out.push_str(attributes);
        out.push(',');
    }
    out.push_str(&format!("\"time\":\"{}\"}}\n", Time::from(time)));
    out.into_bytes()
}

/// Docker's own way to write a string (moby v20.10.24 `daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go`): each byte that is no
/// UTF-8 becomes a replacement character.
fn quote(bytes: &[u8], out: &mut String) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => out.extend(['\\', char]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\0'..='\u{1f}' | '<' | '>' | '&' => out.push_str(&format!("\\u00{:02x}", u32::from(char))),
                '\u{2028}' => out.push_str("\\u2028"),
                '\u{2029}' => out.push_str("\\u2029"),
                char => out.push(char),
            }
        }
        chunk.invalid().iter().for_each(|_| out.push_str("\\ufffd"));
    }
    out.push('"');
}

/// Cuts a stream into records: lines, and pieces of lines that are too long.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
    /// When the first piece of the present line came, if the line has not ended yet.
    begun: Option<Timestamp>,
}

impl Lines {
    /// Takes more bytes, and hands over the records that are complete.
    pub(crate) fn take(&mut self, bytes: &[u8], mut record: impl FnMut(&[u8], Timestamp)) {
        self.rest.extend(bytes);
        let mut at = 0;
        loop {
            let left = &self.rest[at..];
            let end = left.iter().take(PIECE + 1).position(|byte| *byte == b'\n');
            let (length, is_end) = match end {
                Some(end) if end < PIECE => (end + 1, true),
                _ if left.len() >= PIECE => (PIECE, false),
                _ => break,
            };
            let time = self.begun.unwrap_or_else(Timestamp::now);
            record(&left[..length], time);
            self.begun = if is_end { None } else { Some(time) };
            at += length;
        }
        self.rest.drain(..at);
    }

    /// Hands over the last line, which has no newline.
    pub(crate) fn end(&mut self, mut record: impl FnMut(&[u8], Timestamp)) {
        if !self.rest.is_empty() {
            record(&self.rest, self.begun.unwrap_or_else(Timestamp::now));
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_docker_s() {
        let time: Timestamp = "2026-01-02T03:04:05.120000000Z".parse().unwrap();
        let text = String::from_utf8(record("stdout", b"a<\t\"\xff\xc3\xa9\x7f\x08\r\n", time, "")).unwrap();
        let expected = "{\"log\":\"a\\u003c\\u0009\\\"\\ufffdé\u{7f}\\u0008\\r\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.12Z\"}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_lines_come_in_pieces() {
        for (length, expected) in [(16383, vec![16384]), (16384, vec![16384, 1]), (16385, vec![16384, 2])] {
            let mut bytes = vec![b'x'; length];
            bytes.push(b'\n');
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for part in bytes.chunks(1000) {
                lines.take(part, |line, _| found.push(line.len()));
            }
            lines.end(|line, _| found.push(line.len()));
            assert_eq!(found, expected, "{length}");
        }
    }

    #[test]
    fn files_are_rotated_at_their_size() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("c-json.log");
        let config = [("max-size".to_owned(), "1k".to_owned()), ("max-file".to_owned(), "3".to_owned())].into();
        let config = LogConfig { kind: "json-file".into(), config: Some(config) };
        let mut log = Log::open(&path, &config, String::new()).unwrap();
        for number in 0..60 {
            log.write("stdout", format!("{number}\n").as_bytes(), Timestamp::now()).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["c-json.log", "c-json.log.1", "c-json.log.2"]);
        assert!(fs::metadata(temp.path().join("c-json.log.1")).unwrap().len() >= 1000);
    }

    /// Rotation once made a system call for each number up to `max-file`.
    #[test]
    fn the_number_of_files_that_are_allowed_costs_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("c-json.log");
        fs::write(temp.path().join("c-json.log.4"), "old").unwrap();
        fs::write(temp.path().join("c-json.log.x"), "no number").unwrap();
        let config = [("max-size".to_owned(), "1".to_owned()), ("max-file".to_owned(), "4000000000".to_owned())].into();
        let config = LogConfig { kind: "json-file".into(), config: Some(config) };
        let mut log = Log::open(&path, &config, String::new()).unwrap();
        for _ in 0..3 {
            log.write("stdout", b"x\n", Timestamp::now()).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["c-json.log", "c-json.log.1", "c-json.log.2", "c-json.log.6", "c-json.log.x"]);
    }
}
