//! `image-gc` on made-up stores with litter of every kind: all of it goes, nothing that anybody needs ever does, and the bytes that the
//! file system gets back are those of the plan.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use snapshot::edit::{Transaction, WriteOptions};
use snapshot::gc::{GcPlan, Policy};
use snapshot::view::{Needs, View};
use testkit::cases::TreeEntry;
use testkit::littered::Littered;
use testkit::tree::walk;
use testkit::{assert_none, tree_changes};

/// Longer than the making of any batch of stores takes.
const AGE: Duration = Duration::from_secs(100_000);

/// What `du -x` counts.
fn du(root: &Path) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let (mut total, mut left) = (0, vec![root.to_owned()]);
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        if seen.insert(meta.ino()) {
            total += meta.blocks() * 512;
        }
        if meta.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    total
}

fn plan(root: &Path, policy: &Policy) -> (View, GcPlan) {
    let view = View::read(root, None, Needs::LIVENESS).unwrap();
    let plan = GcPlan::make(&view, policy).unwrap();
    (view, plan)
}

fn apply(root: &Path, plan: &GcPlan) -> Vec<String> {
    let mut transaction = Transaction::begin(root, WriteOptions { driver: None, sync: false }).unwrap();
    plan.edits().into_iter().for_each(|edit| transaction.add(edit));
    let summary = transaction.commit().unwrap();
    let layers = summary.kept.iter().map(|kept| format!("{} stays: {}", kept.chain_id, kept.reason));
    layers.chain(summary.kept_remains.iter().map(|kept| format!("{:?} stays: {}", kept.remains, kept.reason))).collect()
}

/// All there is of what must stay, but for how many links a file has, and times of directories.
fn needed(store: &Littered) -> Vec<TreeEntry> {
    let mut tree = walk(&store.root);
    tree.retain(|entry| {
        let path = Path::new(std::ffi::OsStr::from_bytes(&entry.path));
        path.ancestors().any(|path| store.needed.contains(path))
    });
    for entry in &mut tree {
        entry.links = 0;
        entry.mtime = entry.mtime.filter(|_| entry.kind != 'd');
    }
    tree
}

fn judge(store: &Littered, policy: &Policy) -> Vec<String> {
    let before = (needed(store), du(&store.root));
    let (_, plan) = plan(&store.root, policy);
    let mut wrong: Vec<String> = plan.doubts().iter().map(|doubt| format!("doubt: {doubt}")).collect();
    wrong.extend(apply(&store.root, &plan));
    wrong.extend(store.wrong());
    let freed = before.1 - du(&store.root);
    if freed != plan.bytes() {
        wrong.push(format!("{freed} bytes are free, the plan says {}", plan.bytes()));
    }
    wrong.extend(tree_changes(&before.0, &needed(store)));
    let (_, again) = self::plan(&store.root, policy);
    wrong.extend(again.items().iter().map(|item| format!("a second run would take {:?}", item.thing)));
    wrong
}

#[test]
fn root_what_nobody_needs_goes_and_nothing_else() {
    if !testkit::is_root() {
        return;
    }
    let count = if testkit::full_sweep() { 1000 } else { 60 };
    let dir = testkit::scratch();
    let mut wrong = Vec::new();
    for batch in (0..count).step_by(20) {
        let numbers = batch..(batch + 20).min(count);
        let root = |number: u64| dir.path().join(format!("store-{number}"));
        let mut stores: Vec<Littered> = numbers.clone().map(|number| Littered::new(&root(number), number)).collect();
        std::thread::sleep(Duration::from_millis(1100));
        let between = Timestamp::now();
        std::thread::sleep(Duration::from_millis(1100));
        for (store, number) in stores.iter_mut().zip(numbers) {
            store.add_young();
            let named = number % 2 == 0;
            store.settle(named);
            let policy = Policy { now: between + AGE, min_age: AGE, named, ..Policy::new(between) };
            wrong.extend(judge(store, &policy).into_iter().map(|line| format!("store {number}: {line}")));
        }
        stores.iter().for_each(|store| std::fs::remove_dir_all(&store.root).unwrap());
    }
    assert_none("stores that were cleared", &wrong);
}
