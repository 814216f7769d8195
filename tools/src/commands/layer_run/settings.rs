//! Flags of the command, which are docker's, and what they make of the image's own settings.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use runtime::{Mount, MountKind, Network, Resources, Seccomp, Settings, Ulimit, oci};

use super::source::Found;
use super::{Place, place};
use crate::exit::UsageError;

#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Set an environment variable; without a value, the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// User, and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Show a file or directory of the host
    #[arg(short, long, value_name = "HOST:CONTAINER[:ro]", value_parser = parse_volume)]
    volume: Vec<Mount>,

    /// Mount a file system in memory
    #[arg(long, value_name = "DIR[:OPTIONS]", value_parser = parse_tmpfs)]
    tmpfs: Vec<Mount>,

    /// With a terminal
    #[arg(short, long)]
    pub(super) tty: bool,

    /// With standard input
    #[arg(short, long)]
    pub(super) interactive: bool,

    /// Run this instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// Name of the host
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// The root file system can only be read
    #[arg(long)]
    read_only: bool,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,

    /// no-new-privileges, seccomp=unconfined or seccomp=FILE
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,

    /// none or host
    #[arg(long, value_name = "NETWORK", default_value = "none", value_parser = ["none", "host"])]
    network: String,

    /// Memory that it may use: 64m
    #[arg(short, long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<i64>,

    /// Processors that it may use: 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<f64>,

    /// How many processes it may have
    #[arg(long, value_name = "NUMBER")]
    pids_limit: Option<i64>,

    /// A limit of its processes: nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = parse_ulimit)]
    ulimit: Vec<Ulimit>,
}

impl Flags {
    /// Paths of the host that the container sees.
    pub(super) fn host_paths(&self) -> Vec<PathBuf> {
        let source = |mount: &Mount| match &mount.kind {
            MountKind::Bind { source, .. } => Some(source.clone()),
            MountKind::Tmpfs { .. } => None,
        };
        self.volume.iter().filter_map(source).collect()
    }

    pub(super) fn settings(&self, found: &Found, place: &Place, command: &[String]) -> anyhow::Result<Settings> {
        let config = &found.config;
        let id = new_id()?;
        let mut settings = Settings::new(&id, &found.root, self.arguments(found, command));
        settings.env = environment(&self.env, config.env.as_deref().unwrap_or_default());
        settings.cwd = self.workdir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| config.working_dir.clone());
        settings.user = self.user.clone().filter(|user| !user.is_empty()).unwrap_or_else(|| config.user.clone());
        settings.tty = self.tty;
        settings.cap_add.clone_from(&self.cap_add);
        settings.cap_drop.clone_from(&self.cap_drop);
        settings.readonly_rootfs = self.read_only;
        settings.mounts = self.volume.iter().chain(&self.tmpfs).cloned().collect();
        settings.ulimits.clone_from(&self.ulimit);
        settings.resources = self.resources();
        for option in &self.security_opt {
            match option.split_once(['=', ':']) {
                None if option == "no-new-privileges" => settings.no_new_privileges = true,
                Some(("no-new-privileges", "true")) => settings.no_new_privileges = true,
                Some(("seccomp", "unconfined")) => settings.seccomp = Seccomp::Unconfined,
                Some(("seccomp", file)) => {
                    let text =
                        fs::read_to_string(file).with_context(|| format!("opening seccomp profile ({file}) failed"))?;
                    settings.seccomp = Seccomp::Profile(text);
                }
                _ => bail!(UsageError(format!("--security-opt {option} is not supported"))),
            }
        }
        if self.network == "host" {
            settings.network = Network::Host;
            settings.hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
        if let Some(name) = &self.hostname {
            settings.hostname.clone_from(name);
        }
        self.network_files(&mut settings, place)?;
        Ok(settings)
    }

    /// The entry point and the command, by docker's rules.
    fn arguments(&self, found: &Found, command: &[String]) -> Vec<String> {
        let list = |list: &snapshot::schema::gojson::StrSlice| list.0.clone().unwrap_or_default();
        let (own, default) = (list(&found.config.entrypoint), list(&found.config.cmd));
        let mut arguments = match &self.entrypoint {
            Some(program) if program.is_empty() => Vec::new(),
            Some(program) => vec![program.clone()],
            None => own,
        };
        if command.is_empty() && self.entrypoint.is_none() {
            arguments.extend(default);
        }
        arguments.extend(command.iter().cloned());
        arguments
    }

