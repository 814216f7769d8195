//! What is to be written: a database made anew, as a file to put in the place of an old one or where there was none, or
//! [changes](mod@super::edit) to one.
//!
//! The trees of pages are built from below, each page as full as it gets: bbolt itself splits a page when it next writes
//! to a full one. A bucket that is short and holds no other is inside its value, as bbolt has it, and what is longer than
//! a page takes the pages after it, too. In a new database no page is free (bbolt v1.3.6 `bucket.go`: `inlineable`, `node.go`: `spill`).

pub(super) mod layout;
pub(super) mod tree;

use std::collections::BTreeMap;
use std::io;

use super::edit::EditError;
use layout::{FREELIST, NewMeta, header};
use tree::{Pages, write_root};

/// Values by their keys.
pub type Values = BTreeMap<Vec<u8>, Vec<u8>>;

const PAGE: usize = 4096;
/// The pages before all others: two metas and the free list.
const BEFORE: usize = 3;
/// bbolt's bounds (`bucket.go`: `MaxKeySize`, `MaxValueSize`).
const MAX_KEY: usize = 32_768;
const MAX_VALUE: usize = (1 << 31) - 2;

/// What bbolt refuses to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A key without a byte.
    #[error("a key is empty")]
    EmptyKey,
    /// A key that is too long.
    #[error("a key has {length} bytes, and may have {MAX_KEY}")]
    LongKey {
        /// Its length in bytes.
        length: usize,
    },
    /// A value that is too long.
    #[error("a value has {length} bytes, and may have {MAX_VALUE}")]
    LongValue {
        /// Its length in bytes.
        length: usize,
    },
}

/// A bucket that is to be written: values and further buckets by their names. For a database that exists, it says what
/// becomes different in the bucket of its name; everything else there stays.
///
/// # Examples
///
/// ```
/// use bolt::write::NewBucket;
///
/// let mut root = NewBucket::default();
/// let pets = root.bucket("pets");
/// pets.set_sequence(2);
/// pets.put("1", "cat");
/// pets.put("2", "dog");
/// let content = root.into_database()?;
/// let database = bolt::Bolt::parse(&content).expect("it was just written");
/// let pets = database.root().bucket(b"pets").unwrap().expect("it was just written");
/// assert_eq!(pets.get(b"2").unwrap().as_deref(), Some(&b"dog"[..]));
/// # Ok::<(), bolt::write::WriteError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewBucket {
    /// `None` leaves it as it is.
    sequence: Option<u64>,
    /// Whether nothing stays of the bucket that had its name.
    replaces: bool,
    entries: BTreeMap<Vec<u8>, NewEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum NewEntry {
    Value(Vec<u8>),
    Bucket(NewBucket),
    Removed,
}

impl NewBucket {
    /// A bucket in the place of the one that has its name, of which nothing stays.
    #[must_use]
    pub fn replacing() -> Self {
        Self { replaces: true, ..Self::default() }
    }

    /// Sets the number that was given last to something in this bucket (`Bucket.SetSequence`).
    pub fn set_sequence(&mut self, sequence: u64) {
        self.sequence = Some(sequence);
    }

    /// Stores a value, in the place of whatever had its key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.entries.insert(key.into(), NewEntry::Value(value.into()));
    }

    /// Takes away whatever has this key, also in the database that is changed.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.entries.insert(key.into(), NewEntry::Removed);
    }

    /// The bucket of this name, which is made if there is none, in the place of a value of its name.
    pub fn bucket(&mut self, name: impl Into<Vec<u8>>) -> &mut Self {
        let entry = self.entries.entry(name.into()).or_insert_with(|| NewEntry::Bucket(Self::default()));
        match entry {
            NewEntry::Bucket(_) => {}
            // What it took the place of does not come back.
            NewEntry::Removed | NewEntry::Value(_) => *entry = NewEntry::Bucket(Self::replacing()),
        }
        match entry {
            NewEntry::Bucket(bucket) => bucket,
            NewEntry::Value(_) | NewEntry::Removed => unreachable!("it was just replaced"),
        }
    }

    /// Whether it says nothing: a database that is changed by it stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sequence.is_none() && !self.replaces && self.entries.is_empty()
    }

    /// The content of a database with this for the bucket that holds all others.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn into_database(self) -> Result<Vec<u8>, WriteError> {
        // The first pages say where the others are, so they are written last.
        let mut memory = Memory { bytes: vec![0; PAGE * BEFORE] };
        let (root, sequence) = match write_root(&mut memory, None, &self) {
            Ok(written) => written,
            Err(EditError::Write(error)) => return Err(error),
            Err(EditError::Read(_) | EditError::Io { .. } | EditError::Long { .. }) => {
                unreachable!("there is no old database, and memory takes everything")
            }
        };
        let pages = memory.next();
        let meta =
            |transaction| NewMeta { page_size: PAGE, root, sequence, free_list: 2, pages, transaction }.to_page();
        let before = [meta(0), meta(1), header(2, FREELIST, 0, 0)];
        for (place, page) in memory.bytes.chunks_exact_mut(PAGE).zip(&before) {
            place[..page.len()].copy_from_slice(page);
        }
        Ok(memory.bytes)
    }
}

/// The pages of a new database so far.
struct Memory {
    bytes: Vec<u8>,
}

