//! The headers of a layer, one after the other, against what is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use tarsplit::crc64::Crc64;
use tarsplit::names::SeenNames;
use tarsplit::{Member, MemberKind};

use super::fault::{FaultKind, FileFault};
use super::place::{Parent, Places, open_file};
use super::{Comparison, Shows, VerifyError, anchor, is_shortage, node, unreadable};
use crate::apply::XattrNamespace;
use crate::path::{LayerPath, join};
use crate::sys::in_root::open_in_root;
use crate::sys::node::{file_type, is_whiteout, stat};
use crate::whiteout::Marker;

/// How the names of AUFS's own files at a layer's root begin.
const AUFS: &[u8] = b".wh..wh.";

/// What has been found out so far.
#[derive(Debug)]
pub(super) struct Headers<'l> {
    pub(super) comparison: &'l Comparison<'l>,
    pub(super) places: Places,
    /// The keys of all names that the layer's members have made.
    pub(super) made: SeenNames,
    /// If the directory shows the layers below: the paths that whiteouts have deleted, and the directories that are opaque.
    pub(super) deleted: HashSet<Vec<u8>>,
    pub(super) opaque: HashSet<Vec<u8>>,
    /// Inodes of directories in which a member has a name but leaves nothing to be found.
    pub(super) needed: HashSet<u64>,
    suspects: Suspects,
    current: Option<Current>,
}

/// The last member.
#[derive(Debug)]
struct Current {
    name: Vec<u8>,
    spot: Spot,
    found: Place,
}

/// What was found in the place of a member.
#[derive(Debug)]
enum Place {
    Nothing,
    /// A regular file: its directory, and its name in it.
    File(Arc<Parent>, Vec<u8>),
    Other,
}

/// The place that a fault is about.
#[derive(Debug, Clone)]
struct Spot {
    path: Vec<u8>,
    key: Vec<u8>,
    inode: Option<u64>,
}

