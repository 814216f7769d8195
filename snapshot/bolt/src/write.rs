//! Makes a database anew, as a file to put in the place of an old one or where there was none.
//!
//! The trees of pages are built from below, each page as full as it gets: bbolt itself splits a page when it next writes
//! to a full one. A bucket that is short and holds no other is inside its value, as bbolt has it, and what is longer than
//! a page takes the pages after it, too. No page is free (bbolt v1.3.6 `bucket.go`: `inlineable`, `node.go`: `spill`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::meta::{MAGIC, VERSION, fnv1a};
use super::page::{BRANCH, BUCKET_HEADER, ELEMENT, IS_BUCKET, LEAF, PAGE_HEADER};

/// Values by their keys.
pub type Values = BTreeMap<Vec<u8>, Vec<u8>>;

const PAGE: usize = 4096;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;
/// The pages before all others: two metas and the free list.
const BEFORE: usize = 3;
/// A bucket that needs more bytes than this is not inside its value (`bucket.go`: `maxInlineBucketSize`).
const MAX_INLINE: usize = PAGE / 4;
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

/// A bucket that is to be written: values and further buckets by their names.
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
    sequence: u64,
    entries: BTreeMap<Vec<u8>, NewEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum NewEntry {
    Value(Vec<u8>),
    Bucket(NewBucket),
}

impl NewBucket {
    /// Sets the number that was given last to something in this bucket (`Bucket.SetSequence`).
    pub fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// Stores a value, in the place of whatever had its key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.entries.insert(key.into(), NewEntry::Value(value.into()));
    }

    /// The bucket of this name, which is made if there is none, in the place of a value of its name.
    pub fn bucket(&mut self, name: impl Into<Vec<u8>>) -> &mut Self {
        let entry = self.entries.entry(name.into()).or_insert_with(|| NewEntry::Bucket(Self::default()));
        if let NewEntry::Value(_) = entry {
            *entry = NewEntry::Bucket(Self::default());
        }
        match entry {
            NewEntry::Bucket(bucket) => bucket,
            NewEntry::Value(_) => unreachable!("a value was just replaced"),
        }
    }

    /// The content of a database with this for the bucket that holds all others.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn into_database(self) -> Result<Vec<u8>, WriteError> {
        // These pages say where the others are, so they are written last.
        let mut file = Pages { bytes: vec![0; PAGE * BEFORE] };
        let elements = file.elements(&self)?;
        let root = file.tree(&elements);
        let pages = file.next();
        let meta = |id| meta(id, root, self.sequence, pages);
        let before = [meta(0), meta(1), header(2, FREELIST, 0, 0)];
        for (place, page) in file.bytes.chunks_exact_mut(PAGE).zip(&before) {
            place[..page.len()].copy_from_slice(page);
        }
        Ok(file.bytes)
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

/// An entry of a leaf.
struct Element<'a> {
    flags: u32,
    key: &'a [u8],
    value: Cow<'a, [u8]>,
}

impl Element<'_> {
    fn len(&self) -> usize {
        ELEMENT + self.key.len() + self.value.len()
    }
}

/// The pages so far.
struct Pages {
    bytes: Vec<u8>,
}

impl Pages {
    /// The number of the next page.
    fn next(&self) -> u64 {
        (self.bytes.len() / PAGE) as u64
    }

    /// What a bucket holds. The pages of the buckets in it are written.
    fn elements<'b>(&mut self, bucket: &'b NewBucket) -> Result<Vec<Element<'b>>, WriteError> {
        let mut elements = Vec::with_capacity(bucket.entries.len());
        for (key, entry) in &bucket.entries {
            match key.len() {
                0 => return Err(WriteError::EmptyKey),
                1..=MAX_KEY => {}
                length => return Err(WriteError::LongKey { length }),
            }
            elements.push(match entry {
                NewEntry::Value(value) if value.len() > MAX_VALUE => {
                    return Err(WriteError::LongValue { length: value.len() });
                }
                NewEntry::Value(value) => Element { flags: 0, key, value: Cow::Borrowed(value) },
                NewEntry::Bucket(inner) => Element { flags: IS_BUCKET, key, value: Cow::Owned(self.nested(inner)?) },
            });
        }
        Ok(elements)
    }

    /// The value that is a bucket: its page and its sequence; page 0 says that the bucket's leaf follows inside the value.
    fn nested(&mut self, bucket: &NewBucket) -> Result<Vec<u8>, WriteError> {
        let elements = self.elements(bucket)?;
        let length = PAGE_HEADER + elements.iter().map(Element::len).sum::<usize>();
        let inline = length <= MAX_INLINE && elements.iter().all(|element| element.flags & IS_BUCKET == 0);
        let page = if inline { 0 } else { self.tree(&elements) };
        let mut value = page.to_le_bytes().to_vec();
        value.extend(bucket.sequence.to_le_bytes());
        debug_assert_eq!(value.len(), BUCKET_HEADER);
        if inline {
            value.extend(page_of(0, LEAF, &leaf(&elements)));
        }
        Ok(value)
    }

    /// Writes the pages of a bucket, and returns the number of the topmost one.
    fn tree(&mut self, elements: &[Element<'_>]) -> u64 {
        let mut level = Vec::new();
        for group in groups(elements, 1, Element::len) {
            let first = group.first().map_or(&[][..], |element| element.key);
            level.push((first, self.append(LEAF, &leaf(group))));
        }
        while level.len() > 1 {
            let below = std::mem::take(&mut level);
            for group in groups(&below, 2, |(key, _)| ELEMENT + key.len()) {
                level.push((group[0].0, self.append(BRANCH, &branch(group))));
            }
        }
        level[0].1
    }

    /// Appends a page with all that belongs to it, and returns its number.
    fn append(&mut self, flags: u16, body: &Body) -> u64 {
        let id = self.next();
        self.bytes.extend(page_of(id, flags, body));
        self.bytes.resize(self.bytes.len().next_multiple_of(PAGE), 0);
        id
    }
}

