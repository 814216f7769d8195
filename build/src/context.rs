//! The context of a build: the files that `COPY` and `ADD` may take, and the Dockerfile (docker/cli v20.10.24
//! `cli/command/image/build/context.go`, moby `builder/remotecontext/detect.go`).

mod directory;
mod known;
mod named;

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use images::tree::{Body, Layers, NodeId, NodeKind, Tree, TreeError};
use layerfs::LayerFiles;
use layerfs::compress::Compression;
use rustix::fs::{Mode, OFlags};
use tarsplit::pax::PaxTime;
use tarsplit::write::{END, NewMember, padding};

use self::directory::read_directory;
pub(crate) use self::known::Contents;
use self::known::KnownFiles;
pub use self::known::forget as forget_contexts;
use crate::ignore::{self, IgnoreError, Patterns};
use crate::parser::Dialect;
use crate::source::SourceTree;
use crate::untar::{Bodies, UntarError, decompressed, is_tar, untar};
use crate::upper::Upper;

/// A context that cannot be used. Where docker has words for it, these are the words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// There is no such directory.
    #[error("unable to prepare context: path {0:?} not found")]
    NotFound(String),
    /// The path leads to something that is no directory.
    #[error("unable to prepare context: context must be a directory: {}", .0.display())]
    NotADirectory(PathBuf),
    /// There is no Dockerfile.
    #[error("unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory", .0.display())]
    NoDockerfile(PathBuf),
    /// The tar has no such file.
    #[error("Cannot locate specified Dockerfile: {0}")]
    NotInTar(String),
    /// The Dockerfile has nothing in it.
    #[error("the Dockerfile ({0}) cannot be empty")]
    Empty(String),
    /// Standard input is to be both the context and the Dockerfile.
    #[error("invalid argument: can't use stdin for both build context and dockerfile")]
    BothFromInput,
    /// Standard input is a Dockerfile, and another one was named.
    #[error("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")]
    Ambiguous,
    /// The context is not on this machine.
    #[error("a context from a URL or a git repository is not fetched here; download it and give the directory")]
    Remote,
    /// A directory with a name cannot be read.
    #[error("failed to get build context {name}: {}", .path.display())]
    Named {
        /// Its name in the Dockerfile.
        name: String,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// `.dockerignore` has a pattern that cannot be read.
    #[error("error checking context: {0}")]
    Ignore(IgnoreError),
    /// Something in the context cannot be read.
    #[error("error checking context: can't stat {:?}", .path.display().to_string())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The tar cannot be unpacked.
    #[error("Error processing tar file")]
    Tar(#[from] UntarError),
}

/// For which builder a context is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'r> {
    /// Docker's classic one.
    Classic,
    /// BuildKit. A Dockerfile may have a `.dockerignore` of its own beside it.
    Modern {
        /// The data-root, which may know the files from an earlier build.
        root: &'r Path,
    },
}

/// A context, read.
#[derive(Debug)]
pub struct Context {
    tree: Tree,
    files: Files,
    /// What is known of the files of a directory, for BuildKit's way.
    known: Option<KnownFiles>,
    written: Option<HashMap<Vec<u8>, Vec<u8>>>,
    /// What `.dockerignore` excludes.
    pub(crate) ignored: Patterns,
    /// The Dockerfile's bytes.
    pub(crate) dockerfile: Vec<u8>,
    /// How long the tar is that docker's client would send, in bytes; 0 for a directory in BuildKit's way, which sends none.
    pub sent: u64,
    /// Sockets, which no tar can hold.
    pub sockets: Vec<PathBuf>,
}

#[derive(Debug)]
enum Files {
    Directory(LayerFiles),
    Tar(Bodies),
}

impl Layers for Files {
    fn len(&self) -> usize {
        1
    }

    fn tree(&self, _layer: usize) -> Result<Tree, TreeError> {
        Ok(Tree::empty())
    }

