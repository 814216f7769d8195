//! `layerfs container cp` does what `docker cp` does with the same container: the same files, the same tars, the same complaints.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use testkit::dockerd::Dockerd;

const IMAGE: &str = "layerfs-test/busybox:1";

const FILES: &str = r#"
mkdir -p /s/d/sub /s/empty; echo f >/s/f; chmod 4750 /s/f; echo a >/s/d/a; ln /s/d/a /s/d/hard; ln -s a /s/d/rel
ln -s /etc/passwd /s/d/abs; mkfifo /s/d/p; mknod /s/d/c c 1 3; echo z >/s/d/sub/z; chmod 555 /s/d/sub; ln -s d /s/ld; ln -s f /s/lf
ln -s nowhere /s/dang; ln -s /s/d/../f /s/abslf; mkdir /s/up; ln -s ../../../../etc/passwd /s/up/up; echo q >/s/up/zz
echo w >/s/.wh.x; chown 7:8 /s/d/a; mkdir /s/o; ln -s ../f /s/o/out; ln -s /s/ld /s/lld; ln -s self /s/self; echo n >/s/n:m
ln -s d/sub /s/ldsub; ln -s / /s/root; rm -r /bin; touch -d @1000000000 /s/d/sub /s/d /s/f; echo x >/data/x; mkdir /s/new; mv /s/d/p /s/d/q
mkdir /data/d; ln /data/x /data/d/hard; chmod 2751 /data/d; chown 5:6 /data/d; ln -s /bind/sub /data/tobind; echo m >/t/memory
ln -s /nowhere /deep/in/dang; mkfifo /deep/in/p; touch -d @1000000000 /data /data/d /data/x
"#;

/// A directory of the host with another one mounted in it; one that a volume with options shows; one that is another container's `/etc/hosts`.
struct Host(std::path::PathBuf);

