//! Members that meet at one place, in every order and on any number of threads: the tree is what a simple model says, and
//! the journal gives the tar back.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use layerfs::apply::{WhiteoutMode, XattrNamespace};
use proptest::prelude::*;
use support::{How, replay, unpack};
use testkit::is_root;

const PATHS: [&str; 8] = ["a", "b", "s", "a/b", "a/c", "b/a", "a/b/c", "a/b/d"];

/// Where all symlinks lead: to nothing, until it is made because a member is to be below it.
const TARGET: &str = "nowhere";

#[derive(Debug, Clone)]
enum What {
    File { length: usize },
    Directory,
    Symlink,
    HardLink { target: usize },
}

/// A member: what it is, where, and how its name is spelt.
type Op = (What, usize, usize);

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let what = prop_oneof![
        5 => (0usize..1500).prop_map(|length| What::File { length }),
        2 => Just(What::Directory),
        1 => (0..PATHS.len()).prop_map(|target| What::HardLink { target }),
    ];
    let anywhere = (what, 0..PATHS.len(), prop_oneof![6 => Just(0usize), 1 => Just(1usize), 1 => Just(2usize)]);
    // Most symlinks are at `s`, and no member is below `s`: members lead only through hard links to it, and through the
    // few symlinks elsewhere.
    let symlink = prop_oneof![8 => Just(2usize), 1 => 0..PATHS.len()].prop_map(|path| (What::Symlink, path, 0usize));
    let op = prop_oneof![12 => anywhere, 1 => symlink];
    prop::collection::vec(op, 1..40)
}

fn content(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number * 31 + at) as u8).collect()
}

fn tar(ops: &[Op]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (number, (what, path, spelling)) in ops.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(1_600_000_000);
        let mut body = Vec::new();
        header.set_entry_type(match what {
            What::File { length } => {
                body = content(number, *length);
                tar::EntryType::Regular
            }
            What::Directory => tar::EntryType::Directory,
            What::Symlink => tar::EntryType::Symlink,
            What::HardLink { .. } => tar::EntryType::Link,
        });
        match what {
            What::Symlink => header.set_link_name(TARGET).unwrap(),
            What::HardLink { target } => header.set_link_name(PATHS[*target]).unwrap(),
            _ => {}
        }
        let name = format!("{}{}", ["", "./", "/"][*spelling], PATHS[*path]);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    Symlink,
    /// Its content, by which the member that brought it is known.
    File(Vec<u8>),
}

/// Where `path` is once the symlinks on its way are followed. Directories that are missing there are made, if `make` says
/// so. `None` where one is missing otherwise, or is a file.
fn real(tree: &mut BTreeMap<String, Node>, path: &str, make: bool) -> Option<String> {
    let (way, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut left: Vec<&str> = way.split('/').rev().filter(|component| !component.is_empty()).collect();
    let mut here = String::new();
    while let Some(component) = left.pop() {
        let next = format!("{here}{component}");
        match tree.get(&next) {
            Some(Node::Directory) => here = format!("{next}/"),
            Some(Node::Symlink) => left.push(TARGET),
            Some(Node::File(_)) => return None,
            None if !make => return None,
            None => {
                here = format!("{next}/");
                tree.insert(next, Node::Directory);
            }
        }
    }
    Some(here + name)
}

/// What the members leave; `None` where a file would be a directory, or a link has no target.
fn model(ops: &[Op]) -> Option<BTreeMap<String, Node>> {
    let mut tree: BTreeMap<String, Node> = BTreeMap::new();
    for (number, (what, path, _)) in ops.iter().enumerate() {
        let path = real(&mut tree, PATHS[*path], true)?;
        let node = match what {
            What::File { length } => Node::File(content(number, *length)),
            What::Directory => Node::Directory,
            What::Symlink => Node::Symlink,
            What::HardLink { target } => {
                // What stands in the way goes first, and may be the target.
                let target = real(&mut tree, PATHS[*target], false)?;
                let gone = target == path || target.starts_with(&format!("{path}/"));
                match tree.get(&target) {
                    Some(node @ (Node::File(_) | Node::Symlink)) if !gone => node.clone(),
                    _ => return None,
                }
            }
        };
        if node != Node::Directory || tree.get(&path) != Some(&Node::Directory) {
            tree.retain(|other, _| *other != path && !other.starts_with(&format!("{path}/")));
            tree.insert(path, node);
        }
    }
    Some(tree)
}

fn found(dir: &Path, below: &str, tree: &mut BTreeMap<String, Node>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        let node = if kind.is_dir() {
            found(&entry.path(), &format!("{name}/"), tree);
            Node::Directory
        } else if kind.is_symlink() {
            Node::Symlink
        } else {
            Node::File(std::fs::read(entry.path()).unwrap())
        };
        tree.insert(name, node);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn root_members_that_meet_come_in_order(ops in ops()) {
        if !is_root() {
            return Ok(());
        }
        let (tar, expected) = (tar(&ops), model(&ops));
        for threads in [1, 2, 8] {
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            let how = How { threads, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted), stream: false };
            let unpacked = unpack(&tar, dir.path(), how);
            let Some(expected) = &expected else {
                prop_assert!(unpacked.is_err(), "{threads} threads: not refused");
                continue;
            };
            prop_assert!(unpacked.is_ok(), "{threads} threads: {:?}", unpacked.err());
            let mut tree = BTreeMap::new();
            found(&dir.path().join("diff"), "", &mut tree);
            prop_assert_eq!(&tree, expected, "{} threads", threads);
            prop_assert!(replay(dir.path()).unwrap() == tar, "{threads} threads: another tar");
        }
    }
}
