//! Published ways out of runc, crun, youki and containerd, 2019 to 2026, tried on the built-in runtime: those that one container is enough
//! for are rows of the table here. Those that need a race, descriptors of the caller, or a store have tests of their own:
//!
//! | published | where |
//! |---|---|
//! | CVE-2024-21626 (runc), left descriptors | `root_run_escapes: c01_no_descriptor_of_the_host_is_left` |
//! | CVE-2025-31133, CVE-2025-52565 (runc), CVE-2025-62161 (youki), false devices | `root_run_escapes: c02_false_devices_do_not_unmask_and_are_not_mounted_on` |
//! | CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881 (runc), CVE-2025-54867, CVE-2025-62596 (youki), false `/proc` | `root_run_escapes: c02_a_false_proc_is_refused_or_covered` |
//! | CVE-2026-41579 (runc), a link at `/dev` | `root_run_escapes: c03_a_link_at_dev_makes_nothing_on_the_host` |
//! | CVE-2021-30465, CVE-2024-45310 (runc), races of mounts | `root_run_escapes: c04_a_race_at_mount_points_leads_nowhere` |
//! | CVE-2019-5736 (runc), the runtime's own file | `root_run_escapes: what_a_container_may_not_do`, `the_runtime_is_no_interpreter` |
//! | CVE-2022-0492 (Linux), `release_agent` | `root_run_escapes: what_a_container_may_not_do` |
//! | CVE-2019-14271 (docker), libraries of the container | `root_run_escapes: accounts_are_read_inside` |
//! | CVE-2018-15664, CVE-2021-41089, CVE-2026-41568, CVE-2026-42306 (docker), races of copies | `root_container_escapes: c06_c08_what_is_taken_out_of_a_container_is_its_own` |
//! | CVE-2022-23648 (containerd), CVE-2024-1753, CVE-2024-9407 (podman), volumes of an image | `root_container_escapes: c05_volumes_and_directories_of_an_image_stay_inside` |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod escapesupport;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use escapesupport::{Host, hosts};
use testkit::run::Ran;

/// A published way out.
struct Escape {
    /// Its numbers, and whose it was.
    published: &'static str,
    /// What is tried.
    tried: &'static str,
    /// What must happen; the host must be untouched in each case.
    must: &'static str,
    /// Tries it, and says what happened instead.
    attempt: fn(&Host) -> Result<(), String>,
}

/// Fails with what was said unless `holds`.
fn expect(holds: bool, ran: &Ran) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{:?} {:?} {:?}", ran.code, ran.stdout, ran.stderr)) }
}

/// Whether the command has run to its end and has printed this.
fn prints(ran: &Ran, text: &str) -> Result<(), String> {
    expect(ran.code == Some(0) && ran.stdout == text, ran)
}

fn write(host: &Host, name: &str, text: &str, mode: u32) {
    let path = host.at("root").join(name);
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    host.give();
}