/// Faults that a later member may explain.
#[derive(Debug, Default)]
struct Suspects {
    by_key: HashMap<Vec<u8>, (Vec<u8>, Vec<FaultKind>)>,
    by_path: BTreeMap<Vec<u8>, Vec<u8>>,
    by_inode: HashMap<u64, Vec<Vec<u8>>>,
    /// Hard links that are not the same file as the path that they name, by that path.
    by_target: HashMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl Suspects {
    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether a fault is known already that says that the content of this inode has changed.
    fn has_other_content(&self, inode: u64) -> bool {
        let other = |fault: &FaultKind| matches!(fault, FaultKind::Size { .. } | FaultKind::Content);
        let keys = self.by_inode.get(&inode).into_iter().flatten();
        keys.filter_map(|key| self.by_key.get(key)).any(|(_, faults)| faults.iter().any(other))
    }

    fn add(&mut self, spot: &Spot, faults: impl IntoIterator<Item = FaultKind>) {
        let mut faults = faults.into_iter().peekable();
        if faults.peek().is_none() {
            return;
        }
        let known = self.by_key.entry(spot.key.clone()).or_insert_with(|| (spot.path.clone(), Vec::new()));
        for fault in faults {
            if !known.1.iter().any(|one| one.code() == fault.code()) {
                known.1.push(fault);
            }
        }
        self.by_path.insert(spot.path.clone(), spot.key.clone());
        if let Some(inode) = spot.inode {
            self.by_inode.entry(inode).or_default().push(spot.key.clone());
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((path, _)) = self.by_key.remove(key) {
            self.by_path.remove(&path);
        }
    }

    /// Forgets the faults that earlier members had at a place that a later member has described. Mode, owner, time and
    /// capabilities belong to the inode, so their faults are forgotten for all names of it.
    fn described(&mut self, spot: &Spot) {
        if self.is_empty() {
            return;
        }
        self.remove(&spot.key);
        for key in spot.inode.and_then(|inode| self.by_inode.remove(&inode)).unwrap_or_default() {
            let Some((_, faults)) = self.by_key.get_mut(&key) else { continue };
            faults.retain(|fault| {
                !matches!(
                    fault,
                    FaultKind::Mode { .. } | FaultKind::Owner { .. } | FaultKind::Time { .. } | FaultKind::Capability
                )
            });
            if faults.is_empty() {
                self.remove(&key);
            } else if let Some(inode) = spot.inode {
                self.by_inode.entry(inode).or_default().push(key);
            }
        }
    }

    /// Forgets the faults below `path`, which something that is no directory has replaced: nothing that earlier members
    /// put there is left.
    fn replaced(&mut self, path: &[u8]) {
        if self.is_empty() {
            return;
        }
        // A hard link made earlier still has the file that was at `path` before, so it need not be the new one.
        for key in self.by_target.remove(path).unwrap_or_default() {
            let Some((_, faults)) = self.by_key.get_mut(&key) else { continue };
            faults.retain(|fault| *fault != FaultKind::Target);
            if faults.is_empty() {
                self.remove(&key);
            }
        }
        let from = join(path, b"");
        let below = self.by_path.range(from.clone()..).take_while(|(path, _)| path.starts_with(&from));
        let keys: Vec<Vec<u8>> = below.map(|(_, key)| key.clone()).collect();
        keys.iter().for_each(|key| self.remove(key));
    }
}

impl<'l> Headers<'l> {
    pub(super) fn new(comparison: &'l Comparison<'l>) -> Result<Self, VerifyError> {
        Ok(Self {
            comparison,
            places: Places::new(anchor(comparison.tree)?),
            made: SeenNames::default(),
            deleted: HashSet::new(),
            opaque: HashSet::new(),
            needed: HashSet::new(),
            suspects: Suspects::default(),
            current: None,
        })
    }

    fn shows_below(&self) -> bool {
        matches!(self.comparison.shows, Shows::Below(_))
    }

    /// Compares a member with what was found in its place.
    pub(super) fn member(&mut self, member: Member) -> Result<(), VerifyError> {
        self.current = None;
        if member.kind == MemberKind::GlobalHeader {
            return Ok(());
        }
        // A name that leads out of the layer was refused when the layer was unpacked. The root itself stays as the driver
        // made it.
        let Ok(Some(path)) = LayerPath::parse(&member.name) else { return Ok(()) };
        let (dir, base) = path.split();
        let marker = Marker::parse(base);
        if self.shows_below() && path.as_bytes().starts_with(AUFS) && marker != Ok(Marker::Opaque) {
            return Ok(());
        }
        let parent = match self.places.parent(dir) {
            Ok(parent) => Some(parent),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(errno) => return Err(VerifyError::tree("opening", dir)(errno)),
        };
        if let (Ok(Marker::Opaque | Marker::Whiteout(_)), Some(parent)) = (&marker, &parent) {
            self.needed.insert(parent.inode);
        }
        match (marker, parent) {
            (Err(_), _) => Ok(()),
            (Ok(Marker::Opaque), parent) => self.opaque(dir, parent.as_deref()),
            (Ok(Marker::Whiteout(hidden)), parent) => self.whiteout(&join(dir, hidden), hidden, parent.as_deref()),
            (Ok(Marker::None), None) => {
                let spot = Spot { path: path.as_bytes().to_vec(), key: unplaced(path.as_bytes()), inode: None };
                if member.kind != MemberKind::Directory {
                    self.suspects.replaced(path.as_bytes());
                }
                self.suspects.described(&spot);
                self.suspects.add(&spot, [FaultKind::Missing]);
                self.current = Some(Current { name: member.name, spot, found: Place::Nothing });
                Ok(())
            }
            (Ok(Marker::None), Some(parent)) => self.node(member, path.as_bytes(), parent, base),
        }
    }

    fn node(&mut self, member: Member, path: &[u8], parent: Arc<Parent>, base: &[u8]) -> Result<(), VerifyError> {
        let found = self.stat(&parent, base, path)?;
        let spot = Spot { path: path.to_vec(), key: parent.key(base), inode: found.as_ref().map(|stat| stat.st_ino) };
        self.made.insert(&spot.key);
        if member.kind != MemberKind::Directory {
            self.suspects.replaced(path);
        }
        self.suspects.described(&spot);
        self.suspects.remove(&unplaced(path));
        let Some(found) = found else {
            // A device is not missed where the unpacking process could not make devices.
            let device = matches!(member.kind, MemberKind::CharDevice | MemberKind::BlockDevice);
            if self.comparison.owners || !device {
                self.suspects.add(&spot, [FaultKind::Missing]);
            }
            self.needed.insert(parent.inode);
            self.current = Some(Current { name: member.name, spot, found: Place::Nothing });
            return Ok(());
        };
        let failed = VerifyError::tree("reading", path);
        let mut faults =
            node::differences(&member, &parent.fd, base, &found, self.comparison.owners).map_err(&failed)?;
        if member.kind == MemberKind::HardLink && !self.links(&member.linkname, &found)? {
            faults.push(FaultKind::Target);
            if let Ok(Some(target)) = LayerPath::parse(&member.linkname) {
                self.suspects.by_target.entry(target.as_bytes().to_vec()).or_default().push(spot.key.clone());
            }
        }
        // If the length or the content has changed, the time has changed with it: report only the former.
        let other_length = faults.iter().any(|fault| matches!(fault, FaultKind::Size { .. }));
        if other_length || self.suspects.has_other_content(found.st_ino) {
            faults.retain(|fault| !matches!(fault, FaultKind::Time { .. }));
        }
        self.suspects.add(&spot, faults);
        let is_file = file_type(&found) == FileType::RegularFile;
        let found = if is_file { Place::File(parent, base.to_vec()) } else { Place::Other };
        self.current = Some(Current { name: member.name, spot, found });
        Ok(())
    }

    fn stat(&self, parent: &Parent, base: &[u8], path: &[u8]) -> Result<Option<Stat>, VerifyError> {
        match stat(&parent.fd, base) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(VerifyError::tree("stat", path)(errno)),
        }
    }

    /// Whether a hard link is the same file as the path that it names, as far as that can be told.
    fn links(&mut self, target: &[u8], found: &Stat) -> Result<bool, VerifyError> {
        let Ok(Some(target)) = LayerPath::parse(target) else { return Ok(true) };
        if target.as_bytes().starts_with(AUFS) {
            return Ok(true);
        }
        let (dir, base) = target.split();
        let Ok(parent) = self.places.parent(dir) else { return Ok(true) };
        // If that path is missing, the fault is reported for the path itself.
        let linked = self.stat(&parent, base, target.as_bytes())?;
        Ok(linked.is_none_or(|linked| linked.st_ino == found.st_ino))
    }

    fn whiteout(&mut self, path: &[u8], hidden: &[u8], parent: Option<&Parent>) -> Result<(), VerifyError> {
        self.suspects.replaced(path);
        if self.shows_below() {
            self.deleted.insert(path.to_vec());
            return Ok(());
        }
        let (key, found) = match parent {
            Some(parent) => (parent.key(hidden), self.stat(parent, hidden, path)?),
            None => (unplaced(path), None),
        };
        let spot = Spot { path: path.to_vec(), key, inode: None };
        self.made.insert(&spot.key);
        self.suspects.described(&spot);
        match found {
            None => self.suspects.add(&spot, [FaultKind::Missing]),
            Some(found) if !is_whiteout(&found) => self.suspects.add(&spot, [FaultKind::Type]),
            Some(_) => {}
        }
        Ok(())
    }

    fn opaque(&mut self, dir: &[u8], parent: Option<&Parent>) -> Result<(), VerifyError> {
        if self.shows_below() {
            self.opaque.insert(dir.to_vec());
            return Ok(());
        }
        // overlayfs never looks at the attribute of a layer's root.
        if dir.is_empty() {
            return Ok(());
        }
        let spot = Spot { path: dir.to_vec(), key: [b"opaque".as_slice(), dir].concat(), inode: None };
        let opaque = parent.map(|_| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            open_in_root(self.places.root(), dir, flags).map(is_opaque)
        });
        let opaque = match opaque {
            Some(Err(errno)) if is_shortage(errno) => return Err(VerifyError::tree("opening", dir)(errno)),
            opaque => opaque.is_some_and(|opaque| opaque.unwrap_or(false)),
        };
        if !opaque {
            self.suspects.add(&spot, [FaultKind::NotOpaque]);
        }
        Ok(())
    }

