//! What the kernel has mounted: the one reader of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Paths are bytes, with the octal escapes undone. A table that cannot be read completely is an error and never
//! "nothing is mounted": the answer decides whether something may be written or deleted.

mod in_use;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::StoreError;
pub(super) use in_use::in_use;

/// Where the kernel lists the mounts that this process can reach.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// `f_type` of procfs (linux/magic.h, `PROC_SUPER_MAGIC`).
const PROC_MAGIC: u64 = 0x9fa0;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountInfo {
    /// Its number, unique among the mounts that exist at this moment.
    pub id: u64,
    /// The number of the mount that its mount point is in.
    pub parent: u64,
    /// The file system's device: major and minor number.
    pub device: (u32, u32),
    /// The directory of the file system that is seen at the mount point.
    pub root: PathBuf,
    /// Where it is seen, from the root directory of this process.
    pub point: PathBuf,
    /// The file system's type, such as `ext4`.
    pub kind: Vec<u8>,
    /// What was given as its source.
    pub source: Vec<u8>,
    /// The mount's own options, each as it stands.
    pub options: Vec<Vec<u8>>,
    /// The optional fields, such as `shared:1` and `master:2`.
    pub optional: Vec<Vec<u8>>,
    /// The file system's options: name and value, escapes undone.
    pub file_system_options: Vec<(Vec<u8>, Vec<u8>)>,
}

/// All mounts that this process can reach, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounts {
    mounts: Vec<MountInfo>,
}

impl Mounts {
    /// Reads the kernel's table.
    ///
    /// # Errors
    /// [`StoreError::Io`] if there is no such file; [`StoreError::Invalid`] if it is not the kernel's, or any part of it
    /// is not understood.
    pub(crate) fn read() -> Result<Self, StoreError> {
        let mut file = File::open(MOUNTINFO).map_err(StoreError::io(MOUNTINFO, "opening"))?;
        let system = rustix::fs::fstatfs(&file).map_err(StoreError::io(MOUNTINFO, "statfs"))?;
        let invalid = |reason: String| StoreError::Invalid { path: MOUNTINFO.into(), reason };
        if u64::try_from(system.f_type) != Ok(PROC_MAGIC) {
            return Err(invalid("not of the kernel's proc file system".into()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(StoreError::io(MOUNTINFO, "reading"))?;
        Self::parse(&bytes).map_err(invalid)
    }

    /// Parses a table. If any line is not understood, returns what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Some(lines) = bytes.strip_suffix(b"\n") else {
            // /proc itself is mounted, so a complete table has at least one line.
            return Err(if bytes.is_empty() { "empty".into() } else { "its last line is cut off".into() });
        };
        let mount = |(number, line): (usize, &[u8])| {
            MountInfo::parse(line)
                .ok_or_else(|| format!("line {} is not understood: {}", number + 1, line.escape_ascii()))
        };
        let mounts = lines.split(|&byte| byte == b'\n').enumerate().map(mount).collect::<Result<_, _>>()?;
        Ok(Self { mounts })
    }

    /// All of them, in the kernel's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MountInfo> {
        self.mounts.iter()
    }

    /// The mount that an open file or directory is in.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out: some mounts are outside of what this process can reach.
    pub(crate) fn holding(&self, dir: &Dir) -> Result<&MountInfo, StoreError> {
        self.holding_open(dir, dir.path())
    }

    /// As [`holding`](Self::holding), of something that is open and called `shown` in messages.
    fn holding_open(&self, open: impl AsFd, shown: &Path) -> Result<&MountInfo, StoreError> {
        let path = format!("/proc/self/fdinfo/{}", open.as_fd().as_raw_fd());
        let text = std::fs::read_to_string(&path).map_err(StoreError::io(&path, "reading"))?;
        let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
        let id: u64 = id.ok_or_else(|| StoreError::Invalid { path: path.into(), reason: "names no mount".into() })?;
        self.mounts.iter().find(|mount| mount.id == id).ok_or_else(|| StoreError::Invalid {
            path: MOUNTINFO.into(),
            reason: format!("does not have the mount that {} is in (is this a chroot?)", shown.display()),
        })
    }

