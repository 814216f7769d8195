//! Makes a tree of large files and directories, without the small ones.

use std::cmp::Reverse;

/// How many directories deep the tree is. Deeper files count for the last of these directories, so that a long path
/// does not cost more.
const DEEPEST: usize = 16;

/// A file by its path, with slashes between names and none before the first.
#[derive(Debug, Clone, Copy)]
pub struct PathSize<'p> {
    /// Where it is.
    pub path: &'p [u8],
    /// Bytes allocated.
    pub allocated: u64,
    /// Bytes long.
    pub apparent: u64,
}

/// A directory with the large things in it, or a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeNode {
    /// Its name. If a directory holds only one directory, the two are one node, with a slash between their names.
    pub name: Vec<u8>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Bytes allocated by all files in it.
    pub allocated: u64,
    /// Bytes that all files in it are long.
    pub apparent: u64,
    /// How many files are in it.
    pub files: u64,
    /// The large files and directories in it, sorted by name.
    pub children: Vec<Self>,
}

impl TreeNode {
    fn named(name: &[u8], is_directory: bool) -> Self {
        Self { name: name.to_vec(), is_directory, ..Self::default() }
    }

    fn size(&self) -> u64 {
        self.allocated.max(self.apparent)
    }

    fn add_sizes(&mut self, of: &Self) {
        self.allocated += of.allocated;
        self.apparent += of.apparent;
        self.files += of.files;
    }
}

/// Makes the tree of these files, which are sorted by path. What is smaller than `smallest` bytes is counted in the
/// directories above, but has no node. The result has at most `DEEPEST` nodes for each `smallest` bytes.
#[must_use]
pub(crate) fn build_tree<'p>(files: impl IntoIterator<Item = PathSize<'p>>, smallest: u64) -> TreeNode {
    // The directories from the root to the one that the last file was in.
    let mut open = vec![TreeNode::named(b"", true)];
    for file in files {
        let mut names: Vec<&[u8]> = file.path.split(|byte| *byte == b'/').take(DEEPEST + 1).collect();
        let last = names.pop().unwrap_or_default();
        let same = open[1..].iter().zip(&names).take_while(|(node, name)| node.name == **name).count();
        while open.len() > same + 1 {
            close(&mut open, smallest);
        }
        open.extend(names[same..].iter().map(|name| TreeNode::named(name, true)));
        let mut node = TreeNode::named(last, false);
        (node.allocated, node.apparent, node.files) = (file.allocated, file.apparent, 1);
        let above = open.last_mut().expect("the root stays open");
        above.add_sizes(&node);
        if names.len() < DEEPEST && node.size() >= smallest {
            above.children.push(node);
        }
    }
    while open.len() > 1 {
        close(&mut open, smallest);
    }
    open.remove(0)
}

/// Puts the last open directory into the one above it.
fn close(open: &mut Vec<TreeNode>, smallest: u64) {
    let Some(mut node) = open.pop() else { return };
    let Some(above) = open.last_mut() else { return };
    above.add_sizes(&node);
    if node.size() < smallest {
        return;
    }
    // A directory that holds only one directory becomes one node with it.
    if let [only] = node.children.as_mut_slice()
        && only.is_directory
        && (only.allocated, only.apparent, only.files) == (node.allocated, node.apparent, node.files)
    {
        let mut only = std::mem::take(only);
        only.name = [&node.name, only.name.as_slice()].join(&b'/');
        node = only;
    }
    above.children.push(node);
}

/// The largest directories of a tree, with their paths, without the root. A directory that holds only one directory is
/// one node with it, so only the longer path is listed.
#[must_use]
pub fn largest_directories(tree: &TreeNode, most: usize) -> Vec<(Vec<u8>, &TreeNode)> {
    let mut found: Vec<(Vec<u8>, &TreeNode)> = Vec::new();
    let mut left: Vec<(Vec<u8>, &TreeNode)> = vec![(Vec::new(), tree)];
    while let Some((path, node)) = left.pop() {
        for child in node.children.iter().filter(|child| child.is_directory) {
            let path = if path.is_empty() { child.name.clone() } else { [&path, child.name.as_slice()].join(&b'/') };
            found.push((path.clone(), child));
            left.push((path, child));
        }
    }
    found.sort_by(|(a_path, a), (b_path, b)| (Reverse(a.size()), a_path).cmp(&(Reverse(b.size()), b_path)));
    found.truncate(most);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, u64)], smallest: u64) -> TreeNode {
        let mut files = files.to_vec();
        files.sort();
        let sized = |(path, size): &(&str, u64)| (path.as_bytes().to_vec(), *size);
        let files: Vec<(Vec<u8>, u64)> = files.iter().map(sized).collect();
        build_tree(files.iter().map(|(path, size)| PathSize { path, allocated: *size, apparent: *size }), smallest)
    }

    /// Lines of names, sizes and counts.
    fn lines(node: &TreeNode, indent: usize, out: &mut Vec<String>) {
        let name = String::from_utf8_lossy(&node.name);
        let slash = if node.is_directory { "/" } else { "" };
        out.push(format!("{:indent$}{name}{slash} {} {}", "", node.allocated, node.files));
        node.children.iter().for_each(|child| lines(child, indent + 1, out));
    }

    fn shown(files: &[(&str, u64)], smallest: u64) -> Vec<String> {
        let mut out = Vec::new();
        lines(&tree(files, smallest), 0, &mut out);
        out
    }

    #[test]
    fn what_is_small_is_counted_and_left_out() {
        let files =
            [("usr/bin/perl", 40), ("usr/lib/a", 30), ("usr/lib/b", 1), ("usr/lib.so", 9), ("etc/x", 2), ("top", 50)];
        assert_eq!(
            shown(&files, 10),
            ["/ 132 6", " top 50 1", " usr/ 80 4", "  bin/ 40 1", "   perl 40 1", "  lib/ 31 2", "   a 30 1"]
        );
    }

    #[test]
    fn a_directory_in_a_directory_is_one_step() {
        assert_eq!(shown(&[("a/b/c/d", 5), ("a/b/c/e", 5)], 1), ["/ 10 2", " a/b/c/ 10 2", "  d 5 1", "  e 5 1"]);
        assert_eq!(
            largest_directories(&tree(&[("a/b/c/d", 5), ("a/f/e", 6)], 1), 2)
                .iter()
                .map(|(path, _)| path.as_slice())
                .collect::<Vec<_>>(),
            [&b"a"[..], b"a/f"]
        );
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = format!("{}file", "d/".repeat(100_000));
        let tree = build_tree([PathSize { path: deep.as_bytes(), allocated: 7, apparent: 7 }], 1);
        let mut depth = 0;
        let mut at = &tree;
        while let Some(child) = at.children.first() {
            (at, depth) = (child, depth + 1);
        }
        assert!(depth <= DEEPEST && tree.allocated == 7 && at.files == 1, "{depth}");
    }

    #[test]
    fn a_tree_is_bounded_by_what_is_large() {
        let names: Vec<String> = (0..100_000).map(|n| format!("{:03}/{:05}", n / 1000, n)).collect();
        let files = names.iter().map(|name| PathSize { path: name.as_bytes(), allocated: 10, apparent: 10 });
        let tree = build_tree(files, 1_000);
        assert_eq!((tree.files, tree.children.len()), (100_000, 100));
        assert!(tree.children.iter().all(|child| child.children.is_empty()));
    }
}
