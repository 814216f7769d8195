//! `layer-run`: what a command sees, how it ends, and that nothing of it stays or gets out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::run::{Input, Ran, run, until};
use testkit::{golden, is_root, program, scratch};

fn layer_run(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("layer-run"));
    command.args(arguments);
    command
}

fn archive() -> PathBuf {
    golden("busybox-20.10.tar")
}

/// Names, kinds, links and contents of everything below a directory.
fn walk(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = match () {
                () if metadata.is_symlink() => format!("{:?}", std::fs::read_link(&path).unwrap()),
                () if metadata.is_file() => format!("{} bytes, {:?}", metadata.len(), metadata.modified().unwrap()),
                () => String::new(),
            };
            if metadata.is_dir() {
                left.push(path.clone());
            }
            found.push((path, content));
        }
    }
    found.sort();
    found
}

/// A shell's lines in the golden busybox, with flags before.
fn shell(flags: &[&str], script: &str) -> Ran {
    let archive = archive();
    let mut arguments = vec![archive.to_str().unwrap()];
    arguments.extend(flags);
    arguments.extend(["--", "sh", "-c", script]);
    run(layer_run(&arguments), Input::Nothing)
}

/// The statuses and texts are those of docker 20.10 (containers.md, section 8).
#[test]
fn a_command_ends_as_with_docker() {
    if !is_root() {
        return;
    }
    let archive = archive();
    let archive = archive.to_str().unwrap();
    for (command, code, said) in [
        (&["true"][..], 0, ""),
        (&["sh", "-c", "exit 7"], 7, ""),
        (&["sh", "-c", "kill -TERM $$; kill -KILL $$; exit 3"], 3, ""),
        (&["nosuch"], 127, "exec: \"nosuch\": executable file not found in $PATH"),
        (&["/nosuch"], 127, "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        (&["/etc"], 126, "exec: \"/etc\": permission denied"),
    ] {
        let ran = run(layer_run(&[&[archive, "--"], command].concat()), Input::Nothing);
        assert_eq!(ran.code, Some(code), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{command:?}: {}", ran.stderr);
    }
    let ran = run(layer_run(&[archive, "-u", "nosuch", "--", "true"]), Input::Nothing);
    assert_eq!(ran.code, Some(125));
    assert!(ran.stderr.contains("unable to find user nosuch: no matching entries in passwd file"), "{}", ran.stderr);
}

#[test]
fn flags_do_what_they_say() {
    if !is_root() {
        return;
    }
    let dir = scratch();
    std::fs::write(dir.path().join("file"), "from the host\n").unwrap();
    let volume = format!("{}:/m:ro", dir.path().display());
    for (flags, script, printed) in [
        (&["-e", "A=b c"][..], "echo $A $LAYERFS", "b c busybox\n"),
        (&["-w", "/new/dir"], "pwd", "/new/dir\n"),
        (&["-u", "5:6"], "id -u; id -g; grep CapEff /proc/self/status", "5\n6\nCapEff:\t0000000000000000\n"),
        (&["--hostname", "foo"], "hostname", "foo\n"),
        (&["-v", &volume], "cat /m/file; touch /m/x 2>/dev/null || echo refused", "from the host\nrefused\n"),
        (&["--read-only"], "touch /x 2>/dev/null || echo refused", "refused\n"),
        (&["--cap-drop", "ALL"], "grep CapBnd /proc/self/status", "CapBnd:\t0000000000000000\n"),
        (
            &[],
            "grep -E 'CapEff|CapInh|Seccomp:|NoNew' /proc/self/status",
            "CapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n",
        ),
        (
            &["--security-opt", "no-new-privileges"],
            "grep -E 'Seccomp:|NoNew' /proc/self/status",
            "NoNewPrivs:\t1\nSeccomp:\t2\n",
        ),
        (&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        (&["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn", "100\n200\n"),
        (&["--pids-limit", "50"], "cat /sys/fs/cgroup/pids/pids.max", "50\n"),
        (&[], "cat /sys/class/net/lo/flags; ls /sys/class/net", "0x9\nlo\n"),
        // By the shell alone: of two programs in a pipe, the first may be done before the second one is there.
        (&[], "echo $$; set -- /proc/[0-9]*; echo $#", "1\n1\n"),
        (&["-t"], "tty; ls -l /dev/console | cut -c1", "/dev/pts/0\r\nc\r\n"),
    ] {
        let ran = shell(flags, script);
        assert_eq!(ran.stdout, printed, "{flags:?} {script}: {}", ran.stderr);
    }
    let ran =
        run(layer_run(&[archive().to_str().unwrap(), "-i", "--", "cat"]), Input::Pipe(b"through the container\n"));
    assert_eq!(ran.ok().stdout, "through the container\n");
}

/// The image of an archive has its settings, however the archive comes.
#[test]
fn compressed_archives_and_pipes_are_run() {
    if !is_root() {
        return;
    }
    let dir = scratch();
    let compressed = dir.path().join("app.tar.gz");
    let plain = std::fs::read(archive()).unwrap();
    let gzip = Command::new("gzip").args(["-1", "-c"]).arg(archive()).output().unwrap();
    std::fs::write(&compressed, gzip.stdout).unwrap();
    let script = ["--", "sh", "-c", "echo $LAYERFS; exit 4"];
    for (name, input) in [
        (archive().to_str().unwrap(), Input::Nothing),
        (compressed.to_str().unwrap(), Input::Nothing),
        ("-", Input::Pipe(&plain)),
        ("-", Input::Pipe(&std::fs::read(&compressed).unwrap())),
    ] {
        let ran = run(layer_run(&[&[name], &script[..]].concat()), input);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), "busybox\n"), "{name}: {}", ran.stderr);
    }
    let junk = run(layer_run(&["-", "--", "true"]), Input::Pipe(b"junk"));
    assert_eq!(junk.code, Some(125));
    assert!(junk.stderr.contains("standard input"), "{}", junk.stderr);
}