/// Cuts `all` into groups that fit a page each, where one of `least` elements does. At least one group; a last one of less than
/// `least` is part of the one before.
fn groups<T>(all: &[T], least: usize, length: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut cuts = vec![0];
    let (mut begin, mut filled) = (0, PAGE_HEADER);
    for (at, element) in all.iter().enumerate() {
        let length = length(element);
        if filled + length > PAGE && at - begin >= least && all.len() - at >= least {
            cuts.push(at);
            (begin, filled) = (at, PAGE_HEADER);
        }
        filled += length;
    }
    cuts.push(all.len());
    cuts.windows(2).map(|pair| &all[pair[0]..pair[1]]).collect()
}

/// The elements of a page, and what they point to.
struct Body {
    count: usize,
    heads: Vec<u8>,
    data: Vec<u8>,
}

/// The part of a leaf after its header. Positions count from the start of each element.
fn leaf(elements: &[Element<'_>]) -> Body {
    let (mut heads, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for (number, Element { flags, key, value }) in elements.iter().enumerate() {
        let at = (elements.len() - number) * ELEMENT + data.len();
        heads.extend(flags.to_le_bytes());
        [at, key.len(), value.len()].into_iter().for_each(|field| heads.extend(short(field)));
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    Body { count: elements.len(), heads, data }
}

/// The part of a branch after its header.
fn branch(below: &[(&[u8], u64)]) -> Body {
    let (mut heads, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for (number, (key, page)) in below.iter().enumerate() {
        let at = (below.len() - number) * ELEMENT + data.len();
        [at, key.len()].into_iter().for_each(|field| heads.extend(short(field)));
        heads.extend(page.to_le_bytes());
        data.extend_from_slice(key);
    }
    Body { count: below.len(), heads, data }
}

/// A position or a length. What is in a page is at most a few short elements, or a long one after a short one.
fn short(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a page holds less than two gigabytes and a page").to_le_bytes()
}

/// A page with its header, with no more bytes than it needs.
fn page_of(id: u64, flags: u16, body: &Body) -> Vec<u8> {
    let length = PAGE_HEADER + body.heads.len() + body.data.len();
    let overflow = u32::try_from(length.div_ceil(PAGE) - 1).expect("a page holds less than two gigabytes and a page");
    let count = u16::try_from(body.count).expect("a page of 4096 bytes holds less than 256 elements");
    let mut page = header(id, flags, count, if id == 0 { 0 } else { overflow });
    page.extend_from_slice(&body.heads);
    page.extend_from_slice(&body.data);
    page
}

fn header(id: u64, flags: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut header = id.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(count.to_le_bytes());
    header.extend(overflow.to_le_bytes());
    header
}

fn meta(id: u64, root: u64, sequence: u64, pages: u64) -> Vec<u8> {
    let mut body = MAGIC.to_le_bytes().to_vec();
    body.extend(VERSION.to_le_bytes());
    body.extend(4096_u32.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    // The root's page and its sequence, the free list, how many pages there are, the transaction.
    for field in [root, sequence, 2, pages, id] {
        body.extend(field.to_le_bytes());
    }
    let sum = fnv1a(&body);
    body.extend(sum.to_le_bytes());
    let mut page = header(id, META, 0, 0);
    page.extend(body);
    page
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
        let leaf = values.prop_map(|values| NewBucket { sequence: 0, entries: values.into_iter().collect() });
        leaf.prop_recursive(3, 12, 4, move |inner| {
            let nested = btree_map(key(), inner.prop_map(NewEntry::Bucket), 0..8);
            nested.prop_map(|entries| NewBucket { sequence: 0, entries })
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
