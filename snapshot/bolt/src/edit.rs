//! Changes a database in its file, as bbolt does: pages that nobody uses are filled, and one page that says where everything
//! is makes them count.
//!
//! ```text
//! walk   every page that the last transaction uses is read: what cannot be read stops here
//! write  pages that it does not use, or behind all others: those of the buckets that become different, and of what is above them
//! walk   the new trees, page by page: they are whole, and tell which pages are free from now on
//! write  the list of those, and make all of it durable
//! write  the older of the two metas: the commit point
//! ```
//!
//! A crash before the last step leaves the database as it was, a crash after it the new one: what the last transaction uses
//! is never overwritten, and of the two metas the valid one with the higher transaction counts. The file stays the same one, so
//! whoever waits for its lock finds the changes (bbolt v1.3.6 `tx.go: Commit`, `freelist.go`).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::meta::Meta;
use super::page::{PAGE_HEADER, u16_at, u32_at, u64_at};
use super::write::layout::{FREELIST, NewMeta, header};
use super::write::tree::{Pages, write_root};
use super::write::{NewBucket, WriteError};
use super::{Bolt, BoltError, PageProblem};

/// The page of the list of free pages, where there is none: bbolt then looks for them.
const NO_FREE_LIST: u64 = u64::MAX;

/// A list of so many free pages says how many in the place of the first one (`page.go`).
const MANY: usize = 0xFFFF;

