//! How a layer is compressed: by which encoder, into how many members.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;

use flate2::write::GzEncoder;
use flate2::{Compression as Level, GzBuilder};

use super::{CorpusCompression, Error};

/// What one gzip member of [`CorpusCompression::Members`] holds.
const MEMBER: usize = 1 << 20;

/// A sink that compresses into another one.
pub(super) enum Encoder<W: Write + Send + 'static> {
    None(W),
    Gzip(Box<GzEncoder<W>>),
    Members(Members<W>),
    Zstd(zstd::Encoder<'static, W>),
    Pigz(Pigz<W>),
}

impl<W: Write + Send + 'static> Encoder<W> {
    pub(super) fn new(compression: CorpusCompression, out: W) -> Result<Self, Error> {
        Ok(match compression {
            CorpusCompression::None => Self::None(out),
            CorpusCompression::Gzip => Self::Gzip(Box::new(gzip(out))),
            CorpusCompression::Members => Self::Members(Members { current: Some(gzip(out)), room: MEMBER }),
            CorpusCompression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, 3)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
            CorpusCompression::Pigz => Self::Pigz(Pigz::start(out)?),
        })
    }

    /// Ends the stream, and gives back where it went.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Members(members) => members.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Pigz(pigz) => pigz.finish(),
        }
    }
}

impl<W: Write + Send + 'static> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Members(members) => members.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Pigz(pigz) => pigz.input.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Of use to nobody: a flush would change what is written.
        Ok(())
    }
}

/// A gzip member without name and time.
fn gzip<W: Write>(out: W) -> GzEncoder<W> {
    GzBuilder::new().write(out, Level::new(6))
}

/// Many gzip members in a row, as writers of seekable layers make them.
pub(super) struct Members<W: Write> {
    /// `None` only after a failure.
    current: Option<GzEncoder<W>>,
    room: usize,
}

impl<W: Write> Members<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            let out = self.take()?.finish()?;
            (self.current, self.room) = (Some(gzip(out)), MEMBER);
        }
        let mut encoder = self.take()?;
        let written = encoder.write(&bytes[..bytes.len().min(self.room)])?;
        self.room -= written;
        self.current = Some(encoder);
        Ok(written)
    }

    fn take(&mut self) -> io::Result<GzEncoder<W>> {
        self.current.take().ok_or_else(|| io::Error::other("a gzip member failed before"))
    }

    fn finish(mut self) -> io::Result<W> {
        self.take()?.finish()
    }
}

/// The real `pigz`, and the thread that takes what it writes.
pub(super) struct Pigz<W> {
    child: Child,
    input: ChildStdin,
    output: JoinHandle<io::Result<W>>,
}

impl<W: Write + Send + 'static> Pigz<W> {
    fn start(mut out: W) -> Result<Self, Error> {
        // Without name and time: the bytes do not depend on the number of threads either.
        let mut command = Command::new("pigz");
        command.args(["-n", "-m", "-6", "-c"]).env_remove("PIGZ").env_remove("GZIP");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|source| Error::Pigz { source })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, mut compressed) = pipes.ok_or_else(|| io::Error::other("pigz without pipes"))?;
        let output = std::thread::spawn(move || io::copy(&mut compressed, &mut out).map(|_| out));
        Ok(Self { child, input, output })
    }

    fn finish(self) -> io::Result<W> {
        let Self { mut child, input, output } = self;
        // Its end of file.
        drop(input);
        let out = output.join().map_err(|_| io::Error::other("the reader of pigz's output panicked"))?;
        let status = child.wait()?;
        if status.success() { out } else { Err(io::Error::other(format!("pigz: {status}"))) }
    }
}
