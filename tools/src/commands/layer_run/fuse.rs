//! fuse-overlayfs, where the kernel mounts no overlay for a user: a program that shows directories as overlayfs would.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The program, of the package of the same name.
const PROGRAM: &str = "fuse-overlayfs";

/// What the kernel calls a file system of a program.
const FUSE: i64 = 0x6573_5546;

/// How long the program may take until it shows something.
const PATIENCE: Duration = Duration::from_secs(10);

/// The program, which ends with this value, and, by way of `setpriv`, with this process, however that ends.
#[derive(Debug)]
pub(super) struct Fuse(Child);

impl Drop for Fuse {
    fn drop(&mut self) {
        // It may have ended by itself, since nothing is mounted any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Shows directories at `point`, with `upper` above them. `lower` is a list as overlayfs has it.
pub(super) fn mount(lower: &Path, upper: &Path, work: &Path, point: &Path) -> anyhow::Result<Fuse> {
    let mut options = OsString::new();
    for (name, dir) in [("lowerdir=", lower), (",upperdir=", upper), (",workdir=", work)] {
        options.push(name);
        options.push(dir);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", PROGRAM, "-f", "-o"]).arg(options).arg(point);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut fuse = Fuse(child.context("running setpriv (package util-linux)")?);
    let begun = Instant::now();
    while rustix::fs::statfs(point).map(|stat| stat.f_type) != Ok(FUSE) {
        if let Some(status) = fuse.0.try_wait()? {
            let mut said = String::new();
            if let Some(mut errors) = fuse.0.stderr.take() {
                let _ = std::io::Read::read_to_string(&mut errors, &mut said);
            }
            bail!("{PROGRAM} (package {PROGRAM}) ended with {status}: {}", said.trim());
        }
        if begun.elapsed() > PATIENCE {
            bail!("{PROGRAM} shows nothing for {} seconds", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(fuse)
}
