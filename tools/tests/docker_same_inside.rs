//! What a container sees, and what the commands say of it, is the same with the built-in runtime as with runc.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use testkit::run::{Input, Ran, layerfs, run};

const IMAGE: &str = "layerfs-test/busybox:1";
const RUNTIMES: [&str; 2] = ["builtin", "runc"];

/// Tells what there is. The device numbers and ids of mounts are drawn, and so are the directories of the overlay.
/// Two known differences are left out: runc opens `/dev/null` again, to be read and written, where it is the standard input, and leaves
/// signals ignored that its caller ignores.
const PROBE: &str = r#"
env; id; pwd; hostname; umask
grep -E '^(Cap|Seccomp|NoNewPrivs|Uid|Gid|Groups|SigBlk)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup /proc/self/uid_map /proc/self/setgroups
cut -d ' ' -f 4- /proc/self/mountinfo | sed -e 's/ \(master\|shared\):[0-9]*//g' -e 's/lowerdir.*//'
ls -l /dev /dev/pts /proc/self/fd/ | sed -e 's/ [A-Z][a-z][a-z] .*:[0-9][0-9] / /' -e 's/\[[0-9]*\]//' -e 's,/proc/[0-9]*/fd,FD,' -e 's/^l[rwx-]* .* 0 -> /0 -> /'
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
ls /sys/class/net; cat /proc/1/cmdline | tr '\0' ' '; set -- /proc/[0-9]*; echo $#
"#;

fn ours(root: &Path, arguments: &[&str]) -> Ran {
    let mut all = vec!["--root", root.to_str().unwrap()];
    all.extend(arguments);
    run(layerfs(&all), Input::Nothing)
}

