//! The structs into which dockerd decodes a container's files. Every field of dockerd's is here with its type, since a
//! value of the wrong type keeps dockerd from loading the container; a field that no command shows is checked and not
//! kept.
//!
//! Follows moby v20.10.24 `container/container.go`, `container/state.go`, `volume/mounts/mounts.go`,
//! `daemon/network/settings.go`, `api/types/container/host_config.go`, `api/types/mount/mount.go`.

use std::collections::BTreeMap;

use super::gojson::{Checked, Decode, DecodeError, Empty, Expected, JsonDecoder, StrSlice};
use super::runconfig::RunConfig;
use super::time::Time;
use crate::go_struct;

type Text = Checked<String>;
type Flag = Checked<bool>;
type Number = Checked<i64>;
type Texts = Checked<Vec<String>>;
type TextMap = Checked<BTreeMap<String, String>>;

/// A pointer that dockerd sets before it decodes the file: if the key is missing, the value set before stays; `null`
/// removes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Preset<T>(pub(super) Option<T>);

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
pub(super) struct Given(pub(super) Option<String>);

impl Decode for Given {
    fn expected() -> Expected {
        Expected::Text
    }

    fn string(&mut self, raw: &[u8], decoder: &mut JsonDecoder<'_>) {
        self.0.get_or_insert_default().string(raw, decoder);
    }
}

go_struct! {
    /// `config.v2.json` (`container.Container`).
    pub(super) struct ConfigFile {
        pub(super) stream_config: Preset<Empty> = "StreamConfig",
        pub(super) state: Preset<StateFile> = "State",
        pub(super) id: Given = "ID",
        pub(super) created: Time = "Created",
        managed: Flag = "Managed",
        pub(super) path: String = "Path",
        pub(super) args: Vec<String> = "Args",
        pub(super) config: Option<RunConfig> = "Config",
        pub(super) image: String = "Image",
        pub(super) network_settings: Option<NetworkSettings> = "NetworkSettings",
        log_path: Text = "LogPath",
        pub(super) name: String = "Name",
        pub(super) driver: String = "Driver",
        pub(super) os: String = "OS",
        mount_label: Text = "MountLabel",
        process_label: Text = "ProcessLabel",
        restart_count: Number = "RestartCount",
        has_been_started_before: Flag = "HasBeenStartedBefore",
        has_been_manually_stopped: Flag = "HasBeenManuallyStopped",
        pub(super) mount_points: BTreeMap<String, Option<MountPointFile>> = "MountPoints",
        secret_references: Checked<Vec<Option<SecretReference>>> = "SecretReferences",
        config_references: Checked<Vec<Option<ConfigReference>>> = "ConfigReferences",
        app_armor_profile: Text = "AppArmorProfile",
        hostname_path: Text = "HostnamePath",
        hosts_path: Text = "HostsPath",
        shm_path: Text = "ShmPath",
        resolv_conf_path: Text = "ResolvConfPath",
        seccomp_profile: Text = "SeccompProfile",
        no_new_privileges: Flag = "NoNewPrivileges",
        local_log_cache_meta: Checked<LocalLogCacheMeta> = "LocalLogCacheMeta",
    }
}

go_struct! {
    struct LocalLogCacheMeta { have_notify_enabled: Flag = "HaveNotifyEnabled" }
}

go_struct! {
    /// `State` (`container.State`).
    pub(super) struct StateFile {
        pub(super) running: bool = "Running",
        pub(super) paused: bool = "Paused",
        pub(super) restarting: bool = "Restarting",
        oom_killed: Flag = "OOMKilled",
        pub(super) removing: bool = "RemovalInProgress",
        pub(super) dead: bool = "Dead",
        pub(super) pid: i64 = "Pid",
        pub(super) exit_code: i64 = "ExitCode",
        error: Text = "Error",
        pub(super) started: Time = "StartedAt",
        pub(super) finished: Time = "FinishedAt",
        pub(super) health: Option<HealthFile> = "Health",
    }
}

