//! The init layer of a container: what has to exist in it so that files of the host can be mounted there.
//!
//! Follows moby v20.10.24 `daemon/initlayer/setup_unix.go: Setup`. Whatever else an image has at one of these paths, or
//! on the way to one, is removed from view, except for a directory where a file or a link belongs, which stays. Nothing
//! is reached through a symlink of the image.

use rustix::fs::{AtFlags, FileType, unlinkat};

use crate::dir::Dir;
use crate::error::StoreError;

/// What is made at a path.
#[derive(Clone, Copy)]
enum Made {
    Directory,
    File,
    Link(&'static str),
}

const PATHS: [(&[&str], Made); 10] = [
    (&["dev", "pts"], Made::Directory),
    (&["dev", "shm"], Made::Directory),
    (&["proc"], Made::Directory),
    (&["sys"], Made::Directory),
    (&[".dockerenv"], Made::File),
    (&["etc", "resolv.conf"], Made::File),
    (&["etc", "hosts"], Made::File),
    (&["etc", "hostname"], Made::File),
    (&["dev", "console"], Made::File),
    (&["etc", "mtab"], Made::Link("/proc/mounts")),
];

/// Fills an init layer, mounted at `root`.
///
/// # Errors
/// [`StoreError::Io`]
pub fn fill_init_layer(root: &Dir) -> Result<(), StoreError> {
    PATHS.iter().try_for_each(|(path, made)| make(root, path, *made))
}

fn make(root: &Dir, path: &[&str], made: Made) -> Result<(), StoreError> {
    let [parents @ .., name] = path else { return Ok(()) };
    let mut dir = root.duplicate()?;
    for parent in parents {
        dir = directory(&dir, parent)?;
    }
    if !matches!(made, Made::Directory) && is_directory(&dir, name)? {
        return Ok(());
    }
    match made {
        Made::Directory => directory(&dir, name).map(drop),
        Made::File => {
            dir.unlink(name)?;
            dir.write_new(name, b"", 0o755).map(drop)
        }
        Made::Link(target) => {
            dir.unlink(name)?;
            dir.symlink(name, target)
        }
    }
}

/// Opens a directory. If it does not exist, or if there is something else, makes it.
fn directory(dir: &Dir, name: &str) -> Result<Dir, StoreError> {
    if is_directory(dir, name)? {
        let missing = || StoreError::Invalid { path: dir.join(name), reason: "it has gone".into() };
        return dir.sub(name)?.ok_or_else(missing);
    }
    // What is there, if anything is, is no directory.
    let _ = unlinkat(dir, name, AtFlags::empty());
    dir.create(name, 0o755)
}

fn is_directory(dir: &Dir, name: &str) -> Result<bool, StoreError> {
    let stat = dir.stat(name)?;
    Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_has_in_the_way_is_replaced_and_not_followed() {
        let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = temp.path();
        std::os::unix::fs::symlink(outside.path(), root.join("etc")).unwrap();
        std::fs::write(root.join("proc"), "x").unwrap();
        std::fs::create_dir_all(root.join("dev/console")).unwrap();
        fill_init_layer(&Dir::open(root).unwrap()).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(root.join("proc").is_dir() && root.join("dev/console").is_dir());
        assert!(root.join("etc/hosts").symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read_link(root.join("etc/mtab")).unwrap(), std::path::Path::new("/proc/mounts"));
    }
}
