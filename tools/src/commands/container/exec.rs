//! `layerfs container exec`: `docker container exec`, for containers that run here.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use runtime::oci::{Process, Spec};

use super::create::store;
use super::run::status;
use super::session;
use crate::commands::layerfs::NAME;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave it running
    #[arg(short, long)]
    detach: bool,

    /// Set an environment variable
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,

    /// Pass input on
    #[arg(short, long)]
    interactive: bool,

    /// Give it all rights
    #[arg(long)]
    privileged: bool,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// User: NAME|UID[:GROUP|GID]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    user: String,

    /// Working directory
    #[arg(short, long, default_value = "", hide_default_value = true)]
    workdir: String,

    /// The container, by name or id
    container: String,

    /// Command and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    let id = store.find(&args.container)?;
    if store.attach(id.as_str()).is_err() {
        anyhow::bail!("Container {id} is not running");
    }
    if args.interactive && args.tty && !args.detach {
        session::check_terminal(session::How { input: true, tty: true, signals: false })?;
    }
    if args.detach {
        let mut again = std::process::Command::new(std::env::current_exe()?);
        let mut is_command = false;
        for argument in std::env::args_os().skip(1) {
            is_command |= argument.to_str() == Some(args.container.as_str());
            if is_command || !matches!(argument.to_str(), Some("-d" | "--detach")) {
                again.arg(argument);
            }
        }
        std::os::unix::process::CommandExt::process_group(&mut again, 0);
        again.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = store.runtime_of(&id)?;
    let bundle = runtime.state(id.as_str())?.bundle;
    let spec: Spec = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    let process = process(args, spec)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let stdio = if args.tty {
        runtime::Stdio::Terminal { size: session::window() }
    } else {
        runtime::Stdio::inherit(args.interactive)?
    };
    let created = match runtime.exec(id.as_str(), &process, stdio) {
        Ok(created) => created,
        Err(error) => {
            output::complain(NAME, &error.to_string());
            return Ok(ExitCode::from(match error.status() {
                125 => 1,
                status => status,
            }));
        }
    };
    if let Some(terminal) = &created.terminal {
        let mut from = std::fs::File::from(terminal.try_clone()?);
        let mut to = std::fs::File::from(terminal.try_clone()?);
        if args.interactive {
            std::thread::spawn(move || std::io::copy(&mut std::io::stdin().lock(), &mut to));
        }
        let mut out = output::binary()?;
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            out.write_all(&buffer[..read])?;
        }
    }
    Ok(status(Some(runtime.wait(created.pid)?.code())))
}

/// The process to be run: the container's own, with another command.
fn process(args: &Args, spec: Spec) -> anyhow::Result<Process> {
    let own = spec.process().clone().unwrap_or_default();
    let mut env = own.env().clone().unwrap_or_default();
    for text in &args.env {
        let text = match (text.contains('='), std::env::var(text)) {
            (false, Ok(value)) => format!("{text}={value}"),
            _ => text.clone(),
        };
        let key = text.split('=').next().unwrap_or_default().to_owned();
        env.retain(|known| known.split('=').next() != Some(key.as_str()));
        if text.contains('=') {
            env.push(text);
        }
    }
    if args.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    let mut process = own;
    process.set_args(Some(args.command.clone())).set_env(Some(env)).set_terminal(Some(args.tty));
    if !args.workdir.is_empty() {
        process.set_cwd(args.workdir.clone().into());
    }
    if !args.user.is_empty() || args.privileged {
        anyhow::bail!("--user and --privileged are flags of docker that exec does not support here");
    }
    Ok(process)
}
