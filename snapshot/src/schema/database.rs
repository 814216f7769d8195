//! The daemon's databases, read while it may be writing to them.

use std::time::Duration;

use bolt::{Bolt, BoltError, PageProblem};

use crate::dir::Dir;
use crate::error::StoreError;

/// The longest database that is read, in bytes. Real ones have a few hundred for each thing they know. Only the pages on the
/// way to the entry at hand are in memory.
pub(crate) const MAX_DATABASE: usize = 256 << 20;

/// Bytes of two pages, the fewest of a database.
const SMALLEST: i64 = 2 * 4096;

/// How often we read a database again that changed while we read it. A build commits many transactions in a row, so
/// each wait is a millisecond longer than the one before; all waits together are little more than a second.
const ATTEMPTS: u64 = 50;

/// Why dockerd could not open the database at `path`, and so would not start. `None` if dockerd could, or if the file is
/// missing or empty, since dockerd then makes a new one.
pub(crate) fn fault(root: &Dir, path: &[&str]) -> Option<StoreError> {
    let (name, above) = path.split_last()?;
    let dir = root.descend(above).ok().flatten()?;
    let length = dir.stat(name).ok().flatten().map_or(0, |stat| stat.st_size);
    let error = match length {
        0 => None,
        // bbolt wants both pages that say where the last transaction is (bbolt `db.go: mmap`).
        1..SMALLEST => {
            let source = BoltError { page: 1, problem: PageProblem::Beyond };
            Some(StoreError::Database { path: dir.join(name), source })
        }
        _ => read(&dir, name, |_| Ok::<_, BoltError>(())).err(),
    };
    // Only a damaged database keeps dockerd from starting. That we cannot read a file says nothing about dockerd.
    error.filter(|error| matches!(error, StoreError::Database { .. }))
}

/// Runs `read` on the database `name`, and returns what it returns; `None` if there is no such file.
///
/// This works while a daemon runs. The daemon never writes to a page that the last committed transaction uses, so what
/// was read is valid if that transaction is still the last one afterwards. If it is not, `read` runs again.
///
/// # Errors
/// [`StoreError::Database`] if the file is no database, [`StoreError::Invalid`] if it is too long or changes each time it
/// is read, [`StoreError::Io`].
pub(crate) fn read<T, E>(
    dir: &Dir,
    name: &str,
    read: impl Fn(&Bolt<'_>) -> Result<T, E>,
) -> Result<Option<Result<T, E>>, StoreError> {
    let path = || dir.join(name);
    let broken = |source| StoreError::Database { path: path(), source };
    for attempt in 0..ATTEMPTS {
        std::thread::sleep(Duration::from_millis(attempt));
        let Some(file) = dir.open_file(name)? else { return Ok(None) };
        let length = rustix::fs::fstat(&file).map_err(StoreError::io(path(), "stat"))?.st_size;
        if usize::try_from(length).is_ok_and(|length| length > MAX_DATABASE) {
            return Err(StoreError::Invalid { path: path(), reason: format!("longer than {MAX_DATABASE} bytes") });
        }
        let bolt = Bolt::open(&file).map_err(broken)?;
        let found = read(&bolt);
        if bolt.is_current().map_err(broken)? {
            return Ok(Some(found));
        }
    }
    Err(StoreError::Invalid { path: path(), reason: "it changed each time it was read".into() })
}

/// Runs `read` on the database `name`, as [`read`] does, where all that can be wrong is the database.
///
/// # Errors
/// Those of [`read`], and [`StoreError::Database`] for an error of `of`.
pub(crate) fn read_all<T>(
    dir: &Dir,
    name: &str,
    of: impl Fn(&Bolt<'_>) -> Result<T, BoltError>,
) -> Result<Option<T>, StoreError> {
    let broken = |source| StoreError::Database { path: dir.join(name), source };
    read(dir, name, of)?.transpose().map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: [&str; 2] = ["volumes", "metadata.db"];

    #[test]
    fn a_database_that_dockerd_cannot_open_has_a_fault() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open(temp.path()).unwrap();
        let fault = |content: &[u8]| {
            std::fs::create_dir_all(temp.path().join("volumes")).unwrap();
            std::fs::write(temp.path().join("volumes/metadata.db"), content).unwrap();
            super::fault(&root, &PATH).map(|error| crate::catalog::with_causes(&error))
        };
        assert!(super::fault(&root, &PATH).is_none(), "there is none");
        assert_eq!(fault(b""), None, "dockerd begins a new one");
        let sound = include_bytes!("../../../testdata/buildkit/snapshots-measured.db");
        assert_eq!(fault(sound), None);
        assert!(fault(&b"no database".repeat(1000)).unwrap().ends_with("the file is damaged, or of another kind"));
        assert!(fault(&sound[..100]).is_some(), "cut short");
    }
}
