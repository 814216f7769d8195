//! Directories that a Dockerfile knows by a name: `--build-context` (moby/buildkit `frontend/dockerui/namedcontext.go`).

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{Context, ContextError, Files, KnownFiles, read_directory, read_ignored};
use crate::ignore::{self, Patterns};
use crate::parser::Dialect;

impl Context {
    /// Reads a directory that a Dockerfile knows by a name. It has a `.dockerignore` as the context has, but no Dockerfile. `store` is
    /// the data-root, which may know the files from an earlier build.
    ///
    /// # Errors
    /// [`ContextError`]
    pub(crate) fn named(name: &str, path: &Path, store: &Path) -> Result<Self, ContextError> {
        let failed = |source: io::Error| ContextError::Named { name: name.to_owned(), path: path.to_owned(), source };
        let root = path.canonicalize().map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&root, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let ignored = read_ignored(&root.join(".dockerignore"))?.unwrap_or_default();
        let patterns = Patterns::parse(&ignore::lines(&ignored), Dialect::Modern).map_err(ContextError::Ignore)?;
        let mut known = KnownFiles::read(store, &root);
        let (tree, sockets) = read_directory(&dir, &root, &patterns, &[], Some(&mut known))?;
        let files = Files::Directory(layerfs::LayerFiles::new(dir));
        let (known, dockerfile) = (Some(known), Vec::new());
        Ok(Self { tree, files, known, written: None, ignored: patterns, dockerfile, sent: 0, sockets })
    }
}
