//! Files of a data-root.

use std::collections::BTreeMap;

use bolt::{Bolt, BoltError, Bucket, BucketEntry};
use snapshot::dir::Dir;
use snapshot::parsers::{self, intent_record, mount_table};
use snapshot::reference::Reference;
use snapshot::schema::config::ImageConfig;
use snapshot::schema::gojson::{DecodeError, first_value, from_slice};
use snapshot::schema::references::{FILE, References};
use snapshot::schema::runconfig::RunConfig;
use snapshot::schema::time::Time;

/// How deep buckets may lie in each other: BuildKit's lie four deep.
const DEEPEST: usize = 20;

/// A bbolt database: it is walked from end to end, and no byte of it comes twice.
pub fn bolt(bytes: &[u8]) {
    let Ok(bolt) = Bolt::parse(bytes) else { return };
    let mut found = 0;
    let _ = walk(&bolt.root(), DEEPEST, &mut found);
    assert!(found <= bytes.len(), "{found} bytes of keys and values in {} bytes", bytes.len());
}

fn walk(bucket: &Bucket<'_>, depth: usize, found: &mut usize) -> Result<(), BoltError> {
    for entry in bucket {
        match entry? {
            BucketEntry::Value(key, value) => *found += key.len() + value.len(),
            BucketEntry::Bucket(key, inner) => {
                *found += key.len();
                if depth > 0 {
                    walk(&inner, depth - 1, found)?;
                }
            }
        }
    }
    Ok(())
}

/// containerd's two databases: each record has a name, and the collector keeps what a record or a label names.
pub fn containerd(bytes: &[u8]) {
    let Some((found, kept)) = parsers::containerd(bytes) else { return };
    assert!(found.max(kept) <= bytes.len(), "{found} records, {kept} kept, in {} bytes", bytes.len());
}

/// An image config: one that can be read is no child of itself.
pub fn config(bytes: &[u8]) {
    let Ok(config) = ImageConfig::parse(bytes) else { return };
    let _ = config.check();
    assert!(!config.is_child_of(&config));
}

/// JSON as dockerd decodes it: what the strict decoder of serde takes for a map of lists is taken for the same one.
pub fn gojson(bytes: &[u8]) {
    type Lists = BTreeMap<String, Vec<Option<i64>>>;
    let ours = from_slice::<Lists>(bytes);
    if let Ok(strict) = serde_json::from_slice::<Lists>(bytes) {
        assert_eq!(ours.as_ref(), Ok(&strict));
    }
    let inside = |error: &DecodeError| assert!(error.offset <= bytes.len(), "{error}");
    match &ours {
        Ok(ours) => assert_eq!(first_value::<Lists>(bytes).as_ref(), Ok(ours)),
        Err(error) => inside(error),
    }
    let _ = from_slice::<RunConfig>(bytes).map_err(|error| inside(&error));
    if let Ok(time) = from_slice::<Time>(bytes) {
        let _ = (time.to_string(), time.moment(), time.unix_seconds());
    }
}

/// `repositories.json`: what is written for what was read is read as the same.
pub fn repositories(bytes: &[u8]) {
    let dir = tempfile::Builder::new().prefix("layerfs-fuzz-").tempdir_in("/dev/shm");
    let dir = dir.or_else(|_| tempfile::tempdir()).unwrap();
    let file = dir.path().join(FILE);
    let load = || References::load(&Dir::open(dir.path()).unwrap());
    std::fs::write(&file, bytes).unwrap();
    let Ok(references) = load() else { return };
    let written = references.to_bytes();
    std::fs::write(&file, &written).unwrap();
    let again = load().unwrap();
    assert_eq!(again.to_bytes(), written);
    assert!(again.iter().eq(references.iter()));
}

/// A record of intent: what is written for what was read is read as the same.
pub fn record(bytes: &[u8]) {
    let Some(written) = intent_record(bytes) else { return };
    assert_eq!(intent_record(&written).as_ref(), Some(&written));
}

/// The kernel's table of mounts: as many as it has lines.
pub fn mountinfo(bytes: &[u8]) {
    let Some(count) = mount_table(bytes) else { return };
    assert_eq!(count, bytes.split(|&byte| byte == b'\n').count() - 1);
}

/// A reference: its canonical form is read as the same.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(reference) = Reference::parse(text) else { return };
    assert_eq!(Reference::parse(&reference.canonical()).unwrap(), reference);
    // The familiar form may mean another reference: docker, too, prints `docker.io/a.b/c` as `a.b/c`.
    let _ = (reference.familiar(), reference.familiar_name());
}
