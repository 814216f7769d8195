//! The flags of `build` (docker/cli v20.10.24 `cli/command/image/build.go`).

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use build::{Options, Secret};

use super::attest::AttestFlags;
use super::cache;
use super::output::Output;
use crate::commands::image::change::new_name;
use crate::exit::UsageError;
use crate::registries::SourceFlags;
use crate::unsupported::unsupported;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory with the files, or `-` for a tar of them or a Dockerfile on standard input
    #[arg(value_name = "PATH|-")]
    pub(super) context: String,

    /// Add a line to /etc/hosts of commands: NAME:IP
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,

    /// A build argument: NAME=VALUE, or NAME for the value of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,

    /// A directory that the Dockerfile knows by a name, as a stage or an image: NAME=DIR
    #[arg(long, value_name = "NAME=DIR")]
    build_context: Vec<String>,

    /// The cache of another build: a directory, type=local,src=DIR, or type=registry,ref=NAME
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,

    /// Write the cache to a directory, type=local,dest=DIR, or type=registry,ref=NAME; that of all stages with mode=max, else what the
    /// image stands on
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,

    /// What is done: `build`, or `check`, which is --check
    #[arg(long, value_name = "METHOD", default_value = "build", hide_default_value = true)]
    call: String,

    /// Build nothing; print what is not as it should be in the Dockerfile
    #[arg(long)]
    check: bool,

    /// Build as docker's classic builder does: an image for each step, and a cache that it shares with dockerd
    #[arg(long)]
    classic: bool,

    /// The Dockerfile, or `-` for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<String>,

    /// Always remove the containers of commands, even if they fail (with --classic; otherwise they are always removed)
    #[arg(long)]
    force_rm: bool,

    /// Write the id of the image to a file
    #[arg(long, value_name = "FILE")]
    pub(super) iidfile: Option<PathBuf>,

    /// A label of the image: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,

    /// The network of commands: none or host
    #[arg(long, value_name = "NETWORK", default_value = "default", hide_default_value = true)]
    network: String,

    /// Run every step, even one that was built before
    #[arg(long)]
    no_cache: bool,

    /// Image to fetch of a base that has several, unless FROM says another platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,

    /// Fetch every base image, even one that is there
    #[arg(long)]
    pull: bool,

    /// Where the image goes, in the place of the store: type=docker|oci|tar,dest=FILE, type=local,dest=DIR, a directory, or `-` for a
    /// tar of the files; type=docker alone is the store
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<String>,

    /// How the build says what it does: plain (lines), tty (steps and times on a terminal), or auto: tty where standard error is one
    #[arg(long, value_name = "FORM", default_value = "auto", hide_default_value = true)]
    progress: String,

    /// Print only the id of the image
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// Give no file a later time than $SOURCE_DATE_EPOCH, or 1970, nor the image: same input, same image
    #[arg(long)]
    reproducible: bool,

    /// Remove the containers of commands when they have succeeded (with --classic; otherwise they are always removed)
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true,
          action = clap::ArgAction::Set, value_parser = crate::flags::parse_bool)]
    rm: bool,

    /// Runtime of commands: builtin, auto (crun, runc or youki, else builtin), or a program's name or path
    #[arg(long, default_value = "builtin")]
    runtime: String,

    /// A file or variable that commands may see, and no layer has: id=ID,src=FILE or id=ID,env=NAME
    #[arg(long, value_name = "ID")]
    secret: Vec<String>,

    /// Size of /dev/shm of commands
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,

    /// An SSH agent that commands may use: default, or ID=SOCKET
    #[arg(long, value_name = "ID[=SOCKET]")]
    ssh: Vec<String>,

    /// A name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,

    /// Stop after the stage of this name
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,

    #[command(flatten)]
    pub(super) registry: SourceFlags,

    #[command(flatten)]
    attest: AttestFlags,

    #[command(flatten)]
    unsupported: Unsupported,
}

unsupported! {
    struct Unsupported;
    switches: compress disable_content_trust squash stream;
    values: cgroup_parent cpu_period cpu_quota cpu_shares cpuset_cpus cpuset_mems isolation memory memory_swap
        security_opt ulimit
}

