//! Where the hierarchies of control groups are mounted on this machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a hierarchy is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Hierarchy {
    /// Version 1, with its controllers.
    Named { mount: PathBuf, controllers: Vec<String> },
    /// Version 2.
    Unified(PathBuf),
}

impl Hierarchy {
    pub(super) fn mount(&self) -> &Path {
        match self {
            Self::Named { mount, .. } | Self::Unified(mount) => mount,
        }
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        matches!(self, Self::Named { controllers, .. } if controllers.iter().any(|one| one == controller))
    }
}

/// The hierarchies of this machine, from the table of mounts. Other mounts may have names that are no text.
pub(in super::super) fn hierarchies() -> Vec<Hierarchy> {
    hierarchies_in(&String::from_utf8_lossy(&fs::read("/proc/self/mountinfo").unwrap_or_default()))
}

fn hierarchies_in(table: &str) -> Vec<Hierarchy> {
    table.lines().filter_map(hierarchy).collect()
}

/// Whether control groups of both versions are mounted below the usual directory.
pub(in super::super) fn are_hybrid(hierarchies: &[Hierarchy]) -> bool {
    let usual = Path::new("/sys/fs/cgroup");
    let mut below =
        hierarchies.iter().filter(|hierarchy| hierarchy.mount().starts_with(usual) && hierarchy.mount() != usual);
    let is_unified = |hierarchy: &&Hierarchy| matches!(hierarchy, Hierarchy::Unified(_));
    below.clone().any(|hierarchy| is_unified(&hierarchy)) && below.any(|hierarchy| !is_unified(&hierarchy))
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (head, tail) = line.split_once(" - ")?;
    let mount = PathBuf::from(head.split(' ').nth(4)?);
    let mut tail = tail.split(' ');
    match tail.next()? {
        "cgroup2" => Some(Hierarchy::Unified(mount)),
        "cgroup" => {
            let options = tail.nth(1)?.split(',');
            let not = ["rw", "ro", "xattr", "noprefix", "clone_children"];
            let controllers = options.filter(|option| !not.contains(option)).map(str::to_owned).collect();
            Some(Hierarchy::Named { mount, controllers })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_at_once_are_noticed() {
        let is_hybrid = |table: &str| are_hybrid(&hierarchies_in(table));
        let old = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let new = "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let only_new = "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert!(is_hybrid(&format!("{old}{new}")));
        for one in [old, new, only_new, ""] {
            assert!(!is_hybrid(one), "{one}");
        }
    }
}
