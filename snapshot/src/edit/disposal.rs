//! What a change does with things that it removes: it deletes them, or moves them into a quarantine, from which they
//! can be put back.
//!
//! ```text
//! <quarantine>/
//!   quarantine.json       {"layerfs-quarantine":1,"root":"...","driver":"...","names":{"app:1":"sha256:..."}}
//!   overlay2/<cache id>/                        each thing at the path that it had below the root
//!   overlay2/l/<link id>
//!   image/overlay2/layerdb/sha256/<chain id>/   and so on
//! ```
//!
//! Things are moved by renames, so a quarantine must be on the root's file system, and on the same mount of it. The
//! record of intent names the quarantine, so that recovery moves the rest of what the change removes there as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::dir::Dir;
use crate::driver::{Driver, HomeLayout};
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::liveness::Dead;
use crate::root::{IMAGE, WritableRoot};

/// The name of the file that describes a quarantine.
pub(super) const CONTENTS: &str = "quarantine.json";

/// How the name of a quarantine begins.
pub(super) const NAME: &str = "quarantine-";

/// Bytes of the largest such file that is read.
const MAX_CONTENTS: usize = 64 << 20;

const VERSION: u32 = 1;

/// The description of a quarantine: the content of its `quarantine.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    #[serde(rename = "layerfs-quarantine")]
    version: u32,
    /// The data-root that the things are from.
    pub(super) root: String,
    /// Its storage driver.
    pub(super) driver: String,
    /// Names that images had.
    pub(super) names: BTreeMap<String, ImageId>,
}

impl Contents {
    pub(super) fn new(root: &WritableRoot, names: BTreeMap<String, ImageId>) -> Self {
        let path = root.dir().path().display().to_string();
        Self { version: VERSION, root: path, driver: root.driver.name().to_owned(), names }
    }

    pub(super) fn read(dir: &Dir) -> Result<Self, StoreError> {
        let invalid = |reason: String| StoreError::Invalid { path: dir.join(CONTENTS), reason };
        let bytes =
            dir.read(CONTENTS, MAX_CONTENTS)?.ok_or_else(|| invalid("missing: this is no quarantine".into()))?;
        let contents: Self = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if contents.version != VERSION {
            return Err(invalid(format!("its version is {}, not {VERSION}", contents.version)));
        }
        Ok(contents)
    }

    pub(super) fn write(&self, dir: &Dir, sync: bool) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(self).expect("strings and digests always serialise");
        dir.replace(CONTENTS, &bytes, 0o600, sync)
    }
}

/// What a change does with the things that it removes.
#[derive(Debug)]
pub(super) enum Disposal {
    /// It deletes them.
    Delete,
    /// It moves them into this quarantine.
    Keep(Dir),
}

impl Disposal {
    /// How the change of this record removes things.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the quarantine that the record names cannot be opened.
    pub(super) fn of_record(record: &Record) -> Result<Self, StoreError> {
        record.quarantine.as_deref().map_or(Ok(Self::Delete), |path| Dir::open(Path::new(path)).map(Self::Keep))
    }

    /// Removes what is at a place below the root, if anything is.
    pub(super) fn remove(&self, root: &WritableRoot, place: &Path) -> Result<(), StoreError> {
        self.remove_as(root, place, place)
    }

    /// Removes what is at a place below the root, if anything is. In a quarantine it comes to the place `kept_as`.
    pub(super) fn remove_as(&self, root: &WritableRoot, place: &Path, kept_as: &Path) -> Result<(), StoreError> {
        let (parents, name) = split(place);
        let Some(parent) = root.dir().descend(&parents)? else { return Ok(()) };
        match self {
            Self::Delete => parent.delete_tree(name, &root.deletion),
            Self::Keep(quarantine) => {
                if parent.stat(name)?.is_none() {
                    return Ok(());
                }
                let (parents, new_name) = split(kept_as);
                parent.rename(name, &ensure(quarantine, &parents, 0o700)?, new_name)
            }
        }
    }

