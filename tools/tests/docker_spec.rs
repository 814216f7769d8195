//! What `runtime::spec` makes is what dockerd tells its runtime for the same flags.
//!
//! A runtime that only keeps the bundle's `config.json` stands between dockerd and runc, so the comparison does not need the
//! container to run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use runtime::{Device, Ipc, Mount, MountKind, Network, NetworkFiles, Resources, Seccomp, Settings, Ulimit, spec};
use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::{docker, golden, scratch};

const IMAGE: &str = "layerfs-test/busybox:1";

type Change = fn(&mut Settings);

/// Flags of `docker run`, and what they mean in our terms.
const CASES: &[(&[&str], Change)] = &[
    (&[], |_| {}),
    (&["-t"], |s| s.tty = true),
    (&["-i"], |_| {}),
    (&["-e", "A=b", "-e", "PATH=/x:/bin", "-e", "HOSTNAME=other"], |s| {
        s.env = texts(&["A=b", "PATH=/x:/bin", "HOSTNAME=other", "LAYERFS=busybox", "EMPTY="]);
    }),
    (&["-e", "LAYERFS"], |s| s.env = texts(&["LAYERFS", "PATH=/bin", "EMPTY="])),
    (&["-w", "/tmp/x"], |s| s.cwd = "/tmp/x".into()),
    (&["-u", "1000:1001"], |s| s.user = "1000:1001".into()),
    (&["-u", "5"], |s| s.user = "5".into()),
    (&["-u", ":8"], |s| s.user = ":8".into()),
    (&["--group-add", "7", "--group-add", "9"], |s| s.group_add = texts(&["7", "9"])),
    (&["--read-only"], |s| s.readonly_rootfs = true),
    (&["--read-only", "-v", "/usr:/m"], |s| {
        s.readonly_rootfs = true;
        s.mounts = vec![bind("/usr", "/m", false)];
    }),
    (&["--cap-add", "NET_ADMIN"], |s| s.cap_add = texts(&["NET_ADMIN"])),
    (&["--cap-add", "chown", "--cap-drop", "cap_kill"], |s| {
        s.cap_add = texts(&["chown"]);
        s.cap_drop = texts(&["cap_kill"]);
    }),
    (&["--cap-drop", "ALL"], |s| s.cap_drop = texts(&["ALL"])),
    (&["--cap-drop", "all", "--cap-add", "SETUID"], |s| {
        s.cap_drop = texts(&["all"]);
        s.cap_add = texts(&["SETUID"]);
    }),
    (&["--cap-add", "ALL"], |s| s.cap_add = texts(&["ALL"])),
    (&["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"], |s| {
        s.cap_add = texts(&["ALL"]);
        s.cap_drop = texts(&["SYS_ADMIN"]);
    }),
    (&["--cap-add", "SYS_ADMIN"], |s| s.cap_add = texts(&["SYS_ADMIN"])),
    (&["--cap-add", "SYS_PTRACE", "-u", "3"], |s| {
        s.cap_add = texts(&["SYS_PTRACE"]);
        s.user = "3".into();
    }),
    (&["--privileged"], |s| s.privileged = true),
    (&["--privileged", "--read-only", "--cgroupns", "private"], |s| {
        s.privileged = true;
        s.readonly_rootfs = true;
        s.cgroup_private = true;
    }),
    (&["--security-opt", "no-new-privileges"], |s| s.no_new_privileges = true),
    (&["--security-opt", "seccomp=unconfined"], |s| s.seccomp = Seccomp::Unconfined),
    (&["--security-opt", "systempaths=unconfined"], |s| {
        s.masked_paths = Some(Vec::new());
        s.readonly_paths = Some(Vec::new());
    }),
    (&["--pid", "host"], |s| s.pid_host = true),
    (&["--uts", "host"], |s| s.uts_host = true),
    (&["--ipc", "host"], |s| s.ipc = Ipc::Host),
    (&["--ipc", "none"], |s| s.ipc = Ipc::None),
    (&["--ipc", "shareable"], |s| s.ipc = Ipc::Shareable("SHM".into())),
    (&["--hostname", "foo", "--domainname", "bar"], |s| {
        s.hostname = "foo".into();
        s.domainname = "bar".into();
    }),
    (&["-m", "64m", "--memory-reservation", "20m", "--memory-swappiness", "10"], |s| {
        s.resources = Resources {
            memory: 64 << 20,
            memory_swap: 128 << 20,
            memory_reservation: 20 << 20,
            memory_swappiness: Some(10),
            ..Resources::default()
        };
    }),
    (&["--cpus", ".5", "--cpu-shares", "512", "--cpuset-cpus", "0"], |s| {
        s.resources =
            Resources { nano_cpus: 500_000_000, cpu_shares: 512, cpuset_cpus: "0".into(), ..Resources::default() };
    }),
    (&["--cpu-period", "50000", "--cpu-quota", "20000", "--pids-limit", "50"], |s| {
        s.resources = Resources { cpu_period: 50_000, cpu_quota: 20_000, pids_limit: Some(50), ..Resources::default() };
    }),
    (&["--ulimit", "nofile=100:200", "--ulimit", "core=-1"], |s| {
        s.ulimits = vec![
            Ulimit { name: "nofile".into(), soft: 100, hard: 200 },
            Ulimit { name: "core".into(), soft: -1, hard: -1 },
        ];
    }),
    (&["--shm-size", "1m"], |s| s.shm_size = 1 << 20),
    (&["--device", "/dev/null:/dev/foo:rw", "--device-cgroup-rule", "c 7:* rmw"], |s| {
        s.devices = vec![Device { host: "/dev/null".into(), container: "/dev/foo".into(), access: "rw".into() }];
        s.device_cgroup_rules = texts(&["c 7:* rmw"]);
    }),
    (&["--sysctl", "net.ipv4.ip_forward=1", "--oom-score-adj", "5"], |s| {
        s.sysctls = BTreeMap::from([("net.ipv4.ip_forward".to_owned(), "1".to_owned())]);
        s.oom_score_adj = 5;
    }),
    (&["--cgroup-parent", "/foo", "--cgroupns", "private"], |s| {
        s.cgroup_parent = "/foo".into();
        s.cgroup_private = true;
    }),
    (&["--init"], |s| s.init = Some("/usr/bin/docker-init".into())),
    (&["-v", "/usr:/a/b/c:ro", "-v", "/usr:/z", "--mount", "type=bind,source=/usr,target=/bb,readonly"], |s| {
        s.mounts = vec![bind("/usr", "/a/b/c", true), bind("/usr", "/z", false), bind("/usr", "/bb", true)];
    }),
    (&["--tmpfs", "/tt:exec,size=1m", "--mount", "type=tmpfs,target=/q,tmpfs-size=1m,tmpfs-mode=1700"], |s| {
        s.mounts = vec![tmpfs("/tt", &["exec", "size=1m"]), tmpfs("/q", &["mode=1700", "size=1m"])];
    }),
    (&["--network", "host"], |s| {
        s.network = Network::Host;
        s.hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().into();
    }),
    (&["-v", "/etc/passwd:/etc/hosts:ro", "--read-only"], |s| {
        s.readonly_rootfs = true;
        s.mounts = vec![bind("/etc/passwd", "/etc/hosts", true)];
    }),
    (&["-v", "/usr:/dev"], |s| s.mounts = vec![bind("/usr", "/dev", false)]),
];

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn bind(source: &str, destination: &str, readonly: bool) -> Mount {
    let kind = MountKind::Bind { source: source.into(), propagation: Some("rprivate".into()), non_recursive: false };
    Mount { destination: destination.into(), kind, readonly }
}