    /// Opens the file whose body the journal calls `name`.
    ///
    /// # Errors
    /// [`VerifyError`] if that fails for a reason that is not the file's.
    pub(super) fn open(&self, name: &[u8]) -> Result<Result<File, FaultKind>, VerifyError> {
        let found = self.current.as_ref().filter(|current| current.name == name).map(|current| &current.found);
        let opened = match found {
            Some(Place::File(parent, base)) => open_file(&parent.fd, base).map(File::from),
            Some(Place::Nothing) => return Ok(Err(FaultKind::Missing)),
            Some(Place::Other) => return Ok(Err(FaultKind::Type)),
            None => {
                let Ok(Some(path)) = LayerPath::parse(name) else { return Ok(Err(FaultKind::Type)) };
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let opened = open_in_root(self.places.root(), path.as_bytes(), flags);
                match opened.and_then(|fd| Ok((file_type(&rustix::fs::fstat(&fd)?), fd))) {
                    Ok((FileType::RegularFile, fd)) => Ok(fd.into()),
                    Ok(_) => return Ok(Err(FaultKind::Type)),
                    Err(errno) => Err(errno),
                }
            }
        };
        match opened {
            Ok(file) => Ok(Ok(file)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(Err(FaultKind::Missing)),
            Err(errno) => unreadable(&errno.into(), name).map(Err),
        }
    }

    /// Notes a fault in the body of the member that the journal calls `name`.
    pub(super) fn fault_in(&mut self, name: &[u8], fault: FaultKind) {
        let spot = match &self.current {
            Some(current) if current.name == name => current.spot.clone(),
            _ => {
                let path = LayerPath::parse(name).ok().flatten();
                let path = path.map_or_else(|| name.to_vec(), |path| path.as_bytes().to_vec());
                Spot { key: unplaced(&path), path, inode: None }
            }
        };
        if let FaultKind::Content = fault
            && let Some((_, faults)) = self.suspects.by_key.get_mut(&spot.key)
        {
            // Whoever changed the content has changed the time with it: report only the content.
            faults.retain(|fault| !matches!(fault, FaultKind::Time { .. }));
        }
        self.suspects.add(&spot, [fault]);
    }

    /// Compares the file of the last member with the checksum of its body, which stood in the journal.
    pub(super) fn body_in_journal(&mut self, crc64: [u8; 8], buffer: &mut [u8]) -> Result<(), VerifyError> {
        let Some(Current { name, spot, found: Place::File(parent, base) }) = &self.current else { return Ok(()) };
        if spot.inode.is_some_and(|inode| self.suspects.has_other_content(inode)) {
            return Ok(());
        }
        let read = open_file(&parent.fd, base).map_err(std::io::Error::from).and_then(|file| {
            let (mut file, mut crc) = (File::from(file), Crc64::default());
            loop {
                match file.read(buffer) {
                    Ok(0) => return Ok(crc.finish()),
                    Ok(count) => crc.update(&buffer[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        });
        let name = name.clone();
        match read {
            Ok(found) if found == crc64 => {}
            Ok(_) => self.fault_in(&name, FaultKind::Content),
            Err(error) => self.fault_in(&name, unreadable(&error, &name)?),
        }
        Ok(())
    }

    /// The faults that no later member has explained, sorted by path.
    pub(super) fn faults(&mut self) -> Vec<FileFault> {
        let suspects = std::mem::take(&mut self.suspects);
        let each = suspects.by_key.into_values();
        let mut faults: Vec<FileFault> = each
            .flat_map(|(path, kinds)| {
                kinds.into_iter().map(move |kind| FileFault { path: path.clone(), kind, by_below: false })
            })
            .collect();
        faults.sort_by(|a, b| (&a.path, a.kind.code()).cmp(&(&b.path, b.kind.code())));
        faults
    }
}

/// The key of a path whose parent directory is missing.
fn unplaced(path: &[u8]) -> Vec<u8> {
    [b"missing ".as_slice(), path].concat()
}

/// Whether a directory is opaque for overlayfs. Without root the answer is always yes: the attribute may be unreadable,
/// so nothing is known to be wrong.
fn is_opaque(dir: impl AsFd) -> bool {
    let mut value = [0u8; 1];
    let namespaces = [XattrNamespace::Trusted, XattrNamespace::User];
    namespaces.iter().any(|namespace| rustix::fs::fgetxattr(&dir, namespace.opaque(), &mut value) == Ok(1))
        || !rustix::process::geteuid().is_root()
}
