//! The bytes of pages that are written.

use super::tree::Element;
use crate::meta::{MAGIC, VERSION, fnv1a};
use crate::page::{BRANCH, ELEMENT, LEAF, PAGE_HEADER};

const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;

/// A page that says where all others are.
pub(crate) struct NewMeta {
    pub(crate) page_size: usize,
    /// The page of the bucket that holds all others, and its sequence.
    pub(crate) root: u64,
    pub(crate) sequence: u64,
    /// The page of the list of free pages.
    pub(crate) free_list: u64,
    /// How many pages there are.
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

impl NewMeta {
    /// Its place among the first two pages (`internal/common/meta.go: Write`).
    pub(crate) fn id(&self) -> u64 {
        self.transaction % 2
    }

    pub(crate) fn to_page(&self) -> Vec<u8> {
        let mut body = MAGIC.to_le_bytes().to_vec();
        body.extend(VERSION.to_le_bytes());
        body.extend(short(self.page_size));
        body.extend(0_u32.to_le_bytes());
        for field in [self.root, self.sequence, self.free_list, self.pages, self.transaction] {
            body.extend(field.to_le_bytes());
        }
        let sum = fnv1a(&body);
        body.extend(sum.to_le_bytes());
        let mut page = header(self.id(), META, 0, 0);
        page.extend(body);
        page
    }
}

/// The elements of a page, and what they point to.
pub(super) struct Body {
    flags: u16,
    count: usize,
    heads: Vec<u8>,
    data: Vec<u8>,
}

impl Body {
    /// A leaf. Positions count from the start of each element.
    pub(super) fn leaf(elements: &[Element<'_>]) -> Self {
        let (mut heads, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for (number, Element { flags, key, value }) in elements.iter().enumerate() {
            let at = (elements.len() - number) * ELEMENT + data.len();
            heads.extend(flags.to_le_bytes());
            [at, key.len(), value.len()].into_iter().for_each(|field| heads.extend(short(field)));
            data.extend_from_slice(key);
            data.extend_from_slice(value);
        }
        Self { flags: LEAF, count: elements.len(), heads, data }
    }

    /// A branch.
    pub(super) fn branch(below: &[(Vec<u8>, u64)]) -> Self {
        let (mut heads, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for (number, (key, page)) in below.iter().enumerate() {
            let at = (below.len() - number) * ELEMENT + data.len();
            [at, key.len()].into_iter().for_each(|field| heads.extend(short(field)));
            heads.extend(page.to_le_bytes());
            data.extend_from_slice(key);
        }
        Self { flags: BRANCH, count: below.len(), heads, data }
    }

    /// How many bytes a page of them needs.
    pub(super) fn len(&self) -> usize {
        PAGE_HEADER + self.heads.len() + self.data.len()
    }

    /// The page with its header, with no more bytes than it needs. One without a number is inside a value.
    pub(super) fn page(&self, id: u64, overflow: u64) -> Vec<u8> {
        let count =
            u16::try_from(self.count).expect("an element has 16 bytes, so that not even the largest page has room");
        let overflow = u32::try_from(overflow).expect("a page holds less than two gigabytes and a page");
        let mut page = header(id, self.flags, count, overflow);
        page.extend_from_slice(&self.heads);
        page.extend_from_slice(&self.data);
        page
    }
}

/// A position or a length. What is in a page is at most a few short elements, or a long one after a short one.
fn short(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a page holds less than two gigabytes and a page").to_le_bytes()
}

pub(crate) fn header(id: u64, flags: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut header = id.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(count.to_le_bytes());
    header.extend(overflow.to_le_bytes());
    header
}