impl Memory {
    /// The number of the next page.
    fn next(&self) -> u64 {
        (self.bytes.len() / PAGE) as u64
    }
}

impl Pages for Memory {
    fn page_size(&self) -> usize {
        PAGE
    }

    fn allocate(&mut self, pages: u64) -> u64 {
        let id = self.next();
        let length = usize::try_from(pages).expect("less than a value may have") * PAGE;
        self.bytes.resize(self.bytes.len() + length, 0);
        id
    }

    fn write(&mut self, id: u64, page: &[u8]) -> io::Result<()> {
        let at = usize::try_from(id).expect("it was just allocated") * PAGE;
        self.bytes[at..at + page.len()].copy_from_slice(page);
        Ok(())
    }
}

/// The content of a database with these buckets; `None` if bbolt refuses a key or a value of it.
///
/// # Examples
///
/// ```
/// let values = [(b"key".to_vec(), b"value".to_vec())].into();
/// let content = bolt::write::database(&[(b"bucket".to_vec(), values)].into()).expect("it is short");
/// let database = bolt::Bolt::parse(&content)?;
/// let bucket = database.root().bucket(b"bucket")?.expect("it was just written");
/// assert_eq!(bucket.get(b"key")?.as_deref(), Some(&b"value"[..]));
/// # Ok::<(), bolt::BoltError>(())
/// ```
#[must_use]
pub fn database(buckets: &BTreeMap<Vec<u8>, Values>) -> Option<Vec<u8>> {
    let mut root = NewBucket::default();
    for (name, values) in buckets {
        let bucket = root.bucket(name.clone());
        values.iter().for_each(|(key, value)| bucket.put(key.clone(), value.clone()));
    }
    root.into_database().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bolt, BucketEntry};

    fn read(content: &[u8]) -> BTreeMap<Vec<u8>, Values> {
        let database = Bolt::parse(content).unwrap();
        let bucket = |entry| match entry {
            Ok(BucketEntry::Bucket(name, bucket)) => {
                let value = |entry| match entry {
                    Ok(BucketEntry::Value(key, value)) => (key.to_vec(), value.to_vec()),
                    other => panic!("{other:?}"),
                };
                (name.to_vec(), bucket.iter().map(value).collect())
            }
            other => panic!("{other:?}"),
        };
        database.root().iter().map(bucket).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let values = |count: usize| -> Values {
            (0..count).map(|number| (format!("key{number:05}").into_bytes(), vec![b'v'; number % 700])).collect()
        };
        for counts in [&[][..], &[0], &[1], &[3, 0, 5], &[2000, 1]] {
            let named = |(number, count): (usize, &usize)| (format!("bucket{number}").into_bytes(), values(*count));
            let buckets: BTreeMap<_, _> = counts.iter().enumerate().map(named).collect();
            let content = database(&buckets).unwrap();
            assert_eq!(content.len() % PAGE, 0);
            assert_eq!(read(&content), buckets, "{counts:?}");
        }
        let many = [(b"x".to_vec(), values(70_000))].into();
        assert_eq!(read(&database(&many).unwrap()), many, "more than one page can count");
        let long = |key: usize| [(b"x".to_vec(), [(vec![b'k'; key], vec![])].into())].into();
        assert!(database(&long(MAX_KEY)).is_some());
        assert_eq!((database(&long(MAX_KEY + 1)), database(&long(0))), (None, None));
    }

    /// A bucket read back, with all that is in it.
    fn read_bucket(bucket: &crate::Bucket<'_>) -> NewBucket {
        let mut found = NewBucket::default();
        for entry in bucket {
            match entry.unwrap() {
                BucketEntry::Value(key, value) => found.put(key.to_vec(), value.to_vec()),
                BucketEntry::Bucket(name, inner) => *found.bucket(name.to_vec()) = read_bucket(&inner),
            }
        }
        found
    }

    /// The lengths of keys and values are what matters, so their bytes are all but the same.
    fn any_bucket() -> impl proptest::strategy::Strategy<Value = NewBucket> {
        use proptest::collection::{btree_map, vec};
        use proptest::prelude::*;
        let key = || (any::<u32>(), prop_oneof![8 => 0..40_usize, 1 => 500..3000_usize]);
        let key = move || key().prop_map(|(first, more)| [&first.to_be_bytes()[..], &vec![b'k'; more]].concat());
        let value = prop_oneof![8 => 0..60_usize, 1 => 3000..20_000_usize];
        let values = vec((key(), value.prop_map(|length| NewEntry::Value(vec![b'v'; length]))), 0..90);
        let leaf =
            values.prop_map(|values| NewBucket { entries: values.into_iter().collect(), ..NewBucket::default() });
        leaf.prop_recursive(3, 12, 4, move |inner| {
            let nested = btree_map(key(), inner.prop_map(NewEntry::Bucket), 0..8);
            nested.prop_map(|entries| NewBucket { entries, ..NewBucket::default() })
        })
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
        #[test]
        fn any_tree_is_read_as_it_was_written(root in any_bucket()) {
            let content = root.clone().into_database().unwrap();
            proptest::prop_assert_eq!(read_bucket(&Bolt::parse(&content).unwrap().root()), root);
        }
    }
}
