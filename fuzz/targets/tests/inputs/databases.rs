//! Databases of bbolt.

const PAGE: usize = 4096;
const ELEMENT: usize = 16;

/// Of a leaf: the flags of an entry, its key and its value.
type Parts = Vec<(u32, Vec<u8>, Vec<u8>)>;

fn page(id: u64, flags: u16, count: usize, body: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(u16::try_from(count).unwrap().to_le_bytes());
    bytes.extend(u32::try_from((16 + body.len()).div_ceil(PAGE) - 1).unwrap().to_le_bytes());
    bytes.extend(body);
    bytes
}

fn padded(mut page: Vec<u8>) -> Vec<u8> {
    page.resize(page.len().next_multiple_of(PAGE), 0);
    page
}

fn elements(parts: &Parts) -> Vec<u8> {
    let (mut head, mut data) = (Vec::new(), Vec::<u8>::new());
    for (index, (flags, key, value)) in parts.iter().enumerate() {
        let position = (parts.len() - index) * ELEMENT + data.len();
        for number in [*flags as usize, position, key.len(), value.len()] {
            head.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        data.extend(key);
        data.extend(value);
    }
    [head, data].concat()
}

fn leaf(id: u64, parts: &Parts) -> Vec<u8> {
    padded(page(id, 2, parts.len(), &elements(parts)))
}

fn branch(id: u64, children: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let (count, mut head, mut data) = (children.len(), Vec::new(), Vec::<u8>::new());
    for (index, child) in children.enumerate() {
        head.extend(u32::try_from((count - index) * ELEMENT + data.len()).unwrap().to_le_bytes());
        head.extend(8_u32.to_le_bytes());
        head.extend(child.to_le_bytes());
        data.extend(child.to_be_bytes());
    }
    padded(page(id, 1, count, &[head, data].concat()))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A database whose root is page 2.
fn database(pages: &[Vec<u8>]) -> Vec<u8> {
    let body = pages.concat();
    let meta = |id: u64| {
        let mut meta = Vec::new();
        [0xED0C_DAED_u32, 2, PAGE as u32, 0].iter().for_each(|number| meta.extend(number.to_le_bytes()));
        let numbers = [2, 0, u64::MAX, 2 + (body.len() / PAGE) as u64, 7 - id];
        numbers.iter().for_each(|number| meta.extend(number.to_le_bytes()));
        meta.extend(fnv1a(&meta).to_le_bytes());
        padded(page(id, 4, 0, &meta))
    };
    [meta(0), meta(1), body].concat()
}

fn key(at: usize) -> Vec<u8> {
    (at as u64).to_be_bytes().to_vec()
}

pub(crate) fn keys(count: usize) -> Vec<u8> {
    database(&[leaf(2, &(0..count).map(|at| (0, key(at), b"value".to_vec())).collect())])
}

pub(crate) fn pages(count: usize) -> Vec<u8> {
    let leaves = (0..count).map(|at| leaf(3 + at as u64, &vec![(0, key(3 + at), b"v".to_vec())]));
    let root = branch(2, (3..3 + count).map(|id| id as u64));
    // The root may take up several pages; those after it are where they say only if it takes up one.
    let extra = root.len() / PAGE - 1;
    if extra == 0 {
        return database(&[vec![root], leaves.collect()].concat());
    }
    let root = branch(2, (3 + extra..3 + extra + count).map(|id| id as u64));
    let leaves = (0..count).map(|at| leaf((3 + extra + at) as u64, &vec![(0, key(3 + extra + at), b"v".to_vec())]));
    database(&[vec![root], leaves.collect()].concat())
}

pub(crate) fn inline_buckets(count: usize) -> Vec<u8> {
    let inner = page(0, 2, 1, &elements(&vec![(0, b"k".to_vec(), b"v".to_vec())]));
    let value = [vec![0; 16], inner].concat();
    database(&[leaf(2, &(0..count).map(|at| (1, key(at), value.clone())).collect())])
}

pub(crate) fn buckets(count: usize) -> Vec<u8> {
    let root = |first: u64| {
        let reference = |at: usize| [(first + at as u64).to_le_bytes(), [0; 8]].concat();
        leaf(2, &(0..count).map(|at| (1, key(at), reference(at))).collect())
    };
    let first = 2 + (root(0).len() / PAGE) as u64;
    let others = (0..count).map(|at| leaf(first + at as u64, &vec![(0, b"k".to_vec(), b"v".to_vec())]));
    database(&[vec![root(first)], others.collect()].concat())
}
