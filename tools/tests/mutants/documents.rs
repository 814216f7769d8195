//! Documents with every field that dockerd's structs have.

// Every test that has mutants uses some of these.
#![allow(dead_code)]

use serde_json::{Value, json};

/// What a container runs with.
fn run_config() -> Value {
    json!({
        "Hostname": "h", "Domainname": "d", "User": "u", "AttachStdin": false, "AttachStdout": true, "AttachStderr": true,
        "ExposedPorts": {"80/tcp": {}}, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": ["A=b"], "Cmd": ["sh"],
        "Healthcheck": {"Test": ["NONE"], "Interval": 1, "Timeout": 2, "StartPeriod": 3, "Retries": 4}, "ArgsEscaped": false,
        "Image": "i", "Volumes": {"/v": {}}, "WorkingDir": "/w", "Entrypoint": ["e"], "NetworkDisabled": false,
        "MacAddress": "m", "OnBuild": ["RUN x"], "Labels": {"l": "1"}, "StopSignal": "TERM", "StopTimeout": 5, "Shell": ["s"],
    })
}

/// An image without layers: dockerd lists any number of them in little time.
pub(crate) fn image() -> Value {
    json!({
        "id": "i", "parent": "p", "comment": "c", "created": "2024-01-02T03:04:05.678Z", "container": "k",
        "container_config": run_config(), "docker_version": "20", "author": "a", "config": run_config(), "architecture": "amd64",
        "variant": "v", "os": "linux", "Size": 7, "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created": "2024-01-02T03:04:05Z", "author": "a", "created_by": "b", "comment": "c", "empty_layer": true}],
        "os.version": "1", "os.features": ["f"],
    })
}

/// `config.v2.json` of a container that was never started.
pub(crate) fn container(id: &str) -> Value {
    json!({
        "StreamConfig": {},
        "State": {
            "Running": false, "Paused": false, "Restarting": false, "OOMKilled": false, "RemovalInProgress": false, "Dead": false,
            "Pid": 0, "ExitCode": 0, "Error": "", "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {
                "Status": "healthy", "FailingStreak": 0,
                "Log": [{"Start": "2024-01-02T03:04:05Z", "End": "2024-01-02T03:04:06Z", "ExitCode": 0, "Output": "o"}],
            },
        },
        "ID": id, "Created": "2024-01-02T03:04:05Z", "Managed": false, "Path": "sh", "Args": ["-c"], "Config": run_config(),
        "Image": "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
        "NetworkSettings": {
            "Bridge": "", "SandboxID": "", "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
            "Networks": {"none": {
                "IPAMConfig": {"IPv4Address": "", "IPv6Address": "", "LinkLocalIPs": ["x"]}, "Links": ["l"], "Aliases": ["a"],
                "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
                "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "", "DriverOpts": {"o": "1"},
                "IPAMOperational": false,
            }},
            "Service": {
                "ID": "", "Name": "", "Aliases": {"a": ["b"]}, "VirtualAddresses": {"n": {"IPv4": "", "IPv6": ""}},
                "ExposedPorts": [{"Name": "", "Protocol": 1, "TargetPort": 2, "PublishedPort": 3}],
            },
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}, "SandboxKey": "",
            "SecondaryIPAddresses": [{"Addr": "", "PrefixLen": 0}], "SecondaryIPv6Addresses": [{"Addr": "", "PrefixLen": 0}],
            "IsAnonymousEndpoint": false, "HasSwarmEndpoint": false,
        },
        "LogPath": "", "Name": format!("/{}", &id[52..]), "Driver": "overlay2", "OS": "linux", "MountLabel": "", "ProcessLabel": "",
        "RestartCount": 0, "HasBeenStartedBefore": false, "HasBeenManuallyStopped": false,
        "MountPoints": {"/m": {
            "Source": "/srv", "Destination": "/m", "RW": true, "Name": "", "Driver": "", "Type": "bind", "Relabel": "",
            "Propagation": "rprivate", "ID": "",
            "Spec": {
                "Type": "bind", "Source": "/srv", "Target": "/m", "ReadOnly": false, "Consistency": "",
                "BindOptions": {"Propagation": "", "NonRecursive": false},
                "VolumeOptions": {"NoCopy": false, "Labels": {"l": "1"}, "DriverConfig": {"Name": "", "Options": {"o": "1"}}},
                "TmpfsOptions": {"SizeBytes": 1, "Mode": 1},
            },
            "SkipMountpointCreation": false,
        }},
        "SecretReferences": [{"File": {"Name": "", "UID": "", "GID": "", "Mode": 1}, "SecretID": "", "SecretName": ""}],
        "ConfigReferences": [
            {"File": {"Name": "", "UID": "", "GID": "", "Mode": 1}, "Runtime": {}, "ConfigID": "", "ConfigName": ""},
        ],
        "AppArmorProfile": "", "HostnamePath": "", "HostsPath": "", "ShmPath": "", "ResolvConfPath": "", "SeccompProfile": "",
        "NoNewPrivileges": false, "LocalLogCacheMeta": {"HaveNotifyEnabled": false},
    })
}

/// `hostconfig.json`
pub(crate) fn host_config() -> Value {
    let device = json!([{"Path": "/d", "Rate": 1}]);
    let mut first = json!({
        "Binds": ["/a:/b"], "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {"c": "1"}}, "NetworkMode": "none",
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": [], "CapAdd": ["a"], "CapDrop": ["a"], "CgroupnsMode": "host",
        "Dns": ["a"], "DnsOptions": ["a"], "DnsSearch": ["a"], "ExtraHosts": ["a"], "GroupAdd": ["a"], "IpcMode": "private",
        "Cgroup": "", "Links": [], "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false,
        "ReadonlyRootfs": false, "SecurityOpt": ["a"], "StorageOpt": {"a": "1"}, "Tmpfs": {"/a": "1"}, "UTSMode": "",
        "UsernsMode": "", "ShmSize": 67_108_864, "Sysctls": {"a": "1"}, "Runtime": "runc", "ConsoleSize": [0, 0], "Isolation": "",
    });
    let resources = json!({
        "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
        "BlkioWeightDevice": [{"Path": "/d", "Weight": 1}], "BlkioDeviceReadBps": device, "BlkioDeviceWriteBps": device,
        "BlkioDeviceReadIOps": device, "BlkioDeviceWriteIOps": device, "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "",
        "Devices": [{"PathOnHost": "", "PathInContainer": "", "CgroupPermissions": ""}], "DeviceCgroupRules": ["a"],
        "DeviceRequests": [{"Driver": "", "Count": 1, "DeviceIDs": ["a"], "Capabilities": [["a"]], "Options": {"a": "1"}}],
        "KernelMemory": 0, "KernelMemoryTCP": 0, "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": 1,
        "OomKillDisable": false, "PidsLimit": 1, "Ulimits": [{"Name": "a", "Hard": 1, "Soft": 1}], "CpuCount": 0, "CpuPercent": 0,
        "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b"}],
        "MaskedPaths": ["a"], "ReadonlyPaths": ["a"], "Init": true,
    });
    let all = first.as_object_mut().unwrap();
    all.extend(resources.as_object().unwrap().clone());
    first
}
