//! What an image or a running container says of paths leads to nothing of the host: volumes, working directories, copies, exports.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use testkit::image::DockerArchive;
use testkit::run::{Input, Ran, layerfs, run};
use testkit::{golden, is_root, scratch, tarfile};

const SECRET: &str = "precious bytes of the host";

/// A store with an image whose paths are links to a directory of the host.
struct Site {
    dir: tempfile::TempDir,
    /// The container has a directory at the same path, which nothing that docker mounts hides.
    victim: tempfile::TempDir,
    root: PathBuf,
}

impl Site {
    fn new() -> Self {
        let dir = scratch();
        let root = testkit::empty_root(&dir, "root");
        let victim = tempfile::Builder::new().prefix("layerfs-victim-").tempdir_in("/var/tmp").unwrap();
        let site = Self { dir, victim, root };
        std::fs::write(site.victim().join("file"), SECRET).unwrap();
        let victim = site.victim().display().to_string();
        let up = format!("{}{victim}", "../".repeat(20));
        let links: Vec<_> = [
            ("vol", victim.as_str()),
            ("up", &up),
            ("work", &victim),
            ("m", &victim),
            ("f", &format!("{victim}/file")),
        ]
        .into_iter()
        .map(|(name, target)| tarfile::symlink(name, target))
        .collect();
        let inside = victim.trim_start_matches('/');
        let of_its_own = [tarfile::dir(inside), tarfile::file(format!("{inside}/inside"), "the image's own")];
        let members: Vec<_> = of_its_own.into_iter().chain(links).collect();
        let escaping = format!("/bin/../../../..{victim}");
        let volumes = json!({"/vol": {}, "/up": {}, escaping: {}});
        site.load("evil:1", &members, &[("Volumes", volumes), ("WorkingDir", json!("/work/made/by/create"))]);
        site
    }

    /// Loads busybox with another layer.
    fn load(&self, name: &str, members: &[tarfile::TarMember], config: &[(&str, serde_json::Value)]) {
        let busybox = testkit::archive::layers(&golden("busybox-20.10.tar")).into_iter().map(|(bytes, _)| bytes);
        let mut archive = DockerArchive::new(name, &busybox.chain([tarfile::tar(members)]).collect::<Vec<Vec<u8>>>());
        archive.config["config"]["Env"] = json!(["PATH=/bin"]);
        for (key, value) in config {
            archive.config["config"][*key] = value.clone();
        }
        let file = self.dir.path().join("evil.tar");
        std::fs::write(&file, archive.build()).unwrap();
        self.layerfs(&["load", "-q", "-i", file.to_str().unwrap()]).ok();
    }

    fn victim(&self) -> PathBuf {
        self.victim.path().to_owned()
    }

    fn layerfs(&self, arguments: &[&str]) -> Ran {
        run(layerfs(&[&["--root", self.root.to_str().unwrap()], arguments].concat()), Input::Nothing)
    }

    fn is_untouched(&self, after: &str) {
        assert_eq!(testkit::store::names(&self.victim()), ["file"], "{after}");
        assert_eq!(std::fs::read_to_string(self.victim().join("file")).unwrap(), SECRET, "{after}");
        // Others may have mounts whose names are no text.
        let mounts = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
        assert!(!mounts.contains(self.root.to_str().unwrap()), "{after}: {mounts}");
    }

    /// No file of the store, or another directory, holds what only the host has.
    fn holds_no_secret(&self, dir: &Path, after: &str) {
        let found = Command::new("grep").args(["-r", "-l", "-a", SECRET]).arg(dir).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{after}");
    }
}

