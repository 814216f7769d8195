//! A layer's members, in order, into a directory.
//!
//! ```text
//! member -> path -> parent directory -> whiteout, or the node itself -> metadata
//!                                                      `-> body -> fill (any thread)
//! ```
//!
//! Everything that has a name is done in the archive's order, by one thread at a time: so a path's second appearance, a hard
//! link and its target, a whiteout and its victim need no other ordering. Bodies go to `fill`, and with them the files that
//! no other member can meet (see `regular`).
//!
//! # Where this differs from Docker
//!
//! Paths, types and metadata follow go-archive 0.3.3 (moby HEAD). On purpose different, each because Docker loses data
//! or lets a layer reach where it should not:
//!
//! | case | Docker | here |
//! |---|---|---|
//! | a path comes twice | 20.10, HEAD: the layer is refused | the last one wins, the journal stays replayable |
//! | a directory replaces a whiteout of this layer | lower content shows again | the directory is opaque |
//! | `trusted.overlay.*`, `user.overlay.*` attributes | set as given | left out, with a warning |
//! | an attribute the file system refuses (`ENOTSUP`, `EPERM`) | HEAD: `ENOTSUP` fails the layer | a warning |
//! | an attribute on a symlink | HEAD: set on its target, or fails | never followed; a warning |
//! | an owner outside 32 bits | wraps around | refused |
//! | a path longer than [`MAX_PATH`](crate::path::MAX_PATH) | 20.10: refused, HEAD: works | refused |
//! | holes of sparse files | written as zeros | stay holes, same content |
//! | deleting mode: a whiteout of what the same layer made | deletes it | spares it (OCI image-spec) |
//! | deleting mode: `.wh.`, `.wh..`, `.wh...` | HEAD: deletes the directory | refused, as in the other mode |
//! | deleting mode: hard links to AUFS's `.wh..wh.plnk/` files | copies of their own | links of each other |

mod create;
mod error;
mod fill;
mod metadata;
mod regular;
mod target;
mod tree;
mod whiteouts;

use std::collections::HashSet;
use std::sync::Arc;

use rustix::fs::{Mode, Timestamps};
use tarsplit::disassemble::{Keep, Sink};
use tarsplit::names::SeenNames;
use tarsplit::{Member, MemberKind};

pub use error::ApplyError;
pub(crate) use fill::{Filler, Shared};
pub(crate) use metadata::bounded;
pub use target::{Ownership, Target, WhiteoutMode, XattrNamespace};

use crate::bytes::Bytes;
use crate::error::MemberError;
use crate::meter::{self, UnpackStage};
use crate::path::LayerPath;
use crate::pool::Pool;
use crate::whiteout::Marker;
use regular::{Current, Named};
use tree::{Implied, Parent, Tree};

/// What applying a layer left besides the files.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Whiteouts that were not written: real paths, in [`WhiteoutMode::Record`].
    pub whiteouts: HashSet<Vec<u8>>,
    /// Opaque directories that were not marked: real paths, in [`WhiteoutMode::Record`].
    pub opaque: HashSet<Vec<u8>>,
    /// Directories whose mode and times are still to be set, in archive order, if [`Target::defer_directories`].
    pub directories: Vec<Directory>,
    /// The layer's size by Docker's rule: the lengths of files and symlinks, each inode once, or in
    /// [`WhiteoutMode::Delete`] the sizes of all headers. `None` if only a walk can tell.
    pub size: Option<u64>,
    /// Files moved to the target's scratch directory: cleaned name, and the name there. The journal needs their content.
    pub stashed: Vec<(Vec<u8>, String)>,
}

/// Directories whose metadata is set after everything below them is done.
#[derive(Debug, Clone)]
pub enum Directory {
    /// One that a member describes.
    Member {
        /// Its real path in the layer.
        path: Vec<u8>,
        /// Its mode.
        mode: Mode,
        /// Its times.
        times: Timestamps,
    },
    /// Directories that no member describes: mode 0755, and the time of unpacking.
    Implied {
        /// The real path of the innermost one.
        path: Vec<u8>,
        /// How many there are: itself and those above it.
        levels: usize,
    },
}

/// The most directories on one member's path that are remembered or looked for one by one: the lengths of their paths
/// add up to the square of the depth.
const MAX_NOTED: usize = 64;

