//! Trees of pages, built from below: of what a database has, and what becomes different in it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io;

use super::layout::Body;
use super::{MAX_KEY, MAX_VALUE, NewBucket, NewEntry, WriteError};
use crate::edit::EditError;
use crate::page::{BUCKET_HEADER, ELEMENT, IS_BUCKET, PAGE_HEADER, Tree};
use crate::{Bucket, BucketEntry};

/// Where pages go.
pub(crate) trait Pages {
    /// Bytes of a page.
    fn page_size(&self) -> usize;

    /// Gives the number of the first of `pages` pages that nobody uses.
    fn allocate(&mut self, pages: u64) -> u64;

    /// Fills pages that were allocated, up to the end of the last one.
    fn write(&mut self, id: u64, page: &[u8]) -> io::Result<()>;
}

/// An entry of a leaf.
pub(super) struct Element<'a> {
    pub(super) flags: u32,
    pub(super) key: Cow<'a, [u8]>,
    pub(super) value: Cow<'a, [u8]>,
}

impl Element<'_> {
    fn len(&self) -> usize {
        ELEMENT + self.key.len() + self.value.len()
    }
}

/// Writes the pages of the bucket that holds all others, and returns the number of its topmost page, and its sequence.
pub(crate) fn write_root(
    pages: &mut impl Pages,
    old: Option<&Bucket<'_>>,
    new: &NewBucket,
) -> Result<(u64, u64), EditError> {
    let bucket = write_entries(pages, old, new)?;
    Ok((bucket.finish(pages)?, sequence(old, new)))
}

fn sequence(old: Option<&Bucket<'_>>, new: &NewBucket) -> u64 {
    new.sequence.or_else(|| old.map(Bucket::sequence)).unwrap_or_default()
}

/// What a bucket holds in the end. The pages of the buckets in it are written where something is different in them; the others stay
/// where they are.
fn write_entries<'e>(
    pages: &mut impl Pages,
    old: Option<&Bucket<'_>>,
    new: &'e NewBucket,
) -> Result<Leaves<'e>, EditError> {
    let mut leaves = Leaves::default();
    let mut entries = old.filter(|_| !new.replaces).map(Bucket::iter);
    let mut next_old = || entries.as_mut().and_then(Iterator::next).transpose();
    let mut changes = new.entries.iter().peekable();
    let mut kept = next_old()?;
    loop {
        let order = match (&kept, changes.peek()) {
            (None, None) => return Ok(leaves),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(BucketEntry::Value(key, _) | BucketEntry::Bucket(key, _)), Some((changed, _))) => {
                (**key).cmp(changed)
            }
        };
        let before = if order == Ordering::Greater { None } else { std::mem::replace(&mut kept, next_old()?) };
        if order == Ordering::Less {
            leaves.push(pages, unchanged(&before.expect("there is one")))?;
            continue;
        }
        let (key, change) = changes.next().expect("there is one");
        let old = match &before {
            Some(BucketEntry::Bucket(_, old)) => Some(old),
            _ => None,
        };
        let (flags, value) = match change {
            NewEntry::Removed => continue,
            NewEntry::Value(value) => (0, Cow::Borrowed(&value[..])),
            NewEntry::Bucket(inner) => (IS_BUCKET, Cow::Owned(nested(pages, old.filter(|_| !inner.replaces), inner)?)),
        };
        check(key, &value)?;
        leaves.push(pages, Element { flags, key: Cow::Borrowed(key), value })?;
    }
}

fn check(key: &[u8], value: &[u8]) -> Result<(), WriteError> {
    match (key.len(), value.len()) {
        (0, _) => Err(WriteError::EmptyKey),
        (length, _) if length > MAX_KEY => Err(WriteError::LongKey { length }),
        (_, length) if length > MAX_VALUE => Err(WriteError::LongValue { length }),
        _ => Ok(()),
    }
}