go_struct! {
    /// `State.Health` (`types.Health`).
    pub(super) struct HealthFile {
        pub(super) status: String = "Status",
        failing_streak: Number = "FailingStreak",
        log: Checked<Vec<Option<HealthcheckResult>>> = "Log",
    }
}

go_struct! {
    struct HealthcheckResult {
        start: Checked<Time> = "Start",
        end: Checked<Time> = "End",
        exit_code: Number = "ExitCode",
        output: Text = "Output",
    }
}

go_struct! {
    /// A value of `MountPoints` (`mounts.MountPoint`).
    pub(super) struct MountPointFile {
        pub(super) source: String = "Source",
        destination: Text = "Destination",
        rw: Flag = "RW",
        pub(super) name: String = "Name",
        pub(super) driver: String = "Driver",
        pub(super) kind: String = "Type",
        mode: Text = "Relabel",
        propagation: Text = "Propagation",
        pub(super) id: String = "ID",
        spec: Checked<ServiceMount> = "Spec",
        skip_mountpoint_creation: Flag = "SkipMountpointCreation",
    }
}

go_struct! {
    /// `mount.Mount`
    struct ServiceMount {
        kind: Text = "Type",
        source: Text = "Source",
        target: Text = "Target",
        read_only: Flag = "ReadOnly",
        consistency: Text = "Consistency",
        bind_options: Checked<Option<BindOptions>> = "BindOptions",
        volume_options: Checked<Option<VolumeOptions>> = "VolumeOptions",
        tmpfs_options: Checked<Option<TmpfsOptions>> = "TmpfsOptions",
    }
}

go_struct! {
    struct BindOptions { propagation: Text = "Propagation", non_recursive: Flag = "NonRecursive" }
}

go_struct! {
    struct VolumeOptions {
        no_copy: Flag = "NoCopy",
        labels: TextMap = "Labels",
        driver_config: Checked<Option<DriverConfig>> = "DriverConfig",
    }
}

go_struct! {
    struct DriverConfig { name: Text = "Name", options: TextMap = "Options" }
}

go_struct! {
    struct TmpfsOptions { size_bytes: Number = "SizeBytes", mode: Checked<u32> = "Mode" }
}

go_struct! {
    /// `NetworkSettings` (`network.Settings`).
    pub(super) struct NetworkSettings {
        bridge: Text = "Bridge",
        sandbox_id: Text = "SandboxID",
        hairpin_mode: Flag = "HairpinMode",
        link_local_ipv6_address: Text = "LinkLocalIPv6Address",
        link_local_ipv6_prefix_len: Number = "LinkLocalIPv6PrefixLen",
        pub(super) networks: BTreeMap<String, Checked<Option<EndpointSettings>>> = "Networks",
        service: Checked<Option<ServiceConfig>> = "Service",
        pub(super) ports: BTreeMap<String, Vec<PortBinding>> = "Ports",
        sandbox_key: Text = "SandboxKey",
        secondary_ip_addresses: Checked<Vec<Address>> = "SecondaryIPAddresses",
        secondary_ipv6_addresses: Checked<Vec<Address>> = "SecondaryIPv6Addresses",
        is_anonymous_endpoint: Flag = "IsAnonymousEndpoint",
        has_swarm_endpoint: Flag = "HasSwarmEndpoint",
    }
}

go_struct! {
    /// Where a port is published (`nat.PortBinding`).
    pub(super) struct PortBinding { pub(super) ip: String = "HostIp", pub(super) port: String = "HostPort" }
}

go_struct! {
    pub(super) struct EndpointSettings {
        ipam_config: Checked<Option<EndpointIpamConfig>> = "IPAMConfig",
        links: Texts = "Links",
        aliases: Texts = "Aliases",
        network_id: Text = "NetworkID",
        endpoint_id: Text = "EndpointID",
        gateway: Text = "Gateway",
        ip_address: Text = "IPAddress",
        ip_prefix_len: Number = "IPPrefixLen",
        ipv6_gateway: Text = "IPv6Gateway",
        global_ipv6_address: Text = "GlobalIPv6Address",
        global_ipv6_prefix_len: Number = "GlobalIPv6PrefixLen",
        mac_address: Text = "MacAddress",
        driver_opts: TextMap = "DriverOpts",
        ipam_operational: Flag = "IPAMOperational",
    }
}

