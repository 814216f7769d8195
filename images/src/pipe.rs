//! A tar that one thread writes while another one unpacks it.

use std::io::{self, BufRead, BufReader, BufWriter, PipeReader, PipeWriter, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::export::ExportError;

/// Where a layer is written to.
pub type LayerWriter = BufWriter<PipeWriter>;

/// Calls `write` on a thread of its own, and gives what it writes to `read` meanwhile. If `write` fails, the reader fails with
/// the same error.
///
/// # Errors
/// Where there can be no pipe or no thread.
pub fn piped<T>(
    write: impl FnOnce(LayerWriter) -> Result<(), ExportError> + Send,
    read: impl FnOnce(Box<dyn BufRead + Send>) -> T,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let (reader, writer) = io::pipe()?;
        let (ended, end) = sync_channel(1);
        let write = move || {
            // Nobody listens if the reader has failed.
            let _ = ended.send(write(BufWriter::with_capacity(256 << 10, writer)));
        };
        std::thread::Builder::new().spawn_scoped(scope, write)?;
        Ok(read(Box::new(BufReader::with_capacity(128 << 10, Whole { reader, end: Some(end) }))))
    })
}

/// The end of the pipe counts as the end of the tar only if whoever writes it has come to an end as well.
struct Whole {
    reader: PipeReader,
    end: Option<Receiver<Result<(), ExportError>>>,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read == 0
            && !buffer.is_empty()
            && let Some(end) = self.end.take()
        {
            match end.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Err(io::Error::other("the layer was not written to its end")),
            }
        }
        Ok(read)
    }
}
