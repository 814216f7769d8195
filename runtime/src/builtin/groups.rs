//! Control groups: limits of memory, processors and processes, and which devices may be used.
//!
//! ```text
//! /sys/fs/cgroup/<controller>/docker/<id>    version 1, a directory in each hierarchy
//! /sys/fs/cgroup/docker/<id>                 version 2
//! ```
//!
//! Where nothing can be written, a container has none of its own; a limit that is asked for is an error then.

mod freezer;
mod hierarchy;
mod limits;

use std::fs;
use std::io;
use std::path::PathBuf;

pub(super) use self::freezer::{freeze, thaw};
pub(super) use self::hierarchy::{Hierarchy, are_hybrid, hierarchies};
use self::limits::{asks, enable, version1, version2};
use crate::error::RuntimeError;
use crate::oci::{LinuxDeviceType, Spec};

/// The directories of one container; what was made is removed on drop unless it was kept.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) dirs: Vec<PathBuf>,
    /// Whether a group says which devices may be used.
    pub(super) devices_guarded: bool,
    kept: bool,
}

/// The directories of a container in all hierarchies, by what was recorded.
pub(super) fn with_dirs(dirs: &[PathBuf]) -> Vec<(Hierarchy, PathBuf)> {
    let mut all = Vec::new();
    for hierarchy in hierarchies() {
        if let Some(dir) = dirs.iter().find(|dir| dir.starts_with(hierarchy.mount())) {
            all.push((hierarchy, dir.clone()));
        }
    }
    // With hierarchies of version 1, that of version 2 controls nothing, and Docker's runtime does not show it.
    if all.iter().any(|(hierarchy, _)| matches!(hierarchy, Hierarchy::Named { .. })) {
        all.retain(|(hierarchy, _)| matches!(hierarchy, Hierarchy::Named { .. }));
    }
    all
}

/// Where a container's group is below a hierarchy; `None` if it has none of its own.
fn below(spec: &Spec) -> Option<PathBuf> {
    let path = spec.linux().as_ref()?.cgroups_path().as_ref()?;
    let below: PathBuf = path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    Some(below).filter(|below| !below.as_os_str().is_empty())
}

/// The directories that [`Groups::make`] may make.
pub(super) fn places(spec: &Spec) -> Vec<PathBuf> {
    let Some(below) = below(spec) else { return Vec::new() };
    hierarchies().iter().map(|hierarchy| hierarchy.mount().join(&below)).collect()
}

impl Groups {
    /// Makes the groups that a specification asks for.
    pub(super) fn make(spec: &Spec) -> Result<Self, RuntimeError> {
        let mut groups = Self::default();
        let linux = spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
        let wanted = asks(&resources);
        let Some(below) = below(spec) else { return refuse_limits(wanted).map(|()| groups) };
        let all = hierarchies();
        let is_unified = all.iter().all(|hierarchy| matches!(hierarchy, Hierarchy::Unified(_)));
        for hierarchy in all {
            let dir = hierarchy.mount().join(&below);
            if fs::create_dir_all(&dir).is_err() {
                continue;
            }
            groups.dirs.push(dir.clone());
            let failed = |error| RuntimeError::io(format!("setting limits in {}", dir.display()))(error);
            match &hierarchy {
                Hierarchy::Named { .. } => {
                    groups.devices_guarded |= version1(&hierarchy, &dir, &resources).map_err(failed)?;
                }
                // Beside hierarchies of version 1 it controls nothing.
                Hierarchy::Unified(mount) if is_unified => {
                    enable(mount, &below, wanted).and_then(|()| version2(&dir, &resources)).map_err(failed)?;
                }
                Hierarchy::Unified(_) => {}
            }
        }
        if groups.dirs.is_empty() {
            refuse_limits(wanted)?;
        }
        // Who may use every device needs no guard.
        let everything = resources.devices().iter().flatten().last().is_none_or(|rule| {
            rule.allow() && rule.major().is_none() && rule.typ().is_none_or(|kind| kind == LinuxDeviceType::A)
        });
        groups.devices_guarded |= everything && resources.devices().iter().flatten().next().is_some();
        Ok(groups)
    }

    /// Keeps the groups until [`remove`] is called, and returns their directories.
    pub(super) fn keep(mut self) -> Vec<PathBuf> {
        self.kept = true;
        std::mem::take(&mut self.dirs)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.dirs);
        }
    }
}

/// Removes directories of control groups. The kernel may need a moment after the last process has ended.
pub(super) fn remove(dirs: &[PathBuf]) {
    const TRIES: u32 = 200;
    for dir in dirs {
        for _ in 0..TRIES {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                // It is gone, or an error that does not pass: another container may have made groups in it.
                _ => break,
            }
        }
    }
}

/// Kills what is in groups that were made for a container, until nothing is.
pub(super) fn clear(dirs: &[PathBuf]) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    let begun = std::time::Instant::now();
    // Who is stopped does not die.
    let _ = thaw(dirs);
    loop {
        let members = |dir: &PathBuf| fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let texts: Vec<String> = dirs.iter().map(members).collect();
        let found: std::collections::BTreeSet<i32> =
            texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.parse().ok()).collect();
        if found.is_empty() || begun.elapsed() > PATIENCE {
            return;
        }
        for pid in found {
            // The process may have left the group or ended since; then it gets no signal.
            let still = || dirs.iter().any(|dir| members(dir).lines().any(|line| line.parse() == Ok(pid)));
            let _ = super::send_signal(pid, libc::SIGKILL, still);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn refuse_limits(wanted: bool) -> Result<(), RuntimeError> {
    if !wanted {
        return Ok(());
    }
    let reason = io::Error::new(io::ErrorKind::Unsupported, "no hierarchy of control groups can be written to");
    Err(RuntimeError::io("setting limits")(reason))
}
