//! The directory that the runs of a benchmark are made in, and that they leave as it was.
//!
//! ```text
//! DIR/                          empty, or made here with the directories that lead to it
//! DIR/.layerfs-bench-<pid>/     made here
//! DIR/.layerfs-bench-<pid>/run  what a run makes
//! ```
//!
//! Only what was made here is ever removed, and it is removed by name below the directory that was opened, so that nothing
//! else can be hit if `DIR` is moved or replaced meanwhile.

use std::fs::{File, FileTimes, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use snapshot::dir::Dir;

const PREFIX: &str = ".layerfs-bench-";
const RUN: &str = "run";

/// Removes, when it is dropped, everything that was made.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: Dir,
    /// The directory's metadata before; `None` if it was made here.
    before: Option<Metadata>,
    /// The directories that were made: this one, and those that lead to it.
    _made: Made,
    name: String,
    base: Dir,
}

impl Scratch {
    /// Opens `path`, which must not exist or be empty.
    pub(super) fn new(path: &Path) -> anyhow::Result<Self> {
        let made = Made::new(path)?;
        let dir = Dir::open(path)?;
        if !dir.is_empty()? {
            let left = |name: &String| name.starts_with(PREFIX);
            let left = dir.names().unwrap_or_default().into_iter().find(left);
            let left = left.map(|name| format!(", and {name} is what a benchmark left that was killed"));
            let left = left.unwrap_or_default();
            bail!("{} is not empty: a benchmark needs an empty or a new directory{left}", path.display());
        }
        let before = if made.0.is_empty() { Some(std::fs::metadata(path)?) } else { None };
        let name = format!("{PREFIX}{}", std::process::id());
        let base = dir.create(&name, 0o700)?;
        Ok(Self { dir, before, _made: made, name, base })
    }

    /// The directory that runs are made in.
    pub(super) fn base(&self) -> &Dir {
        &self.base
    }

    /// The path at which a run may make something. Nothing is there before.
    pub(super) fn run(&self) -> PathBuf {
        self.base.join(RUN)
    }

    /// Removes what a run made, and lets the file system come to rest, so that the next run does not pay for it.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        self.base.remove_tree(RUN)?;
        Ok(self.base.sync_file_system()?)
    }

    /// Removes everything. Dropping does the same, but says nothing of what cannot be removed.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        Ok(self.dir.remove_tree(&self.name)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Ignore the error: nobody can be told, and the failure before this one matters more.
        let _ = self.dir.remove_tree(&self.name);
        if let Some(before) = &self.before {
            let _ = restore_times(&self.dir, before);
        }
    }
}

fn restore_times(dir: &Dir, before: &Metadata) -> anyhow::Result<()> {
    let times = FileTimes::new().set_accessed(before.accessed()?).set_modified(before.modified()?);
    Ok(File::from(dir.owned_fd()?).set_times(times)?)
}

/// Directories that were made, the outermost first. Those that are still empty are removed when this is dropped.
#[derive(Debug)]
struct Made(Vec<PathBuf>);

impl Made {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let mut made = Self(Vec::new());
        let above: Vec<&Path> = path.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
        for above in above.into_iter().rev() {
            match std::fs::create_dir(above) {
                Ok(()) => made.0.push(above.to_path_buf()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("creating {}", above.display())),
            }
        }
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = std::fs::remove_dir(path);
        }
    }
}
