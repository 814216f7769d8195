//! Semaphores of System V, which have a number for a name that every process of the machine knows (`sysvipc(7)`).

#![allow(unsafe_code, reason = "the calls for semaphores, which no crate at hand has; each says why it is sound")]

use std::io;
use std::mem::size_of;
use std::time::Duration;

use rustix::io::Errno;

/// `struct sembuf` (`semop(2)`): what is to be done with one semaphore of a set.
#[repr(C)]
struct Operation {
    number: u16,
    change: i16,
    flags: i16,
}

const _: () = assert!(size_of::<Operation>() == 6);

/// A semaphore that nobody else has made. It is removed when this is dropped, and whoever waits for it goes on.
#[derive(Debug)]
pub(crate) struct Semaphore {
    id: libc::c_long,
}

/// Whether a call that can be repeated has failed, and why.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

impl Semaphore {
    /// Makes the semaphore `key`, which has the value 0. [`Errno::EXIST`] if there is one.
    pub(crate) fn create(key: u32) -> Result<Self, Errno> {
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
        // SAFETY: `semget(key, count, flags)` takes numbers alone.
        let made = unsafe { libc::syscall(libc::SYS_semget, key as libc::key_t, 1, flags) };
        Ok(Self { id: check(made)? })
    }

    /// Adds to its value, or takes from it. Does not wait.
    pub(crate) fn add(&self, change: i16) -> Result<(), Errno> {
        self.operate(change, libc::IPC_NOWAIT as i16, Duration::ZERO)
    }

    /// Waits until its value is zero. [`Errno::AGAIN`] if it is not after that time.
    pub(crate) fn wait_for_zero(&self, at_most: Duration) -> Result<(), Errno> {
        self.operate(0, 0, at_most)
    }

    fn operate(&self, change: i16, flags: i16, at_most: Duration) -> Result<(), Errno> {
        let operation = Operation { number: 0, change, flags };
        let seconds = at_most.as_secs().try_into().unwrap_or(libc::time_t::MAX);
        let timeout = libc::timespec { tv_sec: seconds, tv_nsec: at_most.subsec_nanos().into() };
        // SAFETY: `semtimedop(id, operations, count, timeout)` reads one operation and the time.
        let done =
            unsafe { libc::syscall(libc::SYS_semtimedop, self.id, &raw const operation, 1_usize, &raw const timeout) };
        check(done).map(drop)
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // Somebody may have removed it already: `dmsetup udevcomplete_all`.
        // SAFETY: `semctl(id, number, IPC_RMID)` takes numbers alone.
        unsafe { libc::syscall(libc::SYS_semctl, self.id, 0, libc::IPC_RMID, 0) };
    }
}
