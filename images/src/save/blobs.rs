//! A new archive of files that are known when they are written: what a copy brings from elsewhere.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::ustar::{END, header, member, padding};
use crate::output::{NewFile, OutputError};

/// Bytes that are written at once.
const PIECE: usize = 256 << 10;

/// A tar that nobody sees until it is whole.
#[derive(Debug)]
pub struct NewArchive {
    file: NewFile,
}

impl NewArchive {
    /// Begins an archive that will be called `path`.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn create(path: PathBuf) -> Result<Self, OutputError> {
        NewFile::create(path).map(|file| Self { file })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Those of writing.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(&member(name, bytes))
    }

    /// Writes a file of `size` bytes that comes piece by piece. `read` brings the next piece into a buffer and tells how long it
    /// is, zero at the end. What was begun and fails is taken back, so that the archive can go on without it.
    ///
    /// # Errors
    /// Those of `read`, or of writing as `failed` puts them; [`io::ErrorKind::InvalidData`] if there are not as many bytes.
    pub fn add_from<E>(
        &mut self,
        (name, size): (&str, u64),
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
        failed: impl Fn(io::Error) -> E,
    ) -> Result<(), E> {
        let mut file = self.file.file();
        let start = file.stream_position().map_err(&failed)?;
        let mut write = || {
            file.write_all(&header(name, size)).map_err(&failed)?;
            let (mut piece, mut written) = (vec![0; PIECE], 0);
            loop {
                let count = read(&mut piece)?;
                written += count as u64;
                if count == 0 || written > size {
                    break;
                }
                file.write_all(&piece[..count]).map_err(&failed)?;
            }
            if written != size {
                let reason = format!("{name} does not have the {size} bytes that it should have");
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            file.write_all(padding(size)).map_err(&failed)
        };
        let written = write();
        if written.is_err() {
            file.set_len(start).and_then(|()| file.seek(SeekFrom::Start(start))).map_err(&failed)?;
        }
        written
    }

    /// Ends the archive and gives it its name, in the place of what has that name.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn finish(mut self) -> Result<(), OutputError> {
        let path = self.file.path.clone();
        self.file.write_all(&END).map_err(OutputError::output(&path, "writing"))?;
        self.file.finish()
    }
}