/// Why a database was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is damaged.
    #[error(transparent)]
    Read(#[from] BoltError),
    /// bbolt refuses a key or a value.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It would be longer than is allowed.
    #[error("it would have {found} bytes, more than {most}")]
    Long {
        /// How many bytes it would have.
        found: u64,
        /// How many it may have.
        most: u64,
    },
    /// The file cannot be written.
    #[error("{doing} it")]
    Io {
        /// What was done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl EditError {
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// How a database is changed.
#[derive(Debug, Clone, Copy)]
pub struct EditOptions {
    /// How many bytes it may have in the end.
    pub most: u64,
    /// Whether to wait until each step is on the disk. Without it, a power cut may leave anything.
    pub sync: bool,
}

/// Changes the database in `file`, which the caller has locked as bbolt locks it. Of `changes` each bucket says what becomes
/// different in the bucket of its name.
///
/// # Errors
/// [`EditError`]; the database is then as it was, unless only the last wait for the disk has failed.
pub fn apply(file: &File, changes: &NewBucket, options: EditOptions) -> Result<(), EditError> {
    if changes.is_empty() {
        return Ok(());
    }
    let bolt = Bolt::open(file)?;
    let old = bolt.meta;
    let mut used = used_pages(&bolt)?;
    // The list of free pages belongs to the last transaction, too.
    used.extend(free_list(file, &old)?);
    let mut pages = InFile { file, page_size: old.page_size, free: unused(&used, old.pages), end: old.pages };
    let (root, sequence) = write_root(&mut pages, Some(&bolt.root()), changes)?;
    drop(bolt);
    let written = Meta { root, sequence, pages: pages.end, transaction: old.transaction + 1, ..old };
    let used = used_pages(&Bolt::at(file, written))?;
    // The list has no more pages than would be needed if all were free.
    let most = old.page_size as u64;
    let list_length = ((pages.end + 1) * 8 + PAGE_HEADER as u64).div_ceil(most) + 1;
    let list = pages.allocate(list_length);
    let listed: Vec<u64> = unused(&used, pages.end)
        .into_iter()
        .flatten()
        .filter(|page| !(list..list + list_length).contains(page))
        .collect();
    let found = pages.end.saturating_mul(most);
    if found > options.most {
        return Err(EditError::Long { found, most: options.most });
    }
    let mut page = free_list_page(list, list_length, &listed);
    page.resize(usize::try_from(list_length * most).unwrap_or(usize::MAX), 0);
    pages.write(list, &page).map_err(EditError::io("writing"))?;
    let sync = || if options.sync { file.sync_data() } else { Ok(()) };
    sync().map_err(EditError::io("syncing"))?;
    let meta = NewMeta {
        page_size: old.page_size,
        root,
        sequence,
        free_list: list,
        pages: pages.end,
        transaction: written.transaction,
    };
    let mut page = meta.to_page();
    page.resize(old.page_size, 0);
    pages.write(meta.id(), &page).map_err(EditError::io("writing"))?;
    sync().map_err(EditError::io("syncing"))
}

/// Reads every page of a database, and returns which are used, but for the first two.
fn used_pages(bolt: &Bolt<'_>) -> Result<BTreeSet<u64>, BoltError> {
    let mut open = vec![bolt.root().iter()];
    while let Some(entries) = open.last_mut() {
        match entries.next().transpose()? {
            None => drop(open.pop()),
            Some(super::BucketEntry::Value(..)) => {}
            Some(super::BucketEntry::Bucket(_, bucket)) => open.push(bucket.iter()),
        }
    }
    Ok(bolt.references.borrow().keys().copied().collect())
}

/// The pages of the list of free pages.
fn free_list(file: &File, meta: &Meta) -> Result<Range<u64>, EditError> {
    let first = meta.free_list;
    if first == NO_FREE_LIST {
        return Ok(0..0);
    }
    let failed = |problem| EditError::Read(BoltError { page: first, problem });
    if first < 2 || first >= meta.pages {
        return Err(failed(PageProblem::Beyond));
    }
    let mut header = [0; PAGE_HEADER];
    let at = first.checked_mul(meta.page_size as u64).ok_or_else(|| failed(PageProblem::Beyond))?;
    file.read_exact_at(&mut header, at).map_err(|_| failed(PageProblem::Beyond))?;
    let (found, flags) = (u64_at(&header, 0).unwrap_or_default(), u16_at(&header, 8).unwrap_or_default());
    if found != first {
        return Err(failed(PageProblem::OtherPage { found }));
    }
    if flags != FREELIST {
        return Err(failed(PageProblem::Kind { found: flags }));
    }
    let after = first + u64::from(u32_at(&header, 12).unwrap_or_default()) + 1;
    if after > meta.pages { Err(failed(PageProblem::Beyond)) } else { Ok(first..after) }
}

fn free_list_page(id: u64, length: u64, free: &[u64]) -> Vec<u8> {
    let overflow = u32::try_from(length - 1).expect("the length of a database is bounded");
    let (count, first) = match u16::try_from(free.len()) {
        Ok(count) if free.len() < MANY => (count, None),
        _ => (u16::MAX, Some(free.len() as u64)),
    };
    let mut page = header(id, FREELIST, count, overflow);
    first.iter().chain(free).for_each(|number| page.extend(number.to_le_bytes()));
    page
}

/// The runs of pages before `end` that are not used; the first two never are in one.
fn unused(used: &BTreeSet<u64>, end: u64) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    let mut begin = 2;
    for page in used.range(2..end).copied().chain([end]) {
        if begin < page {
            runs.push(begin..page);
        }
        begin = page + 1;
    }
    runs
}

/// Pages of the file that the last transaction does not use.
struct InFile<'f> {
    file: &'f File,
    page_size: usize,
    /// Runs of free pages, in order.
    free: Vec<Range<u64>>,
    /// How many pages there are.
    end: u64,
}

impl Pages for InFile<'_> {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn allocate(&mut self, pages: u64) -> u64 {
        if let Some(run) = self.free.iter_mut().find(|run| run.end - run.start >= pages) {
            let id = run.start;
            run.start += pages;
            self.free.retain(|run| !run.is_empty());
            return id;
        }
        let id = self.end;
        self.end += pages;
        id
    }

    fn write(&mut self, id: u64, page: &[u8]) -> io::Result<()> {
        self.file.write_all_at(page, id * self.page_size as u64)
    }
}
