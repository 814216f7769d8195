//! A layer's directories and files, in the order of a walk, from the tables of a [`Spec`]; nothing but the directories
//! above the current one is held.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::content::Class;
use super::entry::{Entry, EntryKind, day};
use super::measured::{DIRECTORIES_PER_DIRECTORY, FILES_PER_DIRECTORY, Spec};
use super::names::Words;
use super::random::{Random, evenly, index_at, mix, scaled};
use super::sizes::Sizes;

/// Hears of every member in order.
pub(super) type Visit<'v> = dyn FnMut(&Entry<'_>) -> Result<(), Error> + 'v;

/// How large a tree becomes, and after which tables.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) spec: &'static Spec,
    /// Bins of sizes that are used: all, or the smallest.
    pub(super) bins: usize,
    pub(super) files: u64,
    pub(super) symlinks: u64,
    pub(super) dirs: u64,
    pub(super) bytes: u64,
}

impl Tree {
    /// Shows every member to `visit`, but directories and names in `taken`: the layer has these already.
    pub(super) fn walk(&self, seed: u64, taken: &BTreeSet<String>, visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut random = Random::new(seed, 1);
        let words = Words::new(&mut random);
        let sizes = Sizes::new(self.spec, self.bins, self.files, self.bytes, &mut random);
        let offset = random.next();
        let total = (0..self.dirs).map(|number| drawn_files(offset, number)).sum::<u64>();
        let mut walker = Walker {
            tree: self,
            taken,
            words,
            sizes,
            shares: [Shares::new(self.spec.small), Shares::new(self.spec.large)],
            offset,
            drawn: [0, total],
            directories: 0,
            seen: 0,
            leaves: 0,
            files: 0,
            random,
            path: String::new(),
            emitted: BTreeSet::new(),
            earlier: None,
        };
        let shares = self.spec.below;
        let whole = shares.iter().map(|&(_, share)| u64::from(share)).sum::<u64>();
        let mut seen = 0;
        for &(below, share) in shares {
            let before = seen * self.dirs / whole;
            seen += u64::from(share);
            let dirs = seen * self.dirs / whole - before;
            if dirs > 0 {
                walker.above(below, visit)?;
                walker.path.clear();
                walker.path.push_str(below);
                walker.directory(dirs, visit)?;
            }
        }
        Ok(())
    }
}

/// At most so many files of a directory have one class of content.
const ALIKE: usize = 64;

/// How many files and links directory `number` would have, before the sum is made right.
fn drawn_files(offset: u64, number: u64) -> u64 {
    let total = FILES_PER_DIRECTORY.iter().map(|&weight| u64::from(weight)).sum();
    let drawn = evenly(offset, number);
    match index_at(&FILES_PER_DIRECTORY, scaled(drawn, total)) {
        0 => 0,
        bin => (1 << (bin - 1)) + scaled(mix(drawn), 1 << (bin - 1)),
    }
}

/// Classes of content that get their shares of the bytes.
struct Shares {
    wanted: &'static [(Class, u32)],
    given: Vec<u64>,
}

impl Shares {
    fn new(wanted: &'static [(Class, u32)]) -> Self {
        Self { wanted, given: vec![0; wanted.len()] }
    }

    /// Gives `bytes` to the class that lacks most of its share.
    fn next(&mut self, bytes: u64) -> Class {
        let whole = self.wanted.iter().map(|&(_, share)| i128::from(share)).sum::<i128>();
        let total = i128::from(self.given.iter().sum::<u64>() + bytes);
        let lacks = |&at: &usize| total * i128::from(self.wanted[at].1) - i128::from(self.given[at]) * whole;
        let Some(most) = (0..self.wanted.len()).max_by_key(lacks) else { return Class::Prose };
        self.given[most] += bytes;
        self.wanted[most].0
    }
}

