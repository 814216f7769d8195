//! A reader of bbolt databases (`go.etcd.io/bbolt`, file format version 2), for files that may be damaged.
//!
//! ```text
//! file      pages of one size; pages 0 and 1 are metas, the valid one with the higher transaction counts
//! page      id u64, flags u16, count u16, overflow u32, then `count` elements, then their keys and values
//!             overflow: how many pages follow that belong to this one
//! meta      magic u32, version u32, page size u32, flags u32, root bucket (page u64, sequence u64),
//!             freelist u64, pages in use u64, transaction u64, FNV-1a 64 of all before
//! branch    elements of: position u32, key length u32, page u64
//! leaf      elements of: flags u32, position u32, key length u32, value length u32
//!             flags 1: the value is a bucket: page u64, sequence u64; with page 0 a leaf page follows inside the value
//! ```
//!
//! Numbers are in the byte order of the machine that wrote them; only little-endian ones are read. A position counts from
//! the start of its element. (bbolt `db.go` `type meta`, `internal/common/page.go`, `bucket.go`.)
//!
//! Everything is checked before it is used. bbolt lets each page be used in one place and writes keys and values one after
//! the other; both are required here, so that walking through a whole database takes time in proportion to its length,
//! whatever is in it.

mod error;
mod meta;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;

pub use error::{BoltError, Problem};
use meta::Meta;

const PAGE_HEADER: usize = 16;
const ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
/// Of a leaf's element.
const IS_BUCKET: u32 = 0x01;

/// How deep a tree of pages may be. bbolt's branch at least in two at each level, so this is far beyond any file.
const MAX_DEPTH: usize = 40;

/// Reads a number; `None` beyond the end.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// A length or position in the file. On a small machine a number that does not fit is beyond the end anyway.
fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    u32_at(bytes, at).map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

/// A database in memory.
#[derive(Debug)]
pub struct Bolt<'a> {
    bytes: &'a [u8],
    meta: Meta,
    /// By page, where in the file the only reference to it is.
    references: RefCell<HashMap<u64, usize>>,
}

impl<'a> Bolt<'a> {
    /// Finds the last transaction in the content of a file.
    ///
    /// # Errors
    /// [`BoltError`] if there is none that bbolt would read.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BoltError> {
        let meta = Meta::newest(bytes)?;
        Ok(Self { bytes, meta, references: RefCell::default() })
    }

    /// The last transaction.
    #[must_use]
    pub fn transaction(&self) -> u64 {
        self.meta.transaction
    }

    /// The bucket that holds all others.
    #[must_use]
    pub fn root(&self) -> Bucket<'_> {
        Bucket { bolt: self, tree: Tree::Page { id: self.meta.root, referred: self.meta.offset } }
    }

    /// The bytes of a page that is referred to at `referred`, and where they begin.
    fn page(&self, id: u64, referred: usize) -> Result<Page<'a>, BoltError> {
        let failed = |problem| BoltError { page: id, problem };
        let beyond = || failed(Problem::Beyond);
        if id < 2 || id >= self.meta.pages {
            return Err(beyond());
        }
        let start = usize::try_from(id).ok().and_then(|id| id.checked_mul(self.meta.page_size)).ok_or_else(beyond)?;
        let rest = self.bytes.get(start..).ok_or_else(beyond)?;
        let found = u64_at(rest, 0).ok_or_else(beyond)?;
        if found != id {
            return Err(failed(Problem::OtherPage { found }));
        }
        let overflow = u32_at(rest, 12).ok_or_else(beyond)?;
        let after = id + u64::from(overflow) + 1;
        if after > self.meta.pages {
            return Err(beyond());
        }
        let length = usize::try_from(overflow).ok().and_then(|pages| pages.checked_add(1));
        let length = length.and_then(|pages| pages.checked_mul(self.meta.page_size)).ok_or_else(beyond)?;
        let bytes = rest.get(..length).ok_or_else(beyond)?;
        self.refer(id, after, referred)?;
        Ok(Page { id, start, bytes })
    }

    /// Notes that the pages up to `after` are in use.
    fn refer(&self, id: u64, after: u64, referred: usize) -> Result<(), BoltError> {
        let mut references = self.references.borrow_mut();
        if references.get(&id) == Some(&referred) {
            return Ok(());
        }
        for page in id..after {
            if references.insert(page, referred).is_some() {
                return Err(BoltError { page, problem: Problem::UsedTwice });
            }
        }
        Ok(())
    }
}

