//! A tar that one thread writes while another one unpacks it.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::blocks::{self, BlockReader, BlockWriter};
use crate::export::ExportError;

/// Where a layer is written to.
pub type LayerWriter = BlockWriter;

/// Calls `write` on a thread of its own, and gives what it writes to `read` meanwhile. If `write` fails, the reader
/// fails with the same error.
///
/// # Errors
/// If the thread cannot be started.
pub fn piped<T>(
    write: impl FnOnce(LayerWriter) -> Result<(), ExportError> + Send,
    read: impl FnOnce(Box<dyn BufRead + Send>) -> T,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let (writer, reader) = blocks::stream();
        let (ended, end) = sync_channel(1);
        let write = move || {
            // Nobody listens if the reader has failed.
            let _ = ended.send(write(writer));
        };
        std::thread::Builder::new().spawn_scoped(scope, write)?;
        Ok(read(Box::new(Whole { reader, end: Some(end) })))
    })
}

/// A reader for which the end of the stream is the end of the tar only if `write` has returned without an error.
struct Whole {
    reader: BlockReader,
    end: Option<Receiver<Result<(), ExportError>>>,
}

impl BufRead for Whole {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.reader.fill_buf()?.is_empty()
            && let Some(end) = self.end.take()
        {
            match end.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Err(io::Error::other("the layer was not written to its end")),
            }
        }
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

impl Read for Whole {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(output)?;
        self.consume(read);
        Ok(read)
    }
}
