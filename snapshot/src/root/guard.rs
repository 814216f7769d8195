//! Decides whether images may be written to a directory. Every writer asks here, and gets a [`Permit`] or the reason
//! why not.
//!
//! If anything cannot be found out, the answer is no. These conditions are checked in this order:
//!
//! 1. the path is a directory, or a new name in an existing one, and everything that would be written to is writable
//! 2. the directory is empty, or a data-root
//! 3. no other process of ours writes to it, and no daemon runs on it: nobody holds their locks
//! 4. no layer of it is mounted; the layer of a container that has survived its daemon would be
//! 5. a dockerd that starts on it afterwards will see its own images as before, and ours as well

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType};
use rustix::io::Errno;

use super::containerd::Containerd;
use super::contents::{Recognized, enclosing, recognize};
use super::locate::writable;
use super::lock::Locks;
use super::{DataRoot, IMAGE, Refusal, is_mapping, mounts};
use crate::catalog::with_causes;
use crate::dir::{CreatedDirectories, Dir};
use crate::driver::{DEFAULT, FOUND_BY_HOME, HomeLayout, NEVER_FOUND};
use crate::error::StoreError;
use crate::schema::paths::{CONFIGS, LAYER_RECORDS, METADATA, WRITE_SETS, of_driver};

/// Prefixes of files that only Docker before version 1.10 made, with any driver: the names of images, and the database
/// of links.
const BEFORE_CONTENT_ADDRESSES: [&str; 2] = ["repositories-", "linkgraph.db"];

/// Where it kept images, each in a directory named by 64 hexadecimal digits.
const OLD_IMAGES: &str = "graph";

pub(super) fn refused(root: &Dir, refusal: Refusal) -> StoreError {
    StoreError::Refused { root: root.path().to_path_buf(), refusal }
}

/// Says whether a directory may be written to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    /// The storage driver to write for, if the user named one of [`crate::driver::WRITABLE`]; `None` for the one that
    /// the root holds. With a named driver, a root is accepted that might belong to containerd's store.
    pub driver: Option<&'static str>,
}

/// The guard's permission to write. As long as it lives, nobody else writes to the root.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    guard: Guard,
    place: RootPlace,
}

#[derive(Debug)]
enum RootPlace {
    /// The directory exists; we hold its locks.
    There { dir: Dir, empty: bool, locks: Locks, driver: &'static str },
    /// The directory does not exist and is to be made.
    New { path: PathBuf, parent: Dir, name: OsString },
}

/// A permitted root that exists.
pub(super) struct OpenedRoot {
    pub(super) dir: Dir,
    pub(super) locks: Locks,
    /// Holds the directory if it was made just now, so that a failure removes it again.
    pub(super) created: CreatedDirectories,
    pub(super) new: bool,
    /// The storage driver to write for.
    pub(super) driver: &'static str,
}

/// dockerd gives the root this mode at every start.
const ROOT_MODE: u32 = 0o710;

impl Guard {
    /// Asks whether images may be written to `path`. Nothing is written, and the answer holds as long as the permit lives.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where writing would do harm or cannot succeed; [`StoreError`] where that cannot be found
    /// out.
    pub fn ask(&self, path: &Path) -> Result<Permit, StoreError> {
        let path = std::path::absolute(path).map_err(StoreError::io(path, "opening"))?;
        let place = match Dir::open(&path) {
            Ok(dir) => self.ask_existing(dir)?,
            Err(StoreError::Io { source, .. }) if Errno::from_io_error(&source) == Some(Errno::NOENT) => {
                ask_new(&path)?
            }
            Err(error) => return Err(explained(&path, error)),
        };
        Ok(Permit { guard: *self, place })
    }

