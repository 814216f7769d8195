//! What somebody wants of a container, in the terms of Docker's commands and files.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a container is to be: what `config.v2.json` and `hostconfig.json` say of it, with its files on the host resolved.
///
/// [`spec::make`](crate::spec::make) turns it into what dockerd tells its runtime for the same container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The container's id, 64 hexadecimal digits; it names the control group.
    pub id: String,
    /// The root file system, mounted.
    pub rootfs: PathBuf,
    /// `Path` and `Args`: the program and its arguments.
    pub args: Vec<String>,
    /// `Config.Env`: `NAME=value`, already merged with the image's.
    pub env: Vec<String>,
    /// `Config.WorkingDir`; empty for `/`.
    pub cwd: String,
    /// `Config.User`: `name`, `uid`, `name:group`, ...; resolved in the files of the container.
    pub user: String,
    /// `GroupAdd`: more groups, by number or by their name in the container.
    pub group_add: Vec<String>,
    /// `Config.Hostname`; with the host's network, the host's name.
    pub hostname: String,
    /// `Config.Domainname`
    pub domainname: String,
    /// `Config.Tty`
    pub tty: bool,
    /// `CapAdd`, as the user wrote them.
    pub cap_add: Vec<String>,
    /// `CapDrop`, as the user wrote them.
    pub cap_drop: Vec<String>,
    /// `Privileged`
    pub privileged: bool,
    /// `NoNewPrivileges`
    pub no_new_privileges: bool,
    /// The filter of system calls.
    pub seccomp: Seccomp,
    /// `MaskedPaths`; `None` for the default ones.
    pub masked_paths: Option<Vec<String>>,
    /// `ReadonlyPaths`; `None` for the default ones.
    pub readonly_paths: Option<Vec<String>>,
    /// `ReadonlyRootfs`
    pub readonly_rootfs: bool,
    /// Binds, volumes and file systems in memory.
    pub mounts: Vec<Mount>,
    /// The files that Docker mounts at `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts`.
    pub network_files: NetworkFiles,
    /// `Init`: a program of the host that becomes the container's first process.
    pub init: Option<PathBuf>,
    /// `Ulimits`
    pub ulimits: Vec<Ulimit>,
    /// Memory, processors, number of processes.
    pub resources: Resources,
    /// `Devices`
    pub devices: Vec<Device>,
    /// `DeviceCgroupRules`: `c 1:3 rwm`
    pub device_cgroup_rules: Vec<String>,
    /// `Sysctls`
    pub sysctls: BTreeMap<String, String>,
    /// `NetworkMode`
    pub network: Network,
    /// `IpcMode`
    pub ipc: Ipc,
    /// `PidMode` is `host`.
    pub pid_host: bool,
    /// `UTSMode` is `host`.
    pub uts_host: bool,
    /// `CgroupnsMode` is `private`.
    pub cgroup_private: bool,
    /// `ShmSize`, in bytes.
    pub shm_size: i64,
    /// `CgroupParent`; empty for `/docker`.
    pub cgroup_parent: String,
    /// `OomScoreAdj`
    pub oom_score_adj: i32,
}

/// The filter of system calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seccomp {
    /// Docker's own.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// This one: JSON in the form of Docker's profiles.
    Profile(String),
}

/// A mount that the user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it appears in the container, an absolute path.
    pub destination: String,
    /// What appears there.
    pub kind: MountKind,
    /// Whether it may only be read.
    pub readonly: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        source: PathBuf,
        /// How mounts made on one side appear on the other (`rprivate`, `rslave`, ...); `None` for volumes, which have none.
        propagation: Option<String>,
        /// Whether mounts below the source are left out.
        non_recursive: bool,
    },
    /// A file system in memory, from `--tmpfs` or `--mount type=tmpfs`.
    Tmpfs {
        /// Options as in `size=1m,exec`, which go before the default ones.
        options: Vec<String>,
    },
}

/// Files of the host that appear in `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkFiles {
    /// `/etc/resolv.conf`
    pub resolv_conf: Option<PathBuf>,
    /// `/etc/hostname`
    pub hostname: Option<PathBuf>,
    /// `/etc/hosts`
    pub hosts: Option<PathBuf>,
}

/// A limit of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// As `ulimit` has it: `nofile`.
    pub name: String,
    /// The limit that a process may raise; -1 for none.
    pub soft: i64,
    /// How far; -1 for no limit.
    pub hard: i64,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its path on the host.
    pub host: PathBuf,
    /// Its path in the container.
    pub container: String,
    /// What may be done with it: `rwm`.
    pub access: String,
}

/// Limits of a control group. Zero, or `None`, for no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// `Memory`, in bytes.
    pub memory: i64,
    /// `MemorySwap`: memory and swap space together, in bytes; -1 for no limit of swap space.
    pub memory_swap: i64,
    /// `MemoryReservation`, in bytes.
    pub memory_reservation: i64,
    /// `MemorySwappiness`
    pub memory_swappiness: Option<i64>,
    /// `OomKillDisable`
    pub oom_kill_disable: bool,
    /// `NanoCpus`: processors, in billionths.
    pub nano_cpus: i64,
    /// `CpuShares`
    pub cpu_shares: i64,
    /// `CpuPeriod`, in microseconds.
    pub cpu_period: i64,
    /// `CpuQuota`, in microseconds per period.
    pub cpu_quota: i64,
    /// `CpusetCpus`: `0-2,5`
    pub cpuset_cpus: String,
    /// `CpusetMems`
    pub cpuset_mems: String,
    /// `PidsLimit`
    pub pids_limit: Option<i64>,
    /// `BlkioWeight`
    pub blkio_weight: u16,
}

/// Which network a container has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// A loop-back device and nothing else.
    #[default]
    None,
    /// The host's.
    Host,
}

/// Which queues, semaphores and shared memory a container has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ipc {
    /// Its own.
    #[default]
    Private,
    /// Its own, without `/dev/shm`.
    None,
    /// Its own, and `/dev/shm` is this directory of the host, so that other containers can have it, too.
    Shareable(PathBuf),
    /// The host's.
    Host,
}

impl Settings {
    /// What `docker run --network none` begins with: nothing is set but what is given.
    #[must_use]
    pub fn new(id: &str, rootfs: impl Into<PathBuf>, args: Vec<String>) -> Self {
        Self {
            id: id.to_owned(),
            rootfs: rootfs.into(),
            args,
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            group_add: Vec::new(),
            hostname: id.chars().take(12).collect(),
            domainname: String::new(),
            tty: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            masked_paths: None,
            readonly_paths: None,
            readonly_rootfs: false,
            mounts: Vec::new(),
            network_files: NetworkFiles::default(),
            init: None,
            ulimits: Vec::new(),
            resources: Resources::default(),
            devices: Vec::new(),
            device_cgroup_rules: Vec::new(),
            sysctls: BTreeMap::new(),
            network: Network::None,
            ipc: Ipc::Private,
            pid_host: false,
            uts_host: false,
            cgroup_private: false,
            shm_size: 64 << 20,
            cgroup_parent: String::new(),
            oom_score_adj: 0,
        }
    }
}
