//! Inodes with several links. Each is counted once, and is freed only with its last link.

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
    /// The bucket that counts the inode, once that is known.
    counted_in: u32,
    allocated: u64,
    apparent: u64,
}

/// Stands in `counted_in` for an inode whose links are all in one bucket.
const SETTLED: u32 = u32::MAX;

/// How many links are moved at a time from one thread's list to another's.
const PIECE: usize = 1 << 15;

/// The links that one thread has seen, or that all threads have.
#[derive(Debug, Default)]
pub(super) struct Seen {
    links: Vec<Link>,
}

impl Seen {
    pub(super) fn add(&mut self, bucket: u32, stat: &rustix::fs::Stat, counted: (u64, u64)) {
        if self.links.len() == self.links.capacity() {
            self.compact();
            // Make room for as many links again, so that the cost of each compaction is spread over the links that come
            // before the next.
            self.links.reserve_exact(self.links.len().max(1024));
        }
        let links = u32::try_from(stat.st_nlink).unwrap_or(u32::MAX);
        let (allocated, apparent) = counted;
        self.links.push(Link { inode: stat.st_ino, bucket, seen: 1, links, counted_in: SETTLED, allocated, apparent });
    }

    /// Takes over the links that another thread has seen, piece by piece: there may be no memory for two copies of all
    /// of them.
    pub(super) fn append(&mut self, mut other: Self) {
        if self.links.is_empty() {
            *self = other;
            return;
        }
        self.links.reserve_exact(other.links.len());
        while !other.links.is_empty() {
            let rest = other.links.len().saturating_sub(PIECE);
            self.links.extend(other.links.drain(rest..));
            other.links.shrink_to_fit();
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
        for inode in self.links.chunk_by_mut(|a, b| a.inode == b.inode) {
            let first = inode[0];
            let usage = &mut buckets[first.bucket as usize];
            usage.allocated += first.allocated;
            usage.apparent += first.apparent;
            usage.inodes += 1;
            let settled = inode.len() == 1 && first.seen >= first.links;
            for link in inode {
                link.counted_in = if settled { SETTLED } else { first.bucket };
            }
        }
        // In place, since there may be as many as there are inodes.
        self.links.retain(|link| link.counted_in != SETTLED);
        self.links.sort_unstable_by_key(|link| (link.counted_in, link.inode));
        self.links.shrink_to_fit();
        Links { links: self.links }
    }
}

/// Inodes that no single bucket has all links of.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// By the bucket that counts the inode, then by inode.
    links: Vec<Link>,
}

impl Links {
    /// The bytes counted in `bucket` that stay when all buckets in `set` are removed, because the inode has another
    /// link in a bucket that stays, or outside of what was walked.
    pub(crate) fn held_elsewhere(&self, bucket: u32, set: &dyn Fn(u32) -> bool) -> u64 {
        let start = self.links.partition_point(|link| link.counted_in < bucket);
        let end = self.links.partition_point(|link| link.counted_in <= bucket);
        let inodes = self.links[start..end].chunk_by(|a, b| a.inode == b.inode);
        let stays = inodes.filter(|inode| {
            let inside = inode.iter().filter(|link| set(link.bucket)).map(|link| u64::from(link.seen)).sum::<u64>();
            inside < u64::from(inode[0].links)
        });
        stays.map(|inode| inode[0].allocated).sum()
    }
}
