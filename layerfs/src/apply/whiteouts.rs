//! What becomes of `.wh.` members, by the [`WhiteoutMode`] that the driver chooses: a device or an attribute, a deletion, or a
//! note for later.

use rustix::fs::{FileType, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;
use tarsplit::Member;

use super::Applier;
use super::error::ApplyError;
use super::target::{Ownership, WhiteoutMode, XattrNamespace};
use super::tree::Parent;
use crate::path::join;
use crate::sys::beneath::open_dir;
use crate::sys::node;
use crate::sys::remove::{EntryFate, remove_sparing, remove_tree};

/// How the names of AUFS's own files at a layer's root begin.
const AUFS: &[u8] = b".wh..wh.";

impl Applier<'_> {
    /// Applies `.wh.HIDDEN` in `parent`. Of the member only the owner counts.
    pub(super) fn whiteout(&mut self, parent: &Parent, hidden: &[u8], member: &Member) -> Result<(), ApplyError> {
        let real = parent.path_of(hidden);
        match self.target.whiteouts {
            WhiteoutMode::Delete => return self.delete_lower(parent, hidden, &real),
            _ if self.whiteouts.contains(&real) => return Ok(()),
            WhiteoutMode::Record => match node::stat(&parent.fd, hidden) {
                Ok(_) => return Err(ApplyError::System { call: "whiteout", errno: Errno::EXIST }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(ApplyError::System { call: "whiteout", errno }),
            },
            WhiteoutMode::Overlay(_) => {
                let call = ApplyError::system("whiteout");
                let made = rustix::fs::mknodat(&parent.fd, hidden, FileType::CharacterDevice, Mode::empty(), 0);
                made.map_err(&call)?;
                let other = (member.uid, member.gid) != (0, 0) || self.inherits_group(parent);
                if self.target.ownership == Ownership::Layer && other {
                    let id = |id| u32::try_from(id).unwrap_or(u32::MAX);
                    let (uid, gid) = (Uid::from_raw(id(member.uid)), Gid::from_raw(id(member.gid)));
                    node::chown(&parent.fd, hidden, Some(uid), Some(gid)).map_err(call)?;
                }
            }
        }
        self.whiteouts.insert(real);
        Ok(())
    }

    /// Applies `.wh..wh..opq` in `parent`.
    pub(super) fn make_opaque(&mut self, parent: &Parent) -> Result<(), ApplyError> {
        match self.target.whiteouts {
            WhiteoutMode::Delete => self.delete_lower_content(parent),
            // overlayfs never looks at the attribute of a layer's root, so there it hides nothing.
            WhiteoutMode::Record if parent.real.is_empty() => Ok(()),
            WhiteoutMode::Record => {
                self.opaque.insert(parent.real.clone());
                Ok(())
            }
            WhiteoutMode::Overlay(namespace) => set_opaque(self, &parent.real, namespace),
        }
    }

    /// Makes a directory opaque that takes the place of a whiteout, so that it shows nothing of what was whited out.
    pub(super) fn mark_opaque(&mut self, parent: &Parent, base: &[u8], real: &[u8]) -> Result<(), ApplyError> {
        debug_assert_eq!(parent.path_of(base), real);
        match self.target.whiteouts {
            WhiteoutMode::Delete => Ok(()),
            WhiteoutMode::Record => {
                self.opaque.insert(real.to_vec());
                Ok(())
            }
            WhiteoutMode::Overlay(namespace) => set_opaque(self, real, namespace),
        }
    }

    fn delete_lower(&mut self, parent: &Parent, base: &[u8], real: &[u8]) -> Result<(), ApplyError> {
        if self.made.contains(real) && !self.is_directory(parent, base)? {
            return Ok(());
        }
        self.size_known = false;
        let made = &self.made;
        let fate = |path: &[u8]| if made.contains(path) { EntryFate::Keep } else { EntryFate::Remove };
        let removed = remove_sparing(&parent.fd, base, real, |_, _, path| Ok(fate(path)), |path| made.contains(path));
        self.tree.forget();
        removed.map_err(ApplyError::system("whiteout"))
    }

    /// Deletes what the layers below have in a directory. Once is enough: what is left is this layer's.
    fn delete_lower_content(&mut self, parent: &Parent) -> Result<(), ApplyError> {
        if !self.opaque.insert(parent.real.clone()) {
            return Ok(());
        }
        let failed = ApplyError::system("opaque directory");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&parent.fd, ".", flags, Mode::empty()).map_err(&failed)?;
        let entries =
            rustix::fs::Dir::read_from(&dir).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(&failed)?;
        for entry in entries {
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                self.delete_lower(parent, name, &join(&parent.real, name))?;
            }
        }
        Ok(())
    }

    /// Removes what AUFS kept at a layer's root, above all the files that it hard-linked to across directories: in a tree
    /// that people look at they are not content.
    pub(super) fn remove_aufs_metadata(&mut self) -> Result<(), ApplyError> {
        let mut names: Vec<&[u8]> = self.made.iter().filter_map(|path| path.split(|&b| b == b'/').next()).collect();
        names.retain(|name| name.starts_with(AUFS));
        names.sort_unstable();
        names.dedup();
        for name in &names {
            self.size_known = false;
            remove_tree(self.tree.root(), name).map_err(ApplyError::system("removing AUFS metadata"))?;
        }
        Ok(())
    }

    /// Whether a path is going to be [removed](Self::remove_aufs_metadata), so that nothing can be read from it later.
    pub(super) fn is_aufs_metadata(&self, real: &[u8]) -> bool {
        self.target.whiteouts == WhiteoutMode::Delete && real.starts_with(AUFS)
    }

    fn is_directory(&self, parent: &Parent, base: &[u8]) -> Result<bool, ApplyError> {
        match node::stat(&parent.fd, base) {
            Ok(stat) => Ok(node::file_type(&stat) == FileType::Directory),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(ApplyError::System { call: "whiteout", errno }),
        }
    }
}

fn set_opaque(applier: &Applier<'_>, real: &[u8], namespace: XattrNamespace) -> Result<(), ApplyError> {
    let failed = ApplyError::system("marking the directory opaque");
    let anchor = open_dir(applier.tree.root(), real).map_err(&failed)?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let dir = rustix::fs::openat(&anchor, ".", flags, Mode::empty()).map_err(&failed)?;
    rustix::fs::fsetxattr(&dir, namespace.opaque(), b"y", XattrFlags::empty()).map_err(failed)
}