/// Where the pages of a bucket begin.
#[derive(Debug, Clone, Copy)]
enum Tree<'a> {
    Page {
        id: u64,
        /// Where in the file this is said.
        referred: usize,
    },
    /// In the value that is the bucket.
    Inline(Page<'a>),
}

/// A page with its overflow, or the one inside a value.
#[derive(Debug, Clone, Copy)]
struct Page<'a> {
    /// For errors; a page inside a value has that of the page around it.
    id: u64,
    /// Where in the file it begins.
    start: usize,
    bytes: &'a [u8],
}

impl<'a> Page<'a> {
    fn failed(&self, problem: Problem) -> BoltError {
        BoltError { page: self.id, problem }
    }

    /// Its flags and the number of its elements, which are all inside.
    fn header(&self) -> Result<(u16, usize), BoltError> {
        let short = || self.failed(Problem::Short);
        let flags = u16_at(self.bytes, 8).ok_or_else(short)?;
        let count = usize::from(u16_at(self.bytes, 10).ok_or_else(short)?);
        if PAGE_HEADER + count * ELEMENT > self.bytes.len() {
            return Err(self.failed(Problem::Count { found: count }));
        }
        Ok((flags, count))
    }

    /// The bytes of element `index` that begin at `position` and are `length` long; `free` is where the last one's ended.
    fn data(
        &self,
        index: usize,
        position: usize,
        length: usize,
        free: &mut usize,
    ) -> Result<(usize, &'a [u8]), BoltError> {
        let start = (PAGE_HEADER + index * ELEMENT).checked_add(position);
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        let range = range.filter(|range| range.start >= *free);
        let bytes = range.and_then(|range| Some((range.start, self.bytes.get(range)?)));
        let (start, bytes) = bytes.ok_or_else(|| self.failed(Problem::Element { index }))?;
        *free = start + length;
        Ok((start, bytes))
    }
}

/// A bucket: keys in order, with values or further buckets.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    bolt: &'a Bolt<'a>,
    tree: Tree<'a>,
}

/// One entry of a bucket.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A key and its value.
    Value(&'a [u8], &'a [u8]),
    /// A bucket and its name.
    Bucket(&'a [u8], Bucket<'a>),
}

