//! The structs into which dockerd decodes a container's files, and from which it writes them. Every field of dockerd's
//! is here with its type, since a value of the wrong type keeps dockerd from loading the container. A file that dockerd
//! 20.10 wrote is written again byte for byte.
//!
//! Follows moby v20.10.24 `container/container.go`, `container/state.go`, `volume/mounts/mounts.go`,
//! `daemon/network/settings.go`, `api/types/container/host_config.go`, `api/types/mount/mount.go`.

#![expect(missing_docs, reason = "the fields have docker's names, and docker's API describes them")]

use std::collections::BTreeMap;

use super::gojson::{Decode, DecodeError, Empty, Encode, Expected, JsonDecoder, StrSlice};
use super::runconfig::RunConfig;
use super::time::Time;
use crate::go_file;

type Texts = Option<Vec<String>>;
type TextMap = Option<BTreeMap<String, String>>;

/// A pointer that dockerd sets before it decodes the file: if the key is missing, the value set before stays; `null`
/// removes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset<T>(pub Option<T>);

impl<T: Default> Default for Preset<T> {
    fn default() -> Self {
        Self(Some(T::default()))
    }
}

impl<T: Decode> Decode for Preset<T> {
    fn expected() -> Expected {
        T::expected()
    }

    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        self.0.value(decoder)
    }
}

/// A text that has a default before dockerd decodes the file: `None` if the key is missing or `null`, so that the
/// default stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Given(pub Option<String>);

impl Decode for Given {
    fn expected() -> Expected {
        Expected::Text
    }

    fn string(&mut self, raw: &[u8], decoder: &mut JsonDecoder<'_>) {
        self.0.get_or_insert_default().string(raw, decoder);
    }
}

go_file! {
    /// `config.v2.json` (`container.Container`).
    pub struct ConfigFile {
        pub stream_config: Preset<Empty> = "StreamConfig",
        pub state: Preset<StateFile> = "State",
        pub id: Given = "ID",
        pub created: Time = "Created",
        pub managed: bool = "Managed",
        pub path: String = "Path",
        pub args: Vec<String> = "Args",
        pub config: Option<RunConfig> = "Config",
        pub image: String = "Image",
        pub network_settings: Option<NetworkSettings> = "NetworkSettings",
        pub log_path: String = "LogPath",
        pub name: String = "Name",
        pub driver: String = "Driver",
        pub os: String = "OS",
        pub mount_label: String = "MountLabel",
        pub process_label: String = "ProcessLabel",
        pub restart_count: i64 = "RestartCount",
        pub has_been_started_before: bool = "HasBeenStartedBefore",
        pub has_been_manually_stopped: bool = "HasBeenManuallyStopped",
        pub mount_points: BTreeMap<String, Option<MountPointFile>> = "MountPoints",
        pub secret_references: Option<Vec<Option<SecretReference>>> = "SecretReferences",
        pub config_references: Option<Vec<Option<ConfigReference>>> = "ConfigReferences",
        pub app_armor_profile: String = "AppArmorProfile",
        pub hostname_path: String = "HostnamePath",
        pub hosts_path: String = "HostsPath",
        pub shm_path: String = "ShmPath",
        pub resolv_conf_path: String = "ResolvConfPath",
        pub seccomp_profile: String = "SeccompProfile",
        pub no_new_privileges: bool = "NoNewPrivileges",
        pub local_log_cache_meta: LocalLogCacheMeta = "LocalLogCacheMeta",
    }
}

go_file! {
    pub struct LocalLogCacheMeta { pub have_notify_enabled: bool = "HaveNotifyEnabled" }
}

go_file! {
    /// `State` (`container.State`).
    pub struct StateFile {
        pub running: bool = "Running",
        pub paused: bool = "Paused",
        pub restarting: bool = "Restarting",
        pub oom_killed: bool = "OOMKilled",
        pub removing: bool = "RemovalInProgress",
        pub dead: bool = "Dead",
        pub pid: i64 = "Pid",
        pub exit_code: i64 = "ExitCode",
        pub error: String = "Error",
        pub started: Time = "StartedAt",
        pub finished: Time = "FinishedAt",
        pub health: Option<HealthFile> = "Health",
    }
}

