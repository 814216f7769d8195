//! Changes of a store (an import, a tag, an rm, a commit, a flatten, a tree that becomes an image, a container that comes or goes, a copy into one)
//! of which one system call fails, or which are killed before one: the store is then as before or complete, without leftovers; what
//! was killed, the next command that writes puts right.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use testkit::run::{Input, Ran, layer_unpack, layerfs, run};
use testkit::store::StoreFiles;
use testkit::{Random, TreeState, kill, synthetic};

/// Calls that open, read, change, or make durable what is in a store.
const CALLS: &[&str] = &[
    "openat",
    "openat2",
    "mkdirat",
    "renameat",
    "unlinkat",
    "symlinkat",
    "linkat",
    "fsync",
    "syncfs",
    "fchmod",
    "write",
    "read",
    "getdents64",
    "readlinkat",
    "newfstatat",
    "fstat",
    "statx",
    "flock",
    "ftruncate",
    "fcntl",
];

/// Names change, appear and go by these calls alone.
const CHANGES: &[&str] = &["renameat", "unlinkat", "mkdirat", "symlinkat", "fsync", "syncfs"];

const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EMFILE", "EINTR"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Of an image whose name another image has.
    Import,
    /// With a name that another image has.
    Tag,
    /// Of an image with four layers.
    Remove,
    /// Of a container that has written something.
    Commit,
    /// Of an image with four layers.
    Flatten,
    /// `image import` of the tar of a tree.
    ImportTree,
    /// Of a container with a volume.
    Create,
    /// Of a container with a volume.
    RemoveContainer,
    /// Of a container.
    Rename,
    /// Of a container with volumes, which stay.
    PruneContainers,
    /// Of a volume, with a name.
    AddVolume,
    /// Of a volume with a file in it.
    RemoveVolume,
    /// Of the one volume that no container uses.
    PruneVolumes,
    /// `container cp` of a directory into a container: what was copied before a fault stays, as with docker, and nothing else does.
    CopyIn,
    /// The same of a tar from standard input.
    UnpackIn,
}

const BUSYBOX: &str = "layerfs-test/busybox:1";
const MOVED: &str = "moved:1";
/// The tar of a tree, beside the archive.
const TREE: &str = "tree.tar";
/// What is copied into a container, also as a tar, both beside the archive.
const COPIED: &str = "copied";
const COPIED_TAR: &str = "copied.tar";
/// A volume that no container uses.
const FREE: &str = "free";

/// With a named volume and one without a name.
fn create(root: &str, name: &str) -> Command {
    layerfs(&["container", "create", "--root", root, "--name", name, "-v", "data:/data", "-v", "/own", BUSYBOX, "sh"])
}

impl Deed {
    /// Whether ids that it draws are in what it leaves.
    fn draws_names(self) -> bool {
        !matches!(self, Self::Import | Self::Tag | Self::Remove)
    }

    /// Whether a container and a volume that it does not use are there before.
    fn needs_container(self) -> bool {
        !matches!(self, Self::Import | Self::Tag | Self::Remove | Self::Flatten | Self::ImportTree)
    }

    /// Whether a part of what it does may stay when it fails.
    fn leaves_parts(self) -> bool {
        matches!(self, Self::CopyIn | Self::UnpackIn)
    }

    fn command(self, archive: &Path, root: &Path) -> Command {
        let root = root.to_str().unwrap();
        match self {
            Self::Import => layer_unpack(&[archive.to_str().unwrap(), "--root", root, "--threads", "1"]),
            Self::Tag => layerfs(&["image", "tag", "--root", root, synthetic::TAG, MOVED]),
            Self::Remove => layerfs(&["image", "rm", "--root", root, synthetic::TAG]),
            Self::Commit => layerfs(&["container", "commit", "--root", root, "box", MOVED]),
            Self::Flatten => layerfs(&["image", "flatten", "--root", root, synthetic::TAG, "--tag", MOVED]),
            Self::ImportTree => {
                layerfs(&["image", "import", "--root", root, archive.with_file_name(TREE).to_str().unwrap(), MOVED])
            }
            Self::Create => create(root, "made"),
            Self::RemoveContainer => layerfs(&["container", "rm", "--root", root, "-v", "box"]),
            Self::Rename => layerfs(&["container", "rename", "--root", root, "box", "another"]),
            Self::PruneContainers => layerfs(&["container", "prune", "--root", root, "-f"]),
            Self::AddVolume => layerfs(&["volume", "create", "--root", root, "--label", "a=b", "added"]),
            Self::RemoveVolume => layerfs(&["volume", "rm", "--root", root, FREE]),
            Self::PruneVolumes => layerfs(&["volume", "prune", "--root", root, "-f"]),
            Self::CopyIn => {
                let from = archive.with_file_name(COPIED);
                layerfs(&["container", "cp", "--root", root, from.to_str().unwrap(), "box:/"])
            }
            Self::UnpackIn => layerfs(&["container", "cp", "--root", root, "-", "box:/"]),
        }
    }
}

