//! The mounts of a specification, each made first and then put where it belongs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, chmodat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::groups::Hierarchy;
use super::tree::{Point, Tree, attach, kind_of, make_dir};
use crate::error::RuntimeError;
use crate::oci;
use crate::sys::{MountChange, change_mount};

/// What the options of a mount ask for.
#[derive(Debug, Default)]
struct Options {
    attributes: u64,
    cleared: u64,
    propagation: u64,
    propagation_below: bool,
    bind: Option<bool>,
    data: Vec<String>,
}

const RDONLY: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;
const NOSUID: u64 = MountAttrFlags::MOUNT_ATTR_NOSUID.bits() as u64;
pub(super) const NODEV: u64 = MountAttrFlags::MOUNT_ATTR_NODEV.bits() as u64;
const NOEXEC: u64 = MountAttrFlags::MOUNT_ATTR_NOEXEC.bits() as u64;
const ATIME: u64 = MountAttrFlags::MOUNT_ATTR__ATIME.bits() as u64;
const NOATIME: u64 = MountAttrFlags::MOUNT_ATTR_NOATIME.bits() as u64;
const STRICTATIME: u64 = MountAttrFlags::MOUNT_ATTR_STRICTATIME.bits() as u64;
const NODIRATIME: u64 = MountAttrFlags::MOUNT_ATTR_NODIRATIME.bits() as u64;

/// What is known of the container while its file systems are mounted.
#[derive(Debug)]
pub(super) struct Mounter<'a> {
    pub(super) tree: &'a Tree,
    /// The control groups' hierarchies, and the container's directories in them.
    pub(super) hierarchies: &'a [(Hierarchy, PathBuf)],
    /// Whether the container has a name space of control groups.
    pub(super) own_groups: bool,
}

/// What later steps need of the mounts.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// `/proc`, if it is a process file system that was mounted here.
    pub(super) proc: Option<OwnedFd>,
    /// `/dev`, if it is a file system in memory that was mounted here.
    pub(super) dev: Option<OwnedFd>,
    /// `/dev/pts`
    pub(super) pts: Option<OwnedFd>,
}

impl Mounter<'_> {
    /// Mounts what a specification lists, in its order.
    pub(super) fn all(&self, mounts: &[oci::Mount]) -> Result<Mounted, RuntimeError> {
        let mut mounted = Mounted::default();
        for mount in mounts {
            let destination = mount.destination().to_string_lossy();
            let failed = |error: io::Error| RuntimeError::io(format!("mounting {destination}"))(error);
            let kind = mount.typ().as_deref().unwrap_or("bind");
            let options = parse(mount.options().as_deref().unwrap_or_default());
            let made = if kind == "bind" || options.bind.is_some() {
                self.bind(mount, &destination, &options).map(|()| None)
            } else if kind == "cgroup" {
                self.groups(&destination, &options).map(|()| None)
            } else {
                self.new_one(kind, mount, &destination, &options).map(Some)
            };
            let made = made.map_err(failed)?;
            match (kind, &*destination) {
                ("proc", "/proc") => mounted.proc = made,
                ("tmpfs", "/dev") => mounted.dev = made,
                ("devpts", "/dev/pts") => mounted.pts = made,
                _ => {}
            }
        }
        Ok(mounted)
    }

    /// Mounts a new file system.
    fn new_one(&self, kind: &str, mount: &oci::Mount, destination: &str, options: &Options) -> io::Result<OwnedFd> {
        let source = mount.source().as_deref().unwrap_or(Path::new(kind));
        // Where sysfs of another user name space cannot be mounted, the host's is shown.
        let made = match make(kind, source, options) {
            Err(error) if kind == "sysfs" && error.kind() == io::ErrorKind::PermissionDenied => {
                let flags =
                    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
                let made = open_tree(CWD, "/sys", flags)?;
                change(&made, &Options { attributes: options.attributes | RDONLY, ..Options::default() })?;
                made
            }
            made => made?,
        };
        let point = self.tree.point(destination, Point::Directory)?;
        attach(&made, &point)?;
        Ok(made)
    }

    fn bind(&self, mount: &oci::Mount, destination: &str, options: &Options) -> io::Result<()> {
        let source = mount.source().as_deref().ok_or_else(|| io::Error::other("no source is given"))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let flags = if options.bind == Some(false) { flags } else { flags | OpenTreeFlags::AT_RECURSIVE };
        let made = open_tree(CWD, source, flags).map_err(io::Error::from);
        let made = made
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {}", source.display(), crate::words(&error))))?;
        change(&made, options)?;
        let point = self.tree.point(destination, kind_of(&made)?)?;
        attach(&made, &point)
    }

    /// The container's own control groups: in a file system in memory, a directory for each hierarchy.
    fn groups(&self, destination: &str, options: &Options) -> io::Result<()> {
        let point = self.tree.point(destination, Point::Directory)?;
        if let [(Hierarchy::Unified(_), dir)] = self.hierarchies {
            let made =
                if self.own_groups { make("cgroup2", Path::new("cgroup"), options)? } else { shown(dir, options)? };
            return attach(&made, &point);
        }
        let writable = Options {
            data: vec!["mode=755".to_owned()],
            attributes: options.attributes & !RDONLY,
            ..Options::default()
        };
        let base = make("tmpfs", Path::new("tmpfs"), &writable)?;
        attach(&base, &point)?;
        for (hierarchy, dir) in self.hierarchies {
            let Hierarchy::Named { mount, controllers } = hierarchy else { continue };
            let name = Path::new(mount.file_name().unwrap_or_default());
            let made = if self.own_groups {
                let own = Options { attributes: options.attributes, data: controllers.clone(), ..Options::default() };
                make("cgroup", Path::new("cgroup"), &own)?
            } else {
                shown(dir, options)?
            };
            attach(&made, make_dir(base.as_fd(), name)?)?;
            for other in controllers.iter().filter(|other| Path::new(other) != name && !other.contains('=')) {
                symlinkat(name, &base, other)?;
            }
        }
        if options.attributes & RDONLY != 0 {
            chmodat(&base, ".", Mode::from_raw_mode(0o555), rustix::fs::AtFlags::empty())?;
        }
        Ok(())
    }
}