fn root(dir: &tempfile::TempDir) -> std::path::PathBuf {
    let root = testkit::empty_root(dir, "root");
    let archive = testkit::golden("busybox-20.10.tar");
    ours(&root, &["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    root
}

/// The sorted lines of the probe, and the exit status, with some flags.
fn probe(root: &Path, runtime: &str, flags: &[&str]) -> (Option<i32>, Vec<String>) {
    let id = ours(root, &[&["create"], flags, &[IMAGE, "sh", "-c", PROBE]].concat()).ok().stdout.trim().to_owned();
    let ran = ours(root, &["start", "-a", "--runtime", runtime, &id]);
    ours(root, &["rm", "-v", &id]).ok();
    let text = format!("{}\n{}", ran.stdout, ran.stderr).replace(&id, "ID").replace(&id[..12], "SHORT");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    (ran.code, lines)
}

#[test]
fn a_container_sees_what_it_sees_with_runc() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir);
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let (bind, bind_read_only) = (format!("{}:/v", shared.display()), format!("{}:/v:ro", shared.display()));
    let mut differences = Vec::new();
    for flags in [
        &[][..],
        &["-t"],
        &["-e", "A=b c", "-e", "PATH=/bin"],
        &["-w", "/new/dir"],
        &["-u", "5:6", "--group-add", "7"],
        &["-h", "box", "--domainname", "dom.example"],
        &["--read-only"],
        &["--cap-drop", "ALL", "--cap-add", "CHOWN"],
        &["--cap-add", "SYS_ADMIN", "--security-opt", "no-new-privileges"],
        &["--tmpfs", "/t", "--tmpfs", "/v:size=1m,exec"],
        &["-v", &bind],
        &["-v", &bind_read_only],
        &["-v", "named:/v"],
        &["--ulimit", "nofile=100:200", "--ulimit", "core=0"],
        &["--init"],
        &["--shm-size", "1m", "--oom-score-adj", "100"],
        &["--security-opt", "seccomp=unconfined"],
        &["--ipc", "host", "--uts", "host"],
    ] {
        let [(code, lines), (expected_code, expected)] = RUNTIMES.map(|runtime| probe(&root, runtime, flags));
        assert!(expected.len() > 60, "the probe tells nothing with {flags:?}: {expected:?}");
        let only = |some: &[String], others: &[String]| -> Vec<String> {
            some.iter().filter(|line| !others.contains(line)).cloned().collect()
        };
        if (code, &lines) != (expected_code, &expected) {
            let (here, there) = (only(&lines, &expected), only(&expected, &lines));
            differences.push(format!("{flags:?}: {code:?} {here:#?}\n  runc: {expected_code:?} {there:#?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What the commands print and how they end, in the order in which somebody uses them.
fn verbs(root: &Path, runtime: &str) -> Vec<String> {
    let script = "trap 'echo term; exit 5' TERM; echo begun; echo err >&2; while :; do sleep 0.05; done";
    let mut said = Vec::new();
    let mut id = String::new();
    for words in [
        &["run", "--runtime", runtime, "--rm", IMAGE, "true"][..],
        &["run", "--runtime", runtime, "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3"],
        &["run", "--runtime", runtime, "--rm", "-t", IMAGE, "sh", "-c", "tty; exit 7"],
        &["run", "--runtime", runtime, "--rm", "-u", "nosuch", IMAGE, "true"],
        &["run", "--runtime", runtime, "--rm", IMAGE, "/etc"],
        &["run", "--runtime", runtime, "--rm", IMAGE, "nosuch"],
        &["ps", "-a", "-q"],
        &["run", "--runtime", runtime, "-d", "--name", "one", IMAGE, "sh", "-c", script],
        &["exec", "one", "sh", "-c", "until kill -0 1; do :; done; echo $$ | wc -l; exit 7"],
        &[
            "exec",
            "-w",
            "/tmp",
            "-e",
            "A=b",
            "one",
            "sh",
            "-c",
            "pwd; env; id; grep -E 'Cap|Seccomp|NoNew' /proc/self/status",
        ],
        &["exec", "one", "cat", "/proc/self/cgroup", "/proc/1/cgroup"],
        &["exec", "-t", "one", "tty"],
        &["exec", "one", "/etc"],
        &["exec", "one", "nosuch"],
        &["rm", "one"],
        &["stop", "one"],
        &["ps", "-a", "--format", "{{.Names}} {{.State}}"],
        &["exec", "one", "true"],
        &["logs", "one"],
        &["wait", "one"],
        &["start", "--runtime", runtime, "one"],
        &["kill", "one"],
        &["wait", "one"],
        &["start", "--runtime", runtime, "one"],
        &["rm", "-f", "one"],
        &["ps", "-a", "-q"],
    ] {
        let ran = ours(root, words);
        if words.contains(&"-d") {
            id = ran.stdout.trim().to_owned();
            // Before its trap is set, a shell of number 1 hears no signal.
            let begun = (0..1000).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                ours(root, &["logs", "one"]).stdout == "begun\n"
            });
            assert!(begun, "{}", ran.stderr);
        }
        // runc's own words stand before those that are docker's.
        let own = ["runc create failed: ", "unable to start container process: ", "exec failed: "];
        let mut errors: Vec<String> = ran
            .stderr
            .lines()
            .map(|line| own.iter().fold(line.to_owned(), |line, own| line.replace(own, "")))
            .collect();
        // runc says it as well.
        errors.retain(|line| words[0] != "exec" || line.starts_with("layerfs: ") || !line.starts_with("exec: "));
        said.push(format!("{:?}: {:?} {:?} {errors:?}", &words[..1], ran.code, ran.stdout).replace(runtime, "RUNTIME"));
        if !id.is_empty() {
            said.iter_mut().for_each(|text| *text = text.replace(&id, "ID").replace(&id[..12], "SHORT"));
        }
    }
    said
}

#[test]
fn the_commands_say_what_they_say_with_runc() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir);
    let [said, expected] = RUNTIMES.map(|runtime| verbs(&root, runtime));
    assert_eq!(said, expected);
    let code = |verb: &str| -> Vec<String> {
        let of = expected.iter().filter(|text| text.starts_with(&format!("[{verb:?}]")));
        of.map(|text| text.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    let some = |codes: &[i32]| -> Vec<String> { codes.iter().map(|code| format!("Some({code})")).collect() };
    assert_eq!(code("run"), some(&[0, 3, 7, 125, 126, 127, 0]));
    assert_eq!(code("exec"), some(&[7, 0, 0, 0, 126, 127, 1]));
    assert!(expected.iter().any(|text| text.contains(r#""5\n""#)), "the trap has run: {expected:#?}");
}

/// `runc` stands in a directory where it is found without `PATH`, so that it is covered there.
#[test]
fn where_no_runtime_is_installed_our_own_is_taken() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir);
    let script = r#"
        program=$1 root=$2 image=$3
        for dir in /usr/local/sbin /usr/sbin /sbin; do
          for name in crun runc youki; do [ ! -e $dir/$name ] || mount --bind /dev/null $dir/$name; done
        done
        layerfs() { env PATH=/nowhere "$program" --root "$root" "$@"; }
        layerfs run --rm --runtime runc $image true; echo $?
        layerfs run --rm --runtime auto $image sh -c 'echo ran; exit 3'; echo $?
        id=$(layerfs run -d $image sleep 100)
        cat /run/layerfs/$id/runtime; echo
        layerfs exec $id echo inside; layerfs rm -f $id >/dev/null; echo $?
        layerfs create --name unstarted $image true >/dev/null
        id=$(layerfs container inspect -f '{{.Id}}' unstarted)
        layerfs start --runtime runc unstarted; echo $?
        [ ! -e /run/layerfs/$id ] && echo nothing stays
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(testkit::program("layerfs")).arg(&root).arg(IMAGE);
    let ran = run(command, Input::Nothing);
    assert_eq!(ran.stdout, "125\nran\n3\nbuiltin\ninside\n0\n1\nnothing stays\n", "{}", ran.stderr);
    assert!(ran.stderr.contains("no runtime \"runc\" is installed"), "{}", ran.stderr);
}
