//! A reader of bbolt databases (`go.etcd.io/bbolt`, file format version 2), for files that may be damaged, a
//! [writer](mod@write) of new ones, and [changes](mod@edit) to those that are there.
//!
//! This crate knows nothing of Docker. A database is in memory ([`Bolt::parse`]) or in a file ([`Bolt::open`]), of
//! which only the pages on the way to the entry at hand are in memory, however long the file is.
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
//! Numbers are in the byte order of the machine that wrote them; only little-endian ones are read. A position counts
//! from the start of its element. (bbolt `db.go` `type meta`, `internal/common/page.go`, `bucket.go`.)
//!
//! Everything is checked before it is used. bbolt lets each page be used in one place and writes keys and values one
//! after the other; both are required here, so that walking through a whole database takes time in proportion to its
//! length, whatever is in it.

#![forbid(unsafe_code)]

pub mod edit;
mod entries;
mod error;
mod meta;
mod page;
mod source;
#[cfg(test)]
mod tests;
pub mod write;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;

pub use entries::Entries;
pub use error::{BoltError, PageProblem};
use meta::Meta;
use page::{PAGE_HEADER, Page, Tree, u32_at, u64_at};
pub use source::PageBytes;
use source::Source;

/// A database.
///
/// # Examples
///
/// ```
/// use bolt::{Bolt, BucketEntry};
///
/// # let content = include_bytes!("../../../testdata/buildkit/snapshots-measured.db");
/// let database = Bolt::parse(content)?;
/// for entry in &database.root() {
///     match entry? {
///         BucketEntry::Bucket(name, bucket) => println!("{}: {} entries", name.escape_ascii(), bucket.iter().count()),
///         BucketEntry::Value(key, value) => println!("{} = {}", key.escape_ascii(), value.escape_ascii()),
///     }
/// }
/// # Ok::<(), bolt::BoltError>(())
/// ```
#[derive(Debug)]
pub struct Bolt<'a> {
    source: Source<'a>,
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
        Self::over(Source::Memory(bytes))
    }

    /// Finds the last transaction in a file, whose pages are read when they are asked for.
    ///
    /// Another process may be writing to the file. bbolt does not overwrite a page that the last transaction uses, so
    /// everything that was read is good if [`Bolt::is_current`] returns true afterwards.
    ///
    /// # Errors
    /// [`BoltError`] if there is none that bbolt would read.
    pub fn open(file: &'a File) -> Result<Self, BoltError> {
        Self::over(Source::File(file))
    }

    fn over(source: Source<'a>) -> Result<Self, BoltError> {
        let meta = Meta::newest(&source)?;
        Ok(Self { source, meta, references: RefCell::default() })
    }

    /// The database in a file as it will be when this meta is in it.
    fn at(file: &'a File, meta: Meta) -> Self {
        Self { source: Source::File(file), meta, references: RefCell::default() }
    }

    /// Whether the last transaction is still the one at which the database was opened.
    ///
    /// # Errors
    /// [`BoltError`] if the file has no valid transaction any more.
    pub fn is_current(&self) -> Result<bool, BoltError> {
        Ok(Meta::newest(&self.source)?.transaction == self.meta.transaction)
    }

    /// The number of the last transaction.
    #[must_use]
    pub fn transaction(&self) -> u64 {
        self.meta.transaction
    }

    /// The bucket that holds all others.
    #[must_use]
    pub fn root(&self) -> Bucket<'_> {
        let tree = Tree::Page { id: self.meta.root, referred: self.meta.offset };
        Bucket { bolt: self, tree, sequence: self.meta.sequence }
    }

    /// The bytes of a page that is referred to at `referred`, and where they begin.
    fn page(&self, id: u64, referred: usize) -> Result<Page, BoltError> {
        let failed = |problem| BoltError { page: id, problem };
        let beyond = || failed(PageProblem::Beyond);
        if id < 2 || id >= self.meta.pages {
            return Err(beyond());
        }
        let start = usize::try_from(id).ok().and_then(|id| id.checked_mul(self.meta.page_size)).ok_or_else(beyond)?;
        // Most pages are alone. A page is read at once, since a database has thousands of them.
        let first = self.source.first_page(id, start, self.meta.page_size)?;
        let header = first.get(..PAGE_HEADER).ok_or_else(beyond)?;
        let found = u64_at(header, 0).ok_or_else(beyond)?;
        if found != id {
            return Err(failed(PageProblem::OtherPage { found }));
        }
        let overflow = u32_at(header, 12).ok_or_else(beyond)?;
        let after = id + u64::from(overflow) + 1;
        if after > self.meta.pages {
            return Err(beyond());
        }
        let length = usize::try_from(overflow).ok().and_then(|pages| pages.checked_add(1));
        let length = length.and_then(|pages| pages.checked_mul(self.meta.page_size)).ok_or_else(beyond)?;
        let bytes = if overflow == 0 { first } else { self.source.bytes(id, start, length)? };
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
                return Err(BoltError { page, problem: PageProblem::UsedTwice });
            }
        }
        Ok(())
    }
}

/// A bucket: keys in order, with values or further buckets.
#[derive(Debug, Clone)]
pub struct Bucket<'a> {
    bolt: &'a Bolt<'a>,
    tree: Tree,
    sequence: u64,
}

/// One entry of a bucket.
#[derive(Debug, Clone)]
pub enum BucketEntry<'a> {
    /// A key and its value.
    Value(PageBytes, PageBytes),
    /// A bucket and its name.
    Bucket(PageBytes, Bucket<'a>),
}

impl<'a> Bucket<'a> {
    /// The number that was given last to something in this bucket (`Bucket.NextSequence`).
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// All entries, in the order of their keys. Ends after the first error.
    #[must_use]
    pub fn iter(&self) -> Entries<'a> {
        Entries::new(self.bolt, self.tree.clone())
    }

    /// The bucket `name` in this bucket. Takes time in proportion to the entries that come before it.
    ///
    /// # Errors
    /// [`BoltError`]
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Self>, BoltError> {
        let found = self.iter().find_map(|entry| match entry {
            Ok(BucketEntry::Bucket(key, bucket)) if *key == *name => Some(Ok(bucket)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        found.transpose()
    }

    /// The value of `key`. Takes time in proportion to the entries that come before it.
    ///
    /// # Errors
    /// [`BoltError`]
    pub fn get(&self, key: &[u8]) -> Result<Option<PageBytes>, BoltError> {
        let found = self.iter().find_map(|entry| match entry {
            Ok(BucketEntry::Value(found, value)) if *found == *key => Some(Ok(value)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        found.transpose()
    }
}

impl<'a> IntoIterator for &Bucket<'a> {
    type Item = Result<BucketEntry<'a>, BoltError>;
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}
