//! A bbolt database with buckets of a few values each, as BuildKit's `snapshots.db` is while it is small.

/// A database of these buckets, each of key and values.
pub fn database(buckets: &[(String, Vec<(&str, String)>)]) -> Vec<u8> {
    let bytes = |(key, value): &(&str, String)| (key.as_bytes().to_vec(), value.clone().into_bytes());
    let all = buckets.iter().map(|(name, values)| (name.clone().into_bytes(), values.iter().map(bytes).collect()));
    bolt::write::database(&all.collect()).expect("one leaf has room for what a test makes")
}
