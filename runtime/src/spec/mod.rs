//! The bundle: what dockerd tells its runtime of a container (OCI runtime specification 1.0.2, `config.json`).
//!
//! The result is what dockerd 20.10.24 writes for the same container, but for its own hook, which gives a network name space
//! to its network library (moby v20.10.24 `daemon/oci_linux.go`).

mod devices;
mod exec;
pub(crate) mod fit;
mod mounts;
mod profile;
mod resources;

use std::io;
use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::accounts::{AccountError, Accounts};
use crate::capability;
use crate::settings::{Ipc, Network, Seccomp, Settings};

pub use exec::{Exec, exec};
pub use resources::LIMITS;

/// Where programs are looked for unless the image says otherwise.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where `--init` puts its program.
pub(crate) const INIT: &str = "/sbin/docker-init";

/// Paths of the kernel that Docker hides from a container that asks for nothing else (moby v20.10.24, `oci/defaults.go`).
pub const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Paths of the kernel that Docker lets such a container only read.
pub const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why there is no specification for these settings. Where Docker has a text for it, this is the text.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// No capability has this name.
    #[error("invalid {field}: unknown capability: {name:?}")]
    UnknownCapability {
        /// `CapAdd` or `CapDrop`.
        field: &'static str,
        /// The name, in full.
        name: String,
    },
    /// A user or a group cannot be used.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// There is nothing to run.
    #[error("No command specified")]
    NoCommand,
    /// The working directory is relative.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    RelativeDirectory(String),
    /// A device does not exist, or a file is no device.
    #[error("error gathering device information while adding custom device {path:?}: {}", crate::words(cause))]
    Device {
        /// Its path on the host.
        path: PathBuf,
        /// What the system says. Its words are part of the message, so that it is no source of the error besides.
        cause: io::Error,
    },
    /// A rule on devices cannot be read.
    #[error("invalid device cgroup rule format: '{0}'")]
    DeviceRule(String),
    /// Docker knows no such kind of limit.
    #[error("invalid ulimit type: {0}")]
    Ulimit(String),
    /// A profile for system calls cannot be read.
    #[error("decoding seccomp profile failed: {0}")]
    Profile(String),
    /// File systems in memory have no such option.
    #[error("invalid tmpfs option [{0}]")]
    TmpfsOption(String),
    /// What came out is no specification: a value does not fit.
    #[error("{field}: {value} does not fit into an OCI specification: {reason}")]
    Unfit {
        /// Where it is, as `linux.resources.cpu.period`.
        field: String,
        /// The value, as JSON; the end of a long one is left out.
        value: String,
        /// What would fit.
        reason: String,
    },
}

/// What dockerd tells its runtime of a container with these settings. The root file system must be mounted, since the
/// user and the groups are looked up in it.
///
/// # Errors
/// [`SpecError`], for settings that dockerd refuses, too.
pub fn make(settings: &Settings) -> Result<Spec, SpecError> {
    if settings.args.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let capabilities = capability::tweak(&settings.cap_add, &settings.cap_drop, settings.privileged)?;
    let mut spec = json!({
        "ociVersion": "1.0.2-dev",
        "process": process(settings, &capabilities)?,
        "root": {"path": settings.rootfs},
        "mounts": mounts::list(settings)?,
        "linux": linux(settings, &capabilities)?,
    });
    if settings.readonly_rootfs {
        spec["root"]["readonly"] = true.into();
    }
    if !settings.uts_host {
        spec["hostname"] = settings.hostname.clone().into();
    }
    fit::fit(&spec)
}

