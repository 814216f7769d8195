//! Working together with udev, as libdevmapper does: whoever makes or removes a device waits until udev has done what its
//! rules say, so that the links below `/dev/mapper` are there, or gone, when the command goes on.
//!
//! ```text
//! cookie        16 bits. There is a semaphore of the key 0x0d4d0000 | cookie (`dmsetup(8)`: udevcookies)
//! event number  flags << 16 | cookie, in the ioctls that make an event for udev: `DM_DEV_REMOVE`, `DM_DEV_SUSPEND` that
//!               resumes, `DM_DEV_RENAME` (`linux/dm-ioctl.h`). The kernel passes it to udev as DM_COOKIE
//! value         1 for who waits, and 1 for each event that is to come. The rules take that away with `dmsetup udevcomplete
//!               $DM_COOKIE` (95-dm-notify.rules); then who waits takes its own, waits for zero, and removes the semaphore
//! ```
//!
//! If the kernel makes no event, as for a device that goes when it is closed, nobody will complete anything, and nothing is
//! waited for. The same holds without udev, and for a udev without those rules. libdevmapper waits for ever where udev does not do its part; here the wait has
//! an end, and is then left out.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::names::DeviceName;
use crate::semaphore::Semaphore;

/// `DM_COOKIE_MAGIC` (`libdevmapper.h`), the upper half of the semaphore's key.
const MAGIC: u32 = 0x0d4d << 16;

/// Where udevd takes orders. The file goes with it.
const RUNNING: &str = "run/udev/control";

/// The rules that complete a cookie, in the directories of rules, the first of which counts (`udev(7)`).
const RULES: [&str; 5] = ["etc", "run", "usr/local/lib", "usr/lib", "lib"];
const NOTIFY: &str = "udev/rules.d/95-dm-notify.rules";

/// How long udev may take for one event. It has little to do for ours, but may have much to do otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether udevd is still there.
const LOOK: Duration = Duration::from_millis(200);

/// udev has not done its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "udev {why} and has not completed the cookie {cookie:#x} of the device {name} (`dmsetup udevcookies`): udev is not \
     waited for any more, and /dev/mapper may not be up to date"
)]
pub struct SilentUdev {
    /// The number that `dmsetup udevcookies` would show.
    pub cookie: u32,
    /// The device that was made or removed.
    pub name: DeviceName,
    /// What is known of the reason.
    why: &'static str,
}

/// Whom to tell.
type Report = Box<dyn Fn(&SilentUdev) + Send + Sync>;
static REPORT: OnceLock<Report> = OnceLock::new();

/// Has this process tell somebody when udev does not do its part. That is no error: devices are opened by their numbers, and
/// nothing here needs what udev makes. The first call counts.
pub fn when_udev_is_silent(report: impl Fn(&SilentUdev) + Send + Sync + 'static) {
    let _ = REPORT.set(Box::new(report));
}

/// udev, if it is at work.
#[derive(Debug)]
pub(crate) struct Udev {
    /// The directory that has `run`, `etc` and `lib`.
    root: PathBuf,
    patience: Duration,
    /// Whether it was waited for in vain.
    is_silent: AtomicBool,
}

/// What an ioctl makes udev do.
#[derive(Debug)]
pub(crate) struct Cookie {
    semaphore: Semaphore,
    key: u32,
}

impl Udev {
    pub(crate) fn of_the_system() -> Self {
        Self::new(Path::new("/"), PATIENCE)
    }

    fn new(root: &Path, patience: Duration) -> Self {
        Self { root: root.to_path_buf(), patience, is_silent: AtomicBool::new(false) }
    }

    fn is_running(&self) -> bool {
        self.root.join(RUNNING).exists()
    }

    /// Whether the rules are there, and are not masked by an empty file.
    fn completes(&self) -> bool {
        let found = RULES.iter().find_map(|dir| std::fs::read_to_string(self.root.join(dir).join(NOTIFY)).ok());
        found.is_some_and(|rules| rules.contains("udevcomplete"))
    }

    /// Before an ioctl that makes an event. `None` if there is nobody to wait for.
    pub(crate) fn expect(&self) -> Option<Cookie> {
        if self.is_silent.load(Ordering::Relaxed) || !self.is_running() || !self.completes() {
            return None;
        }
        // Where the system has no semaphores, or none left, nobody can be waited for.
        Cookie::new().ok()
    }

    /// After it: waits for udev if there was an event.
    pub(crate) fn wait(&self, cookie: Cookie, has_event: bool, name: &DeviceName) {
        if !has_event {
            return;
        }
        if let Err(why) = self.wait_for(&cookie) {
            self.is_silent.store(true, Ordering::Relaxed);
            if let Some(report) = REPORT.get() {
                report(&SilentUdev { cookie: cookie.key, name: name.clone(), why });
            }
        }
        // What is left of the semaphore goes, so a udev that comes late finds none, which does no harm.
    }

    fn wait_for(&self, cookie: &Cookie) -> Result<(), &'static str> {
        let start = Instant::now();
        let mut result = cookie.semaphore.add(-1);
        while result.is_ok() {
            result = cookie.semaphore.wait_for_zero(LOOK);
            match result {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN | Errno::INTR) if !self.is_running() => return Err("has ended"),
                Err(Errno::AGAIN | Errno::INTR) if start.elapsed() > self.patience => return Err("does not answer"),
                Err(Errno::AGAIN | Errno::INTR) => result = Ok(()),
                Err(_) => {}
            }
        }
        // It was removed by somebody who did not want anyone to wait.
        Ok(())
    }
}

impl Cookie {
    /// A new one, which counts who waits and one event.
    fn new() -> Result<Self, Errno> {
        const ATTEMPTS: u32 = 100;
        for _ in 0..ATTEMPTS {
            // Zero would be no cookie. A number that was in use a moment ago must not come again soon.
            let cookie = (RandomState::new().hash_one(0) as u16).max(1);
            let key = MAGIC | u32::from(cookie);
            match Semaphore::create(key) {
                Ok(semaphore) => {
                    semaphore.add(2)?;
                    return Ok(Self { semaphore, key });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }

    /// What goes into the lower half of the event number.
    pub(crate) fn number(&self) -> u32 {
        self.key ^ MAGIC
    }
}

#[cfg(test)]
mod tests;
