//! What a specification asks for is what its process gets, with the built-in runtime and with runc, as root and as a user.
//!
//! The cases are those of the validation of opencontainers/runtime-tools, written anew: names in brackets are theirs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod specsupport;

use std::path::Path;

use serde_json::{Value, json};
use specsupport::{Case, Site, capabilities, runtimes, user};
use testkit::is_root;

/// What is for everybody, in one container for each, whoever runs it.
#[test]
fn what_is_asked_for_is_done() {
    if !is_root() {
        return;
    }
    let root = Site::new(None);
    let mut sites = vec![(root, runtimes())];
    sites.extend(user().map(|user| (Site::new(Some(user)), vec!["builtin"])));
    let mut wrong = Vec::new();
    for (site, runtimes) in &sites {
        let shared = site.at("shared").display().to_string();
        let bind =
            |options: &[&str]| json!({"destination": "/m", "type": "bind", "source": shared, "options": options});
        let flags = "grep ' /m ' /proc/self/mountinfo | cut -d ' ' -f 6";
        let write = "cat /m/file; (: > /m/new) 2>/dev/null && rm /m/new && echo writes; true";
        let plain: Vec<Case<'_>> = vec![
            (
                "[default]",
                vec![],
                "echo $$; hostname; pwd; echo $PATH; ls /proc/self/fd",
                (0, "1\nbox\n/\n/bin\n0\n1\n2\n3\n"),
            ),
            ("[process] status", vec![], "exit 7", (7, "")),
            ("[process] cwd", vec![("/process/cwd", json!("/tmp"))], "pwd", (0, "/tmp\n")),
            ("[process] a cwd that is to be made", vec![("/process/cwd", json!("/new/dir"))], "pwd", (0, "/new/dir\n")),
            ("[process] env", vec![("/process/env/-", json!("A=b c"))], "echo \"$A\"", (0, "b c\n")),
            ("[process] args", vec![("/process/args", json!(["/bin/echo", "a  b", ""]))], "", (0, "a  b \n")),
            (
                "[hostname]",
                vec![("/hostname", json!("other.example"))],
                "hostname; cat /proc/sys/kernel/hostname",
                (0, "other.example\nother.example\n"),
            ),
            (
                "[process_user]",
                vec![("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o027}))],
                "id -u; id -g; id -G; umask; grep -E '^[UG]id:' /proc/self/status",
                (0, "5\n6\n6 7 8\n0027\nUid:\t5\t5\t5\t5\nGid:\t6\t6\t6\t6\n"),
            ),
            (
                "[process_capabilities]",
                vec![("/process/capabilities", capabilities(&["CAP_CHOWN", "CAP_KILL"]))],
                "grep ^Cap /proc/self/status",
                (
                    0,
                    "CapInh:\t0000000000000000\nCapPrm:\t0000000000000021\nCapEff:\t0000000000000021\nCapBnd:\t0000000000000021\n\
                     CapAmb:\t0000000000000000\n",
                ),
            ),
            (
                "[process_capabilities] ambient",
                vec![
                    ("/process/user", json!({"uid": 5, "gid": 6})),
                    (
                        "/process/capabilities",
                        json!({
                            "bounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"], "permitted": ["CAP_NET_BIND_SERVICE"],
                            "effective": ["CAP_NET_BIND_SERVICE"], "inheritable": ["CAP_NET_BIND_SERVICE"], "ambient": ["CAP_NET_BIND_SERVICE"],
                        }),
                    ),
                ],
                "grep ^Cap /proc/self/status",
                (
                    0,
                    "CapInh:\t0000000000000400\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\nCapBnd:\t0000000000000401\n\
                     CapAmb:\t0000000000000400\n",
                ),
            ),
            (
                "[process] no_new_privs",
                vec![("/process/noNewPrivileges", json!(true))],
                "grep NoNewPrivs /proc/self/status",
                (0, "NoNewPrivs:\t1\n"),
            ),
            (
                "[process] new privileges",
                vec![("/process/noNewPrivileges", json!(false))],
                "grep NoNewPrivs /proc/self/status",
                (0, "NoNewPrivs:\t0\n"),
            ),
            (
                "[process_oom_score_adj]",
                vec![("/process/oomScoreAdj", json!(100))],
                "cat /proc/self/oom_score_adj",
                (0, "100\n"),
            ),
            (
                "[process_rlimits]",
                vec![(
                    "/process/rlimits",
                    json!([
                        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
                        {"type": "RLIMIT_FSIZE", "soft": 1_048_576, "hard": 2_097_152}, {"type": "RLIMIT_STACK", "soft": 4_194_304, "hard": 8_388_608},
                        {"type": "RLIMIT_CPU", "soft": 100, "hard": 200}, {"type": "RLIMIT_DATA", "soft": 1_073_741_824, "hard": 1_073_741_824},
                        {"type": "RLIMIT_AS", "soft": 2_147_483_648_u64, "hard": 2_147_483_648_u64},
                    ]),
                )],
                "ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc; ulimit -f; ulimit -Hf; ulimit -s; ulimit -Hs; ulimit -t; ulimit -Ht; \
                   ulimit -d; ulimit -Hd; ulimit -v; ulimit -Hv",
                (0, "100\n200\n0\n8\n2048\n4096\n4096\n8192\n100\n200\n1048576\n1048576\n2097152\n2097152\n"),
            ),
            (
                "[root_readonly_true]",
                vec![("/root/readonly", json!(true))],
                "(: > /x) 2>/dev/null || echo refused; : > /dev/shm/x && echo made",
                (0, "refused\nmade\n"),
            ),
            ("[root] writable", vec![("/root/readonly", json!(false))], ": > /x && rm /x && echo made", (0, "made\n")),
            ("[mounts] bind", vec![("/mounts/-", bind(&["rbind"]))], write, (0, "shared\nwrites\n")),
            ("[mounts] bind, read-only", vec![("/mounts/-", bind(&["rbind", "ro"]))], write, (0, "shared\n")),
            (
                "[mounts] options of a bind",
                vec![("/mounts/-", bind(&["bind", "nosuid", "nodev", "noexec", "ro"]))],
                "grep ' /m ' /proc/self/mountinfo | cut -d ' ' -f 6 | sed 's/,relatime//'",
                (0, "ro,nosuid,nodev,noexec\n"),
            ),
            (
                "[mounts] tmpfs",
                vec![(
                    "/mounts/-",
                    json!({"destination": "/new/m", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "nodev", "noexec", "size=64k"]}),
                )],
                "dd if=/dev/zero of=/new/m/x bs=1k count=128 2>/dev/null; stat -c %s /new/m/x; \
                 grep ' /new/m ' /proc/self/mountinfo | cut -d ' ' -f 6",
                (0, "65536\nrw,nosuid,nodev,noexec,relatime\n"),
            ),
            (
                "[mounts] in their order",
                vec![
                    ("/mounts/-", bind(&["rbind"])),
                    ("/mounts/-", json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})),
                ],
                "ls /m; grep -c ' /m ' /proc/self/mountinfo",
                (0, "2\n"),
            ),
            (
                "[mounts] at a file",
                vec![(
                    "/mounts/-",
                    json!({"destination": "/etc/new", "type": "bind",
                "source": format!("{shared}/file"), "options": ["rbind", "ro"]}),
                )],
                "cat /etc/new",
                (0, "shared\n"),
            ),
            (
                "[linux_masked_paths]",
                vec![("/linux/maskedPaths", json!(["/etc/passwd", "/bin/../etc", "/nosuch", "/proc/keys"]))],
                "ls /etc | wc -l; wc -c < /proc/keys",
                (0, "0\n0\n"),
            ),
            (
                "[linux_readonly_paths]",
                vec![("/linux/readonlyPaths", json!(["/etc", "/proc/sys", "/nosuch"]))],
                "for path in /etc/x /proc/sys/kernel/hostname; do (: > $path) 2>/dev/null && echo writes $path; done; : > /x && rm /x && echo made",
                (0, "made\n"),
            ),
            (
                "[linux_sysctl]",
                vec![("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/rp_filter": "2"}))],
                "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/lo/rp_filter",
                (0, "1\n2\n"),
            ),
            (
                "[linux_seccomp] errno",
                vec![(
                    "/linux/seccomp",
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO"}]}),
                )],
                "mkdir /x 2>&1; grep Seccomp: /proc/self/status",
                (0, "mkdir: can't create directory '/x': Operation not permitted\nSeccomp:\t2\n"),
            ),
            (
                "[linux_seccomp] another errno",
                vec![(
                    "/linux/seccomp",
                    json!({"defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]}),
                )],
                "mkdir /x 2>&1; true",
                (0, "mkdir: can't create directory '/x': Read-only file system\n"),
            ),
            (
                "[linux_seccomp] by argument",
                vec![(
                    "/linux/seccomp",
                    json!({"defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]}),
                )],
                "trap : USR1 USR2; kill -USR1 $$ 2>/dev/null || echo refused; kill -USR2 $$ && echo sent",
                (0, "refused\nsent\n"),
            ),
            (
                "[linux_seccomp] kill",
                vec![(
                    "/linux/seccomp",
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"}]}),
                )],
                "sh -c sync; echo $?",
                (0, "159\n"),
            ),
            (
                "[linux_rootfs_propagation_private]",
                vec![("/linux/rootfsPropagation", json!("private")), ("/mounts/-", bind(&["rbind"]))],
                "grep -c shared: /proc/self/mountinfo; cat /m/file",
                (0, "0\nshared\n"),
            ),
            (
                "[misc_props] an annotation, and a word that nobody knows there",
                vec![("/annotations", json!({"org.example": "x"}))],
                "echo runs",
                (0, "runs\n"),
            ),
            (
                "[mounts] flags",
                vec![(
                    "/mounts/-",
                    json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs",
                "options": ["nodev", "noatime", "ro"]}),
                )],
                flags,
                (0, "ro,nodev,noatime\n"),
            ),
        ];
        for (name, changes, script, expected) in &plain {
            wrong.extend(runtimes.iter().filter_map(|runtime| site.holds(runtime, name, changes, script, *expected)));
        }
        wrong.extend(runtimes.iter().flat_map(|runtime| name_spaces(site, runtime)));
    }
    testkit::assert_none("cases", &wrong);
}

