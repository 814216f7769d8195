//! Repairs of many damages at once that are killed, or of which a call fails: the next one finishes them. Contents, other
//! drivers, and the images that are chosen.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[allow(dead_code, reason = "not every test asks everything")]
mod repairsupport;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use repairsupport::{archive, command, copy, damage, import, lasting, outline, repair};
use tempfile::TempDir;
use testkit::cases::TreeEntry;
use testkit::dockerd::Dockerd;
use testkit::run::{Input, run};
use testkit::{Random, kill, store::StoreFiles};

const NAME: &str = "layerfs-test/busybox:1";

/// Calls by which names and contents change, appear and go.
const CHANGES: &[&str] =
    &["renameat", "renameat2", "unlinkat", "mkdirat", "symlinkat", "fsync", "syncfs", "write", "openat"];

/// A store with an image of several layers, whole and damaged.
struct Bench {
    dir: TempDir,
    before: Vec<TreeEntry>,
    image: String,
    /// Chain ids and directories, the lowest first.
    layers: Vec<(String, PathBuf)>,
}

impl Bench {
    fn new() -> Self {
        let dir = testkit::scratch();
        let original = dir.path().join("original");
        import(&archive(), &original, &[]);
        let store = StoreFiles::read(&original);
        let image = store.tags[NAME].clone();
        let diffs = store.diffs();
        let text = |chain: &str, file: &str| {
            fs::read_to_string(original.join("image/overlay2/layerdb/sha256").join(chain).join(file))
                .unwrap_or_default()
        };
        let mut chains: Vec<String> =
            diffs.keys().map(|chain| chain.trim_start_matches("sha256:").to_owned()).collect();
        let depth = |chain: &String| {
            std::iter::successors(Some(chain.clone()), |chain| {
                let parent = text(chain, "parent");
                parent.strip_prefix("sha256:").map(str::to_owned)
            })
            .count()
        };
        chains.sort_by_key(depth);
        let layers = chains.iter().map(|chain| (chain.clone(), PathBuf::from(text(chain, "cache-id")))).collect();
        let bench = Self { before: lasting(&original), image: image.trim_start_matches("sha256:").into(), layers, dir };
        let damaged = bench.dir.path().join("damaged");
        copy(&original, &damaged);
        bench.damage(&damaged);
        bench
    }

    /// Everything that a crash, a full disk and a clean-up script have done to it.
    fn damage(&self, root: &Path) {
        let record =
            |at: usize, file: &str| root.join("image/overlay2/layerdb/sha256").join(&self.layers[at].0).join(file);
        let home = |at: usize, file: &str| root.join("overlay2").join(&self.layers[at].1).join(file);
        let top = self.layers.len() - 1;
        let cut = |path: PathBuf, bytes: usize| {
            let whole = fs::read(&path).unwrap();
            fs::write(path, &whole[..whole.len() - bytes]).unwrap();
        };
        cut(root.join("image/overlay2/repositories.json"), 3);
        fs::write(home(0, "diff/etc/passwd"), "").unwrap();
        let link = fs::read_to_string(home(0, "link")).unwrap();
        fs::remove_file(root.join("overlay2/l").join(link)).unwrap();
        // Of the same bytes, and not the same.
        fs::set_permissions(home(0, "diff/bin/busybox"), fs::Permissions::from_mode(0o4777)).unwrap();
        fs::write(home(top, "diff/extra"), "not of this layer").unwrap();
        fs::remove_file(record(1, "size")).unwrap();
        cut(record(1, "tar-split.json.gz"), 8);
        for file in [home(top, "lower"), home(top, "link"), record(top, "parent")] {
            fs::write(file, "").unwrap();
        }
        fs::remove_file(record(top, "diff")).unwrap();
        fs::remove_file(record(top, "cache-id")).unwrap();
        let removing = root.join("image/overlay2/layerdb/sha256").join(format!("{}-12-removing", "e".repeat(64)));
        fs::create_dir(&removing).unwrap();
        fs::write(removing.join("cache-id"), "f".repeat(64)).unwrap();
        fs::create_dir_all(root.join("overlay2").join("f".repeat(64)).join("diff/sub")).unwrap();
        let metadata = root.join("image/overlay2/imagedb/metadata/sha256").join(&self.image);
        fs::create_dir_all(&metadata).unwrap();
        fs::write(metadata.join("parent"), "no").unwrap();
    }

