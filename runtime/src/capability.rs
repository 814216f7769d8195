//! Capabilities by name (capabilities(7)).

use crate::spec::SpecError;

/// All of them, by number. Docker 20.10 knows those up to `CAP_AUDIT_READ`; what the kernel got later is left out of `ALL`.
pub(crate) const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// How many of them Docker 20.10 knows.
const KNOWN_TO_DOCKER: usize = 38;

/// What a container has unless told otherwise, in Docker's order.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const ALL: &str = "ALL";

/// What a container has after `--cap-add` and `--cap-drop` (moby v20.10.24 `oci/caps/utils.go`).
pub(crate) fn tweak(add: &[String], drop: &[String], privileged: bool) -> Result<Vec<String>, SpecError> {
    let all = || NAMES[..KNOWN_TO_DOCKER].iter().map(|&name| name.to_owned());
    if privileged {
        return Ok(all().collect());
    }
    let add = normalize(add, "CapAdd")?;
    let drop = normalize(drop, "CapDrop")?;
    let has = |list: &[String], name: &str| list.iter().any(|one| one == name);
    if has(&drop, ALL) {
        let named = add.into_iter().filter(|name| name != ALL);
        return Ok(named.collect());
    }
    if has(&add, ALL) {
        return Ok(all().filter(|name| !has(&drop, name)).collect());
    }
    let kept = DEFAULT.iter().map(|&name| name.to_owned()).filter(|name| !has(&drop, name));
    Ok(kept.chain(add).collect())
}

/// Names in upper case and with `CAP_`, each once.
fn normalize(names: &[String], field: &'static str) -> Result<Vec<String>, SpecError> {
    let mut normal: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let upper = name.to_uppercase();
        let full = match upper.strip_prefix("CAP_") {
            Some(ALL) => ALL.to_owned(),
            None if upper == ALL => upper,
            Some(_) => upper,
            None => format!("CAP_{upper}"),
        };
        if full != ALL && !NAMES[..KNOWN_TO_DOCKER].contains(&full.as_str()) {
            return Err(SpecError::UnknownCapability { field, name: full });
        }
        if !normal.contains(&full) {
            normal.push(full);
        }
    }
    Ok(normal)
}