/// [linux_ns_nopath], [linux_ns_itype]: a name space that is asked for is new, and one that is not is the caller's.
fn name_spaces(site: &Site, runtime: &str) -> Vec<String> {
    let kinds = [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("network", "net"), ("cgroup", "cgroup")];
    let script = "for kind in pid ipc uts net cgroup mnt; do readlink /proc/self/ns/$kind; done";
    let ids =
        |spec: &Value| -> Vec<String> { site.run(runtime, spec).ok().stdout.lines().map(str::to_owned).collect() };
    let own = |file: &str| std::fs::read_link(format!("/proc/self/ns/{file}")).unwrap().display().to_string();
    let mut wrong = Vec::new();
    let all: Vec<Value> =
        ["mount", "pid", "ipc", "uts", "network", "cgroup"].iter().map(|kind| json!({"type": kind})).collect();
    let with_all = ids(&site.spec(script, &[("/linux/namespaces", json!(all))]));
    for (number, (kind, file)) in kinds.iter().enumerate() {
        if with_all[number] == own(file) {
            wrong.push(format!("{runtime}: {kind} is the caller's"));
        }
        // A user is in a name space of users, and has others of its own because of that.
        if site.user.is_some() {
            continue;
        }
        let others: Vec<&Value> = all.iter().filter(|space| space["type"] != *kind).collect();
        let mut changes = vec![("/linux/namespaces", json!(others))];
        if *kind == "uts" {
            changes.push(("/hostname", Value::Null));
        }
        if ids(&site.spec(script, &changes))[number] != own(file) {
            wrong.push(format!("{runtime}: {kind} is not the caller's, and was not asked for"));
        }
    }
    if with_all[kinds.len()] == own("mnt") {
        wrong.push(format!("{runtime}: the mounts are the caller's"));
    }
    // [linux_ns_path]: one that is there is joined.
    if site.user.is_none() {
        let path = format!("/proc/{}/ns/net", std::process::id());
        let joined = ids(&site.spec(script, &[("/linux/namespaces/4", json!({"type": "network", "path": path}))]));
        if joined[3] != own("net") {
            wrong.push(format!("{runtime}: the network is not the one of the path"));
        }
    }
    wrong
}