fn tmpfs(destination: &str, options: &[&str]) -> Mount {
    Mount { destination: destination.into(), kind: MountKind::Tmpfs { options: texts(options) }, readonly: false }
}

#[test]
fn specifications_are_those_of_dockerd() {
    let Some(_turn) = docker() else { return };
    let scratch = scratch();
    let kept = scratch.path().join("kept.json");
    let keeper = keeper(scratch.path(), &kept);
    let root = scratch.path().join("root");
    let runtime = format!("--add-runtime=keeper={}", keeper.display());
    let daemon = Dockerd::start_with(&root, &["--storage-driver=overlay2", &runtime, "--default-runtime=keeper"]);
    daemon.load(&golden("busybox-20.10.tar"));
    let mut report = Vec::new();
    for (flags, change) in CASES {
        let _ = std::fs::remove_file(&kept);
        let mut arguments = vec!["run", "--rm", IMAGE, "true"];
        if !flags.contains(&"--network") {
            arguments.splice(1..1, ["--network", "none"]);
        }
        arguments.splice(1..1, flags.iter().copied());
        // Some flags cannot run on every machine; what dockerd asks for is there anyway.
        let said = daemon.docker(&arguments);
        let Ok(text) = std::fs::read(&kept) else {
            report.push(format!("{flags:?}: no bundle: {}", String::from_utf8_lossy(&said.stderr)));
            continue;
        };
        let theirs: Value = serde_json::from_slice(&text).unwrap();
        let ours = ours(&theirs, *change, scratch.path());
        compare(&normal(&theirs), &normal(&ours), &format!("{flags:?}"), &mut report);
    }
    assert!(CASES.len() >= 40);
    testkit::assert_none("specifications", &report);
}

