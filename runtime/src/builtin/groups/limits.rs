//! What a specification limits, and the files of a control group that say so, in both versions.

use std::fs;
use std::io;
use std::path::Path;

use super::hierarchy::Hierarchy;
use crate::oci::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

/// Whether a limit is asked for. Rules about devices have another way without groups.
pub(super) fn asks(resources: &LinuxResources) -> bool {
    let memory = resources.memory().as_ref().is_some_and(|memory| {
        [memory.limit(), memory.reservation(), memory.swap()].into_iter().flatten().any(|value| value > 0)
            || memory.swappiness().is_some()
            || memory.disable_oom_killer() == Some(true)
    });
    let cpu = resources.cpu().as_ref().is_some_and(|cpu| {
        cpu.shares().is_some_and(|shares| shares > 0)
            || cpu.quota().is_some_and(|quota| quota > 0)
            || cpu.cpus().as_ref().is_some_and(|cpus| !cpus.is_empty())
            || cpu.mems().as_ref().is_some_and(|mems| !mems.is_empty())
    });
    memory || cpu || resources.pids().as_ref().is_some_and(|pids| pids.limit() > 0)
}

fn write(dir: &Path, name: &str, value: &str) -> io::Result<()> {
    let path = dir.join(name);
    super::super::procfs::is_groups(&path)?;
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{value} to {name}: {error}"));
    fs::write(&path, value).map_err(named)
}

/// Sets what one hierarchy of version 1 controls. Returns whether it controls devices.
pub(super) fn version1(hierarchy: &Hierarchy, dir: &Path, resources: &LinuxResources) -> io::Result<bool> {
    if hierarchy.has("memory")
        && let Some(memory) = resources.memory()
    {
        let value = |value: Option<i64>| value.filter(|&value| value > 0).map(|value| value.to_string());
        if let Some(limit) = value(memory.limit()) {
            write(dir, "memory.limit_in_bytes", &limit)?;
        }
        let swap = "memory.memsw.limit_in_bytes";
        // Kernels without accounting of swap space do not have the file, and Docker warns and goes on.
        if let Some(limit) = value(memory.swap())
            && dir.join(swap).exists()
        {
            write(dir, swap, &limit)?;
        }
        if let Some(limit) = value(memory.reservation()) {
            write(dir, "memory.soft_limit_in_bytes", &limit)?;
        }
        if let Some(swappiness) = memory.swappiness() {
            write(dir, "memory.swappiness", &swappiness.to_string())?;
        }
        if memory.disable_oom_killer() == Some(true) {
            write(dir, "memory.oom_control", "1")?;
        }
    }
    if hierarchy.has("cpu")
        && let Some(cpu) = resources.cpu()
    {
        for (name, value) in [
            ("cpu.shares", cpu.shares().filter(|&shares| shares > 0).map(|value| value.to_string())),
            ("cpu.cfs_period_us", cpu.period().filter(|&period| period > 0).map(|value| value.to_string())),
            ("cpu.cfs_quota_us", cpu.quota().filter(|&quota| quota != 0).map(|value| value.to_string())),
        ] {
            if let Some(value) = value {
                write(dir, name, &value)?;
            }
        }
    }
    if hierarchy.has("cpuset") {
        // A group without processors or memory takes no process: what is not set is its parent's.
        inherit(hierarchy.mount(), dir)?;
        for (name, value) in [
            ("cpuset.cpus", resources.cpu().as_ref().and_then(|cpu| cpu.cpus().clone())),
            ("cpuset.mems", resources.cpu().as_ref().and_then(|cpu| cpu.mems().clone())),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                write(dir, name, &value)?;
            }
        }
    }
    if hierarchy.has("pids")
        && let Some(limit) = resources.pids().as_ref().map(crate::oci::LinuxPids::limit)
    {
        write(dir, "pids.max", &if limit > 0 { limit.to_string() } else { "max".to_owned() })?;
    }
    if !hierarchy.has("devices") {
        return Ok(false);
    }
    // What runc allows besides what the specification says (v1.1.5 `libcontainer/specconv`): all nodes may be made, none of
    // which can be used, and terminals.
    let rules = resources.devices().iter().flatten().map(rule);
    let own = ["c *:* m", "b *:* m", "c 1:7 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm"]
        .map(|text| (true, text.to_owned()));
    for (allow, text) in rules.chain(own) {
        write(dir, if allow { "devices.allow" } else { "devices.deny" }, &text)?;
    }
    Ok(true)
}

fn rule(rule: &LinuxDeviceCgroup) -> (bool, String) {
    let kind = match rule.typ() {
        Some(LinuxDeviceType::B) => "b",
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => "c",
        _ => return (rule.allow(), "a".to_owned()),
    };
    let number = |number: Option<i64>| {
        number.filter(|&number| number >= 0).map_or_else(|| "*".to_owned(), |number| number.to_string())
    };
    let access = rule.access().as_deref().unwrap_or("rwm");
    (rule.allow(), format!("{kind} {}:{} {access}", number(rule.major()), number(rule.minor())))
}