impl Host {
    fn new(dir: &Path) -> Self {
        let host = Self(dir.join("host"));
        let at = |name: &str| host.0.join(name);
        for dir in ["bind/sub", "bind/mnt", "other/inner", "opts"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        for file in ["bind/sub/one", "bind/file", "other/inner/file", "opts/file", "hosts", "over"] {
            std::fs::write(at(file), file).unwrap();
        }
        std::fs::hard_link(at("bind/sub/one"), at("bind/sub/two")).unwrap();
        // Nobody copies a socket.
        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        // In the container they lead into the container.
        symlink("/s/f", at("bind/tof")).unwrap();
        symlink("../../../../s/d/rel", at("bind/up")).unwrap();
        let touched = ["-exec", "touch", "-h", "-d", "@1000000000", "{}", "+"];
        testkit::succeeded("find", Command::new("find").arg(&host.0).args(touched).output().unwrap());
        let other = [at("other"), at("bind/mnt")];
        testkit::succeeded("mount", Command::new("mount").arg("--bind").args(other).output().unwrap());
        host
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy", &self.at("bind/mnt")]).status();
    }
}

/// What is at the destination before: a file, a directory, links to them and to nothing, and names of another type.
fn fixture(work: &Path) {
    let _ = std::fs::remove_dir_all(work);
    for dir in ["dir", "full/d", "types/f"] {
        std::fs::create_dir_all(work.join(dir)).unwrap();
    }
    for file in ["file", "full/d/keep", "types/d"] {
        std::fs::write(work.join(file), "old").unwrap();
    }
    for (name, target) in [("lfile", "file"), ("ldir", "dir"), ("ldang", "nothere")] {
        symlink(target, work.join(name)).unwrap();
    }
}

/// Everything below, with the times of what was copied: those of the fixture itself are of this moment.
fn listing(work: &Path, before: &[String]) -> Vec<String> {
    let entries = testkit::tree::walk(work).into_iter();
    entries
        .map(|mut entry| {
            let name = entry.path.escape_ascii().to_string();
            let seconds = entry.mtime.take().map(|(seconds, _)| seconds);
            let kept = before.contains(&name) && seconds != Some(1_000_000_000);
            format!("{name} {entry:?} {:?}", seconds.filter(|_| !kept))
        })
        .collect()
}

/// The arguments of a copy, and what both say if they refuse it.
const CASES: &[(&[&str], &str)] = &[
    (&["cc:/s/f", "new"], ""),
    (&["cc:/s/f", "new/"], "no such directory"),
    (&["cc:/s/f", "new/."], "new: no such file or directory"),
    (&["cc:/s/f", "no/new"], "/no\" does not exist"),
    (&["cc:/s/f", "file"], ""),
    (&["cc:/s/f", "file/"], "/file/: not a directory"),
    (&["cc:/s/f", "lfile"], ""),
    (&["cc:/s/f", "ldang"], ""),
    (&["cc:/s/f", "ldang/"], "no such directory"),
    (&["cc:/s/f", "dir"], ""),
    (&["cc:/s/f", "dir/"], ""),
    (&["cc:/s/f", "ldir"], ""),
    (&["cc:/s/f", "."], ""),
    (&["cc:/s/f", "/dev/null"], "must be a directory or a regular file: got a device"),
    (&["cc:/s/f", "types"], "/types/f\" with non-directory \""),
    (&["cc:/s/f/", "dir"], "/s/f/: not a directory"),
    (&["cc:/s/f/.", "dir"], "/s/f/.: not a directory"),
    (&["cc:/s/f/x", "dir"], "/s/f/x: not a directory"),
    (&["cc:s/f", "dir"], ""),
    (&["cc:../../s/f", "dir"], ""),
    (&["cc:/s/nope", "dir"], "No such container:path: cc:/s/nope"),
    (&["cc:/s/d", "new"], ""),
    (&["cc:/s/d", "new/"], ""),
    (&["cc:/s/d/", "new"], ""),
    (&["cc:/s/d/.", "new"], ""),
    (&["cc:/s/d", "dir/new"], ""),
    (&["cc:/s/d", "dir"], ""),
    (&["cc:/s/d/", "dir/"], ""),
    (&["cc:/s/d/.", "dir"], ""),
    (&["cc:/s/d/./", "dir/."], ""),
    (&["cc:/s/d", "full"], ""),
    (&["cc:/s/d", "ldang"], ""),
    (&["cc:/s/d", "ldang/"], "/ldang\" with directory \""),
    (&["cc:/s/d", "file"], "cannot copy directory"),
    (&["cc:/s/d/.", "lfile"], "cannot copy directory"),
    (&["cc:/s/d", "types"], "/types/d\" with directory \""),
    (&["cc:/s/d", "no/new"], "/no\" does not exist"),
    (&["cc:/s/d/..", "dir"], "/dir/s/up/up\" -> \"../../../../etc/passwd\""),
    (&["-a", "cc:/s/d", "dir"], ""),
    (&["cc:/s/ld", "new"], ""),
    (&["-L", "cc:/s/ld", "new"], ""),
    (&["cc:/s/ld", "dir"], ""),
    (&["-L", "cc:/s/ld", "dir"], ""),
    (&["cc:/s/ld/", "dir"], ""),
    (&["cc:/s/ld/.", "new"], ""),
    (&["--follow-link", "cc:/s/lf", "dir"], ""),
    (&["-L", "cc:/s/abslf", "dir"], ""),
    (&["-L", "cc:/s/lld", "dir"], ""),
    (&["-L", "cc:/s/ldsub", "new"], ""),
    (&["-L", "cc:/s/dang", "dir"], "No such container:path: cc:/s/"),
    (&["cc:/s/dang", "dir"], ""),
    (&["-L", "cc:/s/self", "dir"], "too many links"),
    (&["cc:/s/lf", "file"], ""),
    (&["cc:/s/up", "dir"], "invalid symlink \""),
    (&["cc:/s/up/.", "dir"], "invalid symlink \""),
    (&["cc:/s/o/out", "dir"], "/dir/out\" -> \"../f\""),
    (&["cc:/s/o", "dir"], ""),
    (&["cc:/s/.wh.x", "dir"], ""),
    (&["cc:/s/n:m", "dir"], ""),
    (&["cc:/s/d/q", "new"], ""),
    (&["cc:/s/d/c", "file"], ""),
    // What docker mounts while it copies.
    (&["cc:/data/x", "new"], ""),
    (&["cc:/data", "new"], ""),
    (&["cc:/data/.", "dir"], ""),
    (&["cc:/deep", "new"], ""),
    (&["cc:/s/root/data/x", "dir"], ""),
    (&["cc:/data/tobind/one", "dir"], ""),
    (&["cc:/data/nope", "dir"], "No such container:path: cc:/data/nope"),
    (&["cc:/data/x/y", "dir"], "/data/x/y: not a directory"),
    (&["cc:/bind", "new"], "invalid symlink \""),
    (&["cc:/bind/sub", "new"], ""),
    (&["-L", "cc:/bind/tof", "dir"], ""),
    (&["-L", "cc:/bind/up", "new"], ""),
    (&["cc:/bind/sub/over", "new"], ""),
    (&["cc:/bind/mnt/inner/file", "new"], ""),
    (&["cc:/bind/mnt", "dir"], ""),
    (&["cc:/none/.", "new"], ""),
    (&["cc:/opts/file", "new"], ""),
    (&["cc:/opts", "new"], ""),
    (&["cc:/t", "new"], ""),
    (&["cc:/etc/hosts", "new"], ""),
    (&["cc:/etc/hostname", "new"], ""),
    (&["cc:/s/../etc/resolv.conf", "dir"], ""),
    (&["up:/data/x", "new"], ""),
    (&["up:/etc/hosts", "new"], ""),
    (&["up:/bind/sub", "new"], ""),
    (&["a", "b"], "must specify at least one container source"),
    (&["./a:b", "c"], "must specify at least one container source"),
    (&["cc:/a", "cc:/b"], "copying between containers is not supported"),
    (&["", "b"], "source can not be empty"),
    (&["cc:/s/f", ""], "destination can not be empty"),
];

const TARS: &[&[&str]] = &[
    &["cc:/s/f"],
    &["cc:/s/d"],
    &["cc:/s/d/"],
    &["cc:/s/d/."],
    &["cc:/s/ld"],
    &["-L", "cc:/s/ld"],
    &["cc:/s/ld/"],
    &["cc:/s/ld/."],
    &["-L", "cc:/s/lf"],
    &["-L", "cc:/s/abslf"],
    &["cc:/s"],
    &["cc:/s/o/../d/sub"],
    // Never started: docker has mounted nothing.
    &["fresh:/"],
    &["fresh:/."],
    &["fresh:/etc"],
    &["cc:/"],
    &["cc:/data"],
    &["cc:/data/."],
    &["cc:/bind/"],
    &["cc:/s/root/bind/mnt/inner"],
    &["cc:/deep"],
    &["cc:/opts/."],
    &["up:/etc"],
    &["up:/bind"],
];

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_lowercase()
}

