//! Refuses a specification that asks for anything that this runtime does not do.
//!
//! The test is on the JSON itself: what is not in the lists below is refused, so that a word that nobody here knows cannot be
//! ignored. A value that asks for nothing (null, false, zero, empty) is no request.

use serde_json::Value;

const TOP: &[&str] = &["ociVersion", "process", "root", "hostname", "domainname", "mounts", "linux", "annotations"];
const PROCESS: &[&str] = &[
    "terminal",
    "consoleSize",
    "user",
    "args",
    "env",
    "cwd",
    "capabilities",
    "rlimits",
    "noNewPrivileges",
    "oomScoreAdj",
];
const USER: &[&str] = &["uid", "gid", "umask", "additionalGids"];
const CAPABILITIES: &[&str] = &["bounding", "effective", "inheritable", "permitted", "ambient"];
const ROOT: &[&str] = &["path", "readonly"];
const MOUNT: &[&str] = &["destination", "source", "type", "options"];
const LINUX: &[&str] = &[
    "devices",
    "cgroupsPath",
    "resources",
    "rootfsPropagation",
    "seccomp",
    "sysctl",
    "maskedPaths",
    "readonlyPaths",
    "namespaces",
];
const RESOURCES: &[&str] = &["devices", "memory", "cpu", "pids", "blockIO"];
const MEMORY: &[&str] = &["limit", "reservation", "swap", "swappiness", "disableOOMKiller"];
const CPU: &[&str] = &["shares", "quota", "period", "cpus", "mems"];
const PIDS: &[&str] = &["limit"];
const NAMESPACES: &[&str] = &["pid", "network", "mount", "ipc", "uts", "cgroup"];
const SECCOMP: &[&str] = &["defaultAction", "defaultErrnoRet", "architectures", "syscalls"];
const PROPAGATIONS: &[&str] = &["", "rslave", "slave", "rprivate", "private"];
const TYPES: &[&str] = &["bind", "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup"];

/// What is asked for and not done, as a path in the document, if there is something.
pub(super) fn refusal(spec: &Value) -> Option<String> {
    let objects = [
        ("", TOP),
        ("process", PROCESS),
        ("process.user", USER),
        ("process.capabilities", CAPABILITIES),
        ("root", ROOT),
        ("linux", LINUX),
        ("linux.resources", RESOURCES),
        ("linux.resources.memory", MEMORY),
        ("linux.resources.cpu", CPU),
        ("linux.resources.pids", PIDS),
        ("linux.resources.blockIO", &[]),
        ("linux.seccomp", SECCOMP),
    ];
    for (path, known) in objects {
        if let Some(key) = unknown(at(spec, path), known) {
            return Some(if path.is_empty() { key } else { format!("{path}.{key}") });
        }
    }
    for mount in list(spec, "mounts") {
        if let Some(key) = unknown(mount, MOUNT) {
            return Some(format!("mounts.{key}"));
        }
        let kind = mount["type"].as_str().unwrap_or("bind");
        if !TYPES.contains(&kind) {
            return Some(format!("a mount of type {kind}"));
        }
    }
    let mut seen = Vec::new();
    for space in list(spec, "linux.namespaces") {
        let kind = space["type"].as_str().unwrap_or_default();
        if !NAMESPACES.contains(&kind) || seen.contains(&kind) {
            return Some(format!("linux.namespaces, of type {kind:?}"));
        }
        if asks(&space["path"]) && kind != "network" {
            return Some(format!("linux.namespaces.path, of type {kind}"));
        }
        seen.push(kind);
    }
    if !seen.contains(&"mount") {
        return Some("linux.namespaces without one of type mount".to_owned());
    }
    let settings = at(spec, "linux.sysctl").as_object().into_iter().flatten();
    if let Some((name, _)) = settings.into_iter().find(|(name, _)| !is_own_setting(name, &seen)) {
        return Some(format!("linux.sysctl.{name}"));
    }
    let propagation = at(spec, "linux.rootfsPropagation").as_str().unwrap_or_default();
    if !PROPAGATIONS.contains(&propagation) {
        return Some(format!("linux.rootfsPropagation {propagation}"));
    }
    let rules = list(spec, "linux.seccomp.syscalls").chain(std::iter::once(at(spec, "linux.seccomp")));
    for rule in rules {
        let action = rule["action"].as_str().or(rule["defaultAction"].as_str()).unwrap_or_default();
        if matches!(action, "SCMP_ACT_NOTIFY" | "SCMP_ACT_TRACE") {
            return Some(format!("linux.seccomp with {action}"));
        }
    }
    None
}

