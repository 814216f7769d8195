//! Deletes trees as the library does, to be measured against `rm -rf`: `delete THREADS PATH...`.

use std::path::Path;

use layerfs::delete::Deletion;
use rustix::fs::{CWD, Mode, OFlags};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::os::unix::ffi::OsStrExt;

    let mut arguments = std::env::args_os().skip(1);
    let threads =
        arguments.next().and_then(|text| text.to_str()?.parse().ok()).ok_or("usage: delete THREADS PATH...")?;
    for path in arguments {
        let path = std::path::absolute(Path::new(&path))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err("not a tree".into()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, parent, flags, Mode::empty())?;
        Deletion::new(threads).delete(dir, name.as_bytes())?;
    }
    Ok(())
}