go_file! {
    /// `State.Health` (`types.Health`).
    pub struct HealthFile {
        pub status: String = "Status",
        pub failing_streak: i64 = "FailingStreak",
        pub log: Option<Vec<Option<HealthcheckResult>>> = "Log",
    }
}

go_file! {
    pub struct HealthcheckResult {
        pub start: Time = "Start",
        pub end: Time = "End",
        pub exit_code: i64 = "ExitCode",
        pub output: String = "Output",
    }
}

go_file! {
    /// A value of `MountPoints` (`mounts.MountPoint`).
    pub struct MountPointFile {
        pub source: String = "Source",
        pub destination: String = "Destination",
        pub rw: bool = "RW",
        pub name: String = "Name",
        pub driver: String = "Driver",
        pub kind: String = "Type" omitempty,
        pub mode: String = "Relabel" omitempty,
        pub propagation: String = "Propagation" omitempty,
        pub id: String = "ID" omitempty,
        pub spec: ServiceMount = "Spec",
        pub skip_mountpoint_creation: bool = "SkipMountpointCreation",
    }
}

go_file! {
    /// `mount.Mount`
    pub struct ServiceMount {
        pub kind: String = "Type" omitempty,
        pub source: String = "Source" omitempty,
        pub target: String = "Target" omitempty,
        pub read_only: bool = "ReadOnly" omitempty,
        pub consistency: String = "Consistency" omitempty,
        pub bind_options: Option<BindOptions> = "BindOptions" omitempty,
        pub volume_options: Option<VolumeOptions> = "VolumeOptions" omitempty,
        pub tmpfs_options: Option<TmpfsOptions> = "TmpfsOptions" omitempty,
    }
}

go_file! {
    pub struct BindOptions { pub propagation: String = "Propagation" omitempty, pub non_recursive: bool = "NonRecursive" omitempty }
}

go_file! {
    pub struct VolumeOptions {
        pub no_copy: bool = "NoCopy" omitempty,
        pub labels: TextMap = "Labels" omitnil,
        pub driver_config: Option<DriverConfig> = "DriverConfig" omitempty,
    }
}

go_file! {
    pub struct DriverConfig { pub name: String = "Name" omitempty, pub options: TextMap = "Options" omitnil }
}

go_file! {
    pub struct TmpfsOptions { pub size_bytes: i64 = "SizeBytes" omitempty, pub mode: u32 = "Mode" omitempty }
}

go_file! {
    /// `NetworkSettings` (`network.Settings`).
    pub struct NetworkSettings {
        pub bridge: String = "Bridge",
        pub sandbox_id: String = "SandboxID",
        pub hairpin_mode: bool = "HairpinMode",
        pub link_local_ipv6_address: String = "LinkLocalIPv6Address",
        pub link_local_ipv6_prefix_len: i64 = "LinkLocalIPv6PrefixLen",
        pub networks: Option<BTreeMap<String, Option<EndpointSettings>>> = "Networks",
        pub service: Option<ServiceConfig> = "Service",
        pub ports: Option<BTreeMap<String, Option<Vec<PortBinding>>>> = "Ports",
        pub sandbox_key: String = "SandboxKey",
        pub secondary_ip_addresses: Option<Vec<Address>> = "SecondaryIPAddresses",
        pub secondary_ipv6_addresses: Option<Vec<Address>> = "SecondaryIPv6Addresses",
        pub is_anonymous_endpoint: bool = "IsAnonymousEndpoint",
        pub has_swarm_endpoint: bool = "HasSwarmEndpoint",
    }
}

go_file! {
    /// Where a port is published (`nat.PortBinding`).
    pub struct PortBinding { pub ip: String = "HostIp", pub port: String = "HostPort" }
}

go_file! {
    pub struct EndpointSettings {
        pub ipam_config: Option<EndpointIpamConfig> = "IPAMConfig",
        pub links: Texts = "Links",
        pub aliases: Texts = "Aliases",
        pub network_id: String = "NetworkID",
        pub endpoint_id: String = "EndpointID",
        pub gateway: String = "Gateway",
        pub ip_address: String = "IPAddress",
        pub ip_prefix_len: i64 = "IPPrefixLen",
        pub ipv6_gateway: String = "IPv6Gateway",
        pub global_ipv6_address: String = "GlobalIPv6Address",
        pub global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
        pub mac_address: String = "MacAddress",
        pub driver_opts: TextMap = "DriverOpts",
        pub ipam_operational: bool = "IPAMOperational",
    }
}

