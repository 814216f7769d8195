//! `image-du` on roots made by hand: whatever is in them, the total is what `du -x` says.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::Value;
use tempfile::TempDir;

/// A root with two layer directories that nobody claims, a container's and a volume's directory.
fn root() -> (TempDir, PathBuf) {
    root_in(tempfile::tempdir().unwrap())
}

fn root_in(dir: TempDir) -> (TempDir, PathBuf) {
    let root = dir.path().join("root");
    for sub in ["image/overlay2/layerdb", "overlay2/l", "overlay2/one/diff", "overlay2/two/diff", "volumes/v/_data"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    let container = root.join("containers").join("c".repeat(64));
    std::fs::create_dir_all(&container).unwrap();
    std::fs::write(container.join(format!("{}-json.log", "c".repeat(64))), vec![b'x'; 50_000]).unwrap();
    (dir, root)
}

fn image_du(root: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_image-du")).arg("--root").arg(root).args(arguments).output().unwrap()
}

/// The report, with each number of threads the same.
fn report(root: &Path) -> Value {
    let mut reports = ["1", "2", "5"].map(|threads| {
        let output = image_du(root, &["--json", "--threads", threads]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    assert!(reports[0] == reports[1] && reports[0] == reports[2]);
    reports[0].take()
}

fn du(root: &Path) -> u64 {
    let output = Command::new("du").args(["-x", "-s", "-B1"]).arg(root).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
}

fn adds_up(root: &Path) -> Value {
    let report = report(root);
    assert_eq!(report["total_allocated"], du(root));
    assert_eq!(report["unaccounted"], 0);
    report
}

fn allocated<'r>(list: &'r Value, key: &str, name: &str) -> &'r Value {
    let found = list.as_array().unwrap().iter().find(|one| one[key] == name);
    found.unwrap_or_else(|| panic!("{name} is in {list}"))
}

#[test]
fn links_and_sparse_files() {
    let (_dir, root) = root();
    let at = |name: &str| root.join(name);
    std::fs::write(at("overlay2/one/diff/a"), vec![1; 100_000]).unwrap();
    std::fs::hard_link(at("overlay2/one/diff/a"), at("overlay2/one/diff/b")).unwrap();
    std::fs::hard_link(at("overlay2/one/diff/a"), at("overlay2/two/diff/a")).unwrap();
    std::fs::hard_link(at("overlay2/one/diff/a"), at("volumes/v/_data/a")).unwrap();
    std::fs::write(at("volumes/v/_data/own"), vec![1; 10_000]).unwrap();
    std::fs::File::create(at("volumes/v/_data/sparse")).unwrap().set_len(1 << 33).unwrap();
    let report = adds_up(&root);
    let volume = &report["volumes"][0];
    assert_eq!(volume["apparent"], (1_u64 << 33) + 110_000, "the volume counts what orphans have too");
    let (all, unique) = (volume["allocated"].as_u64().unwrap(), volume["unique"].as_u64().unwrap());
    assert!(all - unique >= 100_000, "and would not free it: {volume}");
    let orphans = allocated(&report["unowned"], "kind", "orphans");
    assert_eq!((orphans["count"].as_u64(), orphans["files"].as_u64()), (Some(2), Some(3)));
    assert!(allocated(&report["unowned"], "kind", "logs")["allocated"].as_u64().unwrap() >= 50_000);
}

#[test]
fn a_deep_tree() {
    const DEPTH: usize = 100_000;
    // On a disk so many directories take minutes.
    let (_dir, root) = root_in(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());
    let base = root.join("overlay2/one/diff");
    let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(&base, directory, Mode::empty()).unwrap();
    for level in 0..DEPTH {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        if level % 100 == 0 {
            rustix::fs::mkdirat(&at, "a", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "z", Mode::RWXU).unwrap();
            let file = rustix::fs::openat(&at, "f", OFlags::WRONLY | OFlags::CREATE, Mode::RWXU).unwrap();
            rustix::io::write(&file, b"x").unwrap();
        }
        at = rustix::fs::openat(&at, "d", directory, Mode::empty()).unwrap();
    }
    // With the deepest one open, each directory above takes longer to remove.
    drop(at);
    let report = adds_up(&root);
    assert!(report["total_directories"].as_u64().unwrap() > 102_000);
    // What removes it afterwards must bear the depth too.
    layerfs::remove_tree(rustix::fs::open(&base, directory, Mode::empty()).unwrap(), b"d").unwrap();
}

/// Undoes a mount.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn mounts_are_not_walked() {
    if !testkit::is_root() {
        return;
    }
    let (_dir, root) = root();
    std::fs::write(root.join("overlay2/one/diff/lower"), vec![1; 300_000]).unwrap();
    for sub in ["merged", "work"] {
        std::fs::create_dir(root.join("overlay2/two").join(sub)).unwrap();
    }
    let memory = root.join("volumes/v/_data/memory");
    std::fs::create_dir(&memory).unwrap();
    rustix::mount::mount("none", &memory, "tmpfs", MountFlags::empty(), None).unwrap();
    let _memory = Mounted(memory.clone());
    std::fs::write(memory.join("big"), vec![1; 1 << 20]).unwrap();
    let merged = root.join("overlay2/two/merged");
    let home = root.join("overlay2");
    let options = format!("lowerdir={0}/one/diff,upperdir={0}/two/diff,workdir={0}/two/work", home.display());
    let options = std::ffi::CString::new(options).unwrap();
    // Not on every file system.
    let overlay = rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), &*options);
    let _overlay = overlay.is_ok().then(|| Mounted(merged.clone()));
    let report = adds_up(&root);
    assert!(report["total_allocated"].as_u64().unwrap() < 600_000, "{report}");
    if overlay.is_ok() {
        assert!(allocated(&report["unowned"], "kind", "referred")["count"].as_u64() > Some(0), "mounted now: in use");
    }
}

