//! What a codec must do, and the three that need little more than their library: bzip2, xz, zstd.

use std::io;

use zstd::stream::raw::{InBuffer, Operation, OutBuffer};

/// Memory that an xz stream may ask for: sixteen times what `xz -9` needs.
const XZ_MEMORY: u64 = 1 << 30;

/// The largest zstd window, as a power of two: 128 MiB, what the zstd tool accepts without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A decoder of a sequence of streams, to the end of the input.
pub(super) trait Codec {
    /// Takes some of `input` and writes some of `output`. An empty `input` is the end of the input; `output` is not empty.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> CodecStep;
}

/// What one call did.
pub(super) struct CodecStep {
    pub(super) read: usize,
    pub(super) written: usize,
    pub(super) result: Result<Progress, Fault>,
}

#[derive(PartialEq)]
pub(super) enum Progress {
    /// Something was taken or written, or the codec changed its state.
    Running,
    /// Nothing was done, and more input is needed.
    Stalled,
    /// The input ended where it may end.
    Ended,
}

pub(super) enum Fault {
    Truncated,
    Damaged(String),
}

impl CodecStep {
    /// A step by `read` and `written` bytes that did not end the input.
    pub(super) fn by(read: usize, written: usize) -> Self {
        let progress = if read == 0 && written == 0 { Progress::Stalled } else { Progress::Running };
        Self { read, written, result: Ok(progress) }
    }

    pub(super) fn ended() -> Self {
        Self { read: 0, written: 0, result: Ok(Progress::Ended) }
    }

    pub(super) fn fault(read: usize, fault: Fault) -> Self {
        Self { read, written: 0, result: Err(fault) }
    }
}

/// The difference of two byte counters of a library, which is never more than a slice's length.
pub(super) fn advance(before: u64, after: u64) -> usize {
    usize::try_from(after - before).expect("a codec moves no more than the slices it was given")
}

/// bzip2 streams one after another.
pub(super) struct Bzip2 {
    /// `None` between two streams.
    stream: Option<bzip2::Decompress>,
}

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self { stream: Some(bzip2::Decompress::new(false)) }
    }
}

impl Codec for Bzip2 {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> CodecStep {
        if self.stream.is_none() && input.is_empty() {
            return CodecStep::ended();
        }
        let stream = self.stream.get_or_insert_with(|| bzip2::Decompress::new(false));
        let before = (stream.total_in(), stream.total_out());
        let status = stream.decompress(input, output);
        let (read, written) = (advance(before.0, stream.total_in()), advance(before.1, stream.total_out()));
        let damaged = |reason: &str| CodecStep::fault(read, Fault::Damaged(reason.into()));
        match status {
            Ok(bzip2::Status::StreamEnd) => {
                self.stream = None;
                CodecStep { read, written, result: Ok(Progress::Running) }
            }
            Ok(bzip2::Status::MemNeeded) => damaged("out of memory"),
            Ok(_) => CodecStep::by(read, written),
            Err(bzip2::Error::DataMagic) => damaged("no bzip2 stream where one must start"),
            Err(_) => damaged("damaged data or wrong checksum"),
        }
    }
}

/// xz streams one after another, with padding between them.
pub(super) struct Xz {
    stream: liblzma::stream::Stream,
}

impl Xz {
    pub(super) fn new() -> io::Result<Self> {
        let flags = liblzma::stream::CONCATENATED | liblzma::stream::TELL_UNSUPPORTED_CHECK;
        Ok(Self { stream: liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)? })
    }
}

impl Codec for Xz {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> CodecStep {
        use liblzma::stream::{Action, Error, Status};
        let before = (self.stream.total_in(), self.stream.total_out());
        let action = if input.is_empty() { Action::Finish } else { Action::Run };
        let status = self.stream.process(input, output, action);
        let read = advance(before.0, self.stream.total_in());
        let written = advance(before.1, self.stream.total_out());
        let damaged = |reason: &str| CodecStep::fault(read, Fault::Damaged(reason.into()));
        match status {
            Ok(Status::StreamEnd) => CodecStep { read, written, result: Ok(Progress::Ended) },
            Ok(_) => CodecStep::by(read, written),
            Err(Error::Format) => damaged("no xz stream where one must start"),
            Err(Error::MemLimit) => {
                damaged(&format!("needs more than {} MiB of memory to be decoded", XZ_MEMORY >> 20))
            }
            Err(Error::Options) => damaged("unsupported filter or header"),
            Err(Error::UnsupportedCheck) => damaged("unknown integrity check"),
            Err(Error::Mem) => damaged("out of memory"),
            Err(_) => damaged("damaged data or wrong checksum"),
        }
    }
}

/// zstd frames one after another.
pub(super) struct Zstd {
    stream: zstd::stream::raw::Decoder<'static>,
    between_frames: bool,
}

impl Zstd {
    pub(super) fn new() -> io::Result<Self> {
        let mut stream = zstd::stream::raw::Decoder::new()?;
        stream.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(Self { stream, between_frames: false })
    }
}

impl Codec for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> CodecStep {
        if self.between_frames && input.is_empty() {
            return CodecStep::ended();
        }
        let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(output));
        let status = self.stream.run(&mut from, &mut to);
        let (read, written) = (from.pos(), to.pos());
        match status {
            Err(error) => CodecStep::fault(read, Fault::Damaged(error.to_string())),
            Ok(more) => {
                self.between_frames = more == 0;
                CodecStep::by(read, written)
            }
        }
    }
}
