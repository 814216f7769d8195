//! The members of one layer's tar, put into a tree; bodies are passed over.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use tarsplit::frame::{Frame, Framer};
use tarsplit::names::is_clean;
use tarsplit::plain::PlainHeader;
use tarsplit::{Member, MemberKind};

use super::wanted::{Part, WantedPaths};
use super::{Tree, TreeError};
use crate::source::{Blob, BlobReader};

/// Puts the members of a layer into a tree.
pub(super) struct MemberReader {
    name: String,
    layer: usize,
    framer: Framer,
    /// Whether the tar has ended: what follows its end is ignored.
    ended: bool,
}

impl MemberReader {
    pub(super) fn new(name: String, layer: usize) -> Self {
        Self { name, layer, framer: Framer::new(), ended: false }
    }

    /// Gives `bytes` to the parser, up to the next thing that it finds. Returns how many bytes it took, and what it found.
    fn step(&mut self, bytes: &[u8]) -> Result<(usize, Step), TreeError> {
        let failed = |source| TreeError::Tar { layer: self.name.clone(), source };
        let (taken, frame) = self.framer.next(bytes).map_err(failed)?;
        Ok(match frame {
            Some(Frame::Member(member)) => (taken, Step::Member(member)),
            Some(Frame::End) => {
                self.ended = true;
                (taken, Step::Other)
            }
            Some(_) => (taken, Step::Other),
            None => (taken, Step::WantsMore),
        })
    }

    /// Puts what was found into the tree.
    fn put(&self, step: &Step, tree: &mut Tree) -> Result<(), TreeError> {
        match step {
            Step::Member(member) => self.apply(member, tree),
            Step::Other | Step::WantsMore => Ok(()),
        }
    }

    fn apply(&self, member: &Member, tree: &mut Tree) -> Result<(), TreeError> {
        tree.apply(member, self.framer.position(), self.layer).map_err(|reason| TreeError::Member {
            layer: self.name.clone(),
            name: member.name.clone(),
            reason,
        })
    }

    /// Takes bytes of the tar that stand in the journal, which may include bodies.
    pub(super) fn take(&mut self, mut bytes: &[u8], tree: &mut Tree) -> Result<(), TreeError> {
        while !self.ended {
            let (taken, step) = self.step(bytes)?;
            self.put(&step, tree)?;
            bytes = &bytes[taken..];
            if matches!(step, Step::WantsMore) && bytes.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Passes over a body that does not stand in the journal.
    pub(super) fn pass_over(&mut self, size: u64) -> Result<(), TreeError> {
        if size > 0 && !self.ended && self.framer.skip_body() != size {
            let source = io::Error::other("the journal has a body of another length than its header says");
            return Err(TreeError::Read { layer: self.name.clone(), source });
        }
        Ok(())
    }

    /// Reads a whole tar; `skip` takes the reader past each body.
    pub(super) fn read<R: BufRead>(
        &mut self,
        reader: &mut R,
        tree: &mut Tree,
        mut skip: impl FnMut(&mut R, u64) -> io::Result<()>,
    ) -> Result<(), TreeError> {
        let name = self.name.clone();
        let failed = |source| TreeError::Read { layer: name.clone(), source };
        while !self.ended {
            let buffer = reader.fill_buf().map_err(failed)?;
            let at_end = buffer.is_empty();
            let (taken, step) = self.step(buffer)?;
            self.put(&step, tree)?;
            reader.consume(taken);
            match step {
                Step::Member(_) => skip(reader, self.framer.skip_body()).map_err(failed)?,
                Step::WantsMore if at_end => {
                    self.framer.finish().map_err(|source| TreeError::Tar { layer: name.clone(), source })?;
                    break;
                }
                Step::WantsMore | Step::Other => {}
            }
        }
        Ok(())
    }

    /// Reads the headers of a tar that is not compressed, and puts those into a tree that concern what is wanted.
    /// `None` if only all headers together say what is there, or if `stop` became true.
    pub(super) fn read_part(
        mut self,
        blob: &Blob,
        wanted: &WantedPaths,
        stop: &AtomicBool,
    ) -> Result<Option<Tree>, TreeError> {
        let name = self.name.clone();
        let failed = |source| TreeError::Read { layer: name.clone(), source };
        let (mut window, mut filter, mut tree) = (Window::new(blob), Filter::new(wanted), Tree::empty());
        while !self.ended {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let is_header = self.framer.skip_to_header();
            let bytes = window.at(self.framer.position()).map_err(failed)?;
            if let Some(header) = bytes.first_chunk().filter(|_| is_header).and_then(PlainHeader::read) {
                match filter.judge_plain(&header) {
                    Verdict::PassOver => {
                        self.framer.pass(&header);
                        continue;
                    }
                    Verdict::Needed => {}
                    Verdict::ReadAll => return Ok(None),
                }
            }
            let at_end = bytes.is_empty();
            match self.step(bytes)?.1 {
                Step::Member(member) => match filter.judge(&member) {
                    Verdict::PassOver => {}
                    Verdict::Needed => self.apply(&member, &mut tree)?,
                    Verdict::ReadAll => return Ok(None),
                },
                Step::WantsMore if at_end => {
                    self.framer.finish().map_err(|source| TreeError::Tar { layer: name.clone(), source })?;
                    break;
                }
                Step::WantsMore | Step::Other => {}
            }
        }
        Ok(Some(tree))
    }
}

/// What the parser found.
#[derive(Debug)]
enum Step {
    Member(Box<Member>),
    Other,
    WantsMore,
}

/// A piece of a blob, for code that reads a header here and a header there.
struct Window<'b> {
    reader: BlobReader<'b>,
    buffer: Vec<u8>,
    begin: u64,
    length: usize,
}

impl<'b> Window<'b> {
    /// Bytes read at a place near the last header, because more headers may be near.
    const NEAR: usize = 4096;
    /// Bytes read at a place that is far from the last one.
    const FAR: usize = tarsplit::block::BLOCK;