fn process(settings: &Settings, capabilities: &[String]) -> Result<Value, SpecError> {
    let identity = Accounts::read(&settings.rootfs).identity(&settings.user, &settings.group_add)?;
    let cwd = if settings.cwd.is_empty() { "/" } else { &settings.cwd };
    if !cwd.starts_with('/') {
        return Err(SpecError::RelativeDirectory(cwd.to_owned()));
    }
    let mut args: Vec<&str> = Vec::new();
    if settings.init.is_some() {
        args.extend([INIT, "--"]);
    }
    args.extend(settings.args.iter().map(String::as_str));
    let mut process = json!({
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": args,
        "env": environment(settings),
        "cwd": cwd,
        "oomScoreAdj": settings.oom_score_adj,
        "capabilities": {},
    });
    if !capabilities.is_empty() {
        process["capabilities"]["bounding"] = capabilities.into();
        // A user other than root gets none, until a program is started that has some.
        if identity.uid == 0 {
            process["capabilities"]["effective"] = capabilities.into();
            process["capabilities"]["permitted"] = capabilities.into();
        }
    }
    if settings.tty {
        process["terminal"] = true.into();
    }
    if settings.no_new_privileges {
        process["noNewPrivileges"] = true.into();
    }
    let rlimits = resources::rlimits(&settings.ulimits)?;
    if !rlimits.is_empty() {
        process["rlimits"] = rlimits.into();
    }
    Ok(process)
}

/// Docker's own variables, which `Config.Env` replaces in place, and the rest of `Config.Env`. A name without a value removes.
fn environment(settings: &Settings) -> Vec<String> {
    let mut variables = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={}", settings.hostname)];
    if settings.tty {
        variables.push("TERM=xterm".to_owned());
    }
    replace(&mut variables, &settings.env);
    variables
}

/// Takes other variables over: a name that is there keeps its place, and one without a value goes.
fn replace(variables: &mut Vec<String>, with: &[String]) {
    for variable in with {
        let name = |text: &str| text.split_once('=').map_or(text, |(name, _)| name).to_owned();
        let wanted = name(variable);
        let old = variables.iter().position(|one| name(one) == wanted);
        match (old, variable.contains('=')) {
            (Some(at), true) => variables[at].clone_from(variable),
            (Some(at), false) => drop(variables.remove(at)),
            (None, true) => variables.push(variable.clone()),
            (None, false) => {}
        }
    }
}

fn linux(settings: &Settings, capabilities: &[String]) -> Result<Value, SpecError> {
    let parent = if settings.cgroup_parent.is_empty() { "/docker" } else { &settings.cgroup_parent };
    let group = format!("{}/{}", parent.trim_end_matches('/'), settings.id);
    let mut linux = json!({
        "cgroupsPath": group,
        "namespaces": namespaces(settings),
        "resources": resources::resources(settings)?,
    });
    let devices = devices::nodes(settings)?;
    if !devices.is_empty() {
        linux["devices"] = devices.into();
    }
    let sysctl = sysctls(settings);
    if sysctl.as_object().is_some_and(|map| !map.is_empty()) {
        linux["sysctl"] = sysctl;
    }
    if !settings.privileged {
        linux["maskedPaths"] = paths(settings.masked_paths.as_deref(), &MASKED);
        linux["readonlyPaths"] = paths(settings.readonly_paths.as_deref(), &READONLY);
        if let Some(filter) = match &settings.seccomp {
            Seccomp::Unconfined => None,
            Seccomp::Default => Some(profile::default(capabilities)?),
            Seccomp::Profile(text) => Some(profile::parse(text, capabilities)?),
        } {
            linux["seccomp"] = filter;
        }
    }
    Ok(linux)
}

fn paths(given: Option<&[String]>, default: &[&str]) -> Value {
    given.map_or_else(|| default.into(), Into::into)
}

fn namespaces(settings: &Settings) -> Vec<Value> {
    let mut kinds = vec!["mount"];
    if settings.network == Network::None {
        kinds.push("network");
    }
    if !settings.uts_host {
        kinds.push("uts");
    }
    if !settings.pid_host {
        kinds.push("pid");
    }
    if settings.ipc != Ipc::Host {
        kinds.push("ipc");
    }
    if settings.cgroup_private {
        kinds.push("cgroup");
    }
    kinds.into_iter().map(|kind| json!({"type": kind})).collect()
}

fn sysctls(settings: &Settings) -> Value {
    let mut values = serde_json::Map::new();
    if settings.network == Network::None {
        values.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
        values.insert("net.ipv4.ping_group_range".into(), "0 2147483647".into());
    }
    if !settings.domainname.is_empty() {
        values.insert("kernel.domainname".into(), settings.domainname.clone().into());
    }
    values.extend(settings.sysctls.iter().map(|(name, value)| (name.clone(), value.clone().into())));
    values.into()
}
