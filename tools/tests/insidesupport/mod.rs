//! What a container tells of itself, and the flags with which it is asked.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

use testkit::run::{Input, Ran, layerfs, run};

pub(crate) const IMAGE: &str = "layerfs-test/busybox:1";

/// Tells what there is. The device numbers and ids of mounts are drawn, and so are the directories of the overlay.
/// Left out are a known difference, that runc leaves signals ignored that its caller ignores, how many processes the host has, and what
/// the host has mounted in its `/dev/shm`, where the tests have their directories.
pub(crate) const PROBE: &str = r#"
env; id; pwd; hostname; umask
grep -E '^(Cap|Seccomp|NoNewPrivs|Uid|Gid|Groups|SigBlk)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup /proc/self/uid_map /proc/self/setgroups
cut -d ' ' -f 4- /proc/self/mountinfo | grep -v '^[^ ]* /dev/shm/' | sed -e 's/ \(master\|shared\):[0-9]*//g' -e 's/lowerdir.*//'
ls -l /dev /dev/pts /proc/self/fd/ | sed -e 's/ [A-Z][a-z][a-z] .*:[0-9][0-9] / /' -e 's/\[[0-9]*\]//' -e 's,/proc/[0-9]*/fd,FD,'
ls -ld / /proc /sys /dev /dev/shm /tmp /etc /etc/hosts /etc/hostname /etc/resolv.conf | sed 's/^\(.\{10\}\) *[0-9]* \(.\{18\}\).* /\1 \2 /'
cat /etc/hosts /etc/hostname /etc/resolv.conf
for path in /x /proc/sys/x /sys/x /dev/x /t/x /v/x /proc/sys/kernel/shmmax /proc/sysrq-trigger; do
  [ -e "$path" ] && echo "there $path"
  (: >>"$path") 2>/dev/null && echo "writes $path"
  case $path in */x) rm -f "$path" 2>/dev/null;; esac
done
for path in /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware; do echo "$path $(ls -A "$path" 2>&1 | wc -l) $(head -c 1 "$path" 2>&1 | wc -c)"; done
mknod /tmp/node c 1 3 && echo makes nodes
chown 7 /etc/passwd && echo changes owners
mount -t tmpfs x /mnt && echo mounts
unshare -U true && echo makes user name spaces
ls /sys/class/net; cat /proc/1/cmdline | tr '\0' ' '; set -- /proc/[0-9]*; echo $(($# > 5 ? 5 : $#))
"#;

pub(crate) fn ours(root: &Path, arguments: &[&str]) -> Ran {
    let mut all = vec!["--root", root.to_str().unwrap()];
    all.extend(arguments);
    run(layerfs(&all), Input::Nothing)
}

pub(crate) fn root(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let root = testkit::empty_root(dir, name);
    let archive = testkit::golden("busybox-20.10.tar");
    ours(&root, &["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    root
}

/// What was printed, as sorted lines, without what is another one for each container: its id, the names of anonymous volumes, and the
/// data-roots `roots` in `dir`.
pub(crate) fn lines(printed: &str, id: &str, dir: &Path, roots: &[&str]) -> Vec<String> {
    let text = printed.replace(id, "ID").replace(&id[..12], "SHORT");
    let text = roots.iter().fold(text, |text, name| {
        let root = dir.join(name).display().to_string();
        // Where a directory is mounted from, its path is one in its file system.
        let parts: Vec<&str> = root.split('/').skip(1).collect();
        (1..parts.len() - 1).rev().fold(text.replace(&root, "ROOT"), |text, start| {
            text.replace(&format!("/{}", parts[parts.len() - 1 - start..].join("/")), "ROOT")
        })
    });
    let drawn = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = |line: &str| -> String {
        let parts: Vec<&str> = line.split('/').map(|part| if drawn(part) { "DRAWN" } else { part }).collect();
        parts.join("/")
    };
    let mut lines: Vec<String> = text.lines().map(plain).collect();
    lines.sort();
    lines
}

/// Sets of flags; `DIR` is a directory of the host.
pub(crate) const FLAGS: &[&[&str]] = &[
    &[],
    &["-t"],
    &["-i"],
    &["-e", "A=b c", "-e", "PATH=/bin"],
    &["-e", "HOSTNAME=x", "-e", "HOME=/h"],
    &["-w", "/new/dir"],
    &["-u", "5:6", "--group-add", "7"],
    &["-u", "root"],
    &["-u", "77"],
    &["-u", "0:5"],
    &["-h", "box", "--domainname", "dom.example"],
    &["--read-only"],
    &["--read-only", "--tmpfs", "/tmp"],
    &["--cap-drop", "ALL", "--cap-add", "CHOWN"],
    &["--cap-drop", "MKNOD", "--cap-drop", "CHOWN"],
    &["--cap-add", "ALL"],
    &["--cap-add", "SYS_ADMIN", "--security-opt", "no-new-privileges"],
    &["--cap-add", "NET_ADMIN", "-u", "5"],
    &["--security-opt", "no-new-privileges", "-u", "5"],
    &["--tmpfs", "/t", "--tmpfs", "/v:size=1m,exec"],
    &["--mount", "type=tmpfs,target=/v,tmpfs-size=1m,tmpfs-mode=1770"],
    &["-v", "DIR:/v"],
    &["-v", "DIR:/v:ro"],
    &["-v", "DIR:/v:rslave"],
    &["--mount", "type=bind,source=DIR,target=/v,readonly"],
    &["-v", "named:/v"],
    &["-v", "/etc/shells:/etc/hosts", "-v", "/etc/shells:/etc/hostname:ro"],
    &["-v", "named:/v:ro", "-v", "/t"],
    &["--ulimit", "nofile=100:200", "--ulimit", "core=0"],
    &["--ulimit", "nproc=500"],
    &["--init"],
    &["--shm-size", "1m", "--oom-score-adj", "100"],
    &["--security-opt", "seccomp=unconfined"],
    &["--security-opt", "systempaths=unconfined"],
    &["--ipc", "host", "--uts", "host"],
    &["--ipc", "none"],
    &["--pid", "host"],
    &["--privileged"],
    &["--device", "/dev/zero:/dev/x:r"],
    &["--device-cgroup-rule", "c 1:5 rwm"],
    &["-m", "64m", "--memory-reservation", "32m"],
    &["--cpus", ".5", "--cpu-shares", "512", "--cpuset-cpus", "0"],
    &["--pids-limit", "50"],
    &["--sysctl", "net.core.somaxconn=99", "--sysctl", "kernel.shmmax=1000000"],
    &["--add-host", "h:1.2.3.4", "--dns", "9.9.9.9", "--dns-search", "s.example"],
    &["--cgroup-parent", "/foo"],
    &["--entrypoint", "/bin/busybox"],
    &["--network", "host"],
];

/// What a host says that has not all the capabilities to give.
pub(crate) const DENIED: &str = "unable to apply caps: operation not permitted";
