//! The flags of `create` and `run`, and what docker's client makes of them (docker/cli v20.10.24
//! `cli/command/container/opts.go`, `opts/`).

use std::collections::BTreeMap;

use containers::Request;
use snapshot::schema::containerfile::{
    BindOptions, DeviceMapping, HostConfig, ServiceMount, TmpfsOptions, Ulimit, VolumeOptions,
};
use snapshot::schema::gojson::{Empty, StrSlice};
use snapshot::schema::runconfig::{HealthConfig, RunConfig};

use crate::exit::UsageError;

/// Flags of docker's that need a daemon, or that nobody has needed yet.
const UNSUPPORTED: [&str; 22] = [
    "blkio-weight-device",
    "cpu-count",
    "cpu-percent",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "detach-keys",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "disable-content-trust",
    "gpus",
    "io-maxbandwidth",
    "io-maxiops",
    "ip",
    "ip6",
    "isolation",
    "kernel-memory",
    "link",
    "link-local-ip",
    "network-alias",
    "userns",
];

/// Refuses a flag of docker's by its name.
pub(crate) fn refuse_unsupported(arguments: &[String]) -> Result<(), UsageError> {
    for argument in arguments {
        let Some(name) = argument.strip_prefix("--") else { continue };
        let name = name.split('=').next().unwrap_or_default();
        if UNSUPPORTED.contains(&name) {
            return Err(UsageError(format!("--{name} is a flag of docker that is not supported here")));
        }
    }
    Ok(())
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CreateFlags {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Add a line to /etc/hosts: NAME:IP
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM")]
    pub(crate) attach: Vec<String>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    blkio_weight: u16,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Parent of the container's control group
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    cgroup_parent: String,
    /// Namespace of control groups: host or private
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    cgroupns: String,
    /// Write the container's id to a file that does not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<std::path::PathBuf>,
    /// Processor period in microseconds
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    cpu_period: i64,
    /// Processor quota in microseconds
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    cpu_quota: i64,
    /// Share of the processors
    #[arg(short = 'c', long, default_value_t = 0, hide_default_value = true)]
    cpu_shares: i64,
    /// Number of processors
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Processors to run on: 0-3, 0,1
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes to run on
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// Give a device of the host: HOST[:CONTAINER[:rwm]]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Rule for devices
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// A name server
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,
    /// An option of the resolver
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// A search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Name of the domain
    #[arg(long, default_value = "", hide_default_value = true)]
    domainname: String,
    /// Run this instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Set an environment variable: NAME=VALUE, or NAME to pass one on
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<std::path::PathBuf>,
    /// Say that the container listens at a port
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Join another group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Command that tells whether the container is healthy
    #[arg(long, value_name = "COMMAND", default_value = "", hide_default_value = true)]
    health_cmd: String,
    /// Time between two checks
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    health_interval: String,
    /// Failures in a row that count
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    health_retries: i64,
    /// Time to start up
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    health_start_period: String,
    /// How long a check may take
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    health_timeout: String,
    /// Name of the host
    #[arg(short = 'h', long, default_value = "", hide_default_value = true)]
    hostname: String,
    /// Run docker-init as the first process
    #[arg(long)]
    init: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// IPC namespace: private, none or host
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    ipc: String,
    /// Set a label: KEY=VALUE
    #[arg(short, long, value_name = "LABEL")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<std::path::PathBuf>,
    /// Driver of the log: json-file or none
    #[arg(long, value_name = "DRIVER", default_value = "", hide_default_value = true)]
    log_driver: String,
    /// Option of the log: max-size=10m, max-file=3, labels=A,B, env=A,B
    #[arg(long, value_name = "OPTION")]
    log_opt: Vec<String>,
    /// Address of the network card
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    mac_address: String,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Memory that is kept free for others
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// Memory and swap space together, -1 for no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// How eagerly memory is swapped, 0 to 100
    #[arg(long, value_name = "NUMBER", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    memory_swappiness: i64,
    /// Mount something: type=bind|volume|tmpfs,source=...,target=...
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Network: none, which is the default here, or host
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// No health check
    #[arg(long)]
    no_healthcheck: bool,
    /// No process of it is killed where memory is short
    #[arg(long)]
    oom_kill_disable: bool,
    /// How readily its processes are killed where memory is short, -1000 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    oom_score_adj: i64,
    /// PID namespace: host
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pid: String,
    /// Most processes, -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Give the container all rights
    #[arg(long)]
    privileged: bool,
    /// Publish a port: written down for dockerd, without effect here
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish all ports: written down for dockerd, without effect here
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Never pull: nothing is pulled here
    #[arg(long, value_name = "WHEN", default_value = "missing", hide = true)]
    pull: String,
    /// The root file system may only be read
    #[arg(long)]
    read_only: bool,
    /// When dockerd starts it again: no, always, unless-stopped, on-failure[:MOST]
    #[arg(long, value_name = "POLICY", default_value = "", hide_default_value = true)]
    restart: String,
    /// Remove the container when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Runtime: auto, builtin, or a program's name or path
    #[arg(long, default_value = "auto")]
    pub(crate) runtime: String,
    /// Security option
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Signal by which it is stopped
    #[arg(long, value_name = "SIGNAL", default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds until it is killed
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<i64>,
    /// Set a parameter of the kernel
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// A file system in memory: PATH[:OPTIONS]
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// A limit: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// User: NAME|UID[:GROUP|GID]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    user: String,
    /// UTS namespace: host
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    uts: String,
    /// Mount a directory or a volume: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Driver of volumes: local
    #[arg(long, value_name = "DRIVER", default_value = "", hide_default_value = true)]
    volume_driver: String,
    /// Mount the volumes of another container
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// Working directory
    #[arg(short, long, default_value = "", hide_default_value = true)]
    workdir: String,

    /// The image, by name or id
    image: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// docker's message about a flag's value.
fn invalid(flag: &str, value: &str, why: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("invalid argument {value:?} for \"{flag}\" flag: {why}")
}

/// Bytes in powers of 1024, as docker's `-m` has them.
pub(crate) fn bytes(flag: &str, text: &str) -> anyhow::Result<i64> {
    let fail = || invalid(flag, text, format!("invalid size: '{text}'"));
    let lower = text.to_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match number.as_bytes().last() {
        Some(b'k') => (&number[..number.len() - 1], 10),
        Some(b'm') => (&number[..number.len() - 1], 20),
        Some(b'g') => (&number[..number.len() - 1], 30),
        Some(b't') => (&number[..number.len() - 1], 40),
        _ => (number, 0),
    };
    let value: f64 = digits.trim().parse().map_err(|_| fail())?;
    if value.is_sign_negative() || !value.is_finite() {
        return Err(fail());
    }
    Ok((value * (1_i64 << shift) as f64) as i64)
}

/// A Go duration, in nanoseconds.
pub(crate) fn duration(flag: &str, text: &str) -> anyhow::Result<i64> {
    let fail = || invalid(flag, text, format!("time: invalid duration {text:?}"));
    if text == "0" {
        return Ok(0);
    }
    let (mut rest, mut total) = (text, 0.0);
    if rest.is_empty() {
        return Err(fail());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fail)?;
        let value: f64 = rest[..digits].parse().map_err(|_| fail())?;
        rest = &rest[digits..];
        let units = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let (unit, factor) = units
            .into_iter()
            .find(|(unit, _)| {
                rest.strip_prefix(unit)
                    .is_some_and(|left| left.is_empty() || left.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
            })
            .ok_or_else(fail)?;
        rest = &rest[unit.len()..];
        total += value * factor;
    }
    Ok(total as i64)
}

fn pairs(list: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(pair).collect()
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn lines_of(files: &[std::path::PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        let text =
            std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("open {}: {}", path.display(), error))?;
        let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
        all.extend(lines.map(str::to_owned));
    }
    Ok(all)
}

impl CreateFlags {
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// What docker's client asks the daemon for.
    pub(crate) fn request(&self, detach: bool, is_run: bool) -> anyhow::Result<Request> {
        refuse_unsupported(&std::env::args().take_while(|argument| *argument != self.image).collect::<Vec<_>>())?;
        for stream in &self.attach {
            if !matches!(stream.to_lowercase().as_str(), "stdin" | "stdout" | "stderr") {
                return Err(invalid("-a, --attach", stream, "valid streams are STDIN, STDOUT and STDERR"));
            }
        }
        if !(-1..=100).contains(&self.memory_swappiness) {
            anyhow::bail!("invalid value: {}. Valid memory swappiness range is 0-100", self.memory_swappiness);
        }
        Ok(Request {
            name: self.name.clone().filter(|name| !name.is_empty()),
            config: self.config(detach, is_run)?,
            host: self.host()?,
        })
    }

    fn config(&self, detach: bool, is_run: bool) -> anyhow::Result<RunConfig> {
        let attached = |name: &str| self.attach.iter().any(|stream| stream.eq_ignore_ascii_case(name));
        let given = !self.attach.is_empty();
        let mut env: Vec<String> = Vec::new();
        for text in lines_of(&self.env_file)?.iter().chain(&self.env) {
            if text.is_empty() || text.starts_with('=') {
                return Err(invalid("-e, --env", text, format!("invalid environment variable: {text}")));
            }
            let text = match (text.contains('='), std::env::var(text)) {
                (false, Ok(value)) => format!("{text}={value}"),
                _ => text.clone(),
            };
            let key = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
            env.retain(|known| key(known) != key(&text));
            env.push(text);
        }
        let mut labels = lines_of(&self.label_file)?;
        labels.extend(self.label.clone());
        let volumes: BTreeMap<String, Empty> =
            self.volume.iter().filter(|text| !text.contains(':')).map(|text| (text.clone(), Empty)).collect();
        let mut ports: BTreeMap<String, Empty> = BTreeMap::new();
        for text in &self.expose {
            ports.extend(exposed(text)?.into_iter().map(|port| (port, Empty)));
        }
        for (port, _) in self.published()? {
            ports.insert(port, Empty);
        }
        let stdin = self.interactive && !detach;
        let mut config = RunConfig {
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            user: self.user.clone(),
            attach_stdin: if given { attached("stdin") } else { stdin },
            attach_stdout: if given { attached("stdout") } else { !detach },
            attach_stderr: if given { attached("stderr") } else { !detach },
            exposed_ports: (!ports.is_empty()).then_some(ports),
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: if given { self.interactive && attached("stdin") } else { stdin },
            env: (!env.is_empty()).then_some(env),
            cmd: StrSlice((!self.command.is_empty()).then(|| self.command.clone())),
            image: self.image.clone(),
            volumes: (!volumes.is_empty()).then_some(volumes),
            working_dir: self.workdir.clone(),
            entrypoint: StrSlice(self.entrypoint.clone().map(|program| vec![program])),
            mac_address: self.mac_address.clone(),
            labels: Some(pairs(&labels)),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            ..RunConfig::default()
        };
        let _ = is_run;
        config.healthcheck = self.health()?;
        Ok(config)
    }

    fn health(&self) -> anyhow::Result<Option<HealthConfig>> {
        if self.no_healthcheck {
            if !self.health_cmd.is_empty() {
                anyhow::bail!("--no-healthcheck conflicts with --health-* options");
            }
            return Ok(Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }));
        }
        let health = HealthConfig {
            test: (!self.health_cmd.is_empty()).then(|| vec!["CMD-SHELL".to_owned(), self.health_cmd.clone()]),
            interval: duration("--health-interval", &self.health_interval)?,
            timeout: duration("--health-timeout", &self.health_timeout)?,
            start_period: duration("--health-start-period", &self.health_start_period)?,
            retries: self.health_retries,
        };
        Ok((health != HealthConfig::default()).then_some(health))
    }

    fn host(&self) -> anyhow::Result<HostConfig> {
        let mut host = HostConfig {
            binds: some(&self.volume.iter().filter(|text| text.contains(':')).cloned().collect::<Vec<_>>()),
            network_mode: self.network.clone().unwrap_or_else(|| "none".into()),
            auto_remove: self.rm,
            volume_driver: self.volume_driver.clone(),
            volumes_from: some(&self.volumes_from),
            cap_add: StrSlice(some(&self.cap_add)),
            cap_drop: StrSlice(some(&self.cap_drop)),
            cgroupns_mode: self.cgroupns.clone(),
            dns: Some(self.dns.clone()),
            dns_options: Some(self.dns_option.clone()),
            dns_search: Some(self.dns_search.clone()),
            extra_hosts: some(&self.add_host),
            group_add: some(&self.group_add),
            ipc_mode: self.ipc.clone(),
            oom_score_adj: self.oom_score_adj,
            pid_mode: self.pid.clone(),
            privileged: self.privileged,
            publish_all_ports: self.publish_all,
            readonly_rootfs: self.read_only,
            uts_mode: self.uts.clone(),
            cpu_shares: self.cpu_shares,
            cgroup_parent: self.cgroup_parent.clone(),
            blkio_weight: self.blkio_weight,
            blkio_weight_device: Some(Vec::new()),
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            device_cgroup_rules: some(&self.device_cgroup_rule),
            pids_limit: self.pids_limit.filter(|limit| *limit != 0),
            memory_swappiness: (self.memory_swappiness != -1).then_some(self.memory_swappiness),
            init: self.init.then_some(true),
            ..HostConfig::default()
        };
        host.log_config.kind.clone_from(&self.log_driver);
        host.log_config.config = Some(pairs(&self.log_opt));
        if self.oom_kill_disable {
            host.oom_kill_disable = Some(true);
        }
        if let Some(text) = &self.cpus {
            let value: f64 =
                text.parse().map_err(|_| invalid("--cpus", text, "failed to parse as a rational number"))?;
            host.nano_cpus = (value * 1e9).round() as i64;
        }
        if let Some(text) = &self.memory {
            host.memory = bytes("-m, --memory", text)?;
        }
        if let Some(text) = &self.memory_reservation {
            host.memory_reservation = bytes("--memory-reservation", text)?;
        }
        match self.memory_swap.as_deref() {
            Some("-1") => host.memory_swap = -1,
            Some(text) => host.memory_swap = bytes("--memory-swap", text)?,
            None => {}
        }
        if let Some(text) = &self.shm_size {
            host.shm_size = bytes("--shm-size", text)?;
        }
        host.port_bindings = Some(BTreeMap::new());
        for (port, binding) in self.published()? {
            let bindings = host.port_bindings.get_or_insert_default();
            bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
        self.restart_policy(&mut host)?;
        self.security(&mut host)?;
        for text in &self.add_host {
            let address = text.split_once(':').map(|(_, address)| address);
            if address.is_none_or(|address| address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err()) {
                let why = match address {
                    None => format!("bad format for add-host: {text:?}"),
                    Some(address) => format!("invalid IP address in add-host: {address:?}"),
                };
                return Err(invalid("--add-host", text, why));
            }
        }
        for text in &self.dns {
            if text.trim().parse::<std::net::IpAddr>().is_err() {
                return Err(invalid("--dns", text, format!("{text} is not an ip address")));
            }
        }
        if !self.tmpfs.is_empty() {
            let pair = |text: &String| {
                let (path, options) = text.split_once(':').unwrap_or((text, ""));
                (path.to_owned(), options.to_owned())
            };
            host.tmpfs = Some(self.tmpfs.iter().map(pair).collect());
        }
        if !self.sysctl.is_empty() {
            for text in &self.sysctl {
                if !text.contains('=') {
                    return Err(invalid("--sysctl", text, format!("sysctl '{text}' is not allowed")));
                }
            }
            host.sysctls = Some(pairs(&self.sysctl));
        }
        host.devices = Some(self.device.iter().map(|text| device(text)).collect::<anyhow::Result<_>>()?);
        if !self.ulimit.is_empty() {
            let mut limits: BTreeMap<String, Ulimit> = BTreeMap::new();
            for text in &self.ulimit {
                let limit = ulimit(text)?;
                limits.insert(limit.name.clone(), limit);
            }
            host.ulimits = Some(limits.into_values().map(Some).collect());
        }
        if !self.mount.is_empty() {
            host.mounts = Some(self.mount.iter().map(|text| mount(text)).collect::<anyhow::Result<_>>()?);
        }
        Ok(host)
    }

    fn restart_policy(&self, host: &mut HostConfig) -> anyhow::Result<()> {
        let (name, most) = self.restart.split_once(':').unwrap_or((&self.restart, ""));
        host.restart_policy.name = if name.is_empty() { "no".into() } else { name.to_owned() };
        if !most.is_empty() {
            host.restart_policy.maximum_retry_count = most.parse().map_err(|_| {
                anyhow::anyhow!("invalid restart policy format: maximum retry count must be an integer")
            })?;
        }
        if self.rm && !matches!(host.restart_policy.name.as_str(), "no" | "") {
            anyhow::bail!("Conflicting options: --restart and --rm");
        }
        Ok(())
    }

    fn security(&self, host: &mut HostConfig) -> anyhow::Result<()> {
        let mut options = Vec::new();
        for text in &self.security_opt {
            let (name, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
            match (name, value) {
                ("systempaths", "unconfined") => {
                    (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
                }
                ("seccomp", file) if file != "unconfined" => {
                    let bytes = std::fs::read(file)
                        .map_err(|error| anyhow::anyhow!("opening seccomp profile ({file}) failed: {error}"))?;
                    let profile: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
                        anyhow::anyhow!("compacting json for seccomp profile ({file}) failed: {error}")
                    })?;
                    options.push(format!("seccomp={profile}"));
                }
                _ => options.push(text.clone()),
            }
        }
        if !self.security_opt.is_empty() {
            host.security_opt = Some(options);
        }
        Ok(())
    }

    /// Ports of the container with where they are published.
    fn published(&self) -> anyhow::Result<Vec<(String, snapshot::schema::containerfile::PortBinding)>> {
        let mut all = Vec::new();
        for text in &self.publish {
            let fail = || anyhow::anyhow!("Invalid containerPort: {text}");
            let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
            let mut parts = rest.rsplitn(3, ':');
            let inner = parts.next().unwrap_or_default();
            let outer = parts.next().unwrap_or_default();
            let address = parts.next().unwrap_or_default().trim_matches(['[', ']']);
            let (first, last) = range(inner).ok_or_else(fail)?;
            let (host_first, host_last) = if outer.is_empty() { (0, 0) } else { range(outer).ok_or_else(fail)? };
            if host_first != 0 && last - first != host_last - host_first && last != first {
                anyhow::bail!("Invalid ranges specified for container and host Ports: {inner} and {outer}");
            }
            for number in first..=last {
                let port = match host_first {
                    0 => String::new(),
                    _ if first == last && host_first != host_last => outer.to_owned(),
                    _ => (host_first + (number - first)).to_string(),
                };
                let binding = snapshot::schema::containerfile::PortBinding { ip: address.to_owned(), port };
                all.push((format!("{number}/{protocol}"), binding));
            }
        }
        Ok(all)
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && first > 0).then_some((first, last))
}

fn exposed(text: &str) -> anyhow::Result<Vec<String>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range(ports).ok_or_else(|| anyhow::anyhow!("invalid range format for --expose: {text}"))?;
    Ok((first..=last).map(|number| format!("{number}/{protocol}")).collect())
}

