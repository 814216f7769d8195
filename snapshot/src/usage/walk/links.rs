//! Inodes with several links: counted once, and freed only with the last link.

use super::Usage;

/// Links to one inode in one bucket.
#[derive(Debug, Clone, Copy)]
struct Link {
    inode: u64,
    bucket: u32,
    /// Links seen here.
    seen: u32,
    /// Links that the inode has anywhere.
    links: u32,
    allocated: u64,
    apparent: u64,
}

/// Links that one thread has seen, or all of them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    links: Vec<Link>,
}

impl Seen {
    pub(super) fn add(&mut self, bucket: u32, stat: &rustix::fs::Stat, counted: (u64, u64)) {
        if self.links.len() == self.links.capacity() {
            self.compact();
            // Room for as many again: so compaction is paid for by what comes between.
            self.links.reserve_exact(self.links.len().max(1024));
        }
        let links = u32::try_from(stat.st_nlink).unwrap_or(u32::MAX);
        let (allocated, apparent) = counted;
        self.links.push(Link { inode: stat.st_ino, bucket, seen: 1, links, allocated, apparent });
    }

    pub(super) fn append(&mut self, other: Self) {
        if self.links.is_empty() {
            *self = other;
        } else {
            self.links.extend(other.links);
        }
    }

    /// One record for each inode and bucket, sorted by inode, then bucket.
    fn compact(&mut self) {
        self.links.sort_unstable_by_key(|link| (link.inode, link.bucket));
        self.links.dedup_by(|link, kept| {
            let same = (link.inode, link.bucket) == (kept.inode, kept.bucket);
            if same {
                kept.seen = kept.seen.saturating_add(link.seen);
            }
            same
        });
    }

    /// Counts each inode in the lowest of its buckets. Returns those that no bucket has all links of.
    pub(super) fn count(mut self, buckets: &mut [Usage]) -> Links {
        self.compact();
        let mut shared = Vec::new();
        for inode in self.links.chunk_by(|a, b| a.inode == b.inode) {
            let first = inode[0];
            let usage = &mut buckets[first.bucket as usize];
            usage.allocated += first.allocated;
            usage.apparent += first.apparent;
            usage.inodes += 1;
            if inode.len() > 1 || first.seen < first.links {
                let parts = inode.iter().map(|link| (link.bucket, link.seen)).collect();
                shared.push(SharedInode { allocated: first.allocated, links: first.links, parts });
            }
        }
        shared.sort_by_key(SharedInode::counted_in);
        Links { shared }
    }
}

/// An inode with links outside the bucket it is counted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedInode {
    /// Bytes allocated.
    pub allocated: u64,
    /// Links that it has anywhere.
    pub links: u32,
    /// Buckets with links to it, in their order, and how many links each has. The first one counts it.
    pub parts: Box<[(u32, u32)]>,
}

impl SharedInode {
    fn counted_in(&self) -> u32 {
        self.parts[0].0
    }

    /// Whether it goes when these buckets go: all its links are in them.
    fn goes_with(&self, set: &dyn Fn(u32) -> bool) -> bool {
        let inside: u64 = self.parts.iter().filter(|(bucket, _)| set(*bucket)).map(|(_, seen)| u64::from(*seen)).sum();
        inside >= u64::from(self.links)
    }
}

/// Inodes that no single bucket has all links of.
#[derive(Debug, Default)]
pub struct Links {
    /// By the bucket that counts them.
    shared: Vec<SharedInode>,
}

impl Links {
    /// Bytes counted in `bucket` that stay when all buckets for which `set` holds go.
    #[must_use]
    pub fn held_elsewhere(&self, bucket: u32, set: &dyn Fn(u32) -> bool) -> u64 {
        let start = self.shared.partition_point(|inode| inode.counted_in() < bucket);
        let counted = self.shared[start..].iter().take_while(|inode| inode.counted_in() == bucket);
        counted.filter(|inode| !inode.goes_with(set)).map(|inode| inode.allocated).sum()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }
}
