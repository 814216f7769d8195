//! The directory that is filled: a place for each layer, out of sight, until all of them are there.
//!
//! ```text
//! DIR/.layerfs-unpacking/<number>/diff    a layer being unpacked
//! DIR/.layerfs-unpacking/tree             the layers so far, being merged
//! DIR/.layerfs-unpacking/blobs            files of layers that come from elsewhere
//! ```

use std::path::{Path, PathBuf};

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::delete::Deletion;
use layerfs::{DiffId, Unpacked};

use super::report::UnpackReport;
use crate::load::ImportError;
use crate::load::schedule::LayerTarget;
use snapshot::StoreError;
use snapshot::dir::{CreatedDirectories, Dir};
use snapshot::driver::xattr_namespace;

/// The file that lists the layers, in a directory of layers.
const LIST: &str = "layers.json";

/// Where layers are unpacked until all of them are there.
const STAGING: &str = ".layerfs-unpacking";

/// The layer itself, in its directory.
pub(super) const DIFF: &str = "diff";

/// How layers become directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnpackForm {
    /// One overlay directory a layer.
    Layers,
    /// One tree, as a container of the image sees it.
    Rootfs,
}

/// Where a source may put what it fetches while the directory `to` is filled: it goes with everything else that is not the
/// image. It is there from when the first layer is asked for.
#[must_use]
pub fn blobs_dir(to: &Path) -> PathBuf {
    to.join(STAGING).join("blobs")
}

pub(super) fn directory_name(index: usize, diff_id: DiffId) -> String {
    format!("{index:03}-{}", diff_id.0.short())
}

/// The directory that is filled. If this is dropped before the directory is complete, the directory is emptied again.
pub(super) struct Destination {
    pub(super) dir: Dir,
    pub(super) staging: Dir,
    pub(super) form: UnpackForm,
    ownership: Ownership,
    sync: bool,
    created: Option<CreatedDirectories>,
    done: bool,
}

impl Destination {
    pub(super) fn open(path: &Path, form: UnpackForm, sync: bool) -> Result<Self, ImportError> {
        let mut created = CreatedDirectories::default();
        let dir = snapshot::root::open_or_create(path, 0o755, &mut created)?;
        if !dir.is_empty()? {
            return Err(ImportError::NotEmpty { path: path.to_path_buf() });
        }
        let root = rustix::process::geteuid().is_root();
        if !root && form == UnpackForm::Layers {
            return Err(ImportError::NeedsRoot { path: path.to_path_buf() });
        }
        let ownership = if root { Ownership::Layer } else { Ownership::Caller };
        let staging = dir.create(STAGING, 0o700)?;
        Ok(Self { dir, staging, form, ownership, sync, created: Some(created), done: false })
    }

    pub(super) fn place(&self, number: usize) -> Result<LayerTarget, ImportError> {
        let layer = self.staging.create(&number.to_string(), 0o755)?;
        let diff = layer.create(DIFF, 0o755)?;
        let whiteouts = match self.form {
            UnpackForm::Layers => WhiteoutMode::Overlay(xattr_namespace()?),
            UnpackForm::Rootfs => WhiteoutMode::Record,
        };
        let target = Target {
            root: diff.owned_fd()?,
            scratch: layer.owned_fd()?,
            whiteouts,
            ownership: self.ownership,
            defer_directories: self.form == UnpackForm::Rootfs,
        };
        Ok(LayerTarget { target, journal: None })
    }

    /// Copies the layer in one slot into another.
    pub(super) fn copy(&self, from: usize, to: usize) -> Result<(), ImportError> {
        let original = self.staging.descend(&[&from.to_string(), DIFF])?;
        let original = original.expect("a layer that was unpacked is there");
        let copy = self.place(to)?;
        let failed = StoreError::io(original.path(), "copying");
        layerfs::copy_tree(&original, &copy.target.root).map_err(failed)?;
        Ok(())
    }

    /// Moves layers, base first, from their slots to where they belong.
    pub(super) fn arrange<'u>(
        &mut self,
        layers: impl Iterator<Item = (usize, &'u Unpacked)>,
    ) -> Result<(), ImportError> {
        let layers: Vec<_> = layers.collect();
        match self.form {
            UnpackForm::Layers => {
                for (index, (slot, unpacked)) in layers.into_iter().enumerate() {
                    let name = directory_name(index, unpacked.diff_id);
                    self.staging.rename(&slot.to_string(), &self.dir, &name)?;
                }
            }
            UnpackForm::Rootfs => self.flatten(&layers)?,
        }
        Ok(())
    }

    /// Merges in the staging directory, then moves the top of the tree out of it.
    fn flatten(&mut self, layers: &[(usize, &Unpacked)]) -> Result<(), StoreError> {
        let failed = || StoreError::io(self.dir.path(), "merging layers into");
        let tree = self.staging.create("tree", 0o755)?;
        let tree_fd = tree.owned_fd()?;
        let mut directories = Vec::new();
        for (slot, unpacked) in layers {
            let diff =
                self.staging.descend(&[&slot.to_string(), DIFF])?.ok_or_else(|| failed()(rustix::io::Errno::NOENT))?;
            layerfs::flatten::merge(&tree_fd, &diff.owned_fd()?, &unpacked.outcome).map_err(failed())?;
            directories.push(unpacked.outcome.directories.clone());
        }
        for name in layerfs::flatten::read_names(&tree_fd).map_err(failed())? {
            let moved = rustix::fs::renameat(&tree_fd, name.as_slice(), &self.dir, name.as_slice());
            moved.map_err(failed())?;
        }
        layerfs::flatten::finish(&self.dir.owned_fd()?, &directories).map_err(failed())
    }

    pub(super) fn complete(mut self, report: &UnpackReport) -> Result<(), ImportError> {
        if self.form == UnpackForm::Layers {
            let mut list = serde_json::to_vec_pretty(report).expect("ids and numbers always serialise");
            list.push(b'\n');
            self.dir.write_new(LIST, &list, 0o644)?;
        }
        self.dir.remove_tree(STAGING)?;
        if self.sync {
            self.dir.sync_file_system()?;
        }
        self.done = true;
        if let Some(created) = self.created.take() {
            created.keep();
        }
        Ok(())
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The directory was empty before, so everything in it is ours.
        if let Ok(names) = layerfs::flatten::read_names(&self.dir) {
            for name in names {
                let _ = Deletion::default().delete(&self.dir, &name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{Uid, set_thread_res_uid};

    use super::*;

    #[test]
    fn overlay_directories_need_root() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layers");
        std::fs::create_dir(&path).unwrap();
        let nobody = Uid::from_raw(65_534);
        let error = std::thread::scope(|scope| {
            let open = || {
                // Of this thread alone.
                if rustix::process::geteuid().is_root() {
                    set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                Destination::open(&path, UnpackForm::Layers, false).err()
            };
            scope.spawn(open).join().unwrap()
        });
        let words = format!("{}: only root can make overlay directories", path.display());
        assert_eq!(error.unwrap().to_string(), words);
    }
}
