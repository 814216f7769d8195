//! Ctrl-C and its like: the first one asks to stop, and everything is rolled back; a second one ends the process at once.
//!
//! The limits of a shell are told of by signals as well. With the one on processor time (`ulimit -t`), the system asks to stop,
//! again each second until it ends the process. The one on the size of a file (`ulimit -f`) would end the process in the middle
//! of a write; that write is to fail instead, like one on a full disk.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};

/// With which a user, a terminal or a service manager asks to stop.
pub(crate) const REQUESTS: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// With which a parent passes a request on. It may come besides the request itself, and never counts as the second one.
pub(crate) const PASSED_ON: Signal = Signal::SIGUSR1;

/// Becomes true when the user, or the system, asks to stop.
pub(crate) fn interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    for signal in REQUESTS {
        // In this order: the first signal finds it still down.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    signal_hook::flag::register(PASSED_ON as i32, Arc::clone(&flag))?;
    signal_hook::flag::register(SIGXCPU, Arc::clone(&flag))?;
    // A handler is all that is wanted: with one, the write says what is wrong.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Ok(flag)
}