struct Walker<'t> {
    tree: &'t Tree,
    taken: &'t BTreeSet<String>,
    words: Words,
    sizes: Sizes,
    /// Of small files, which are counted, and of large ones, whose bytes are.
    shares: [Shares; 2],
    offset: u64,
    /// Sums of [`drawn_files`]: so far, and of all.
    drawn: [u64; 2],
    directories: u64,
    /// Leaves shown.
    seen: u64,
    /// Files and links planned.
    leaves: u64,
    /// Files made.
    files: u64,
    random: Random,
    path: String,
    /// Directories above the ones that are walked, each said once.
    emitted: BTreeSet<String>,
    /// A file that a hard link can point to.
    earlier: Option<Earlier>,
}

/// A file with what every other name of it says, too.
struct Earlier {
    path: String,
    mode: u32,
    gid: u64,
    mtime: u64,
}

/// What a name of a directory is: directories with how many are in them, themselves included, or something else.
enum Child {
    Directory(u64),
    Leaf(Class),
}

impl Walker<'_> {
    /// The directories above `path`.
    fn above(&mut self, path: &str, visit: &mut Visit<'_>) -> Result<(), Error> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if !self.taken.contains(parent) && self.emitted.insert(parent.to_owned()) {
                visit(&Entry::new(parent, EntryKind::Directory, day(0)))?;
            }
        }
        Ok(())
    }

    /// The directory at `self.path`, with `dirs` directories, itself included.
    fn directory(&mut self, dirs: u64, visit: &mut Visit<'_>) -> Result<(), Error> {
        let mtime = day(self.random.next());
        if !self.taken.contains(&self.path) {
            let mut entry = Entry::new(&self.path, EntryKind::Directory, mtime);
            (entry.uid, entry.gid) = (self.tree.spec.owner, self.tree.spec.owner);
            entry.mode = match self.random.below(900) {
                0 => 0o1777,
                1 => 0o700,
                2 => 0o2775,
                _ => 0o755,
            };
            visit(&entry)?;
        }
        let children = self.children(dirs);
        let length = self.path.len();
        for (name, child) in children {
            self.path.truncate(length);
            self.path.push('/');
            self.path.push_str(&name);
            match child {
                Child::Directory(dirs) => self.directory(dirs, visit)?,
                Child::Leaf(class) => self.leaf(class, mtime, visit)?,
            }
        }
        self.path.truncate(length);
        Ok(())
    }

    /// Names for the files and directories of the next directory.
    fn children(&mut self, dirs: u64) -> BTreeMap<String, Child> {
        self.drawn[0] += drawn_files(self.offset, self.directories);
        self.directories += 1;
        let all = self.tree.files + self.tree.symlinks;
        // The last directory takes what is left, also where none was drawn.
        let until = if self.directories == self.tree.dirs { all } else { self.drawn[0] * all / self.drawn[1].max(1) };
        let leaves = until - self.leaves;
        self.leaves = until;
        let mut children = BTreeMap::new();
        for begin in (0..leaves).step_by(ALIKE) {
            // What is in a directory is alike, but where there is very much.
            let alike = (leaves - begin).min(ALIKE as u64);
            let class = self.shares[0].next(alike);
            for _ in 0..alike {
                let name = self.words.file(class, &mut self.random);
                self.insert(&mut children, name, Child::Leaf(class));
            }
        }
        for dirs in self.split(dirs - 1) {
            let name = self.words.directory(&mut self.random);
            self.insert(&mut children, name, Child::Directory(dirs));
        }
        children
    }

    fn insert(&self, children: &mut BTreeMap<String, Child>, mut name: String, child: Child) {
        let free = |name: &str| {
            !children.contains_key(name)
                && (self.taken.is_empty() || !self.taken.contains(&format!("{}/{name}", self.path)))
        };
        if !free(&name) {
            let mut number = children.len();
            while !free(&format!("{name}-{number}")) {
                number += 1;
            }
            name = format!("{name}-{number}");
        }
        children.insert(name, child);
    }

    /// `dirs` directories, shared out unevenly among those that are directly here.
    fn split(&mut self, dirs: u64) -> Vec<u64> {
        let Some(spare) = dirs.checked_sub(1) else { return Vec::new() };
        let bin = self.random.pick(&DIRECTORIES_PER_DIRECTORY);
        let count = (1 << (bin - 1)) + self.random.below(1 << (bin - 1));
        // A large tree is wide at its top, or it would be deeper than real ones.
        let count = count.max(dirs / 4).min(dirs);
        let weights: Vec<u64> = (0..count)
            .map(|_| {
                let weight = self.random.below(1 << 10);
                weight * weight
            })
            .collect();
        let total = weights.iter().sum::<u64>().max(1);
        let spare = spare + 1 - count;
        let (mut seen, mut shares) = (0, Vec::with_capacity(weights.len()));
        for weight in weights {
            let before = seen * spare / total;
            seen += weight;
            shares.push(1 + seen * spare / total - before);
        }
        // Without weights nothing was shared out.
        if let (0, Some(last)) = (seen, shares.last_mut()) {
            *last += spare;
        }
        shares
    }

    fn leaf(&mut self, class: Class, mtime: u64, visit: &mut Visit<'_>) -> Result<(), Error> {
        let Tree { files, symlinks, spec, .. } = *self.tree;
        let mtime = mtime + self.random.below(3_600);
        // Drawn without replacement, so that the numbers come out.
        let all = self.leaves_left(files, symlinks);
        let mut linked = None;
        let (mut entry, is_file) = if self.random.below(all.max(1)) >= files - self.files {
            let target = self.target();
            (Entry::new(&self.path, EntryKind::Symlink { target }, mtime), false)
        } else {
            self.files += 1;
            match self.earlier.take_if(|_| self.random.one_in(400)) {
                Some(Earlier { path: target, mode, gid, mtime }) => {
                    linked = Some((mode, gid));
                    (Entry::new(&self.path, EntryKind::Hardlink { target }, mtime), false)
                }
                None if self.random.one_in(30_000) => (Entry::new(&self.path, EntryKind::Fifo, mtime), false),
                None => {
                    let (size, large) = self.sizes.size_of(self.files - 1);
                    let class = if large { self.shares[1].next(size) } else { class };
                    (Entry::new(&self.path, EntryKind::File { size, class }, mtime), true)
                }
            }
        };
        (entry.uid, entry.gid) = (spec.owner, spec.owner);
        if is_file {
            let program = matches!(class, Class::Binary | Class::Library);
            entry.mode = match self.random.below(1_000) {
                0..4 if program => 0o4755,
                4..6 if program => 0o2755,
                14 => 0o600,
                15 => 0o640,
                // Libraries are not executable.
                16..300 if program => 0o755,
                _ => 0o644,
            };
            // Debian's groups shadow and mail own a few files.
            entry.gid = if entry.mode == 0o640 { 42 } else { entry.gid };
            entry.capable = program && self.random.one_in(40);
            // Another name of a file with a capability would lose it: few tools set it twice.
            if !entry.capable && self.random.one_in(20) {
                self.earlier = Some(Earlier { path: self.path.clone(), mode: entry.mode, gid: entry.gid, mtime });
            }
        }
        if let Some((mode, gid)) = linked {
            (entry.mode, entry.gid) = (mode, gid);
        }
        visit(&entry)
    }

    /// Files and symlinks that are still to come.
    fn leaves_left(&mut self, files: u64, symlinks: u64) -> u64 {
        self.seen += 1;
        files + symlinks + 1 - self.seen
    }

    /// Where a symlink leads: almost always to a neighbour, and not always to something that is there.
    fn target(&mut self) -> String {
        let name = self.words.file(Class::Library, &mut self.random);
        match self.random.below(90) {
            0 => format!("/usr/lib/{name}"),
            1..=20 => format!("../{}/{name}", self.words.directory(&mut self.random)),
            _ => name,
        }
    }
}
