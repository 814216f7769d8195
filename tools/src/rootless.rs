//! Without root: a user namespace in which the user's subordinate ids are all ids.
//!
//! The program starts itself once more. The child makes the namespace and waits for its id maps; the parent, which is
//! still outside, has `newuidmap` and `newgidmap` fill them from `/etc/subuid` and `/etc/subgid`; then the child is root
//! in there and goes on.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use images::load::ImportError;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Pid, Uid, User, setgid, setgroups, setuid};
use signal_hook::iterator::Signals;

use crate::exit::UsageError;
use crate::signals;

/// An environment variable that is set for the child, so that it knows that it is the child.
const MARK: &str = "LAYERFS_IN_USER_NAMESPACE";

/// How long parent and child wait for each other.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// Whether this process may write a data-root or overlay directories, with `advice` if not.
pub(crate) fn check(path: &Path, advice: &str) -> Result<(), UsageError> {
    if Uid::effective().is_root() {
        return Ok(());
    }
    Err(UsageError(format!("writing {} needs root{advice}", path.display())))
}

/// The advice of commands that have the flag `--rootless`.
pub(crate) const ADVICE: &str = "; for a rootless daemon give --rootless";

/// Goes on inside a user namespace. Returns the child's exit status in the parent, `None` in the child, and for root,
/// who needs no namespace.
pub(crate) fn enter() -> anyhow::Result<Option<ExitCode>> {
    if std::env::var_os(MARK).is_some() {
        become_root()?;
        return Ok(None);
    }
    if Uid::effective().is_root() {
        return Ok(None);
    }
    let ids = SubordinateIds::of_user()?;
    // From here on no signal ends this process before its child has ended.
    let signals = Signals::new(signals::REQUESTS)?;
    let program = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(program).args(std::env::args_os().skip(1)).env(MARK, "1").spawn()?;
    if let Err(error) = map_ids(&mut child, &ids) {
        // Without id maps the child cannot work.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    let status = wait(&mut child, signals).context("waiting for the child in the user namespace")?;
    exit_code(status).map(Some)
}

/// Waits for the child. The first request to stop is passed on to the child, which then takes everything back; the second
/// request kills the child.
fn wait(child: &mut Child, mut signals: Signals) -> std::io::Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
    let handle = signals.handle();
    std::thread::scope(|scope| {
        let pass_on = move || {
            for (number, _) in signals.forever().enumerate() {
                // The child may have ended, but its number cannot belong to another process, since nobody has waited for it.
                let _ = kill(pid, if number == 0 { signals::PASSED_ON } else { Signal::SIGKILL });
            }
        };
        let passing_on = std::thread::Builder::new().spawn_scoped(scope, pass_on);
        if passing_on.is_err() {
            // Later requests could not be passed on to the child, so stop it now.
            let _ = kill(pid, signals::PASSED_ON);
        }
        let ended = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        handle.close();
        passing_on?;
        ended.map_err(std::io::Error::from)
    })?;
    child.wait()
}

/// The child's exit status, as a shell reports it.
fn exit_code(status: ExitStatus) -> anyhow::Result<ExitCode> {
    // This signal can only end a child that has no handlers yet, so nothing was begun.
    if status.signal() == Some(signals::PASSED_ON as i32) {
        return Err(ImportError::Interrupted.into());
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn become_root() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).context("creating a user namespace; is it allowed on this system?")?;
    wait_until(|| Ok(!std::fs::read_to_string("/proc/self/gid_map")?.trim().is_empty()))?;
    setgroups(&[]).context("dropping groups")?;
    setgid(Gid::from_raw(0)).context("becoming root in the user namespace")?;
    setuid(Uid::from_raw(0)).context("becoming root in the user namespace")?;
    // If the parent is killed, this process is to end, too. This is set after the ids, because changing them clears it.
    set_pdeathsig(signals::PASSED_ON).context("tying this process to its parent")
}

/// To be called by what has nothing to take back, after [`enter`]: if the parent is killed, this process is killed, too. A request to stop
/// would not do, since that is for the command that runs here, which may not hear it.
pub(crate) fn end_with_parent() -> anyhow::Result<()> {
    if std::env::var_os(MARK).is_none() {
        return Ok(());
    }
    set_pdeathsig(Signal::SIGKILL).context("tying this process to its parent")
}

fn map_ids(child: &mut Child, ids: &SubordinateIds) -> anyhow::Result<()> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user"));
    let own = namespace("self").context("reading the user namespace")?;
    let pid = child.id().to_string();
    wait_until(|| {
        if let Some(status) = child.try_wait()? {
            bail!("the child in the user namespace ended with {status}");
        }
        Ok(namespace(&pid)? != own)
    })?;
    // The child goes on as soon as it has the group map, so that map comes last.
    run_map("newuidmap", &pid, Uid::effective().as_raw(), ids.uids)?;
    run_map("newgidmap", &pid, Gid::effective().as_raw(), ids.gids)
}

fn run_map(program: &str, pid: &str, own: u32, (start, count): (u32, u32)) -> anyhow::Result<()> {
    let numbers = [0, own, 1, 1, start, count].map(|number| number.to_string());
    let status = Command::new(program).arg(pid).args(numbers).status();
    let status = status.with_context(|| format!("running {program} (package uidmap)"))?;
    if !status.success() {
        bail!("{program} failed with {status}");
    }
    Ok(())
}

fn wait_until(mut condition: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("the user namespace was not set up in {} seconds", PATIENCE.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The first range of the user's subordinate ids: start and count.
struct SubordinateIds {
    uids: (u32, u32),
    gids: (u32, u32),
}

impl SubordinateIds {
    fn of_user() -> anyhow::Result<Self> {
        let uid = Uid::effective();
        let name = User::from_uid(uid)?.map(|user| user.name).unwrap_or_default();
        let read = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            first_range(&text, &name, uid.as_raw()).ok_or_else(|| {
                UsageError(format!("--rootless needs subordinate ids: {path} has none for {name} (usermod adds them)"))
            })
        };
        Ok(Self { uids: read("/etc/subuid")?, gids: read("/etc/subgid")? })
    }
}

/// `NAME-OR-UID:START:COUNT` lines (subuid(5)).
fn first_range(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == name || owner.parse() == Ok(uid)).then_some((start, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_or_number() {
        let text = "root:1:2\nann:100000:65536\n1001:200000:65536\nbad:x:y\n";
        assert_eq!(first_range(text, "ann", 1000), Some((100_000, 65536)));
        assert_eq!(first_range(text, "bob", 1001), Some((200_000, 65536)));
        assert_eq!(first_range(text, "bad", 5), None);
    }
}