    /// What is mounted below `dir`, whatever path leads there: each mount with its path relative to `dir`.
    ///
    /// # Errors
    /// As [`Mounts::holding`].
    pub(crate) fn below(&self, dir: &Dir) -> Result<Vec<(PathBuf, &MountInfo)>, StoreError> {
        let mount = self.holding(dir)?;
        let unknown = || StoreError::Invalid {
            path: dir.path().to_path_buf(),
            reason: "where it is in its file system cannot be found out".into(),
        };
        let real = dir.real_path()?;
        let place = mount.root.join(real.strip_prefix(&mount.point).map_err(|_| unknown())?);
        let by_id: HashMap<u64, &MountInfo> = self.mounts.iter().map(|mount| (mount.id, mount)).collect();
        let within = |above: &MountInfo| {
            // The topmost mount has no parent in the table.
            let parent = by_id.get(&above.parent)?;
            let inside = parent.root.join(above.point.strip_prefix(&parent.point).ok()?);
            let rest = inside.strip_prefix(&place).ok().filter(|_| parent.device == mount.device)?;
            (!rest.as_os_str().is_empty()).then(|| rest.to_path_buf())
        };
        let found = self.mounts.iter().filter_map(|mount| Some((within(mount)?, mount)));
        Ok(found.collect())
    }
}

/// How a mount shares with its copies what is mounted below it: mount propagation (mount_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// Where the mount is.
    pub point: PathBuf,
    /// Whether it passes mounts on.
    pub shared: bool,
    /// Whether it receives them.
    pub slave: bool,
}

/// How mounts below `path` are passed on; `None` if nothing is there.
///
/// # Errors
/// [`StoreError`] if that cannot be found out.
pub fn propagation_at(path: &Path) -> Result<Option<Propagation>, StoreError> {
    let opened = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened.map_err(StoreError::io(path, "opening"))?,
    };
    let mounts = Mounts::read()?;
    let mount = mounts.holding_open(&opened, path)?;
    let has = |tag: &[u8]| mount.optional.iter().any(|field| field.starts_with(tag));
    Ok(Some(Propagation { point: mount.point.clone(), shared: has(b"shared:"), slave: has(b"master:") }))
}

impl MountInfo {
    fn parse(line: &[u8]) -> Option<Self> {
        // The options come last and are not split at spaces, since some file systems (WSL's) do not escape those.
        let hyphen = line.windows(3).position(|three| three == b" - ")?;
        let mut fields = line[..hyphen].split(|&byte| byte == b' ');
        let mut of_system = line[hyphen + 3..].splitn(3, |&byte| byte == b' ');
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
        let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let (root, point) = (path(fields.next()?)?, path(fields.next()?)?);
        let options = fields.next()?;
        let optional = fields.map(<[u8]>::to_vec).collect();
        let (kind, source, file_system_options) = (of_system.next()?, of_system.next()?, of_system.next()?);
        if !point.is_absolute() || kind.is_empty() || file_system_options.is_empty() {
            return None;
        }
        let pair = |option: &[u8]| {
            let mut parts = option.splitn(2, |&byte| byte == b'=').map(unescape_leniently);
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        };
        Some(Self {
            id,
            parent,
            device,
            root,
            point,
            kind: kind.to_vec(),
            source: unescape_leniently(source),
            options: options.split(|&byte| byte == b',').map(<[u8]>::to_vec).collect(),
            optional,
            file_system_options: file_system_options.split(|&byte| byte == b',').map(pair).collect(),
        })
    }

    /// The directories that an overlay shows, as they were given when it was mounted; nothing for other file systems.
    /// A relative one is relative to the working directory of the process that mounted it.
    pub(crate) fn overlay_directories(&self) -> Vec<PathBuf> {
        if self.kind != b"overlay" && self.kind != b"fuse.fuse-overlayfs" {
            return Vec::new();
        }
        let mut directories = Vec::new();
        for (name, value) in &self.file_system_options {
            match name.as_slice() {
                b"lowerdir" => directories.extend(lower_directories(value)),
                b"upperdir" | b"workdir" | b"lowerdir+" | b"datadir+" => directories.push(bytes_path(value.clone())),
                _ => {}
            }
        }
        directories
    }
}

