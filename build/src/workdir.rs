//! The working directory of a container, which is made with the container (moby v20.10.24 `container/container.go:
//! SetupWorkingDirectory`).

use images::tree::Tree;
use tarsplit::pax::PaxTime;

use crate::BuildError;
use crate::upper::{Upper, plain_directory};

/// Directories that every container has, whatever its image holds.
const INIT: [&[&[u8]]; 5] = [&[b"dev", b"pts"], &[b"dev", b"shm"], &[b"proc"], &[b"sys"], &[b"etc"]];

/// The layer with the directory `dir`, an absolute path, on an image; `base` is the part of the image that concerns the
/// path.
///
/// # Errors
/// Something that is no directory is in the way.
pub(crate) fn make(mut base: Tree, dir: &str, now: i64) -> Result<Upper<'static>, BuildError> {
    for path in INIT {
        let mut at = Tree::ROOT;
        for name in path {
            at = match base.child(at, name).filter(|&id| base.node(id).children().is_some()) {
                Some(id) => id,
                None => base.insert(at, name, plain_directory((0, 0), PaxTime::from_seconds(now))),
            };
        }
    }
    let mut upper = Upper::new(base, now);
    let wrong = |path: &str| BuildError::Invalid(format!("{path}: not a directory"));
    let target = upper.follow(b"", dir.as_bytes()).map_err(|error| BuildError::Invalid(error.to_string()))?;
    match upper.at(&target) {
        Some(node) if node.children().is_some() => Ok(upper),
        Some(_) => Err(BuildError::Invalid(format!("Cannot mkdir: {dir} is not a directory"))),
        None => {
            upper.make_all(&target, (0, 0)).map_err(|path| wrong(&String::from_utf8_lossy(&path)))?;
            Ok(upper)
        }
    }
}
