//! What has to be written in a driver's home so that layers stand on their parents again.

use std::path::PathBuf;

use rustix::fs::FileType;

use super::damage::LayerPart;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;

/// A layer and what it has to stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The layer's directory.
    pub id: CacheId,
    /// The directories of all layers below it, the nearest first.
    pub below: Vec<CacheId>,
    /// Whether it is a container's, which writes to it.
    pub writable: bool,
}

/// What belongs at a place in a driver's home.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A file with this text.
    File(String),
    /// A symlink to this target.
    Symlink(String),
    /// An empty file that only its owner reads.
    Mark,
    /// An empty directory of this mode.
    Directory(u32),
    /// Nothing.
    Nothing,
}

/// One thing to be written because it is missing or wrong beside a layer's content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Restacking {
    /// The layer it belongs to.
    pub id: CacheId,
    /// The directories, below the driver's home, that lead to the place.
    pub(super) dirs: Vec<String>,
    /// The name in the last of these directories.
    pub(super) name: String,
    /// What belongs there.
    pub wanted: Wanted,
    /// What is wrong there.
    pub reason: &'static str,
}

/// The prefix of the temporary name of a symlink, before it is renamed to its place.
const TEMPORARY: &str = ".tmp-layerfs-";

impl Restacking {
    /// Writes a missing part of an overlay2 directory that is the same for all layers; `None` for other parts.
    pub(crate) fn missing(id: &CacheId, part: LayerPart) -> Option<Self> {
        let (name, wanted) = match part {
            LayerPart::Work => (super::overlay2::WORK, Wanted::Directory(0o700)),
            LayerPart::Committed => (super::overlay2::COMMITTED, Wanted::Mark),
            _ => return None,
        };
        let (dirs, name) = (vec![id.to_string()], name.to_owned());
        Some(Self { id: id.clone(), dirs, name, wanted, reason: "it is missing" })
    }

    /// The place, below the driver's home.
    #[must_use]
    pub(crate) fn place(&self) -> PathBuf {
        self.dirs.iter().chain([&self.name]).collect()
    }

    /// Whether what is written is the list of the layers below.
    #[must_use]
    pub(crate) fn is_list_of_parents(&self) -> bool {
        self.name == super::overlay2::LOWER
    }

    /// Writes it, in one step, and durably if `sync`. Writing it twice does no harm.
    pub(super) fn write(&self, home: &Dir, sync: bool) -> Result<(), StoreError> {
        let dirs: Vec<&str> = self.dirs.iter().map(String::as_str).collect();
        let missing =
            || StoreError::Invalid { path: home.path().join(self.place()), reason: "its directory is missing".into() };
        let dir = home.descend(&dirs)?.ok_or_else(missing)?;
        match &self.wanted {
            Wanted::File(text) => {
                dir.remove_temporaries()?;
                dir.clear(&self.name, FileType::RegularFile)?;
                return dir.replace(&self.name, text.as_bytes(), 0o644, sync);
            }
            Wanted::Mark => return dir.replace(&self.name, b"", 0o600, sync),
            Wanted::Symlink(target) => {
                let temporary = format!("{TEMPORARY}{}", self.name);
                dir.unlink(&temporary)?;
                dir.clear(&self.name, FileType::Symlink)?;
                dir.symlink(&temporary, target)?;
                dir.rename(&temporary, &dir, &self.name)?;
            }
            Wanted::Directory(mode) => {
                dir.clear(&self.name, FileType::Directory)?;
                if dir.sub(&self.name)?.is_none() {
                    dir.create(&self.name, *mode)?;
                }
            }
            Wanted::Nothing => dir.unlink(&self.name)?,
        }
        if sync { dir.sync() } else { Ok(()) }
    }
}
