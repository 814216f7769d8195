//! File systems that exist for one measurement: fresh, and gone afterwards.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

use super::rows::On;

/// Bytes of memory that are used once before each measurement: more than any of them takes.
const TOUCHED: u64 = 4 << 30;

/// A tmpfs that holds everything of a run: inputs, images of disks, sockets of daemons. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Base {
    directory: TempDir,
}

impl Base {
    /// Mounts it below the directory for temporary files.
    ///
    /// # Errors
    ///
    /// If it cannot be mounted; that needs root.
    pub fn mount() -> Result<Self> {
        let base = Self { directory: tempfile::Builder::new().prefix("peers-").tempdir()? };
        // Not private: a daemon may change to another user, and `podman` refuses nothing else.
        command("mount", &["-t", "tmpfs", "-o", "size=95%,nr_inodes=0,mode=755", "tmpfs", text(base.path())?])?;
        Ok(base)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Uses memory once and gives it back, so that every program finds it in the same state: a virtual machine returns free
    /// memory to its host, and whoever uses it first afterwards waits for the host.
    fn touch_memory(&self) -> Result<()> {
        let path = self.path().join("touched");
        let mut file = std::fs::File::create(&path)?;
        let zeros = vec![0; 4 << 20];
        // Where there is less room, less is touched.
        while file.stream_position()? < TOUCHED && file.write_all(&zeros).is_ok() {}
        Ok(std::fs::remove_file(&path)?)
    }

    /// A fresh file system; `size` is the length of a disk in bytes, of which only what is written takes memory.
    ///
    /// # Errors
    ///
    /// If it cannot be made or mounted.
    pub fn fresh(&self, on: On, size: u64) -> Result<Fresh> {
        self.touch_memory()?;
        let fresh = Fresh { path: self.path().join("target"), disk: self.path().join("disk") };
        std::fs::create_dir_all(&fresh.path)?;
        let path = text(&fresh.path)?;
        if on == On::Tmpfs {
            command("mount", &["-t", "tmpfs", "-o", "size=90%,nr_inodes=0,mode=755", "tmpfs", path])?;
            return Ok(fresh);
        }
        std::fs::File::create(&fresh.disk)?.set_len(size)?;
        let disk = text(&fresh.disk)?;
        match on {
            On::Ext4 => {
                command("mkfs.ext4", &["-q", "-F", disk])?;
                // Else a thread of the kernel writes inode tables while we measure.
                command("mount", &["-o", "loop,noinit_itable", disk, path])?;
            }
            On::Xfs | On::Tmpfs => {
                command("mkfs.xfs", &["-q", "-f", disk])?;
                command("mount", &["-o", "loop", disk, path])?;
            }
        }
        Ok(fresh)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        unmount_below(self.path());
    }
}

/// A mounted file system that nobody has written to yet.
#[derive(Debug)]
#[must_use = "dropping it unmounts it"]
pub struct Fresh {
    path: PathBuf,
    disk: PathBuf,
}

impl Fresh {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        unmount_below(&self.path);
        // Only disks have one.
        let _ = std::fs::remove_file(&self.disk);
    }
}

/// Unmounts a directory and all below it: daemons leave mounts behind.
fn unmount_below(path: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for point in points.filter(|point| point.starts_with(path)).collect::<Vec<_>>().into_iter().rev() {
        if rustix::mount::unmount(point, UnmountFlags::empty()).is_err() {
            // Somebody still has a file open: at least nobody else finds it.
            let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
        }
    }
}

/// Runs a command that has to succeed.
fn command(name: &str, arguments: &[&str]) -> Result<()> {
    let path = super::measure::find(name).with_context(|| format!("{name} is not installed"))?;
    let output = Command::new(path).args(arguments).output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A path as text; those of a run are.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
