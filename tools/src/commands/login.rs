//! `layerfs login` and `layerfs logout`: `docker login` and `docker logout`, with docker's files, helpers and lines.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use registry::{CredentialStore, Credentials, Saved, host_of};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::commands::layerfs::NAME;
use crate::registries::RegistryFlags;
use crate::{output, signals};

/// The domain that is meant if none is given.
const HUB: &str = "docker.io";

/// The most bytes of a password that are read.
const MAX_PASSWORD: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    server: Option<String>,

    /// User name
    #[arg(short, long)]
    username: Option<String>,

    /// Password; everybody on this machine can read it while the program runs
    #[arg(short, long)]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,

    #[command(flatten)]
    registry: RegistryFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// The registry [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// The domain that a text means: a host, or an address of it.
fn domain(server: Option<&str>) -> &str {
    match host_of(server.unwrap_or_default()) {
        "index.docker.io" | "registry-1.docker.io" | "" => HUB,
        host => host,
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.password.is_some() {
        output::complain(NAME, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if args.password_stdin {
            bail!("--password and --password-stdin are mutually exclusive");
        }
    }
    if args.password_stdin && args.username.is_none() {
        bail!("Must provide --username with --password-stdin");
    }
    let domain = domain(args.server.as_deref());
    let interrupted = signals::interrupted()?;
    let mut store = CredentialStore::of_user()?;
    let show = |credentials: Credentials| {
        args.registry.client_with(domain, Some(credentials), &interrupted).and_then(|client| Ok(client.login()?))
    };
    let stored = if args.username.is_none() && args.password.is_none() { store.find(domain) } else { None };
    let user_before = stored.as_ref().map(|stored| stored.user().to_owned()).filter(|user| !user.is_empty());
    let mut accepted = None;
    if let Some(stored) = stored {
        output::say("Authenticating with existing credentials...")?;
        match show(stored) {
            Ok(found) => accepted = found,
            Err(error) => output::complain(NAME, &format!("Login did not succeed, error: {error:#}")),
        }
    }
    let accepted = match accepted {
        Some(accepted) => accepted,
        None => {
            let asked = credentials(&args, user_before, &interrupted)?;
            show(asked)?.expect("who shows credentials has some")
        }
    };
    let saved = store.store(domain, &accepted).context("Error saving credentials")?;
    if let (Saved::File(path), Credentials::Password { .. }) = (saved, &accepted) {
        let path = path.display();
        output::complain(NAME, &format!("WARNING! Your password will be stored unencrypted in {path}."));
        output::complain(NAME, "Configure a credential helper (credsStore, credHelpers) to have it kept elsewhere.");
    }
    output::say("Login Succeeded")?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn logout(args: &LogoutArgs) -> anyhow::Result<ExitCode> {
    signals::wait_for_the_end()?;
    let domain = domain(args.server.as_deref());
    output::say(&format!("Removing login credentials for {}", CredentialStore::key(domain)))?;
    CredentialStore::of_user()?.erase(domain)?;
    Ok(ExitCode::SUCCESS)
}

/// User name and password: from the command line, from standard input, or asked of whoever sits at the terminal.
fn credentials(args: &Args, before: Option<String>, interrupted: &AtomicBool) -> anyhow::Result<Credentials> {
    let stdin = std::io::stdin();
    if args.password_stdin {
        let mut text = String::new();
        stdin.lock().take(MAX_PASSWORD).read_to_string(&mut text).context("reading the password")?;
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password).to_owned();
        return complete(args.username.clone().unwrap_or_default(), password);
    }
    let user_is_there = args.username.as_deref().is_some_and(|user| !user.is_empty());
    if !(stdin.is_terminal() || user_is_there && args.password.is_some()) {
        bail!("Cannot perform an interactive login from a non TTY device");
    }
    let user = match &args.username {
        Some(user) if !user.is_empty() => user.clone(),
        _ => {
            let shown = before.as_deref().map_or_else(String::new, |user| format!(" ({user})"));
            let typed = ask(&format!("Username{shown}: "), true, interrupted)?;
            if typed.is_empty() { before.unwrap_or_default() } else { typed }
        }
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if user.is_empty() => String::new(),
        None => ask("Password: ", false, interrupted)?,
    };
    complete(user, password)
}

fn complete(user: String, password: String) -> anyhow::Result<Credentials> {
    anyhow::ensure!(!user.is_empty(), "username is required");
    anyhow::ensure!(!password.is_empty(), "password is required");
    Ok(Credentials::Password { user, password })
}

/// A line from the terminal, which is shown while it is typed or not.
fn ask(prompt: &str, shown: bool, interrupted: &AtomicBool) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    let mut error = std::io::stderr().lock();
    write!(error, "{prompt}")?;
    error.flush()?;
    let before = tcgetattr(&stdin).context("reading the terminal's modes")?;
    if !shown {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &silent).context("setting the terminal's modes")?;
    }
    let line = typed(interrupted);
    if !shown {
        let _ = tcsetattr(&stdin, OptionalActions::Now, &before);
        writeln!(error)?;
    }
    Ok(line?.trim_end_matches(['\n', '\r']).to_owned())
}

/// A line from the terminal, unless the user asks to stop: then the terminal has to get its modes back.
fn typed(interrupted: &AtomicBool) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    loop {
        let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
        let ready = poll(&mut watched, Some(&patience));
        anyhow::ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        match ready {
            Ok(0) | Err(Errno::INTR) => {}
            ready => {
                ready.context("waiting for the terminal")?;
                let mut line = String::new();
                stdin.lock().take(MAX_PASSWORD).read_line(&mut line).context("reading from the terminal")?;
                return Ok(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts() {
        for (text, expected) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("registry.test:5"), "registry.test:5"),
            (Some("https://registry.test:5/v2/"), "registry.test:5"),
        ] {
            assert_eq!(domain(text), expected);
        }
    }
}