/// Splits the list of an overlay's `lowerdir` at its colons, those after a backslash excepted.
fn lower_directories(list: &[u8]) -> Vec<PathBuf> {
    let mut directories = vec![Vec::new()];
    let mut bytes = list.iter();
    while let Some(&byte) = bytes.next() {
        let last = directories.last_mut().expect("it starts with one");
        match byte {
            b'\\' => last.extend(bytes.next()),
            b':' => directories.push(Vec::new()),
            byte => last.push(byte),
        }
    }
    // Two colons begin the data-only layers, so a list may have empty parts.
    directories.into_iter().filter(|directory| !directory.is_empty()).map(bytes_path).collect()
}

fn bytes_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

fn path(field: &[u8]) -> Option<PathBuf> {
    if field.is_empty() { None } else { unescape(field).map(bytes_path) }
}

/// Undoes the octal escapes; `None` where a backslash does not begin one, since the kernel escapes backslashes in paths.
fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'\\' {
            let (digits, tail) = rest.split_at_checked(3)?;
            bytes.push(octal(digits)?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

/// Undoes the octal escapes; other backslashes stay. Options are written by each file system as it sees fit.
fn unescape_leniently(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

/// The byte that three octal digits stand for.
fn octal(digits: &[u8]) -> Option<u8> {
    let add = |value: u16, &digit: &u8| matches!(digit, b'0'..=b'7').then(|| value * 8 + u16::from(digit - b'0'));
    u8::try_from(digits.iter().try_fold(0, add)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> MountInfo {
        let mut mounts = Mounts::parse(format!("{line}\n").as_bytes()).unwrap().mounts;
        assert_eq!(mounts.len(), 1);
        mounts.remove(0)
    }

    /// The example of the manual page, and one of each oddity.
    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let mount = one(r"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue");
        assert_eq!((mount.id, mount.parent, mount.device), (36, 35, (98, 0)));
        assert_eq!((mount.root.as_path(), mount.point.as_path()), (Path::new("/mnt1"), Path::new("/mnt2")));
        assert_eq!((mount.kind.as_slice(), mount.source.as_slice()), (&b"ext3"[..], &b"/dev/root"[..]));
        assert_eq!(mount.options, [b"rw".to_vec(), b"noatime".to_vec()]);
        let options = [(b"rw".to_vec(), vec![]), (b"errors".to_vec(), b"continue".to_vec())];
        assert_eq!(mount.file_system_options, options);
        // No optional field, and several.
        assert_eq!(one("1 1 0:1 / / rw - rootfs rootfs rw").point, Path::new("/"));
        assert_eq!(one("1 1 0:1 / / rw shared:1 master:2 propagate_from:3 unbindable - tmpfs none rw").kind, b"tmpfs");
        // An empty source, a root that is no path, a hyphen for a name.
        assert_eq!(one("1 1 0:1 / /a rw - tmpfs  rw").source, b"");
        assert_eq!(one("1 1 0:4 net:[4026531840] /run/netns/x rw - nsfs nsfs rw").root, Path::new("net:[4026531840]"));
        assert_eq!(one("1 1 0:1 / /- rw - tmpfs - rw").source, b"-");
        // WSL escapes neither spaces nor backslashes in options.
        let mount = one(r"1 1 0:1 / /w rw - 9p C:\134 rw,aname=drvfs;path=C:\Program Files\Docker;uid=0,x - y");
        let options: Vec<&[u8]> = mount.file_system_options.iter().map(|(_, value)| value.as_slice()).collect();
        assert_eq!(
            (mount.source.as_slice(), options[1]),
            (&br"C:\"[..], &br"drvfs;path=C:\Program Files\Docker;uid=0"[..])
        );
    }

    #[test]
    fn escapes_are_undone_once() {
        let point =
            |escaped: &str| one(&format!("1 1 0:1 / {escaped} rw - tmpfs x rw")).point.into_os_string().into_vec();
        for (escaped, bytes) in [
            (r"/a\040b", &b"/a b"[..]),
            (r"/a\011b", b"/a\tb"),
            (r"/a\012b", b"/a\nb"),
            (r"/a\134b", b"/a\\b"),
            // A name that looks like an escape.
            (r"/a\134040b", b"/a\\040b"),
            (r"/a\043b\057", b"/a#b/"),
            (r"/a\377b", b"/a\xffb"),
        ] {
            assert_eq!(point(escaped), bytes);
        }
        let raw = Mounts::parse(b"1 1 0:1 / /a\xff\xfe rw - tmpfs x rw\n").unwrap().mounts.remove(0);
        assert_eq!(raw.point.into_os_string().into_vec(), b"/a\xff\xfe");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let good = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n";
        assert!(Mounts::parse(good.as_bytes()).is_ok());
        // Cut off anywhere, the newline included.
        for cut in 0..good.len() {
            assert!(Mounts::parse(&good.as_bytes()[..cut]).is_err(), "{cut}");
            assert!(
                cut + 2 > good.len() - 1 || Mounts::parse(format!("{}\n", &good[..cut]).as_bytes()).is_err(),
                "{cut}"
            );
            let second = format!("{good}{}", &good[..cut]);
            assert_eq!(Mounts::parse(second.as_bytes()).is_ok(), cut == 0, "{second}");
        }
        for line in [
            "",
            "x 35 98:0 / /m rw - ext3 s rw",
            "36 -1 98:0 / /m rw - ext3 s rw",
            "36 35 98 / /m rw - ext3 s rw",
            "36 35 98:x / /m rw - ext3 s rw",
            "36 35 98:0 / m rw - ext3 s rw",
            "36 35 98:0  /m rw - ext3 s rw",
            "36 35 98:0 / /m rw ext3 s rw",
            "36 35 98:0 / /m rw - ext3 s",
            "36 35 98:0 / /m rw - ext3 s ",
            r"36 35 98:0 / /m\ rw - ext3 s rw",
            r"36 35 98:0 / /m\4 rw - ext3 s rw",
            r"36 35 98:0 / /m\048 rw - ext3 s rw",
            r"36 35 98:0 / /m\400 rw - ext3 s rw",
            r"36 35 98:0 / /m\x20 rw - ext3 s rw",
        ] {
            let table = format!("{good}{line}\n");
            let said = Mounts::parse(table.as_bytes()).unwrap_err();
            assert!(said.starts_with("line 2 is not understood"), "{said}");
        }
        // A blank line, also at the end.
        assert!(Mounts::parse(format!("{good}\n").as_bytes()).is_err());
        assert!(Mounts::parse(b"\n").is_err());
    }

    #[test]
    fn overlays_name_their_directories() {
        let overlay =
            |options: &str| one(&format!("1 1 0:1 / /m rw - overlay overlay {options}")).overlay_directories();
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            overlay(r"rw,lowerdir=/r\040t/l/AB:l/CD,upperdir=/r\040t/x/diff,workdir=/w,redirect_dir=on"),
            paths(&["/r t/l/AB", "l/CD", "/r t/x/diff", "/w"])
        );
        // Colons and backslashes in names are escaped for overlayfs first, then for mountinfo; commas for mountinfo only.
        assert_eq!(overlay(r"ro,lowerdir=/a\134:b\054c:/d\134\134e"), paths(&["/a:b,c", r"/d\e"]));
        assert_eq!(overlay("ro,lowerdir+=/a:b,lowerdir+=/c,datadir+=/d"), paths(&["/a:b", "/c", "/d"]));
        assert_eq!(overlay("ro,lowerdir=/a::/data"), paths(&["/a", "/data"]));
        assert!(one("1 1 0:1 / /m rw - tmpfs x rw,lowerdir=/a").overlay_directories().is_empty());
    }

    #[test]
    fn this_machine_has_mounts() {
        let mounts = Mounts::read().unwrap();
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let mount = mounts.holding(&dir).unwrap();
        assert!(temp.path().canonicalize().unwrap().starts_with(&mount.point));
        assert!(mounts.below(&dir).unwrap().is_empty());
        let proc = Dir::open(Path::new("/proc")).unwrap();
        assert_eq!(mounts.holding(&proc).unwrap().kind, b"proc");
    }
}