/// What is in a root: names, and every file's mode and owner, with lasting names for random ones.
#[derive(Debug, Clone, PartialEq)]
struct State {
    tags: BTreeMap<String, String>,
    references: String,
    outline: Vec<String>,
    /// The names of containers.
    names: Vec<String>,
    /// Volumes with their labels.
    volumes: Vec<String>,
    /// What was copied into the container, at nothing if nothing was.
    copied: TreeState,
    leftovers: Vec<String>,
}

impl State {
    fn read(root: &Path, deed: Deed) -> Self {
        let store = StoreFiles::read(root);
        let leftovers = [store.wrong.clone(), store.unreferenced()].concat();
        let references = std::fs::read_to_string(root.join("image/overlay2/repositories.json")).unwrap();
        let same = |text: String| if deed.draws_names() { without_ids(&text) } else { text };
        let mut outline: Vec<String> = store.outline().into_iter().map(same).collect();
        outline.sort();
        let copied =
            TreeState::read(&if deed.leaves_parts() { diff_of_box(root).join(COPIED) } else { root.join(COPIED) });
        let tags = store.tags.into_iter().map(|(name, image)| (name, same(image))).collect();
        let mut names: Vec<String> = testkit::store::names(&root.join("containers"))
            .iter()
            .map(|id| name_in(&root.join("containers").join(id).join("config.v2.json")))
            .collect();
        names.sort();
        let listed = testkit::made_by_layerfs(root, &["volume", "ls", "--format", "{{.Name}} {{.Labels}}"]);
        let mut volumes: Vec<String> = listed.lines().map(without_ids).collect();
        volumes.sort();
        Self { outline, names, volumes, copied, tags, references: same(references), leftovers }
    }

    /// Without what may stay of a deed that failed: what was copied, and the place where the container was mounted, as dockerd leaves it.
    fn without_parts(&self, root: &Path) -> Self {
        let outline = self.outline.iter().filter(|line| !line.contains("/merged ")).cloned().collect();
        Self { copied: TreeState::read(&root.join("nothing")), outline, ..self.clone() }
    }
}

/// What the only container has written.
fn diff_of_box(root: &Path) -> PathBuf {
    let record = std::fs::read_dir(root.join("image/overlay2/layerdb/mounts")).unwrap().next().unwrap().unwrap().path();
    root.join("overlay2").join(std::fs::read_to_string(record.join("mount-id")).unwrap()).join("diff")
}

/// The name that a container's config has.
fn name_in(config: &Path) -> String {
    let read = std::fs::read(config).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    read.map_or_else(|| "no config".into(), |config| config["Name"].to_string())
}

/// A line about a file, without the time when it was written.
fn without_time(line: &str) -> String {
    match (line.find(" mtime "), line.find(" target ")) {
        (Some(time), Some(target)) if line.contains(" f ") => format!("{}{}", &line[..time], &line[target..]),
        _ => line.to_owned(),
    }
}

/// A text in which all ids and names of links, which differ in every run, are the same.
fn without_ids(text: &str) -> String {
    let is_id = |word: &str| {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_link = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'Z');
        word.len() == 64 && word.bytes().all(is_hex) || word.len() == 26 && word.bytes().all(is_link)
    };
    let words = text.split_inclusive(|char: char| !char.is_ascii_alphanumeric()).map(|word| {
        let end = word.trim_end_matches(|char: char| !char.is_ascii_alphanumeric()).len();
        if is_id(&word[..end]) { format!("#{}", &word[end..]) } else { word.to_owned() }
    });
    words.collect()
}

