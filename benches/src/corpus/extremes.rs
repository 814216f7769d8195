//! Trees that no package has: as deep as a path can be, and as wide as a directory gets.

use super::Error;
use super::content::Class;
use super::entry::{Entry, EntryKind, day};
use super::measured::NAME_LENGTHS;
use super::names::Words;
use super::random::Random;
use super::tree::Visit;

/// Paths that go deep, and directories with many entries.
#[derive(Debug, Clone)]
pub(super) struct Extremes {
    /// Chains of directories, each to the end of what a path can be or to `depth`.
    pub(super) chains: u64,
    /// The most directories above each other.
    pub(super) depth: u64,
    /// Entries of a wide directory.
    pub(super) width: u64,
}

/// The longest path. A tar and the kernel take 4,095 bytes, dockerd does not: it walks what it unpacked by names that
/// begin with its own directories, and 256 bytes are for these.
const LONGEST_PATH: usize = 4_095 - 256;

/// What the entries of a wide directory are.
const WIDE: [&str; 4] = ["directories", "files", "links", "mixed"];

impl Extremes {
    pub(super) fn walk(&self, seed: u64, visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut random = Random::new(seed, 3);
        let words = Words::new(&mut random);
        visit(&Entry::new("deep", EntryKind::Directory, day(0)))?;
        for chain in 0..self.chains {
            self.chain(chain, &words, &mut random, visit)?;
        }
        visit(&Entry::new("wide", EntryKind::Directory, day(0)))?;
        for name in WIDE {
            self.wide(name, &mut random, visit)?;
        }
        Ok(())
    }

    /// One chain: of names of three bytes, of names as long as they can be, or of usual ones; a file in each directory.
    fn chain(&self, chain: u64, words: &Words, random: &mut Random, visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut path = format!("deep/chain-{chain:03}");
        for level in 0..self.depth {
            visit(&Entry::new(&path, EntryKind::Directory, day(level)))?;
            let length = match chain % 3 {
                0 => 3,
                1 => 255,
                _ => random.pick(&NAME_LENGTHS),
            };
            let room = LONGEST_PATH.saturating_sub(path.len() + 1);
            if room >= 1 {
                // Sorts before the directory: a walk would show it first.
                let file = format!("{path}/0");
                visit(&Entry::new(
                    &file,
                    EntryKind::File { size: random.below(200), class: Class::Prose },
                    day(level),
                ))?;
            }
            // With a slash at its end, as directories are written.
            let length = length.min(room.saturating_sub(1));
            if length == 0 {
                break;
            }
            path.push('/');
            path.push_str(&words.stem(length, random));
        }
        Ok(())
    }

    fn wide(&self, name: &str, random: &mut Random, visit: &mut Visit<'_>) -> Result<(), Error> {
        let above = format!("wide/{name}");
        visit(&Entry::new(&above, EntryKind::Directory, day(0)))?;
        let mut last = None;
        for number in 0..self.width {
            let path = format!("{above}/entry-{number:06}");
            let file = EntryKind::File { size: random.below(300), class: Class::Prose };
            let link = EntryKind::Symlink { target: format!("../files/entry-{:06}", random.below(self.width)) };
            let kind = match (name, number % 4) {
                ("directories", _) | ("mixed", 0) => EntryKind::Directory,
                ("links", _) | ("mixed", 1) => link,
                ("mixed", 2) => match last.clone() {
                    Some(target) => EntryKind::Hardlink { target },
                    None => file,
                },
                _ => file,
            };
            if matches!(kind, EntryKind::File { .. }) {
                last = Some(path.clone());
            }
            visit(&Entry::new(&path, kind, day(number)))?;
        }
        Ok(())
    }
}
