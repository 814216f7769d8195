//! What containerd itself will delete of its store, and what it never will: nothing here is removed by us.
//!
//! ```text
//! goes    blobs and snapshots that no root leads to; files and directories that no record names
//! stays   a file among the blobs whose name is no digest; a blob that was not written to its end; what only the lease of a
//!         container that is gone lists
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use layerfs::Digest;

use crate::check::leases_without_container;
use crate::containerd::BLOBS;
use crate::containerd::gc::{Kept, KeptBy, NamespaceRecords, Node, Records};
use crate::dir::Dir;
use crate::driver::OVERLAYFS;
use crate::error::StoreError;
use crate::schema::paths::CONTAINERD_CONTENT;
use crate::usage::walk::allocated;
use crate::view::View;

/// Bytes of a block in what `stat` counts.
const BLOCK: u64 = 512;

/// Something that containerd deletes, or never will though nobody needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGcItem {
    /// A word for its kind, for programs.
    pub kind: &'static str,
    /// Its digest, its key, or its name.
    pub name: String,
    /// Where it is; `None` for a lease.
    pub place: Option<PathBuf>,
    /// The bytes that it takes up on the file system.
    pub bytes: u64,
    /// Why.
    pub reason: &'static str,
}

/// What containerd does with its store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredGcPlan {
    /// What goes.
    pub items: Vec<StoredGcItem>,
    /// What nobody needs and containerd keeps.
    pub stays: Vec<StoredGcItem>,
    /// A file because of which containerd deletes no blob at all.
    pub blocked_by: Option<PathBuf>,
}

impl StoredGcPlan {
    /// Foretells what containerd does with the store of a root. The view must have been read with who needs what.
    ///
    /// # Errors
    /// [`StoreError`] where a directory or the database cannot be read.
    pub fn make(view: &View) -> Result<Self, StoreError> {
        let mut plan = Self::default();
        let Some(containerd) = view.root.containerd() else { return Ok(plan) };
        let Some(daemon) = containerd.daemon(&view.root.dir)? else { return Ok(plan) };
        // The view passes over a database that cannot be read; a plan must not.
        let records = view.root.containerd_records()?.unwrap_or_default();
        let namespaces = Namespaces::of(&records);
        if let Some(blobs) = daemon.descend(&BLOBS)? {
            plan.blobs(&blobs, &namespaces)?;
        }
        if let Some(snapshotter) = containerd.snapshots(&view.root.dir)? {
            plan.snapshots(view, &snapshotter, &namespaces)?;
        }
        if namespaces.0.iter().all(|(_, records, _)| records.ingests.is_empty())
            && let Some(ingests) = daemon.descend(&[CONTAINERD_CONTENT, "ingest"])?
        {
            for name in sorted(&ingests)? {
                let bytes = ingests.sub_unless_file(&name)?.map_or(Ok(0), |dir| allocated(&dir))?;
                let reason = "it was not written to its end, and no record names it";
                let place = Some(ingests.join(&name));
                plan.stays.push(StoredGcItem { kind: "unfinished", name, place, bytes, reason });
            }
        }
        if let Some(own) = records.0.get(&containerd.namespace) {
            plan.leases(view, own)?;
        }
        Ok(plan)
    }