/// A root directory is the source, and what is written is kept, or gone.
#[test]
fn what_is_written_is_kept_if_asked_and_the_source_is_as_before() {
    if !is_root() {
        return;
    }
    let dir = scratch();
    let (root, kept) = (dir.path().join("rootfs"), dir.path().join("kept"));
    testkit::succeeded(
        "layer-unpack",
        Command::new(program("layer-unpack")).arg(archive()).arg("--rootfs").arg(&root).arg("-q").output().unwrap(),
    );
    let before = walk(&root);
    let source = root.to_str().unwrap();
    run(layer_run(&[source, "--", "/bin/sh", "-c", "echo x > /new; rm /bin/busybox"]), Input::Nothing).ok();
    assert_eq!(walk(&root), before);
    let keep = kept.to_str().unwrap();
    run(layer_run(&[source, "--keep", keep, "--", "/bin/sh", "-c", "echo x > /new"]), Input::Nothing).ok();
    assert_eq!(std::fs::read_to_string(kept.join("diff/new")).unwrap(), "x\n");
    assert_eq!(walk(&root), before);
    let again = run(layer_run(&[source, "--keep", keep, "--", "/bin/true"]), Input::Nothing);
    assert_eq!(again.code, Some(125), "{}", again.stderr);
}

/// Mounts that name us, and control groups of those of us that have ended.
fn traces() -> Vec<String> {
    let mut found = Vec::new();
    // Others may have mounts whose names are no text.
    let mounts = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
    found.extend(mounts.lines().filter(|line| line.contains("layer-run")).map(str::to_owned));
    for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let groups = std::fs::read_dir(controller.path().join("layer-run")).into_iter().flatten().flatten();
        let left = groups.filter(|group| group.path().is_dir() && !Path::new("/proc").join(group.file_name()).exists());
        found.extend(left.map(|group| group.path().display().to_string()));
    }
    found
}

fn marked(mark: &str) -> Vec<String> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    })
    .collect()
}

/// Many in a row and at once; LAYERFS_SWEEP=full: 1,000 and 50.
#[test]
fn many_leave_nothing() {
    if !is_root() {
        return;
    }
    let (row, at_once) = if testkit::full_sweep() { (1000, 50) } else { (10, 8) };
    for _ in 0..row {
        shell(&["--pids-limit", "20"], "echo x > /x").ok();
    }
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| shell(&["--pids-limit", "20"], "sleep 0.1").ok());
        }
    });
    assert_eq!(traces(), Vec::<String>::new());
}