/// Whoever starts a container in the background and waits for the end of a pipe, or for a lock, does not wait for the container.
#[test]
fn what_the_caller_has_open_does_not_stay_open() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let program = testkit::program("layerfs");
    let root = site.root.to_str().unwrap();
    // The pipe ends when the last process has closed descriptor 9.
    let script = "{ \"$0\" --root \"$1\" run -d --name stays --entrypoint sleep evil:1 1000 9>&1 >/dev/null; } | cat";
    let begun = std::time::Instant::now();
    let ran = Command::new("timeout").args(["60", "sh", "-c", script]).arg(&program).arg(root).output().unwrap();
    assert!(ran.status.success(), "after {:?}: {}", begun.elapsed(), String::from_utf8_lossy(&ran.stderr));
    let seen = site.layerfs(&["inspect", "--format", "{{.State.Running}}", "stays"]);
    // The status is that of the pipe's end, so that a container that was not started shows here.
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(seen.stdout.trim(), "true", "run said {said:?}, and inspect {:?}", seen.stderr);
    site.layerfs(&["rm", "-f", "stays"]).ok();
}

/// One mount anywhere whose name is no text, or has a space in it, does not keep the table of mounts from being read.
#[test]
fn a_mount_whose_name_is_no_text_hides_no_other() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let source = site.dir.path().join("a source");
    std::fs::create_dir(&source).unwrap();
    // A name space of its own, in which nothing is passed on.
    let script = r#"set -e
        odd=$(printf '%s/\377' "$2"); mkdir "$odd"; mount -t tmpfs none "$odd"; mount --bind "$3" "$3"
        "$0" --root "$1" run --rm -v "$3:/x:rslave" --entrypoint true evil:1"#;
    let program = testkit::program("layerfs");
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .args([program.as_os_str(), site.root.as_os_str(), site.dir.path().as_os_str(), source.as_os_str()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let expected = format!("path {0} is mounted on {0} but it is not a shared or slave mount", source.display());
    assert!(ran.status.code() == Some(125) && said.contains(&expected), "{:?}: {said}", ran.status);
}

/// CVE-2022-23648, CVE-2024-1753, CVE-2024-9407 and their kin: a volume is filled from the image, wherever its links point, and the
/// working directory is made inside.
#[test]
fn c05_volumes_and_directories_of_an_image_stay_inside() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let script = "for d in /vol /up /m /m/sub /work; do echo x > $d/own; mkdir $d/dir; done 2>/dev/null; cat /f /vol/file /up/file; true";
    for flags in [
        &[][..],
        &["-v", "named:/m/sub"],
        &["-v", "named:/m"],
        &["-v", "named:/vol/../m/sub"],
        &["--mount", "type=volume,source=other,target=/work/x"],
        &["--tmpfs", "/m"],
        &["--mount", "type=tmpfs,target=/m/t"],
        &["-w", "/m/a/b"],
        &["-w", "/up/a"],
    ] {
        // Whether it runs or is refused: what the image has at a volume's place may be no directory.
        let ran =
            site.layerfs(&[&["run", "--rm", "--runtime", "builtin"], flags, &["evil:1", "sh", "-c", script]].concat());
        assert!(!ran.stdout.contains(SECRET), "{flags:?}: {}", ran.stdout);
        assert!(ran.code == Some(0) || !flags.is_empty(), "{}", ran.stderr);
        let made = site.layerfs(&[&["create", "--name", "kept"], flags, &["evil:1", "true"]].concat());
        site.holds_no_secret(&site.root, &format!("create {flags:?}: {}", made.stderr));
        if flags.is_empty() {
            let volumes = site.root.join("volumes");
            let has = |name: &String| volumes.join(name).join("_data/inside").exists();
            assert!(testkit::store::names(&volumes).iter().any(has), "nothing was copied from the image");
        }
        let _ = site.layerfs(&["rm", "-f", "-v", "kept"]);
        site.is_untouched(&format!("{flags:?}"));
    }
}

