//! Makes a small database anew, as a file to put in the place of the old one.
//!
//! Everything is in one leaf, with the pages that follow it: bbolt reads such a leaf at any length, and spreads it over
//! several pages when it next writes (bbolt v1.3.6 `page.go`, `bucket.go`, `node.go`). The free list is empty.

use std::collections::BTreeMap;

use super::meta::{MAGIC, VERSION, fnv1a};
use super::page::{BUCKET_HEADER, ELEMENT, IS_BUCKET, LEAF};

/// Values by their keys.
pub type Values = BTreeMap<Vec<u8>, Vec<u8>>;

const PAGE: usize = 4096;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;
/// The pages before the leaf: two metas and the free list.
const BEFORE: u64 = 3;

/// The content of a database with these buckets; `None` if it would be too long for one leaf.
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
    let mut elements = Vec::with_capacity(buckets.len());
    for (name, values) in buckets {
        let inline: Vec<Element<'_>> = values.iter().map(|(key, value)| (0, &**key, value.clone())).collect();
        // The bucket's page and its sequence: page 0 says that the bucket's leaf follows inside the value.
        let mut value = vec![0; BUCKET_HEADER];
        value.extend(leaf(0, 0, &inline)?);
        elements.push((IS_BUCKET, &**name, value));
    }
    let length = leaf(BEFORE, 0, &elements)?.len();
    let pages = u64::try_from(length.div_ceil(PAGE)).ok()?;
    let root = leaf(BEFORE, u32::try_from(pages - 1).ok()?, &elements)?;
    let mut bytes = Vec::new();
    for one in [meta(0, BEFORE + pages), meta(1, BEFORE + pages), header(2, FREELIST, 0, 0), root] {
        bytes.extend(&one);
        bytes.resize(bytes.len().div_ceil(PAGE) * PAGE, 0);
    }
    Some(bytes)
}

/// Flags, key and value.
type Element<'a> = (u32, &'a [u8], Vec<u8>);

fn header(id: u64, flags: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut header = id.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(count.to_le_bytes());
    header.extend(overflow.to_le_bytes());
    header
}

/// A leaf with elements that are sorted by their keys.
fn leaf(id: u64, overflow: u32, elements: &[Element<'_>]) -> Option<Vec<u8>> {
    let (mut heads, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for (number, (flags, key, value)) in elements.iter().enumerate() {
        // The position counts from the start of the element.
        let at = (elements.len() - number) * ELEMENT + data.len();
        heads.extend(flags.to_le_bytes());
        for field in [at, key.len(), value.len()] {
            heads.extend(u32::try_from(field).ok()?.to_le_bytes());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    let mut page = header(id, LEAF, u16::try_from(elements.len()).ok()?, overflow);
    page.extend(heads);
    page.extend(data);
    Some(page)
}

fn meta(id: u64, pages: u64) -> Vec<u8> {
    let mut body = MAGIC.to_le_bytes().to_vec();
    body.extend(VERSION.to_le_bytes());
    body.extend(4096_u32.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    // The root's page and its sequence, the free list, how many pages there are, the transaction.
    for field in [BEFORE, 0, 2, pages, id] {
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
        assert_eq!(
            database(&[(b"x".to_vec(), values(70_000))].into()),
            None,
            "more than the number of elements can say"
        );
    }
}
