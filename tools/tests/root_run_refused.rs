//! What the built-in runtime does not do it refuses by name, before anything runs, whoever runs it.
//!
//! Most cases are those of the validation of opencontainers/runtime-tools, written anew: names in brackets are theirs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod specsupport;

use serde_json::json;
use specsupport::{Site, capabilities, user};
use testkit::is_root;

/// What is asked for and cannot be done ends with docker's status for that, names itself, and nothing has run.
#[test]
fn what_is_not_done_is_refused_by_its_name() {
    if !is_root() {
        return;
    }
    let mut wrong = Vec::new();
    for site in std::iter::once(Site::new(None)).chain(user().map(|user| Site::new(Some(user)))) {
        let hook = json!([{"path": "/bin/true"}]);
        for (name, pointer, value, said) in [
            ("[prestart]", "/hooks", json!({"prestart": hook}), "hooks"),
            ("[poststart]", "/hooks", json!({"poststart": hook}), "hooks"),
            ("[poststop]", "/hooks", json!({"poststop": hook}), "hooks"),
            ("[hooks] createRuntime", "/hooks", json!({"createRuntime": hook}), "hooks"),
            ("[linux_process_apparmor_profile]", "/process/apparmorProfile", json!("x"), "process.apparmorProfile"),
            ("[linux_mount_label]", "/linux/mountLabel", json!("x"), "linux.mountLabel"),
            ("selinux", "/process/selinuxLabel", json!("x"), "process.selinuxLabel"),
            (
                "[linux_uid_mappings]",
                "/linux/uidMappings",
                json!([{"containerID": 0, "hostID": 1000, "size": 1}]),
                "linux.uidMappings",
            ),
            (
                "[linux_ns_path_type]",
                "/linux/namespaces/2",
                json!({"type": "uts", "path": "/proc/1/ns/uts"}),
                "linux.namespaces.path",
            ),
            ("[linux_ns] twice", "/linux/namespaces/-", json!({"type": "uts"}), "linux.namespaces, of type \"uts\""),
            ("[linux_ns] user", "/linux/namespaces/-", json!({"type": "user"}), "linux.namespaces, of type \"user\""),
            (
                "[linux_ns] unknown",
                "/linux/namespaces/-",
                json!({"type": "other"}),
                "linux.namespaces, of type \"other\"",
            ),
            (
                "[linux_rootfs_propagation_shared]",
                "/linux/rootfsPropagation",
                json!("shared"),
                "linux.rootfsPropagation shared",
            ),
            (
                "[linux_rootfs_propagation_unbindable]",
                "/linux/rootfsPropagation",
                json!("unbindable"),
                "linux.rootfsPropagation unbindable",
            ),
            (
                "[linux_cgroups_blkio]",
                "/linux/resources",
                json!({"blockIO": {"weight": 500}}),
                "linux.resources.blockIO.weight",
            ),
            (
                "[linux_cgroups_hugetlb]",
                "/linux/resources",
                json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}),
                "linux.resources.hugepageLimits",
            ),
            (
                "[linux_cgroups_network]",
                "/linux/resources",
                json!({"network": {"classID": 1}}),
                "linux.resources.network",
            ),
            (
                "[linux_cgroups] rdma",
                "/linux/resources",
                json!({"rdma": {"x": {"hcaHandles": 1}}}),
                "linux.resources.rdma",
            ),
            ("intelRdt", "/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt"),
            ("personality", "/linux/personality", json!({"domain": "LINUX32"}), "linux.personality"),
            ("a scheduler", "/process/scheduler", json!({"policy": "SCHED_FIFO"}), "process.scheduler"),
            (
                "[linux_seccomp] notify",
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
                "SCMP_ACT_NOTIFY",
            ),
            (
                "[linux_seccomp] flags",
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}),
                "linux.seccomp.flags",
            ),
            (
                "[process_rlimits_fail]",
                "/process/rlimits",
                json!([{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]),
                "RLIMIT_TEST",
            ),
            ("[process_capabilities_fail]", "/process/capabilities", capabilities(&["TEST_CAP"]), "TEST_CAP"),
            (
                "[mounts] of a kind that nobody knows",
                "/mounts/-",
                json!({"destination": "/m", "type": "nosuch", "source": "x"}),
                "nosuch",
            ),
            (
                "[mounts] without a source",
                "/mounts/-",
                json!({"destination": "/m", "type": "bind", "source": "/no/such", "options": ["rbind"]}),
                "/no/such",
            ),
            ("[linux_sysctl] of the host", "/linux/sysctl", json!({"kernel.panic": "0"}), "linux.sysctl.kernel.panic"),
            (
                "[linux_sysctl] by another way",
                "/linux/sysctl",
                json!({"net/../kernel/panic": "0"}),
                "linux.sysctl.net/../kernel/panic",
            ),
            (
                "[linux_sysctl] of the host's name",
                "/linux/sysctl",
                json!({"kernel.hostname": "x"}),
                "linux.sysctl.kernel.hostname",
            ),
            ("a process of the future", "/process/somethingNew", json!(1), "process.somethingNew"),
            ("a word of the future", "/somethingNew", json!({"a": 1}), "somethingNew"),
        ] {
            let ran = site.run("builtin", &site.spec("echo runs", &[(pointer, value)]));
            // Where another reason is not clearer.
            let refused = format!("the built-in runtime does not do this: {said}");
            if name.ends_with("createRuntime") && !ran.stderr.contains(&refused) {
                wrong.push(format!("{name}: {:?}", ran.stderr));
            }
            if ran.code != Some(125) || !ran.stderr.contains(said) || !ran.stdout.is_empty() {
                wrong.push(format!("{name}: {:?} {:?} {:?}", ran.code, ran.stdout, ran.stderr));
            }
        }
        // Where the name space is the host's, so is the setting.
        for (kind, setting) in [(1, "kernel.shmmax"), (1, "fs.mqueue.msg_max"), (4, "net.core.somaxconn")] {
            let mut spec = site.spec("echo runs", &[("/linux/sysctl", json!({setting: "4096"}))]);
            spec["linux"]["namespaces"].as_array_mut().unwrap().remove(kind);
            let ran = site.run("builtin", &spec);
            if ran.code != Some(125) || !ran.stderr.contains(setting) || !ran.stdout.is_empty() {
                wrong.push(format!("{setting} of the host: {:?} {:?} {:?}", ran.code, ran.stdout, ran.stderr));
            }
        }
    }
    testkit::assert_none("cases", &wrong);
}