    /// A copy of the damaged store, one for each thread.
    fn copy(&self) -> PathBuf {
        let root = self.dir.path().join(format!("root-{:?}", std::thread::current().id()));
        let _ = fs::remove_dir_all(&root);
        copy(&self.dir.path().join("damaged"), &root);
        root
    }

    /// What is wrong after a repair that has to put everything right.
    fn after_repair(&self, root: &Path) -> Vec<String> {
        let said = repair(root, &[archive()], &["--apply"]);
        let mut report = Vec::new();
        if said.status != Some(0) {
            report.push(format!("not mended: {:?} {} {}", said.status, said.report, said.stderr));
        }
        report.extend(testkit::tree_changes(&self.before, &lasting(root)));
        let store = StoreFiles::read(root);
        report.extend(store.not_replayable());
        report.extend(store.unreferenced());
        report.extend(damage(root));
        let again = repair(root, &[archive()], &["--apply", "--deep"]);
        if !again.is_clean() {
            report.push(format!("still not clean: {:?} {}", again.status, again.report));
        }
        report
    }

    /// How often a repair makes each call.
    fn calls(&self) -> Vec<(&'static str, u32)> {
        let (root, log) = (self.copy(), self.dir.path().join("log"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", log.to_str().unwrap(), "-e", &format!("trace={}", CHANGES.join(","))]);
        let repair = command(&root, &[archive()], &["--apply"]);
        strace.arg(repair.get_program()).args(repair.get_args());
        run(strace, Input::Nothing).ok();
        let log = fs::read_to_string(log).unwrap();
        let count = |call: &str| log.lines().filter(|line| line.contains(&format!(" {call}("))).count();
        CHANGES.iter().map(|call| (*call, u32::try_from(count(call)).unwrap())).collect()
    }

    /// What is wrong after a repair in which something was injected in place of a call, and the one after it. `look` is called
    /// after each.
    fn disturbed(
        &self,
        (call, number, what): (&str, u32, &str),
        look: impl Fn(&Path, bool) -> Vec<String>,
    ) -> Vec<String> {
        let root = self.copy();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:{what}:when={number}")]);
        let repair = command(&root, &[archive()], &["--apply"]);
        strace.arg(repair.get_program()).args(repair.get_args());
        run(strace, Input::Nothing);
        let mut report = look(&root, false);
        report.extend(self.after_repair(&root));
        report.extend(look(&root, true));
        report.into_iter().map(|line| format!("{what} at {call} {number}: {line}")).collect()
    }

    /// All moments at which something may happen to a repair, each with one of the things that may.
    fn moments(&self) -> Vec<(&'static str, u32, &'static str)> {
        let faults = ["signal=SIGKILL", "error=ENOSPC", "error=EIO", "signal=SIGKILL"];
        let of_call =
            |(call, count)| (1..=count).map(move |number| (call, number, faults[number as usize % faults.len()]));
        self.calls().into_iter().flat_map(of_call).collect()
    }

    /// Starts a dockerd on a copy of a store, since it leaves traces.
    fn dockerd(&self, root: &Path, is_mended: bool) -> Vec<String> {
        let names = fs::read(root.join("image/overlay2/repositories.json")).unwrap_or_else(|_| b"{}".to_vec());
        if serde_json::from_slice::<serde_json::Value>(&names).is_err() {
            // The damage that it began with, which dockerd does not start on.
            return if is_mended { vec!["repositories.json is still broken".into()] } else { Vec::new() };
        }
        let looked = self.dir.path().join("looked");
        let _ = fs::remove_dir_all(&looked);
        copy(root, &looked);
        let daemon = match Dockerd::try_start(&looked, std::time::Duration::from_secs(120)) {
            Ok(daemon) => daemon,
            Err(log) => return vec![format!("dockerd does not start, mended {is_mended}: {log}")],
        };
        let mut report = Vec::new();
        if is_mended {
            let ran = daemon.docker(&["run", "--rm", "--network", "none", NAME, "cat", "/etc/motd"]);
            if !ran.status.success() || !ran.stdout.starts_with(b"layerfs") {
                report.push(format!("it does not run: {}", String::from_utf8_lossy(&ran.stderr)));
            }
        }
        daemon.stop();
        report
    }
}

#[test]
fn root_repair_puts_right_many_damages_at_once() {
    if !testkit::is_root() {
        return;
    }
    let bench = Bench::new();
    testkit::assert_none("repair", &bench.after_repair(&bench.copy()));
}

#[test]
fn root_repair_is_finished_after_kills_and_failing_calls() {
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    let bench = Bench::new();
    let mut moments = bench.moments();
    let all = moments.len();
    // Most calls read and fill files: as many of those that change names are taken. A moment takes about a second, so that all of
    // them would take half an hour.
    let count = if testkit::full_sweep() { 150 } else { 10 };
    let mut random = Random::new(11);
    let (rare, common): (Vec<_>, Vec<_>) =
        moments.into_iter().partition(|(call, ..)| !matches!(*call, "write" | "openat" | "fsync"));
    let mut take = |mut from: Vec<(&'static str, u32, &'static str)>| {
        while from.len() > count {
            from.swap_remove(random.below(from.len() as u64) as usize);
        }
        from
    };
    moments = [take(rare), take(common)].concat();
    eprintln!("{} of {all} moments", moments.len());
    let (next, report) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(moment) = moments.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let wrong = bench.disturbed(*moment, |_, _| Vec::new());
                    wrong.iter().for_each(|line| eprintln!("{line}"));
                    report.lock().unwrap().extend(wrong);
                }
            });
        }
    });
    testkit::assert_none("after a repair that was disturbed", &report.into_inner().unwrap());
}