/// Docker's directories are counted wherever they are, as its own rows count them; of others it is said that they are not.
#[test]
fn parts_with_file_systems_of_their_own_are_counted() {
    if !testkit::is_root() {
        return;
    }
    let (_dir, root) = root();
    let (volumes, others) = (root.join("volumes"), root.join("others"));
    std::fs::create_dir(&others).unwrap();
    let mounted = [&volumes, &others].map(|place| {
        rustix::mount::mount("none", place, "tmpfs", MountFlags::empty(), None).unwrap();
        Mounted(place.clone())
    });
    std::fs::create_dir_all(volumes.join("v/_data")).unwrap();
    for big in [volumes.join("v/_data/big"), others.join("big")] {
        std::fs::write(big, vec![1; 500_000]).unwrap();
    }
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(testkit::program(program)).arg("--root").arg(&root).args(arguments).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (account, said) = run("image-du", &["--json"]);
    let account: Value = serde_json::from_str(&account).unwrap();
    let du = Command::new("du").args(["-x", "-s", "-B1"]).args([&root, &volumes]).output().unwrap();
    let of_line = |line: &str| line.split_whitespace().next().and_then(|size| size.parse::<u64>().ok()).unwrap();
    let total: u64 = String::from_utf8(du.stdout).unwrap().lines().map(of_line).sum();
    assert_eq!((account["total_allocated"].as_u64(), account["unaccounted"].as_u64()), (Some(total), Some(0)));
    assert_eq!(account["docker"]["volumes"]["size"], 500_000);
    let (rows, _) = run("layerfs", &["system", "df", "--format", "{{.Type}} {{.Size}}"]);
    assert!(rows.contains("Local Volumes 500kB\n"), "{rows}");
    for (place, counted) in [(&volumes, "what is there is counted"), (&others, "not counted")] {
        let line = format!("{} is a file system of its own: {counted}\n", place.display());
        assert!(said.contains(&line), "{said}");
    }
    drop(mounted);
}

