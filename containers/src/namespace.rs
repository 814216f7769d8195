//! A mount namespace of one's own.

use std::cell::Cell;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives this thread a mount namespace of its own: what it mounts from here on is seen by nobody else, and is gone with the
/// thread, or with the process that has only this one.
///
/// # Errors
/// Of the system.
pub fn own_mounts() -> nix::Result<()> {
    thread_local!(static DONE: Cell<bool> = const { Cell::new(false) });
    if DONE.get() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    DONE.set(true);
    Ok(())
}
