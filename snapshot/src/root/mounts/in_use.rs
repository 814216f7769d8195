//! Whether anything of a driver's home is mounted, by whatever way.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Mounts;
use crate::dir::Dir;
use crate::error::StoreError;

/// The mount point of anything that is mounted below `home`, or of an overlay anywhere that shows a directory below it;
/// `None` if there is neither.
///
/// # Errors
/// [`StoreError`] if that cannot be found out.
pub(in crate::root) fn in_use(home: &Dir) -> Result<Option<PathBuf>, StoreError> {
    let mounts = Mounts::read()?;
    if let Some((_, mount)) = mounts.below(home)?.first() {
        return Ok(Some(mount.point.clone()));
    }
    let mut ways = Ways::new(home)?;
    for mount in mounts.iter() {
        for directory in mount.overlay_directories() {
            if ways.lead_into(&directory)? {
                return Ok(Some(mount.point.clone()));
            }
        }
    }
    Ok(None)
}

/// Tells whether a path leads into the home, by whatever name.
struct Ways<'a> {
    home: &'a Dir,
    identity: (u64, u64),
    real: PathBuf,
    /// Paths that were looked at, each with whether it is the home.
    known: HashMap<PathBuf, bool>,
}

impl<'a> Ways<'a> {
    fn new(home: &'a Dir) -> Result<Self, StoreError> {
        let stat = rustix::fs::fstat(home).map_err(StoreError::io(home.path(), "stat"))?;
        let identity = (stat.st_dev, stat.st_ino);
        Ok(Self { home, identity, real: home.real_path()?, known: HashMap::new() })
    }

    fn lead_into(&mut self, directory: &Path) -> Result<bool, StoreError> {
        if !directory.is_absolute() {
            // A relative path: dockerd mounts from within its home if the options would be too long otherwise.
            return Ok(self.home.kind_behind(directory)?.is_some());
        }
        if directory.starts_with(&self.real) {
            return Ok(true);
        }
        Ok(directory.ancestors().skip(1).any(|above| self.is_home(above)))
    }

    fn is_home(&mut self, path: &Path) -> bool {
        if let Some(&known) = self.known.get(path) {
            return known;
        }
        // A path that this process cannot reach is not the home, since this process has opened the home.
        let found = rustix::fs::stat(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.identity);
        self.known.insert(path.to_path_buf(), found);
        found
    }
}
