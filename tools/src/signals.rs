//! Ctrl-C and its like: the first one asks to stop, and everything is rolled back; a second one ends the process at once.
//!
//! Limits of a shell arrive as signals as well. Over the limit on processor time (`ulimit -t`), the system sends a request to
//! stop each second, until it ends the process. Over the limit on the size of a file (`ulimit -f`), the signal would end the
//! process in the middle of a write; here that write fails instead, like one on a full disk.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};

/// The signals by which a user, a terminal or a service manager asks to stop.
pub(crate) const REQUESTS: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// The signal by which a parent passes a request on. The request itself may arrive as well, so this one never counts as the
/// second request.
pub(crate) const PASSED_ON: Signal = Signal::SIGUSR1;

/// A flag that becomes true when the user, or the system, asks to stop.
pub(crate) fn interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    for signal in REQUESTS {
        // The order matters: when the first signal arrives, `asked` is still false, so the first handler does nothing.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    signal_hook::flag::register(PASSED_ON as i32, Arc::clone(&flag))?;
    signal_hook::flag::register(SIGXCPU, Arc::clone(&flag))?;
    writes_fail()?;
    Ok(flag)
}

/// Over the limit on the size of a file, a write fails, and the process goes on.
pub(crate) fn writes_fail() -> anyhow::Result<()> {
    // A handler that does nothing is enough. Programs that are started do not inherit it.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

/// For changes that are short: a request to stop waits until what was begun is done, and a second one ends the process.
pub(crate) fn wait_for_the_end() -> anyhow::Result<()> {
    interrupted().map(drop)
}
