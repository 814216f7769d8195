//! A full walk of a tree: everything that a layer can set.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::cases::TreeEntry;

/// Files longer than this are described by their digest only.
const INLINE: u64 = 64 << 10;

/// Every entry below `root` and `root` itself, as `.`, in path order.
pub fn walk(root: &Path) -> Vec<TreeEntry> {
    let mut found = Vec::new();
    let mut left = vec![b".".to_vec()];
    while let Some(path) = left.pop() {
        let full = root.join(std::ffi::OsStr::from_bytes(&path));
        let entry = describe(&full, path.clone());
        if entry.kind == 'd' {
            for child in std::fs::read_dir(&full).unwrap() {
                let name = child.unwrap().file_name();
                let mut child = if path == b"." { Vec::new() } else { [&path[..], b"/"].concat() };
                child.extend_from_slice(name.as_bytes());
                left.push(child);
            }
        }
        found.push(entry);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn describe(full: &Path, path: Vec<u8>) -> TreeEntry {
    let meta = std::fs::symlink_metadata(full).unwrap();
    let kind = meta.file_type();
    let letter = match kind {
        _ if kind.is_dir() => 'd',
        _ if kind.is_file() => 'f',
        _ if kind.is_symlink() => 'l',
        _ if kind.is_char_device() => 'c',
        _ if kind.is_block_device() => 'b',
        _ if kind.is_fifo() => 'p',
        _ => '?',
    };
    let device =
        (letter == 'c' || letter == 'b').then(|| (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())));
    let data = (letter == 'f').then(|| {
        let bytes = std::fs::read(full).unwrap();
        if bytes.len() as u64 > INLINE { layerfs::Digest::hash(&bytes).to_string().into_bytes() } else { bytes }
    });
    TreeEntry {
        kind: letter,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        size: if letter == 'd' { 0 } else { meta.size() },
        links: if letter == 'd' { 0 } else { meta.nlink() },
        mtime: Some((meta.mtime(), meta.mtime_nsec())),
        path,
        target: kind.is_symlink().then(|| std::fs::read_link(full).unwrap().as_os_str().as_bytes().to_vec()),
        data,
        device,
        xattrs: xattrs(full),
    }
}

fn xattrs(full: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(full, &mut names).unwrap();
    let names = names[..length].split(|&b| b == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(full, name, &mut value).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (String::from_utf8_lossy(name).into_owned(), value(name))).collect()
}

/// Compares a recorded tree with one found; what the recorder masked or left out is not compared. Returns differences.
pub fn differences(expected: &[TreeEntry], found: &[TreeEntry]) -> Vec<String> {
    let mut report = Vec::new();
    let by_path: BTreeMap<_, _> = found.iter().map(|entry| (&entry.path, entry)).collect();
    for want in expected {
        let Some(&have) = by_path.get(&want.path) else {
            report.push(format!("missing: {want:?}"));
            continue;
        };
        let mut want = want.clone();
        if want.kind == 'd' {
            (want.size, want.links) = (0, 0);
        }
        want.mtime = want.mtime.and(want.mtime).or(have.mtime);
        want.data = want.data.or_else(|| have.data.clone());
        if want != *have {
            report.push(format!("expected {want:?}\n   found {have:?}"));
        }
    }
    let known: std::collections::BTreeSet<_> = expected.iter().map(|entry| &entry.path).collect();
    report.extend(
        found.iter().filter(|entry| !known.contains(&entry.path)).map(|entry| format!("unexpected: {entry:?}")),
    );
    report
}
