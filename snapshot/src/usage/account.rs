//! Counts a data-root: what each of its parts takes up.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::parts::{Part, Parts};
use super::place::Places;
use super::walk::{self, Links, Unreadable, Usage, Visit};
use crate::dir::Dir;
use crate::driver::HomeLayout;
use crate::error::StoreError;
use crate::ids::{ContainerId, MountName};
use crate::liveness::removal_plan::RemovalPlan;
use crate::view::View;

/// What the parts of a data-root take up.
#[derive(Debug)]
pub struct Account<'v> {
    /// What the root holds, and who owns what.
    pub view: &'v View,
    /// The first of the entries that could not be counted.
    pub errors: Vec<Unreadable>,
    /// How many entries could not be counted.
    pub error_count: u64,
    /// Entries that went away while they were read.
    pub vanished: u64,
    /// Bytes that containers have written, where that is not the count of their writable layers.
    pub(super) written: BTreeMap<ContainerId, u64>,
    parts: Parts,
    buckets: Vec<Usage>,
    /// The links found by each walk. They are kept apart, since each walk is on a file system of its own with its own
    /// inode numbers.
    links: Vec<Links>,
}

/// The sums of all walks.
#[derive(Debug, Default)]
struct Counts {
    buckets: Vec<Usage>,
    links: Vec<Links>,
    errors: Vec<Unreadable>,
    error_count: u64,
    vanished: u64,
}

impl Counts {
    fn add(&mut self, buckets: Vec<Usage>, errors: Vec<Unreadable>, error_count: u64, vanished: u64) {
        self.buckets.resize(self.buckets.len().max(buckets.len()), Usage::default());
        for (sum, usage) in self.buckets.iter_mut().zip(buckets) {
            *sum += usage;
        }
        self.errors.extend(errors);
        self.error_count += error_count;
        self.vanished += vanished;
    }
}

/// What a removal would free.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freed {
    /// Bytes that the file system gets back.
    pub allocated: u64,
    /// What would be removed.
    pub removal: RemovalPlan,
}

impl<'v> Account<'v> {
    /// Counts the data-root of `view`, found at `path`, with `threads` threads. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the root cannot be listed.
    pub fn count(path: &Path, view: &'v View, threads: usize) -> Result<Self, StoreError> {
        Self::count_and_visit(path, view, threads, || ()).map(|(account, _)| account)
    }

    /// Counts as [`Account::count`] does, with a visitor for each thread.
    ///
    /// # Errors
    /// Those of [`Account::count`].
    pub fn count_and_visit<V: Visit>(
        path: &Path,
        view: &'v View,
        threads: usize,
        visitor: impl Fn() -> V,
    ) -> Result<(Self, Vec<V>), StoreError> {
        let names = |path: &Path| -> Vec<Vec<u8>> {
            path.components().map(|name| name.as_os_str().as_bytes().to_vec()).collect()
        };
        let home =
            HomeLayout::home_path(&view.root.driver_name).into_iter().map(|name| name.as_bytes().to_vec()).collect();
        let top = Dir::open(path)?;
        let prefix = names(&path_below(view.root.dir.path(), top.path()));
        let places = Places::new(prefix, home, &view.catalog, &view.liveness);
        let decide = |path: &[u8], _: bool| places.find_place(path);
        let (walked, mut visitors) = walk::walk(&top, threads, &decide, &visitor)?;
        let mut all = Counts { links: vec![walked.links], ..Counts::default() };
        all.add(walked.buckets, walked.errors, walked.error_count, walked.vanished);
        for (dir, name) in view.root.outside()? {
            let inside: Vec<Vec<u8>> = places.prefix.iter().cloned().chain([name.into_bytes()]).collect();
            let (walked, more) = walk::walk_as(&dir, &inside.join(&b'/'), threads, &decide, &visitor)?;
            all.links.push(walked.links);
            all.add(walked.buckets, walked.errors, walked.error_count, walked.vanished);
            visitors.extend(more);
        }
        let whole = view.root.home_layout().is_some_and(|layout| !layout.changes);
        let measured = view.catalog.containers.iter().filter(|_| whole || view.root.is_containerd_only());
        let written = measured.filter_map(|one| Some((one.id.clone(), super::df::written(view, one)?))).collect();
        let parts = places.registry.close();
        let mut buckets = all.buckets;
        buckets.resize(parts.len().max(buckets.len()), Usage::default());
        let account = Self {
            view,
            errors: all.errors,
            error_count: all.error_count,
            vanished: all.vanished,
            written,
            parts,
            buckets,
            links: all.links,
        };
        Ok((account, visitors))
    }

    /// What all parts take up together.
    #[must_use]
    pub(crate) fn total(&self) -> Usage {
        self.buckets.iter().copied().sum()
    }

    /// What a part takes up.
    #[must_use]
    pub fn usage(&self, part: &Part) -> Usage {
        self.parts.number(part).map(|number| self.buckets[number as usize]).unwrap_or_default()
    }

    /// All parts and what they take up, in the order of parts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Part, Usage)> {
        self.parts.iter().map(|(part, number)| (part, self.buckets[number as usize]))
    }

    /// The bytes that would be freed if these parts were removed: an inode is freed with the last of its links.
    pub(crate) fn freed_with<'p>(&self, parts: impl IntoIterator<Item = &'p Part>) -> u64 {
        let mut numbers: Vec<u32> = parts.into_iter().filter_map(|part| self.parts.number(part)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let inside = |number: u32| numbers.binary_search(&number).is_ok();
        let counted: u64 = numbers.iter().map(|number| self.buckets[*number as usize].allocated).sum();
        let held: u64 = self
            .links
            .iter()
            .flat_map(|links| numbers.iter().map(|number| links.held_elsewhere(*number, &inside)))
            .sum();
        counted - held
    }

    /// What a removal would free.
    #[must_use]
    pub fn freed(&self, removal: RemovalPlan) -> Freed {
        let parts = parts_of(&removal);
        Freed { allocated: self.freed_with(&parts), removal }
    }
}

/// Makes an absolute `path` of the view relative to the walked directory, which may be given by a relative path. Empty
/// if `path` is not below it.
pub(super) fn path_below(path: &Path, walked: &Path) -> PathBuf {
    let walked = std::path::absolute(walked).unwrap_or_else(|_| walked.to_path_buf());
    path.strip_prefix(walked).map(Path::to_path_buf).unwrap_or_default()
}

/// The parts that a removal removes.
pub(super) fn parts_of(removal: &RemovalPlan) -> Vec<Part> {
    let images = removal.images.iter().map(|id| Part::Image(*id));
    let layers = removal.layers.iter().map(|chain| Part::Layer(*chain));
    let containers = removal.containers.iter().flat_map(parts_of_container);
    images.chain(layers).chain(containers).collect()
}

/// The parts of a container.
pub(super) fn parts_of_container(id: &ContainerId) -> [Part; 4] {
    let id = || id.clone();
    let mount = MountName::from(id());
    [Part::Container(id()), Part::Writable(id()), Part::Log(id()), Part::Mount(mount)]
}