/// However it ends, the command ends with it, also one that has become another user or has gained privileges, of which the
/// kernel does not take care. No mount stays, and no control group.
#[test]
fn a_kill_takes_the_command_with_it() {
    if !is_root() {
        return;
    }
    for round in 0..8u64 {
        let mark = format!("86{}{round}", std::process::id());
        let become_another = format!("echo x:x:5:6::/:/bin/sh >> /etc/passwd; exec su -c 'exec sleep {mark}' x");
        let given = if round % 2 == 0 { format!("exec sleep {mark}") } else { become_another };
        let archive = archive();
        let words = [archive.to_str().unwrap(), "--pids-limit", "20", "--", "sh", "-c", &given];
        let mut child =
            layer_run(&words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round < 4 {
            std::thread::sleep(Duration::from_millis(80 * round));
        } else {
            // Until the command is there.
            let is_there = || marked(&mark).iter().any(|pid| name_of(pid) == "sleep");
            assert!(until(is_there), "round {round}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        until(|| marked(&mark).is_empty() && traces().is_empty());
        assert_eq!(marked(&mark), Vec::<String>::new(), "round {round}");
        assert_eq!(traces(), Vec::<String>::new(), "round {round}");
    }
}

fn name_of(pid: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Threats, section 10.
#[test]
fn nothing_gets_out() {
    if !is_root() {
        return;
    }
    // C01, CVE-2024-21626: a descriptor of the host's is no working directory, whatever the caller has left open.
    for number in 3..12 {
        let script = "exec 9</; exec \"$@\"".to_owned();
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(program("layer-run")).arg(archive());
        command.args(["-w", &format!("/proc/self/fd/{number}"), "--", "pwd"]);
        let ran = run(command, Input::Nothing);
        assert_ne!(ran.code, Some(0), "{number}: {}", ran.stdout);
    }
    let leaked = {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 7</ 8</etc/passwd; exec \"$@\"", "sh"]).arg(program("layer-run")).arg(archive());
        command.args(["--", "sh", "-c", "ls /proc/self/fd | wc -l"]);
        run(command, Input::Nothing).ok().stdout
    };
    assert_eq!(leaked.trim(), "4", "0, 1, 2 and the directory that ls reads");
    // C02: what is hidden is hidden, and the kernel's settings cannot be written to.
    let ran = shell(
        &[],
        "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern; do (echo x > $f) 2>/dev/null && echo wrote $f; done
         wc -c < /proc/keys; ls /sys/firmware | wc -l; (mkdir /sys/x) 2>/dev/null && echo made; echo end",
    );
    assert_eq!(ran.ok().stdout, "0\n0\nend\n");
    // The node of a device, which root may make, leads nowhere, wherever it is made: here the one of zeros, as no disk is safe to try.
    let ran = shell(
        &[],
        "for d in / /dev /tmp /dev/shm; do mknod $d/node c 1 5 && (head -c1 $d/node >/dev/null) 2>/dev/null && echo read $d; done
         mount -t tmpfs x /mnt 2>/dev/null && echo mounted; unshare -U true 2>/dev/null && echo unshared; echo end",
    );
    assert_eq!(ran.stdout, "end\n", "{}", ran.stderr);
}

/// C03, CVE-2026-41579 and C04: links in the image where something is mounted stay in the container.
#[test]
fn links_in_an_image_lead_nowhere() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::symlink;
    let dir = scratch();
    let victim = dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("ptmx"), "precious").unwrap();
    let before = walk(&victim);
    for (name, target) in [
        ("dev", victim.to_str().unwrap()),
        ("proc", victim.to_str().unwrap()),
        ("sys", "../../../../../../tmp"),
        ("etc", victim.to_str().unwrap()),
        ("m", victim.to_str().unwrap()),
    ] {
        let root = dir.path().join(format!("root-{name}"));
        testkit::succeeded(
            "layer-unpack",
            Command::new(program("layer-unpack")).arg(archive()).arg("--rootfs").arg(&root).arg("-q").output().unwrap(),
        );
        let link = root.join(name);
        if link.exists() {
            std::fs::rename(&link, root.join(format!("{name}.old"))).unwrap();
        }
        symlink(target, &link).unwrap();
        let volume = format!("{}:/m/x/y", dir.path().display());
        let source = root.to_str().unwrap();
        // Whether it runs or is refused, the host's directory is as before.
        let _ =
            run(layer_run(&[source, "-v", &volume, "--", "/bin/sh", "-c", "echo > /dev/own; true"]), Input::Nothing);
        assert_eq!(walk(&victim), before, "{name}");
        assert!(Path::new("/dev/null").exists());
    }
}

