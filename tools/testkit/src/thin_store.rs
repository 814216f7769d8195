//! Stores that dockerd 20.10.24 wrote with its driver devicemapper, and what docker said of them.
//!
//! `testdata/devicemapper` has two: one of a daemon that was stopped, with ext4, and one of a machine whose power was cut
//! while a container was writing, with xfs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The names of the stores.
pub const STORES: [&str; 2] = ["ext4", "xfs"];

/// A store, unpacked: its root, and what docker said of it.
#[derive(Debug)]
pub struct ThinStore {
    /// One test at a time: each looks at the loop devices that are left.
    _turn: MutexGuard<'static, ()>,
    dir: tempfile::TempDir,
    /// The data-root.
    pub root: PathBuf,
    /// The directory with what docker said of it.
    pub said: PathBuf,
}

impl ThinStore {
    /// Unpacks the store of a name.
    #[must_use]
    pub fn unpack(name: &str) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = crate::scratch_for(256 << 20);
        let archive = crate::testdata(&format!("devicemapper/{name}.tar.xz"));
        let unpacked = Command::new("tar").arg("-xJSf").arg(archive).arg("-C").arg(dir.path()).status().unwrap();
        assert!(unpacked.success());
        let (root, said) = (dir.path().join("docker"), dir.path().join("docker/oracle"));
        // Beside the root, so that it is no part of it.
        let aside = dir.path().join("oracle");
        std::fs::rename(said, &aside).unwrap();
        Self { _turn: turn, dir, root, said: aside }
    }

    /// A path beside the root.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of what docker said.
    #[must_use]
    pub fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.said.join(name)).unwrap()
    }

    /// `data` or `metadata` of the pool.
    #[must_use]
    pub fn pool(&self, part: &str) -> PathBuf {
        self.root.join("devicemapper/devicemapper").join(part)
    }

    /// Runs one of our programs on the root.
    #[must_use]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(crate::program(program)).arg("--root").arg(&self.root).args(arguments).output().unwrap()
    }

    /// What `layerfs` prints.
    pub fn ok(&self, arguments: &[&str]) -> String {
        crate::succeeded("layerfs", self.run("layerfs", arguments))
    }
}

/// The members of a tar: name, what tar says of it, and its content.
#[must_use]
pub fn members(tar: &Path) -> Vec<(String, String, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(tar).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        let told = format!(
            "{:?} {:o} {}:{} {} {:?}",
            header.entry_type(),
            header.mode().unwrap() & 0o7777,
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            entry.link_name().unwrap()
        );
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, told, content)
    });
    let mut members: Vec<_> = entries.collect();
    members.sort();
    members
}
