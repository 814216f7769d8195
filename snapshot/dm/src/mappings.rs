//! Which blocks of the data a device's blocks are.

use std::iter::Peekable;

use crate::blocks::{Blocks, u64_at};
use crate::error::MetadataDamage;
use crate::tree::Entries;

/// Bits of a mapping that hold the time; the block of the data is above them.
const TIME_BITS: u32 = 24;

/// Blocks of a device that follow each other, in the device and in the data, and that were mapped at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedRun {
    /// The first block of the device.
    pub origin: u64,
    /// The block of the data that holds it.
    pub data: u64,
    /// How many blocks.
    pub length: u64,
    /// The pool's time at which they were mapped.
    pub time: u32,
}

/// The mapped blocks of a device as runs, and what is damaged between them.
#[derive(Debug)]
pub struct Mappings<'a>(Peekable<Entries<'a, 8>>);

impl<'a> Mappings<'a> {
    pub(crate) fn new(blocks: &'a Blocks<'a>, root: Option<u64>) -> Self {
        Self(Entries::new(blocks, root).peekable())
    }
}

fn one((origin, value): (u64, [u8; 8])) -> MappedRun {
    let value = u64_at(&value, 0);
    let time = value & ((1 << TIME_BITS) - 1);
    MappedRun { origin, data: value >> TIME_BITS, length: 1, time: time as u32 }
}

impl Iterator for Mappings<'_> {
    type Item = Result<MappedRun, MetadataDamage>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut run = match self.0.next()? {
            Ok(entry) => one(entry),
            Err(damage) => return Some(Err(damage)),
        };
        let follows = |run: &MappedRun, next: MappedRun| {
            next.origin == run.origin + run.length && next.data == run.data + run.length && next.time == run.time
        };
        while self.0.next_if(|next| next.as_ref().is_ok_and(|next| follows(&run, one(*next)))).is_some() {
            run.length += 1;
        }
        Some(Ok(run))
    }
}
