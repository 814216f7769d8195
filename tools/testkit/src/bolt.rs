//! A bbolt database of one leaf with buckets of a few values each, as BuildKit's `snapshots.db` is while it is small (etcd bbolt v1.3
//! `page.go`, `bucket.go`, `db.go`).

const PAGE: usize = 4096;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;
const MAGIC: u32 = 0xED0C_DAED;

/// A page's header, then its body.
fn page(id: u64, flags: u16, count: u16, body: &[u8]) -> Vec<u8> {
    let mut page = id.to_le_bytes().to_vec();
    page.extend(flags.to_le_bytes());
    page.extend(count.to_le_bytes());
    page.extend(0_u32.to_le_bytes());
    page.extend(body);
    page
}

/// The elements of a leaf, sorted by key: whether it is a bucket, the key, the value.
fn leaf(id: u64, elements: &[(bool, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    const ELEMENT: usize = 16;
    let (mut heads, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for (number, (is_bucket, key, value)) in elements.iter().enumerate() {
        let at = (elements.len() - number) * ELEMENT + data.len();
        for field in [usize::from(*is_bucket), at, key.len(), value.len()] {
            heads.extend(u32::try_from(field).unwrap().to_le_bytes());
        }
        data.extend(key);
        data.extend(value);
    }
    heads.extend(data);
    page(id, LEAF, elements.len().try_into().unwrap(), &heads)
}

fn meta(id: u64) -> Vec<u8> {
    let mut body = MAGIC.to_le_bytes().to_vec();
    body.extend(2_u32.to_le_bytes());
    body.extend(u32::try_from(PAGE).unwrap().to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    // The root's page and its sequence, the free list, the high water mark, the transaction.
    for field in [3_u64, 0, 2, 4, id] {
        body.extend(field.to_le_bytes());
    }
    let fnv = body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    body.extend(fnv.to_le_bytes());
    page(id, META, 0, &body)
}

/// A database with these buckets, each of key and values.
pub fn database(buckets: &[(String, Vec<(&str, String)>)]) -> Vec<u8> {
    let mut elements: Vec<(bool, Vec<u8>, Vec<u8>)> = buckets
        .iter()
        .map(|(key, values)| {
            let mut inline: Vec<(bool, Vec<u8>, Vec<u8>)> = values
                .iter()
                .map(|(key, value)| (false, key.as_bytes().to_vec(), value.clone().into_bytes()))
                .collect();
            inline.sort();
            let mut value = [0; 16].to_vec();
            value.extend(leaf(0, &inline));
            (true, key.clone().into_bytes(), value)
        })
        .collect();
    elements.sort();
    let root = leaf(3, &elements);
    assert!(root.len() <= PAGE, "one leaf has no room for so many buckets");
    let mut bytes = Vec::new();
    for one in [meta(0), meta(1), page(2, FREELIST, 0, &[]), root] {
        bytes.extend(&one);
        bytes.resize(bytes.len().div_ceil(PAGE) * PAGE, 0);
    }
    bytes
}