impl Args {
    /// Refuses a flag of docker's by its name.
    pub(super) fn refuse_unsupported(&self) -> Result<(), UsageError> {
        self.unsupported.refuse()
    }

    /// What is built. An error is docker's message about a value.
    pub(super) fn options(&self) -> Result<Options, String> {
        let tag = |text: &String| {
            new_name(text).map_err(|reason| {
                format!("invalid argument {} for \"-t, --tag\" flag: {reason}", docker_format::quoted(text))
            })
        };
        let network = match self.network.as_str() {
            "default" | "" | "none" => "none",
            other => other,
        };
        let argument = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.clone(), std::env::var(text).ok()),
        };
        let label = |text: &String| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        let size = |text: &String| {
            let invalid = || {
                format!(
                    "invalid argument {} for \"--shm-size\" flag: invalid size: {}",
                    docker_format::quoted(text),
                    docker_format::quoted(text)
                )
            };
            docker_format::size::ram_in_bytes(text).ok_or_else(invalid)
        };
        if !matches!(self.progress.as_str(), "auto" | "plain" | "tty") {
            return Err(format!(
                "invalid progress {}: auto, plain and tty are there",
                docker_format::quoted(&self.progress)
            ));
        }
        self.attest.check()?;
        let classic = self.is_classic()?;
        let modern = [
            (!self.secret.is_empty(), "secret"),
            (!self.ssh.is_empty(), "ssh"),
            (!self.build_context.is_empty(), "build-context"),
            (self.reproducible, "reproducible"),
        ];
        if let Some((_, flag)) = modern.iter().find(|(given, _)| classic && *given) {
            return Err(format!("--{flag} is not known to the classic builder"));
        }
        let epoch = self.build_arg.iter().find_map(|text| text.strip_prefix("SOURCE_DATE_EPOCH=").map(str::to_owned));
        let epoch = epoch.or_else(|| std::env::var("SOURCE_DATE_EPOCH").ok()).filter(|text| !text.is_empty());
        let seconds = |text: String| text.parse::<i64>().map_err(|_| format!("invalid SOURCE_DATE_EPOCH: {text}"));
        let epoch = epoch.map(seconds).transpose()?;
        Ok(Options {
            tags: self.tag.iter().map(tag).collect::<Result<_, _>>()?,
            arguments: self.build_arg.iter().map(argument).collect::<BTreeMap<_, _>>(),
            labels: self.label.iter().map(label).collect(),
            target: self.target.clone().filter(|target| !target.is_empty()),
            cache: !self.no_cache,
            remove: self.rm,
            remove_failed: self.force_rm,
            network: network.to_owned(),
            hosts: self.add_host.clone(),
            shm_size: self.shm_size.as_ref().map(size).transpose()?.unwrap_or_default(),
            runtime: self.runtime.clone(),
            platform: self.platform.clone().filter(|platform| !platform.is_empty()),
            pull: self.pull,
            sync: !self.no_sync,
            classic,
            secrets: self.secret.iter().map(|text| secret(text)).collect::<Result<_, _>>()?,
            agents: self.ssh.iter().map(|text| agent(text)).collect::<Result<_, _>>()?,
            contexts: self.build_context.iter().map(|text| named_context(text)).collect::<Result<_, _>>()?,
            trusted: Vec::new(),
            // The classic builder has times of its own.
            epoch: epoch.or(self.reproducible.then_some(0)),
            reproducible: self.reproducible,
        })
    }

    /// Whether the Dockerfile is looked at, and nothing is built.
    ///
    /// # Errors
    /// Another thing is to be done, which is not known here.
    pub(super) fn only_checks(&self) -> Result<bool, String> {
        let checks = match self.call.as_str() {
            "" | "build" => self.check,
            "check" => true,
            other => return Err(format!("--call {other} is not known here; build and check are")),
        };
        if checks && self.is_classic()? {
            return Err("--check is not known to the classic builder".into());
        }
        Ok(checks)
    }

    /// Whether a build shows its steps on the terminal of standard error.
    ///
    /// # Errors
    /// There is none, and the user asks for it.
    pub(super) fn wants_terminal(&self) -> anyhow::Result<bool> {
        if self.quiet || self.progress == "plain" {
            return Ok(false);
        }
        let is_terminal = std::io::stderr().is_terminal();
        anyhow::ensure!(is_terminal || self.progress != "tty", "failed to get console: provided file is not a console");
        Ok(is_terminal)
    }

    /// Where the image goes.
    pub(super) fn outputs(&self) -> Result<Vec<Output>, String> {
        if self.output.is_empty() {
            return Ok(vec![Output::Store]);
        }
        if self.is_classic()? {
            return Err("--output is not known to the classic builder".into());
        }
        self.output.iter().map(|text| Output::parse(text)).collect()
    }

    /// Where caches come from and go to.
    pub(super) fn caches(&self) -> Result<(Vec<cache::Place>, Vec<cache::CacheTo>), String> {
        if self.is_classic()? && !(self.cache_from.is_empty() && self.cache_to.is_empty()) {
            return Err("--cache-from and --cache-to are not known to the classic builder here".into());
        }
        let from = self.cache_from.iter().map(|text| cache::from(text));
        let to = self.cache_to.iter().map(|text| cache::to(text));
        Ok((from.collect::<Result<_, _>>()?, to.collect::<Result<_, _>>()?))
    }

    /// Whether the classic builder is asked for: by the flag, or as docker's client is asked for it.
    fn is_classic(&self) -> Result<bool, String> {
        let Ok(text) = std::env::var("DOCKER_BUILDKIT") else { return Ok(self.classic) };
        match text.as_str() {
            "" => Ok(self.classic),
            // Go's `strconv.ParseBool`.
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(true),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(self.classic),
            _ => Err(format!("DOCKER_BUILDKIT environment variable expects boolean value: {text}")),
        }
    }
}

