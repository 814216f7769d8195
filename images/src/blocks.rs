//! A stream that one thread writes while another one reads it, in blocks that are used again.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of a block.
const BLOCK: usize = 256 << 10;

/// Blocks that may wait to be read.
const WAITING: usize = 4;

/// A new stream. It ends for the reader when the writer is dropped, which must be [flushed](Write::flush) before.
pub(crate) fn stream() -> (BlockWriter, BlockReader) {
    let (full, fulls) = sync_channel(WAITING);
    // This channel has room for all blocks there are, so that the reader can always give one back.
    let (empty, empties) = sync_channel(WAITING + 2);
    let writer = BlockWriter { block: Vec::with_capacity(BLOCK), full, empties };
    (writer, BlockReader { block: Vec::new(), at: 0, fulls, empty })
}

/// The end of a stream that is written to.
#[derive(Debug)]
pub struct BlockWriter {
    block: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    empties: Receiver<Vec<u8>>,
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..now]);
        if self.block.len() == BLOCK {
            self.flush()?;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let next = self.empties.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        let block = std::mem::replace(&mut self.block, next);
        self.full.send(block).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The end of a stream that is read from.
#[derive(Debug)]
pub(crate) struct BlockReader {
    block: Vec<u8>,
    at: usize,
    fulls: Receiver<Vec<u8>>,
    empty: SyncSender<Vec<u8>>,
}

impl BufRead for BlockReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.block.len() {
            self.at = 0;
            self.block.clear();
            if self.block.capacity() > 0 {
                // The writer may have gone.
                let _ = self.empty.try_send(std::mem::take(&mut self.block));
            }
            // An error means that the writer is dropped: the end.
            self.block = self.fulls.recv().unwrap_or_default();
        }
        Ok(&self.block[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for BlockReader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(output)?;
        self.consume(read);
        Ok(read)
    }
}

/// Calls `write` with a stream that another thread copies to `out` meanwhile. Where the system refuses to make a thread, `write`
/// gets `out` itself.
///
/// # Errors
/// What `lost` makes of the error of `out`, if there is one, because `write` knows only that nobody reads any more;
/// else the error of `write`.
pub(crate) fn written_beside<T, E>(
    mut out: impl Write + Send,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    lost: impl FnOnce(io::Error) -> E,
) -> Result<T, E> {
    std::thread::scope(|scope| {
        // The thread starts first and is then told what to copy: if it cannot be started, nothing has been given away.
        let (tell, told) = sync_channel(1);
        let Ok(copying) = std::thread::Builder::new().spawn_scoped(scope, move || match told.recv() {
            Ok((reader, out)) => copy(reader, out),
            Err(_) => Ok(()),
        }) else {
            return write(&mut out);
        };
        let (mut writer, reader) = stream();
        tell.send((reader, out)).expect("the thread waits for it");
        let written = write(&mut writer);
        let flushed = writer.flush();
        drop(writer);
        match copying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Err(error) => Err(lost(error)),
            Ok(()) => written.and_then(|written| flushed.map_err(lost).map(|()| written)),
        }
    })
}

fn copy(mut reader: BlockReader, mut out: impl Write) -> io::Result<()> {
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return out.flush();
        }
        out.write_all(block)?;
        let length = block.len();
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts as many bytes as the second field says.
    struct Small(Vec<u8>, usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let now = bytes.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&bytes[..now]);
            if now == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(now) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_arrives_or_the_error_is_told() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 3) as u8).collect();
        let write = |out: &mut dyn Write| bytes.chunks(70_001).try_for_each(|piece| out.write_all(piece));
        for room in [bytes.len(), bytes.len() - 1, BLOCK, 5, 0] {
            let mut out = Small(Vec::new(), room);
            let written = written_beside(&mut out, write, |error| error);
            assert!(bytes.starts_with(&out.0) && out.0.len() == room, "{room}");
            let expected = if room == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull) };
            assert_eq!(written.map_err(|error| error.kind()), expected, "{room}");
        }
        let stopped = written_beside(io::sink(), |_| Err::<(), _>(io::Error::other("stopped")), |error| error);
        assert_eq!(stopped.unwrap_err().to_string(), "stopped");
    }
}
