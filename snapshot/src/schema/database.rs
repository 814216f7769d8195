//! The daemon's databases, read while it may be writing to them.

use std::time::Duration;

use bolt::Bolt;

use crate::dir::Dir;
use crate::error::StoreError;

/// The longest database that is read, in bytes. Real ones have a few hundred for each thing they know. Only the pages on the
/// way to the entry at hand are in memory.
pub(crate) const MAX_DATABASE: usize = 256 << 20;

/// How often we read a database again that changed while we read it. A build commits many transactions in a row, so
/// each wait is a millisecond longer than the one before; all waits together are little more than a second.
const ATTEMPTS: u64 = 50;

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
