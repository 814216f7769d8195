//! dockerd's checks of the limits that a container is to have, in its words (moby v20.10.24
//! `daemon/daemon_unix.go: verifyPlatformContainerResources`, `daemon/container.go: validateHealthCheck`). What depends on the
//! machine's control groups is not looked at: which processors there are, and whether weights of block devices are known.

use snapshot::schema::containerfile::HostConfig;
use snapshot::schema::runconfig::RunConfig;

use crate::ContainerError;

/// The least memory that a container may be limited to.
const LEAST_MEMORY: i64 = 6 << 20;

/// The options of the log driver `json-file` (moby v20.10.24 `daemon/logger/jsonfilelog: ValidateLogOpt`), and those of any driver
/// (`daemon/logger/factory.go`). A container here always waits until its log is written, and no line is lost.
const LOG_OPTIONS: [&str; 10] = [
    "max-file",
    "max-size",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
];

/// The shortest time between two checks of health, and for one, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

pub(crate) fn check(config: &RunConfig, host: &HostConfig) -> Result<(), ContainerError> {
    let cpus = layerfs::pool::processors().get();
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let (memory, swap, reservation) = (host.memory, host.memory_swap, host.memory_reservation);
    let message = if memory != 0 && memory < LEAST_MEMORY {
        "Minimum memory limit allowed is 6MB".to_owned()
    } else if memory > 0 && swap > 0 && swap < memory {
        "Minimum memoryswap limit should be larger than memory limit, see usage".into()
    } else if memory == 0 && swap > 0 {
        "You should always set the Memory limit when using Memoryswap limit, see usage".into()
    } else if reservation > 0 && reservation < LEAST_MEMORY {
        "Minimum memory reservation allowed is 6MB".into()
    } else if memory > 0 && reservation > memory {
        "Minimum memory limit can not be less than memory reservation limit, see usage".into()
    } else if host.nano_cpus > 0 && host.cpu_period > 0 {
        "Conflicting options: Nano CPUs and CPU Period cannot both be set".into()
    } else if host.nano_cpus > 0 && host.cpu_quota > 0 {
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set".into()
    } else if host.nano_cpus < 0 || host.nano_cpus > most {
        format!("Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    } else if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into()
    } else if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        "CPU cfs quota can not be less than 1ms (i.e. 1000)".into()
    } else if !host.cpuset_cpus.is_empty() && !is_list(&host.cpuset_cpus) {
        format!("Invalid value {0} for cpuset cpus: invalid format: {0}", host.cpuset_cpus)
    } else if !host.cpuset_mems.is_empty() && !is_list(&host.cpuset_mems) {
        format!("Invalid value {0} for cpuset mems: invalid format: {0}", host.cpuset_mems)
    } else if !(-1_000..=1_000).contains(&host.oom_score_adj) {
        format!("Invalid value {}, range for oom score adj is [-1000, 1000]", host.oom_score_adj)
    } else if let Some(field) = too_short(config) {
        format!("{field} in Healthcheck cannot be less than 1ms")
    } else if let Some(why) = bad_log_mode(host) {
        why
    } else if let Some(option) = unknown_log_option(host) {
        format!("unknown log opt '{option}' for json-file log driver")
    } else {
        return Ok(());
    };
    Err(ContainerError::Invalid(message))
}

/// The first time of a check of health that is shorter than any may be.
fn too_short(config: &RunConfig) -> Option<&'static str> {
    let health = config.healthcheck.as_ref()?;
    let times = [("Interval", health.interval), ("Timeout", health.timeout), ("StartPeriod", health.start_period)];
    times.into_iter().find(|(_, time)| *time != 0 && *time < SHORTEST).map(|(field, _)| field)
}

/// What is wrong with how a container waits for its log.
fn bad_log_mode(host: &HostConfig) -> Option<String> {
    let option = |name: &str| host.log_config.config.as_ref().and_then(|options| options.get(name)).map(String::as_str);
    let mode = option("mode").unwrap_or_default();
    if host.log_config.kind == "none" {
        return None;
    }
    match (mode, option("max-buffer-size")) {
        ("" | "blocking", Some(_)) => {
            Some("logger: max-buffer-size option is only supported with 'mode=non-blocking'".into())
        }
        ("non-blocking", Some(size)) if docker_format::size::ram_in_bytes(size).is_none() => {
            Some(format!("error parsing option max-buffer-size: invalid size: '{size}'"))
        }
        ("" | "blocking" | "non-blocking", _) => None,
        _ => Some(format!("logger: logging mode not supported: {mode}")),
    }
}

/// Whether a text is a list of numbers and ranges, as the kernel takes them (moby v20.10.24 `pkg/parsers: ParseUintList`).
fn is_list(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.split(',').all(|part| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
    })
}

fn unknown_log_option(host: &HostConfig) -> Option<&str> {
    let mut options = host.log_config.config.iter().flatten().map(|(name, _)| name.as_str());
    let is_json = matches!(host.log_config.kind.as_str(), "" | "json-file");
    options.find(|name| is_json && !LOG_OPTIONS.contains(name))
}