/// A file in the place of a container's directory, or of a part of it, is damage with a name, for whoever starts the container, too; it
/// keeps nothing else from being mended.
#[test]
fn root_files_in_place_of_a_container_s_directories_are_named() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let original = dir.path().join("original");
    import(&archive(), &original, &[]);
    testkit::made_by_layerfs(&original, &["container", "create", "--network", "none", "--name", "made", NAME, "true"]);
    let mounts = original.join("image/overlay2/layerdb/mounts");
    let record = fs::read_dir(mounts).unwrap().next().unwrap().unwrap().path();
    let id = fs::read_to_string(record.join("mount-id")).unwrap();
    let mut report = Vec::new();
    // Nothing is kept in `work`, so it is made again.
    for (part, lost) in [("diff", 1), ("work", 0), ("", 1)] {
        let root = dir.path().join(format!("with-{part}"));
        copy(&original, &root);
        let place = root.join("overlay2").join(&id).join(part);
        fs::remove_dir_all(&place).unwrap();
        fs::write(place.as_os_str().to_str().unwrap().trim_end_matches('/'), "").unwrap();
        let layer = StoreFiles::read(&root).layers.keys().next().unwrap().trim_start_matches("sha256:").to_owned();
        let size = root.join("image/overlay2/layerdb/sha256").join(layer).join("size");
        fs::remove_file(&size).unwrap();
        let mut expect = |what: &str, text: &str| {
            if lost == 1 && (!text.contains("a file where a directory belongs") || text.contains("missing")) {
                report.push(format!("{part}: {what}: {text}"));
            }
        };
        let said = repair(&root, &[], &["--apply"]);
        expect("repair", &said.report["unmended"].to_string());
        let check = testkit::layerfs_on(&root, &["system", "check"]);
        expect("check", &String::from_utf8_lossy(&check.stdout));
        let start = testkit::layerfs_on(&root, &["container", "start", "--attach", "made"]);
        expect("start", &String::from_utf8_lossy(&start.stderr));
        let codes = [said.status, check.status.code(), start.status.code()];
        if codes != [Some(lost); 3] || !size.exists() {
            report.push(format!("{part}: {codes:?} {} {}", said.report, said.stderr));
        }
    }
    testkit::assert_none("files in place of directories", &report);
}

