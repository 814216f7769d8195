//! Which devices a container gets: their nodes, and who may use them. `builtin/devices.rs` makes the nodes.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, minor};
use serde_json::{Value, json};

use super::SpecError;
use crate::settings::{Device, Settings};

/// Directories of `/dev` whose devices no container gets (runc v1.1.5 `libcontainer/devices`).
const LEFT_OUT: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// The nodes that the runtime makes in `/dev`, besides its own.
pub(super) fn nodes(settings: &Settings) -> Result<Vec<Value>, SpecError> {
    let mut nodes = Vec::new();
    if settings.privileged {
        all_of(Path::new("/dev"), &mut nodes);
    }
    for device in &settings.devices {
        each(device, |host, container| {
            nodes.push(node(host, container)?);
            Ok(())
        })?;
    }
    Ok(nodes)
}

/// What may be done with devices, for the control group.
pub(super) fn rules(settings: &Settings) -> Result<Vec<Value>, SpecError> {
    if settings.privileged {
        return Ok(vec![json!({"allow": true, "access": "rwm"})]);
    }
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    // zero, null, urandom, random, tty, console
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}));
    }
    // fuse
    rules.push(json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}));
    for device in &settings.devices {
        each(device, |host, container| {
            let mut rule = node(host, container)?;
            let wanted = ["type", "major", "minor"];
            rule.as_object_mut().into_iter().for_each(|map| map.retain(|name, _| wanted.contains(&name.as_str())));
            rule["allow"] = true.into();
            rule["access"] = device.access.clone().into();
            rules.push(rule);
            Ok(())
        })?;
    }
    for text in &settings.device_cgroup_rules {
        rules.push(rule(text).ok_or_else(|| SpecError::DeviceRule(text.clone()))?);
    }
    Ok(rules)
}

/// `c 1:3 rwm`, with `*` for any number.
fn rule(text: &str) -> Option<Value> {
    let mut words = text.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| if text == "*" { Some(-1) } else { text.parse::<u32>().ok().map(i64::from) };
    let known = ["a", "b", "c"].contains(&kind) && (1..=3).contains(&access.len());
    if !known || words.next().is_some() || access.contains(|char| !"rwm".contains(char)) {
        return None;
    }
    Some(json!({"allow": true, "type": kind, "major": number(major)?, "minor": number(minor)?, "access": access}))
}

/// Calls `use_it` for a device, or for each device in a directory, with its paths on the host and in the container.
fn each(device: &Device, mut use_it: impl FnMut(&Path, &str) -> io::Result<()>) -> Result<(), SpecError> {
    let failed = |cause| SpecError::Device { path: device.host.clone(), cause };
    let host = std::fs::canonicalize(&device.host).map_err(failed)?;
    if !host.is_dir() {
        return use_it(&host, &device.container).map_err(failed);
    }
    let mut found = Vec::new();
    all_of(&host, &mut found);
    if found.is_empty() {
        return Err(failed(io::Error::other("not a device node")));
    }
    for node in found {
        let path = Path::new(node["path"].as_str().unwrap_or_default());
        let Ok(below) = path.strip_prefix(&host) else { continue };
        let container = Path::new(&device.container).join(below);
        use_it(path, &container.to_string_lossy()).map_err(failed)?;
    }
    Ok(())
}

fn node(host: &Path, container: &str) -> io::Result<Value> {
    let metadata = std::fs::symlink_metadata(host)?;
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_block_device() => "b",
        () if kind.is_char_device() => "c",
        () if kind.is_fifo() => "p",
        () => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a device node")),
    };
    let number = metadata.rdev();
    Ok(json!({"path": container, "type": kind, "major": major(number), "minor": minor(number),
        "fileMode": metadata.mode() & 0o7777, "uid": metadata.uid(), "gid": metadata.gid()}))
}

/// The devices below a directory, sorted. What vanishes meanwhile or is no device is left out.
fn all_of(dir: &Path, nodes: &mut Vec<Value>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(kind) = entry.file_type() else { continue };
        let (name, path) = (entry.file_name(), entry.path());
        if kind.is_dir() {
            if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                all_of(&path, nodes);
            }
        } else if name != "console" && !kind.is_symlink() {
            nodes.extend(node(&path, &path.to_string_lossy()));
        }
    }
}