    /// Removes a layer's directory from the driver's home, with everything that belongs to it.
    pub(super) fn remove_directory(&self, root: &WritableRoot, dead: &Dead<CacheId>) -> Result<(), StoreError> {
        if matches!(self, Self::Delete) {
            return root.driver.remove(dead, &root.deletion);
        }
        let home: PathBuf = HomeLayout::home_path(root.driver.name()).into_iter().collect();
        root.driver.belongings(dead.get())?.iter().try_for_each(|place| self.remove(root, &home.join(place)))
    }
}

/// The directories above a place, and its name.
pub(super) fn split(place: &Path) -> (Vec<&str>, &str) {
    let mut parts: Vec<&str> = place.iter().filter_map(|part| part.to_str()).collect();
    let name = parts.pop().unwrap_or_default();
    (parts, name)
}

/// Opens the directory at the path `parents` below `dir`, and makes the directories that are missing.
pub(super) fn ensure(dir: &Dir, parents: &[&str], mode: u32) -> Result<Dir, StoreError> {
    let mut at = dir.duplicate()?;
    for name in parents {
        at = at.sub_or_create(*name, mode)?;
    }
    Ok(at)
}

/// Makes a new quarantine in `dir`, which is made if it does not exist.
pub(super) fn create(root: &WritableRoot, dir: &Path, sync: bool) -> Result<Dir, StoreError> {
    let invalid = |reason: String| StoreError::Invalid { path: dir.to_path_buf(), reason };
    let absolute = std::path::absolute(dir).map_err(StoreError::io(dir, "opening"))?;
    if absolute.to_str().is_none() {
        return Err(invalid("a quarantine's path must be text".into()));
    }
    // Nothing belongs to a layer that was never made. A driver that moves no layers says so now, before anything has gone.
    root.driver.belongings(&CacheId::random())?;
    let mut created = crate::dir::CreatedDirectories::default();
    let parent = crate::root::open_or_create(&absolute, 0o700, &mut created)?;
    let real = parent.real_path()?;
    let stores = [root.driver.home().real_path()?, root.dir().real_path()?.join(IMAGE)];
    if let Some(store) = stores.iter().find(|store| real.starts_with(store)) {
        return Err(invalid(format!(
            "a quarantine cannot be in {}, where the store's own things are",
            store.display()
        )));
    }
    let name = format!("{NAME}{}", &CacheId::random().as_str()[..12]);
    let quarantine = parent.create(&name, 0o700)?;
    // Only a move that succeeds proves that things can be moved there.
    let tried = [root.driver.home(), &root.images_dir].into_iter().try_for_each(|from| try_move(from, &quarantine));
    if let Err(error) = tried {
        drop(quarantine);
        let _ = parent.remove_tree(&name);
        let StoreError::Io { source, .. } = &error else { return Err(error) };
        return Err(match Errno::from_io_error(source) {
            Some(Errno::XDEV) => {
                invalid("a quarantine must be on the file system of the data-root, and the same mount of it".into())
            }
            _ => error,
        });
    }
    if sync {
        parent.sync()?;
    }
    created.keep();
    Ok(quarantine)
}

/// An empty directory that is moved to see whether that can be done. Whoever makes it has the lock of the store.
const PROBE: &str = ".tmp-layerfs-probe";

/// Makes an empty directory in `from`, moves it to `to`, and removes it again.
fn try_move(from: &Dir, to: &Dir) -> Result<(), StoreError> {
    drop(from.create(PROBE, 0o700)?);
    let moved = from.rename(PROBE, to, PROBE);
    (if moved.is_ok() { to } else { from }).remove_tree(PROBE)?;
    moved
}

/// Removes what a crash in the middle of that has left.
pub(super) fn remove_probe(dir: &Dir) -> Result<(), StoreError> {
    dir.remove_tree(PROBE)
}
