//! Whether a file system has room, before the first byte is written.

use layerfs::compress::Compression;
use tarsplit::Kind;
use tarsplit::frame::{Frame, Framer};

use super::error::ImportError;
use crate::dir::Dir;
use crate::error::StoreError;

/// What layers will take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Need {
    /// Bytes, in whole blocks of the file system.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Some layer is compressed and counts with its compressed length: the need may be greater.
    pub lower_bound: bool,
}

impl Need {
    /// Adds a layer to be unpacked on a file system with blocks of `block` bytes.
    ///
    /// An uncompressed layer's headers are read, nothing else of it. What cannot be read counts up to there: unpacking
    /// will say what is wrong.
    pub fn add(&mut self, layer: &[u8], block: u64) {
        if Compression::sniff(layer) != Compression::None {
            self.bytes += layer.len() as u64;
            self.lower_bound = true;
            return;
        }
        let mut framer = Framer::new();
        let mut at = 0;
        while let Ok((taken, Some(frame))) = framer.next(&layer[at..]) {
            at += taken;
            match frame {
                Frame::Member(member) => {
                    let data = if member.kind == Kind::Directory { 1 } else { member.stored };
                    self.bytes += data.div_ceil(block) * block;
                    self.inodes += u64::from(!matches!(member.kind, Kind::HardLink | Kind::GlobalHeader));
                }
                Frame::End => return,
                Frame::Raw(_) | Frame::Body(_) => {}
            }
        }
    }

    /// Compares with the room on `dir`'s file system.
    ///
    /// # Errors
    /// [`ImportError::Space`]
    pub(crate) fn check(&self, dir: &Dir) -> Result<(), ImportError> {
        let stat = statvfs(dir)?;
        let too_little = |what, need, free| ImportError::Space { path: dir.path().to_path_buf(), what, need, free };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if self.bytes > free {
            return Err(too_little("bytes", self.bytes, free));
        }
        // Zero total inodes: the file system makes them as needed.
        if stat.f_files > 0 && self.inodes > stat.f_favail {
            return Err(too_little("inodes", self.inodes, stat.f_favail));
        }
        Ok(())
    }
}

/// Checks `layers`; headers are read only where a rough upper bound does not fit.
pub(crate) fn check(layers: &[&[u8]], dir: &Dir) -> Result<(), ImportError> {
    let stat = statvfs(dir)?;
    let total: u64 = layers.iter().map(|layer| layer.len() as u64).sum();
    let plain = layers.iter().all(|layer| Compression::sniff(layer) == Compression::None);
    // Every member has a header of 512 bytes, and wastes less than a block.
    let members = total / 512;
    let most = total.saturating_add(members.saturating_mul(stat.f_frsize));
    let inodes_fit = stat.f_files == 0 || members < stat.f_favail;
    if plain && inodes_fit && most < stat.f_bavail.saturating_mul(stat.f_frsize) {
        return Ok(());
    }
    let mut need = Need::default();
    for layer in layers {
        need.add(layer, stat.f_frsize.max(512));
    }
    need.check(dir)
}

pub(crate) fn statvfs(dir: &Dir) -> Result<rustix::fs::StatVfs, StoreError> {
    rustix::fs::fstatvfs(dir).map_err(StoreError::io(dir.path(), "statvfs"))
}