/// A deed on copies of one root.
struct Bench {
    dir: TempDir,
    archive: PathBuf,
    deed: Deed,
    before: State,
    complete: State,
    exactly: TreeState,
}

impl Bench {
    fn new(deed: Deed) -> Self {
        let dir = testkit::scratch();
        let archive = dir.path().join("archive.tar");
        std::fs::write(&archive, synthetic::archive(1 << 20, 6)).unwrap();
        let original = dir.path().join("original");
        let busybox = testkit::golden("busybox-20.10.tar");
        run(layer_unpack(&[busybox.as_os_str(), "--root".as_ref(), original.as_os_str()]), Input::Nothing).ok();
        let tag = |name: &str| {
            let arguments = ["image", "tag", "--root", original.to_str().unwrap(), BUSYBOX, name];
            run(layerfs(&arguments), Input::Nothing).ok();
        };
        if deed == Deed::Import {
            tag(synthetic::TAG);
        } else {
            run(Deed::Import.command(&archive, &original), Input::Nothing).ok();
            tag(MOVED);
        }
        if deed == Deed::ImportTree {
            let tree = dir.path().join(TREE);
            let arguments =
                ["image", "export", "--root", original.to_str().unwrap(), synthetic::TAG, "-o", tree.to_str().unwrap()];
            run(layerfs(&arguments), Input::Nothing).ok();
        }
        if deed.needs_container() {
            run(
                layerfs(&["volume", "create", "--root", original.to_str().unwrap(), "--label", "a=b", FREE]),
                Input::Nothing,
            )
            .ok();
            std::fs::write(original.join("volumes").join(FREE).join("_data/file"), "kept").unwrap();
            run(create(original.to_str().unwrap(), "box"), Input::Nothing).ok();
            std::fs::write(diff_of_box(&original).join("written"), "written").unwrap();
        }
        if deed.leaves_parts() {
            let copied = dir.path().join(COPIED);
            std::fs::create_dir_all(copied.join("d/e")).unwrap();
            std::fs::write(copied.join("d/small"), "small").unwrap();
            std::fs::write(copied.join("large"), vec![b'x'; 300_000]).unwrap();
            std::os::unix::fs::symlink("d/small", copied.join("link")).unwrap();
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(dir.path()).arg("-cf").arg(dir.path().join(COPIED_TAR)).arg(COPIED);
            run(tar, Input::Nothing).ok();
        }
        let before = State::read(&original, deed);
        let exactly = TreeState::read(&original).without_directory_times();
        let mut bench = Self { dir, archive, deed, complete: before.clone(), before, exactly };
        let root = bench.copy();
        bench.run(deed.command(&bench.archive, &root)).ok();
        bench.complete = State::read(&root, deed);
        assert!(bench.before.leftovers.is_empty() && bench.complete.leftovers.is_empty(), "{:?}", bench.complete);
        assert_ne!(bench.before, bench.complete);
        bench
    }

    fn copy(&self) -> PathBuf {
        let root = self.dir.path().join("root");
        let _ = std::fs::remove_dir_all(&root);
        let copied = Command::new("cp").arg("-a").arg(self.dir.path().join("original")).arg(&root).status();
        assert!(copied.unwrap().success());
        root
    }