/// A dockerd may come before the next repair, and must run the image after it.
#[test]
fn docker_starts_where_a_repair_was_disturbed() {
    let Some(_turn) = testkit::docker() else { return };
    if !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    let bench = Bench::new();
    let moments = bench.moments();
    let mut random = Random::new(13);
    let count = if testkit::full_sweep() { 200 } else { 4 };
    let chosen = (0..count).map(|_| moments[random.below(moments.len() as u64) as usize]);
    let look = |root: &Path, is_mended: bool| bench.dockerd(root, is_mended);
    let report: Vec<String> = chosen.flat_map(|moment| bench.disturbed(moment, look)).collect();
    testkit::assert_none("where a repair was disturbed", &report);
}

/// Each layer of vfs holds those below it: a damaged one, and one that is gone, are made from a source and their parents.
#[test]
fn root_repair_fills_layers_of_vfs() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    import(&archive(), &root, &["--storage-driver", "vfs"]);
    let before = outline(&root);
    let records = fs::read_dir(root.join("image/vfs/layerdb/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let (lowest, others): (Vec<PathBuf>, Vec<PathBuf>) = records.partition(|record| !record.join("parent").exists());
    let directory = |record: &PathBuf| root.join("vfs/dir").join(fs::read_to_string(record.join("cache-id")).unwrap());
    let (lowest, other) = (directory(&lowest[0]), directory(&others[0]));
    fs::write(lowest.join("etc/passwd"), "root::0:0::/:\n").unwrap();
    fs::remove_dir_all(other).unwrap();
    let planned = repair(&root, &[archive()], &[]);
    assert_eq!(planned.repairs(), ["reextract-layer", "reextract-layer"], "{}", planned.report);
    let said = repair(&root, &[archive()], &["--apply"]);
    assert_eq!(said.status, Some(0), "{} {}", said.report, said.stderr);
    let mut report = testkit::tree_changes(&before, &outline(&root));
    // Compressed anew.
    report.retain(|line| !line.contains("tar-split.json.gz"));
    testkit::assert_none("vfs", &report);
    assert!(repair(&root, &[archive()], &["--apply", "--deep"]).is_clean());
}

#[test]
fn root_repair_mends_the_images_that_are_chosen() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    import(&archive(), &root, &[]);
    import(&testkit::golden("layers-20.10.tar"), &root, &[]);
    let records = root.join("image/overlay2/layerdb/sha256");
    for record in fs::read_dir(&records).unwrap() {
        fs::remove_file(record.unwrap().path().join("size")).unwrap();
    }
    let all = repair(&root, &[], &[]).count("steps");
    let some = repair(&root, &[], &[NAME]).count("steps");
    assert!(some > 0 && some < all, "{some} of {all}");
    assert_eq!(repair(&root, &[], &[NAME, "--apply"]).status, Some(0));
    assert_eq!(repair(&root, &[], &[NAME]).count("steps"), 0);
    assert_eq!(repair(&root, &[], &[]).count("steps"), all - some);
    let said = repair(&root, &[], &["nosuch:1"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("no such image: nosuch:1"), "{}", said.stderr);
}