/// A runtime that keeps the specification and then is runc.
fn keeper(dir: &Path, kept: &Path) -> PathBuf {
    let path = dir.join("keeper");
    let script = format!(
        "#!/bin/sh\nlast=\nfor word in \"$@\"; do [ \"$last\" = --bundle ] && cp \"$word/config.json\" {}; last=$word; done\n\
         exec runc \"$@\"\n",
        kept.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Ours for the same container: its id and the places of its files are dockerd's.
fn ours(theirs: &Value, change: Change, rootfs: &Path) -> Value {
    let group = theirs["linux"]["cgroupsPath"].as_str().unwrap();
    let id = group.rsplit('/').next().unwrap();
    let source = |destination: &str| {
        let mounts = theirs["mounts"].as_array().unwrap();
        let found = mounts.iter().find(|mount| mount["destination"] == destination);
        found.and_then(|mount| mount["source"].as_str()).map(PathBuf::from)
    };
    let mut settings = Settings::new(id, rootfs.join("empty"), texts(&["true"]));
    settings.env = texts(&["PATH=/bin", "LAYERFS=busybox", "EMPTY="]);
    settings.cwd = "/root".into();
    settings.network_files = NetworkFiles {
        resolv_conf: source("/etc/resolv.conf"),
        hostname: source("/etc/hostname"),
        hosts: source("/etc/hosts"),
    };
    change(&mut settings);
    if let Ipc::Shareable(dir) = &mut settings.ipc {
        *dir = source("/dev/shm").unwrap();
    }
    serde_json::to_value(spec::make(&settings).unwrap()).unwrap()
}

/// Without what only dockerd has (its hook, the root's place, a path of the host's network name space), and with mounts of the
/// same depth sorted, since dockerd takes them from a map.
fn normal(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().remove("hooks");
    spec["root"].as_object_mut().unwrap().remove("path");
    let spaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.retain(|space| space["path"].as_str().is_none_or(|path| !path.ends_with("/netns/default")));
    let key = |mount: &Value| {
        let path = mount["destination"].as_str().unwrap().to_owned();
        (path.matches('/').count(), path)
    };
    let mounts = spec["mounts"].as_array_mut().unwrap();
    // The order of dockerd's own mounts is kept.
    let own = mounts
        .iter()
        .take_while(|mount| mount["type"] != "bind" && !["/tt", "/q"].iter().any(|path| mount["destination"] == *path));
    let own = own.count();
    mounts[own..].sort_by_key(key);
    // dockerd keeps additional groups in a map, so they come in any order; that of the user is first.
    if let Some(groups) = spec.pointer_mut("/process/user/additionalGids").and_then(Value::as_array_mut) {
        groups[1..].sort_by_key(Value::as_u64);
    }
    // What asks for nothing.
    prune(&mut spec);
    spec
}

/// Lists and objects that are empty say the same as none.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| match value {
                Value::Object(map) => !map.is_empty(),
                Value::Array(list) => !list.is_empty(),
                Value::Null => false,
                _ => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

fn compare(theirs: &Value, ours: &Value, at: &str, report: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                compare(value, right.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"), report);
            }
            let more = right.keys().filter(|key| !left.contains_key(*key));
            report.extend(more.map(|key| format!("{at}.{key}: only ours: {}", right[key])));
        }
        // Capabilities are a set in the crate for the specification.
        (Value::Array(left), Value::Array(right)) if at.contains("capabilities") => {
            let set = |list: &[Value]| list.iter().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>();
            if set(left) != set(right) {
                report.push(format!("{at}: {theirs} and ours {ours}"));
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(left, right, &format!("{at}[{index}]"), report);
            }
        }
        _ if theirs != ours => report.push(format!("{at}: {theirs} and ours {ours}")),
        _ => {}
    }
}