#[test]
fn names_that_are_no_text() {
    let (_dir, root) = root();
    let name = OsStr::from_bytes(b"b\xffd\x1b[31m");
    std::fs::write(root.join(name), b"x").unwrap();
    std::fs::create_dir(root.join("overlay2").join(name)).unwrap();
    let report = adds_up(&root);
    let unowned = report["unowned"].as_array().unwrap();
    let other = unowned.iter().find(|line| line["kind"] == "other").unwrap();
    assert_eq!(other["name_raw"], "Yv9kG1szMW0=");
    assert!(unowned.iter().any(|line| line["kind"] == "unknown"), "{report}");
    let text = image_du(&root, &[]).stdout;
    assert!(!text.contains(&0x1b), "{}", String::from_utf8_lossy(&text));
    let csv = String::from_utf8(image_du(&root, &["--csv"]).stdout).unwrap();
    let total = csv.lines().last().unwrap();
    assert!(csv.contains("Yv9kG1szMW0=") && total.starts_with(&format!("total,,,{},", du(&root))), "{csv}");
}

/// Files that come and go meanwhile are no error.
#[test]
fn what_vanishes_is_no_finding() {
    let (_dir, root) = root();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir = root.join("volumes/v/_data");
            while !over.load(Ordering::Relaxed) {
                for number in 0..300 {
                    std::fs::write(dir.join(format!("f{number}")), b"x").unwrap();
                    std::fs::create_dir(dir.join(format!("d{number}"))).unwrap();
                }
                for number in 0..300 {
                    std::fs::remove_file(dir.join(format!("f{number}"))).unwrap();
                    std::fs::remove_dir(dir.join(format!("d{number}"))).unwrap();
                }
            }
        });
        let outputs: Vec<Output> = (0..60).map(|_| image_du(&root, &["--json", "--threads", "2"])).collect();
        over.store(true, Ordering::Relaxed);
        for output in outputs {
            assert!(output.status.success(), "{output:?}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(report["unaccounted"], 0);
        }
    });
    adds_up(&root);
}

/// A directory that may not be read is a finding, and is counted itself, as `du` does.
#[test]
fn what_cannot_be_read_is_said() {
    if rustix::process::geteuid().is_root() {
        // Nothing is closed to root: as somebody else.
        let Ok(status) = Command::new("setpriv").arg("--version").output() else { return };
        assert!(status.status.success());
    }
    let (dir, root) = root();
    let closed = root.join("volumes/v/_data/closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("unseen"), vec![1; 100_000]).unwrap();
    let set = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    set(0o000);
    let program = dir.path().join("image-du");
    // By another process: what this one writes, a child that another test starts may hold open, and it could not be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_image-du")).arg(&program).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    if !rustix::process::geteuid().is_root() {
        command = Command::new(&program);
    }
    let output = command.arg("--root").arg(&root).arg("--json").output().unwrap();
    set(0o755);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["unreadable"][0]["path"], "volumes/v/_data/closed", "{report}");
    assert_eq!(report["unreadable_count"], 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("closed"));
}

/// A daemon that maps users keeps everything one level below.
#[test]
fn a_root_with_mapped_users() {
    let (dir, inner) = root();
    let outer = dir.path().join("outer");
    std::fs::create_dir(&outer).unwrap();
    std::fs::rename(inner, outer.join("100000.100000")).unwrap();
    std::fs::write(outer.join("beside"), vec![1; 9000]).unwrap();
    let report = adds_up(&outer);
    assert_eq!(report["volumes"][0]["name"], "v");
    assert_eq!(allocated(&report["unowned"], "kind", "orphans")["count"], 2);
    assert_eq!(allocated(&report["unowned"], "kind", "other")["name"], "beside");
}

