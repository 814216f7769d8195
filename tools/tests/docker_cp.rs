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
"#;

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
    let volumes = ["-v", "vol:/data", "-v", "vol:/deep/in"];
    let run = ["run", "--name", "cc", "--network", "none"];
    daemon.ok(&[&run[..], &volumes, &[IMAGE, "sh", "-c", FILES]].concat());
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
    // What docker has mounted is not passed off as what the layers have in its place.
    for (arguments, said) in [
        (["cc:/data/x", "dir"], "the volume vol is mounted there"),
        (["cc:/data", "-"], "the volume vol is mounted there"),
        (["cc:/s/root/data/.", "dir"], "the volume vol is mounted there"),
        (["cc:/etc/hosts", "dir"], "docker's own is mounted there"),
        (["file", "cc:/s"], "a running dockerd uses it"),
        (["nosuch:/x", "dir"], "no such container: nosuch"),
        (["cc:", "dir"], "path cannot be empty"),
    ] {
        fixture(&work);
        let output = ours(&arguments);
        assert!(output.status.code() == Some(1) && says(&output).contains(said), "{arguments:?}: {}", says(&output));
        assert!(output.stdout.is_empty() && std::fs::read_dir(work.join("dir")).unwrap().next().is_none());
    }
    let output = ours(&["cc:/deep", "new"]);
    assert!(output.status.success() && says(&output).contains("left out: what is in /deep/in"), "{}", says(&output));
    assert!(std::fs::read_dir(work.join("new/in")).unwrap().next().is_none());
}
