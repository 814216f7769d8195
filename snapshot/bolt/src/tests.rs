//! Databases made here, whole and damaged, and one that dockerd wrote.

use super::entries::MAX_DEPTH;
use super::meta::fnv1a;
use super::page::{BRANCH, BUCKET_HEADER, ELEMENT, LEAF, PAGE_HEADER};
use super::*;

const PAGE: usize = 1024;
const GOLDEN: &[u8] = include_bytes!("../../../testdata/buildkit/snapshots-measured.db");

fn page(id: u64, flags: u16, count: usize, body: &[u8]) -> Vec<u8> {
    let overflow = (PAGE_HEADER + body.len()).div_ceil(PAGE) - 1;
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(u16::try_from(count).unwrap().to_le_bytes());
    bytes.extend(u32::try_from(overflow).unwrap().to_le_bytes());
    bytes.extend(body);
    bytes
}

fn padded(mut page: Vec<u8>) -> Vec<u8> {
    page.resize(page.len().next_multiple_of(PAGE), 0);
    page
}

fn elements(parts: &[(u32, &[u8], Vec<u8>)]) -> Vec<u8> {
    let (mut head, mut data) = (Vec::new(), Vec::<u8>::new());
    for (index, (flags, key, value)) in parts.iter().enumerate() {
        let position = (parts.len() - index) * ELEMENT + data.len();
        for number in [*flags, position as u32, key.len() as u32, value.len() as u32] {
            head.extend(number.to_le_bytes());
        }
        data.extend(*key);
        data.extend(value);
    }
    head.extend(data);
    head
}

fn leaf(id: u64, parts: &[(u32, &[u8], Vec<u8>)]) -> Vec<u8> {
    padded(page(id, LEAF, parts.len(), &elements(parts)))
}

fn branch(id: u64, children: &[(&[u8], u64)]) -> Vec<u8> {
    let (mut head, mut data) = (Vec::new(), Vec::<u8>::new());
    for (index, (key, child)) in children.iter().enumerate() {
        let position = (children.len() - index) * ELEMENT + data.len();
        head.extend((position as u32).to_le_bytes());
        head.extend((key.len() as u32).to_le_bytes());
        head.extend(child.to_le_bytes());
        data.extend(*key);
    }
    head.extend(data);
    padded(page(id, BRANCH, children.len(), &head))
}

fn bucket_at(id: u64) -> Vec<u8> {
    [id.to_le_bytes(), [0; 8]].concat()
}

fn inline(parts: &[(u32, &[u8], Vec<u8>)]) -> Vec<u8> {
    [bucket_at(0), page(0, LEAF, parts.len(), &elements(parts))].concat()
}

fn meta(id: u64, version: u32, root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut meta = Vec::new();
    for number in [0xED0C_DAED, version, PAGE as u32, 0] {
        meta.extend(number.to_le_bytes());
    }
    for number in [root, 0, u64::MAX, pages, transaction] {
        meta.extend(number.to_le_bytes());
    }
    meta.extend(fnv1a(&meta).to_le_bytes());
    padded(page(id, 4, 0, &meta))
}

/// A database whose root is page 2.
fn database(pages: &[Vec<u8>]) -> Vec<u8> {
    let body = pages.concat();
    let count = 2 + (body.len() / PAGE) as u64;
    [meta(0, 2, 2, count, 7), meta(1, 2, 2, count, 6), body].concat()
}

/// Everything in a database, a bucket's entries after its name.
fn walk(bytes: &[u8]) -> Result<Vec<String>, BoltError> {
    let mut found = Vec::new();
    walk_bucket("", &Bolt::parse(bytes)?.root(), &mut found)?;
    Ok(found)
}

fn walk_bucket(name: &str, bucket: &Bucket<'_>, found: &mut Vec<String>) -> Result<(), BoltError> {
    for entry in bucket {
        match entry? {
            BucketEntry::Value(key, value) => {
                found.push(format!("{name}{}={}", key.escape_ascii(), value.escape_ascii()));
            }
            BucketEntry::Bucket(key, inner) => {
                let name = format!("{name}{}/", key.escape_ascii());
                found.push(name.clone());
                walk_bucket(&name, &inner, found)?;
            }
        }
    }
    Ok(())
}

