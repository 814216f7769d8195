use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fd::AsFd;

use super::*;

fn in_one(root: &Path, threads: usize) -> Walked {
    let dir = Dir::open(root).unwrap();
    walk(&dir, threads, &|_, _| BucketChoice { bucket: 0, ask_below: false }, || ()).unwrap().0
}

/// The bytes that GNU `du` counts.
fn du(root: &Path) -> u64 {
    let out = Command::new("du").args(["-x", "-s", "-B1"]).arg(root).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
}

/// Top-level directories named after their bucket.
fn by_name(path: &[u8], _: bool) -> BucketChoice {
    let bucket = path.first().map_or(0, |digit| u32::from(digit - b'0'));
    BucketChoice { bucket, ask_below: path.is_empty() }
}

#[test]
fn a_name_list_gives_all_of_it_away() {
    let mut names = pool::Names::default();
    for name in [c"a", c"bcd", c"a rather long name", c"e"] {
        names.push(name);
    }
    let mut got = Vec::new();
    let mut take = |names: &mut pool::Names| {
        let mut name = Vec::new();
        while names.pop(&mut name) {
            got.push(String::from_utf8(name.clone()).unwrap());
        }
    };
    let mut half = names.split(false);
    assert!(!half.is_empty() && !names.is_empty());
    take(&mut half);
    while !names.is_empty() {
        let mut some = names.split(true);
        assert!(!some.is_empty());
        take(&mut some);
    }
    got.sort();
    assert_eq!(got, ["a\0", "a rather long name\0", "bcd\0", "e\0"]);
    names.push(c"only");
    assert!(names.split(false).is_empty());
    assert!(!names.is_empty());
}

#[test]
fn links_within_and_across_buckets() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for sub in ["1", "2", "1/deep"] {
        std::fs::create_dir(at(sub)).unwrap();
    }
    std::fs::write(at("1/inside"), vec![1; 10_000]).unwrap();
    std::fs::hard_link(at("1/inside"), at("1/deep/again")).unwrap();
    std::fs::write(at("2/across"), vec![1; 20_000]).unwrap();
    std::fs::hard_link(at("2/across"), at("1/across")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(at("2/half"), vec![1; 30_000]).unwrap();
    std::fs::hard_link(at("2/half"), outside.path().join("half")).unwrap();

    let root = Dir::open(dir.path()).unwrap();
    for threads in [1, 4] {
        let (walked, _) = walk(&root, threads, &by_name, || ()).unwrap();
        let blocks = |name: &str| std::fs::metadata(at(name)).unwrap().blocks() * 512;
        assert_eq!(walked.buckets.iter().copied().sum::<Usage>().allocated, du(dir.path()));
        assert_eq!(walked.buckets[1].apparent, 30_000, "what is in several buckets is counted in the first");
        assert_eq!(walked.buckets[2].apparent, 30_000);
        assert_eq!((walked.buckets[1].files, walked.buckets[1].inodes), (3, 4));
        let held = |bucket, set: &[u32]| walked.links.held_elsewhere(bucket, &|bucket| set.contains(&bucket));
        assert_eq!(held(1, &[1]), blocks("2/across"), "its other link is in 2");
        assert_eq!(held(1, &[1, 2]), 0);
        assert_eq!(held(2, &[1, 2]), blocks("2/half"), "its other link is not even in the root");
    }
}

#[test]
fn a_tree_may_be_deeper_than_descriptors_and_paths() {
    const DEPTH: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let mut at = Dir::open(dir.path()).unwrap().owned_fd().unwrap();
    for level in 0..DEPTH {
        let make = |name| rustix::fs::mkdirat(&at, name, rustix::fs::Mode::RWXU).unwrap();
        // Make other directories beside it, so that the walk comes back to each level.
        make(c"a");
        make(c"m");
        if level % 2 == 0 {
            make(c"z");
        }
        at = node::open(at.as_fd(), c"m").unwrap();
    }
    drop(at);
    for threads in [1, 3] {
        let walked = in_one(dir.path(), threads);
        assert_eq!(walked.buckets[0].directories, (1 + DEPTH * 2 + DEPTH / 2) as u64);
        assert_eq!(walked.errors, []);
    }
    layerfs::remove_tree(Dir::open(dir.path()).unwrap(), b"m").unwrap();
}

