//! What was written to a disk of a virtual machine, in order, and what a power cut could have left of it at any moment.
//!
//! QEMU keeps the log in the form of the kernel's `dm-log-writes` (`Documentation/admin-guide/device-mapper/log-writes.rst`): a
//! sector with a magic number, a version and the number of entries; then for each entry a sector with its place, its length
//! and its flags, and after it what was written. Everything that was written before a flush is on the disk after it. Of what was
//! written since then, any part may be.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Random;

const MAGIC: u64 = 0x006a_7366_7773_6872;

/// Bytes of a sector, in which places and lengths are counted.
const SECTOR: u64 = 512;

/// Flags of an entry.
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Bytes of the disk before it.
    at: u64,
    length: u64,
    flags: u64,
    /// Where what was written is in the log.
    data: u64,
}

/// The log of one disk.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

/// A moment at which the power is cut.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Entries of the log that are on the disk, all of them from the first on.
    whole: usize,
    /// Entries after them that are on the disk, too.
    more: Vec<usize>,
}

impl WriteLog {
    /// Reads the log of a machine that has ended.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let number = |at: u64| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).unwrap();
            u64::from_le_bytes(bytes)
        };
        assert_eq!(number(0), MAGIC, "{}", path.display());
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for _ in 0..number(16) {
            let (sector, sectors, flags) = (number(at), number(at + 8), number(at + 16));
            let data = at + SECTOR;
            let length = sectors * SECTOR;
            entries.push(Entry { at: sector * SECTOR, length, flags, data });
            at = data + if flags & DISCARD == 0 { length } else { 0 };
        }
        Self { file, entries }
    }

    /// The flushes, by their places in the log.
    fn flushes(&self) -> Vec<usize> {
        let flushes = self.entries.iter().enumerate().filter(|(_, entry)| entry.flags & FLUSH != 0);
        flushes.map(|(at, _)| at).collect()
    }

    /// So many moments, in order: half of them right at a flush, the others with some of what was written after it.
    #[must_use]
    pub fn cuts(&self, count: usize, random: &mut Random) -> Vec<Cut> {
        let flushes = self.flushes();
        let mut cuts: Vec<Cut> = (0..count)
            .map(|number| {
                // Spread over the whole log, and not twice at one place as long as there are enough.
                let place = (number * flushes.len() + random.below(flushes.len() as u64) as usize) / count;
                let whole = flushes[place.min(flushes.len() - 1)];
                let next = flushes.iter().copied().find(|next| *next > whole).unwrap_or(self.entries.len());
                if number % 2 == 0 {
                    return Cut { whole, more: Vec::new() };
                }
                let end = whole + 1 + random.below((next - whole) as u64) as usize;
                let is_there = |at: &usize| self.entries[*at].flags & FUA != 0 || random.below(2) == 0;
                Cut { whole, more: (whole..end).filter(is_there).collect() }
            })
            .collect();
        cuts.sort_by_key(|cut| cut.whole);
        cuts
    }

    fn apply(&self, entry: &Entry, disk: &File) {
        if entry.flags & DISCARD != 0 || entry.length == 0 {
            return;
        }
        let mut bytes = vec![0; usize::try_from(entry.length).unwrap()];
        self.file.read_exact_at(&mut bytes, entry.data).unwrap();
        disk.write_all_at(&bytes, entry.at).unwrap();
    }
}

/// A disk that is made again from its log, as far as the last cut.
#[derive(Debug)]
pub struct Replay<'l> {
    log: &'l WriteLog,
    disk: File,
    path: PathBuf,
    done: usize,
}

impl<'l> Replay<'l> {
    /// Begins with an empty disk of so many bytes, in a new file.
    #[must_use]
    pub fn new(log: &'l WriteLog, path: &Path, size: u64) -> Self {
        let disk = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        disk.set_len(size).unwrap();
        Self { log, disk, path: path.to_owned(), done: 0 }
    }

    /// Writes to `to` what the power cut leaves. Cuts must come in order.
    pub fn cut(&mut self, cut: &Cut, to: &Path) {
        while self.done < cut.whole {
            self.log.apply(&self.log.entries[self.done], &self.disk);
            self.done += 1;
        }
        let copied = Command::new("cp").arg("--sparse=always").arg(&self.path).arg(to).status().unwrap();
        assert!(copied.success());
        let left = File::options().write(true).open(to).unwrap();
        cut.more.iter().for_each(|at| self.log.apply(&self.log.entries[*at], &left));
    }
}
