//! Compares our reading with what a daemon reported, and reads damaged databases.

use std::fs;
use std::io::Read;

use layerfs::compress::Decompressor;
use tempfile::TempDir;

use super::*;

const RECORDED: &str = include_str!("../../../../../testdata/buildkit/RECORDED.json");
const DF: &str = include_str!("../../../../../testdata/buildkit/df.txt");
const DF_V: &str = include_str!("../../../../../testdata/buildkit/df-v.txt");

/// The two databases, copied at one moment.
const FRESH: (&[u8], &[u8]) = (
    include_bytes!("../../../../../testdata/buildkit/snapshots-fresh.db"),
    include_bytes!("../../../../../testdata/buildkit/metadata_v2-fresh.db.xz"),
);
const MEASURED: (&[u8], &[u8]) = (
    include_bytes!("../../../../../testdata/buildkit/snapshots-measured.db"),
    include_bytes!("../../../../../testdata/buildkit/metadata_v2-measured.db.xz"),
);

fn unpacked(xz: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Decompressor::new(xz).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A data-root with these files below `buildkit`.
fn root(files: &[(&str, &[u8])]) -> (TempDir, Dir) {
    let temporary = tempfile::tempdir().unwrap();
    fs::create_dir(temporary.path().join(BUILDKIT)).unwrap();
    for (name, bytes) in files {
        fs::write(temporary.path().join(BUILDKIT).join(name), bytes).unwrap();
    }
    let dir = Dir::open(temporary.path()).unwrap();
    (temporary, dir)
}

fn recorded() -> Value {
    serde_json::from_str(RECORDED).unwrap()
}

/// Whether the daemon had the layer in an image.
fn in_image(chain: &ChainId) -> bool {
    let recorded = recorded();
    recorded["ImageLayers"].as_array().unwrap().iter().any(|layers| {
        let diff_ids = layers.as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap());
        ChainId::chain(&diff_ids.collect::<Vec<_>>()).contains(chain)
    })
}

fn read_with((snapshots, records): (&[u8], &[u8]), in_image: impl Fn(&ChainId) -> bool) -> (Snapshots, BuildCache) {
    let (_temporary, root) = root(&[("snapshots.db", snapshots), (FILE, &unpacked(records))]);
    let snapshots = Snapshots::read(&root).unwrap();
    let cache = BuildCache::read(&root, &snapshots, in_image).unwrap();
    (snapshots, cache)
}

fn read(databases: (&[u8], &[u8])) -> BuildCache {
    read_with(databases, in_image).1
}

/// A record in the form of the daemon's API, without the size.
fn as_json(record: &CacheRecord) -> Value {
    serde_json::json!({
        "ID": record.id,
        "Parent": record.parent.clone().unwrap_or_default(),
        "Type": record.kind,
        "Description": record.description,
        "InUse": false,
        "Shared": record.shared,
        "CreatedAt": record.created.unwrap().to_string(),
        "LastUsedAt": record.last_used.unwrap().to_string(),
        "UsageCount": record.usage_count,
    })
}

/// Compares everything but the sizes, of which it returns pairs: ours and the daemon's.
fn compare(cache: &BuildCache, recorded: &Value) -> Vec<(CacheSize, u64)> {
    let mut wanted: BTreeMap<_, _> =
        recorded.as_array().unwrap().iter().map(|record| (record["ID"].as_str().unwrap(), record.clone())).collect();
    let mut sizes = Vec::new();
    for record in &cache.records {
        let mut want = wanted.remove(record.id.as_str()).unwrap_or_else(|| panic!("{record:?} is not listed"));
        let size = want.as_object_mut().unwrap().shift_remove("Size").unwrap();
        assert_eq!(as_json(record), want);
        sizes.push((record.size.clone(), size.as_u64().unwrap()));
    }
    assert!(wanted.is_empty(), "{wanted:#?}");
    sizes
}

#[test]
fn measured_as_the_daemon_lists_them() {
    let cache = read(MEASURED);
    for (ours, daemons) in compare(&cache, &recorded()["BuildCache"]) {
        assert_eq!(ours, CacheSize::Known(daemons));
    }
    let shown = DF_V.lines().skip_while(|line| !line.starts_with("CACHE ID")).skip(1);
    let shown: Vec<_> = shown.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(cache.records.iter().map(|record| &record.id[..12]).collect::<Vec<_>>(), shown, "in this order");

    let row: Vec<_> = DF.lines().find(|line| line.starts_with("Build Cache")).unwrap().split_whitespace().collect();
    let summary = cache.summary();
    assert_eq!((summary.total.to_string(), summary.active.to_string()), (row[2].into(), row[3].into()));
    let printed = |bytes: u64| format!("{:.1}kB", bytes as f64 / 1000.0);
    assert_eq!((printed(summary.size), summary.unmeasured), (row[4].to_owned(), 0));
    assert_eq!(row[4], row[5], "all of it reclaimable");
    let all: u64 = cache.records.iter().filter_map(|record| record.size.known()).sum();
    assert_eq!(recorded()["BuilderSize"], all, "shared ones too");
}

