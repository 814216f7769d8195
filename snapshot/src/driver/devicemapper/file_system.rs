//! The file systems on thin devices: made, recognised, mounted.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

pub(super) use super::options::FileSystem;
use super::options::PoolOptions;

/// What is said of a device whose file system is none of these.
pub(super) const UNKNOWN: &str = "holds neither ext4 nor xfs";

/// Where a file system that is mounted can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// Nowhere: neither by users of the mount nor, but for its journal, by the kernel.
    Never,
    /// By others, but not through this mount. A file system is mounted in one way only at a time.
    Elsewhere,
    /// Through this mount.
    Here,
}

impl FileSystem {
    /// The kernel's name, which is also what dockerd records.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The file system on a device or in an image, by its magic number; `None` for any other.
    pub(super) fn detect(image: &File) -> io::Result<Option<Self>> {
        Ok(start(image)?.and_then(|start| Self::of_start(&start)))
    }

    fn of_start(start: &[u8; 2048]) -> Option<Self> {
        if start.starts_with(b"XFSB") {
            return Some(Self::Xfs);
        }
        // `s_magic` of the superblock, which begins at byte 1024.
        (start[1024 + 56..][..2] == [0x53, 0xef]).then_some(Self::Ext4)
    }

    /// The UUID of the file system on a device, as `blkid` writes it; `None` if there is none that is known here.
    pub(super) fn uuid(device: &File) -> io::Result<Option<String>> {
        let Some(start) = start(device)? else { return Ok(None) };
        let at = match Self::of_start(&start) {
            Some(Self::Xfs) => 32,
            Some(Self::Ext4) => 1024 + 104,
            None => return Ok(None),
        };
        let hex: Vec<String> =
            [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().map(|part| hex(&start[at..][..16][part])).collect();
        Ok(Some(hex.join("-")))
    }

    /// The file system for a new base device: xfs where the kernel and the programs at hand can do that, else ext4, as
    /// dockerd chooses (moby v20.10.24 `deviceset.go: determineDefaultFS`).
    pub(super) fn choose() -> Self {
        let xfs = fsopen("xfs", FsOpenFlags::FSOPEN_CLOEXEC).is_ok() && Self::Xfs.find_maker().is_some();
        if xfs { Self::Xfs } else { Self::Ext4 }
    }

    /// The program that makes it, where it is installed: the directories of the system's programs may not be in `PATH`.
    fn find_maker(self) -> Option<std::path::PathBuf> {
        let name = format!("mkfs.{}", self.name());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/sbin", "/sbin", "/usr/bin"].map(Into::into);
        std::env::split_paths(&path).chain(system).map(|dir| dir.join(&name)).find(|program| program.is_file())
    }

    /// Makes an empty one on a device, with dockerd's arguments (`deviceset.go: createFilesystem`).
    pub(super) fn make(self, device: &Path, more: &[String]) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("mkfs.{} is not installed", self.name()));
        let mut command = Command::new(self.find_maker().ok_or_else(missing)?);
        if self == Self::Ext4 {
            command.args(["-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]);
        }
        let output = command.args(more).arg(device).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io::Error::other(format!("mkfs.{}: {}: {said}", self.name(), output.status)))
    }

    /// Lets it use a device of `size` bytes. `mounted` is a directory of it.
    pub(super) fn grow(self, mounted: impl std::os::fd::AsFd, size: u64) -> io::Result<()> {
        match self {
            Self::Ext4 => dm::grow_ext4(mounted, size),
            Self::Xfs => dm::grow_xfs(mounted, size),
        }
    }

    /// Mounts it without a mount point. Where the device can be written to, the kernel finishes what the journal has
    /// begun.
    pub(super) fn mount(self, device: &Path, writing: Writing) -> Result<OwnedFd, Errno> {
        let fs = fsopen(self.name(), FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&fs, "source", device)?;
        if writing == Writing::Never {
            fsconfig_set_flag(&fs, "ro")?;
        }
        if self == Self::Xfs {
            // All layers have the UUID of the base device, and xfs is mounted only once by a UUID.
            fsconfig_set_flag(&fs, "nouuid")?;
        }
        for option in &PoolOptions::chosen().mount_options {
            match option.split_once('=') {
                Some((name, value)) => fsconfig_set_string(&fs, name, value)?,
                None => fsconfig_set_flag(&fs, option.as_str())?,
            }
        }
        fsconfig_create(&fs)?;
        let unused = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        let attributes = if writing == Writing::Here { MountAttrFlags::empty() } else { unused };
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }
}

/// The first bytes; `None` if there are not so many.
fn start(image: &File) -> io::Result<Option<[u8; 2048]>> {
    let mut start = [0; 2048];
    match image.read_exact_at(&mut start, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(start)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
