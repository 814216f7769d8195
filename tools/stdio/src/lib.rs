//! Whether standard output was closed when the program started.
//!
//! Before `main`, Rust's library opens `/dev/null` in place of closed standard streams, so that no other file gets their
//! number. `layerfs image ls >&-` would print into it and end with success although everything is lost. Nothing tells
//! that `/dev/null` from one that the caller has given, so the question is asked before, by a function that the loader
//! calls.

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether there was no standard output at the start.
#[must_use]
pub fn stdout_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Asks for the flags of standard output; that is all that happens before `main`.
#[allow(unsafe_code, reason = "the safe calls take a descriptor that is open")]
extern "C" fn look() {
    // SAFETY: F_GETFD takes no pointer and changes nothing; of a number that is no descriptor it says so.
    let flags = unsafe { nix::libc::fcntl(nix::libc::STDOUT_FILENO, nix::libc::F_GETFD) };
    CLOSED.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: the loader calls every pointer in this section once, before `main` and in the only thread (System V ABI,
// "Initialization and Termination Functions"). `look` makes one system call and stores a flag: it neither allocates nor
// panics nor needs anything of the standard library that is not there yet. It ignores the arguments that glibc passes.
#[allow(unsafe_code, reason = "there is no other way to run before the standard library opens /dev/null")]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