fn device(text: &str) -> anyhow::Result<DeviceMapping> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
    let (host, container, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] => (host, container, mode),
        _ => anyhow::bail!("invalid device specification: {text}"),
    };
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

fn ulimit(text: &str) -> anyhow::Result<Ulimit> {
    let fail = |why: String| invalid("--ulimit", text, why);
    let (name, values) = text.split_once('=').ok_or_else(|| fail(format!("invalid ulimit argument: {text}")))?;
    if !runtime::spec::LIMITS.contains(&name) {
        return Err(fail(format!("invalid ulimit type: {name}")));
    }
    let number = |value: &str| {
        value.parse::<i64>().map_err(|_| fail(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")))
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && soft > hard {
        return Err(fail(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

fn mount(text: &str) -> anyhow::Result<ServiceMount> {
    let fail = |why: String| invalid("--mount", text, why);
    let mut mount = ServiceMount { kind: "volume".into(), ..ServiceMount::default() };
    let mut bind = BindOptions::default();
    let mut volume = VolumeOptions::default();
    let mut tmpfs = TmpfsOptions::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let key = key.to_lowercase();
        let flag = || match value {
            None => Ok(true),
            Some(value) => {
                crate::flags::parse_bool(value).map_err(|_| fail(format!("invalid value for {key}: {}", value)))
            }
        };
        match (key.as_str(), value) {
            ("readonly" | "ro", _) => mount.read_only = flag()?,
            ("volume-nocopy", _) => volume.no_copy = flag()?,
            ("bind-nonrecursive", _) => bind.non_recursive = flag()?,
            (_, None) => return Err(fail(format!("invalid field '{field}' must be a key=value pair"))),
            ("type", Some(value)) => mount.kind = value.to_lowercase(),
            ("source" | "src", Some(value)) => mount.source = value.to_owned(),
            ("target" | "dst" | "destination", Some(value)) => mount.target = value.to_owned(),
            ("consistency", Some(value)) => mount.consistency = value.to_lowercase(),
            ("bind-propagation", Some(value)) => bind.propagation = value.to_lowercase(),
            ("volume-label", Some(value)) => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                volume.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
            }
            ("volume-driver", Some(value)) => volume.driver_config.get_or_insert_default().name = value.to_owned(),
            ("tmpfs-size", Some(value)) => tmpfs.size_bytes = bytes("--mount", value)?,
            ("tmpfs-mode", Some(value)) => {
                tmpfs.mode =
                    u32::from_str_radix(value, 8).map_err(|_| fail(format!("invalid value for {key}: {value}")))?;
            }
            (key, Some(_)) => return Err(fail(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if mount.target.is_empty() {
        return Err(fail("target is required".into()));
    }
    mount.bind_options = (bind != BindOptions::default()).then_some(bind);
    mount.volume_options = (volume != VolumeOptions::default()).then_some(volume);
    mount.tmpfs_options = (tmpfs != TmpfsOptions::default()).then_some(tmpfs);
    for (kind, is_set) in [
        ("bind", mount.bind_options.is_some()),
        ("volume", mount.volume_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ] {
        if is_set && mount.kind != kind {
            return Err(fail(format!("cannot mix '{kind}-*' options with mount type '{}'", mount.kind)));
        }
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_docker_s() {
        for (text, expected) in [("64m", 64 << 20), ("1.5k", 1536), ("7", 7), ("1GiB", 1 << 30), ("2b", 2)] {
            assert_eq!(bytes("-m", text).unwrap(), expected, "{text}");
        }
        assert!(bytes("-m", "abc").is_err() && bytes("-m", "").is_err() && bytes("-m", "-1k").is_err());
        for (text, expected) in [("1s", 1_000_000_000), ("1m30s", 90_000_000_000), ("1.5ms", 1_500_000), ("0", 0)] {
            assert_eq!(duration("--x", text).unwrap(), expected, "{text}");
        }
        assert!(duration("--x", "1").is_err() && duration("--x", "s").is_err() && duration("--x", "1x").is_err());
    }
}
