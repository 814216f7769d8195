//! `layerfs container cp` into a container leaves there what `docker cp` leaves in a container of its own, and says what docker says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::dockerd::Dockerd;
use testkit::run::{Input, Ran, layerfs, run};
use testkit::tarfile::{TarMember, block_device, char_device, dir, fifo, file, hard_link, symlink, tar};

const IMAGE: &str = "layerfs-test/busybox:1";

/// What a container holds before: a directory for each case.
const BEFORE: &str = r#"
for n in $(seq 0 99); do
  d=/w/$n; mkdir -p $d/dir $d/full/d $d/types/f; echo old >$d/file; echo old >$d/full/d/keep; echo old >$d/types/d; echo v >$d/full/d/a
  ln -s file $d/lfile; ln -s dir $d/ldir; ln -s nothere $d/ldang; ln -s $d/dir $d/labs; mknod $d/node c 1 5
  ln -s /../../../../../../../../victim $d/out; mkdir -p $d/deep/er; ln -s ../../dir $d/deep/er/up
  find $d -exec touch -h -d @1000000000 {} +
done
"#;

/// What is copied.
fn fixture(host: &Path) {
    let at = |name: &str| host.join(name);
    for dir in ["d/sub", "d/empty", "one", "links"] {
        std::fs::create_dir_all(at(dir)).unwrap();
    }
    for (file, text) in
        [("f", "f"), ("d/a", "new a"), ("d/sub/z", "z"), ("d/.wh.x", "w"), ("d/keep", "k"), ("n:m", "n")]
    {
        std::fs::write(at(file), text).unwrap();
    }
    std::fs::hard_link(at("d/a"), at("d/hard")).unwrap();
    for (name, target) in [
        ("lf", "f"),
        ("ld", "d"),
        ("dang", "nowhere"),
        ("d/abs", "/etc/passwd"),
        ("d/in", "sub/../a"),
        ("links/up", "../../../x"),
    ] {
        std::os::unix::fs::symlink(target, at(name)).unwrap();
    }
    testkit::succeeded("mkfifo", Command::new("mkfifo").arg(at("d/pipe")).output().unwrap());
    std::fs::set_permissions(at("f"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::fs::set_permissions(at("d/sub"), PermissionsExt::from_mode(0o555)).unwrap();
    std::os::unix::fs::chown(at("d/sub/z"), Some(77), Some(78)).unwrap();
    let touched =
        Command::new("find").arg(host).args(["-exec", "touch", "-h", "-d", "@1234567890.5", "{}", "+"]).output();
    testkit::succeeded("find", touched.unwrap());
}

/// The arguments of a copy, with `W` for the directory of the case, and what both say if they refuse it.
const CASES: &[(&[&str], &str)] = &[
    (&["f", "cc:W/new"], ""),
    (&["f", "cc:W/new/"], "no such directory"),
    (&["f", "cc:W/no/new"], "no such container:path: cc:W/no"),
    (&["f", "cc:W/file"], ""),
    (&["f", "cc:W/lfile"], ""),
    (&["f", "cc:W/dir"], ""),
    (&["f", "cc:W/dir/"], ""),
    (&["f", "cc:W/dir/."], ""),
    (&["f", "cc:W/ldir"], ""),
    (&["f", "cc:W/ldir/"], ""),
    (&["f", "cc:W/labs"], ""),
    (&["f", "cc:W/ldang"], ""),
    (&["f", "cc:W/deep/er/up"], ""),
    (&["f", "cc:W/deep/er/up/x"], ""),
    (&["f", "cc:W/out"], ""),
    (&["f", "cc:W/out/x"], "extraction point is not a directory"),
    (&["f", "cc:../../..W/new"], ""),
    (&["f", "cc:W/../../..W/dir"], ""),
    (&["f", "cc:W/node"], "must be a directory or a regular file"),
    (&["f", "cc:W/types"], "cannot overwrite directory \"W/types/f\" with non-directory \"W/types\""),
    (&["f/", "cc:W/dir"], "not a directory"),
    (&["nope", "cc:W/dir"], "no such file or directory"),
    (&["f", "cc:W/dir/none/x"], "no such container:path: cc:W/dir/none"),
    (&["f", "cc:W/file/x"], "extraction point is not a directory"),
    (&["n:m", "cc:W/dir"], "copying between containers is not supported"),
    (&["./n:m", "cc:W/dir"], ""),
    (&["d", "cc:W/new"], ""),
    (&["d", "cc:W/new/"], ""),
    (&["d/", "cc:W/new"], ""),
    (&["d/.", "cc:W/new"], ""),
    (&["d", "cc:W/dir"], ""),
    (&["d/", "cc:W/dir/"], ""),
    (&["d/.", "cc:W/dir"], ""),
    (&["d", "cc:W/full"], ""),
    (&["d/.", "cc:W/full/d"], ""),
    (&["d", "cc:W/file"], "cannot copy directory"),
    (&["d/.", "cc:W/file"], "cannot copy directory"),
    (&["d", "cc:W/types"], "cannot overwrite non-directory \"W/types/d\" with directory \"W/types\""),
    (&["d", "cc:W/no/new"], "no such container:path: cc:W/no"),
    (&["lf", "cc:W/dir"], ""),
    (&["-L", "lf", "cc:W/dir"], ""),
    (&["lf", "cc:W/new"], ""),
    (&["-L", "lf", "cc:W/new"], ""),
    (&["ld", "cc:W/dir"], ""),
    (&["-L", "ld", "cc:W/dir"], ""),
    (&["ld/.", "cc:W/dir"], ""),
    (&["ld/", "cc:W/dir"], ""),
    (&["dang", "cc:W/dir"], ""),
    (&["-L", "dang", "cc:W/dir"], "no such file or directory"),
    (&["-a", "d", "cc:W/dir"], ""),
    (&["-a", "f", "cc:W/new"], ""),
    (&["one", "cc:W/full/d/keep"], "cannot copy directory"),
    (&["f", "cc:/vol/new"], ""),
    (&["f", "cc:/opts/new"], ""),
    (&["d", "cc:/vol"], ""),
    (&["f", "cc:/ro/new"], "mounted volume is marked read-only"),
    (&["f", "cc:/ro"], "mounted volume is marked read-only"),
    (&["f", "cc:/etc/own"], ""),
    (&["f", "ro:/tmp/x"], "container rootfs is marked read-only"),
    (&["f", "ro:/vol/x"], ""),
    (&["f", "nosuch:/x"], "no such container"),
    (&["-a", "f", "who:/tmp/x"], "getent unable to find entry \"nosuch\" in passwd database"),
    (&["f", "cc:"], "no such directory"),
    (&["links", "cc:W/dir"], "invalid symlink \"W/dir/links/up\" -> \"../../../x\""),
    (&["links/.", "cc:W/dir"], "invalid symlink \"W/dir/up\" -> \"../../../x\""),
    (&["links/up", "cc:W/new"], "invalid symlink \"W/new\" -> \"../../../x\""),
];

/// Tars on standard input: their members, where they are unpacked, and what both say if they refuse it.
type TarCase = (&'static [&'static str], fn() -> Vec<TarMember>, &'static str);

fn some() -> Vec<TarMember> {
    vec![
        dir("new/").mode(0o2750).owner(7, 8).mtime(1_234_567_890),
        file("new/f", "text").mode(0o4751).owner(77, 78).mtime(1_234_567_890),
        file("implied/deep/f", "text"),
        symlink("new/link", "../dir").mtime(1_234_567_890),
        symlink("new/absolute", "/etc/passwd"),
        hard_link("new/hard", "new/f"),
        hard_link("new/old", "file"),
        char_device("new/null", (1, 3)),
        block_device("new/loop", (7, 0)),
        fifo("new/pipe"),
        file(".wh.x", "no whiteout"),
        file("new/times", "").record("mtime", "1234567890.5"),
        file("new/attribute", "").record("SCHILY.xattr.trusted.a", "b").record("SCHILY.xattr.user.c", "d"),
        file("/new/rooted", "/"),
        file("new/./x/../dotted", "."),
    ]
}

const TARS: &[TarCase] = &[
    (&["-", "cc:W"], some, ""),
    (&["-", "cc:W/dir"], || vec![file("f", "1"), file("f", "2"), dir("./").mode(0o700)], ""),
    (&["-", "cc:W/ldir"], || vec![file("a/b", "1")], ""),
    (&["-", "cc:W/ldir/"], || vec![dir("/").mode(0o711).owner(3, 4)], ""),
    (&["-", "cc:W/labs"], || vec![file("x", "1")], ""),
    (&["-", "cc:W/deep/er/up"], || vec![file("x", "1"), file("../x", "1")], "is outside of"),
    (&["-", "cc:W"], || vec![file("file", "new"), file("lfile", "a link goes"), file("ldir/x", "through a link")], ""),
    (&["-", "cc:W"], || vec![file("dir", "1")], "cannot overwrite directory \"W/dir\" with non-directory \"W\""),
    (&["-", "cc:W"], || vec![dir("file/")], "cannot overwrite non-directory \"W/file\" with directory \"W\""),
    (&["-", "cc:W"], || vec![symlink("up", "../../x")], "invalid symlink \"W/up\" -> \"../../x\""),
    (&["-", "cc:W"], || vec![hard_link("up", "../x")], "invalid hardlink \"/w/x\" -> \"../x\""),
    (&["-", "cc:W"], || vec![file("out/x", "1")], "not a directory"),
    (&["-", "cc:W/file"], some, "destination \"cc:W/file\" must be a directory"),
    (&["-", "cc:W/nosuch"], some, "destination \"cc:W/nosuch\" must be a directory"),
    (&["-", "cc:W/node"], some, "must be a directory or a regular file"),
    (&["-a", "-", "cc:W"], || vec![file("f", "1").owner(7, 8), dir("d/").owner(7, 8)], ""),
    (&["-", "cc:/ro"], || vec![file("f", "1")], "mounted volume is marked read-only"),
    (&["-", "cc:/vol"], || vec![file("unpacked", "1")], ""),
    (&["-", "ro:/tmp"], || vec![file("f", "1")], "container rootfs is marked read-only"),
];

/// The number of the first case with a tar.
const FIRST_TAR: usize = 70;

/// Two stores with the same containers: one of dockerd's, and ours.
struct Twins {
    dir: tempfile::TempDir,
    own: PathBuf,
}

/// The containers: with volumes, one whose root file system may only be read, and one with an unknown user.
const MADE: [&[&str]; 3] = [
    &["run", "--name", "cc", "-u", "8", "-v", "vol:/vol", "-v", "ro:/ro:ro", "-v", "opts:/opts", "--tmpfs", "/t"],
    &["create", "--name", "ro", "--read-only", "-v", "vol:/vol"],
    &["create", "--name", "who", "-u", "nosuch"],
];

impl Twins {
    fn ours(&self, arguments: &[&str]) -> Ran {
        self.with_input(arguments, Input::Nothing)
    }

    fn with_input(&self, arguments: &[&str], input: Input<'_>) -> Ran {
        let mut command = layerfs(&[&["--root", self.own.to_str().unwrap()], arguments].concat());
        command.current_dir(self.dir.path().join("host"));
        run(command, input)
    }

    /// Everything that the container has written, without the files that docker itself changes.
    fn listing(&self, upper: &Path) -> Vec<String> {
        let entries = testkit::tree::walk(upper).into_iter();
        // Where a copy was refused, docker may have made a part of it.
        let said = CASES.iter().map(|case| case.1).enumerate();
        let said = said.chain(TARS.iter().map(|case| case.2).enumerate().map(|(n, said)| (FIRST_TAR + n, said)));
        let refused: Vec<String> = said.filter(|(_, said)| !said.is_empty()).map(|(n, _)| format!("w/{n}/")).collect();
        let is_of = |path: &[u8]| refused.iter().any(|dir| path.starts_with(dir.as_bytes()));
        let kept = entries.filter(|entry| {
            (entry.path.starts_with(b"w") || entry.path.starts_with(b"etc/own")) && !is_of(&entry.path)
        });
        kept.map(|entry| self.shown(entry)).collect()
    }

    fn shown(&self, mut entry: testkit::cases::TreeEntry) -> String {
        // A directory that was changed has a time of this moment, as have those that docker has made.
        let seconds = entry.mtime.take().map(|(seconds, _)| seconds).filter(|seconds| *seconds < 1_300_000_000);
        entry.xattrs.retain(|name, _| !name.starts_with("trusted.overlay"));
        format!("{} {entry:?} {seconds:?}", entry.path.escape_ascii())
    }
}

fn ok(daemon: &Dockerd, words: &[&str]) -> String {
    let words = [&words[..1], &["--network", "none"], &words[1..]].concat();
    daemon.ok(&words)
}

#[test]
fn what_is_copied_into_a_container_is_there_as_with_docker() {
    let Some(_turn) = testkit::docker() else { return };
    let scratch = testkit::scratch();
    let (own, dockers) = (testkit::empty_root(&scratch, "own"), testkit::empty_root(&scratch, "dockers"));
    let archive = testkit::golden("busybox-20.10.tar");
    let twins = Twins { dir: scratch, own };
    let host = twins.dir.path().join("host");
    std::fs::create_dir(&host).unwrap();
    fixture(&host);
    twins.ours(&["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let daemon = Dockerd::start_with(&dockers, &["--storage-driver", "overlay2"]);
    daemon.load(&archive);
    // A volume that shows another directory.
    for name in ["own-opts", "dockers-opts"] {
        std::fs::create_dir(twins.dir.path().join(name)).unwrap();
        let device = format!("device={}", twins.dir.path().join(name).display());
        let words = ["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "opts"];
        if name == "own-opts" { drop(twins.ours(&words).ok()) } else { drop(daemon.ok(&words)) }
    }
    for words in MADE {
        let words = [words, &[IMAGE, "true"]].concat();
        ok(&daemon, &words);
        twins.ours(&words).ok();
    }
    let upper = "{{.GraphDriver.Data.UpperDir}}";
    let uppers = [
        daemon.ok(&["inspect", "-f", upper, "cc"]).trim().to_owned(),
        twins.ours(&["inspect", "-f", upper, "cc"]).ok().stdout.trim().to_owned(),
    ];
    for upper in &uppers {
        let script = BEFORE.replace("/w/", &format!("{upper}/w/")).replace("ln -s $d/dir", "ln -s /w/$n/dir");
        testkit::succeeded("sh", Command::new("sh").args(["-c", &script]).output().unwrap());
    }
    let mut report = Vec::new();
    assert!(CASES.len() <= FIRST_TAR);
    let tars = TARS.iter().map(|(arguments, members, said)| (arguments, Some(tar(&members())), said));
    let files = CASES.iter().map(|(arguments, said)| (arguments, None, said));
    for (number, (arguments, tar, said)) in (0..).zip(files).chain((FIRST_TAR..).zip(tars)) {
        let place = format!("/w/{number}");
        let fill = |text: &&str| text.replace('W', &place);
        let (words, said) = (arguments.iter().map(fill).collect::<Vec<_>>(), fill(said));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = [&["cp"], &words[..]].concat();
        let mut docker = daemon.client(&words);
        docker.current_dir(&host);
        let input = tar.as_deref().map_or(Input::Nothing, Input::Pipe);
        let (docker, ours) = (run(docker, input), twins.with_input(&words, input));
        // docker names the place on the host that it has mounted the container at.
        let merged = uppers[0].replace("/diff", "/merged");
        let docker_text = docker.stderr.to_lowercase().replace(&merged.to_lowercase(), "");
        for (who, code, text) in
            [("docker", docker.code, &docker_text), ("ours", ours.code, &ours.stderr.to_lowercase())]
        {
            let right = if said.is_empty() {
                code == Some(0) && text.is_empty()
            } else {
                code == Some(1) && text.contains(&said.to_lowercase())
            };
            if !right {
                report.push(format!("{words:?}: {who}: {code:?} {text}"));
            }
        }
    }
    let [wanted, found] = [&uppers[0], &uppers[1]].map(|upper| twins.listing(Path::new(upper)));
    assert!(wanted.len() > 1000);
    let volume = |root: &Path| -> Vec<String> {
        let options = root.with_file_name(format!("{}-opts", root.file_name().unwrap().to_str().unwrap()));
        assert!(options.join("new").exists());
        let entries = testkit::tree::walk(&root.join("volumes/vol/_data")).into_iter();
        entries.chain(testkit::tree::walk(&options)).map(|entry| twins.shown(entry)).collect()
    };
    let (wanted, found) = ([wanted, volume(&dockers)].concat(), [found, volume(&twins.own)].concat());
    report.extend(found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("only ours: {line}")));
    report.extend(wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("only docker's: {line}")));
    testkit::assert_none("copies", &report);
    daemon.stop();
    assert!(!Path::new("/victim").exists());
    // Others may have mounts whose names are no text.
    let mounts = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
    assert!(!mounts.contains(twins.own.to_str().unwrap()), "{mounts}");
    // dockerd takes the store with what was copied.
    let checked = twins.ours(&["system", "check"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let daemon = Dockerd::start_with(&twins.own, &["--storage-driver", "overlay2"]);
    let out = twins.dir.path().join("out");
    daemon.ok(&["cp", "cc:/w/0/new", out.to_str().unwrap()]);
    assert_eq!(std::fs::read(&out).unwrap(), b"f");
    daemon.stop();
}

/// A container that runs: what is copied is there at once, and it cannot lead the copy out by links that change all the time
/// (CVE-2018-15664, CVE-2026-41568, CVE-2026-42306).
#[test]
fn a_running_container_gets_it_and_cannot_lead_it_out() {
    if !testkit::is_root() {
        return;
    }
    let scratch = testkit::scratch();
    let twins = Twins { own: testkit::empty_root(&scratch, "own"), dir: scratch };
    let host = twins.dir.path().join("host");
    std::fs::create_dir(&host).unwrap();
    fixture(&host);
    let victim = twins.dir.path().join("victim");
    std::fs::create_dir_all(victim.join("x")).unwrap();
    let archive = testkit::golden("busybox-20.10.tar");
    twins.ours(&["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let race = format!(
        "mkdir -p /a/x; ln -s {} /b; while :; do mv -T /a /c; mv -T /b /a; mv -T /a /b; mv -T /c /a; done 2>/dev/null",
        victim.display()
    );
    let started = ["run", "-d", "--name", "cc", "--runtime", "builtin", "-v", "ro:/ro:ro", IMAGE, "sh", "-c"];
    twins.ours(&[&started[..], &[&race]].concat()).ok();
    twins.ours(&["cp", "d", "cc:/tmp/new"]).ok();
    let seen = twins.ours(&["exec", "cc", "sh", "-c", "cat /tmp/new/a; stat -c %u:%g /tmp/new/sub/z"]);
    assert_eq!(seen.ok().stdout, "new a77:78\n");
    for to in ["cc:/ro/x", "cc:/proc/sys/kernel/x", "cc:/sys/x"] {
        let refused = twins.ours(&["cp", "f", to]);
        assert_eq!(refused.code, Some(1), "{to}: {}", refused.stderr);
    }
    let rounds = if testkit::full_sweep() { 300 } else { 12 };
    for round in 0..rounds {
        let _ = twins.ours(&["cp", if round % 2 == 0 { "f" } else { "d" }, "cc:/a/x"]);
    }
    assert_eq!(testkit::tree::walk(&victim).len(), 2, "{:?}", testkit::tree::walk(&victim));
    assert_eq!(std::fs::metadata(&victim).unwrap().uid(), 0);
    twins.ours(&["rm", "-f", "cc"]).ok();
    // Others may have mounts whose names are no text.
    let mounts = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
    assert!(!mounts.contains(twins.own.to_str().unwrap()), "{mounts}");
}