    fn resources(&self) -> Resources {
        let memory = self.memory.unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, reason = "a number of processors fits")]
        let nano_cpus = self.cpus.map_or(0, |cpus| (cpus * 1e9) as i64);
        // As docker sets it: as much swap space as memory.
        Resources { memory, memory_swap: memory * 2, nano_cpus, pids_limit: self.pids_limit, ..Resources::default() }
    }

    fn network_files(&self, settings: &mut Settings, place: &Place) -> anyhow::Result<()> {
        let dir = place.dir("files")?;
        let write = |name: &str, text: String| -> anyhow::Result<Option<PathBuf>> {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            Ok(Some(path))
        };
        let host = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let hosts = if self.network == "host" { host("/etc/hosts") } else { HOSTS.to_owned() };
        settings.network_files.hosts = write("hosts", hosts)?;
        settings.network_files.hostname = write("hostname", format!("{}\n", settings.hostname))?;
        settings.network_files.resolv_conf = write("resolv.conf", host("/etc/resolv.conf"))?;
        Ok(())
    }

    /// Control groups are only made for limits: without them nothing can stay, however this ends, and devices are kept away
    /// by the mounts.
    pub(super) fn finish(&self, spec: &mut oci::Spec) {
        let limited = self.memory.is_some() || self.cpus.is_some() || self.pids_limit.is_some();
        if let Some(mut linux) = spec.linux().clone() {
            let group = PathBuf::from(format!("/layer-run/{}", std::process::id()));
            linux.set_cgroups_path(limited.then_some(group));
            if place::in_user_namespace()
                && let Some(sysctl) = linux.sysctl_mut()
            {
                // In a user namespace, not all groups of this range have a number (moby v20.10.24 `daemon/oci_linux.go`
                // leaves the setting out, too).
                sysctl.remove("net.ipv4.ping_group_range");
            }
            spec.set_linux(Some(linux));
        }
    }
}

/// What docker writes for containers without a network.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                     ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

fn new_id() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("drawing an id")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The given variables, and those of the image that are not given. A name alone takes the caller's value.
fn environment(given: &[String], image: &[String]) -> Vec<String> {
    let name = |text: &str| text.split_once('=').map_or(text, |(name, _)| name).to_owned();
    let mut known = HashSet::new();
    // The last of a name counts, and keeps its place.
    let mut all: Vec<String> = given.iter().rev().filter(|variable| known.insert(name(variable))).cloned().collect();
    all.reverse();
    for variable in all.iter_mut().filter(|variable| !variable.contains('=')) {
        if let Ok(value) = std::env::var(&*variable) {
            *variable = format!("{variable}={value}");
        }
    }
    all.extend(image.iter().filter(|variable| !known.contains(&name(variable))).cloned());
    all
}

fn parse_volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts[..] {
        [host, container] => (host, container, ""),
        [host, container, mode] => (host, container, mode),
        _ => return Err("want HOST:CONTAINER[:ro]".to_owned()),
    };
    if !container.starts_with('/') || container == "/" {
        return Err(format!("{container}: not the absolute path of a directory or file in the container"));
    }
    if !matches!(mode, "" | "ro" | "rw") {
        return Err(format!("invalid mode: {mode}"));
    }
    let source = fs::canonicalize(host).map_err(|error| format!("{host}: {error}"))?;
    let kind = MountKind::Bind { source, propagation: Some("rprivate".to_owned()), non_recursive: false };
    Ok(Mount { destination: container.to_owned(), kind, readonly: mode == "ro" })
}

fn parse_tmpfs(text: &str) -> Result<Mount, String> {
    let (dir, options) = text.split_once(':').unwrap_or((text, ""));
    if !dir.starts_with('/') || dir == "/" {
        return Err(format!("{dir}: not the absolute path of a directory in the container"));
    }
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Ok(Mount { destination: dir.to_owned(), kind: MountKind::Tmpfs { options }, readonly: false })
}

/// `64m`, as docker has it.
fn parse_bytes(text: &str) -> Result<i64, String> {
    let bytes = docker_format::size::ram_in_bytes(text).ok_or_else(|| format!("invalid size: '{text}'"))?;
    if bytes < 6 << 20 { Err("Minimum memory limit allowed is 6MB".to_owned()) } else { Ok(bytes) }
}

fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or("want NAME=SOFT[:HARD]")?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse().map_err(|_| format!("{text}: not a number"));
    Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}