fn inherit(mount: &Path, dir: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = dir.ancestors().take_while(|above| *above != mount).collect();
    missing.reverse();
    for group in missing {
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(group.join(name))?;
            if own.trim().is_empty()
                && let Some(above) = group.parent()
            {
                write(group, name, fs::read_to_string(above.join(name))?.trim())?;
            }
        }
    }
    Ok(())
}

/// Hands controllers down to the group, level by level.
pub(super) fn enable(mount: &Path, below: &Path, wanted: bool) -> io::Result<()> {
    let available = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let mut dir = mount.to_owned();
    for part in below.components() {
        for controller in ["cpu", "cpuset", "memory", "pids"] {
            if available.split_whitespace().any(|one| one == controller) {
                let enabled = write(&dir, "cgroup.subtree_control", &format!("+{controller}"));
                if wanted {
                    enabled?;
                }
            }
        }
        dir.push(part);
    }
    Ok(())
}

pub(super) fn version2(dir: &Path, resources: &LinuxResources) -> io::Result<()> {
    unified_files(resources).into_iter().try_for_each(|(name, value)| write(dir, name, &value))
}

/// The files of version 2 and what is written to them, as runc does it (v1.1.5 `libcontainer/cgroups/fs2`, `cgroups/utils.go`).
fn unified_files(resources: &LinuxResources) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    let mut set = |name, value: String| files.push((name, value));
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().filter(|&limit| limit > 0);
        if let Some(limit) = limit {
            set("memory.max", limit.to_string());
        }
        if let Some(swap) = memory.swap().filter(|&swap| swap > 0) {
            set("memory.swap.max", (swap - limit.unwrap_or(0)).max(0).to_string());
        }
        if let Some(reservation) = memory.reservation().filter(|&value| value > 0) {
            set("memory.low", reservation.to_string());
        }
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|&shares| shares > 0) {
            // From 2..262144 to 1..10000.
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
            set("cpu.weight", weight.to_string());
        }
        let (quota, period) = (cpu.quota().filter(|&quota| quota > 0), cpu.period().filter(|&period| period > 0));
        if quota.is_some() || period.is_some() {
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            set("cpu.max", format!("{quota} {}", period.unwrap_or(100_000)));
        }
        for (name, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
            if let Some(value) = value.clone().filter(|value| !value.is_empty()) {
                set(name, value);
            }
        }
    }
    if let Some(limit) = resources.pids().as_ref().map(crate::oci::LinuxPids::limit).filter(|&limit| limit > 0) {
        set("pids.max", limit.to_string());
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runc 1.1.5 writes for these limits of Docker's on version 2.
    #[test]
    fn limits_of_version_2_are_those_of_runc() {
        for (resources, files) in [
            (r#"{}"#, &[][..]),
            (
                r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432}}"#,
                &[("memory.max", "67108864"), ("memory.swap.max", "67108864"), ("memory.low", "33554432")],
            ),
            (
                r#"{"memory": {"limit": 67108864, "swap": 67108864}}"#,
                &[("memory.max", "67108864"), ("memory.swap.max", "0")],
            ),
            (r#"{"memory": {"limit": 67108864, "swap": -1}}"#, &[("memory.max", "67108864")]),
            (r#"{"cpu": {"shares": 2}}"#, &[("cpu.weight", "1")]),
            (r#"{"cpu": {"shares": 1024}}"#, &[("cpu.weight", "39")]),
            (r#"{"cpu": {"shares": 262144}}"#, &[("cpu.weight", "10000")]),
            (r#"{"cpu": {"quota": 50000, "period": 100000}}"#, &[("cpu.max", "50000 100000")]),
            (r#"{"cpu": {"quota": 50000}}"#, &[("cpu.max", "50000 100000")]),
            (r#"{"cpu": {"period": 20000}}"#, &[("cpu.max", "max 20000")]),
            (r#"{"cpu": {"cpus": "0-1", "mems": "0"}}"#, &[("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
            (r#"{"pids": {"limit": 50}}"#, &[("pids.max", "50")]),
            (r#"{"pids": {"limit": -1}}"#, &[]),
        ] {
            let parsed: LinuxResources = serde_json::from_str(resources).unwrap();
            let found = unified_files(&parsed);
            let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(found, files, "{resources}");
        }
    }

    /// What is mounted over the place of a group is not the kernel's, and is not written to.
    #[test]
    fn nothing_is_written_to_a_directory_that_is_no_group() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pids.max"), "untouched").unwrap();
        let limited: LinuxResources = serde_json::from_str(r#"{"pids": {"limit": 50}}"#).unwrap();
        assert!(version2(dir.path(), &limited).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("pids.max")).unwrap(), "untouched");
    }
}