    fn open(&self, layer: usize, path: &[u8], size: u64, body: &Body) -> Result<Box<dyn Read + '_>, TreeError> {
        match self {
            Self::Tar(bodies) => bodies.open(layer, path, size, body),
            Self::Directory(files) => match files.open_sized(path) {
                Ok((file, _)) => Ok(Box::new(file)),
                Err(source) => Err(TreeError::File { path: path.to_vec(), source }),
            },
        }
    }
}

/// The longest Dockerfile and `.dockerignore` that are read.
const LONGEST: u64 = 64 << 20;

/// Bytes of standard input that are looked at to tell a tar from a Dockerfile.
const SNIFFED: u64 = 128 << 10;

/// The name of a Dockerfile where none is given.
const DOCKERFILE: &str = "Dockerfile";

impl Context {
    /// Reads the context that an argument of `docker build` names; `-` is standard input, which `input` gives. `dockerfile` is what
    /// `-f` says.
    ///
    /// # Errors
    /// [`ContextError`]
    pub fn open(
        argument: &str,
        dockerfile: Option<&str>,
        input: impl Read,
        way: Way<'_>,
    ) -> Result<Self, ContextError> {
        let modern = way != Way::Classic;
        if argument == "-" {
            if dockerfile == Some("-") {
                return Err(ContextError::BothFromInput);
            }
            return Self::from_input(dockerfile, input);
        }
        let path = Path::new(argument);
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(ContextError::NotADirectory(path.to_owned())),
            Err(_) if is_remote(argument) => return Err(ContextError::Remote),
            Err(_) => return Err(ContextError::NotFound(argument.to_owned())),
        }
        let root = path.canonicalize().map_err(read_error(path))?;
        // The name in the context, if the Dockerfile is from there.
        let mut own_ignored = None;
        let (text, name) = match dockerfile {
            Some("-") => (read_all(input).map_err(read_error(Path::new("-")))?, None),
            given => {
                let given = match given {
                    Some(given) => std::path::absolute(given).map_err(read_error(Path::new(given)))?,
                    None => {
                        let [upper, lower] = [DOCKERFILE, "dockerfile"].map(|name| root.join(name));
                        if upper.symlink_metadata().is_err() && lower.symlink_metadata().is_ok() {
                            lower
                        } else {
                            upper
                        }
                    }
                };
                let real = given.canonicalize().map_err(|_| ContextError::NoDockerfile(given.clone()))?;
                let file = std::fs::File::open(&real).map_err(read_error(&given))?;
                let text = read_all(file).map_err(read_error(&given))?;
                let mut beside = given.clone().into_os_string();
                beside.push(".dockerignore");
                own_ignored = Some(PathBuf::from(beside)).filter(|path| modern && path.is_file());
                (text, real.strip_prefix(&root).ok().map(Path::to_owned))
            }
        };
        let own = name.as_ref().map(|name| name.as_os_str().as_bytes().to_vec());
        let ignore_file = own_ignored.unwrap_or_else(|| root.join(".dockerignore"));
        let ignored = read_ignored(&ignore_file)?;
        let dialect = if modern { Dialect::Modern } else { Dialect::Classic };
        let lines = ignore::lines(ignored.as_deref().unwrap_or_default());
        let patterns = Patterns::parse(&lines, dialect).map_err(ContextError::Ignore)?;
        if text.is_empty() {
            let shown = name.as_ref().map_or_else(|| DOCKERFILE.to_owned(), |name| name.display().to_string());
            return Err(ContextError::Empty(shown));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&root, flags, Mode::empty()).map_err(|errno| read_error(&root)(errno.into()))?;
        // The Dockerfile and `.dockerignore` are sent even if they are excluded, and are hidden afterwards.
        let kept: Vec<&[u8]> = own.iter().map(Vec::as_slice).chain([&b".dockerignore"[..]]).collect();
        let mut known = match way {
            Way::Classic => None,
            Way::Modern { root: store } => Some(KnownFiles::read(store, &root)),
        };
        let (mut tree, sockets) = read_directory(&dir, &root, &patterns, &kept, known.as_mut())?;
        let mut sent = if modern { 0 } else { tar_length(&tree) };
        if own.is_none() && !modern {
            // The client adds a Dockerfile from elsewhere under a random name of 32 letters, which it adds to `.dockerignore`.
            let old = ignored.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let new = ignored.as_ref().map_or(".dockerignore".len() as u64, |_| old) + 34;
            let block = if ignored.is_some() { 0 } else { 512 };
            sent += 512 + padded(text.len() as u64) + block + padded(new) - padded(old);
        }
        for hidden in kept {
            let outside = own.is_none() && ignored.is_none();
            if patterns.exclude(hidden) || outside {
                remove(&mut tree, hidden);
            }
        }
        let files = Files::Directory(LayerFiles::new(dir));
        Ok(Self { tree, files, known, written: None, ignored: patterns, dockerfile: text, sent, sockets })
    }

    /// Standard input: a tar, or else the Dockerfile.
    fn from_input(dockerfile: Option<&str>, input: impl Read) -> Result<Self, ContextError> {
        let failed = |source| ContextError::Read { path: "-".into(), source };
        let mut counted = Counted { inner: input, count: 0, ended: false };
        // A pipe or a connection may give few bytes at a time, so one read is not enough to tell a tar from a Dockerfile.
        let mut first = Vec::new();
        counted.by_ref().take(SNIFFED).read_to_end(&mut first).map_err(failed)?;
        let is_archive = Compression::sniff(&first) != Compression::None || is_tar(first.as_slice(), Dialect::Classic);
        let bodies = Bodies::new().map_err(failed)?;
        let mut all = first.as_slice().chain(io::BufReader::with_capacity(128 << 10, counted));
        if !is_archive {
            if dockerfile.is_some() {
                return Err(ContextError::Ambiguous);
            }
            let text = read_all(all).map_err(failed)?;
            if text.is_empty() {
                return Err(ContextError::Empty(DOCKERFILE.into()));
            }
            let sent = 512 + padded(text.len() as u64) + 1024;
            let files = Files::Tar(bodies);
            let (tree, sockets) = (Tree::empty(), Vec::new());
            let ignored = Patterns::default();
            return Ok(Self { tree, files, known: None, written: None, ignored, dockerfile: text, sent, sockets });
        }
        let mut upper = Upper::new(Tree::empty(), 0);
        let written = match decompressed(&mut all, Dialect::Classic).map_err(failed)? {
            Some(reader) => untar(reader, b"", &mut upper, &bodies, None)?,
            None => {
                return Err(UntarError::Read(io::Error::other(
                    "zstd, which docker 20.10 does not know: decompress it first",
                ))
                .into());
            }
        };
        io::copy(&mut all, &mut io::sink()).map_err(failed)?;
        let sent = all.get_ref().1.get_ref().count;
        let mut tree = upper.layer;
        let name = ignore::cleaned(dockerfile.unwrap_or(DOCKERFILE));
        let files = Files::Tar(bodies);
        let read = |tree: &Tree, name: &str| -> Result<Option<Vec<u8>>, ContextError> {
            let Ok((path, id)) = tree.find(name.as_bytes(), true) else { return Ok(None) };
            let file = tree.open(&files, &path, id).map_err(|error| failed(io::Error::other(error)))?;
            read_all(file).map(Some).map_err(failed)
        };
        let lower = if dockerfile.is_none() { read(&tree, "dockerfile")? } else { None };
        let text = read(&tree, &name)?.or(lower).ok_or_else(|| ContextError::NotInTar(name.clone()))?;
        if text.is_empty() {
            return Err(ContextError::Empty(name));
        }
        let patterns = read(&tree, ".dockerignore")?.unwrap_or_default();
        let patterns = Patterns::parse(&ignore::lines(&patterns), Dialect::Classic).map_err(ContextError::Ignore)?;
        for hidden in [name.as_bytes(), b".dockerignore"] {
            if patterns.exclude(hidden) {
                remove(&mut tree, hidden);
            }
        }
        let (known, written, sockets) = (None, Some(written), Vec::new());
        Ok(Self { tree, files, known, written, ignored: patterns, dockerfile: text, sent, sockets })
    }

    /// The Dockerfile's bytes.
    #[must_use]
    pub fn dockerfile(&self) -> &[u8] {
        &self.dockerfile
    }

    /// What may be copied.
    pub(crate) fn source(&self) -> SourceTree<'_> {
        let contents = match (&self.files, &self.known) {
            (Files::Directory(files), Some(known)) => Some(Contents { files, known }),
            _ => None,
        };
        SourceTree::context(&self.tree, &self.files, self.written.clone(), contents)
    }

    /// Writes down what is known of the files now, so that the next build need not read them again.
    pub(crate) fn remember(&self) {
        if let Some(known) = &self.known {
            known.write(&self.tree);
        }
    }
}