fn failure(pages: &[Vec<u8>]) -> (u64, PageProblem) {
    let error = walk(&database(pages)).unwrap_err();
    assert!(error.to_string().contains(&format!("page {}", error.page)));
    (error.page, error.problem)
}

fn value(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn pages_of_all_kinds() {
    let long = "v".repeat(3 * PAGE);
    let bytes = database(&[
        branch(2, &[(b"a", 3), (b"m", 8)]),
        leaf(3, &[(0, b"a", value(&long)), (0, b"b", value("")), (1, b"c", inline(&[(0, b"in", value("line"))]))]),
        leaf(7, &[(0, b"x", value("1")), (0, b"y", value("2"))]),
        leaf(8, &[(1, b"m", bucket_at(7)), (1, b"n", inline(&[])), (0, b"z", value("end"))]),
    ]);
    let want = ["a=<long>", "b=", "c/", "c/in=line", "m/", "m/x=1", "m/y=2", "n/", "z=end"];
    assert_eq!(walk(&bytes).unwrap(), want.map(|text| text.replace("<long>", &long)));
    let bolt = Bolt::parse(&bytes).unwrap();
    let bucket = bolt.root().bucket(b"m").unwrap().unwrap();
    // A bucket can be asked any number of times.
    for _ in 0..3 {
        assert_eq!(bucket.get(b"y").unwrap().as_deref(), Some(&b"2"[..]));
    }
    assert_eq!(bucket.get(b"m").unwrap(), None);
    assert!(bolt.root().bucket(b"z").unwrap().is_none(), "a value is no bucket");
    assert!(bolt.root().get(b"m").unwrap().is_none(), "a bucket is no value");
}

#[test]
fn the_last_whole_transaction_counts() {
    let old = leaf(2, &[(0, b"state", value("old"))]);
    let new = leaf(3, &[(0, b"state", value("new"))]);
    let file = |first: Vec<u8>, second: Vec<u8>| [first, second, old.clone(), new.clone()].concat();
    let broken = |mut page: Vec<u8>| {
        page[PAGE_HEADER + 20] ^= 1;
        page
    };
    let (older, newer) = (|id| meta(id, 2, 2, 4, 8), |id| meta(id, 2, 3, 4, 9));
    let state = |bytes: Vec<u8>| walk(&bytes).map(|found| found.concat());
    assert_eq!(state(file(older(0), newer(1))).unwrap(), "state=new");
    assert_eq!(state(file(newer(0), older(1))).unwrap(), "state=new");
    assert_eq!(state(file(older(0), broken(newer(1)))).unwrap(), "state=old", "as bbolt does");
    assert_eq!(state(file(broken(older(0)), newer(1))).unwrap(), "state=new");
    assert_eq!(state(file(vec![0; PAGE], newer(1))).unwrap(), "state=new", "the page size is found");
    let nothing = BoltError { page: 0, problem: PageProblem::NoMeta };
    assert_eq!(state(file(broken(older(0)), broken(newer(1)))).unwrap_err(), nothing);
    assert_eq!(state(Vec::new()).unwrap_err(), nothing);
    assert_eq!(state(vec![0; 8 * PAGE]).unwrap_err(), nothing);
    let version = BoltError { page: 0, problem: PageProblem::Version { found: 3 } };
    assert_eq!(state(file(meta(0, 3, 2, 4, 8), meta(1, 3, 3, 4, 9))).unwrap_err(), version);
    assert_eq!(version.to_string(), "page 0 of the database is of format 3; only format 2 is known");
}

#[test]
fn loops_end() {
    assert_eq!(failure(&[branch(2, &[(b"a", 2)])]), (2, PageProblem::UsedTwice));
    let back = [branch(2, &[(b"a", 3)]), branch(3, &[(b"a", 2)])];
    assert_eq!(failure(&back), (2, PageProblem::UsedTwice));
    assert_eq!(failure(&[leaf(2, &[(1, b"a", bucket_at(2))])]), (2, PageProblem::UsedTwice));
    // Doubling at each level: 2^30 leaves in 30 pages, if each use were followed.
    let mut pages: Vec<_> = (2..32).map(|id| branch(id, &[(b"a", id + 1), (b"b", id + 1)])).collect();
    pages.push(leaf(32, &[(0, b"a", value(""))]));
    assert_eq!(failure(&pages), (32, PageProblem::UsedTwice));
    // Many buckets in one place.
    let same = [leaf(2, &[(1, b"a", bucket_at(3)), (1, b"b", bucket_at(3))]), leaf(3, &[])];
    assert_eq!(failure(&same), (3, PageProblem::UsedTwice));
}

/// Each damage is said with the page, and with the place in it.
#[test]
fn damage_has_words() {
    let good = leaf(2, &[(0, b"a", value("1")), (0, b"b", value("2"))]);
    let with = |at: usize, bytes: &[u8]| {
        let mut page = good.clone();
        page[at..at + bytes.len()].copy_from_slice(bytes);
        vec![page]
    };
    let deep = (2..200).map(|id| branch(id, &[(b"a", id + 1)])).collect();
    for (pages, words) in [
        (vec![branch(2, &[(b"a", 2)])], "page 2 of the database is used in two places"),
        (deep, "page 42 of the database is too deep below its bucket"),
        (with(0, &[9]), "page 2 of the database is another one, 9"),
        (with(8, &[0x10]), "page 2 of the database is not of a kind that holds keys: 0x10"),
        (with(10, &[0xff, 0xff]), "page 2 of the database has no room for 65535 elements"),
        (with(12, &[1]), "page 2 of the database is not in the file, which may be cut short"),
        (with(28, &[3]), "page 2 of the database has a key or value outside of its place, element 1"),
        (
            vec![leaf(2, &[(0, b"b", value("")), (0, b"a", value(""))])],
            "page 2 of the database has keys out of order, element 1",
        ),
        (vec![leaf(2, &[(1, b"a", bucket_at(0))])], "page 2 of the database ends within its header"),
    ] {
        assert_eq!(walk(&database(&pages)).unwrap_err().to_string(), words);
    }
}

#[test]
fn depth_is_limited() {
    let mut pages: Vec<_> = (2..200).map(|id| branch(id, &[(b"a", id + 1)])).collect();
    pages.push(leaf(200, &[(0, b"a", value(""))]));
    assert_eq!(failure(&pages), (2 + MAX_DEPTH as u64, PageProblem::Deep));
}

#[test]
fn pages_are_what_they_claim() {
    let good = leaf(2, &[(0, b"a", value("1")), (0, b"b", value("2"))]);
    let with = |at: usize, bytes: &[u8]| {
        let mut page = good.clone();
        page[at..at + bytes.len()].copy_from_slice(bytes);
        failure(&[page])
    };
    assert_eq!(with(0, &[9]), (2, PageProblem::OtherPage { found: 9 }));
    assert_eq!(with(8, &[0x10]), (2, PageProblem::Kind { found: 0x10 }), "the list of free pages");
    assert_eq!(with(10, &[0xff, 0xff]), (2, PageProblem::Count { found: 0xffff }));
    assert_eq!(with(12, &[1]), (2, PageProblem::Beyond));
    assert_eq!(with(12, &[0xff; 4]), (2, PageProblem::Beyond));
    // Of the first element: position, key, value.
    assert_eq!(with(20, &[0xff; 4]), (2, PageProblem::Element { index: 0 }));
    assert_eq!(with(20, &[31]), (2, PageProblem::Element { index: 0 }), "the key is among the elements");
    assert_eq!(with(24, &[0xff; 4]), (2, PageProblem::Element { index: 0 }));
    assert_eq!(with(28, &[0xff; 4]), (2, PageProblem::Element { index: 0 }));
    // Both values are the same 3 bytes.
    assert_eq!(with(28, &[3]), (2, PageProblem::Element { index: 1 }), "data that overlaps");
    // In the file, but not in use.
    let mut bytes = database(&[leaf(2, &[(0, b"a", value(&"v".repeat(PAGE)))])]);
    bytes[..PAGE].copy_from_slice(&meta(0, 2, 2, 3, 7));
    assert_eq!(walk(&bytes).unwrap_err(), BoltError { page: 2, problem: PageProblem::Beyond });
    let order = leaf(2, &[(0, b"b", value("")), (0, b"a", value(""))]);
    assert_eq!(failure(&[order]), (2, PageProblem::Order { index: 1 }));
    let twice = [branch(2, &[(b"a", 3), (b"b", 4)]), leaf(3, &[(0, b"b", vec![])]), leaf(4, &[(0, b"b", vec![])])];
    assert_eq!(failure(&twice), (4, PageProblem::Order { index: 0 }), "across pages");
    for id in [0, 1, 3, 1 << 40, u64::MAX] {
        assert_eq!(failure(&[branch(2, &[(b"a", id)])]), (id, PageProblem::Beyond));
    }
    assert_eq!(failure(&[branch(2, &[])]), (2, PageProblem::Kind { found: BRANCH }), "a branch to nowhere");
}

#[test]
fn inline_buckets_are_what_they_claim() {
    let of = |value: Vec<u8>| failure(&[leaf(2, &[(1, b"a", value)])]);
    assert_eq!(of(vec![0; 15]), (2, PageProblem::Element { index: 0 }));
    assert_eq!(of(bucket_at(0)), (2, PageProblem::Short));
    let mut branching = inline(&[(0, b"a", value("1"))]);
    branching[BUCKET_HEADER + 8] = 1;
    assert_eq!(of(branching), (2, PageProblem::Kind { found: BRANCH }));
    let mut reaching_out = inline(&[(0, b"a", value("1"))]);
    reaching_out[BUCKET_HEADER + PAGE_HEADER + 12] = 2;
    assert_eq!(of(reaching_out), (2, PageProblem::Element { index: 0 }));
}

/// Values of overlapping pages would be read again and again.
#[test]
fn overflow_is_used_once() {
    let big = leaf(3, &[(0, b"a", vec![0; 2 * PAGE])]);
    let root = |second: u64| branch(2, &[(b"a", 3), (b"b", second)]);
    let mut pages = [root(4), big].concat();
    // A page within the overflow of another, with a header of its own.
    let inner = leaf(4, &[(0, b"b", value("1"))]);
    pages[2 * PAGE..3 * PAGE].copy_from_slice(&inner);
    assert_eq!(failure(&[pages]), (4, PageProblem::UsedTwice));
}

#[test]
fn ends_after_an_error() {
    let one = |id, key| leaf(id, &[(0, key, value("1"))]);
    let bytes = database(&[branch(2, &[(b"a", 3), (b"b", 9), (b"c", 4)]), one(3, b"a"), one(4, b"c")]);
    let bolt = Bolt::parse(&bytes).unwrap();
    let found: Vec<_> = bolt.root().iter().map(|entry| entry.is_ok()).collect();
    assert_eq!(found, [true, false]);
    assert!(bolt.root().get(b"c").is_err(), "not known to be absent");
    assert!(bolt.root().bucket(b"b").is_err());
}

#[test]
fn a_file_of_dockerd() {
    let found = walk(GOLDEN).unwrap();
    assert_eq!(found.iter().filter(|entry| entry.ends_with('/')).count(), 21, "{found:#?}");
    assert_eq!(found.iter().filter(|entry| entry.contains("/chainid=sha256:")).count(), 7, "{found:#?}");
}

/// A daemon makes the file longer between two looks at it, and the last transaction is in the new part.
#[test]
fn a_file_may_grow_while_it_is_opened() {
    let short = database(&[leaf(2, &[(0, b"old", value("v"))])]);
    let mut long = database(&[leaf(2, &[]), leaf(3, &[(0, b"new", value("v"))])]);
    long[..PAGE].copy_from_slice(&meta(0, 2, 3, 4, 99));
    assert!(short.len() < long.len());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), short).unwrap();
    let source = Source::File(file.as_file());
    std::fs::write(file.path(), long).unwrap();
    let bolt = Bolt::over(source).unwrap();
    assert_eq!(bolt.root().get(b"new").unwrap().as_deref(), Some(&b"v"[..]));
    assert!(bolt.is_current().unwrap());
}

