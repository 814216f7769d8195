//! Where an archive goes. Nobody sees it until it is whole: a file has no name before that, and a directory has a temporary
//! name.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use layerfs::Digest;
use rustix::fs::{Mode, OFlags};
use snapshot::dir::Dir;

use super::documents::blob_name;
use super::error::SaveError;
use super::ustar;
use crate::output::{NewFile, OutputError, name_beside, parent};

/// Where an archive goes.
pub enum SaveDestination<'d> {
    /// A file. When it is whole, it replaces the file that has its name.
    File(PathBuf),
    /// A new directory.
    Directory(PathBuf),
    /// A stream, which somebody reads while it is written.
    Stream(&'d mut (dyn Write + Send)),
}

impl std::fmt::Debug for SaveDestination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// An archive that is being written: blobs and documents, one after the other.
pub(super) enum Output<'d> {
    Tar(TarFile),
    Stream(&'d mut (dyn Write + Send)),
    Directory(NewDirectory),
}

impl<'d> Output<'d> {
    pub(super) fn open(destination: SaveDestination<'d>) -> Result<Self, SaveError> {
        Ok(match destination {
            SaveDestination::File(path) => Self::Tar(TarFile { file: NewFile::create(path)?, header: 0, begun: false }),
            SaveDestination::Directory(path) => Self::Directory(NewDirectory::create(path)?),
            SaveDestination::Stream(stream) => Self::Stream(stream),
        })
    }

    /// The path of the output, for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Tar(tar) => &tar.file.path,
            Self::Stream(_) => Path::new("standard output"),
            Self::Directory(directory) => &directory.path,
        }
    }

    /// Makes a failed write into an error.
    pub(super) fn failed(&self) -> impl FnOnce(io::Error) -> SaveError + use<> {
        SaveError::output(self.path(), "writing")
    }

    /// Whether digest and length of a blob must be known before its bytes.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Makes room for blobs whose digests and lengths are known, one after the other. Returns where each begins in its file.
    pub(super) fn lay_out(&mut self, blobs: &[(Digest, u64)]) -> io::Result<Vec<u64>> {
        match self {
            Self::Tar(tar) => tar.lay_out(blobs),
            Self::Directory(_) => Ok(vec![0; blobs.len()]),
            Self::Stream(_) => unreachable!("the caller asks whether it is a stream"),
        }
    }

    /// The files of the blobs for which there is [room](Self::lay_out).
    pub(super) fn files(&self) -> Files<'_> {
        match self {
            Self::Tar(tar) => Files { path: &tar.file.path, one: Ok(&tar.file.file) },
            Self::Directory(directory) => Files { path: &directory.path, one: Err(&directory.blobs) },
            Self::Stream(_) => unreachable!("the caller asks whether it is a stream"),
        }
    }

    /// Begins a blob. For a stream, its digest and length must be known.
    pub(super) fn begin(&mut self, known: Option<(Digest, u64)>) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.begin(),
            Self::Stream(stream) => {
                let (digest, size) = known.expect("the caller asks whether it is a stream");
                stream.write_all(&ustar::header(&blob_name(digest), size))
            }
            Self::Directory(directory) => directory.begin(),
        }
    }

    /// Adds bytes to the blob that was begun.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.file.file.write_all(bytes),
            Self::Stream(stream) => stream.write_all(bytes),
            Self::Directory(directory) => directory.blob.as_mut().expect("a blob was begun").write_all(bytes),
        }
    }

    /// Ends the blob that was begun: its digest is its name.
    pub(super) fn end(&mut self, digest: Digest, size: u64) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.end(&blob_name(digest), size),
            Self::Stream(stream) => stream.write_all(ustar::padding(size)),
            Self::Directory(directory) => directory.end(digest),
        }
    }

    /// Takes back the blob that was begun, if one was. What has gone through a stream is gone.
    pub(super) fn abandon(&mut self) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.abandon(),
            Self::Stream(_) => Ok(()),
            Self::Directory(directory) => directory.abandon(),
        }
    }

    /// Adds a directory to an archive. In a directory they are there already.
    pub(super) fn directory(&mut self, name: &str) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.file.file.write_all(&ustar::directory(name)),
            Self::Stream(stream) => stream.write_all(&ustar::directory(name)),
            Self::Directory(_) => Ok(()),
        }
    }

    /// Begins a file whose name and length are known. What is [written](Self::write) next is its content.
    pub(super) fn begin_file(&mut self, name: &str, size: u64, mode: u32) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.file.file.write_all(&ustar::header_with(name, size, mode)),
            Self::Stream(stream) => stream.write_all(&ustar::header_with(name, size, mode)),
            Self::Directory(directory) => {
                directory.blob = Some(directory.create_file(name)?);
                Ok(())
            }
        }
    }

    /// Ends the file of `size` bytes that was begun with its name.
    pub(super) fn end_file(&mut self, size: u64) -> io::Result<()> {
        match self {
            Self::Tar(tar) => tar.file.file.write_all(ustar::padding(size)),
            Self::Stream(stream) => stream.write_all(ustar::padding(size)),
            Self::Directory(directory) => {
                directory.blob = None;
                Ok(())
            }
        }
    }

    /// Adds a small file with a mode, which only an archive keeps.
    pub(super) fn add_file(&mut self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.begin_file(name, bytes.len() as u64, mode)?;
        self.write(bytes)?;
        self.end_file(bytes.len() as u64)
    }

    /// Adds a small file.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tar(TarFile { file, .. }) => file.file.write_all(&ustar::member(name, bytes)),
            Self::Stream(stream) => stream.write_all(&ustar::member(name, bytes)),
            Self::Directory(directory) => directory.add(name, bytes),
        }
    }

    /// Gives the archive its name, so that others see it.
    pub(super) fn finish(self) -> Result<(), SaveError> {
        match self {
            Self::Tar(tar) => tar.finish(),
            Self::Stream(stream) => {
                let ended = stream.write_all(&ustar::END).and_then(|()| stream.flush());
                ended.map_err(SaveError::output(Path::new("standard output"), "writing"))
            }
            Self::Directory(directory) => directory.finish(),
        }
    }
}