/// What is damaged is listed with its reason, and everything still adds up.
#[test]
fn damaged_stores() {
    if !testkit::is_root() {
        return;
    }
    let (_dir, root) = root();
    let archive = testkit::golden("busybox-20.10.tar");
    let mut unpack = Command::new(env!("CARGO_BIN_EXE_layer-unpack"));
    assert!(unpack.arg(archive).arg("--no-sync").arg("--root").arg(&root).output().unwrap().status.success());
    let sound = adds_up(&root);
    assert_eq!((sound["images"].as_array().unwrap().len(), sound["layers"].as_array().unwrap().len()), (1, 3));
    assert_eq!(sound["images"][0]["unique"], sound["images"][0]["allocated"]);

    let chain = |report: &Value, place: usize| report["layers"][place]["id"].as_str().unwrap()[7..].to_owned();
    let record = root.join("image/overlay2/layerdb/sha256").join(chain(&sound, 0));
    std::fs::write(record.join("size"), b"").unwrap();
    let report = adds_up(&root);
    assert!(report["images"][0]["damage"].as_str().unwrap().contains("size"), "{report}");
    assert_eq!(report["images"][0]["unique"], report["images"][0]["records"], "docker would not remove its layers");
    assert!(report["layers"].as_array().unwrap().iter().any(|layer| layer["damage"].is_string()));

    std::fs::write(root.join("image/overlay2/repositories.json"), b"{").unwrap();
    adds_up(&root);
    std::fs::remove_dir_all(&record).unwrap();
    let report = adds_up(&root);
    // It has no record any more, but layers that stand on it.
    assert_eq!(allocated(&report["unowned"], "kind", "referred")["count"], 1);
    std::fs::write(root.join("image/overlay2/imagedb/content/sha256").join("a".repeat(64)), b"").unwrap();
    std::fs::create_dir_all(root.join("image/overlay2/layerdb/tmp/write-set-123")).unwrap();
    std::os::unix::fs::symlink("../gone/diff", root.join("overlay2/l/GONE")).unwrap();
    let report = adds_up(&root);
    allocated(&report["unowned"], "kind", "unfinished");
    allocated(&report["unowned"], "kind", "stale_links");
    allocated(&report["images"], "id", &format!("sha256:{}", "a".repeat(64)));

    // Nothing is an orphan where an owner cannot be asked, and that is a finding.
    std::fs::create_dir(root.join("buildkit")).unwrap();
    std::fs::write(root.join("buildkit/snapshots.db"), vec![b'x'; 40_000]).unwrap();
    let output = image_du(&root, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["unaccounted"], &report["total_allocated"]), (&0.into(), &du(&root).into()));
    assert!(report["unowned"].as_array().unwrap().iter().all(|line| line["kind"] != "orphans"), "{report}");
    allocated(&report["unowned"], "kind", "unknown");
}

#[test]
fn what_is_no_data_root_is_status_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), b"x").unwrap();
    for root in [dir.path(), &dir.path().join("missing")] {
        assert_eq!(image_du(root, &[]).status.code(), Some(1));
    }
    let (_dir, root) = root();
    assert_eq!(image_du(&root, &["--freed-by", "nothing:1"]).status.code(), Some(2));
}

/// What is asked of a root by a relative path is asked of the same root.
#[test]
fn a_relative_root_has_the_same_files() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    testkit::import(&testkit::golden("busybox-20.10.tar"), &dir.path().join("root"));
    let ask = |root: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-du"));
        let output = command.current_dir(dir.path()).args(["--files", "--json", "--root", root]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["files"].clone(), report["unowned"].clone())
    };
    let absolute = ask(dir.path().join("root").to_str().unwrap());
    assert!(absolute.0["directories"].as_array().unwrap().iter().any(|one| one["path"] == "bin"), "{absolute:?}");
    assert_eq!(ask("root"), absolute);
    assert_eq!(ask("./root/"), absolute);
}

/// An archive and the store that it was imported into tell the same of an image's files, each by its own way.
#[test]
fn an_archive_wastes_what_its_image_in_a_store_wastes() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let ask = |arguments: &[&OsStr]| -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_image-du")).args(arguments).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let mut compared = 0;
    for name in testkit::GOLDENS {
        let (archive, root) = (testkit::golden(name), dir.path().join(name));
        testkit::import(&archive, &root);
        let flags = ["--json", "--files", "--top", "1000"].map(OsStr::new);
        let of_archive = ask(&[&[archive.as_os_str()][..], &flags].concat());
        for image in of_archive["files"]["images"].as_array().unwrap() {
            let id = image["id"].as_str().unwrap();
            let of_store = ask(&[&[OsStr::new("--root"), root.as_os_str(), OsStr::new(id)][..], &flags].concat());
            let stored = &of_store["files"]["images"][0];
            for key in ["efficiency", "wasted_bytes", "user_bytes", "hidden_bytes", "hidden_files", "repeated"] {
                assert_eq!(image[key], stored[key], "{name} {id} {key}");
            }
            compared += 1;
        }
    }
    assert!(compared > 6, "{compared}");
}