/// GNU tar's list of members, and the bytes of all files. An image has no word about the root of a container.
fn members(tar: &[u8], dir: &Path) -> (Vec<String>, Vec<u8>) {
    let file = dir.join("members.tar");
    std::fs::write(&file, tar).unwrap();
    let tar = |what: &[&str]| {
        let output = Command::new("tar").args(what).arg("-f").arg(&file).env("TZ", "UTC").output().unwrap();
        assert!(output.status.success(), "{}", says(&output));
        output.stdout
    };
    let list = String::from_utf8(tar(&["-t", "-v", "-P", "--numeric-owner", "--full-time"])).unwrap();
    let told = list.lines().filter(|line| !line.ends_with(" /") && !line.ends_with(" ./"));
    (told.map(str::to_owned).collect(), tar(&["-x", "-O"]))
}

#[test]
fn copies_are_those_of_docker() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["create", "--name", "fresh", IMAGE, "sh"]);
    let host = Host::new(dir.path());
    let device = format!("device={}", host.at("opts"));
    daemon.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "opts"]);
    let [bind, over, hosts, socket] =
        [("bind", "/bind"), ("over", "/bind/sub/over"), ("hosts", "/etc/hosts"), ("socket", "/bind/sub/socket")]
            .map(|(from, to)| format!("{}:{to}", host.at(from)));
    let volumes = [
        "-v",
        "vol:/data",
        "-v",
        "vol2:/deep/in",
        "-v",
        &bind,
        "-v",
        &over,
        "-v",
        &socket,
        "-v",
        "/none",
        "-v",
        "opts:/opts",
    ];
    let run = ["run", "--name", "cc", "--network", "none", "--tmpfs", "/t"];
    daemon.ok(&[&run[..], &volumes, &[IMAGE, "sh", "-c", FILES]].concat());
    let run = ["run", "-d", "--name", "up", "--network", "none", "-v", &hosts, "-v", "/none"];
    daemon.ok(&[&run[..], &volumes[..10], &[IMAGE, "sleep", "1000"]].concat());
    let work = dir.path().join("work");
    let ours = |arguments: &[&str]| -> Output {
        let mut command = Command::new(testkit::program("layerfs"));
        command.arg("--root").arg(&root).args(["container", "cp"]).args(arguments).current_dir(&work);
        command.output().unwrap()
    };
    let dockers = |arguments: &[&str]| -> Output {
        daemon.client(&[&["cp"], arguments].concat()).current_dir(&work).output().unwrap()
    };
    let mut report = Vec::new();
    for (arguments, said) in CASES {
        fixture(&work);
        let names: Vec<String> =
            testkit::tree::walk(&work).iter().map(|entry| entry.path.escape_ascii().to_string()).collect();
        let before = listing(&work, &names);
        let docker = dockers(arguments);
        let wanted = listing(&work, &names);
        fixture(&work);
        let output = ours(arguments);
        let found = listing(&work, &names);
        for (who, output) in [("docker", &docker), ("ours", &output)] {
            let right = if said.is_empty() {
                output.status.success() && output.stderr.is_empty()
            } else {
                output.status.code() == Some(1) && says(output).contains(&said.to_lowercase())
            };
            if !right {
                report.push(format!("{arguments:?}: {who}: {:?} {}", output.status.code(), says(output)));
            }
        }
        // What is refused leaves nothing, where docker may leave a part.
        let wanted = if said.is_empty() { wanted } else { before };
        for line in found.iter().filter(|line| !wanted.contains(line)) {
            report.push(format!("{arguments:?}: only ours: {line}"));
        }
        for line in wanted.iter().filter(|line| !found.contains(line)) {
            report.push(format!("{arguments:?}: only docker's: {line}"));
        }
        // A destination of docker's that is a device is still one.
        assert!(!Path::new("/dev/null").is_file());
    }
    for arguments in TARS {
        let arguments = [arguments, &["-"][..]].concat();
        let (docker, output) = (dockers(&arguments), ours(&arguments));
        assert!(docker.status.success() && output.status.success(), "{arguments:?}: {}", says(&output));
        let (docker, output) = (members(&docker.stdout, dir.path()), members(&output.stdout, dir.path()));
        assert!(!docker.0.is_empty());
        if docker != output {
            report.push(format!("{arguments:?}:\n  ours {:?}\ndocker {:?}", output.0, docker.0));
        }
    }
    testkit::assert_none("copies", &report);
    for (arguments, said) in [
        (["file", "cc:/s"], "a running dockerd uses it"),
        (["nosuch:/x", "dir"], "no such container: nosuch"),
        (["cc:", "dir"], "path cannot be empty"),
    ] {
        fixture(&work);
        let output = ours(&arguments);
        assert!(output.status.code() == Some(1) && says(&output).contains(said), "{arguments:?}: {}", says(&output));
        assert!(output.stdout.is_empty() && std::fs::read_dir(work.join("dir")).unwrap().next().is_none());
    }
    // Without a daemon nothing is mounted, and what is gone is missed only by who asks for it.
    daemon.ok(&["rm", "-f", "up"]);
    daemon.stop();
    fixture(&work);
    testkit::succeeded("cp", ours(&["cc:/opts/file", "dir"]));
    assert_eq!(std::fs::read(work.join("dir/file")).unwrap(), b"opts/file");
    std::fs::rename(host.at("over"), host.at("gone")).unwrap();
    testkit::succeeded("cp", ours(&["cc:/bind/sub/one", "new"]));
    let output = ours(&["cc:/bind/sub/over", "new"]);
    let missed = format!("/bind/sub/over: what is mounted there, {}, cannot be read", host.at("over"));
    assert!(output.status.code() == Some(1) && says(&output).contains(&missed.to_lowercase()), "{}", says(&output));
    // Others may have mounts whose names are no text.
    let mounts = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
    assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
}
