//! Databases of the daemon's, read while it may be writing to them.

use bolt::Bolt;

use crate::dir::Dir;
use crate::error::StoreError;

/// The longest database read. It is read into memory; real ones have a few hundred bytes for each thing they know.
pub(crate) const MAX_DATABASE: usize = 256 << 20;

/// How often a database is read again that is written to meanwhile.
const ATTEMPTS: usize = 10;

/// Reads the database `name`; `None` if it does not exist.
///
/// A running daemon is no hindrance. It never writes to a page that the last committed transaction uses, so pages read
/// are good if that transaction is still the last one afterwards.
///
/// # Errors
/// [`StoreError::Database`] if it is none, [`StoreError::Invalid`] if it is too long or never still, [`StoreError::Io`].
pub fn read(dir: &Dir, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let transaction = |bytes: &[u8]| {
        let parsed = Bolt::parse(bytes).map_err(|source| StoreError::Database { path: dir.join(name), source });
        parsed.map(|bolt| bolt.transaction())
    };
    let Some(mut bytes) = dir.read(name, MAX_DATABASE)? else { return Ok(None) };
    for _ in 0..ATTEMPTS {
        let before = transaction(&bytes)?;
        let Some(again) = dir.read(name, MAX_DATABASE)? else { return Ok(None) };
        if transaction(&again)? == before {
            return Ok(Some(bytes));
        }
        bytes = again;
    }
    Err(StoreError::Invalid { path: dir.join(name), reason: "it changed each time it was read".into() })
}
