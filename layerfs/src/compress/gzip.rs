//! gzip members one after another, by zlib's own reading of headers and trailers.

use flate2::{Decompress, FlushDecompress, Status};

use super::codec::{Codec, CodecStep, Fault, Progress, advance};

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The base-2 logarithm of deflate's window.
const WINDOW_BITS: u8 = 15;

/// gzip members; what follows the last one and does not start with gzip's magic is skipped and counted.
pub(super) struct Gzip {
    place: Position,
}

enum Position {
    Member(Decompress),
    /// After a member: the end, another member or garbage.
    Between,
    /// After a member and the first byte of the magic, which was the last of its buffer.
    HalfMagic,
    /// This many bytes of garbage were skipped.
    Garbage(u64),
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self { place: Position::Member(Decompress::new_gzip(WINDOW_BITS)) }
    }

    pub(super) fn trailing_garbage(&self) -> Option<u64> {
        match self.place {
            Position::Garbage(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Goes to another place after `read` bytes.
    fn enter(&mut self, place: Position, read: usize) -> CodecStep {
        self.place = place;
        CodecStep { read, written: 0, result: Ok(Progress::Running) }
    }
}

impl Codec for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> CodecStep {
        match (&mut self.place, input) {
            (Position::Member(inflate), _) => {
                let step = inflate_some(inflate, input, output);
                if step.ended_member {
                    self.place = Position::Between;
                }
                step.step
            }
            (Position::HalfMagic, []) => {
                self.place = Position::Garbage(1);
                CodecStep::ended()
            }
            (Position::Between | Position::Garbage(_), []) => CodecStep::ended(),
            (Position::Between, [first]) if *first == MAGIC[0] => self.enter(Position::HalfMagic, 1),
            (Position::Between, [first, second, ..]) if [*first, *second] == MAGIC => {
                self.enter(Position::Member(Decompress::new_gzip(WINDOW_BITS)), 0)
            }
            (Position::Between, _) => self.enter(Position::Garbage(0), 0),
            (Position::HalfMagic, [second, ..]) if *second == MAGIC[1] => {
                let mut inflate = Decompress::new_gzip(WINDOW_BITS);
                let first = inflate_some(&mut inflate, &MAGIC[..1], output).step;
                let mut step = self.enter(Position::Member(inflate), 0);
                if let Err(fault) = first.result {
                    step.result = Err(fault);
                }
                step
            }
            (Position::HalfMagic, _) => self.enter(Position::Garbage(1), 0),
            (Position::Garbage(bytes), _) => {
                *bytes += input.len() as u64;
                CodecStep::by(input.len(), 0)
            }
        }
    }
}

struct Inflated {
    step: CodecStep,
    ended_member: bool,
}

fn inflate_some(inflate: &mut Decompress, input: &[u8], output: &mut [u8]) -> Inflated {
    let before = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, output, FlushDecompress::None);
    let (read, written) = (advance(before.0, inflate.total_in()), advance(before.1, inflate.total_out()));
    match status {
        Ok(Status::StreamEnd) => {
            Inflated { step: CodecStep { read, written, result: Ok(Progress::Running) }, ended_member: true }
        }
        Ok(_) => Inflated { step: CodecStep::by(read, written), ended_member: false },
        Err(error) => {
            // zlib-rs has only this message where its fast loop finds the damage, because the loop's own message is
            // lost.
            let reason = error.message().filter(|&message| message != "repeated call with bad state");
            let reason = reason.unwrap_or("invalid compressed data").to_owned();
            Inflated { step: CodecStep::fault(read, Fault::Damaged(reason)), ended_member: false }
        }
    }
}
