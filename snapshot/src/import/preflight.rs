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
        self.add_until(layer, block, |_, _| false);
    }

    /// As [`Need::add`], until `enough` says so, which sees the need so far and how much of the layer that is. Returns
    /// whether it did.
    fn add_until(&mut self, layer: &[u8], block: u64, enough: impl Fn(&Self, usize) -> bool) -> bool {
        if Compression::sniff(layer) != Compression::None {
            self.bytes = self.bytes.saturating_add(layer.len() as u64);
            self.lower_bound = true;
            return false;
        }
        let mut framer = Framer::new();
        let mut at = 0;
        while let Ok((taken, Some(frame))) = framer.next(&layer[at..]) {
            at += taken;
            match frame {
                Frame::Member(member) => {
                    let data = if member.kind == Kind::Directory { 1 } else { member.stored };
                    self.bytes = self.bytes.saturating_add(data.div_ceil(block).saturating_mul(block));
                    self.inodes += u64::from(!matches!(member.kind, Kind::HardLink | Kind::GlobalHeader));
                    if enough(self, at.saturating_add(usize::try_from(member.stored).unwrap_or(usize::MAX))) {
                        return true;
                    }
                }
                Frame::End => break,
                Frame::Raw(_) | Frame::Body(_) => {}
            }
        }
        false
    }

    /// The most that a layer of which `left` bytes are not read may need besides.
    fn most(left: u64, block: u64) -> Self {
        // Every member has a header of 512 bytes, and wastes less than a block.
        let members = left / 512;
        let bytes = left.saturating_add(members.saturating_mul(block));
        Self { bytes, inodes: members, lower_bound: false }
    }

    fn and(&self, other: &Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
            lower_bound: self.lower_bound || other.lower_bound,
        }
    }
}

/// What is free on a file system.
struct Room {
    block: u64,
    bytes: u64,
    inodes: u64,
}

impl Room {
    fn of(dir: &Dir) -> Result<Self, StoreError> {
        let stat = rustix::fs::fstatvfs(dir).map_err(StoreError::io(dir.path(), "statvfs"))?;
        Ok(Self {
            block: stat.f_frsize.max(512),
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            // Zero total inodes: the file system makes them as needed.
            inodes: if stat.f_files == 0 { u64::MAX } else { stat.f_favail },
        })
    }

    fn holds(&self, need: &Need) -> bool {
        self.lacks(need).is_none()
    }

    /// Of what there is too little: its name, how much is needed, how much is free.
    fn lacks(&self, need: &Need) -> Option<(&'static str, u64, u64)> {
        [("bytes", need.bytes, self.bytes), ("inodes", need.inodes, self.inodes)]
            .into_iter()
            .find(|(_, need, free)| need > free)
    }
}

/// Checks `layers` against the room on `dir`'s file system; headers are read only until the most that the rest may need
/// has room.
///
/// # Errors
/// [`ImportError::Space`]
pub(crate) fn check(layers: &[&[u8]], dir: &Dir) -> Result<(), ImportError> {
    let room = Room::of(dir)?;
    match unless_sure(layers, &room).and_then(|need| room.lacks(&need)) {
        None => Ok(()),
        Some((what, need, free)) => Err(ImportError::Space { path: dir.path().to_path_buf(), what, need, free }),
    }
}

/// What `layers` need; nothing if it turns out on the way that there is room for all of it.
fn unless_sure(layers: &[&[u8]], room: &Room) -> Option<Need> {
    let most = |layer: &[u8]| match Compression::sniff(layer) {
        Compression::None => Need::most(layer.len() as u64, room.block),
        // Nothing limits it; what is known is asked for.
        _ => Need { bytes: layer.len() as u64, ..Need::default() },
    };
    // Of each layer, the most that those behind it may need.
    let mut later: Vec<Need> = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        let behind = later.last().copied().unwrap_or_default();
        later.push(behind.and(&most(layer)));
    }
    let mut need = Need::default();
    for layer in layers {
        later.pop();
        let later = later.last().copied().unwrap_or_default();
        let enough = |need: &Need, counted: usize| {
            let left = Need::most(layer.len().saturating_sub(counted) as u64, room.block);
            room.holds(&need.and(&left).and(&later))
        };
        if need.add_until(layer, room.block, enough) {
            return None;
        }
    }
    Some(need)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer of a directory, a link and files of these lengths.
    fn layer(lengths: &[usize]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind, data: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.set_entry_type(kind);
            tar.append_data(&mut header, name, data).unwrap();
        };
        add("d/", tar::EntryType::Directory, b"");
        for (at, &length) in lengths.iter().enumerate() {
            add(&format!("d/{at}"), tar::EntryType::Regular, &vec![1; length]);
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn stopping_early_changes_no_answer() {
        let long: Vec<usize> = (0..40).map(|at| at * 997).collect();
        let layers = [layer(&long), layer(&[]), layer(&[5_000_000]), layer(&[1; 300])];
        let slices: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let mut sure = 0;
        // All of them, and the one whose members take up the most for their length in the archive.
        for slices in [&slices[..], &slices[3..]] {
            let mut all = Need::default();
            slices.iter().for_each(|layer| all.add(layer, 4096));
            for bytes in (0..3 * all.bytes).step_by(40_961).chain([all.bytes - 1, all.bytes, u64::MAX]) {
                for inodes in [0, all.inodes - 1, all.inodes, 2 * all.inodes, 20_000, u64::MAX] {
                    let room = Room { block: 4096, bytes, inodes };
                    match unless_sure(slices, &room) {
                        None => {
                            sure += 1;
                            assert!(room.holds(&all), "{bytes} bytes, {inodes} inodes");
                        }
                        Some(need) => assert_eq!(need, all),
                    }
                }
            }
        }
        assert!(sure > 100, "{sure}");
    }

    #[test]
    fn claims_beyond_all_numbers_need_all_room() {
        let mut huge = layer(&[]);
        let mut header = tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_size((1 << 63) - 1);
        header.set_cksum();
        huge.truncate(512);
        huge.extend_from_slice(header.as_bytes());
        let need = unless_sure(&[&huge, &huge], &Room { block: 4096, bytes: 6000, inodes: 100 });
        assert_eq!(need.map(|need| need.bytes), Some(u64::MAX));
    }
}
