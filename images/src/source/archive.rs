//! Archives that can be read by offset: a plain tar, or a directory.

use std::fs::{File, Metadata};
use std::io::{Read, Seek};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerfs::compress::{Compression, SNIFF_LEN};

use super::blob::Blob;
use super::error::ArchiveError;
use super::image::{self, LayerRef, Select, SourceContents};
use super::index;
use super::json::MAX_JSON;
use super::layout::{Layout, LayoutError};
use super::namespace::{NameError, Namespace};
use super::{ImageSource, LayerBytes, docker, oci};

/// An image archive that can be read by offset.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Tar { blob: Blob, names: Namespace<Range<usize>> },
    Directory(Arc<Layout>),
}

/// What [`Archive::open`] found.
#[derive(Debug)]
pub enum Opened {
    /// A plain tar or a directory with `manifest.json` or `index.json`.
    Archive(Archive),
    /// A plain tar with neither: a layer, or [no image archive](ArchiveError::NotAnImageArchive), as the caller sees it.
    LayerTar(Blob),
    /// A compressed file, at its start: an archive or a layer, which only decompressing it can tell.
    Compressed(File, Compression),
    /// A pipe, a device, or a file of which the beginning was already read.
    Pipe(File),
}

impl Archive {
    /// Opens what is at `path`.
    ///
    /// # Errors
    /// [`ArchiveError::Open`], [`ArchiveError::Empty`], [`ArchiveError::Zeros`], [`ArchiveError::NotATar`],
    /// [`ArchiveError::Truncated`] and other damage to the outer tar; [`ArchiveError::NotAnImageArchive`] for a
    /// directory only; [`ArchiveError::Name`] for an archive with a member whose name leaves it.
    pub fn open(path: &Path) -> Result<Opened, ArchiveError> {
        let failed = |source| ArchiveError::Open { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_dir() {
            return Self::from_file(file, path);
        }
        let files = Files::Directory(Arc::new(Layout::open(path).map_err(failed)?));
        let archive = Self { path: path.into(), files };
        if archive.has(docker::MANIFEST)? || archive.has(oci::INDEX)? {
            Ok(Opened::Archive(archive))
        } else {
            Err(ArchiveError::NotAnImageArchive { path: path.into() })
        }
    }

    /// Tells what an open file is, such as standard input; `path` names it in messages.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn from_file(mut file: File, path: &Path) -> Result<Opened, ArchiveError> {
        let failed = |source| ArchiveError::Open { path: path.into(), source };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() && metadata.len() == 0 {
            return Err(ArchiveError::Empty { path: path.into() });
        }
        if is_endless(&metadata) {
            return Err(ArchiveError::Zeros { path: path.into() });
        }
        let regular = metadata.is_file();
        if !regular || file.stream_position().map_err(failed)? != 0 {
            return Ok(Opened::Pipe(file));
        }
        let mut head = Vec::new();
        (&file).take(SNIFF_LEN as u64).read_to_end(&mut head).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let compression = Compression::sniff(&head);
        if compression != Compression::None {
            return Ok(Opened::Compressed(file, compression));
        }
        let blob = Blob::map(file).map_err(failed)?;
        let index::Index { names, refused } = index::index(path, &blob)?;
        if !names.has(docker::MANIFEST)? && !names.has(oci::INDEX)? {
            return Ok(Opened::LayerTar(blob));
        }
        match refused {
            Some(name) => Err(name.into()),
            None => Ok(Opened::Archive(Self { path: path.into(), files: Files::Tar { blob, names } })),
        }
    }

    /// The path it was opened by.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn has(&self, file: &str) -> Result<bool, ArchiveError> {
        missing_is_none(self.blob(file)).map(|blob| blob.is_some())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`ArchiveError::Name`] if there is none, or none that can be meant; [`ArchiveError::Read`].
    pub fn blob(&self, file: &str) -> Result<Blob, ArchiveError> {
        match &self.files {
            Files::Tar { blob, names } => {
                let range = names.resolve(file)?.clone();
                Ok(blob.slice(range).expect("the index holds ranges of this very map"))
            }
            Files::Directory(layout) => {
                let failed = |source| ArchiveError::Read { file: file.to_owned(), source };
                let (again, name) = (Arc::clone(layout), file.to_owned());
                let reopen = move || again.file(&name).map_err(LayoutError::into_io);
                Blob::map_reopening(layout_file(layout, file)?, reopen).map_err(failed)
            }
        }
    }

    /// The bytes of a JSON file, copied: mapped text could change while it is parsed. `None` if there is none.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`], [`ArchiveError::Name`] for a name that cannot be meant, [`ArchiveError::Read`].
    pub fn json(&self, file: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let too_large = |size| ArchiveError::TooLarge { file: file.to_owned(), size, limit: MAX_JSON };
        match &self.files {
            Files::Tar { .. } => {
                let Some(blob) = missing_is_none(self.blob(file))? else { return Ok(None) };
                let size = blob.len() as u64;
                if size > MAX_JSON { Err(too_large(size)) } else { Ok(Some(blob.to_vec())) }
            }
            Files::Directory(layout) => {
                let Some(opened) = missing_is_none(layout_file(layout, file))? else { return Ok(None) };
                let mut bytes = Vec::new();
                let read = opened.take(MAX_JSON + 1).read_to_end(&mut bytes);
                read.map_err(|source| ArchiveError::Read { file: file.to_owned(), source })?;
                let size = bytes.len() as u64;
                if size > MAX_JSON { Err(too_large(size)) } else { Ok(Some(bytes)) }
            }
        }
    }
}

impl ImageSource for Archive {
    fn images(&self, select: &Select) -> Result<SourceContents, ArchiveError> {
        let contents = image::contents(select, &mut |file| self.json(file))?;
        contents.ok_or_else(|| ArchiveError::NotAnImageArchive { path: self.path.clone() })
    }

    fn layer(&self, layer: &LayerRef) -> Result<LayerBytes, ArchiveError> {
        let blob = self.blob(&layer.name).map_err(|error| layer.or_foreign(error))?;
        layer.check_size(blob.len() as u64)?;
        Ok(LayerBytes::File(blob))
    }
}

/// Whether this is `/dev/zero`. Zeros end a tar, and what follows them is read as well; here that would never end.
#[must_use]
pub fn is_endless(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 5)
}

fn layout_file(layout: &Layout, file: &str) -> Result<File, ArchiveError> {
    layout.file(file).map_err(|error| match error {
        LayoutError::Name(error) => error.into(),
        LayoutError::Io(source) => ArchiveError::Read { file: file.to_owned(), source },
    })
}

fn missing_is_none<T>(result: Result<T, ArchiveError>) -> Result<Option<T>, ArchiveError> {
    match result {
        Err(ArchiveError::Name(NameError::Missing { .. })) => Ok(None),
        result => result.map(Some),
    }
}