go_struct! {
    struct EndpointIpamConfig {
        ipv4_address: Text = "IPv4Address",
        ipv6_address: Text = "IPv6Address",
        link_local_ips: Texts = "LinkLocalIPs",
    }
}

go_struct! {
    struct Address { addr: Text = "Addr", prefix_len: Number = "PrefixLen" }
}

go_struct! {
    struct ServiceConfig {
        id: Text = "ID",
        name: Text = "Name",
        aliases: Checked<BTreeMap<String, Vec<String>>> = "Aliases",
        virtual_addresses: Checked<BTreeMap<String, Option<VirtualAddress>>> = "VirtualAddresses",
        exposed_ports: Checked<Vec<Option<PortConfig>>> = "ExposedPorts",
    }
}

go_struct! {
    struct VirtualAddress { ipv4: Text = "IPv4", ipv6: Text = "IPv6" }
}

go_struct! {
    struct PortConfig {
        name: Text = "Name",
        protocol: Checked<i32> = "Protocol",
        target_port: Checked<u32> = "TargetPort",
        published_port: Checked<u32> = "PublishedPort",
    }
}

go_struct! {
    struct ReferenceTarget { name: Text = "Name", uid: Text = "UID", gid: Text = "GID", mode: Checked<u32> = "Mode" }
}

go_struct! {
    struct SecretReference {
        file: Checked<Option<ReferenceTarget>> = "File",
        secret_id: Text = "SecretID",
        secret_name: Text = "SecretName",
    }
}

go_struct! {
    struct ConfigReference {
        file: Checked<Option<ReferenceTarget>> = "File",
        runtime: Checked<Option<Empty>> = "Runtime",
        config_id: Text = "ConfigID",
        config_name: Text = "ConfigName",
    }
}

/// `hostconfig.json`: dockerd decodes it into a pointer to a fresh `container.HostConfig`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HostConfigFile(pub(super) Option<HostConfig>);