#[test]
fn fresh_ones_have_no_size_yet() {
    let (snapshots, cache) = read_with(FRESH, in_image);
    let (mut known, mut layers, mut directories) = (0, 0, 0);
    for (ours, daemons) in compare(&cache, &recorded()["FirstBuildCache"]) {
        match ours {
            CacheSize::Known(size) => {
                assert_eq!(size, daemons);
                known += 1;
            }
            CacheSize::Layer(_) => layers += 1,
            CacheSize::Directory(id) => {
                assert!(snapshots.get(id.as_str()).unwrap().committed.is_none(), "{id} was never made");
                directories += 1;
            }
        }
    }
    // Known: the base image's records. Layers: the records that were exported. Directories: the rest.
    assert_eq!((known, layers, directories), (3, 4, 6));
    let summary = cache.summary();
    assert_eq!((summary.total, summary.unmeasured), (13, 7), "the directories, and the layer whose image is gone");
}

/// Every record below an image's layer counts as shared, whether or not it is a layer itself.
#[test]
fn shared_with_all_below() {
    let cache = read(MEASURED);
    let top = cache.records.iter().find(|record| record.shared && record.description.contains("three")).unwrap();
    let (snapshots, _) = read_with(MEASURED, in_image);
    let chain = snapshots.get(&top.id).unwrap().chain_id.unwrap();
    assert_eq!(read_with(MEASURED, |layer| *layer == chain).1, cache);
    assert!(read_with(MEASURED, |_| false).1.records.iter().all(|record| !record.shared));
}

#[test]
fn nothing_or_unknown() {
    let read = |files: &[(&str, &[u8])]| {
        let (_temporary, root) = root(files);
        BuildCache::read(&root, &Snapshots::default(), |_| false)
    };
    assert_eq!(read(&[]).unwrap(), BuildCache::default());
    assert!(matches!(read(&[(FILE, b"")]), Err(StoreError::Database { .. })));
    let old = read(&[(OLD_FILE, b"")]).unwrap_err();
    assert!(old.to_string().contains("before 20.10"), "{old}");
    let bytes = unpacked(MEASURED.1);
    // After an upgrade, both databases exist.
    assert_eq!(read(&[(OLD_FILE, b""), (FILE, &bytes)]).unwrap().records.len(), 13);
    let alone = read(&[(FILE, &bytes)]).unwrap();
    assert!(alone.records.iter().all(|record| !record.shared), "no snapshot is known to be a layer");
    let mut damaged = bytes.clone();
    for at in 0..damaged.len() - 11 {
        if damaged[at..].starts_with(b"{\"value\":") {
            damaged[at] = b'[';
        }
    }
    assert!(matches!(read(&[(FILE, &damaged)]), Err(StoreError::Invalid { .. })));
}

/// No single wrong byte leads to a panic. Bytes outside of the pages in use, which are most of the file, are not tried.
#[test]
fn every_byte_may_be_wrong() {
    let mut bytes = unpacked(MEASURED.1);
    let snapshots = Snapshots::default();
    let list = |bytes: &[u8]| {
        let items = read_items(&Bolt::parse(bytes).ok()?).ok()?;
        for (id, item) in &items {
            let _ = size(id, item, None, &snapshots);
        }
        Some(loaded(&items).len())
    };
    let whole = list(&bytes).unwrap();
    let mut failed = 0;
    for at in (0..bytes.len()).filter(|at| at % 2 == 0 || at % 4096 < 256) {
        if bytes[at] == 0 && at % 4096 > 256 {
            continue;
        }
        bytes[at] ^= 0x41;
        failed += usize::from(list(&bytes).is_none_or(|found| found != whole));
        bytes[at] ^= 0x41;
    }
    assert!(failed > 1000, "{failed}");
}