/// Applies members as they come. Drives a [`Target`].
pub(crate) struct Applier<'a> {
    target: Target,
    tree: Tree,
    filler: Filler<'a>,
    shared: Arc<Shared>,
    current: Option<Current>,
    /// The name of the member that came last, for messages.
    name: Vec<u8>,
    whiteouts: HashSet<Vec<u8>>,
    opaque: HashSet<Vec<u8>>,
    /// Real paths of everything this layer made, in [`WhiteoutMode::Delete`] only.
    made: HashSet<Vec<u8>>,
    directories: Vec<Directory>,
    /// Whether there is a journal; `on_disk` has the real paths of the files that it refers to.
    journalled: bool,
    on_disk: SeenNames,
    stashed: Vec<(Vec<u8>, String)>,
    size: u64,
    size_known: bool,
    /// The sizes that headers say, of all members with content.
    header_sizes: u64,
    /// So far members can meet only by having the same name: see `regular`.
    orderly: bool,
    /// Directories that were made because a member below them needed them, noted while `orderly`.
    implied: SeenNames,
    /// Files that were handed out before they were created.
    planned: SeenNames,
    /// New nodes may inherit an ACL, or anything else from directories that were there before: their owner and mode
    /// cannot be taken for granted.
    inherits: bool,
    umask: u32,
    uid: u32,
    gid: u32,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(
        target: Target,
        journalled: bool,
        filler: Filler<'a>,
        shared: Arc<Shared>,
    ) -> Result<Self, ApplyError> {
        let opening = ApplyError::system("opening the layer's root");
        let root = rustix::io::fcntl_dupfd_cloexec(&target.root, 3).map_err(&opening)?;
        let default_acl =
            rustix::fs::fgetxattr(&root, "system.posix_acl_default", &mut [0u8; 0]).is_ok_and(|len| len > 0);
        let inherits = target.whiteouts == WhiteoutMode::Delete || default_acl;
        let owner = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
        Ok(Self {
            tree: Tree::new(root, (target.ownership == Ownership::Layer).then_some(owner)),
            target,
            filler,
            shared,
            current: None,
            name: Vec::new(),
            whiteouts: HashSet::new(),
            opaque: HashSet::new(),
            made: HashSet::new(),
            directories: Vec::new(),
            journalled,
            on_disk: SeenNames::default(),
            stashed: Vec::new(),
            size: 0,
            size_known: true,
            header_sizes: 0,
            orderly: true,
            implied: SeenNames::default(),
            planned: SeenNames::default(),
            inherits,
            umask: crate::sys::umask::current(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        })
    }

    /// Waits for all bodies, then sets the times of directories.
    pub(crate) fn finish(mut self, pool: &Pool<'a>) -> Result<Outcome, ApplyError> {
        self.filler.barrier(pool);
        let _creating = meter::enter(UnpackStage::Create);
        if self.target.whiteouts == WhiteoutMode::Delete {
            self.remove_aufs_metadata()?;
        }
        let directories = std::mem::take(&mut self.directories);
        let record = self.target.whiteouts == WhiteoutMode::Record;
        let deferred = if self.target.defer_directories {
            directories
        } else {
            for directory in &directories {
                self.set_directory_times(directory)?;
            }
            Vec::new()
        };
        let size = match self.target.whiteouts {
            // The directory shows other layers as well, so Docker does not walk it (moby `pkg/archive/diff.go`).
            WhiteoutMode::Delete => Some(self.header_sizes),
            _ => self.size_known.then_some(self.size),
        };
        Ok(Outcome {
            whiteouts: if record { self.whiteouts } else { HashSet::new() },
            opaque: if record { self.opaque } else { HashSet::new() },
            directories: deferred,
            size,
            stashed: self.stashed,
        })
    }

    fn apply(&mut self, member: Box<Member>, first: bool, pool: &Pool<'a>) -> Result<Keep, ApplyError> {
        if member.kind == MemberKind::GlobalHeader {
            return Ok(Keep::Inline);
        }
        let Some(path) = LayerPath::parse(&member.name)? else { return Ok(Keep::Inline) };
        ApplyError::check_length(&path)?;
        let (dir, base) = path.split();
        let marker = Marker::parse(base)?;
        if marker == Marker::None && matches!(member.kind, MemberKind::Other(_) | MemberKind::GnuSparse) {
            return Err(ApplyError::UnhandledType { typeflag: member.kind.typeflag() });
        }
        // While all names are spelt like this, members whose cleaned names differ are at different paths.
        let name = member.name.strip_prefix(b"./").unwrap_or(&member.name);
        self.orderly &= name.strip_suffix(b"/").unwrap_or(name) == path.as_bytes();
        let alone = self.orderly && first && !self.implied.contains(path.as_bytes());
        if !alone || marker != Marker::None {
            self.filler.settle(pool);
        }
        let parent = match self.parent(dir, pool) {
            Err(error) if marker == Marker::Opaque && error.errno() == Some(rustix::io::Errno::NOTDIR) => {
                return Err(ApplyError::OpaqueFile);
            }
            parent => parent?,
        };
        match marker {
            Marker::Whiteout(hidden) => self.whiteout(&parent, hidden, &member)?,
            Marker::Opaque => self.make_opaque(&parent)?,
            Marker::None => {
                let real = parent.path_of(base);
                let keep = if member.kind == MemberKind::Regular {
                    let named = Named { real: &real, plain: real == path.as_bytes(), first, alone };
                    self.start_file(&parent, base, &named, member, pool)?
                } else {
                    self.create(&parent, base, &real, member, pool)?;
                    Keep::Inline
                };
                if self.target.whiteouts == WhiteoutMode::Delete {
                    self.made.insert(real);
                }
                return Ok(keep);
            }
        }
        Ok(Keep::Inline)
    }

    /// Opens the directory `dir`. If it is reached through a symlink, members of different names can meet from now on,
    /// so the layer is not `orderly` any more.
    fn parent(&mut self, dir: &[u8], pool: &Pool<'a>) -> Result<Arc<Parent>, ApplyError> {
        if let Some(parent) = self.tree.real(dir) {
            return Ok(parent);
        }
        if self.may_be_planned(dir) {
            self.filler.settle(pool);
        }
        let parent = self.tree.parent(dir)?;
        self.note_implied();
        if parent.real != dir {
            self.orderly = false;
            self.filler.settle(pool);
        }
        Ok(parent)
    }

    /// Whether `dir`, or a directory above it, may be missing because it is a file that was not created yet.
    fn may_be_planned(&self, dir: &[u8]) -> bool {
        let mut ends = dir.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at).chain([dir.len()]);
        ends.clone().count() > MAX_NOTED || ends.any(|end| self.planned.contains(&dir[..end]))
    }

    /// Records directories that were just created because a member needed them.
    fn note_implied(&mut self) {
        for Implied { path, levels } in self.tree.take_implied() {
            if self.target.whiteouts == WhiteoutMode::Delete {
                // Only the directory at the layer's root is noted, for `remove_aufs_metadata`. Whiteouts spare a
                // directory below it only for what this layer has in it.
                self.made.extend(path.split(|&b| b == b'/').next().map(<[u8]>::to_vec));
            }
            if levels <= MAX_NOTED {
                let mut noted = path.as_slice();
                for _ in 0..levels {
                    self.implied.insert(noted);
                    noted = noted.iter().rposition(|&b| b == b'/').map_or(&[], |slash| &noted[..slash]);
                }
            } else {
                self.orderly = false;
            }
            if self.target.defer_directories {
                self.directories.push(Directory::Implied { path, levels });
            }
        }
    }
}