/// The files of blobs that several threads write.
pub(super) struct Files<'o> {
    path: &'o Path,
    /// One file for all of them, or a directory for files of their own.
    one: Result<&'o File, &'o Dir>,
}

impl Files<'_> {
    /// Opens the file of a blob.
    pub(super) fn open(&self, digest: Digest) -> io::Result<File> {
        match self.one {
            Ok(file) => file.try_clone(),
            Err(blobs) => blobs.write_new(&digest.hex(), b"", 0o644).map_err(io::Error::other),
        }
    }

    /// Makes a failed write into an error.
    pub(super) fn failed(&self) -> impl FnOnce(io::Error) -> SaveError + use<> {
        SaveError::output(self.path, "writing")
    }
}

/// A tar whose members' headers are filled in when their lengths are known.
pub(super) struct TarFile {
    file: NewFile,
    /// Where the header of the current blob is, or that of the last one.
    header: u64,
    /// Whether a blob was begun and has not ended.
    begun: bool,
}

impl TarFile {
    fn lay_out(&mut self, blobs: &[(Digest, u64)]) -> io::Result<Vec<u64>> {
        let mut begins = Vec::with_capacity(blobs.len());
        for &(digest, size) in blobs {
            self.file.file.write_all(&ustar::header(&blob_name(digest), size))?;
            begins.push(self.file.file.stream_position()?);
            let end = i64::try_from(size + ustar::padding(size).len() as u64).map_err(io::Error::other)?;
            self.file.file.seek(SeekFrom::Current(end))?;
        }
        Ok(begins)
    }

    fn begin(&mut self) -> io::Result<()> {
        self.header = self.file.file.stream_position()?;
        self.begun = true;
        self.file.file.write_all(&[0; ustar::BLOCK])
    }

    fn abandon(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.begun) {
            self.file.file.seek(SeekFrom::Start(self.header))?;
            self.file.file.set_len(self.header)?;
        }
        Ok(())
    }

    fn end(&mut self, name: &str, size: u64) -> io::Result<()> {
        self.file.file.write_all(ustar::padding(size))?;
        self.file.file.write_all_at(&ustar::header(name, size), self.header)?;
        self.begun = false;
        self.file.file.seek(SeekFrom::End(0)).map(drop)
    }

    fn finish(mut self) -> Result<(), SaveError> {
        let path = self.file.path.clone();
        self.file.file.write_all(&ustar::END).map_err(SaveError::output(&path, "writing"))?;
        Ok(self.file.finish()?)
    }
}

/// A new directory, which has a temporary name while it is filled.
pub(super) struct NewDirectory {
    path: PathBuf,
    temporary: PathBuf,
    dir: Dir,
    blobs: Dir,
    blob: Option<File>,
    done: bool,
}

/// The name of a blob while it is written, before its digest is known.
const UNNAMED: &str = ".writing";

impl NewDirectory {
    fn create(path: PathBuf) -> Result<Self, SaveError> {
        // This takes off a slash at the end.
        let path: PathBuf = path.components().collect();
        parent(&path)?;
        match std::fs::read_dir(&path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(OutputError::InvalidPath { path, what: "is not empty" }.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SaveError::output(&path, "opening")(error)),
        }
        let temporary = name_beside(&path)?;
        std::fs::create_dir(&temporary).map_err(SaveError::output(&temporary, "creating"))?;
        let made = || -> Result<_, SaveError> {
            let dir = Dir::open(&temporary)?;
            let blobs = dir.create("blobs", 0o755)?.create("sha256", 0o755)?;
            Ok((dir, blobs))
        };
        match made() {
            Ok((dir, blobs)) => Ok(Self { path, temporary, dir, blobs, blob: None, done: false }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&temporary);
                Err(error)
            }
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.blob = Some(self.blobs.write_new(UNNAMED, b"", 0o644).map_err(io::Error::other)?);
        Ok(())
    }

    fn abandon(&mut self) -> io::Result<()> {
        match self.blob.take() {
            Some(_) => Ok(rustix::fs::unlinkat(&self.blobs, UNNAMED, rustix::fs::AtFlags::empty())?),
            None => Ok(()),
        }
    }

    fn end(&mut self, digest: Digest) -> io::Result<()> {
        self.blob = None;
        rustix::fs::renameat(&self.blobs, UNNAMED, &self.blobs, digest.hex())?;
        Ok(())
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.create_file(name)?.write_all(bytes)
    }

    fn create_file(&self, name: &str) -> io::Result<File> {
        let (dir, name) = match name.rsplit_once('/') {
            Some((_, blob)) => (&self.blobs, blob),
            None => (&self.dir, name),
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))?.into())
    }

    fn finish(mut self) -> Result<(), SaveError> {
        // This replaces an empty directory, and nothing else.
        rustix::fs::rename(&self.temporary, &self.path).map_err(SaveError::output(&self.path, "renaming to"))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if !self.done {
            // The error that led here is the one to report.
            let _ = std::fs::remove_dir_all(&self.temporary);
        }
    }
}
