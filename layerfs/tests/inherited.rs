//! Set-group-ID directories hand their group down, and to directories the bit: what a layer says holds all the same,
//! wherever and whenever the bit is set.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::collections::BTreeMap;

use layerfs::apply::{WhiteoutMode, XattrNamespace};
use proptest::prelude::*;
use support::{How, is_root, tree, unpack};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Directory,
    Symlink,
    Whiteout,
}

const MEMBERS: [(What, &str); 14] = [
    (What::Directory, "d"),
    (What::Directory, "d/e"),
    (What::Directory, "d/e/g"),
    (What::Directory, "other"),
    (What::File, "f"),
    (What::File, "d/f"),
    (What::File, "d/e/f"),
    (What::File, "d/e/g/f"),
    (What::File, "other/f"),
    (What::Symlink, "d/s"),
    (What::Symlink, "d/e/s"),
    (What::Whiteout, "d/w"),
    (What::Whiteout, "d/e/w"),
    (What::Whiteout, "other/w"),
];

const MODES: [u32; 4] = [0o755, 0o2775, 0o2755, 0o700];

/// A member, its mode and its group.
type Op = (usize, usize, u32);

fn tar(ops: &[Op]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for &(member, mode, gid) in ops {
        let (what, path) = MEMBERS[member];
        let mut header = tar::Header::new_gnu();
        header.set_mode(MODES[mode]);
        header.set_uid(0);
        header.set_gid(gid.into());
        header.set_mtime(1_600_000_000);
        header.set_size(0);
        header.set_entry_type(match what {
            What::File | What::Whiteout => tar::EntryType::Regular,
            What::Directory => tar::EntryType::Directory,
            What::Symlink => tar::EntryType::Symlink,
        });
        if what == What::Symlink {
            header.set_link_name("nowhere").unwrap();
        }
        let name = if what == What::Whiteout { path.replace("/w", "/.wh.w") } else { path.to_owned() };
        builder.append_data(&mut header, name, &[][..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Type, mode and group of everything.
fn model(ops: &[Op]) -> BTreeMap<String, (char, u32, u32)> {
    let mut tree = BTreeMap::new();
    for &(member, mode, gid) in ops {
        let (what, path) = MEMBERS[member];
        for (at, _) in path.match_indices('/') {
            tree.entry(path[..at].to_owned()).or_insert(('d', 0o755, 0));
        }
        let node = match what {
            What::File => ('f', MODES[mode], gid),
            What::Directory => ('d', MODES[mode], gid),
            What::Symlink => ('l', 0o777, gid),
            What::Whiteout => {
                // The first one stays.
                tree.entry(path.to_owned()).or_insert(('c', 0, gid));
                continue;
            }
        };
        tree.insert(path.to_owned(), node);
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn root_nothing_is_inherited(ops in prop::collection::vec((0..MEMBERS.len(), 0..MODES.len(), 0u32..3), 1..40)) {
        if !is_root() {
            return Ok(());
        }
        for threads in [1, 2] {
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            let how = How { threads, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted), stream: false };
            unpack(&tar(&ops), dir.path(), how).unwrap();
            let found: BTreeMap<_, _> = tree::walk(&dir.path().join("diff"))
                .into_iter()
                .filter(|entry| entry.path != b".")
                .map(|entry| (String::from_utf8(entry.path).unwrap(), (entry.kind, entry.mode, entry.owner.1)))
                .collect();
            prop_assert_eq!(found, model(&ops), "{} threads", threads);
        }
    }
}
