//! bbolt databases: made of a few values, as BuildKit's `snapshots.db` is while it is small, and changed as a damage would.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bolt::write::NewBucket;
use bolt::{Bolt, Bucket, BucketEntry};

/// A database of these buckets, each of key and values.
pub fn database(buckets: &[(String, Vec<(&str, String)>)]) -> Vec<u8> {
    let bytes = |(key, value): &(&str, String)| (key.as_bytes().to_vec(), value.clone().into_bytes());
    let all = buckets.iter().map(|(name, values)| (name.clone().into_bytes(), values.iter().map(bytes).collect()));
    bolt::write::database(&all.collect()).expect("one leaf has room for what a test makes")
}

/// All that is in a bucket, to be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The number that was given last to something in it.
    pub sequence: u64,
    /// Its values.
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The buckets in it.
    pub buckets: BTreeMap<Vec<u8>, Self>,
}

impl Tree {
    /// The bucket at the end of these names, each in the one before, which must be there.
    pub fn at(&mut self, names: &[&str]) -> &mut Self {
        names.iter().fold(self, |tree, name| {
            let known: Vec<String> = tree.names();
            tree.buckets.get_mut(name.as_bytes()).unwrap_or_else(|| panic!("no bucket {name}, but {known:?}"))
        })
    }

    /// The names of the buckets in it.
    pub fn names(&self) -> Vec<String> {
        self.buckets.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// A value, as a text; empty if there is none.
    pub fn text(&self, key: &str) -> String {
        self.values.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }

    /// Sets a value.
    pub fn set(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.values.insert(key.as_bytes().to_vec(), value.into());
    }

    /// Takes a value or a bucket away, which must be there.
    pub fn take(&mut self, key: &str) {
        let (value, bucket) = (self.values.remove(key.as_bytes()), self.buckets.remove(key.as_bytes()));
        assert!(value.is_some() || bucket.is_some(), "no {key}");
    }

    fn of(bucket: &Bucket<'_>) -> Self {
        let mut tree = Self { sequence: bucket.sequence(), ..Self::default() };
        for entry in bucket {
            match entry.unwrap() {
                BucketEntry::Value(key, value) => drop(tree.values.insert(key.to_vec(), value.to_vec())),
                BucketEntry::Bucket(name, inner) => drop(tree.buckets.insert(name.to_vec(), Self::of(&inner))),
            }
        }
        tree
    }

    fn write(&self, to: &mut NewBucket) {
        to.set_sequence(self.sequence);
        self.values.iter().for_each(|(key, value)| to.put(key.clone(), value.clone()));
        self.buckets.iter().for_each(|(name, inner)| inner.write(to.bucket(name.clone())));
    }
}

/// What a database holds.
pub fn read(path: &Path) -> Tree {
    let file = File::open(path).unwrap();
    Tree::of(&Bolt::open(&file).unwrap().root())
}

/// Changes what a database holds, and writes it anew.
pub fn edit(path: &Path, change: impl FnOnce(&mut Tree)) {
    let mut tree = read(path);
    change(&mut tree);
    let mut root = NewBucket::default();
    tree.write(&mut root);
    std::fs::write(path, root.into_database().unwrap()).unwrap();
}
