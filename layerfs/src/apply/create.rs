//! One node of each type, replacing what is in its place.
//!
//! A directory in the place of a directory keeps the old one and gives it the new metadata. In every other case the old
//! node is removed first, so that a file is never written through an inode that has another name.

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use tarsplit::{Member, MemberKind};

use super::error::ApplyError;
use super::fill::set_xattrs;
use super::metadata::Metadata;
use super::target::{Ownership, WhiteoutMode};
use super::tree::Parent;
use super::{Applier, Directory};
use crate::path::LayerPath;
use crate::pool::Pool;
use crate::sys::node::{self, Node};
use crate::sys::remove::{EntryFate, remove_with};
use crate::warning::Warning;

impl<'a> Applier<'a> {
    /// Creates the node that `member` describes, which is not a regular file.
    pub(super) fn create(
        &mut self,
        parent: &Parent,
        base: &[u8],
        real: &[u8],
        mut member: Box<Member>,
        pool: &Pool<'a>,
    ) -> Result<(), ApplyError> {
        let metadata = Metadata::from_member(&mut member, self.target.ownership)?;
        let name = member.name.as_slice();
        match member.kind {
            MemberKind::Directory => self.create_directory(parent, base, real, &metadata, name),
            MemberKind::HardLink => {
                // The link's own metadata goes to the inode that both share, after the target's.
                self.filler.barrier(pool);
                match self.create_hard_link(parent, base, real, &member)? {
                    FileType::Symlink => self.set_owner(parent, base, &metadata, false),
                    _ => {
                        self.set_owner(parent, base, &metadata, false)?;
                        self.set_rest(parent, base, &metadata, name, false)
                    }
                }
            }
            MemberKind::Symlink => {
                let target = member.linkname.as_slice();
                self.replacing(parent, base, real, "symlink", || rustix::fs::symlinkat(target, &parent.fd, base))?;
                self.size += target.len() as u64;
                self.set_owner(parent, base, &metadata, true)?;
                self.set_rest(parent, base, &metadata, name, true)
            }
            MemberKind::CharDevice | MemberKind::BlockDevice | MemberKind::Fifo => {
                self.create_special(parent, base, real, &member, &metadata, name)
            }
            MemberKind::Regular | MemberKind::GlobalHeader | MemberKind::GnuSparse | MemberKind::Other(_) => {
                Err(ApplyError::UnhandledType { typeflag: member.kind.typeflag() })
            }
        }
    }

