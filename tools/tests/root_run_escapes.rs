//! Nothing gets out of a container of the built-in runtime, whether root runs it or somebody else: the known ways out of runc, crun
//! and their kin, 2019 to 2026, each tried again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod escapesupport;

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use escapesupport::hosts;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use testkit::program;
use testkit::run::{Input, run};

/// CVE-2024-21626: a descriptor that the caller has left open, by its number or by that of the runtime's parent, is no way to the
/// host's directories, for the first process and for those of `--workdir`.
#[test]
fn c01_no_descriptor_of_the_host_is_left() {
    for host in hosts() {
        for number in 0..16 {
            let directory = format!("/proc/self/fd/{number}");
            let mut command = Command::new("sh");
            command.args(["-c", "cd / && exec 5</ 9</etc; exec \"$@\"", "sh"]);
            let inner = host.command(&["-w", &directory, "--", "/bin/sh", "-c", "pwd; ls ../../../../etc/shadow"]);
            command.arg(inner.get_program()).args(inner.get_args());
            let ran = run(command, Input::Nothing);
            assert!(!ran.stdout.contains("shadow"), "{number} as {}: {}", host.who(), ran.stdout);
            assert_ne!(ran.code, Some(0), "{number} as {}: {}", host.who(), ran.stdout);
        }
        let ran = host.run(&["--", "ls", "/proc/self/fd"]);
        assert_eq!(ran.stdout, "0\n1\n2\n3\n", "and the directory that ls reads: {}", ran.stderr);
        host.is_untouched("left descriptors");
    }
}

/// CVE-2025-31133, CVE-2025-52565: what stands where the null device and the console are looked for is the attacker's.
#[test]
fn c02_false_devices_do_not_unmask_and_are_not_mounted_on() {
    for host in hosts() {
        let masked = "wc -c < /proc/keys; ls /sys/firmware 2>/dev/null | wc -l";
        for (kind, target) in [("link", "victim/null"), ("file", ""), ("directory", "")] {
            let dev = host.at(&format!("dev-{kind}"));
            std::fs::create_dir(&dev).unwrap();
            for name in ["null", "console", "ptmx", "zero"] {
                match kind {
                    "link" => symlink(host.at(target), dev.join(name)).unwrap(),
                    "file" => std::fs::write(dev.join(name), "false").unwrap(),
                    _ => std::fs::create_dir(dev.join(name)).unwrap(),
                }
            }
            host.give();
            let volume = format!("{}:/dev", dev.display());
            for flags in [&["-v", &volume][..], &["-v", &volume, "-t"]] {
                let ran = host.shell(flags, masked);
                // Either it is refused, or everything is hidden.
                let shown = ran.stdout.replace('\r', "");
                assert!(ran.code != Some(0) || shown == "0\n0\n", "{kind} {flags:?}: {shown} {}", ran.stderr);
                host.is_untouched(kind);
            }
        }
        // The image's own are covered by a file system of ours.
        for (name, target) in [("dev/null", "victim/null"), ("dev/console", "victim/console"), ("dev/pts", "victim")] {
            let own = host.at("root").join(name);
            std::fs::create_dir_all(own.parent().unwrap()).unwrap();
            let _ = std::fs::remove_file(&own);
            let _ = std::fs::remove_dir_all(&own);
            symlink(host.at(target), &own).unwrap();
            let ran = host.shell(&["-t"], masked);
            assert_eq!(ran.stdout.replace('\r', ""), "0\n0\n", "{name}: {}", ran.stderr);
            host.is_untouched(name);
        }
    }
}

/// CVE-2025-52881, CVE-2019-16884, CVE-2019-19921, CVE-2023-27561: the process file system is the kernel's, whatever is mounted there.
#[test]
fn c02_a_false_proc_is_refused_or_covered() {
    for host in hosts() {
        let fake = host.at("fake");
        for dir in ["self/attr", "sys/kernel", "1"] {
            std::fs::create_dir_all(fake.join(dir)).unwrap();
        }
        std::fs::write(fake.join("self/attr/exec"), "").unwrap();
        symlink(host.at("victim/file"), fake.join("sys/kernel/core_pattern")).unwrap();
        symlink(host.at("victim/file"), fake.join("sysrq-trigger")).unwrap();
        host.give();
        for place in ["/proc", "/proc/sys", "/proc/sys/kernel", "/proc/self", "/proc/1/attr", "/sys/fs"] {
            let volume = format!("{}:{place}", fake.display());
            let ran = host.shell(&["-v", &volume], "(echo changed > /proc/sys/kernel/core_pattern) 2>/dev/null; true");
            let _ = ran;
            host.is_untouched(place);
        }
        // As a link in the image.
        for (name, target) in [("proc", "fake"), ("sys", "victim")] {
            let own = host.at("root").join(name);
            let _ = std::fs::remove_dir_all(&own);
            symlink(host.at(target), &own).unwrap();
            let ran = host.shell(&[], "(echo changed > /proc/sys/kernel/core_pattern) 2>/dev/null; true");
            let _ = ran;
            host.is_untouched(name);
            std::fs::remove_file(&own).unwrap();
        }
    }
}

