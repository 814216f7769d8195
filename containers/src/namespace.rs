//! A mount namespace of one's own.

use std::cell::Cell;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

thread_local!(static DONE: Cell<bool> = const { Cell::new(false) });

/// Gives this thread a mount namespace of its own: what it mounts from here on is seen by nobody else, and is gone with the
/// thread, or with the process that has only this one.
///
/// # Errors
/// What the system says.
pub fn own_mounts() -> nix::Result<()> {
    if DONE.get() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    DONE.set(true);
    Ok(())
}

/// Says that this thread was begun by one that has a mount namespace of its own, and stays in it: all threads of a process that
/// work on a store have to see the same mounts as its first one, whose `mountinfo` is read.
pub fn share_mounts() {
    DONE.set(true);
}