fn items(records: &[(&str, Item)]) -> BTreeMap<String, Item> {
    records
        .iter()
        .map(|(id, item)| {
            let copy = Item {
                parent: item.parent.clone(),
                equal_mutable: item.equal_mutable.clone(),
                deleted: item.deleted,
                ..Item::default()
            };
            ((*id).to_owned(), copy)
        })
        .collect()
}

fn upon(parent: &str) -> Item {
    Item { parent: Some(parent.into()), ..Item::default() }
}

fn twin_of(mutable: &str) -> Item {
    Item { equal_mutable: Some(mutable.into()), ..Item::default() }
}

#[test]
fn what_dockerd_would_not_load() {
    let good = |records: &[(&str, Item)]| {
        let items = items(records);
        let mut good: Vec<_> = loaded(&items).into_iter().map(str::to_owned).collect();
        good.sort();
        good.concat()
    };
    assert_eq!(good(&[("a", Item::default()), ("b", upon("a")), ("c", upon("b"))]), "abc");
    assert_eq!(good(&[("b", upon("a")), ("c", upon("b")), ("d", Item::default())]), "d", "a parent is missing");
    let deleted = || Item { deleted: true, ..Item::default() };
    assert_eq!(good(&[("a", deleted()), ("b", upon("a")), ("d", Item::default())]), "d");
    assert_eq!(good(&[("a", Item::default()), ("b", twin_of("a")), ("c", twin_of("x"))]), "ab");
    assert_eq!(good(&[("a", upon("b")), ("b", upon("a")), ("c", upon("a")), ("d", upon("d"))]), "", "rings");
    // A chain of parents as long as a file can hold.
    let ids: Vec<_> = (0..200_000).map(|number| format!("{number:06}")).collect();
    let chain = ids.windows(2).map(|pair| (pair[0].clone(), upon(&pair[1])));
    let chain: BTreeMap<_, _> = chain.chain([("199999".to_owned(), Item::default())]).collect();
    assert_eq!(loaded(&chain).len(), 200_000);
}

#[test]
fn values_of_a_wrong_type_count_as_none() {
    let set = |key: &[u8], value: &[u8]| {
        let mut item = Item::default();
        item.set(key, value).map(|()| item)
    };
    assert_eq!(set(b"snapshot.size", br#"{"value":-1}"#).ok().unwrap().size, None);
    assert_eq!(set(b"snapshot.size", br#"{"value":"7"}"#).ok().unwrap().size, None);
    assert_eq!(set(b"snapshot.size", br#"{"value":7,"index":"x"}"#).ok().unwrap().size, Some(7));
    assert_eq!(set(b"cache.parent", b"{}").ok().unwrap().parent, None);
    assert!(set(b"cache.createdAt", br#"{"value":9223372036854775807}"#).ok().unwrap().created.is_some());
    assert!(set(b"cache.createdAt", br#"{"value":0}"#).ok().unwrap().created.is_none());
    assert!(set(b"cache.parent", b"x").is_err());
    assert!(set(b"somebody.else", b"x").is_ok());
}

#[test]
fn sizes_are_looked_up_where_dockerd_does() {
    let (_temporary, root) = root(&[("snapshots.db", MEASURED.0)]);
    let snapshots = Snapshots::read(&root).unwrap();
    let find = |item: Item, twin: Option<Item>, id: &str| size(id, &item, twin.as_ref(), &snapshots).ok();
    let sized = |size| Item { size: Some(size), ..Item::default() };
    let (measured, bytes) = snapshots.iter().find_map(|(key, snapshot)| Some((key, snapshot.size?))).unwrap();
    let (layer, chain) = snapshots.iter().find_map(|(key, snapshot)| Some((key, snapshot.chain_id?))).unwrap();
    let known = |size| Some(CacheSize::Known(size));
    assert_eq!(find(sized(1), Some(sized(2)), measured), known(1));
    assert_eq!(find(Item::default(), Some(sized(2)), measured), known(2));
    assert_eq!(find(Item::default(), Some(Item::default()), measured), known(bytes));
    assert_eq!(find(Item { blob_only: true, ..Item::default() }, None, layer), known(0));
    assert_eq!(find(Item::default(), None, layer), Some(CacheSize::Layer(chain)));
    let elsewhere = Item { snapshot: Some(chain.to_string()), ..Item::default() };
    assert_eq!(find(elsewhere, None, measured), Some(CacheSize::Layer(chain)));
    assert_eq!(find(Item::default(), None, "unknown"), Some(CacheSize::Directory("unknown".parse().unwrap())));
    assert_eq!(find(Item::default(), None, "../etc"), None, "leads nowhere else");
}