    /// The bytes of all that goes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).fold(0, u64::saturating_add)
    }

    fn blobs(&mut self, blobs: &Dir, namespaces: &Namespaces<'_>) -> Result<(), StoreError> {
        for name in sorted(blobs)? {
            let bytes = blocks(blobs, &name)?;
            let place = Some(blobs.join(&name));
            let Ok(digest) = Digest::from_hex(&name) else {
                self.blocked_by.clone_from(&place);
                let reason = "its name is no digest, and while it is there containerd deletes no blob";
                self.stays.push(StoredGcItem { kind: "file", name, place, bytes, reason });
                continue;
            };
            let digest = digest.to_string();
            let recorded = |records: &NamespaceRecords| records.blobs.contains_key(&digest);
            if let Some(reason) = namespaces.why_not(&Node::Blob(digest.clone()), recorded) {
                self.items.push(StoredGcItem { kind: "blob", name: digest, place, bytes, reason });
            }
        }
        Ok(())
    }

    fn snapshots(&mut self, view: &View, snapshotter: &Dir, namespaces: &Namespaces<'_>) -> Result<(), StoreError> {
        let Some(home) = snapshotter.sub("snapshots")? else { return Ok(()) };
        let known = view.catalog.in_containerd().map(|known| &known.store.snapshots);
        let by_number = known.iter().flat_map(|known| &known.by_name);
        let by_number: BTreeMap<String, &String> =
            by_number.map(|(name, snapshot)| (snapshot.id.to_string(), name)).collect();
        for number in sorted(&home)? {
            let (name, reason) = match by_number.get(&number) {
                None => (number.clone(), Some("the snapshotter does not know it")),
                Some(name) => {
                    let key = name.splitn(3, '/').last().unwrap_or(name).to_owned();
                    let of = (OVERLAYFS.to_owned(), key.clone());
                    let recorded =
                        |records: &NamespaceRecords| records.snapshots.get(&of).is_some_and(|one| one.name == **name);
                    (key, namespaces.why_not(&Node::Snapshot(of.0.clone(), of.1.clone()), recorded))
                }
            };
            if let Some(reason) = reason {
                let bytes = home.sub_unless_file(&number)?.map_or(Ok(0), |dir| allocated(&dir))?;
                let place = Some(home.join(&number));
                self.items.push(StoredGcItem { kind: "snapshot", name, place, bytes, reason });
            }
        }
        Ok(())
    }

    /// What nothing but the lease of a container keeps of which there is no directory.
    fn leases(&mut self, view: &View, own: &NamespaceRecords) -> Result<(), StoreError> {
        let left = leases_without_container(&view.root.dir, own)?;
        if left.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut without = own.clone();
        without.leases.retain(|id, _| !left.contains(id));
        let (kept, kept_without) = (Kept::of(own, now), Kept::of(&without, now));
        let mut bytes: BTreeMap<String, u64> = left.into_iter().map(|id| (id, 0)).collect();
        let known = view.catalog.in_containerd();
        for node in kept.nodes().filter(|node| !kept_without.has(node)) {
            let size = match (node, known) {
                (Node::Blob(digest), Some(known)) => {
                    digest.parse().ok().and_then(|digest| known.store.metadata.blobs.get(&digest).copied())
                }
                (Node::Snapshot(_, key), Some(known)) => known.store.snapshot(key).and_then(|snapshot| {
                    let dir = view.root.content(&snapshot.cache_id()).ok().flatten()?;
                    allocated(&dir).ok()
                }),
                _ => None,
            };
            if let Some(KeptBy::Lease(id)) = kept.path(node).last()
                && let Some(sum) = bytes.get_mut(id)
            {
                *sum = sum.saturating_add(size.unwrap_or_default());
            }
        }
        let reason = "its container is gone, and what it lists is kept for ever";
        let items = bytes.into_iter();
        self.stays.extend(items.map(|(name, bytes)| StoredGcItem { kind: "lease", name, place: None, bytes, reason }));
        Ok(())
    }
}

/// All namespaces, with what is kept in each.
struct Namespaces<'r>(Vec<(&'r String, &'r NamespaceRecords, Kept)>);

impl<'r> Namespaces<'r> {
    fn of(records: &'r Records) -> Self {
        let now = Timestamp::now();
        Self(records.0.iter().map(|(name, records)| (name, records, Kept::of(records, now))).collect())
    }

    /// Why something goes; `None` if a namespace keeps it.
    fn why_not(&self, node: &Node, is_recorded: impl Fn(&NamespaceRecords) -> bool) -> Option<&'static str> {
        let mut recorded = self.0.iter().filter(|(_, records, _)| is_recorded(records)).peekable();
        if recorded.peek().is_none() {
            return Some("no record names it");
        }
        recorded.all(|(_, _, kept)| !kept.has(node)).then_some("nothing that is kept leads to it")
    }
}

fn sorted(dir: &Dir) -> Result<Vec<String>, StoreError> {
    let mut names = dir.names()?;
    names.sort();
    Ok(names)
}

fn blocks(dir: &Dir, name: &str) -> Result<u64, StoreError> {
    let blocks = dir.stat(name)?.map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or_default());
    Ok(blocks.saturating_mul(BLOCK))
}