    fn new(blob: &'b Blob) -> Self {
        Self { reader: blob.reader(), buffer: vec![0; Self::NEAR], begin: 0, length: 0 }
    }

    /// The bytes from `position` on: a whole block, unless the blob ends before.
    fn at(&mut self, position: u64) -> io::Result<&[u8]> {
        let skipped = position.checked_sub(self.begin).and_then(|skipped| usize::try_from(skipped).ok());
        let here = skipped.filter(|skipped| skipped + tarsplit::block::BLOCK <= self.length);
        if let Some(skipped) = here {
            return Ok(&self.buffer[skipped..self.length]);
        }
        let is_near = skipped.is_some_and(|skipped| skipped < self.length + Self::NEAR);
        let wanted = if is_near { Self::NEAR } else { Self::FAR };
        (self.begin, self.length) = (position, 0);
        self.reader.go_to(position);
        while self.length < tarsplit::block::BLOCK {
            match self.reader.read(&mut self.buffer[self.length..wanted])? {
                0 => break,
                read => self.length += read,
            }
        }
        Ok(&self.buffer[..self.length])
    }
}

/// Tells the members that concern what is wanted from the others.
struct Filter<'w> {
    wanted: &'w WantedPaths,
    /// The paths of all symlinks so far, through which the name of a later member may lead.
    symlinks: HashSet<Vec<u8>>,
    /// A directory whose path leads through no symlink.
    straight: Vec<u8>,
    path: Vec<u8>,
}

/// What to do with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It has nothing to do with what is wanted.
    PassOver,
    Needed,
    /// Its name does not tell, so all members have to be read.
    ReadAll,
}

impl<'w> Filter<'w> {
    fn new(wanted: &'w WantedPaths) -> Self {
        Self { wanted, symlinks: HashSet::new(), straight: Vec::new(), path: Vec::new() }
    }

    fn judge_plain(&mut self, header: &PlainHeader<'_>) -> Verdict {
        self.path.clear();
        if !header.prefix.is_empty() {
            self.path.extend_from_slice(header.prefix);
            self.path.push(b'/');
        }
        self.path.extend_from_slice(header.name);
        self.judge_path(header.typeflag == b'2', (header.typeflag == b'1').then_some(header.linkname))
    }

    fn judge(&mut self, member: &Member) -> Verdict {
        self.path.clear();
        self.path.extend_from_slice(&member.name);
        let is_link = member.kind == MemberKind::HardLink;
        self.judge_path(member.kind == MemberKind::Symlink, is_link.then_some(&member.linkname))
    }

    fn judge_path(&mut self, is_symlink: bool, hard_link: Option<&[u8]>) -> Verdict {
        let Some(path) = plain_path(&self.path) else { return Verdict::ReadAll };
        let dir = path.iter().rposition(|&byte| byte == b'/').map_or(&[][..], |slash| &path[..slash]);
        if !self.symlinks.is_empty() && dir != self.straight {
            // The part of its path that `dir` shares with `straight` leads through no symlink, either.
            let known = dir.iter().zip(&self.straight).take_while(|(one, other)| one == other).count();
            let slashes = (known..dir.len()).filter(|&at| dir[at] == b'/');
            if slashes.chain([dir.len()]).any(|end| self.symlinks.contains(&dir[..end])) {
                return Verdict::ReadAll;
            }
            self.straight.clear();
            self.straight.extend_from_slice(dir);
        }
        let needed = is_needed(self.wanted, path);
        if is_symlink {
            self.symlinks.insert(path.to_vec());
            if is_within(&self.straight, path) {
                self.straight.clear();
            }
        }
        if let Some(target) = hard_link {
            let Some(target) = plain_path(target) else { return Verdict::ReadAll };
            // The target is a symlink, or it was passed over because nobody wanted it, and is not in the tree.
            if self.symlinks.contains(target) || needed && !is_needed(self.wanted, target) {
                return Verdict::ReadAll;
            }
        }
        if needed { Verdict::Needed } else { Verdict::PassOver }
    }
}

