//! dockerd's checks of the limits that a container is to have, in its words (moby v20.10.24
//! `daemon/daemon_unix.go: verifyPlatformContainerResources`, `daemon/container.go: validateHealthCheck`). What depends on the
//! machine's control groups is not looked at: which processors there are, and whether weights of block devices are known.

use snapshot::schema::containerfile::HostConfig;
use snapshot::schema::runconfig::RunConfig;

use crate::ContainerError;

/// The least memory that a container may be limited to.
const LEAST_MEMORY: i64 = 6 << 20;

/// The options of the log driver `json-file` (moby v20.10.24 `daemon/logger/jsonfilelog: ValidateLogOpt`).
const LOG_OPTIONS: [&str; 8] =
    ["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];

/// The shortest time between two checks of health, and for one, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

pub(crate) fn check(config: &RunConfig, host: &HostConfig) -> Result<(), ContainerError> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
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
    } else if host.nano_cpus < 0 || host.nano_cpus > most {
        format!("Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    } else if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into()
    } else if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        "CPU cfs quota can not be less than 1ms (i.e. 1000)".into()
    } else if !(-1_000..=1_000).contains(&host.oom_score_adj) {
        format!("Invalid value {}, range for oom score adj is [-1000, 1000]", host.oom_score_adj)
    } else if let Some(field) = too_short(config) {
        format!("{field} in Healthcheck cannot be less than 1ms")
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

fn unknown_log_option(host: &HostConfig) -> Option<&str> {
    let mut options = host.log_config.config.iter().flatten().map(|(name, _)| name.as_str());
    let is_json = matches!(host.log_config.kind.as_str(), "" | "json-file");
    options.find(|name| is_json && !LOG_OPTIONS.contains(name))
}