/// An applier at work on a piece of its layer.
pub(crate) struct Applying<'x, 'a> {
    pub(crate) applier: &'x mut Applier<'a>,
    /// The piece being framed.
    pub(crate) piece: &'x Bytes<'a>,
    pub(crate) pool: &'x Pool<'a>,
}

impl Applying<'_, '_> {
    /// Hands out the bodies of this piece, while they are in the cache.
    pub(crate) fn end(self) {
        self.applier.filler.flush(self.pool);
    }
}

impl Sink for Applying<'_, '_> {
    type Error = MemberError;

    fn member(&mut self, member: Box<Member>, first: bool) -> Result<Keep, MemberError> {
        let _creating = meter::enter(UnpackStage::Create);
        let position = member.position;
        self.applier.name.clone_from(&member.name);
        if matches!(member.kind, MemberKind::Regular | MemberKind::GnuSparse) {
            self.applier.header_sizes = self.applier.header_sizes.saturating_add(member.size);
        }
        let applied = self.applier.apply(member, first, self.pool);
        applied.map_err(|source| MemberError { position, name: self.applier.name.clone(), source })
    }

    fn body(&mut self, data: &[u8], at: usize, last: bool) -> Result<(), MemberError> {
        self.applier.receive(self.piece, (data, at, last), self.pool)
    }
}