impl<'a> Bucket<'a> {
    /// All entries, in the order of their keys. Ends after the first error.
    #[must_use]
    pub fn iter(&self) -> Entries<'a> {
        Entries { bolt: self.bolt, first: Some(self.tree), open: Vec::new(), last: None }
    }

    /// The bucket `name` in it. Takes time in proportion to what comes before.
    ///
    /// # Errors
    /// [`BoltError`]
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Self>, BoltError> {
        let found = self.iter().find_map(|entry| match entry {
            Ok(Entry::Bucket(key, bucket)) if key == name => Some(Ok(bucket)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        found.transpose()
    }

    /// The value of `key`. Takes time in proportion to what comes before.
    ///
    /// # Errors
    /// [`BoltError`]
    pub fn get(&self, key: &[u8]) -> Result<Option<&'a [u8]>, BoltError> {
        let found = self.iter().find_map(|entry| match entry {
            Ok(Entry::Value(found, value)) if found == key => Some(Ok(value)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        found.transpose()
    }
}

impl<'a> IntoIterator for &Bucket<'a> {
    type Item = Result<Entry<'a>, BoltError>;
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// The entries of a bucket.
#[derive(Debug)]
pub struct Entries<'a> {
    bolt: &'a Bolt<'a>,
    /// Not yet opened.
    first: Option<Tree<'a>>,
    /// The pages from the root to the one being read.
    open: Vec<Open<'a>>,
    last: Option<&'a [u8]>,
}

/// A page that is being read.
#[derive(Debug)]
struct Open<'a> {
    page: Page<'a>,
    branch: bool,
    count: usize,
    next: usize,
    /// Where the data of the last element ended.
    free: usize,
}

impl<'a> Open<'a> {
    fn new(page: Page<'a>, may_branch: bool) -> Result<Self, BoltError> {
        let (flags, count) = page.header()?;
        let branch = match flags {
            BRANCH if may_branch && count > 0 => true,
            LEAF => false,
            _ => return Err(page.failed(Problem::Kind { found: flags })),
        };
        Ok(Self { page, branch, count, next: 0, free: PAGE_HEADER + count * ELEMENT })
    }

    /// The page below that comes next.
    fn child(&mut self) -> Result<(u64, usize), BoltError> {
        let (page, index) = (self.page, self.advance());
        let at = PAGE_HEADER + index * ELEMENT;
        let read = || Some((size_at(page.bytes, at)?, size_at(page.bytes, at + 4)?, u64_at(page.bytes, at + 8)?));
        let (position, key, id) = read().ok_or_else(|| page.failed(Problem::Element { index }))?;
        page.data(index, position, key, &mut self.free)?;
        Ok((id, page.start + at + 8))
    }

    /// The entry that comes next.
    fn entry(&mut self, bolt: &'a Bolt<'a>) -> Result<Entry<'a>, BoltError> {
        let (page, index) = (self.page, self.advance());
        let at = PAGE_HEADER + index * ELEMENT;
        let failed = || page.failed(Problem::Element { index });
        let read = || Some((u32_at(page.bytes, at)?, size_at(page.bytes, at + 4)?, size_at(page.bytes, at + 8)?));
        let (flags, position, key_length) = read().ok_or_else(failed)?;
        let value_length = size_at(page.bytes, at + 12).ok_or_else(failed)?;
        let (_, key) = page.data(index, position, key_length, &mut self.free)?;
        let after = position.checked_add(key_length).ok_or_else(failed)?;
        let (start, value) = page.data(index, after, value_length, &mut self.free)?;
        if flags & IS_BUCKET == 0 {
            return Ok(Entry::Value(key, value));
        }
        let referred = page.start + start;
        let tree = match (u64_at(value, 0), value.get(BUCKET_HEADER..)) {
            (Some(0), Some(bytes)) => Tree::Inline(Page { id: page.id, start: referred + BUCKET_HEADER, bytes }),
            (Some(id), Some(_)) => Tree::Page { id, referred },
            _ => return Err(failed()),
        };
        Ok(Entry::Bucket(key, Bucket { bolt, tree }))
    }

    fn advance(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }
}

impl<'a> Entries<'a> {
    fn descend(&mut self, id: u64, referred: usize) -> Result<(), BoltError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(BoltError { page: id, problem: Problem::Deep });
        }
        self.open.push(Open::new(self.bolt.page(id, referred)?, true)?);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Entry<'a>>, BoltError> {
        match self.first.take() {
            Some(Tree::Page { id, referred }) => self.descend(id, referred)?,
            Some(Tree::Inline(page)) => self.open.push(Open::new(page, false)?),
            None => {}
        }
        while let Some(open) = self.open.last_mut() {
            if open.next == open.count {
                self.open.pop();
            } else if open.branch {
                let (id, referred) = open.child()?;
                self.descend(id, referred)?;
            } else {
                let entry = open.entry(self.bolt)?;
                let (Entry::Value(key, _) | Entry::Bucket(key, _)) = entry;
                if self.last.is_some_and(|last| last >= key) {
                    return Err(open.page.failed(Problem::Order { index: open.next - 1 }));
                }
                self.last = Some(key);
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.open.clear();
        }
        step.transpose()
    }
}