    fn ask_existing(&self, dir: Dir) -> Result<RootPlace, StoreError> {
        let contents = recognize(&dir)?;
        if let Recognized::Foreign(foreign) = contents {
            return Err(refused(&dir, Refusal::Foreign(foreign)));
        }
        let empty = contents == Recognized::Empty;
        if empty {
            check_place(&dir)?;
        }
        let driver = self.driver.map_or_else(|| writable(&dir), Ok)?;
        check_writable(&dir, driver)?;
        let locks = Locks::take(&dir, driver)?;
        check_mounts(&dir, driver)?;
        check_rivals(&dir, driver, self.driver.is_some())?;
        Ok(RootPlace::There { dir, empty, locks, driver })
    }
}

impl Permit {
    /// Whether there is no data-root yet: writing would make one.
    #[must_use]
    pub fn is_new(&self) -> bool {
        matches!(self.place, RootPlace::New { .. } | RootPlace::There { empty: true, .. })
    }

    /// The root's path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.place {
            RootPlace::There { dir, .. } => dir.path(),
            RootPlace::New { path, .. } => path,
        }
    }

    /// Gives the permit up and opens the root for reading; `None` if the root does not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn into_reader(self) -> Result<Option<DataRoot>, StoreError> {
        match self.place {
            RootPlace::There { dir, driver, .. } => {
                let containerd = Containerd::find(&dir)?;
                DataRoot::with_driver(dir, driver, containerd).map(Some)
            }
            RootPlace::New { .. } => Ok(None),
        }
    }

    /// Makes the root where it does not exist.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) fn open(self) -> Result<OpenedRoot, StoreError> {
        let new = self.is_new();
        let mut created = CreatedDirectories::default();
        let place = match self.place {
            RootPlace::New { parent, name, .. } => {
                let dir = created.ensure(&parent, &name, ROOT_MODE)?;
                // Another process may have created the directory first, so it is checked like an existing one.
                self.guard.ask_existing(dir)?
            }
            there @ RootPlace::There { .. } => there,
        };
        match place {
            RootPlace::There { dir, locks, driver, .. } => Ok(OpenedRoot { dir, locks, created, new, driver }),
            RootPlace::New { .. } => unreachable!("an existing directory was asked about"),
        }
    }
}

/// Asks whether a directory may be made at `path`, where nothing is.
fn ask_new(path: &Path) -> Result<RootPlace, StoreError> {
    let refused = |refusal| Err(StoreError::Refused { root: path.to_path_buf(), refusal });
    // Strip a slash at the end: with it, the path of a dangling link would mean the directory that the link should lead
    // to.
    let bare: PathBuf = path.components().collect();
    if let Ok(target) = std::fs::read_link(&bare) {
        return refused(Refusal::DanglingLink { target });
    }
    let (Some(parent), Some(name)) = (bare.parent(), bare.file_name()) else {
        return refused(Refusal::NotADirectory);
    };
    let parent = match Dir::open(parent) {
        Ok(parent) => parent,
        Err(StoreError::Io { source, .. }) if Errno::from_io_error(&source) == Some(Errno::NOENT) => {
            return refused(Refusal::NoParent { missing: first_missing(parent) });
        }
        Err(error) => return Err(explained(path, error)),
    };
    let real = parent.real_path()?.join(name);
    if let Some(outer) = enclosing(&real)? {
        return refused(Refusal::InsideDataRoot { outer });
    }
    if let Some(reason) = unwritable(&parent)? {
        return refused(Refusal::NotWritable { path: parent.path().to_path_buf(), reason });
    }
    Ok(RootPlace::New { path: path.to_path_buf(), name: name.to_owned(), parent })
}

/// The topmost directory on the way to `path` that does not exist.
fn first_missing(path: &Path) -> PathBuf {
    let missing = path.ancestors().take_while(|above| above.symlink_metadata().is_err());
    missing.last().unwrap_or(path).to_path_buf()
}

/// Turns the error of opening a directory into the reason why it cannot be written to.
fn explained(path: &Path, error: StoreError) -> StoreError {
    let StoreError::Io { source, .. } = &error else { return error };
    let refusal = match Errno::from_io_error(source) {
        Some(Errno::NOTDIR) => Refusal::NotADirectory,
        Some(Errno::LOOP) => Refusal::LoopingLink,
        Some(errno @ (Errno::ACCESS | Errno::PERM)) => {
            Refusal::NotWritable { path: path.to_path_buf(), reason: std::io::Error::from(errno).to_string() }
        }
        _ => return error,
    };
    StoreError::Refused { root: path.to_path_buf(), refusal }
}

