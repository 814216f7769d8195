//! File systems of the test's own, gone when it ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::UnmountFlags;
use tempfile::TempDir;

/// Something mounted.
#[derive(Debug)]
pub struct Mounted {
    point: PathBuf,
    _dir: TempDir,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Mounted {
    fn new(kind: &str, options: &str, source: impl FnOnce(&Path) -> String) -> Self {
        Self::new_in(super::scratch(), kind, options, source)
    }

    fn new_in(dir: TempDir, kind: &str, options: &str, source: impl FnOnce(&Path) -> String) -> Self {
        let point = dir.path().join("mounted");
        std::fs::create_dir(&point).unwrap();
        run("mount", &["-t", kind, "-o", options, &source(dir.path()), text(&point)]);
        Self { point, _dir: dir }
    }

    /// Fills the file system but for `spare` bytes.
    pub fn fill(&self, spare: u64) {
        let ballast = self.point.join("ballast");
        let mut left = 64 << 20;
        while left > 0 {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&ballast);
            if std::io::Write::write_all(&mut file.unwrap(), &vec![1; left]).is_err() {
                left /= 2;
            }
        }
        assert_eq!(self.free().0, 0);
        let file = std::fs::OpenOptions::new().write(true).open(&ballast).unwrap();
        file.set_len(file.metadata().unwrap().len().saturating_sub(spare)).unwrap();
    }

    /// Takes away what [`fill`](Self::fill) has written.
    pub fn empty(&self) {
        let ballast = self.point.join("ballast");
        // A process that was forked while this program had the file open may still have it: removing it alone gives nothing back then.
        std::fs::File::create(&ballast).unwrap();
        std::fs::remove_file(&ballast).unwrap();
    }

    /// A tmpfs, with options such as `size=1m`.
    pub fn tmpfs(options: &str) -> Self {
        Self::new("tmpfs", options, |_| "layerfs-test".into())
    }

    /// An ext4 file system of `bytes` bytes.
    pub fn ext4(bytes: u64) -> Self {
        Self::new("ext4", "loop", |dir| {
            let image = dir.join("image");
            std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
            // Nothing kept for root, who runs this.
            run("/usr/sbin/mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0", text(&image)]);
            text(&image).to_owned()
        })
    }

    /// Directories stacked by the kernel, to be read only; the first one is on top.
    pub fn overlay(layers: &[PathBuf]) -> Self {
        // One layer alone is not mounted, so there is always an empty one at the bottom.
        let dir = super::scratch();
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let lower: Vec<&str> = layers.iter().chain([&empty]).map(|layer| text(layer)).collect();
        let options = format!("ro,index=off,lowerdir={}", lower.join(":"));
        Self::new_in(dir, "overlay", &options, |_| "layerfs-test".into())
    }

    /// Changes its options, such as `ro`.
    pub fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), text(&self.point)]);
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Free bytes and free inodes.
    pub fn free(&self) -> (u64, u64) {
        let stat = rustix::fs::statvfs(&self.point).unwrap();
        (stat.f_bavail * stat.f_frsize, stat.f_favail)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.point, UnmountFlags::DETACH);
    }
}

/// A mount at a path of the test's choice, gone with this.
#[derive(Debug)]
#[must_use]
pub struct Bound(PathBuf);

impl Bound {
    /// Shows `what` at `point`.
    pub fn new(what: &Path, point: &Path) -> Self {
        rustix::mount::mount_bind(what, point).unwrap();
        Self(point.to_owned())
    }

    /// What the test has mounted at `point` itself.
    pub fn taken(point: &Path) -> Self {
        Self(point.to_owned())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}