/// CVE-2026-41579: `/dev` of the image is a link to the host.
#[test]
fn c03_a_link_at_dev_makes_nothing_on_the_host() {
    for host in hosts() {
        let own = host.at("root/dev");
        let _ = std::fs::remove_dir_all(&own);
        for target in [host.path("victim"), "/victim".into(), format!("../../../../../..{}", host.path("victim"))] {
            symlink(&target, &own).unwrap();
            for flags in [&["-t"][..], &[]] {
                let _ = host.shell(flags, "echo own > /dev/file; ln -s x /dev/ptmx; true");
                host.is_untouched(&target);
            }
            std::fs::remove_file(&own).unwrap();
        }
    }
}

/// CVE-2021-30465, CVE-2024-45310: while mounts are made below a directory that two containers share, a directory there becomes a link
/// to the host, and back.
#[test]
fn c04_a_race_at_mount_points_leads_nowhere() {
    let rounds = if testkit::full_sweep() { 200 } else { 8 };
    for host in hosts() {
        std::fs::create_dir_all(host.at("shared/x/y")).unwrap();
        // From inside, the way to the victim leads through the host's root, if there is one.
        symlink(host.at("victim"), host.at("shared/link")).unwrap();
        host.give();
        let stop = AtomicBool::new(false);
        let (shared, inner) = (format!("{}:/m", host.path("shared")), format!("{}:/m/x/y/z", host.path("root/etc")));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (one, two) = (host.at("shared/x"), host.at("shared/link"));
                    renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
                }
            });
            for _ in 0..rounds {
                let _ = host.shell(&["-v", &shared, "-v", &inner], "echo x > /m/x/y/z/own; true");
            }
            stop.store(true, Ordering::Relaxed);
        });
        host.is_untouched("a race");
    }
}

/// A source that becomes a link while the container is made: the mount shows one or the other, and nobody writes where it is not meant.
#[test]
fn c04_a_source_that_changes_shows_what_it_was() {
    for host in hosts() {
        std::fs::create_dir(host.at("shared/source")).unwrap();
        symlink(host.at("victim"), host.at("shared/other")).unwrap();
        host.give();
        let source = format!("{}:/m:ro", host.path("shared/source"));
        let ran = host.shell(&["-v", &source], "(echo x > /m/file) 2>/dev/null && echo wrote; ls /m | wc -l");
        assert_eq!(ran.stdout, "0\n", "{}", ran.stderr);
        let (one, two) = (host.at("shared/source"), host.at("shared/other"));
        renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
        let ran = host.shell(&["-v", &source], "(echo x > /m/file) 2>/dev/null && echo wrote; true");
        assert_eq!(ran.stdout, "", "{}", ran.stderr);
        host.is_untouched("a changed source");
    }
}

/// CVE-2022-23648, CVE-2024-1753 and their kin: working directories and mounts whose way in the image is a link to the host.
#[test]
fn c05_directories_behind_links_of_the_image_stay_inside() {
    for host in hosts() {
        let victim = host.path("victim");
        let up = format!("{}{victim}", "../".repeat(20));
        std::fs::create_dir(host.at("root/inside")).unwrap();
        for target in [victim.as_str(), &up, "../../../../inside"] {
            symlink(target, host.at("root/away")).unwrap();
            host.give();
            let source = host.path("shared");
            let (mut ran, mut last) = (0, String::new());
            for flags in [
                &["-w", "/away/made"][..],
                &["-w", "/away"],
                &["-v", &format!("{source}:/away/made")],
                &["-v", &format!("{source}:/away")],
                &["-v", &format!("{source}/new:/away/file")],
                &["--tmpfs", "/away/made"],
                &["--tmpfs", "/away"],
            ] {
                let one =
                    host.shell(flags, "echo x > own; echo x > /away/own; cat /away/file /away/made/file; echo done");
                ran += u32::from(one.stdout.ends_with("done\n"));
                assert!(!one.stdout.contains("precious"), "{flags:?} as {}: {}", host.who(), one.stdout);
                host.is_untouched(&format!("{flags:?}"));
                last = one.stderr;
            }
            // What is in the image runs.
            assert!(ran > 0 || !target.ends_with("inside"), "no container has run as {}: {last}", host.who());
            std::fs::remove_file(host.at("root/away")).unwrap();
        }
    }
}