/// Each byte of a real file, changed in three ways: whatever comes of it, it comes soon and is no panic.
#[test]
fn every_byte_may_be_wrong() {
    let mut bytes = GOLDEN.to_vec();
    let whole = walk(&bytes).unwrap();
    let (mut same, mut other, mut failed) = (0, 0, 0);
    for at in 0..bytes.len() {
        let byte = bytes[at];
        for wrong in [byte ^ 0xff, byte ^ 1, byte.wrapping_add(0x40)] {
            bytes[at] = wrong;
            match walk(&bytes) {
                Ok(found) if found == whole => same += 1,
                Ok(_) => other += 1,
                Err(_) => failed += 1,
            }
        }
        bytes[at] = byte;
    }
    assert!(same > 0 && other > 0 && failed > 0, "{same} {other} {failed}");
}

#[test]
fn every_length_may_be_wrong() {
    let pages = 2 + GOLDEN.len() / 4096;
    for length in (0..GOLDEN.len()).step_by(37).chain([1024, 4096, 8192]) {
        // Pages that are not in use may be cut off.
        let _ = walk(&GOLDEN[..length]);
        assert!(length > 3 * 4096 || walk(&GOLDEN[..length]).is_err(), "{length} of {pages} pages");
    }
}

proptest::proptest! {
    #[test]
    fn any_pages_come_to_an_end(
        changes in proptest::collection::vec((0..GOLDEN.len(), proptest::num::u8::ANY), 1..40),
    ) {
        let mut bytes = GOLDEN.to_vec();
        for (at, byte) in changes {
            // The metas stay valid, so that the rest is reached.
            if at >= 2 * 4096 {
                bytes[at] = byte;
            }
        }
        let _ = walk(&bytes);
    }
}

