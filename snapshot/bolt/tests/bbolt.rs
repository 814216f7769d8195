//! bbolt reads what we wrote, finds nothing wrong with it, and goes on with it.
//!
//! `just bbolt` builds the program in `tests/bbolt` and says in `LAYERFS_BBOLT` where it is; without it, only the daemons that
//! the tests of `tools` start are the judges of our databases.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fmt::Write as _;
use std::process::Command;

use bolt::edit::{EditOptions, apply};
use bolt::write::NewBucket;
use bolt::{Bolt, Bucket, BucketEntry};

/// What the program prints of a database.
fn printed(bucket: &Bucket<'_>, sequences: &dyn Fn(&[u8]) -> u64, depth: usize, text: &mut String) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for entry in bucket {
        match entry.unwrap() {
            BucketEntry::Value(key, value) => writeln!(text, "{depth} {} = {}", hex(&key), hex(&value)).unwrap(),
            BucketEntry::Bucket(name, inner) => {
                writeln!(text, "{depth} {} / {}", hex(&name), sequences(&name)).unwrap();
                printed(&inner, sequences, depth + 1, text);
            }
        }
    }
}

/// The sequence that a bucket of this name gets.
fn sequence(name: &[u8]) -> u64 {
    name.iter().map(|&byte| u64::from(byte)).sum()
}

fn fill(bucket: &mut NewBucket, values: usize, key: usize, value: usize) {
    for number in 0..values {
        bucket.put(format!("{number:0key$}"), vec![b'v'; number * 7 % (value + 1)]);
    }
}

fn nest(bucket: &mut NewBucket, widths: &[usize]) {
    let [width, below @ ..] = widths else { return };
    for number in 0..*width {
        let name = format!("bucket {number}");
        let inner = bucket.bucket(name.clone());
        inner.set_sequence(sequence(name.as_bytes()));
        fill(inner, number % 40, 3, 30);
        nest(inner, below);
    }
}

#[test]
fn bbolt_finds_nothing_wrong_and_goes_on() {
    let Some(program) = std::env::var_os("LAYERFS_BBOLT") else {
        eprintln!("skipped: LAYERFS_BBOLT names no program (just bbolt)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let filled = |values, key, value| {
        let mut root = NewBucket::default();
        fill(root.bucket("b"), values, key, value);
        root
    };
    let nested = |widths: &[usize]| {
        let mut root = NewBucket::default();
        nest(&mut root, widths);
        root
    };
    let mut roots = vec![
        NewBucket::default(),
        filled(0, 1, 1),
        filled(1, 1, 1),
        filled(1, 32_768, 1),
        filled(40_000, 8, 40),
        filled(300, 3000, 10),
        filled(120, 5, 30_000),
        nested(&[1, 1, 1, 1, 1]),
        nested(&[30, 30, 3]),
        nested(&[2000, 1]),
    ];
    // Buckets around the length from which on they are not inside their value, and around that of a page.
    for around in (960..1080).chain(4000..4120) {
        let mut root = NewBucket::default();
        root.bucket("short").put("key", vec![0; around]);
        roots.push(root);
    }
    for (number, root) in roots.into_iter().enumerate() {
        let content = root.into_database().unwrap();
        let mut expected = String::new();
        let named = |name: &[u8]| if name.starts_with(b"bucket") { sequence(name) } else { 0 };
        printed(&Bolt::parse(&content).unwrap().root(), &named, 0, &mut expected);
        let path = dir.path().join("database");
        std::fs::write(&path, &content).unwrap();
        let output = Command::new(&program).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{number}: {said}");
        assert!(String::from_utf8_lossy(&output.stdout) == expected, "{number}: bbolt reads something else");
        // bbolt has changed it since, and so do we, and so on.
        for round in 0..3_u64 {
            let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
            let mut changes = NewBucket::default();
            let added = changes.bucket("bucket 1");
            added.set_sequence(sequence(b"bucket 1"));
            (0..round * 300).for_each(|key| added.put(format!("{key}"), vec![b'v'; 77]));
            added.bucket("bucket of ours").set_sequence(sequence(b"bucket of ours"));
            changes.bucket("b").remove("1");
            apply(&file, &changes, EditOptions { most: 1 << 30, sync: false }).unwrap();
            let mut expected = String::new();
            printed(&Bolt::open(&file).unwrap().root(), &named, 0, &mut expected);
            let output = Command::new(&program).arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{number}, {round}: {said}");
            let same = String::from_utf8_lossy(&output.stdout) == expected;
            assert!(same, "{number}, {round}: bbolt reads something else");
        }
    }
}