/// A caller in a chroot: the root that is exchanged for the container's is that of the mount name space, and not the caller's. Otherwise
/// who enters the name space, as `exec` does, is on the host, and who leaves a chroot of its own goes up to the host.
#[test]
fn a_chroot_of_the_caller_leads_nowhere() {
    for host in hosts().into_iter().filter(|host| host.user.is_none()) {
        let outside = host.at("chroot");
        std::fs::create_dir(&outside).unwrap();
        // On the host the pattern means a file; in the container it means nothing.
        let pattern = format!("{}/fil*", host.path("victim"));
        let script = format!("nsenter --mount=/proc/self/ns/mnt /bin/sh -c 'echo {pattern}'; echo ran");
        let flags = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
        let inner = host.command(&[&flags[..], &["--", "/bin/sh", "-c", &script]].concat());
        let mut command = Command::new("unshare");
        let enter = "mount --rbind / \"$0\" && exec chroot \"$0\" \"$@\"";
        command.args(["--mount", "sh", "-c", enter]).arg(&outside).arg(inner.get_program()).args(inner.get_args());
        let ran = run(command, Input::Nothing);
        assert_eq!(ran.stdout, format!("{pattern}\nran\n"), "{}", ran.stderr);
        host.is_untouched("a chroot");
    }
}

/// CVE-2019-5736: the program behind `/proc/<pid>/exe` cannot be changed from inside. CVE-2022-0492: no cgroup is mounted, and no agent
/// set. CVE-2022-29162: nothing is inheritable. The filter of system calls is on, and new user name spaces are not to be had.
#[test]
fn what_a_container_may_not_do() {
    for host in hosts() {
        let script = r#"
            for n in 1 2 3 4 5 6 7 8; do
              (exec 3>>/proc/self/exe) 2>/dev/null && [ "$(readlink /proc/self/exe)" != /bin/busybox ] && echo "opened itself"
              for exe in /proc/[0-9]*/exe; do
                case $(readlink $exe) in *layer-run*) (: >>$exe) 2>/dev/null && echo "opened $exe";; esac
              done
            done
            mkdir -p /tmp/cg; mount -t cgroup -o memory x /tmp/cg 2>/dev/null && echo mounted
            mount -t proc x /tmp/cg 2>/dev/null && echo mounted
            for f in /sys/fs/cgroup/*/release_agent /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/panic_on_oom; do
              (echo x >$f) 2>/dev/null && echo "wrote $f"
            done
            unshare -U true 2>/dev/null && echo "made a user name space"
            unshare -m true 2>/dev/null && echo "made a mount name space"
            mknod /tmp/zero c 1 5 2>/dev/null && (head -c1 /tmp/zero >/dev/null) 2>/dev/null && echo "read a device"
            dmesg >/dev/null 2>&1 && echo "read the log"
            nsenter -t 1 -m true 2>/dev/null && echo "joined"
            chroot / true 2>/dev/null
            ls -d /proc/1/root/victim /proc/1/cwd/victim 2>/dev/null
            grep -E '^(Seccomp|CapInh|CapAmb):' /proc/self/status
            [ "$(cat /proc/sys/kernel/hostname)" = "$(hostname)" ] || echo "the name differs"
            ls /sys/class/net
        "#;
        let ran = host.shell(&[], script);
        let expected = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\nSeccomp:\t2\nlo\n";
        assert_eq!(ran.stdout, expected, "as {}: {}", host.who(), ran.stderr);
        let ran = host.shell(&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status");
        assert_eq!(ran.stdout, "NoNewPrivs:\t1\n", "{}", ran.stderr);
        host.is_untouched("all that");
    }
}

/// A command that is a script whose interpreter is the runtime itself (CVE-2019-5736) does not run the runtime.
#[test]
fn the_runtime_is_no_interpreter() {
    for host in hosts() {
        let script = host.at("root/script");
        std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        host.give();
        let program = match &host.user {
            Some(_) => None,
            None => Some(std::fs::read(program("layer-run")).unwrap()),
        };
        for command in ["/script", "/proc/self/exe", "/proc/1/exe"] {
            let ran = host.run(&["--", command, "--help"]);
            let _ = ran;
            host.is_untouched(command);
        }
        if let Some(before) = program {
            assert!(std::fs::read(testkit::program("layer-run")).unwrap() == before, "the program has changed");
        }
    }
}

/// CVE-2019-14271 and its kin: nothing of the container is loaded into a process of ours: there are no shared libraries to look up after
/// the root has changed. The files for names are read by us, inside of the root.
#[test]
fn accounts_are_read_inside() {
    for host in hosts() {
        let etc = host.at("root/etc");
        let _ = std::fs::remove_file(etc.join("passwd"));
        std::fs::write(host.at("victim-passwd"), "secret:x:4242:4242::/:/bin/sh\n").unwrap();
        symlink(host.at("victim-passwd"), etc.join("passwd")).unwrap();
        host.give();
        let ran = host.run(&["-u", "secret", "--", "/bin/true"]);
        assert_eq!(ran.code, Some(125), "{}", ran.stdout);
        assert!(ran.stderr.contains("unable to find user secret"), "{}", ran.stderr);
        // A named pipe or an endless device at its place does not hold us up.
        std::fs::remove_file(etc.join("passwd")).unwrap();
        testkit::succeeded("mkfifo", Command::new("mkfifo").arg(etc.join("passwd")).output().unwrap());
        host.give();
        let ran = host.run(&["-u", "5", "--", "/bin/true"]);
        assert!(ran.code.is_some(), "{}", ran.stderr);
        host.is_untouched("false accounts");
    }
}
