//! udevd in the machine, with the device mapper's rules: it judges whether what we make and remove is what it expects.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal};

const CONTROL: &str = "/run/udev/control";

/// It would do nothing in the directory in which a test runs.
const EVEN_HERE: (&str, &str) = ("SYSTEMD_IGNORE_CHROOT", "1");

/// A running udevd.
pub(super) struct Udevd(Child);

impl Udevd {
    /// Starts it, and waits until it answers.
    pub(super) fn start() -> Self {
        let daemon = Command::new("/lib/systemd/systemd-udevd").env(EVEN_HERE.0, EVEN_HERE.1).spawn().unwrap();
        let answers = || udevadm(&["control", "--ping"]);
        assert!(testkit::run::until(answers), "udevd does not answer");
        Self(daemon)
    }

    /// It does nothing any more, but is there.
    pub(super) fn pause(&self) {
        rustix::process::kill_process(Pid::from_child(&self.0), Signal::STOP).unwrap();
    }
}

impl Drop for Udevd {
    /// As it is when it ends: nobody can ask it for anything any more.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(CONTROL);
    }
}

fn udevadm(arguments: &[&str]) -> bool {
    Command::new("udevadm").env(EVEN_HERE.0, EVEN_HERE.1).args(arguments).output().unwrap().status.success()
}

/// Waits until `/dev/mapper` has these names. A device that goes when it is closed may take a moment, and udev after it.
pub(super) fn links_become(expected: &[&str]) {
    assert!(testkit::run::until(|| links() == expected), "{:?}, not {expected:?}", links());
}

/// What there is below `/dev/mapper`.
fn links() -> Vec<String> {
    let names = fs::read_dir("/dev/mapper").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "control").collect();
    names.sort();
    names
}

/// The kernel's number of what a link leads to, such as `dm-3`.
pub(super) fn leads_to(link: &str) -> String {
    let target = fs::read_link(Path::new("/dev/mapper").join(link)).unwrap();
    target.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The cookies that somebody waits for, as `dmsetup` shows them and as the kernel does: keys whose upper half is 0x0d4d.
pub(super) fn cookies() -> usize {
    let shown = super::pools::dmsetup(&["udevcookies"]).lines().filter(|line| line.starts_with("0xd4d")).count();
    let semaphores = fs::read_to_string("/proc/sysvipc/sem").unwrap();
    let keys = semaphores.lines().skip(1).filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    let known = keys.filter(|key| key >> 16 == 0x0d4d).count();
    // One may have come or gone in between.
    shown.max(known)
}
