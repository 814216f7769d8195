//! What is mounted in a container.

use std::path::Path;

use serde_json::{Value, json};

use super::{INIT, SpecError};
use crate::settings::{Ipc, MountKind, Settings};

const SHM: &str = "/dev/shm";

/// What Docker mounts itself, then what the user wants, those with short paths first, so that no mount hides another.
pub(super) fn list(settings: &Settings) -> Result<Vec<Value>, SpecError> {
    let mut wanted = Vec::new();
    for mount in &settings.mounts {
        wanted.push(match &mount.kind {
            MountKind::Bind { source, propagation, non_recursive } => {
                let kind = if *non_recursive { "bind" } else { "rbind" };
                bind(source, &mount.destination, kind, mount.readonly, propagation.as_deref())
            }
            MountKind::Tmpfs { options } => tmpfs(&mount.destination, options, mount.readonly)?,
        });
    }
    if let Some(program) = &settings.init {
        wanted.push(bind(program, INIT, "bind", true, None));
    }
    let files = &settings.network_files;
    for (file, destination) in
        [(&files.resolv_conf, "/etc/resolv.conf"), (&files.hostname, "/etc/hostname"), (&files.hosts, "/etc/hosts")]
    {
        // What a user has mounted there is the file.
        let is_given = wanted.iter().any(|mount| destination_of(mount) == destination);
        if let Some(file) = file.as_ref().filter(|_| !is_given) {
            wanted.push(bind(file, destination, "rbind", settings.readonly_rootfs, Some("rprivate")));
        }
    }
    match &settings.ipc {
        Ipc::Private | Ipc::None => {}
        Ipc::Host => wanted.push(bind(Path::new(SHM), SHM, "rbind", false, Some("rprivate"))),
        Ipc::Shareable(dir) => wanted.push(bind(dir, SHM, "rbind", false, Some("rprivate"))),
    }
    wanted.sort_by_key(|mount| parts(destination_of(mount)));
    let mut list = own(settings);
    let taken = |path: &str| wanted.iter().any(|mount| destination_of(mount) == path);
    // A user who mounts on /dev has everything below it from there.
    list.retain(|mount| {
        let path = destination_of(mount);
        let hidden = path.starts_with("/dev/") && taken("/dev");
        !taken(path) && !hidden
    });
    list.append(&mut wanted);
    Ok(list)
}

fn destination_of(mount: &Value) -> &str {
    mount["destination"].as_str().unwrap_or_default()
}

fn parts(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").count()
}

/// What Docker mounts in every container.
fn own(settings: &Settings) -> Vec<Value> {
    let plain = ["nosuid", "noexec", "nodev"];
    let (sys, group) = if settings.privileged {
        (plain.to_vec(), plain.to_vec())
    } else {
        (vec!["nosuid", "noexec", "nodev", "ro"], vec!["ro", "nosuid", "noexec", "nodev"])
    };
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let mut list = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": plain}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": sys}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": group}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": plain}),
    ];
    if settings.ipc == Ipc::Private {
        let size = format!("size={}", settings.shm_size);
        list.push(json!({"destination": SHM, "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", size]}));
    }
    list
}

fn bind(source: &Path, destination: &str, kind: &str, readonly: bool, propagation: Option<&str>) -> Value {
    let options: Vec<&str> = [Some(kind), readonly.then_some("ro"), propagation].into_iter().flatten().collect();
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn tmpfs(destination: &str, options: &[String], readonly: bool) -> Result<Value, SpecError> {
    let mut all: Vec<&str> = vec!["noexec", "nosuid", "nodev", "rprivate"];
    all.extend(options.iter().map(String::as_str));
    let mut kept = last_of_each(&all)?;
    if readonly && !kept.contains(&"ro") {
        kept.push("ro");
    }
    Ok(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": kept}))
}

/// Of options that contradict each other the last one counts.
fn last_of_each<'a>(options: &[&'a str]) -> Result<Vec<&'a str>, SpecError> {
    let mut seen: Vec<&str> = Vec::new();
    let mut kept = Vec::new();
    for &option in options.iter().rev().filter(|option| **option != "defaults") {
        let about = subject(option).ok_or_else(|| {
            // As Go writes a list: the name, and what it is set to.
            let parts: Vec<String> = option.splitn(2, '=').map(|part| format!("{part:?}")).collect();
            SpecError::TmpfsOption(parts.join(" "))
        })?;
        if !seen.contains(&about) {
            seen.push(about);
            kept.push(option);
        }
    }
    kept.reverse();
    Ok(kept)
}

/// What an option is about; `None` for one that file systems in memory do not have.
fn subject(option: &str) -> Option<&str> {
    Some(match option {
        "ro" | "rw" => "ro",
        "suid" | "nosuid" => "suid",
        "dev" | "nodev" => "dev",
        "exec" | "noexec" => "exec",
        "sync" | "async" => "sync",
        "dirsync" => "dirsync",
        "mand" | "nomand" => "mand",
        "atime" | "noatime" => "atime",
        "diratime" | "nodiratime" => "diratime",
        "relatime" | "norelatime" => "relatime",
        "strictatime" | "nostrictatime" => "strictatime",
        "bind" | "rbind" => "bind",
        "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" | "unbindable" | "runbindable" => {
            "propagation"
        }
        _ => match option.split_once('=')?.0 {
            name @ ("size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol") => name,
            _ => return None,
        },
    })
}
