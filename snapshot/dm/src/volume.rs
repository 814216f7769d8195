//! The content of one device.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::ThinPool;
use crate::devices::ThinDevice;
use crate::error::MetadataDamage;
use crate::mappings::MappedRun;

/// Bytes that are copied at a time where the kernel cannot copy between the files itself.
const PIECE: usize = 1 << 20;

/// A device as its mappings say: which parts of the data make its content. What is not mapped reads as zeros.
#[derive(Debug, Clone)]
pub struct ThinVolume {
    runs: Vec<MappedRun>,
    lost: Vec<MetadataDamage>,
    block_size: u64,
    size: u64,
}

impl ThinVolume {
    /// Reads the mappings of a device of `size` bytes. The pool does not record the size: its user does.
    #[must_use]
    pub fn read(pool: &ThinPool<'_>, device: &ThinDevice, size: u64) -> Self {
        let (mut runs, mut lost) = (Vec::new(), Vec::new());
        for run in pool.mappings(device) {
            match run {
                Ok(run) => runs.push(run),
                Err(damage) => lost.push(damage),
            }
        }
        Self { runs, lost, block_size: pool.superblock().block_size, size }
    }

    /// Bytes of the device.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The parts of the mappings that are lost: their blocks read as zeros. The keys are blocks of the device.
    #[must_use]
    pub fn lost(&self) -> &[MetadataDamage] {
        &self.lost
    }

    /// Bytes that are mapped.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.pieces().map(|(_, _, length)| length).sum()
    }

    /// The parts of the device that are mapped: where each is in the device and in the data, and how many bytes it has.
    fn pieces(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.runs.iter().filter_map(|run| {
            let at = run.origin.checked_mul(self.block_size)?;
            let length = run.length.checked_mul(self.block_size)?.min(self.size.checked_sub(at)?);
            Some((at, run.data.checked_mul(self.block_size)?, length)).filter(|_| length > 0)
        })
    }

    /// Writes the device to `to`, an empty file, from the pool's `data`. Blocks that are not mapped become holes. On a
    /// file system that can share blocks between files, and if `data` is a file there, no data is copied.
    ///
    /// # Errors
    /// Of reading and writing; [`io::ErrorKind::UnexpectedEof`] if the data ends before a block that is mapped.
    pub fn copy_to(&self, data: &File, to: &File) -> io::Result<()> {
        to.set_len(self.size)?;
        let mut buffer = Vec::new();
        for (at, from, length) in self.pieces() {
            let mut done = copy_by_kernel(data, from, to, at, length)?;
            while done < length {
                buffer.resize(PIECE, 0);
                let part = (length - done).min(PIECE as u64) as usize;
                let piece = &mut buffer[..part];
                data.read_exact_at(piece, from + done)?;
                to.write_all_at(piece, at + done)?;
                done += part as u64;
            }
        }
        Ok(())
    }
}

/// Has the kernel copy as much as it can. Returns how many bytes that was: none where it cannot copy between such files.
fn copy_by_kernel(data: &File, from: u64, to: &File, at: u64, length: u64) -> io::Result<u64> {
    let mut done = 0;
    while done < length {
        let (mut source, mut target) = (from + done, at + done);
        let part = usize::try_from(length - done).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(data, Some(&mut source), to, Some(&mut target), part) {
            // The end of the data, or a file of which it copies nothing: reading says which of them.
            Ok(0) => break,
            Ok(copied) => done += copied as u64,
            Err(rustix::io::Errno::NOSPC) => return Err(rustix::io::Errno::NOSPC.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}