/// A file of 200 MB with one small bucket in it: what is read is what is asked for.
#[test]
fn a_long_file_is_read_by_page() {
    let pages = 200 << 10;
    let mut file = tempfile::tempfile().unwrap();
    let first = [meta(0, 2, 2, pages, 7), meta(1, 2, 2, pages, 6), leaf(2, &[(0, b"a", b"1".to_vec())])].concat();
    std::io::Write::write_all(&mut file, &first).unwrap();
    file.set_len(pages * PAGE as u64).unwrap();
    let before = peak_memory();
    let bolt = Bolt::open(&file).unwrap();
    assert_eq!(bolt.root().get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(bolt.is_current().unwrap());
    assert!(peak_memory() < before + (20 << 20), "{} bytes more", peak_memory() - before);

    // Another transaction, while the file is open.
    std::os::unix::fs::FileExt::write_all_at(&file, &meta(1, 2, 2, pages, 8), PAGE as u64).unwrap();
    assert!(!bolt.is_current().unwrap());
    // A page with so many that belong to it that no memory should be taken for them.
    let mut endless = leaf(2, &[]);
    endless[12..16].copy_from_slice(&(200_000_u32 - 100).to_le_bytes());
    std::os::unix::fs::FileExt::write_all_at(&file, &endless, 2 * PAGE as u64).unwrap();
    let bolt = Bolt::open(&file).unwrap();
    let error = bolt.root().iter().next().unwrap().unwrap_err();
    assert!(matches!(error.problem, PageProblem::Long { .. }), "{error}");
    // Cut off.
    file.set_len(2 * PAGE as u64 + 100).unwrap();
    let error = Bolt::open(&file).unwrap().root().iter().next().unwrap().unwrap_err();
    assert_eq!(error.problem, PageProblem::Beyond);
}

/// The most memory this process had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn what_bbolt_refuses_to_store_is_not_written() {
    use crate::write::{NewBucket, WriteError};
    let written = |key: Vec<u8>, value: Vec<u8>| {
        let mut root = NewBucket::default();
        root.bucket("outer").bucket("inner").put(key, value);
        root.into_database().map(|_| ()).map_err(|error| (error, error.to_string()))
    };
    assert_eq!(written(vec![b'k'; 32_768], Vec::new()), Ok(()));
    let long = "a key has 32769 bytes, and may have 32768".to_owned();
    assert_eq!(written(vec![b'k'; 32_769], Vec::new()), Err((WriteError::LongKey { length: 32_769 }, long)));
    assert_eq!(written(Vec::new(), vec![1]), Err((WriteError::EmptyKey, "a key is empty".to_owned())));
    // No page of this memory is ever touched.
    let length = (1 << 31) - 1;
    let long = "a value has 2147483647 bytes, and may have 2147483646".to_owned();
    assert_eq!(written(vec![b'k'], vec![0; length]), Err((WriteError::LongValue { length }, long)));
}