/// Checks that an empty directory does not lie in a data-root.
fn check_place(dir: &Dir) -> Result<(), StoreError> {
    match enclosing(&dir.real_path()?)? {
        None => Ok(()),
        Some(outer) => Err(refused(dir, Refusal::InsideDataRoot { outer })),
    }
}

/// Checks that directories can be made in all places where a writer makes some.
fn check_writable(root: &Dir, driver: &str) -> Result<(), StoreError> {
    let home = HomeLayout::home_path(driver);
    let links = HomeLayout::of_driver(driver).and_then(|layout| layout.links);
    let store = |below: &[&'static str]| of_driver(driver, below);
    let places = [
        vec![],
        home[..1].to_vec(),
        home.clone(),
        [&home[..], links.as_slice()].concat(),
        vec![IMAGE],
        store(&[]),
        store(&LAYER_RECORDS),
        store(&WRITE_SETS),
        store(&CONFIGS),
        store(&METADATA),
    ];
    for place in places {
        if let Some(dir) = root.descend(&place)?
            && let Some(reason) = unwritable(&dir)?
        {
            return Err(refused(root, Refusal::NotWritable { path: dir.path().to_path_buf(), reason }));
        }
    }
    Ok(())
}

/// Why nothing can be made in a directory; `None` if something can. This only asks; it makes nothing.
fn unwritable(dir: &Dir) -> Result<Option<String>, StoreError> {
    match rustix::fs::accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(None),
        Err(Errno::ROFS) => Ok(Some("its file system is mounted read-only".into())),
        Err(Errno::PERM) => Ok(Some("it is immutable (lsattr shows it)".into())),
        Err(Errno::ACCESS) => Ok(Some("permission denied".into())),
        Err(errno) => Err(StoreError::io(dir.path(), "access")(errno)),
    }
}

/// Checks that no layer is mounted, as a running container's would be.
///
/// # Errors
/// [`StoreError::Refused`]
pub(super) fn check_mounts(root: &Dir, driver: &str) -> Result<(), StoreError> {
    // devicemapper's mount points are beside its home, so we look in the directory above both.
    let found = root.descend(&HomeLayout::home_path(driver)[..1])?.map_or(Ok(None), |home| mounts::in_use(&home));
    match found {
        Ok(None) => Ok(()),
        Ok(Some(point)) => Err(refused(root, Refusal::LayerMounted { point })),
        Err(error) => Err(refused(root, Refusal::MountsUnknown { reason: with_causes(&error) })),
    }
}

/// Checks that a dockerd that starts on the root afterwards will see its own images as before, and ours as well.
///
/// # Errors
/// [`StoreError::Refused`]
fn check_rivals(root: &Dir, own: &'static str, insist: bool) -> Result<(), StoreError> {
    for directory in root.names()? {
        if is_remapped(root, &directory)? {
            return Err(refused(root, Refusal::MapsUsers { directory }));
        }
    }
    if is_mapped(root)? {
        return Err(refused(root, Refusal::IsMapped));
    }
    // Docker 1.10 left such files where they were; images of our kind tell that it has converted the root.
    if let Some(name) = old_name(root)?
        && !has_entries(root, &of_driver(own, &CONFIGS))?
    {
        return Err(refused(root, Refusal::BeforeContentAddresses { name }));
    }
    check_drivers(root, own)?;
    if Containerd::is_used(root)? && !insist {
        return Err(refused(root, Refusal::ContainerdStore));
    }
    Ok(())
}

/// What only a Docker before version 1.10 has made: a file, or the directory of its images.
pub(super) fn old_name(root: &Dir) -> Result<Option<String>, StoreError> {
    let old = |name: &String| BEFORE_CONTENT_ADDRESSES.iter().any(|begin| name.starts_with(begin));
    let mut names: Vec<String> = root.names()?.into_iter().filter(old).collect();
    names.sort();
    if let Some(name) = names.pop() {
        return Ok(Some(name));
    }
    let Some(graph) = root.sub(OLD_IMAGES)? else { return Ok(None) };
    let is_id = |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(graph.names()?.iter().any(is_id).then(|| OLD_IMAGES.to_owned()))
}

