//! What a layer does to the ones below it: deletes, empties and replaces, as a `RUN` step leaves it.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::content::Class;
use super::entry::{Entry, EntryKind, day};
use super::kinds::Image;
use super::random::Random;
use super::tree::Visit;

/// How much a layer changes.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    /// The layers whose files it changes.
    pub(super) below: std::ops::Range<usize>,
    /// Files deleted, one of them in favour of a directory.
    pub(super) deleted: u64,
    /// Files replaced.
    pub(super) replaced: u64,
    /// Directories deleted and made again.
    pub(super) emptied: u64,
}

enum Change {
    Directory,
    Whiteout,
    File,
}

/// Members by path, and all paths that the rest of the layer must leave alone.
#[derive(Default)]
struct Plan {
    members: BTreeMap<String, Change>,
    taken: BTreeSet<String>,
}

impl Changes {
    /// Shows the members that make the changes to `visit`. Returns the names that are taken by them.
    pub(super) fn walk(&self, image: &Image, seed: u64, visit: &mut Visit<'_>) -> Result<BTreeSet<String>, Error> {
        let mut random = Random::new(seed, 2);
        let plan = self.plan(image, &mut random)?;
        for (path, change) in &plan.members {
            let mtime = day(730) + random.below(600);
            let mut entry = Entry::new(path, EntryKind::Directory, mtime);
            match change {
                Change::Directory => {}
                Change::Whiteout => {
                    (entry.kind, entry.mode) = (EntryKind::File { size: 0, class: Class::Prose }, 0o600);
                }
                Change::File => {
                    (entry.kind, entry.mode) =
                        (EntryKind::File { size: random.below(6_000), class: Class::Prose }, 0o644);
                }
            }
            visit(&entry)?;
        }
        let mut taken = plan.taken;
        taken.extend(plan.members.into_keys());
        Ok(taken)
    }

    /// Picks victims evenly from what the layers below have.
    fn plan(&self, image: &Image, random: &mut Random) -> Result<Plan, Error> {
        let (mut files, mut directories) = (0, 0);
        self.below_visit(image, &mut |entry| match entry.kind {
            EntryKind::File { .. } => files += 1,
            EntryKind::Directory => directories += 1,
            _ => {}
        })?;
        let mut of_files = Every::new(files, self.deleted + self.replaced, random);
        let mut of_directories = Every::new(directories, self.emptied, random);
        let (mut plan, mut deleted, mut replaced) = (Plan::default(), 0, 0);
        self.below_visit(image, &mut |entry| {
            let Some((parent, name)) = entry.path.rsplit_once('/') else { return };
            match entry.kind {
                EntryKind::File { .. } if of_files.hit() => {
                    // In turn, in the proportion asked for.
                    if deleted * self.replaced.max(1) <= replaced * self.deleted && deleted < self.deleted {
                        deleted += 1;
                        if deleted == 1 {
                            plan.add(&format!("{}/now-a-directory", entry.path), Change::File);
                        } else {
                            plan.delete(parent, name);
                        }
                    } else {
                        replaced += 1;
                        plan.add(entry.path, Change::File);
                    }
                }
                // Not the ones near the top: their content is most of the image.
                EntryKind::Directory if of_directories.hit() && entry.path.matches('/').count() > 2 => {
                    plan.add(&format!("{}/.wh..wh..opq", entry.path), Change::Whiteout);
                    plan.add(&format!("{}/README", entry.path), Change::File);
                }
                _ => {}
            }
        })?;
        Ok(plan)
    }

    fn below_visit(&self, image: &Image, see: &mut dyn FnMut(&Entry<'_>)) -> Result<(), Error> {
        for layer in self.below.clone() {
            image.layers[layer].own(&BTreeSet::new(), &mut |entry| {
                see(entry);
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Plan {
    /// Adds a member and the directories above it, unless one of these is something else already.
    fn add(&mut self, path: &str, change: Change) -> bool {
        let above = || path.match_indices('/').map(|(end, _)| &path[..end]);
        let blocked = |name: &str| {
            self.taken.contains(name) || self.members.get(name).is_some_and(|is| !matches!(is, Change::Directory))
        };
        if above().any(blocked) || self.members.contains_key(path) || self.taken.contains(path) {
            return false;
        }
        for parent in above() {
            self.members.entry(parent.to_owned()).or_insert(Change::Directory);
        }
        self.members.insert(path.to_owned(), change);
        true
    }

    fn delete(&mut self, parent: &str, name: &str) {
        let victim = format!("{parent}/{name}");
        if !self.members.contains_key(&victim) && self.add(&format!("{parent}/.wh.{name}"), Change::Whiteout) {
            self.taken.insert(victim);
        }
    }
}

/// Neighbours that are picked together: what is deleted and replaced is rarely spread over the whole image.
const RUN: u64 = 20;

/// Picks `wanted` of `all`, in runs that lie evenly.
struct Every {
    all: u64,
    wanted: u64,
    run: u64,
    at: u64,
    left: u64,
}

impl Every {
    fn new(all: u64, wanted: u64, random: &mut Random) -> Self {
        let wanted = wanted.min(all);
        // Several places also where few are picked.
        let run = (wanted / 6).clamp(1, RUN);
        Self { all, wanted, run, at: random.below(all.max(1)), left: 0 }
    }

    fn hit(&mut self) -> bool {
        self.at += self.wanted;
        if self.at >= self.all * self.run {
            self.at -= self.all * self.run;
            self.left += self.run;
        }
        let hit = self.left > 0;
        self.left -= u64::from(hit);
        hit
    }
}
