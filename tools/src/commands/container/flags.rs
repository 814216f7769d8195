//! The flags of `create` and `run` (docker/cli v20.10.24 `cli/command/container/opts.go`, `opts/`). What docker's client makes of
//! them is in `request.rs`, and how their values are written in `values.rs`.

mod checks;
mod request;
mod values;

use crate::registries::SourceFlags;
use crate::unsupported::unsupported;
pub(crate) use values::{environment, pairs};

unsupported! {
    struct Unsupported;
    switches: disable_content_trust quiet -'q' use_api_socket;
    values: annotation blkio_weight_device cpu_count cpu_percent cpu_rt_period cpu_rt_runtime device_read_bps device_read_iops
        device_write_bps device_write_iops gpus health_start_interval io_maxbandwidth io_maxiops ip ip6 isolation kernel_memory
        link link_local_ip network_alias storage_opt userns
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pull {
    /// Before anything else
    Always,
    /// If the store has none of this name, or one for another platform
    Missing,
    /// Not at all
    Never,
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
    #[arg(long, default_value_t = 0, hide_default_value = true, allow_hyphen_values = true)]
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
    #[arg(long, default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    cpu_period: i64,
    /// Processor quota in microseconds
    #[arg(long, default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    cpu_quota: i64,
    /// Share of the processors
    #[arg(short = 'c', long, default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    cpu_shares: i64,
    /// Number of processors
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    cpus: Option<String>,
    /// Processors to run on: 0-3, 0,1
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    cpuset_cpus: String,
    /// Memory nodes to run on
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
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
    #[arg(long, value_name = "DOMAIN", allow_hyphen_values = true)]
    dns_search: Vec<String>,
    /// Name of the domain
    #[arg(long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
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
    #[arg(long, value_name = "GROUP", allow_hyphen_values = true)]
    group_add: Vec<String>,
    /// Command that tells whether the container is healthy
    #[arg(long, value_name = "COMMAND", default_value = "", hide_default_value = true)]
    health_cmd: String,
    /// Time between two checks
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true, allow_hyphen_values = true)]
    health_interval: String,
    /// Failures in a row that count
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    health_retries: i64,
    /// Time to start up
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true, allow_hyphen_values = true)]
    health_start_period: String,
    /// How long a check may take
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true, allow_hyphen_values = true)]
    health_timeout: String,
    /// Name of the host
    #[arg(short = 'h', long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
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
    #[arg(short, long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory that is kept free for others
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
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
    #[arg(long, allow_hyphen_values = true)]
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
    /// Platform that the image must be for
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Give the container all rights
    #[arg(long)]
    privileged: bool,
    /// Publish a port: written down for dockerd, without effect here
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish all ports: written down for dockerd, without effect here
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// When the image is fetched from its registry
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) pull: Pull,
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
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    shm_size: Option<String>,
    /// Signal by which it is stopped
    #[arg(long, value_name = "SIGNAL", default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds until it is killed
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
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
    #[arg(short, long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
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

    #[command(flatten)]
    unsupported: Unsupported,

    #[command(flatten, next_help_heading = "The registry of --pull")]
    pub(crate) registry: SourceFlags,

    /// The image, by name or id
    image: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}