/// Whether a parameter of the kernel is one of the name spaces that the container has of its own. All others are the host's, also
/// where a container has a `/proc` of its own (runc v1.1.5 `libcontainer/configs/validate/validator.go: sysctl`).
fn is_own_setting(name: &str, spaces: &[&str]) -> bool {
    const OF_IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let parts: Vec<&str> = name.split(if name.contains('/') { '/' } else { '.' }).collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return false;
    }
    let space = match parts[..] {
        ["net", _, ..] => "network",
        ["fs", "mqueue", _, ..] => "ipc",
        ["kernel", name] if OF_IPC.contains(&name) => "ipc",
        ["kernel", "domainname"] => "uts",
        _ => return false,
    };
    spaces.contains(&space)
}

fn at<'a>(spec: &'a Value, path: &str) -> &'a Value {
    path.split('.').filter(|key| !key.is_empty()).fold(spec, |value, key| &value[key])
}

fn list<'a>(spec: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    at(spec, path).as_array().into_iter().flatten()
}

/// The first key that asks for something and is not known.
fn unknown(object: &Value, known: &[&str]) -> Option<String> {
    let object = object.as_object()?;
    object.iter().find(|(key, value)| asks(value) && !known.contains(&key.as_str())).map(|(key, _)| key.clone())
}

/// Whether a value asks for something.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => map.values().any(asks),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_done_is_refused_by_its_path() {
        let plain = json!({"linux": {"namespaces": [{"type": "mount"}]}, "hooks": {"prestart": []}});
        assert_eq!(refusal(&plain), None);
        for (pointer, value, said) in [
            ("/hooks", json!({"prestart": [{"path": "/x"}]}), "hooks"),
            ("/process", json!({"apparmorProfile": "x"}), "process.apparmorProfile"),
            ("/process", json!({"selinuxLabel": "x"}), "process.selinuxLabel"),
            ("/process", json!({"scheduler": {"policy": "SCHED_FIFO"}}), "process.scheduler"),
            ("/process", json!({"someThingNew": 1}), "process.someThingNew"),
            ("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt"),
            ("/linux/uidMappings", json!([{"containerID": 0}]), "linux.uidMappings"),
            ("/linux/resources", json!({"hugepageLimits": [1]}), "linux.resources.hugepageLimits"),
            ("/linux/resources", json!({"blockIO": {"weight": 10}}), "linux.resources.blockIO.weight"),
            ("/linux/resources", json!({"memory": {"kernel": 10}}), "linux.resources.memory.kernel"),
            ("/linux/namespaces", json!([{"type": "mount"}, {"type": "user"}]), "linux.namespaces, of type \"user\""),
            ("/linux/namespaces", json!([{"type": "mount", "path": "/x"}]), "linux.namespaces.path, of type mount"),
            ("/linux/namespaces", json!([]), "linux.namespaces without one of type mount"),
            ("/linux/rootfsPropagation", json!("rshared"), "linux.rootfsPropagation rshared"),
            ("/linux/seccomp", json!({"flags": ["X"]}), "linux.seccomp.flags"),
            ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "linux.seccomp with SCMP_ACT_NOTIFY"),
            ("/mounts", json!([{"type": "nfs"}]), "a mount of type nfs"),
            ("/mounts", json!([{"type": "bind", "uidMappings": [1]}]), "mounts.uidMappings"),
        ] {
            let mut spec = plain.clone();
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            spec.pointer_mut(parent).expect("a parent")[key] = value;
            assert_eq!(refusal(&spec).as_deref(), Some(said));
        }
    }
}
