//! The context of a build: the files that `COPY` and `ADD` may take, and the Dockerfile (docker/cli v20.10.24
//! `cli/command/image/build/context.go`, moby `builder/remotecontext/detect.go`).

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use images::tree::{Body, Layers, Node, NodeId, NodeKind, Tree, TreeError};
use layerfs::LayerFiles;
use layerfs::compress::Compression;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use tarsplit::pax::PaxTime;
use tarsplit::write::{END, NewMember, padding};

use crate::ignore::{self, IgnoreError, Patterns};
use crate::source::{CAPABILITY, SourceTree};
use crate::untar::{Bodies, UntarError, decompressed, is_tar, untar};
use crate::upper::Upper;

/// A context that cannot be used. Where docker has words for it, these are the words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// There is no such directory.
    #[error("unable to prepare context: path {0:?} not found")]
    NotFound(String),
    /// It is something else.
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
    /// Standard input is to be both.
    #[error("invalid argument: can't use stdin for both build context and dockerfile")]
    BothFromInput,
    /// Standard input is a Dockerfile, and another one was named.
    #[error("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")]
    Ambiguous,
    /// The context is not here.
    #[error("a context from a URL or a git repository is not fetched here; download it and give the directory")]
    Remote,
    /// `.dockerignore` has a pattern that is none.
    #[error("error checking context: {0}")]
    Ignore(IgnoreError),
    /// Something in it cannot be read.
    #[error("error checking context: can't stat {:?}", .path.display().to_string())]
    Read {
        /// What.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The tar cannot be unpacked.
    #[error("Error processing tar file")]
    Tar(#[from] UntarError),
}

/// A context, read.
#[derive(Debug)]
pub struct Context {
    tree: Tree,
    files: Files,
    written: Option<HashMap<Vec<u8>, Vec<u8>>>,
    /// The Dockerfile's bytes.
    pub(crate) dockerfile: Vec<u8>,
    /// How long the tar is that docker's client would send, in bytes.
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

/// The name of a Dockerfile where none is given.
const DOCKERFILE: &str = "Dockerfile";

impl Context {
    /// Reads the context that an argument of `docker build` names; `-` is standard input, which `input` gives. `dockerfile` is what
    /// `-f` says.
    ///
    /// # Errors
    /// [`ContextError`]
    pub fn open(argument: &str, dockerfile: Option<&str>, input: impl Read) -> Result<Self, ContextError> {
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
        let read_error = |path: &Path| {
            let path = path.to_owned();
            move |source| ContextError::Read { path, source }
        };
        let root = path.canonicalize().map_err(read_error(path))?;
        // The name in the context, if the Dockerfile is from there.
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
                (text, real.strip_prefix(&root).ok().map(Path::to_owned))
            }
        };
        let own = name.as_ref().map(|name| name.as_os_str().as_bytes().to_vec());
        let ignored = match std::fs::File::open(root.join(".dockerignore")) {
            Ok(file) => Some(read_all(file).map_err(read_error(&root.join(".dockerignore")))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(read_error(&root.join(".dockerignore"))(error)),
        };
        let patterns =
            Patterns::parse(&ignore::lines(ignored.as_deref().unwrap_or_default())).map_err(ContextError::Ignore)?;
        if text.is_empty() {
            let shown = name.as_ref().map_or_else(|| DOCKERFILE.to_owned(), |name| name.display().to_string());
            return Err(ContextError::Empty(shown));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&root, flags, Mode::empty()).map_err(|errno| read_error(&root)(errno.into()))?;
        // Both are sent even if they are excluded, and are hidden afterwards.
        let kept: Vec<&[u8]> = own.iter().map(Vec::as_slice).chain([&b".dockerignore"[..]]).collect();
        let (mut tree, sockets) = read_directory(&dir, &root, &patterns, &kept)?;
        let mut sent = tar_length(&tree);
        if own.is_none() {
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
        Ok(Self { tree, files, written: None, dockerfile: text, sent, sockets })
    }

    /// Standard input: a tar, or else the Dockerfile.
    fn from_input(dockerfile: Option<&str>, input: impl Read) -> Result<Self, ContextError> {
        let failed = |source| ContextError::Read { path: "-".into(), source };
        let mut counted = io::BufReader::with_capacity(128 << 10, Counted { inner: input, count: 0 });
        // As much as it takes to tell.
        let first = counted.fill_buf().map_err(failed)?.to_vec();
        let is_archive = Compression::sniff(&first) != Compression::None || is_tar(first.as_slice());
        let bodies = Bodies::new().map_err(failed)?;
        if !is_archive {
            if dockerfile.is_some() {
                return Err(ContextError::Ambiguous);
            }
            let text = read_all(counted).map_err(failed)?;
            if text.is_empty() {
                return Err(ContextError::Empty(DOCKERFILE.into()));
            }
            let sent = 512 + padded(text.len() as u64) + 1024;
            let files = Files::Tar(bodies);
            return Ok(Self { tree: Tree::empty(), files, written: None, dockerfile: text, sent, sockets: Vec::new() });
        }
        let mut upper = Upper::new(Tree::empty(), 0);
        let written = match decompressed(&mut counted).map_err(failed)? {
            Some(reader) => untar(reader, b"", &mut upper, &bodies, None)?,
            None => return Err(UntarError::Read(io::Error::other("zstd, which docker 20.10 does not know")).into()),
        };
        io::copy(&mut counted, &mut io::sink()).map_err(failed)?;
        let sent = counted.get_ref().count;
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
        let patterns = Patterns::parse(&ignore::lines(&patterns)).map_err(ContextError::Ignore)?;
        for hidden in [name.as_bytes(), b".dockerignore"] {
            if patterns.exclude(hidden) {
                remove(&mut tree, hidden);
            }
        }
        Ok(Self { tree, files, written: Some(written), dockerfile: text, sent, sockets: Vec::new() })
    }

    /// What may be copied.
    pub(crate) fn source(&self) -> SourceTree<'_> {
        SourceTree::context(self.tree.clone(), &self.files, self.written.clone())
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
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
    let (dir, name) = crate::upper::split(path);
    let dir = dir.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    let dir = dir.into_iter().try_fold(Tree::ROOT, |dir, name| tree.child(dir, name));
    if let Some(dir) = dir
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

/// A directory that is being read.
struct Open {
    path: Vec<u8>,
    id: NodeId,
}

/// Reads the directory of a context, without what is excluded. Nothing is looked up through a symlink.
fn read_directory(
    root: &OwnedFd,
    shown: &Path,
    patterns: &Patterns,
    kept: &[&[u8]],
) -> Result<(Tree, Vec<PathBuf>), ContextError> {
    let (mut tree, mut sockets) = (Tree::empty(), Vec::new());
    let mut links: HashMap<(u64, u64), NodeId> = HashMap::new();
    let mut left = vec![Open { path: Vec::new(), id: Tree::ROOT }];
    let now = jiff::Timestamp::now().as_second();
    while let Some(Open { path, id }) = left.pop() {
        let at = |path: &[u8]| shown.join(std::ffi::OsStr::from_bytes(path));
        let failed = |errno: Errno| ContextError::Read { path: at(&path), source: errno.into() };
        let dir = open_dir(root, &path).map_err(failed)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        for name in names {
            let below = crate::upper::join(&path, &name);
            let failed = |errno: Errno| ContextError::Read { path: at(&below), source: errno.into() };
            let excluded = patterns.exclude(&below) && !kept.contains(&below.as_slice());
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            let stat = match rustix::fs::statx(&dir, name.as_slice(), flags, StatxFlags::BASIC_STATS) {
                // It was removed meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed)?,
            };
            let kind = FileType::from_raw_mode(stat.stx_mode.into());
            let may_hold_kept = kept.iter().any(|kept| kept.starts_with(&[below.as_slice(), b"/"].concat()));
            if excluded && !(kind == FileType::Directory && (patterns.may_take_back(&below) || may_hold_kept)) {
                continue;
            }
            let inode = ((u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor), stat.stx_ino);
            if let Some(&known) = links.get(&inode) {
                tree.link(id, &name, known);
                continue;
            }
            let device = (i64::from(stat.stx_rdev_major), i64::from(stat.stx_rdev_minor));
            let kind = match kind {
                FileType::Directory => {
                    NodeKind::Directory { children: BTreeMap::new(), opaque: false, explicit: !excluded }
                }
                FileType::RegularFile => NodeKind::File { size: stat.stx_size, body: Body::default() },
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&dir, name.as_slice(), Vec::new()).map_err(failed)?;
                    NodeKind::Symlink { target: target.into_bytes() }
                }
                FileType::CharacterDevice => NodeKind::CharDevice(device.0, device.1),
                FileType::BlockDevice => NodeKind::BlockDevice(device.0, device.1),
                FileType::Fifo => NodeKind::Fifo,
                _ => {
                    sockets.push(at(&below));
                    continue;
                }
            };
            let is_dir = matches!(kind, NodeKind::Directory { .. });
            let xattrs =
                if is_dir || matches!(kind, NodeKind::Symlink { .. }) { Vec::new() } else { capability(&dir, &name) };
            let implied = is_dir && excluded;
            let node = Node {
                kind,
                mode: if implied { 0o755 } else { u32::from(stat.stx_mode) & 0o7777 },
                uid: 0,
                gid: 0,
                // One that the tar does not have is made when the tar is unpacked.
                mtime: PaxTime::from_seconds(if implied { now } else { stat.stx_mtime.tv_sec }),
                xattrs,
                layer: 0,
                parent: id,
                names: 1,
            };
            let new = tree.insert(id, &name, node);
            if is_dir {
                left.push(Open { path: below, id: new });
            } else if stat.stx_nlink > 1 {
                links.insert(inode, new);
            }
        }
    }
    prune(&mut tree);
    sockets.sort();
    Ok((tree, sockets))
}

/// Takes away directories that are only there because something in them might have been taken back.
fn prune(tree: &mut Tree) {
    let mut walk = tree.walk_below(Tree::ROOT, b"");
    let mut implied = Vec::new();
    while let Some((path, id)) = walk.next() {
        if matches!(tree.node(id).kind, NodeKind::Directory { explicit: false, .. }) {
            implied.push((path.to_vec(), id));
        }
    }
    for (path, id) in implied.into_iter().rev() {
        if tree.node(id).children().is_some_and(BTreeMap::is_empty) {
            remove(tree, &path);
        }
    }
}

/// Opens a directory below `root`, through no symlink.
fn open_dir(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// The capability of a file, if it has one.
fn capability(dir: &OwnedFd, name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path.as_slice(), CAPABILITY, &mut value[..]) {
        Ok(length) => vec![(CAPABILITY.to_vec(), value[..length].to_vec())],
        // There is none, or the file system knows none.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(context: &Context) -> Vec<String> {
        let mut walk = context.tree.walk_below(Tree::ROOT, b"");
        let mut names = Vec::new();
        while let Some((path, _)) = walk.next() {
            names.push(String::from_utf8_lossy(path).into_owned());
        }
        names
    }

    fn open(dir: &tempfile::TempDir, dockerfile: Option<&str>) -> Result<Context, ContextError> {
        Context::open(dir.path().to_str().unwrap(), dockerfile, io::empty())
    }

    /// The length was measured with docker 20.10.24.
    #[test]
    fn a_directory_is_sent_as_a_tar_of_this_length() {
        let dir = place(&[("a.txt", "hi\n"), ("d/f", "x\n"), ("Dockerfile", "FROM x\n")]);
        let context = open(&dir, None).unwrap();
        assert_eq!(
            (context.sent, names(&context)),
            (4608, ["Dockerfile", "a.txt", "d", "d/f"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn what_is_excluded_is_hidden() {
        let dir = place(&[
            (".dockerignore", "*\n!d/keep\n"),
            ("Dockerfile", "FROM x"),
            ("d/keep", ""),
            ("d/other", ""),
            ("e/f", ""),
        ]);
        assert_eq!(names(&open(&dir, None).unwrap()), ["d", "d/keep"]);
        std::fs::write(dir.path().join(".dockerignore"), "[").unwrap();
        let error = open(&dir, None).unwrap_err().to_string();
        assert_eq!(error, "error checking context: syntax error in pattern");
    }

    #[test]
    fn a_dockerfile_may_be_elsewhere() {
        let (dir, other) = (place(&[("a", "")]), place(&[("My.file", "FROM y")]));
        let file = other.path().join("My.file");
        let context = open(&dir, file.to_str()).unwrap();
        assert_eq!((context.dockerfile.as_slice(), names(&context)), (&b"FROM y"[..], vec!["a".to_owned()]));
        assert!(matches!(open(&dir, None), Err(ContextError::NoDockerfile(_))));
        let input = Context::open(dir.path().to_str().unwrap(), Some("-"), &b"FROM z"[..]).unwrap();
        assert_eq!(input.dockerfile, b"FROM z");
        assert!(matches!(Context::open("-", Some("-"), io::empty()), Err(ContextError::BothFromInput)));
        assert!(matches!(Context::open("https://x/y", None, io::empty()), Err(ContextError::Remote)));
        assert!(matches!(Context::open("no/such", None, io::empty()), Err(ContextError::NotFound(_))));
    }

    #[test]
    fn standard_input_is_a_tar_or_a_dockerfile() {
        let context = Context::open("-", None, &b"FROM x\n"[..]).unwrap();
        assert_eq!((context.sent, names(&context)), (2048, Vec::new()));
        let mut tar = Vec::new();
        for (name, text) in [("./Dockerfile", "FROM x\n"), ("./d/f", "file")] {
            let (name, size, mtime) = (name.as_bytes(), text.len() as u64, PaxTime::default());
            let xattrs = &[];
            let member = NewMember {
                typeflag: b'0',
                name,
                linkname: b"",
                mode: 0o644,
                uid: 7,
                gid: 8,
                size,
                mtime,
                device: (0, 0),
                xattrs,
            };
            member.write(&mut tar);
            tar.extend_from_slice(text.as_bytes());
            tar.extend_from_slice(padding(size));
        }
        tar.extend_from_slice(&END);
        let context = Context::open("-", None, tar.as_slice()).unwrap();
        assert_eq!(
            (context.sent, names(&context)),
            (tar.len() as u64, ["Dockerfile", "d", "d/f"].map(str::to_owned).to_vec())
        );
        let source = context.source();
        let mut text = String::new();
        let (path, id) = source.tree.find(b"d/f", true).unwrap();
        source.tree.open(source.layers, &path, id).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "file");
        assert!(matches!(Context::open("-", Some("Other"), tar.as_slice()), Err(ContextError::NotInTar(_))));
    }
}
