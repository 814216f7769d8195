//! Power cuts: the file system under a store is shut down without its journal being flushed, and mounted again. What had ended
//! is there, to the byte; what had not is taken back or finished by the next command that writes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::run::{Input, layer_unpack, layerfs, run, start};
use testkit::store::StoreFiles;
use testkit::{Random, synthetic};

/// A file system on a loop device that can lose its power.
struct Disk {
    dir: TempDir,
    kind: &'static str,
}

impl Disk {
    /// XFS takes no less.
    const SIZE: u64 = 320 << 20;

    fn new(kind: &'static str) -> Self {
        let dir = testkit::scratch();
        let disk = Self { dir, kind };
        std::fs::create_dir(disk.point()).unwrap();
        std::fs::File::create(disk.image()).unwrap().set_len(Self::SIZE).unwrap();
        call(&format!("/usr/sbin/mkfs.{kind}"), &["-q".as_ref(), disk.image().as_os_str()]);
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn point(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn root(&self) -> PathBuf {
        self.point().join("root")
    }

    fn mount(&self) {
        // The copy that `restart` makes has the same UUID as the file system that may still be mounted elsewhere.
        let how = if self.kind == "xfs" { "loop,nouuid" } else { "loop" };
        let options = ["-t".as_ref(), self.kind.as_ref(), "-o".as_ref(), how.as_ref()];
        call("mount", &[&options[..], &[self.image().as_os_str(), self.point().as_os_str()]].concat());
    }

    /// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are one number, and 2 is "do not flush the log" for both.
    fn cut_power(&self) {
        let ioctl =
            "open(my $root, '<', $ARGV[0]) or die; my $how = pack('L', 2); ioctl($root, 0x8004587d, $how) or die $!";
        call("perl", &["-e".as_ref(), ioctl.as_ref(), self.point().as_os_str()]);
    }

    /// After which the kernel recovers what its journal says. What is mounted is a copy of the disk: where another mount
    /// namespace was made meanwhile, the one that was shut down is still mounted there, and `mount` would find it again.
    fn restart(&self) {
        call("umount", &[self.point().as_os_str()]);
        let copy = self.dir.path().join("copy");
        call("cp", &["--sparse=always".as_ref(), self.image().as_os_str(), copy.as_os_str()]);
        std::fs::rename(copy, self.image()).unwrap();
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.point()).status();
    }
}

fn call(program: &str, arguments: &[&std::ffi::OsStr]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Import,
    Tag,
    Remove,
}

const MOVED: &str = "moved:1";
const BUSYBOX: &str = "layerfs-test/busybox:1";

impl Deed {
    fn command(self, archive: &Path, root: &Path) -> Command {
        let root = root.to_str().unwrap();
        match self {
            Self::Import => layer_unpack(&[archive.to_str().unwrap(), "--root", root]),
            Self::Tag => layerfs(&["image", "tag", "--root", root, synthetic::TAG, MOVED]),
            Self::Remove => layerfs(&["image", "rm", "--root", root, synthetic::TAG]),
        }
    }

    /// Whether it was done; or neither done nor not.
    fn is_done(self, store: &StoreFiles) -> Option<bool> {
        let image = store.tags.get(synthetic::TAG);
        match self {
            Self::Import | Self::Remove => {
                let there = (image.is_some(), store.images.len());
                let done = match there {
                    (true, 2) => true,
                    (false, 1) => false,
                    _ => return None,
                };
                Some(done == (self == Self::Import))
            }
            Self::Tag => Some(store.tags.get(MOVED) == image),
        }
    }
}

/// One cut, so long after the beginning, or at the very end. Returns whether the deed had ended, and what is wrong.
fn cut(kind: &'static str, deed: Deed, after: Option<Duration>) -> (bool, Vec<String>) {
    let disk = Disk::new(kind);
    let archive = disk.dir.path().join("archive.tar");
    std::fs::write(&archive, synthetic::archive(8 << 20, 400)).unwrap();
    let busybox = testkit::golden("busybox-20.10.tar");
    run(layer_unpack(&[busybox.as_os_str(), "--root".as_ref(), disk.root().as_os_str()]), Input::Nothing).ok();
    if deed != Deed::Import {
        run(Deed::Import.command(&archive, &disk.root()), Input::Nothing).ok();
        let tag = ["image", "tag", "--root", disk.root().to_str().unwrap(), BUSYBOX, MOVED].map(str::to_owned);
        run(layerfs(&tag), Input::Nothing).ok();
    }
    let ended = match after {
        None => {
            run(deed.command(&archive, &disk.root()), Input::Nothing).ok();
            disk.cut_power();
            true
        }
        Some(delay) => {
            let mut child = start(deed.command(&archive, &disk.root()), Input::Nothing);
            std::thread::sleep(delay);
            let ended = child.try_wait().unwrap().is_some_and(|status| status.success());
            disk.cut_power();
            let _ = child.kill();
            child.wait().unwrap();
            ended
        }
    };
    disk.restart();
    let mut report = StoreFiles::read(&disk.root()).wrong;
    let next = ["image", "rm", "--root", disk.root().to_str().unwrap(), "nosuch"].map(str::to_owned);
    let next = run(layerfs(&next), Input::Nothing);
    if next.code != Some(1) || !next.stderr.contains("No such image: nosuch") {
        report.push(format!("the next command: {}", next.stderr));
    }
    let store = StoreFiles::read(&disk.root());
    match deed.is_done(&store) {
        None => report.push(format!("half done: {:?} {:?}", store.images.keys(), store.tags)),
        Some(false) if ended => report.push("it had ended, and is undone".into()),
        Some(_) => {}
    }
    report.extend(store.unreferenced());
    report.extend(store.not_replayable());
    report.extend(store.wrong);
    (ended, report.into_iter().map(|line| format!("{kind}, {deed:?}, cut after {after:?}: {line}")).collect())
}

fn cuts(kind: &'static str, need: &str) {
    let found = Path::new(&format!("/usr/sbin/mkfs.{kind}")).exists() && Path::new("/dev/loop-control").exists();
    if !testkit::is_root() || !testkit::tier("root", found, need) {
        return;
    }
    let began = Instant::now();
    let mut report = Vec::new();
    for deed in [Deed::Import, Deed::Tag, Deed::Remove] {
        report.extend(cut(kind, deed, None).1);
    }
    let (count, mut random, mut early) = (if testkit::full_sweep() { 42 } else { 2 }, Random::new(11), 0);
    for number in 0..count {
        let deed = [Deed::Import, Deed::Remove, Deed::Import, Deed::Tag][number % 4];
        let most = if deed == Deed::Import { 600_000 } else { 150_000 };
        let (ended, found) = cut(kind, deed, Some(Duration::from_micros(random.below(most))));
        early += usize::from(!ended);
        report.extend(found);
    }
    eprintln!("{kind}: {} power cuts, {early} before the end, {:?}", count + 3, began.elapsed());
    testkit::assert_none("after power cuts", &report);
}

#[test]
fn root_survives_power_cuts_on_ext4() {
    cuts("ext4", "install e2fsprogs, and have loop devices");
}

#[test]
fn root_survives_power_cuts_on_xfs() {
    cuts("xfs", "install xfsprogs, and have loop devices");
}