    /// How often the deed makes each call.
    fn calls(&self, calls: &[&'static str]) -> Vec<(&'static str, u32)> {
        let (root, log) = (self.copy(), self.dir.path().join("log"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", log.to_str().unwrap(), "-e", &format!("trace={}", calls.join(","))]);
        let command = self.deed.command(&self.archive, &root);
        strace.arg(command.get_program()).args(command.get_args());
        self.run(strace).ok();
        let log = std::fs::read_to_string(log).unwrap();
        let count = |call: &str| log.lines().filter(|line| line.contains(&format!(" {call}("))).count();
        calls.iter().map(|call| (*call, u32::try_from(count(call)).unwrap())).collect()
    }

    /// The deed, with something injected in place of the call.
    fn faulty(&self, root: &Path, call: &str, number: u32, what: &str) -> Ran {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:{what}:when={number}")]);
        let command = self.deed.command(&self.archive, root);
        strace.arg(command.get_program()).args(command.get_args());
        self.run(strace)
    }

    /// Runs the deed, or what runs it, with what it reads from standard input.
    fn run(&self, command: Command) -> Ran {
        let tar = self.archive.with_file_name(COPIED_TAR);
        run(command, if self.deed == Deed::UnpackIn { Input::File(&tar) } else { Input::Nothing })
    }

    /// What is wrong after a call that failed.
    fn fail(&self, call: &str, number: u32, error: &str) -> Option<String> {
        let root = self.copy();
        let ran = self.faulty(&root, call, number, &format!("error={error}"));
        let now = State::read(&root, self.deed);
        let title = format!("{:?}, {call} {number} fails with {error}", self.deed);
        let as_before = now == self.before || self.deed.leaves_parts() && now.without_parts(&root) == self.before;
        let wrong = match (ran.code, as_before, now == self.complete) {
            (Some(0), _, true) => None,
            (Some(code), true, _) if code != 0 => {
                let mut changes = self.exactly.changes(&TreeState::read(&root).without_directory_times());
                // What was put back is in a new file: byte for byte the same, but for the database with the labels of volumes.
                changes.retain(|line| !line.contains(" volumes/metadata.db "));
                changes.retain(|line| {
                    !self.deed.leaves_parts()
                        || !["/diff/copied", "/diff/data ", "/diff/own ", "/merged "]
                            .iter()
                            .any(|part| line.contains(part))
                });
                let timeless: Vec<String> = changes.iter().map(|line| without_time(line)).collect();
                let other = |line: &str| {
                    if line.starts_with('-') { line.replacen('-', "+", 1) } else { line.replacen('+', "-", 1) }
                };
                changes.retain(|line| !timeless.contains(&other(&without_time(line))));
                (!changes.is_empty()).then(|| format!("not as before: {changes:?}"))
            }
            (Some(code), _, true) if code != 0 => None,
            _ => {
                let told = (&now.tags, &now.names, &now.volumes, &now.leftovers);
                Some(format!("neither as before nor complete: {told:?}"))
            }
        };
        let wrong = wrong.or_else(|| self.again(&root));
        wrong.map(|wrong| format!("{title}: {wrong}; exit status {:?}: {}", ran.code, ran.stderr.trim_end()))
    }

    /// What is wrong after the deed is done again, if a part of it may have stayed.
    fn again(&self, root: &Path) -> Option<String> {
        if !self.deed.leaves_parts() {
            return None;
        }
        let ran = self.run(self.deed.command(&self.archive, root));
        let complete = ran.code == Some(0) && State::read(root, self.deed) == self.complete;
        (!complete).then(|| format!("not complete when done again: {:?} {}", ran.code, ran.stderr.trim_end()))
    }

    /// What is wrong after a kill, and after the command that comes next.
    fn kill(&self, call: &str, number: u32) -> Vec<String> {
        let root = self.copy();
        let ran = self.faulty(&root, call, number, "signal=SIGKILL");
        let mut report = Vec::new();
        let store = StoreFiles::read(&root);
        // What a dockerd that starts now would trip over.
        report.extend(store.wrong);
        // Any command that writes, which changes nothing itself.
        let arguments = ["image", "rm", "--root", root.to_str().unwrap(), "nosuch"];
        assert_eq!(run(layerfs(&arguments), Input::Nothing).code, Some(1));
        let now = State::read(&root, self.deed);
        let as_before = now == self.before || self.deed.leaves_parts() && now.without_parts(&root) == self.before;
        if !as_before && now != self.complete {
            let lines = |these: &State, those: &State| {
                these.outline.iter().filter(|line| !those.outline.contains(line)).cloned().collect::<Vec<_>>()
            };
            let outline = (lines(&self.before, &now), lines(&now, &self.before));
            report.push(format!("not put right: {:?} {:?} {:?} {outline:?}", now.tags, now.names, now.leftovers));
        }
        if ran.code == Some(0) && now != self.complete {
            report.push("finished, and not complete".into());
        }
        report.extend(self.again(&root));
        report.into_iter().map(|line| format!("{:?}, killed before {call} {number}: {line}", self.deed)).collect()
    }
}

fn can_run() -> bool {
    testkit::is_root() && testkit::tier("root", kill::can_count_calls(), "install strace")
}

/// A test of each kind for each deed: they run side by side, and in a sweep, which lasts long, each has a verdict of its own.
macro_rules! deeds {
    ($($name:ident: $deed:ident, $seed:literal;)*) => {$(
        mod $name {
            #[test]
            fn root_is_as_before_or_complete_when_a_call_fails() {
                super::calls_fail(super::Deed::$deed, $seed);
            }

            #[test]
            fn root_is_put_right_after_a_kill_at_each_call() {
                super::is_killed(super::Deed::$deed);
            }
        }
    )*};
}

deeds! {
    import: Import, 1;
    tag: Tag, 2;
    remove: Remove, 3;
    commit: Commit, 4;
    flatten: Flatten, 5;
    create: Create, 6;
    remove_container: RemoveContainer, 7;
    rename: Rename, 8;
    prune_containers: PruneContainers, 9;
    add_volume: AddVolume, 10;
    remove_volume: RemoveVolume, 11;
    prune_volumes: PruneVolumes, 12;
    import_tree: ImportTree, 13;
    copy_in: CopyIn, 14;
    unpack_in: UnpackIn, 15;
}

fn calls_fail(deed: Deed, seed: u64) {
    if !can_run() {
        return;
    }
    let bench = Bench::new(deed);
    let mut faults: Vec<(&str, u32, &str)> = bench
        .calls(CALLS)
        .into_iter()
        .flat_map(|(call, count)| (1..=count).flat_map(move |number| ERRORS.map(|error| (call, number, error))))
        .collect();
    let all = faults.len();
    if !testkit::full_sweep() {
        let mut random = Random::new(seed);
        let (count, last) = if deed.draws_names() { (4, 1) } else { (40, 4) };
        faults = (0..count).map(|_| faults[random.below(all as u64) as usize]).collect();
        // Those around the commit point are always among them.
        faults.extend(bench.calls(CHANGES).into_iter().flat_map(|(call, count)| {
            (1..=count).rev().take(last).zip(ERRORS).map(move |(number, error)| (call, number, error))
        }));
        // A copy once took what could not be looked at for nothing: every look is tried.
        if deed == Deed::CopyIn {
            let looks = bench.calls(&["newfstatat", "fstat"]).into_iter();
            faults.extend(looks.flat_map(|(call, count)| (1..=count).map(move |number| (call, number, "EIO"))));
        }
    }
    let report: Vec<String> =
        faults.iter().filter_map(|(call, number, error)| bench.fail(call, *number, error)).collect();
    eprintln!("{deed:?}: {} of {all} failing calls", faults.len());
    testkit::assert_none("after failing calls", &report);
}

fn is_killed(deed: Deed) {
    // An import that is killed is what `root_kill` is about.
    if deed == Deed::Import || !can_run() {
        return;
    }
    let bench = Bench::new(deed);
    let calls = bench.calls(CHANGES);
    // Few are all tried.
    let are_few = calls.iter().map(|(_, count)| count).sum::<u32>() < 32;
    let step = if !deed.draws_names() || are_few || testkit::full_sweep() { 1 } else { 4 };
    let mut report = Vec::new();
    let mut kills = 0;
    for (call, count) in calls {
        for number in (1..=count).step_by(step) {
            report.extend(bench.kill(call, number));
            kills += 1;
        }
    }
    eprintln!("{deed:?}: {kills} kills");
    testkit::assert_none("after kills", &report);
}

/// The shell's limit on the size of a file ends no process in the middle of a write.
#[test]
fn root_container_is_not_made_where_files_must_be_small() {
    if !testkit::is_root() {
        return;
    }
    let bench = Bench::new(Deed::Create);
    let root = bench.copy();
    let command = Deed::Create.command(&bench.archive, &root);
    let mut limited = Command::new("sh");
    // One block of 512 bytes: the record of intent is shorter, the container's config is not.
    limited.args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    let ran = run(limited, Input::Nothing);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("File too large"), "{}", ran.stderr);
    assert_eq!(State::read(&root, Deed::Create), bench.before);
}
