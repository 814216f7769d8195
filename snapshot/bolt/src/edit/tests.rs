use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{Bucket, BucketEntry};

/// What a database holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    sequence: u64,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    buckets: BTreeMap<Vec<u8>, Self>,
}

impl Model {
    fn read(bucket: &Bucket<'_>) -> Self {
        let mut model = Self { sequence: bucket.sequence(), ..Self::default() };
        for entry in bucket {
            match entry.unwrap() {
                BucketEntry::Value(key, value) => drop(model.values.insert(key.to_vec(), value.to_vec())),
                BucketEntry::Bucket(key, inner) => drop(model.buckets.insert(key.to_vec(), Self::read(&inner))),
            }
        }
        model
    }

    fn of_file(file: &File) -> Self {
        Self::read(&Bolt::open(file).unwrap().root())
    }

    fn bucket(&mut self, name: &[u8]) -> &mut Self {
        self.values.remove(name);
        self.buckets.entry(name.to_vec()).or_default()
    }

    fn remove(&mut self, key: &[u8]) {
        self.values.remove(key);
        self.buckets.remove(key);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, usize),
    Remove(usize),
    Sequence(u64),
    Replace,
}

/// A change somewhere below the root: the numbers are the names of the buckets on the way.
fn any_step() -> impl Strategy<Value = (Vec<usize>, Step)> {
    let length = prop_oneof![6 => 0..60_usize, 2 => 300..1500_usize, 1 => 4000..9000_usize];
    let step = prop_oneof![
        8 => (0..400_usize, length).prop_map(|(key, length)| Step::Put(key, length)),
        3 => (0..400_usize).prop_map(Step::Remove),
        1 => any::<u64>().prop_map(Step::Sequence),
        1 => Just(Step::Replace),
    ];
    (vec(0..4_usize, 1..4), step)
}

fn name(number: usize) -> Vec<u8> {
    // Some keys are long, so that trees become deep.
    format!("{number:03}{}", "k".repeat(if number.is_multiple_of(7) { 400 } else { number % 30 })).into_bytes()
}

fn make(steps: &[(Vec<usize>, Step)], model: &mut Model) -> NewBucket {
    let mut changes = NewBucket::default();
    for (path, step) in steps {
        let (mut bucket, mut known) = (&mut changes, &mut *model);
        let (last, above) = path.split_last().unwrap();
        for number in above {
            bucket = bucket.bucket(name(*number));
            known = known.bucket(&name(*number));
        }
        if let Step::Replace = step {
            *bucket.bucket(name(*last)) = NewBucket::replacing();
            *known.bucket(&name(*last)) = Model::default();
            continue;
        }
        bucket = bucket.bucket(name(*last));
        known = known.bucket(&name(*last));
        match step {
            Step::Put(key, length) => {
                bucket.put(name(*key), vec![b'v'; *length]);
                known.remove(&name(*key));
                known.values.insert(name(*key), vec![b'v'; *length]);
            }
            Step::Remove(key) => {
                bucket.remove(name(*key));
                known.remove(&name(*key));
            }
            Step::Sequence(sequence) => {
                bucket.set_sequence(*sequence);
                known.sequence = *sequence;
            }
            Step::Replace => {}
        }
    }
    changes
}

const OPTIONS: EditOptions = EditOptions { most: 1 << 30, sync: false };

/// Each page is used by a tree, by the list of free pages, or is in that list.
fn assert_pages_add_up(file: &File) {
    let bolt = Bolt::open(file).unwrap();
    let list = free_list(file, &bolt.meta).unwrap();
    let mut all = used_pages(&bolt).unwrap();
    let mut bytes = vec![0; usize::try_from(list.end - list.start).unwrap() * bolt.meta.page_size];
    file.read_exact_at(&mut bytes, list.start * bolt.meta.page_size as u64).unwrap();
    let count = usize::from(u16_at(&bytes, 10).unwrap());
    for number in 0..count {
        assert!(all.insert(u64_at(&bytes, PAGE_HEADER + number * 8).unwrap()), "free and used");
    }
    assert!(list.into_iter().all(|page| all.insert(page)), "the list is in use");
    assert!(all.into_iter().eq(2..bolt.meta.pages));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_changes_are_read_and_nothing_else_changes(rounds in vec(vec(any_step(), 1..120), 1..6)) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&NewBucket::default().into_database().unwrap(), 0).unwrap();
        let mut model = Model::default();
        for steps in rounds {
            let before = model.clone();
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            let mut content = vec![0; length];
            file.read_exact_at(&mut content, 0).unwrap();
            let changes = make(&steps, &mut model);
            apply(&file, &changes, OPTIONS).unwrap();
            prop_assert_eq!(&Model::of_file(&file), &model);
            assert_pages_add_up(&file);
            // Everything is written but the last page: the database is as it was before.
            let mut metas = vec![0; 2 * 4096];
            file.read_exact_at(&mut metas, 0).unwrap();
            file.write_all_at(&content[..2 * 4096], 0).unwrap();
            prop_assert_eq!(&Model::of_file(&file), &before);
            file.write_all_at(&metas, 0).unwrap();
        }
    }
}

#[test]
fn pages_that_become_free_are_used_again() {
    let file = tempfile::tempfile().unwrap();
    let mut root = NewBucket::default();
    (0..2000).for_each(|number| root.bucket("many").put(format!("{number:04}"), vec![b'v'; 100]));
    file.write_all_at(&root.into_database().unwrap(), 0).unwrap();
    let mut lengths = Vec::new();
    for round in 0..20 {
        let mut changes = NewBucket::default();
        changes.bucket("many").put("0000", round.to_string());
        apply(&file, &changes, OPTIONS).unwrap();
        assert_pages_add_up(&file);
        lengths.push(file.metadata().unwrap().len());
    }
    assert_eq!(lengths[3..].iter().min(), lengths[3..].iter().max(), "{lengths:?}");
}

#[test]
fn what_is_damaged_or_too_long_is_not_changed() {
    let mut root = NewBucket::default();
    (0..500).for_each(|number| root.bucket("many").put(format!("{number:04}"), vec![b'v'; 100]));
    let sound = root.into_database().unwrap();
    let mut changes = NewBucket::default();
    changes.bucket("other").put("key", "value");
    let apply_to = |content: &[u8], options: EditOptions| {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        let error = apply(&file, &changes, options).map_err(|error| error.to_string());
        let mut after = vec![0; 2 * 4096];
        file.read_exact_at(&mut after, 0).unwrap();
        assert_eq!(after == content[..2 * 4096], error.is_err(), "the metas");
        error
    };
    assert_eq!(apply_to(&sound, OPTIONS), Ok(()));
    let short = EditOptions { most: sound.len() as u64, ..OPTIONS };
    assert!(apply_to(&sound, short).unwrap_err().contains("bytes, more than"));
    // A leaf that has nothing to do with what changes, and the list of free pages.
    for (page, said) in [(5, "page 5 of the database is another one"), (2, "page 2 of the database is another one")] {
        let mut damaged = sound.clone();
        damaged[page * 4096..page * 4096 + 8].copy_from_slice(&77_u64.to_le_bytes());
        assert_eq!(apply_to(&damaged, OPTIONS).unwrap_err(), format!("{said}, 77"));
    }
    let mut damaged = sound;
    damaged[2 * 4096 + 8] = 0x02;
    assert!(apply_to(&damaged, OPTIONS).unwrap_err().starts_with("page 2 of the database is not of a kind"));
}