go_file! {
    pub struct EndpointIpamConfig {
        pub ipv4_address: String = "IPv4Address" omitempty,
        pub ipv6_address: String = "IPv6Address" omitempty,
        pub link_local_ips: Texts = "LinkLocalIPs" omitnil,
    }
}

go_file! {
    pub struct Address { pub addr: String = "Addr", pub prefix_len: i64 = "PrefixLen" }
}

go_file! {
    pub struct ServiceConfig {
        pub id: String = "ID",
        pub name: String = "Name",
        pub aliases: Option<BTreeMap<String, Vec<String>>> = "Aliases",
        pub virtual_addresses: Option<BTreeMap<String, Option<VirtualAddress>>> = "VirtualAddresses",
        pub exposed_ports: Option<Vec<Option<PortConfig>>> = "ExposedPorts",
    }
}

go_file! {
    pub struct VirtualAddress { pub ipv4: String = "IPv4", pub ipv6: String = "IPv6" }
}

go_file! {
    pub struct PortConfig {
        pub name: String = "Name",
        pub protocol: i32 = "Protocol",
        pub target_port: u32 = "TargetPort",
        pub published_port: u32 = "PublishedPort",
    }
}

go_file! {
    pub struct ReferenceTarget { pub name: String = "Name", pub uid: String = "UID", pub gid: String = "GID", pub mode: u32 = "Mode" }
}

go_file! {
    pub struct SecretReference {
        pub file: Option<ReferenceTarget> = "File",
        pub secret_id: String = "SecretID",
        pub secret_name: String = "SecretName",
    }
}

go_file! {
    pub struct ConfigReference {
        pub file: Option<ReferenceTarget> = "File",
        pub runtime: Option<Empty> = "Runtime",
        pub config_id: String = "ConfigID",
        pub config_name: String = "ConfigName",
    }
}

/// `hostconfig.json`: dockerd decodes it into a pointer to a fresh `container.HostConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfigFile(pub Option<HostConfig>);

impl Default for HostConfigFile {
    fn default() -> Self {
        Self(Some(HostConfig::default()))
    }
}

impl<T: Encode> Encode for Preset<T> {
    fn encode(&self, out: &mut String) {
        self.0.encode(out);
    }
}

impl Encode for Given {
    fn encode(&self, out: &mut String) {
        self.0.as_deref().unwrap_or_default().to_owned().encode(out);
    }
}

impl Decode for HostConfigFile {
    fn expected() -> Expected {
        Expected::Object
    }

    fn value(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        self.0.value(decoder)
    }
}

