//! The peak of anonymous memory: runs of their own, which nobody times.
//!
//! The kernel keeps a peak of all resident memory, in which mapped files count; of anonymous memory it tells
//! only how much there is now. So it is asked again and again.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::interrupt::Interrupt;

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Runs a command, and returns the largest `RssAnon` that was seen in bytes, and how often was looked.
///
/// # Errors
///
/// If the command cannot be started or fails.
pub fn peak(words: &[String], errors: &Path, interrupt: &Interrupt) -> Result<(u64, u64)> {
    let (name, arguments) = words.split_first().context("a command without a name")?;
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(errors)?)
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let status_file = format!("/proc/{}/status", child.id());
    let (mut peak, mut samples) = (0, 0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt.raised() {
            child.kill()?;
        }
        // It has no memory any more when it is about to end.
        if let Some(bytes) = std::fs::read_to_string(&status_file).ok().as_deref().and_then(anonymous) {
            peak = peak.max(bytes);
            samples += 1;
        }
        std::thread::sleep(PAUSE);
    };
    interrupt.check()?;
    ensure!(status.success(), "{status}: {}", super::measure::messages(errors));
    Ok((peak, samples))
}

/// `RssAnon` in the text of `/proc/PID/status`, in bytes.
fn anonymous(status: &str) -> Option<u64> {
    let kibibytes: u64 =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.trim().split(' ').next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::anonymous;

    #[test]
    fn reads_the_line_of_the_kernel() {
        assert_eq!(anonymous("VmRSS:\t    9000 kB\nRssAnon:\t    1234 kB\nRssFile:\t 1 kB\n"), Some(1_263_616));
        assert_eq!(anonymous("Name:\tzombie\n"), None);
    }
}
