//! The system calls that no crate wraps safely. This is the only file of the crate with unsafe code.
#![allow(unsafe_code, reason = "calls into the kernel that nix and rustix do not have; each says why it is sound")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Processes whose parents end become children of this one.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(io::Error::from)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes a copy of this process. Returns the number of the copy, and `None` in the copy.
///
/// # Errors
/// Also where this process has several threads: the copy has one, and what the others were about to do stays half done in it.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with several threads is not copied"));
    }
    // SAFETY: this process has one thread, and that is here: no lock is held, and no structure is half changed, in the copy.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok((pid != 0).then(|| i32::try_from(pid).expect("the number of a process")))
}

/// Closes every descriptor from `first` on.
///
/// To be called in a process that has just begun, before it has opened anything: whoever owns one of these descriptors
/// would not know that it is closed.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers. That no owner of a descriptor is there is the caller's promise; it is kept by the only two
    // calls, which are the first thing that a stage and a helper do.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// From now on every descriptor from `first` on is closed when a program is started.
pub(crate) fn close_from_at_exec(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: the call takes numbers, and closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Every signal does what it does by default: those that are ignored stay ignored in a new program. The C library refuses two
/// numbers that it uses itself, so the kernel is asked.
pub(crate) fn reset_signals() {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask. All zero is the default action.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_BYTES: usize = 8;
    for number in 1..=64 {
        // SAFETY: no handler is installed, so no code of ours can be called by a signal; the structure is as long as the
        // kernel reads. KILL and STOP are refused, and that changes nothing.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), std::ptr::null_mut::<u64>(), MASK_BYTES);
        }
    }
}

/// How the mount at a descriptor, or all mounts there and below, are changed (mount_setattr(2)).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct MountChange {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(crate) clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE` or 0.
    pub(crate) propagation: u64,
    /// A user name space; not used.
    pub(crate) user: u64,
}

const _: () = assert!(size_of::<MountChange>() == 32, "struct mount_attr of linux/mount.h, its first version");

pub(crate) fn change_mount(mount: impl AsFd, recursive: bool, change: &MountChange) -> io::Result<()> {
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty string with its zero, the structure is the kernel's, and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of::<MountChange>(),
        )
    };
    check(result).map(drop)
}

/// A new session keyring, so that the container does not see the keys of its creator.
pub(crate) fn new_session_keyring(name: &std::ffi::CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name ends with a zero, and the kernel copies it.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}

/// Installs a filter of system calls, for this thread and what it starts.
pub(crate) fn install_filter(program: &[libc::sock_filter], flags: u64) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the structure points to `length` instructions, which the kernel checks and copies before it returns, and to
    // which it does not write.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&filter)) };
    check(result).map(drop)
}

/// Sends a signal, a real-time one or another, to the process of a descriptor.
pub(crate) fn send_signal(process: impl AsFd, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers and a null pointer, which stands for what kill(2) would say of the sender.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result).map(drop)
}