const ESCAPES: &[Escape] = &[
    Escape {
        published: "CVE-2021-43784 (runc)",
        tried: "a variable of more than 64 KiB, in whose end the words of another message stand, so that a length that is kept in 16 bits \
                becomes a short one",
        must: "the command gets all of it, or is refused",
        attempt: |host| {
            for length in [65_530, 65_536, 70_000, 131_000] {
                let value = format!("{}\nB=evil", "x".repeat(length));
                let ran = host.shell(&["-e", &format!("A={value}")], "echo ${#A} $B");
                let whole = format!("{}\n", value.len());
                expect(ran.code == Some(125) || ran.stdout == whole, &ran)?;
                if length < 70_000 {
                    prints(&ran, &whole)?;
                }
            }
            Ok(())
        },
    },
    Escape {
        published: "CVE-2022-24769 (moby), CVE-2022-27650 (crun), CVE-2022-29162 (runc), CVE-2025-27612 (youki)",
        tried: "a program of the image with inheritable capabilities",
        must: "no process has inheritable or ambient ones, whatever was added",
        attempt: |host| {
            let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
            for flags in [&[][..], &["--cap-add", "NET_ADMIN"], &["-u", "5"], &["-u", "5", "--cap-add", "NET_ADMIN"]] {
                prints(&host.shell(flags, "grep -E '^Cap(Inh|Amb)' /proc/self/status"), none)?;
            }
            Ok(())
        },
    },
    Escape {
        published: "CVE-2023-25809 (runc)",
        tried: "to write into the host's control groups where there is no name space of them",
        must: "all of them can only be read",
        attempt: |host| {
            // The directory that the hierarchies are in is a file system in memory, the container's own.
            let script = "for dir in /sys/fs/cgroup/*; do \
                            [ -d $dir ] || continue; mkdir $dir/own 2>/dev/null && echo made $dir/own; \
                            (echo 0 > $dir/cgroup.procs) 2>/dev/null && echo joined $dir; done; \
                          stat -f -c %T /sys/fs/cgroup; true";
            let limit: &[&str] = if host.user.is_none() { &["--pids-limit", "20"] } else { &[] };
            for flags in [&[][..], &["--network", "host"], limit] {
                prints(&host.shell(flags, script), "tmpfs\n")?;
            }
            Ok(())
        },
    },
    Escape {
        published: "CVE-2020-15257 (containerd)",
        tried: "to reach the sockets without a path of whoever looks after the container, in the host's network",
        must: "there are none",
        attempt: |host| {
            let ran = host.shell(
                &["--network", "host"],
                "grep -a -c '@.*\\(layerfs\\|layer-run\\|containerd-shim/'$$'\\)' /proc/net/unix",
            );
            expect(ran.stdout == "0\n", &ran)
        },
    },
    Escape {
        published: "CVE-2024-40635, CVE-2026-46680 (containerd)",
        tried: "a number of a user that fits no number, and an account of that name with the rights of root",
        must: "it is refused, and no account is looked up",
        attempt: |host| {
            write(
                host,
                "etc/passwd",
                "4294967296:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n",
                0o644,
            );
            write(host, "etc/group", "4294967296:x:0:\n", 0o644);
            for user in ["4294967296", "2147483648", "99999999999999999999", "5:4294967296", "-1"] {
                let ran = host.run(&[&format!("--user={user}"), "--", "/bin/id"]);
                expect(ran.code == Some(125) && ran.stdout.is_empty(), &ran)?;
            }
            Ok(())
        },
    },
    Escape {
        published: "CVE-2016-3697 (runc), and the same in crun's exec",
        tried: "an account whose name is a number of another user",
        must: "the number is the user",
        attempt: |host| {
            write(host, "etc/passwd", "1:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n", 0o644);
            for user in ["1", "1000"] {
                prints(&host.run(&["-u", user, "--", "/bin/id", "-u"]), &format!("{user}\n"))?;
            }
            Ok(())
        },
    },
    Escape {
        published: "CVE-2026-47262 (containerd), CVE-2024-9676 (containers-storage)",
        tried: "accounts without end, and accounts that are an endless device",
        must: "neither memory nor patience is used up",
        attempt: |host| {
            let endless = host.at("root/etc/group");
            let _ = std::fs::remove_file(&endless);
            std::fs::File::create(&endless).unwrap().set_len(1 << 40).unwrap();
            let ran = host.run(&["-u", "5", "--", "/bin/id", "-u"]);
            std::fs::remove_file(&endless).unwrap();
            prints(&ran, "5\n")?;
            symlink("/dev/zero", &endless).unwrap();
            let ran = host.run(&["-u", "5", "--", "/bin/id", "-u"]);
            std::fs::remove_file(&endless).unwrap();
            prints(&ran, "5\n")
        },
    },
    Escape {
        published: "CVE-2019-18837 (crun)",
        tried: "links in the image where the runtime hides and mounts: hidden paths, /dev/shm, /dev/mqueue, /etc/hosts",
        must: "nothing of the host is hidden, shown or written",
        attempt: |host| {
            for (name, target) in [
                ("dev/shm", "victim"),
                ("dev/mqueue", "victim"),
                ("etc/hosts", "victim/file"),
                ("etc/resolv.conf", "victim/file"),
                ("etc/hostname", "victim/file"),
                ("sys/firmware", "victim"),
                ("run", "victim"),
            ] {
                let own = host.at("root").join(name);
                std::fs::create_dir_all(own.parent().unwrap()).unwrap();
                let kept = own.with_extension("kept");
                let _ = std::fs::rename(&own, &kept);
                symlink(host.at(target), &own).unwrap();
                host.give();
                let ran = host.shell(
                    &[],
                    &format!("cat /{name}/file /{name}; (echo x > /{name}) ; (echo x > /{name}/file); echo ran"),
                );
                let has_run = ran.code == Some(0) && ran.stdout.ends_with("ran\n");
                expect(has_run && !ran.stdout.contains("precious"), &ran)?;
                host.is_untouched(name);
                std::fs::remove_file(&own).unwrap();
                let _ = std::fs::rename(&kept, &own);
            }
            Ok(())
        },
    },
    Escape {
        published: "CVE-2025-24965 (crun)",
        tried: "settings of a runtime in the image that are a link to the host",
        must: "nobody reads or writes them",
        attempt: |host| {
            const SETTINGS: [&str; 3] = [".krun_config.json", "krun-sev.json", ".krun_vm.json"];
            for name in SETTINGS {
                symlink(host.at("victim/file"), host.at("root").join(name)).unwrap();
            }
            let ran = host.shell(&[], "echo ran");
            for name in SETTINGS {
                std::fs::remove_file(host.at("root").join(name)).unwrap();
            }
            prints(&ran, "ran\n")
        },
    },
    Escape {
        published: "CVE-2014-9357, CVE-2026-41567 (docker)",
        tried: "programs of the image in the place of all that a runtime might call",
        must: "none of them is run by anybody but the command",
        attempt: |host| {
            let script = "#!/bin/sh\necho $0 >> /called\n";
            for name in [
                "newuidmap",
                "newgidmap",
                "mount",
                "umount",
                "xz",
                "unpigz",
                "iptables",
                "modprobe",
                "ldconfig",
                "docker-init",
            ] {
                for dir in ["bin", "sbin", "usr/bin", "usr/sbin"] {
                    std::fs::create_dir_all(host.at("root").join(dir)).unwrap();
                    write(host, &format!("{dir}/{name}"), script, 0o755);
                }
            }
            prints(&host.shell(&["--tmpfs", "/t"], "[ -e /called ] && cat /called; echo ran"), "ran\n")
        },
    },
    Escape {
        published: "CVE-2021-3493, CVE-2023-2640, CVE-2023-32629 (Linux and Ubuntu's overlayfs)",
        tried: "a file with a capability is copied up by a container, and is then one of the host's that has it",
        must: "the copy has none, or one that counts in no other name space of users",
        attempt: |host| {
            write(host, "cap", "#!/bin/sh\n", 0o755);
            // CAP_SYS_ADMIN, permitted and effective: version 2, without the number of a root.
            let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
            value.extend([1 << 21_u32, 0, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()));
            let path = host.at("root/cap");
            rustix::fs::setxattr(&path, "security.capability", &value, rustix::fs::XattrFlags::empty()).unwrap();
            let kept = host.path("kept-cap");
            let ran = host.shell(&["--keep", &kept], "echo '#' >> /cap; chmod 755 /cap; touch /cap; echo done");
            prints(&ran, "done\n")?;
            let mut found = [0; 64];
            let copy = host.at("kept-cap/diff/cap");
            let length = rustix::fs::getxattr(&copy, "security.capability", &mut found).unwrap_or(0);
            let in_host = length > 0 && (length < 24 || found[20..24] == [0; 4]);
            expect(copy.exists() && !(in_host && host.user.is_some()), &ran)?;
            // Writing takes a capability away; that it was only touched keeps it, for root's own.
            Ok(())
        },
    },
    Escape {
        published: "CVE-2023-0386 (Linux, mended in 6.2, 6.1.9 and 5.15.91)",
        tried: "a file that is root's and runs as root, in a layer below, is copied up by somebody's container",
        must: "no file that is root's and runs as root is left on the host",
        attempt: |host| {
            write(host, "suid", "#!/bin/sh\n", 0o755);
            let path = host.at("root/suid");
            std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4755)).unwrap();
            let kept = host.path("kept-suid");
            let ran = host.shell(&["--keep", &kept], "touch /suid; chmod 4755 /suid; echo done");
            prints(&ran, "done\n")?;
            let found = std::fs::symlink_metadata(host.at("kept-suid/diff/suid"));
            let is_roots = found.is_ok_and(|found| found.uid() == 0 && found.mode() & 0o4000 != 0);
            expect(!(is_roots && host.user.is_some()), &ran)
        },
    },
    Escape {
        published: "threats C07",
        tried: "to use a device, or to gain privileges by a file, in what is mounted for the container from the host",
        must: "devices lead nowhere; with no-new-privileges nobody gains any",
        attempt: |host| {
            let shared = host.at("shared");
            let busybox = shared.join("busybox");
            std::fs::copy(host.at("root/bin/busybox"), &busybox).unwrap();
            std::fs::set_permissions(&busybox, PermissionsExt::from_mode(0o4755)).unwrap();
            if host.user.is_none() {
                let made = Command::new("mknod").arg(shared.join("zero")).args(["c", "1", "5"]).output().unwrap();
                testkit::succeeded("mknod", made);
            }
            let volume = format!("{}:/m", shared.display());
            let script = "(head -c 1 /m/zero > /dev/null) 2>/dev/null && echo read; /m/busybox id -u";
            let ran = host.shell(&["-v", &volume, "-u", "5", "--security-opt", "no-new-privileges"], script);
            expect(ran.stdout == "5\n", &ran)
        },
    },
    Escape {
        published: "CVE-2024-3154 (CRI-O, runc), CVE-2026-53488 (containerd)",
        tried: "labels and variables of the image that look like settings of a runtime",
        must: "they are variables of the command and nothing else",
        attempt: |host| {
            let flags = [
                "-e",
                "LD_PRELOAD=/evil.so",
                "-e",
                "_LIBCONTAINER_INITPIPE=3",
                "-e",
                "LISTEN_FDS=3",
                "-e",
                "PATH=/bin",
                "-e",
                "NOTIFY_SOCKET=/victim",
                "-e",
                "GLIBC_TUNABLES=glibc.malloc.check=3",
            ];
            prints(&host.shell(&flags, "ls /proc/self/fd; echo $LISTEN_FDS"), "0\n1\n2\n3\n3\n")
        },
    },
];

#[test]
fn no_published_way_leads_out() {
    let mut wrong = Vec::new();
    for host in hosts() {
        for escape in ESCAPES {
            let Escape { published, tried, must, attempt } = escape;
            if let Err(instead) = attempt(&host) {
                wrong.push(format!("{published}, as {}: {tried}: {must}; but {instead}", host.who()));
            }
            host.is_untouched(published);
        }
    }
    testkit::assert_none("ways out", &wrong);
}
