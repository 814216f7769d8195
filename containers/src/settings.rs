//! From a container's files to what its runtime is told.

use std::path::{Path, PathBuf};

use runtime::{Device, Ipc, Mount, MountKind, Network, NetworkFiles, Resources, Seccomp, Settings, Ulimit};
use snapshot::schema::container::ContainerFiles;
use snapshot::schema::containerfile::MountPointFile;

use crate::ContainerError;
use crate::mounts::source;

/// Docker's program for `--init`.
const INIT: &str = "/usr/bin/docker-init";

/// The settings of a container whose root file system is mounted at `rootfs`.
pub(crate) fn from_files(
    root: &Path,
    files: &ContainerFiles,
    rootfs: PathBuf,
    network_files: NetworkFiles,
) -> Result<Settings, ContainerError> {
    let (config, host) = (&files.config, &files.host);
    let run = config.config.clone().unwrap_or_default();
    let id = config.id.0.clone().unwrap_or_default();
    let args = std::iter::once(config.path.clone()).chain(config.args.iter().cloned()).collect();
    let mut settings = Settings::new(&id, rootfs, args);
    settings.env = run.env.unwrap_or_default();
    settings.cwd = run.working_dir;
    settings.user = run.user;
    settings.group_add = host.group_add.clone().unwrap_or_default();
    settings.hostname = run.hostname;
    settings.domainname = run.domainname;
    settings.tty = run.tty;
    settings.cap_add = host.cap_add.0.clone().unwrap_or_default();
    settings.cap_drop = host.cap_drop.0.clone().unwrap_or_default();
    settings.privileged = host.privileged;
    settings.no_new_privileges = config.no_new_privileges;
    settings.seccomp = match config.seccomp_profile.as_str() {
        "" => Seccomp::Default,
        "unconfined" => Seccomp::Unconfined,
        profile => Seccomp::Profile(profile.to_owned()),
    };
    settings.masked_paths.clone_from(&host.masked_paths);
    settings.readonly_paths.clone_from(&host.readonly_paths);
    settings.readonly_rootfs = host.readonly_rootfs;
    settings.network_files = network_files;
    settings.mounts = config.mount_points.values().flatten().map(|point| mount(root, point)).collect();
    settings.mounts.extend(host.tmpfs.iter().flatten().map(|(destination, options)| Mount {
        destination: destination.clone(),
        kind: MountKind::Tmpfs { options: words(options) },
        readonly: false,
    }));
    if host.init == Some(true) {
        settings.init = Some(PathBuf::from(INIT));
    }
    let ulimits = host.ulimits.iter().flatten().flatten();
    settings.ulimits =
        ulimits.map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard }).collect();
    settings.resources = Resources {
        memory: host.memory,
        memory_swap: host.memory_swap,
        memory_reservation: host.memory_reservation,
        memory_swappiness: host.memory_swappiness,
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        nano_cpus: host.nano_cpus,
        cpu_shares: host.cpu_shares,
        cpu_period: host.cpu_period,
        cpu_quota: host.cpu_quota,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        pids_limit: host.pids_limit,
        blkio_weight: host.blkio_weight,
    };
    settings.devices = host
        .devices
        .iter()
        .flatten()
        .map(|device| Device {
            host: PathBuf::from(&device.path_on_host),
            container: device.path_in_container.clone(),
            access: device.cgroup_permissions.clone(),
        })
        .collect();
    settings.device_cgroup_rules = host.device_cgroup_rules.clone().unwrap_or_default();
    settings.sysctls = host.sysctls.clone().unwrap_or_default();
    settings.network = match host.network_mode.as_str() {
        "none" => Network::None,
        "host" => Network::Host,
        other => {
            return Err(ContainerError::Invalid(format!(
                "the container has network {other}, and only dockerd makes networks; none and host can be started here"
            )));
        }
    };
    settings.ipc = match host.ipc_mode.as_str() {
        "" | "private" => Ipc::Private,
        "none" => Ipc::None,
        "host" => Ipc::Host,
        other => return Err(ContainerError::Invalid(format!("IPC mode {other} is not supported"))),
    };
    settings.pid_host = match host.pid_mode.as_str() {
        "" => false,
        "host" => true,
        other => return Err(ContainerError::Invalid(format!("PID mode {other} is not supported"))),
    };
    settings.uts_host = host.uts_mode == "host";
    settings.cgroup_private = host.cgroupns_mode == "private";
    settings.shm_size = host.shm_size;
    settings.cgroup_parent.clone_from(&host.cgroup_parent);
    settings.oom_score_adj = i32::try_from(host.oom_score_adj).unwrap_or_default();
    Ok(settings)
}

/// Writes a bundle's `config.json`.
pub(crate) fn write_bundle(bundle: &Path, settings: &Settings) -> Result<(), ContainerError> {
    let spec = runtime::spec::make(settings)?;
    let path = bundle.join("config.json");
    let bytes = serde_json::to_vec(&spec).map_err(|error| ContainerError::Invalid(error.to_string()))?;
    std::fs::write(&path, bytes).map_err(ContainerError::io("writing", &path))
}

fn words(options: &str) -> Vec<String> {
    options.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn mount(root: &Path, point: &MountPointFile) -> Mount {
    let kind = match point.kind.as_str() {
        "tmpfs" => {
            let options = point.spec.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            if options.mode != 0 {
                words.push(format!("mode={:o}", options.mode));
            }
            if options.size_bytes != 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            MountKind::Tmpfs { options: words }
        }
        kind => {
            let options = point.spec.bind_options.clone().unwrap_or_default();
            let propagation = Some(point.propagation.clone()).filter(|text| kind == "bind" && !text.is_empty());
            MountKind::Bind { source: source(root, point), propagation, non_recursive: options.non_recursive }
        }
    };
    Mount {
        destination: Path::new("/").join(&point.destination).to_string_lossy().into_owned(),
        kind,
        readonly: !point.rw,
    }
}