/// Counts what is read. Nothing is read after the end: a terminal would wait for more.
struct Counted<R> {
    inner: R,
    count: u64,
    ended: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        self.ended = read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> ContextError {
    let path = path.to_owned();
    move |source| ContextError::Read { path, source }
}

/// The bytes of a `.dockerignore`, if it is there.
fn read_ignored(path: &Path) -> Result<Option<Vec<u8>>, ContextError> {
    match std::fs::File::open(path) {
        Ok(file) => read_all(file).map(Some).map_err(read_error(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_error(path)(error)),
    }
}

fn is_remote(argument: &str) -> bool {
    ["http://", "https://", "git://", "git@", "github.com/"].iter().any(|start| argument.starts_with(start))
}

fn read_all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("longer than 64 MiB"));
    }
    Ok(bytes)
}

fn padded(length: u64) -> u64 {
    length + padding(length).len() as u64
}

fn remove(tree: &mut Tree, path: &[u8]) {
    let (dir, name) = layerfs::path::split(path);
    if let Some(dir) = tree.at(dir)
        && let NodeKind::Directory { children, .. } = &mut tree.node_mut(dir).kind
    {
        children.remove(name);
    }
}

/// How long the tar of a context is.
fn tar_length(tree: &Tree) -> u64 {
    let mut walk = tree.walk_below(Tree::ROOT, b"");
    let mut total = END.len() as u64;
    let mut header = Vec::new();
    let mut first: HashMap<NodeId, Vec<u8>> = HashMap::new();
    while let Some((path, id)) = walk.next() {
        let node = tree.node(id);
        if matches!(node.kind, NodeKind::Directory { explicit: false, .. }) {
            continue;
        }
        let mut name = path.to_vec();
        let (typeflag, link) = match &node.kind {
            NodeKind::Directory { .. } => {
                name.push(b'/');
                (b'5', Vec::new())
            }
            NodeKind::Symlink { target } => (b'2', target.clone()),
            NodeKind::File { .. } => match first.get(&id) {
                Some(first) => (b'1', first.clone()),
                None => (b'0', Vec::new()),
            },
            _ => (b'6', Vec::new()),
        };
        if node.names > 1 && node.children().is_none() {
            first.entry(id).or_insert_with(|| path.to_vec());
        }
        let size = if typeflag == b'0' { node.size() } else { 0 };
        let member = NewMember {
            typeflag,
            name: &name,
            linkname: &link,
            mode: node.mode,
            uid: 0,
            gid: 0,
            size,
            mtime: PaxTime::from_seconds(node.mtime.seconds),
            device: (0, 0),
            xattrs: if typeflag == b'1' { &[] } else { &node.xattrs },
        };
        header.clear();
        member.write(&mut header);
        total += header.len() as u64 + padded(size);
    }
    total
}

#[cfg(test)]
mod tests;
