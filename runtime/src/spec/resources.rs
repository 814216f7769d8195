//! Limits: of control groups and of processes.

use serde_json::{Value, json};

use super::{SpecError, devices};
use crate::settings::{Settings, Ulimit};

/// The period that goes with `--cpus`, in microseconds.
const PERIOD: i64 = 100_000;

pub(super) fn resources(settings: &Settings) -> Result<Value, SpecError> {
    let limits = &settings.resources;
    let mut memory = json!({"disableOOMKiller": limits.oom_kill_disable});
    for (name, value) in
        [("limit", limits.memory), ("swap", limits.memory_swap), ("reservation", limits.memory_reservation)]
    {
        if value > 0 {
            memory[name] = value.into();
        }
    }
    if let Some(swappiness) = limits.memory_swappiness.filter(|&value| value >= 0) {
        memory["swappiness"] = swappiness.into();
    }
    let mut cpu = json!({"shares": limits.cpu_shares});
    if limits.nano_cpus > 0 {
        cpu["period"] = PERIOD.into();
        // Billionths of a second per second, as microseconds per period.
        cpu["quota"] = (limits.nano_cpus / (1_000_000_000 / PERIOD)).into();
    }
    for (name, value) in [("period", limits.cpu_period), ("quota", limits.cpu_quota)] {
        if value != 0 {
            cpu[name] = value.into();
        }
    }
    for (name, value) in [("cpus", &limits.cpuset_cpus), ("mems", &limits.cpuset_mems)] {
        if !value.is_empty() {
            cpu[name] = value.clone().into();
        }
    }
    let mut all = json!({
        "devices": devices::rules(settings)?,
        "memory": memory,
        "cpu": cpu,
        "blockIO": {"weight": limits.blkio_weight},
    });
    if let Some(limit) = limits.pids_limit {
        // Zero means the same as no limit.
        all["pids"] = json!({"limit": if limit == 0 { -1 } else { limit }});
    }
    Ok(all)
}

/// The kinds of limits that Docker knows (docker/go-units `ulimit.go`).
pub const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<Value>, SpecError> {
    let mut sorted: Vec<&Ulimit> = ulimits.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    sorted
        .into_iter()
        .map(|limit| {
            if !LIMITS.contains(&limit.name.as_str()) {
                return Err(SpecError::Ulimit(limit.name.clone()));
            }
            // Minus one is the largest number, and that is no limit.
            let unsigned = |value: i64| u64::from_ne_bytes(value.to_ne_bytes());
            let kind = format!("RLIMIT_{}", limit.name.to_uppercase());
            Ok(json!({"type": kind, "hard": unsigned(limit.hard), "soft": unsigned(limit.soft)}))
        })
        .collect()
}
