//! A directory that overlayfs has written to, outside of a store.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;

use super::content::{FileBytes, Layers, OpenedFiles, open_in};
use super::node::Body;
use super::{Tree, TreeError, read_directory};

/// A directory that overlayfs has written to, as the only layer.
#[derive(Debug)]
pub struct UpperDirectory {
    directory: OwnedFd,
    files: OpenedFiles,
}

impl UpperDirectory {
    /// Opens a directory.
    ///
    /// # Errors
    /// The system's answer, also for what is no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { directory: directory.into(), files: OpenedFiles::default() })
    }
}

impl Layers for UpperDirectory {
    fn len(&self) -> usize {
        1
    }

    fn tree(&self, layer: usize) -> Result<Tree, TreeError> {
        read_directory(&self.directory, layer)
    }

    fn open(&self, _: usize, path: &[u8], _: u64, _: &Body) -> Result<FileBytes<'_>, TreeError> {
        let copy = || self.directory.try_clone().map_err(|source| TreeError::File { path: Vec::new(), source });
        let (file, _) = open_in(&self.files, path, copy)?;
        Ok(Box::new(file))
    }
}