go_file! {
    /// What a container was given of the host (`container.HostConfig`, with `container.Resources` in it).
    pub struct HostConfig {
        pub binds: Texts = "Binds",
        pub container_id_file: String = "ContainerIDFile",
        pub log_config: LogConfig = "LogConfig",
        pub network_mode: String = "NetworkMode",
        pub port_bindings: Option<BTreeMap<String, Option<Vec<PortBinding>>>> = "PortBindings",
        pub restart_policy: RestartPolicy = "RestartPolicy",
        pub auto_remove: bool = "AutoRemove",
        pub volume_driver: String = "VolumeDriver",
        pub volumes_from: Texts = "VolumesFrom",
        pub cap_add: StrSlice = "CapAdd",
        pub cap_drop: StrSlice = "CapDrop",
        pub cgroupns_mode: String = "CgroupnsMode",
        pub dns: Texts = "Dns",
        pub dns_options: Texts = "DnsOptions",
        pub dns_search: Texts = "DnsSearch",
        pub extra_hosts: Texts = "ExtraHosts",
        pub group_add: Texts = "GroupAdd",
        pub ipc_mode: String = "IpcMode",
        pub cgroup: String = "Cgroup",
        pub links: Texts = "Links",
        pub oom_score_adj: i64 = "OomScoreAdj",
        pub pid_mode: String = "PidMode",
        pub privileged: bool = "Privileged",
        pub publish_all_ports: bool = "PublishAllPorts",
        pub readonly_rootfs: bool = "ReadonlyRootfs",
        pub security_opt: Texts = "SecurityOpt",
        pub storage_opt: TextMap = "StorageOpt" omitnil,
        pub tmpfs: TextMap = "Tmpfs" omitnil,
        pub uts_mode: String = "UTSMode",
        pub userns_mode: String = "UsernsMode",
        pub shm_size: i64 = "ShmSize",
        pub sysctls: TextMap = "Sysctls" omitnil,
        pub runtime: String = "Runtime" omitempty,
        pub console_size: [u64; 2] = "ConsoleSize",
        pub isolation: String = "Isolation",
        pub cpu_shares: i64 = "CpuShares",
        pub memory: i64 = "Memory",
        pub nano_cpus: i64 = "NanoCpus",
        pub cgroup_parent: String = "CgroupParent",
        pub blkio_weight: u16 = "BlkioWeight",
        pub blkio_weight_device: Option<Vec<Option<WeightDevice>>> = "BlkioWeightDevice",
        pub blkio_device_read_bps: Option<Vec<Option<ThrottleDevice>>> = "BlkioDeviceReadBps",
        pub blkio_device_write_bps: Option<Vec<Option<ThrottleDevice>>> = "BlkioDeviceWriteBps",
        pub blkio_device_read_iops: Option<Vec<Option<ThrottleDevice>>> = "BlkioDeviceReadIOps",
        pub blkio_device_write_iops: Option<Vec<Option<ThrottleDevice>>> = "BlkioDeviceWriteIOps",
        pub cpu_period: i64 = "CpuPeriod",
        pub cpu_quota: i64 = "CpuQuota",
        pub cpu_realtime_period: i64 = "CpuRealtimePeriod",
        pub cpu_realtime_runtime: i64 = "CpuRealtimeRuntime",
        pub cpuset_cpus: String = "CpusetCpus",
        pub cpuset_mems: String = "CpusetMems",
        pub devices: Option<Vec<DeviceMapping>> = "Devices",
        pub device_cgroup_rules: Texts = "DeviceCgroupRules",
        pub device_requests: Option<Vec<DeviceRequest>> = "DeviceRequests",
        pub kernel_memory: i64 = "KernelMemory",
        pub kernel_memory_tcp: i64 = "KernelMemoryTCP",
        pub memory_reservation: i64 = "MemoryReservation",
        pub memory_swap: i64 = "MemorySwap",
        pub memory_swappiness: Option<i64> = "MemorySwappiness",
        pub oom_kill_disable: Option<bool> = "OomKillDisable",
        pub pids_limit: Option<i64> = "PidsLimit",
        pub ulimits: Option<Vec<Option<Ulimit>>> = "Ulimits",
        pub cpu_count: i64 = "CpuCount",
        pub cpu_percent: i64 = "CpuPercent",
        pub io_maximum_iops: u64 = "IOMaximumIOps",
        pub io_maximum_bandwidth: u64 = "IOMaximumBandwidth",
        pub mounts: Option<Vec<ServiceMount>> = "Mounts" omitnil,
        pub masked_paths: Texts = "MaskedPaths",
        pub readonly_paths: Texts = "ReadonlyPaths",
        pub init: Option<bool> = "Init" omitempty,
    }
}

go_file! {
    pub struct LogConfig { pub kind: String = "Type", pub config: TextMap = "Config" }
}

go_file! {
    pub struct RestartPolicy { pub name: String = "Name", pub maximum_retry_count: i64 = "MaximumRetryCount" }
}

go_file! {
    pub struct WeightDevice { pub path: String = "Path", pub weight: u16 = "Weight" }
}

go_file! {
    pub struct ThrottleDevice { pub path: String = "Path", pub rate: u64 = "Rate" }
}

go_file! {
    pub struct DeviceMapping {
        pub path_on_host: String = "PathOnHost",
        pub path_in_container: String = "PathInContainer",
        pub cgroup_permissions: String = "CgroupPermissions",
    }
}

go_file! {
    pub struct DeviceRequest {
        pub driver: String = "Driver",
        pub count: i64 = "Count",
        pub device_ids: Texts = "DeviceIDs",
        pub capabilities: Option<Vec<Vec<String>>> = "Capabilities",
        pub options: TextMap = "Options",
    }
}

go_file! {
    pub struct Ulimit { pub name: String = "Name", pub hard: i64 = "Hard", pub soft: i64 = "Soft" }
}
