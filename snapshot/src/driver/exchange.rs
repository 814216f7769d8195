//! Exchanges two directories.

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::StoreError;

/// Exchanges `from`/`name` and `to`/`new_name`, in one step where the file system can do that. Where it cannot, a crash
/// after the first of three renames leaves both below `from`, and nothing at `to`/`new_name`; a crash after the second
/// leaves the old `to`/`new_name` at `from`/`name.replaced`. If `to`/`new_name` does not exist, `from`/`name` is only
/// moved there.
pub(super) fn exchange(from: &Dir, name: &str, to: &Dir, new_name: &str) -> Result<(), StoreError> {
    let failed = || StoreError::io(to.join(new_name), "exchanging");
    match rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::NOENT) => from.rename(name, to, new_name)?,
        Err(Errno::INVAL | Errno::NOSYS) => {
            let aside = format!("{name}.replaced");
            rustix::fs::renameat(to, new_name, from, aside.as_str()).map_err(failed())?;
            from.rename(name, to, new_name)?;
            from.rename(&aside, from, name)?;
        }
        Err(errno) => return Err(failed()(errno)),
    }
    Ok(())
}