impl Default for HostConfigFile {
    fn default() -> Self {
        Self(Some(HostConfig::default()))
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

go_struct! {
    /// What a container was given of the host (`container.HostConfig`, with `container.Resources` in it).
    pub(super) struct HostConfig {
        binds: Texts = "Binds",
        container_id_file: Text = "ContainerIDFile",
        log_config: Checked<LogConfig> = "LogConfig",
        network_mode: Text = "NetworkMode",
        port_bindings: Checked<BTreeMap<String, Vec<PortBinding>>> = "PortBindings",
        restart_policy: Checked<RestartPolicy> = "RestartPolicy",
        auto_remove: Flag = "AutoRemove",
        volume_driver: Text = "VolumeDriver",
        volumes_from: Texts = "VolumesFrom",
        cap_add: Checked<StrSlice> = "CapAdd",
        cap_drop: Checked<StrSlice> = "CapDrop",
        cgroupns_mode: Text = "CgroupnsMode",
        dns: Texts = "Dns",
        dns_options: Texts = "DnsOptions",
        dns_search: Texts = "DnsSearch",
        extra_hosts: Texts = "ExtraHosts",
        group_add: Texts = "GroupAdd",
        ipc_mode: Text = "IpcMode",
        cgroup: Text = "Cgroup",
        links: Texts = "Links",
        oom_score_adj: Number = "OomScoreAdj",
        pid_mode: Text = "PidMode",
        privileged: Flag = "Privileged",
        publish_all_ports: Flag = "PublishAllPorts",
        readonly_rootfs: Flag = "ReadonlyRootfs",
        security_opt: Texts = "SecurityOpt",
        storage_opt: TextMap = "StorageOpt",
        tmpfs: TextMap = "Tmpfs",
        uts_mode: Text = "UTSMode",
        userns_mode: Text = "UsernsMode",
        shm_size: Number = "ShmSize",
        sysctls: TextMap = "Sysctls",
        runtime: Text = "Runtime",
        console_size: Checked<[u64; 2]> = "ConsoleSize",
        isolation: Text = "Isolation",
        cpu_shares: Number = "CpuShares",
        memory: Number = "Memory",
        nano_cpus: Number = "NanoCpus",
        cgroup_parent: Text = "CgroupParent",
        blkio_weight: Checked<u16> = "BlkioWeight",
        blkio_weight_device: Checked<Vec<Option<WeightDevice>>> = "BlkioWeightDevice",
        blkio_device_read_bps: Checked<Vec<Option<ThrottleDevice>>> = "BlkioDeviceReadBps",
        blkio_device_write_bps: Checked<Vec<Option<ThrottleDevice>>> = "BlkioDeviceWriteBps",
        blkio_device_read_iops: Checked<Vec<Option<ThrottleDevice>>> = "BlkioDeviceReadIOps",
        blkio_device_write_iops: Checked<Vec<Option<ThrottleDevice>>> = "BlkioDeviceWriteIOps",
        cpu_period: Number = "CpuPeriod",
        cpu_quota: Number = "CpuQuota",
        cpu_realtime_period: Number = "CpuRealtimePeriod",
        cpu_realtime_runtime: Number = "CpuRealtimeRuntime",
        cpuset_cpus: Text = "CpusetCpus",
        cpuset_mems: Text = "CpusetMems",
        devices: Checked<Vec<DeviceMapping>> = "Devices",
        device_cgroup_rules: Texts = "DeviceCgroupRules",
        device_requests: Checked<Vec<DeviceRequest>> = "DeviceRequests",
        kernel_memory: Number = "KernelMemory",
        kernel_memory_tcp: Number = "KernelMemoryTCP",
        memory_reservation: Number = "MemoryReservation",
        memory_swap: Number = "MemorySwap",
        memory_swappiness: Checked<Option<i64>> = "MemorySwappiness",
        oom_kill_disable: Checked<Option<bool>> = "OomKillDisable",
        pids_limit: Checked<Option<i64>> = "PidsLimit",
        ulimits: Checked<Vec<Option<Ulimit>>> = "Ulimits",
        cpu_count: Number = "CpuCount",
        cpu_percent: Number = "CpuPercent",
        io_maximum_iops: Checked<u64> = "IOMaximumIOps",
        io_maximum_bandwidth: Checked<u64> = "IOMaximumBandwidth",
        mounts: Checked<Vec<ServiceMount>> = "Mounts",
        masked_paths: Texts = "MaskedPaths",
        readonly_paths: Texts = "ReadonlyPaths",
        init: Checked<Option<bool>> = "Init",
    }
}

go_struct! {
    struct LogConfig { kind: Text = "Type", config: TextMap = "Config" }
}

go_struct! {
    struct RestartPolicy { name: Text = "Name", maximum_retry_count: Number = "MaximumRetryCount" }
}

go_struct! {
    struct WeightDevice { path: Text = "Path", weight: Checked<u16> = "Weight" }
}

go_struct! {
    struct ThrottleDevice { path: Text = "Path", rate: Checked<u64> = "Rate" }
}

go_struct! {
    struct DeviceMapping {
        path_on_host: Text = "PathOnHost",
        path_in_container: Text = "PathInContainer",
        cgroup_permissions: Text = "CgroupPermissions",
    }
}

go_struct! {
    struct DeviceRequest {
        driver: Text = "Driver",
        count: Number = "Count",
        device_ids: Texts = "DeviceIDs",
        capabilities: Checked<Vec<Vec<String>>> = "Capabilities",
        options: TextMap = "Options",
    }
}

go_struct! {
    struct Ulimit { name: Text = "Name", hard: Number = "Hard", soft: Number = "Soft" }
}