/// [linux_devices], [linux_cgroups_*]: what needs control groups, those of version 1; root's alone.
#[test]
fn devices_and_limits_are_those_of_the_specification() {
    let has_groups = Path::new("/sys/fs/cgroup/pids/cgroup.procs").exists();
    if !is_root() || !testkit::tier("root", has_groups, "boot with control groups of version 1") {
        return;
    }
    let site = Site::new(None);
    let group = format!("/layerfs-spec-{}", std::process::id());
    let shown = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
    let limits = [
        ("pids", json!({"pids": {"limit": 50}}), "pids.max", "50"),
        (
            "memory",
            json!({"memory": {"limit": 67_108_864, "reservation": 33_554_432}}),
            "memory.limit_in_bytes",
            "67108864",
        ),
        ("memory", json!({"memory": {"reservation": 33_554_432}}), "memory.soft_limit_in_bytes", "33554432"),
        ("cpu", json!({"cpu": {"shares": 512}}), "cpu.shares", "512"),
        ("cpu", json!({"cpu": {"quota": 50_000, "period": 100_000}}), "cpu.cfs_quota_us", "50000"),
        ("cpu", json!({"cpu": {"period": 50_000}}), "cpu.cfs_period_us", "50000"),
        ("cpuset", json!({"cpu": {"cpus": "0"}}), "cpuset.cpus", "0"),
        ("cpuset", json!({"cpu": {"mems": "0"}}), "cpuset.mems", "0"),
    ];
    let mut wrong = Vec::new();
    for runtime in runtimes() {
        let all = [("/linux/cgroupsPath", json!(group)), ("/mounts/-", shown.clone())];
        for (controller, resources, file, value) in &limits {
            let changes = [&all[..], &[("/linux/resources", resources.clone())]].concat();
            let name = format!("[linux_cgroups_{controller}] {resources}");
            let expected = format!("{value}\n");
            wrong.extend(site.holds(
                runtime,
                &name,
                &changes,
                &format!("cat /sys/fs/cgroup/{controller}/{file}"),
                (0, &expected),
            ));
        }
        let nodes = json!([
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o644, "uid": 5, "gid": 6},
            {"path": "/dev/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        ]);
        let rules = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"}]});
        let changes = [&all[..], &[("/linux/devices", nodes), ("/linux/resources", rules)]].concat();
        let script = "stat -c '%F %a %u:%g %t:%T' /dev/mine /dev/block /dev/pipe /dev/null /dev/tty; head -c 1 /dev/mine | wc -c; \
                      (: > /dev/mine) 2>/dev/null && echo writes; (: < /dev/block) 2>/dev/null && echo reads; \
                      for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done";
        let expected = "character special file 644 5:6 1:5\nblock special file 600 0:0 7:c8\nfifo 600 0:0 0:0\n\
                        character special file 666 0:0 1:3\ncharacter special file 666 0:0 5:0\n1\n\
                        /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
        wrong.extend(site.holds(runtime, "[linux_devices]", &changes, script, (0, expected)));
        // [linux_cgroups_relative_*] is refused to nobody: the place is below the hierarchy's root.
        let relative = [
            ("/linux/cgroupsPath", json!(group.trim_start_matches('/'))),
            ("/mounts/-", shown.clone()),
            ("/linux/resources", json!({"pids": {"limit": 60}})),
        ];
        wrong.extend(site.holds(
            runtime,
            "[linux_cgroups_relative_pids]",
            &relative,
            "cat /sys/fs/cgroup/pids/pids.max",
            (0, "60\n"),
        ));
    }
    testkit::assert_none("cases", &wrong);
    let left: Vec<String> = testkit::store::names(Path::new("/sys/fs/cgroup"))
        .into_iter()
        .filter(|name| Path::new("/sys/fs/cgroup").join(name).join(&group[1..]).exists())
        .collect();
    testkit::assert_none("control groups that are left", &left);
}