/// A mount of a directory of the host, with these options.
fn shown(dir: &Path, options: &Options) -> io::Result<OwnedFd> {
    let made = open_tree(CWD, dir, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    change(&made, &Options { attributes: options.attributes, ..Options::default() })?;
    Ok(made)
}

/// A file system that is mounted nowhere yet.
fn make(kind: &str, source: &Path, options: &Options) -> io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", source)?;
    for option in &options.data {
        match option.split_once('=') {
            Some((name, value)) => fsconfig_set_string(&fs, name, value)?,
            None => fsconfig_set_flag(&fs, option.as_str())?,
        }
    }
    // sysfs shows that it is read-only itself, too, as with mount(2).
    if options.attributes & RDONLY != 0 && kind != "cgroup" {
        fsconfig_set_flag(&fs, "ro")?;
    }
    fsconfig_create(&fs)?;
    let bits = u32::try_from(options.attributes).unwrap_or_default();
    let attributes = MountAttrFlags::from_bits_truncate(bits);
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// An empty directory that nobody can write to.
pub(super) fn empty_dir() -> io::Result<OwnedFd> {
    make("tmpfs", Path::new("tmpfs"), &Options { attributes: RDONLY, ..Options::default() })
}

/// Makes what is mounted at a descriptor read-only; what it forbids already stays forbidden.
pub(super) fn make_readonly(mount: impl AsFd) -> io::Result<()> {
    change_mount(mount, false, &MountChange { set: RDONLY, ..MountChange::default() })
}

/// Gives a copied mount its own options. As with mount(2), all but the propagation changes only the topmost mount.
fn change(mount: &OwnedFd, options: &Options) -> io::Result<()> {
    if options.propagation != 0 {
        let change = MountChange { propagation: options.propagation, ..MountChange::default() };
        change_mount(mount, options.propagation_below, &change)?;
    }
    if options.attributes == 0 && options.cleared == 0 {
        return Ok(());
    }
    let change = MountChange { set: options.attributes, clear: options.cleared, ..MountChange::default() };
    change_mount(mount, false, &change)
}

fn parse(options: &[String]) -> Options {
    let mut all = Options::default();
    for option in options {
        let (set, clear) = match option.as_str() {
            "ro" => (RDONLY, 0),
            "rw" => (0, RDONLY),
            "nosuid" => (NOSUID, 0),
            "suid" => (0, NOSUID),
            "nodev" => (NODEV, 0),
            "dev" => (0, NODEV),
            "noexec" => (NOEXEC, 0),
            "exec" => (0, NOEXEC),
            "noatime" => (NOATIME, 0),
            "strictatime" => (STRICTATIME, 0),
            "nodiratime" => (NODIRATIME, 0),
            "diratime" => (0, NODIRATIME),
            "relatime" | "atime" | "defaults" | "async" => (0, 0),
            "bind" => {
                all.bind = Some(false);
                continue;
            }
            "rbind" => {
                all.bind = Some(true);
                continue;
            }
            name => {
                let (kind, below) = name.strip_prefix('r').map_or((name, false), |kind| (kind, true));
                let propagation = match kind {
                    "private" => libc::MS_PRIVATE,
                    "slave" => libc::MS_SLAVE,
                    "shared" => libc::MS_SHARED,
                    "unbindable" => libc::MS_UNBINDABLE,
                    _ => {
                        all.data.push(name.to_owned());
                        continue;
                    }
                };
                (all.propagation, all.propagation_below) = (propagation, below);
                continue;
            }
        };
        all.attributes = (all.attributes & !clear) | set;
        all.cleared = (all.cleared & !set) | clear;
        if set & ATIME != 0 {
            all.cleared |= ATIME;
        }
    }
    all
}