/// Whether a path is another one, or below it.
fn is_within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
}

/// A name without slashes or `./` in front of it and without a slash at its end. `None` if it needs more cleaning, or
/// is too long.
fn plain_path(mut name: &[u8]) -> Option<&[u8]> {
    while let Some(rest) = name.strip_prefix(b"/").or_else(|| name.strip_prefix(b"./")) {
        name = rest;
    }
    let name = name.strip_suffix(b"/").unwrap_or(name);
    if name == b"." || name.is_empty() {
        return Some(b"");
    }
    (is_clean(name) && name.len() <= layerfs::path::MAX_PATH).then_some(name)
}

/// Whether something of this path, or its removal, has to do with what is wanted.
fn is_needed(wanted: &WantedPaths, path: &[u8]) -> bool {
    let mut part = wanted.root();
    let mut names = path.split(|&byte| byte == b'/').peekable();
    while let Some(name) = names.next() {
        if part == Part::All {
            return true;
        }
        let name = match name.strip_prefix(b".wh.") {
            // This mark is about its whole directory, which leads to a wanted path.
            Some(hidden) if hidden.starts_with(b".wh.") => return true,
            Some(hidden) if names.peek().is_none() => hidden,
            _ => name,
        };
        match wanted.below(part, name) {
            Some(below) => part = below,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use testkit::tarfile::{file, hard_link, symlink, tar};

    use super::*;

    /// dockerd refuses them, too: of the symlinks it says "too many levels of symbolic links".
    #[test]
    fn what_is_refused_is_named_with_its_layer() {
        let circle = || [symlink("a", "b"), symlink("b", "a")];
        let mut odd = tar(&[file("f", "")]);
        odd[156] = b'9';
        odd[148..156].fill(b' ');
        let sum: u32 = odd[..512].iter().map(|byte| u32::from(*byte)).sum();
        odd[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        for (layer, says) in [
            (tar(&[&circle()[..], &[file("a/x", "")]].concat()), "a/x: symlinks on its way lead round in circles"),
            (tar(&[file("../x", "")]), "../x: its name leads out of the layer"),
            (tar(&[hard_link("x", "../y")]), "x: its name leads out of the layer"),
            (tar(&[file("x", "").record("path", vec!["d".repeat(200); 30].join("/"))]), ": its name is too long"),
            (tar(&[hard_link("x", "/")]), "x: it is a link to the root"),
            (tar(&[hard_link("x", "y")]), "x: the layer has nothing that it could be a link to"),
            (odd, "f: its type is unknown"),
        ] {
            let mut reader = MemberReader::new("base".into(), 0);
            let skip = |reader: &mut &[u8], size: u64| {
                *reader = &reader[usize::try_from(size).unwrap()..];
                Ok(())
            };
            let error = reader.read(&mut layer.as_slice(), &mut Tree::empty(), skip).unwrap_err().to_string();
            assert!(error.starts_with("layer base: member ") && error.ends_with(says), "{says}: {error}");
        }
    }

    /// Short paths of few names, some of them symlinks: the filter must notice each that leads through an earlier symlink.
    #[test]
    fn no_way_through_a_symlink_is_overlooked() {
        let mut wanted = WantedPaths::default();
        wanted.add(b"a/a/a/a");
        let mut random = testkit::Random::new(14);
        let mut through = 0;
        for _ in 0..20_000 {
            let (mut filter, mut symlinks) = (Filter::new(&wanted), HashSet::new());
            for _ in 0..12 {
                let names: Vec<&str> =
                    (0..=random.below(3)).map(|_| ["a", "aa", "b"][random.below(3) as usize]).collect();
                let path = names.join("/");
                let is_symlink = random.below(4) == 0;
                filter.path = path.clone().into_bytes();
                let leads_through = path.match_indices('/').any(|(end, _)| symlinks.contains(&path[..end]));
                let verdict = filter.judge_path(is_symlink, None);
                assert_eq!(verdict == Verdict::ReadAll, leads_through, "{path} after {symlinks:?}");
                if leads_through {
                    through += 1;
                    break;
                }
                if is_symlink {
                    symlinks.insert(path);
                }
            }
        }
        assert!(through > 1_000, "{through}");
    }
}
