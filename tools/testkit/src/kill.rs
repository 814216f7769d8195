//! Imports that are killed, and what they leave.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::run::{self, Input, layer_unpack};
use super::store::{StoreFiles, names};
use super::{Random, TreeState, synthetic};

/// When to kill an import.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// This long after its start.
    Start(Duration),
    /// This long after it has written down what it is about to register.
    Intent(Duration),
    /// When it is about to make this call for this time; needs strace.
    Call(&'static str, u32),
}

/// What a killed import left of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Neither the image nor its name.
    Nothing,
    /// The documented window: the image, but not its name.
    Untagged,
    /// The image with its name.
    Complete,
}

/// An archive to import, beside a root that holds another image.
#[derive(Debug)]
pub struct Workshop {
    dir: TempDir,
    archive: PathBuf,
    driver: &'static str,
    /// The id of the image in the archive.
    image: String,
}

const ORIGINAL: &str = "busybox-20.10.tar";

impl Workshop {
    /// Makes an archive of about `bytes` bytes and `files` files, for roots of overlay2.
    pub fn new(bytes: usize, files: usize) -> Self {
        Self::of_driver("overlay2", bytes, files)
    }

    /// [`Self::new`] for roots of another storage driver.
    pub fn of_driver(driver: &'static str, bytes: usize, files: usize) -> Self {
        let dir = super::scratch();
        let archive = dir.path().join("archive.tar");
        std::fs::write(&archive, synthetic::archive(bytes, files)).unwrap();
        let root = dir.path().join("first");
        run::run(import(&archive, &root, driver, false), Input::Nothing).ok();
        let image = StoreFiles::read(&root).images.keys().next().unwrap().clone();
        std::fs::remove_dir_all(&root).unwrap();
        Self { dir, archive, driver, image }
    }

    /// A new root that holds the original image.
    pub fn root(&self, name: &str) -> KillRoot<'_> {
        let path = self.dir.path().join(name);
        run::run(import(&super::golden(ORIGINAL), &path, self.driver, false), Input::Nothing).ok();
        let store = StoreFiles::read(&path);
        let original = store.images.keys().next().unwrap().clone();
        let paths = store.paths_of(&original);
        let before = paths.iter().map(|path| TreeState::read(path)).collect();
        KillRoot { workshop: self, path, original, paths, before }
    }

    /// The time of a whole import: the shortest of three.
    pub fn duration(&self, sync: bool) -> Duration {
        let once = |number| {
            let root = self.root(&format!("timed-{number}"));
            let time = root.import(sync).ok().time;
            root.remove();
            time
        };
        (0..3).map(once).min().unwrap()
    }
}

fn import(archive: &Path, root: &Path, driver: &str, sync: bool) -> Command {
    let mut command = layer_unpack(&[archive.as_os_str(), "--root".as_ref(), root.as_os_str()]);
    command.args(["--storage-driver", driver]);
    if !sync {
        command.arg("--no-sync");
    }
    command
}

/// A data-root with an image that is not to be touched.
#[derive(Debug)]
pub struct KillRoot<'w> {
    workshop: &'w Workshop,
    /// Where it is.
    pub path: PathBuf,
    original: String,
    paths: Vec<PathBuf>,
    before: Vec<TreeState>,
}

impl KillRoot<'_> {
    /// Imports the archive to the end.
    pub fn import(&self, sync: bool) -> run::Ran {
        run::run(import(&self.workshop.archive, &self.path, self.workshop.driver, sync), Input::Nothing)
    }

    /// Starts an import and kills it. Returns whether it was still running.
    pub fn kill(&self, moment: Moment, sync: bool) -> bool {
        let command = import(&self.workshop.archive, &self.path, self.workshop.driver, sync);
        if let Moment::Call(call, number) = moment {
            return run::run(killed_at(call, number, &command), Input::Nothing).code.is_none();
        }
        let mut child = run::start(command, Input::Nothing);
        match moment {
            Moment::Start(delay) => wait(delay),
            Moment::Intent(delay) => {
                let tmp = self.path.join("image").join(self.workshop.driver).join("layerdb/tmp");
                let intended = || names(&tmp).iter().any(|name| name.starts_with("layerfs-intent"));
                while !intended() && is_running(&mut child) {}
                wait(delay);
            }
            Moment::Call(..) => {}
        }
        let running = is_running(&mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        running
    }

    /// What there is of the archive's image, and what is wrong with anything.
    pub fn left(&self) -> (Left, Vec<String>) {
        let store = StoreFiles::read(&self.path);
        let mut report = self.original_changes();
        let tag = store.tags.get(synthetic::TAG);
        let left = match (store.images.contains_key(&self.workshop.image), tag == Some(&self.workshop.image)) {
            (true, true) => Left::Complete,
            (true, false) => Left::Untagged,
            (false, _) => Left::Nothing,
        };
        if !store.images.contains_key(&self.original) || store.tags.len() != 1 + usize::from(tag.is_some()) {
            report.push(format!("images {:?} with tags {:?}", store.images.keys(), store.tags));
        }
        report.extend(store.not_replayable());
        report.extend(store.wrong);
        (left, report)
    }

    /// Takes the other image as it is now: a dockerd that used it has left a mark.
    pub fn settle(&mut self) {
        self.before = self.paths.iter().map(|path| TreeState::read(path)).collect();
    }

    fn original_changes(&self) -> Vec<String> {
        let now = self.paths.iter().map(|path| TreeState::read(path));
        self.before.iter().zip(now).flat_map(|(before, now)| before.changes(&now)).collect()
    }

    /// What is wrong after an import that must put everything right.
    pub fn after_import(&self) -> Vec<String> {
        let ran = self.import(false);
        if ran.code != Some(0) {
            return vec![format!("the next import ends with {:?}: {}", ran.code, ran.stderr)];
        }
        let (left, mut report) = self.left();
        if left != Left::Complete {
            report.push(format!("after the next import the image is {left:?}"));
        }
        report.extend(StoreFiles::read(&self.path).unreferenced());
        report
    }

    /// Removes everything that was imported into it.
    pub fn remove(self) {
        std::fs::remove_dir_all(&self.path).unwrap();
    }
}

/// Whether calls can be counted.
pub fn can_count_calls() -> bool {
    Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success())
}

/// `command` under strace, which kills it instead of letting it make the call. One thread, so that calls can be counted.
fn killed_at(call: &str, number: u32, command: &Command) -> Command {
    let mut strace = killed_before(call, number, command);
    strace.args(["--threads", "1"]);
    strace
}

/// `command` under strace, which kills it instead of letting it make the call. The command must work with one thread, so that calls can
/// be counted.
pub fn killed_before(call: &str, number: u32, command: &Command) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

fn is_running(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

/// Waits to the microsecond.
fn wait(delay: Duration) {
    let start = Instant::now();
    if let Some(most) = delay.checked_sub(Duration::from_millis(2)) {
        std::thread::sleep(most);
    }
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
}

/// `count` moments, the same in every run but for the duration: a third all over the import, a third in its last part,
/// a third between the record of intent and the end.
pub fn moments(count: u64, duration: Duration, seed: u64) -> Vec<Moment> {
    let mut random = Random::new(seed);
    let micros = u64::try_from(duration.as_micros()).unwrap();
    let mut moment = |number| match number % 3 {
        0 => Moment::Start(Duration::from_micros(random.below(micros))),
        1 => Moment::Start(Duration::from_micros(micros * 7 / 10 + random.below(micros / 2))),
        _ => Moment::Intent(Duration::from_micros(random.below(250))),
    };
    (0..count).map(&mut moment).collect()
}