/// Checks that dockerd will go on showing the images of the drivers that have some, and will show those of the driver
/// `own`.
fn check_drivers(root: &Dir, own: &'static str) -> Result<(), StoreError> {
    let images_of = |driver: &str| has_entries(root, &of_driver(driver, &CONFIGS));
    let default_state = has_entries(root, &[DEFAULT])?;
    if own == DEFAULT {
        for driver in FOUND_BY_HOME {
            if has_entries(root, &[driver])? {
                return Err(refused(root, Refusal::OtherDriver { driver: driver.into(), own }));
            }
        }
        if !default_state && images_of(NEVER_FOUND)? {
            return Err(refused(root, Refusal::VfsImages { driver: NEVER_FOUND }));
        }
        return Ok(());
    }
    // dockerd uses a driver that is not its default only if configured to. Images of this driver in the root show that it was.
    if images_of(own)? {
        return Ok(());
    }
    // Its own home makes dockerd use it, too, where it is one that is found so.
    for driver in FOUND_BY_HOME.into_iter().chain([DEFAULT]).filter(|driver| *driver != own) {
        if has_entries(root, &[driver])? || images_of(driver)? {
            return Err(refused(root, Refusal::DriverComesFirst { driver: driver.into(), own }));
        }
    }
    Ok(())
}

/// Whether the directory at this path exists and has anything in it.
pub(super) fn has_entries(root: &Dir, path: &[&str]) -> Result<bool, StoreError> {
    root.descend(path)?.map_or(Ok(false), |dir| Ok(!dir.is_empty()?))
}

/// Whether the root is the directory of a mapping of users, by its real name: the path given may be a symlink.
fn is_mapped(root: &Dir) -> Result<bool, StoreError> {
    let real = root.real_path()?;
    let stat = rustix::fs::fstat(root).map_err(StoreError::io(root.path(), "stat"))?;
    Ok(real.file_name().and_then(|name| name.to_str()).is_some_and(|name| is_mapping(name, stat.st_gid)))
}

/// Whether `name` is the directory of a mapping of users, with images in it.
pub(super) fn is_remapped(root: &Dir, name: &str) -> Result<bool, StoreError> {
    let Some(stat) = root.stat(name)?.filter(|stat| is_mapping(name, stat.st_gid)) else { return Ok(false) };
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(is_directory && root.kind_behind(&Path::new(name).join(IMAGE))? == Some(FileType::Directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: &str = "image/vfs/imagedb/content/sha256/x";

    fn root_with(paths: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
        }
        root
    }

    #[test]
    fn vfs_is_not_written_where_dockerd_would_not_show_it() {
        let cases: [(&[&str], Option<&str>); 6] = [
            (&[], None),
            (&["vfs/dir/x", IMAGES], None),
            (&["overlay2/l"], Some("storage driver overlay2")),
            (&["overlay2/l", "image/overlay2/imagedb/content/sha256/x"], Some("storage driver overlay2")),
            (&["btrfs/subvolumes", "image/btrfs/imagedb/content/sha256"], Some("storage driver btrfs")),
            (&["overlay2/l", IMAGES], None),
        ];
        for (paths, expected) in cases {
            let root = root_with(paths);
            match (Guard { driver: Some("vfs") }.ask(root.path()), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{error}"),
                (result, _) => panic!("{paths:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn the_driver_is_what_the_root_holds_or_what_was_named() {
        for (paths, expected) in [
            (&["vfs/dir/x", IMAGES][..], "vfs"),
            (&["overlay2/l", "vfs/dir", IMAGES], DEFAULT),
            (&["vfs/dir", "image/vfs/layerdb"], DEFAULT),
            (&[], DEFAULT),
        ] {
            let root = root_with(paths);
            let opened = Guard::default().ask(root.path()).unwrap().open().unwrap();
            assert_eq!(opened.driver, expected, "{paths:?}");
        }
        let root = root_with(&["vfs/dir/x", IMAGES]);
        let error = Guard { driver: Some(DEFAULT) }.ask(root.path()).unwrap_err();
        assert!(error.to_string().contains("storage driver vfs"), "{error}");
    }
}