#[test]
fn many_names_in_one_directory_and_sparse_files() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        std::fs::create_dir(dir.path().join(format!("directory {number}"))).unwrap();
        std::fs::write(dir.path().join(format!("file {number}")), b"x").unwrap();
    }
    std::fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
    let walked = in_one(dir.path(), 2);
    let usage = walked.buckets[0];
    assert_eq!((usage.directories, usage.files, usage.inodes), (3001, 3001, 6002));
    assert_eq!(usage.apparent, (1 << 40) + 3000);
    assert_eq!(usage.allocated, du(dir.path()));
}

#[derive(Debug, Clone)]
enum Make {
    Directory(usize, String),
    File(usize, String, u16),
    Link(usize, String, usize),
    Symlink(usize, String),
}

fn make() -> impl Strategy<Value = Make> {
    let name = || "[a-c]{1,2}";
    prop_oneof![
        (any::<usize>(), name()).prop_map(|(at, name)| Make::Directory(at, name)),
        (any::<usize>(), name(), any::<u16>()).prop_map(|(at, name, size)| Make::File(at, name, size)),
        (any::<usize>(), name(), any::<usize>()).prop_map(|(at, name, to)| Make::Link(at, name, to)),
        (any::<usize>(), name()).prop_map(|(at, name)| Make::Symlink(at, name)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_tree_adds_up_to_what_du_says(steps in prop::collection::vec(make(), 1..60), threads in 1_usize..4) {
        let dir = tempfile::tempdir().unwrap();
        let mut directories = vec![dir.path().to_path_buf()];
        let mut files = Vec::new();
        for top in ["0", "1", "2"] {
            directories.push(dir.path().join(top));
            std::fs::create_dir(dir.path().join(top)).unwrap();
        }
        let at = |directories: &[std::path::PathBuf], index: usize, name: &str| {
            // Never directly in the root, where the name of an entry decides its bucket.
            directories[1 + index % (directories.len() - 1)].join(name)
        };
        for step in steps {
            // A name that exists already stays as it is.
            match step {
                Make::Directory(index, name) => {
                    let path = at(&directories, index, &name);
                    if std::fs::create_dir(&path).is_ok() {
                        directories.push(path);
                    }
                }
                Make::File(index, name, size) => {
                    let path = at(&directories, index, &name);
                    if !path.exists() && std::fs::write(&path, vec![7; size.into()]).is_ok() {
                        files.push(path);
                    }
                }
                Make::Link(index, name, to) if !files.is_empty() => {
                    let _ = std::fs::hard_link(&files[to % files.len()], at(&directories, index, &name));
                }
                Make::Link(..) => {}
                Make::Symlink(index, name) => {
                    let _ = std::os::unix::fs::symlink("/", at(&directories, index, &name));
                }
            }
        }
        let root = Dir::open(dir.path()).unwrap();
        let (walked, _) = walk(&root, threads, &by_name, || ()).unwrap();
        let total: Usage = walked.buckets.iter().copied().sum();
        prop_assert_eq!(total.allocated, du(dir.path()));
        // Compare what we say that a removal frees with what `du` counts before and after the removal.
        let held = walked.links.held_elsewhere(1, &|bucket| bucket == 1);
        let freed = walked.buckets[1].allocated - held;
        std::fs::remove_dir_all(dir.path().join("1")).unwrap();
        // The root's own blocks may shrink on some file systems; on those of the tests they do not.
        prop_assert_eq!(total.allocated - freed, du(dir.path()));
    }
}