/// An entry as it was. A bucket's pages stay where they are.
fn unchanged(entry: &BucketEntry<'_>) -> Element<'static> {
    let (flags, key, value) = match entry {
        BucketEntry::Value(key, value) => (0, key, value.to_vec()),
        BucketEntry::Bucket(key, Bucket { tree: Tree::Page { id, .. }, sequence, .. }) => {
            (IS_BUCKET, key, reference(*id, *sequence))
        }
        BucketEntry::Bucket(key, Bucket { tree: Tree::Inline(page), sequence, .. }) => {
            let mut value = reference(0, *sequence);
            value.extend_from_slice(&page.bytes);
            (IS_BUCKET, key, value)
        }
    };
    Element { flags, key: Cow::Owned(key.to_vec()), value: Cow::Owned(value) }
}

/// The value that is a bucket: its page and its sequence; page 0 says that the bucket's leaf follows inside the value.
fn reference(page: u64, sequence: u64) -> Vec<u8> {
    let mut value = page.to_le_bytes().to_vec();
    value.extend(sequence.to_le_bytes());
    debug_assert_eq!(value.len(), BUCKET_HEADER);
    value
}

fn nested(pages: &mut impl Pages, old: Option<&Bucket<'_>>, new: &NewBucket) -> Result<Vec<u8>, EditError> {
    let leaves = write_entries(pages, old, new)?;
    let sequence = sequence(old, new);
    // A bucket that needs more bytes is not inside its value (`bucket.go`: `maxInlineBucketSize`).
    if leaves.fits_within(pages.page_size() / 4) {
        let mut value = reference(0, sequence);
        value.extend(Body::leaf(&leaves.group).page(0, 0));
        return Ok(value);
    }
    Ok(reference(leaves.finish(pages)?, sequence))
}

/// The leaves of a bucket so far.
#[derive(Default)]
struct Leaves<'e> {
    /// What is in the last one, which is not written yet.
    group: Vec<Element<'e>>,
    /// How many bytes that needs.
    filled: usize,
    /// The first key of each leaf that is written, and its page.
    written: Vec<(Vec<u8>, u64)>,
    holds_buckets: bool,
}

impl<'e> Leaves<'e> {
    fn push(&mut self, pages: &mut impl Pages, element: Element<'e>) -> Result<(), EditError> {
        if !self.group.is_empty() && PAGE_HEADER + self.filled + element.len() > pages.page_size() {
            self.flush(pages)?;
        }
        self.filled += element.len();
        self.holds_buckets |= element.flags & IS_BUCKET != 0;
        self.group.push(element);
        Ok(())
    }

    fn flush(&mut self, pages: &mut impl Pages) -> Result<(), EditError> {
        let group = std::mem::take(&mut self.group);
        self.filled = 0;
        let first = group.first().map_or_else(Vec::new, |element| element.key.to_vec());
        self.written.push((first, append(pages, &Body::leaf(&group))?));
        Ok(())
    }

    /// Whether all of it can be inside a value of `most` bytes, with no page of its own.
    fn fits_within(&self, most: usize) -> bool {
        self.written.is_empty() && !self.holds_buckets && PAGE_HEADER + self.filled <= most
    }

    /// Writes what is not written yet, and the branches above, and returns the number of the topmost page.
    fn finish(mut self, pages: &mut impl Pages) -> Result<u64, EditError> {
        if !self.group.is_empty() || self.written.is_empty() {
            self.flush(pages)?;
        }
        let mut level = self.written;
        while level.len() > 1 {
            let mut above = Vec::new();
            for group in groups(&level, pages.page_size(), 2, |(key, _)| ELEMENT + key.len()) {
                above.push((group[0].0.clone(), append(pages, &Body::branch(group))?));
            }
            level = above;
        }
        Ok(level[0].1)
    }
}

/// Writes a page with all that belongs to it, and returns its number.
fn append(pages: &mut impl Pages, body: &Body) -> Result<u64, EditError> {
    let count = body.len().div_ceil(pages.page_size()) as u64;
    let id = pages.allocate(count);
    let mut page = body.page(id, count - 1);
    page.resize(page.len().next_multiple_of(pages.page_size()), 0);
    pages.write(id, &page).map_err(EditError::io("writing"))?;
    Ok(id)
}

/// Cuts `all` into groups that fit a page each, where one of `least` elements does. At least one group; a last one of less than
/// `least` is part of the one before.
fn groups<T>(all: &[T], page: usize, least: usize, length: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut cuts = vec![0];
    let (mut begin, mut filled) = (0, PAGE_HEADER);
    for (at, element) in all.iter().enumerate() {
        let length = length(element);
        if filled + length > page && at - begin >= least && all.len() - at >= least {
            cuts.push(at);
            (begin, filled) = (at, PAGE_HEADER);
        }
        filled += length;
    }
    cuts.push(all.len());
    cuts.windows(2).map(|pair| &all[pair[0]..pair[1]]).collect()
}