/// CVE-2026-41579 with docker's own layer between image and container: where its directories and files are to be, the image has links.
#[test]
fn c03_the_init_layer_is_made_inside() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let victim = site.victim().display().to_string();
    let up = format!("{}{victim}", "../".repeat(20));
    let mut ran_on = 0;
    for (number, links) in [
        &[("dev", &victim), ("etc", &victim), ("proc", &victim), ("sys", &victim)][..],
        &[("dev", &up), ("etc", &up)],
        &[("dev/pts", &victim), ("dev/shm", &up), ("dev/console", &format!("{victim}/file"))],
        &[("etc/hosts", &format!("{victim}/file")), ("etc/hostname", &format!("{up}/file")), ("etc/mtab", &up)],
        &[("etc/resolv.conf", &format!("{victim}/new")), (".dockerenv", &format!("{victim}/new"))],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("evil{number}:1");
        let members: Vec<_> = links.iter().map(|(name, target)| tarfile::symlink(name, target)).collect();
        site.load(&name, &members, &[]);
        let script = "echo x > /dev/own; echo x > /etc/own; echo x > /etc/hosts; ln -s x /dev/ptmx; cat /etc/hosts /dev/console/file; true";
        let flags = ["--runtime", "builtin", "--entrypoint", "/bin/sh"];
        for more in [&[][..], &["-t"]] {
            let ran = site.layerfs(&[&["run", "--rm"], &flags[..], more, &[&name, "-c", script]].concat());
            assert!(!ran.stdout.contains(SECRET), "{links:?}: {}", ran.stdout);
            ran_on += u32::from(ran.code == Some(0));
            site.is_untouched(&format!("{links:?}: {}", ran.stderr));
        }
        // What only makes the container touches nothing either, whether it can be made or not.
        let made = site.layerfs(&["create", "--name", "kept", &name, "true"]);
        site.is_untouched(&format!("create {links:?}: {}", made.stderr));
        site.holds_no_secret(&site.root, &format!("create {links:?}"));
        let _ = site.layerfs(&["rm", "-f", "-v", "kept"]);
    }
    assert!(ran_on > 0, "no container has run");
}

/// CVE-2018-15664, CVE-2019-14271, CVE-2021-41089: copies, exports and images of a container hold what is in it, while it turns
/// directories into links to the host and back.
#[test]
fn c06_c08_what_is_taken_out_of_a_container_is_its_own() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let victim = site.victim().display().to_string();
    let race = format!(
        "mkdir -p /a/x; echo own > /a/file; ln -s {victim} /b; mkfifo /pipe; mknod /null c 1 3; mknod /gone c 0 0; echo ready; \
         while :; do mv -T /a /c; mv -T /b /a; mv -T /a /b; mv -T /c /a; done 2>/dev/null"
    );
    let started = [
        "run",
        "-d",
        "--name",
        "cc",
        "--runtime",
        "builtin",
        "-w",
        "/",
        "--entrypoint",
        "",
        "evil:1",
        "sh",
        "-c",
        &race,
    ];
    let ran = site.layerfs(&started);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rounds = if testkit::full_sweep() { 100 } else { 6 };
    for round in 0..rounds {
        let out = site.dir.path().join(format!("out{round}"));
        std::fs::create_dir(&out).unwrap();
        let to = out.to_str().unwrap();
        let tar = out.join("all.tar").display().to_string();
        for words in [
            &["cp", "cc:/a/file", to][..],
            &["cp", "cc:/a", to],
            &["cp", "-L", "cc:/a", to],
            &["cp", "cc:/f", to],
            &["cp", "-L", "cc:/f", to],
            &["container", "export", "-o", &tar, "cc"],
            &["diff", "cc"],
            &["commit", "cc", "raced:1"],
        ] {
            // It may find nothing there at this moment.
            let _ = site.layerfs(words);
        }
        site.holds_no_secret(&out, &format!("round {round}"));
        std::fs::remove_dir_all(&out).unwrap();
    }
    site.layerfs(&["kill", "cc"]).ok();
    let committed = site.layerfs(&["commit", "cc", "made:1"]);
    assert!(committed.code.is_some());
    site.holds_no_secret(&site.root, "commit");
    // What was taken while it changed is whole, too.
    let checked = site.layerfs(&["system", "check", "--deep"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let store = testkit::store::StoreFiles::read(&site.root);
    assert_eq!([store.wrong.clone(), store.unreferenced()].concat(), [] as [&str; 0]);
    site.layerfs(&["rm", "-f", "-v", "cc"]).ok();
    site.is_untouched("all");
}