/// Reads `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID`, which is the variable or the file of that name.
fn secret(text: &str) -> Result<(String, Secret), String> {
    let (mut id, mut file, mut env) = (String::new(), None, None);
    for field in text.split(',') {
        let (key, value) =
            field.split_once('=').ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        match key.to_lowercase().as_str() {
            "id" => value.clone_into(&mut id),
            "src" | "source" => file = Some(PathBuf::from(value)),
            "env" => env = Some(value.to_owned()),
            "type" if matches!(value, "file" | "env") => {}
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if id.is_empty() {
        return Err(format!("secret {}: an id is missing", docker_format::quoted(text)));
    }
    let secret = match (file, env) {
        (Some(file), _) => Secret::File(file),
        (None, Some(name)) => Secret::Env(name),
        (None, None) if std::env::var_os(&id).is_some() => Secret::Env(id.clone()),
        (None, None) => Secret::File(PathBuf::from(&id)),
    };
    Ok((id, secret))
}

/// Reads `NAME=DIR` (docker/buildx `util/buildflags/context.go`, `build/opt.go`). What buildx takes besides is refused by its name.
fn named_context(text: &str) -> Result<(String, PathBuf), String> {
    let invalid = || format!("invalid context value: {text}, expected key=value");
    let (name, value) = text.split_once('=').ok_or_else(invalid)?;
    let other = ["docker-image:", "oci-layout:", "target:", "input:", "git@", "github.com/"];
    if value.contains("://") || other.iter().any(|start| value.starts_with(start)) {
        return Err(format!("--build-context {name}: {value} is not known here; a directory is"));
    }
    Ok((name.to_owned(), PathBuf::from(value)))
}

/// Reads `ID=SOCKET`, or `ID` for the agent of this session.
fn agent(text: &str) -> Result<(String, PathBuf), String> {
    let (id, socket) = match text.split_once('=') {
        Some((id, socket)) => (id, Some(PathBuf::from(socket))),
        None => (text, None),
    };
    let socket = socket.or_else(|| std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from));
    let socket = socket.ok_or("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")?;
    Ok((id.to_owned(), socket))
}