    fn create_directory(
        &mut self,
        parent: &Parent,
        base: &[u8],
        real: &[u8],
        metadata: &Metadata,
        name: &[u8],
    ) -> Result<(), ApplyError> {
        let deferred = self.target.defer_directories;
        // A process that is not root needs these permissions to fill the directory. Its own mode comes at the end.
        let now = if deferred { metadata.mode | Mode::RWXU } else { metadata.mode };
        let permissions = Mode::from_raw_mode(now.as_raw_mode() & 0o777);
        let make = || rustix::fs::mkdirat(&parent.fd, base, permissions);
        let fresh = match make() {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                let stat = node::stat(&parent.fd, base).map_err(ApplyError::system("stat"))?;
                if node::file_type(&stat) == FileType::Directory {
                    false
                } else {
                    let replaces_whiteout = self.whiteouts.contains(real);
                    self.replacing(parent, base, real, "mkdir", make)?;
                    if replaces_whiteout {
                        self.mark_opaque(parent, base, real)?;
                    }
                    true
                }
            }
            Err(errno) => return Err(ApplyError::System { call: "mkdir", errno }),
        };
        if fresh && self.whiteouts.remove(real) {
            // The whiteout before was recorded and not written, so mkdir met nothing in its way.
            self.mark_opaque(parent, base, real)?;
        }
        self.set_owner(parent, base, metadata, fresh)?;
        let exact = fresh && !self.must_set_mode(parent, metadata) && now == metadata.mode;
        if !exact || !metadata.xattrs.is_empty() {
            let node = Node::open(&parent.fd, base).map_err(ApplyError::system("opening"))?;
            set_xattrs(&metadata.xattrs, name, &self.shared, |name, value| node.set_xattr(name, value))?;
            node.chmod(now).map_err(ApplyError::system("chmod"))?;
        }
        self.inherits |= metadata.xattrs.iter().any(|(name, _)| name == b"system.posix_acl_default");
        if !fresh {
            self.tree.forget();
        }
        self.directories.push(Directory::Member {
            path: real.to_vec(),
            mode: metadata.mode,
            times: metadata.times.clone(),
        });
        Ok(())
    }

    /// Creates a hard link. Returns the type of what it leads to.
    fn create_hard_link(
        &mut self,
        parent: &Parent,
        base: &[u8],
        real: &[u8],
        member: &Member,
    ) -> Result<FileType, ApplyError> {
        let invalid = || ApplyError::HardLinkTarget { target: member.linkname.clone() };
        if member.linkname.is_empty() {
            return Err(invalid());
        }
        let target = LayerPath::parse(&member.linkname).map_err(|_| invalid())?.ok_or_else(invalid)?;
        ApplyError::check_length(&target)?;
        let (target_dir, target_base) = target.split();
        let unusable = |errno| ApplyError::HardLink { target: member.linkname.clone(), errno };
        let target_parent = self.tree.existing(target_dir).map_err(|error| match error {
            ApplyError::System { errno, .. } => unusable(errno),
            error => error,
        })?;
        let stat = node::stat(&target_parent.fd, target_base).map_err(unusable)?;
        if node::is_whiteout(&stat) && self.whiteouts.contains(&target_parent.path_of(target_base)) {
            return Err(unusable(Errno::NOENT));
        }
        let link = || rustix::fs::linkat(&target_parent.fd, target_base, &parent.fd, base, AtFlags::empty());
        self.replacing(parent, base, real, "link", link)?;
        Ok(node::file_type(&stat))
    }

    fn create_special(
        &mut self,
        parent: &Parent,
        base: &[u8],
        real: &[u8],
        member: &Member,
        metadata: &Metadata,
        name: &[u8],
    ) -> Result<(), ApplyError> {
        let (major, minor) = member.device;
        let number = |part| u32::try_from(part).map_err(|_| ApplyError::DeviceNumber { major, minor });
        let (file_type, device) = match member.kind {
            MemberKind::Fifo => (FileType::Fifo, 0),
            MemberKind::CharDevice => (FileType::CharacterDevice, rustix::fs::makedev(number(major)?, number(minor)?)),
            _ => (FileType::BlockDevice, rustix::fs::makedev(number(major)?, number(minor)?)),
        };
        if self.target.whiteouts == WhiteoutMode::Record && file_type == FileType::CharacterDevice && device == 0 {
            // To overlayfs, a device 0:0 is a whiteout, also when the archive has it as a device.
            self.whiteouts.insert(real.to_vec());
            return Ok(());
        }
        let permissions = Mode::from_raw_mode(metadata.mode.as_raw_mode() & 0o777);
        let make = || rustix::fs::mknodat(&parent.fd, base, file_type, permissions, device);
        match self.replacing(parent, base, real, "mknod", make) {
            Err(ApplyError::System { errno: Errno::PERM, .. }) if file_type != FileType::Fifo => {
                self.shared.warn(name, Warning::DeviceSkipped);
                return Ok(());
            }
            result => result?,
        }
        self.set_owner(parent, base, metadata, true)?;
        self.set_rest(parent, base, metadata, name, false)
    }

    /// Runs `make`; where something is in the way, removes that and runs it again.
    pub(super) fn replacing<T>(
        &mut self,
        parent: &Parent,
        base: &[u8],
        real: &[u8],
        call: &'static str,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, ApplyError> {
        match make() {
            Err(Errno::EXIST) => {}
            Ok(made) => {
                if !self.whiteouts.is_empty() && self.target.whiteouts == WhiteoutMode::Record {
                    self.whiteouts.remove(real);
                }
                return Ok(made);
            }
            Err(errno) => return Err(ApplyError::System { call, errno }),
        }
        self.remove(parent, base, real)?;
        make().map_err(ApplyError::system(call))
    }

    /// Removes what is at `base`, tree or not, but keeps the files that the journal refers to in the scratch directory.
    fn remove(&mut self, parent: &Parent, base: &[u8], real: &[u8]) -> Result<(), ApplyError> {
        self.size_known = false;
        self.whiteouts.remove(real);
        let Self { on_disk, stashed, target, .. } = self;
        let removed = remove_with(&parent.fd, base, real, |dir, name, path| {
            if !on_disk.remove(path) {
                return Ok(EntryFate::Remove);
            }
            let aside = format!("replaced-{}", stashed.len());
            rustix::fs::renameat(dir, name, &target.scratch, &aside)?;
            stashed.push((path.to_vec(), aside));
            Ok(EntryFate::Gone)
        });
        self.tree.forget();
        removed.map_err(ApplyError::system("replacing what the layer already has there"))
    }

    /// Whether a new node in `parent` may get another group than this process has.
    pub(super) fn inherits_group(&self, parent: &Parent) -> bool {
        self.inherits || parent.hands_down(self.gid).group
    }

    /// Whether creating the node in `parent` does not already give it its owner.
    pub(super) fn must_set_owner(&self, parent: &Parent, metadata: &Metadata) -> bool {
        if self.target.ownership == Ownership::Caller {
            return false;
        }
        let is = |wanted: Option<u32>, own| wanted.is_none_or(|wanted| wanted == own);
        self.inherits_group(parent)
            || !is(metadata.uid.map(rustix::fs::Uid::as_raw), self.uid)
            || !is(metadata.gid.map(rustix::fs::Gid::as_raw), self.gid)
    }

    /// Whether creating the node in `parent` does not already give it its mode.
    pub(super) fn must_set_mode(&self, parent: &Parent, metadata: &Metadata) -> bool {
        self.inherits
            || parent.hands_down(self.gid).bit
            || metadata.has_special_bits()
            || metadata.mode.as_raw_mode() & self.umask != 0
            || metadata.xattrs.iter().any(|(name, _)| name.starts_with(b"system."))
    }

    /// Sets the owner of a node, unless it is `fresh` and has that owner from its making.
    fn set_owner(&self, parent: &Parent, base: &[u8], metadata: &Metadata, fresh: bool) -> Result<(), ApplyError> {
        if self.target.ownership == Ownership::Caller || fresh && !self.must_set_owner(parent, metadata) {
            return Ok(());
        }
        node::chown(&parent.fd, base, metadata.uid, metadata.gid).map_err(metadata.chown_failed())
    }

    /// Sets what comes after the owner, in Docker's order, of a node that has no descriptor of its own.
    fn set_rest(
        &self,
        parent: &Parent,
        base: &[u8],
        metadata: &Metadata,
        name: &[u8],
        symlink: bool,
    ) -> Result<(), ApplyError> {
        if !symlink || !metadata.xattrs.is_empty() {
            let node = Node::open(&parent.fd, base).map_err(ApplyError::system("opening"))?;
            set_xattrs(&metadata.xattrs, name, &self.shared, |name, value| node.set_xattr(name, value))?;
            if !symlink {
                node.chmod(metadata.mode).map_err(ApplyError::system("chmod"))?;
            }
        }
        node::set_times(&parent.fd, base, &metadata.times).map_err(ApplyError::system("setting times"))
    }

    /// Sets a directory's times, if it is still a directory.
    pub(super) fn set_directory_times(&mut self, directory: &Directory) -> Result<(), ApplyError> {
        let Directory::Member { path, times, .. } = directory else { return Ok(()) };
        let call = ApplyError::system("setting a directory's times");
        let Some(path) = LayerPath::parse(path)? else { return Ok(()) };
        let (parent, base) = path.split();
        let parent = match self.tree.existing(parent) {
            Ok(parent) => parent,
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR)) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Only a layer that removed something can have put another thing in its place.
        if !self.size_known {
            match node::stat(&parent.fd, base) {
                Ok(stat) if node::file_type(&stat) == FileType::Directory => {}
                Ok(_) | Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(call(errno)),
            }
        }
        node::set_times(&parent.fd, base, times).map_err(call)
    }
}