/// Where the kernel mounts no overlay for a user, here because the directory to be written to is on an overlay itself, fuse-overlayfs
/// shows the layers. It ends with the command, and where it is not installed, the error names it.
#[test]
fn without_root_fuse_overlayfs_does_what_the_kernel_does_not() {
    let programs =
        ["/usr/bin/fuse-overlayfs", "/usr/bin/setpriv", "/dev/fuse"].iter().all(|path| Path::new(path).exists());
    let need = "fuse-overlayfs, uidmap, passwd, util-linux and /dev/fuse";
    if !is_root() || !testkit::tier("root", programs && testkit::user::available(), need) {
        return;
    }
    let user = testkit::user::User::new(true).with_tool("layer-run");
    std::fs::copy(archive(), user.at("archive.tar")).unwrap();
    ["lower", "upper", "work", "merged", "dev", "few"]
        .iter()
        .for_each(|name| std::fs::create_dir(user.at(name)).unwrap());
    for name in ["setpriv", "newuidmap", "newgidmap"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), user.at("few").join(name)).unwrap();
    }
    // The device is root's alone on some machines, and nobody's on a file system of devices that are none.
    let script = "base=$1 uid=$2; shift 2
        mount -t overlay o -o lowerdir=$base/lower,upperdir=$base/upper,workdir=$base/work $base/merged && chown $uid $base/merged
        mount -t tmpfs t $base/dev && mknod -m 666 $base/dev/fuse c 10 229 && mount --bind $base/dev/fuse /dev/fuse
        exec \"$@\"";
    let command = |path: &str, words: &[&str]| {
        let inner = user.tool("layer-run", words);
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).arg(user.home()).arg(user.uid.to_string());
        command.args(["env", &format!("PATH={path}")]).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(user.home());
        command
    };
    let keep = user.at("merged/kept");
    let (archive, keep) = (user.at("archive.tar"), keep.to_str().unwrap());
    let words = [archive.to_str().unwrap(), "--keep", keep, "--", "sh", "-c"];
    let usual = "/usr/bin:/bin:/usr/sbin:/sbin";
    let kept =
        "echo new >/new; rm /etc/group; ls /etc/group /new 2>&1; id -u; grep ' / ' /proc/mounts | cut -d ' ' -f 3";
    let ran = run(command(usual, &[&words[..], &[kept]].concat()), Input::Nothing);
    assert_eq!(
        ran.stdout, "ls: /etc/group: No such file or directory\n/new\n0\nfuse.fuse-overlayfs\n",
        "{}",
        ran.stderr
    );
    // What overlayfs makes in a user name space is in the upper directory of the overlay below.
    assert_eq!(std::fs::read_to_string(user.at("upper/kept/diff/new")).unwrap(), "new\n");
    let gone = || {
        until(|| user.processes().is_empty());
        assert_eq!(user.processes(), Vec::<String>::new());
    };
    gone();
    let few = user.at("few");
    let again = words.map(|word| if word == keep { "merged/again" } else { word });
    let ran = run(command(few.to_str().unwrap(), &[&again[..], &["true"]].concat()), Input::Nothing);
    assert!(ran.code == Some(125) && ran.stderr.contains("package fuse-overlayfs"), "{:?}: {}", ran.code, ran.stderr);
    // Killed, it leaves nothing either.
    let third = words.map(|word| if word == keep { "merged/third" } else { word });
    let mut child = command(usual, &[&third[..], &["echo there; sleep 1000"]].concat());
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    gone();
}
