//! What docker's client refuses of the values of flags before it asks the daemon (docker/cli v20.10.24
//! `cli/command/container/opts.go: parse`, `opts/opts.go`).

use super::CreateFlags;
use super::values::invalid;

impl CreateFlags {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for text in &self.attach {
            if !matches!(text.to_lowercase().as_str(), "stdin" | "stdout" | "stderr") {
                return Err(invalid("-a, --attach", text, "valid streams are STDIN, STDOUT and STDERR"));
            }
        }
        for text in &self.device_cgroup_rule {
            if !is_device_rule(text) {
                return Err(invalid("--device-cgroup-rule", text, format!("invalid device cgroup format '{text}'")));
            }
        }
        if !self.mac_address.is_empty() && !is_mac_address(self.mac_address.trim()) {
            anyhow::bail!("{} is not a valid mac address", self.mac_address);
        }
        if !(-1..=100).contains(&self.memory_swappiness) {
            anyhow::bail!("invalid value: {}. Valid memory swappiness range is 0-100", self.memory_swappiness);
        }
        let of_container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
        if !matches!(self.pid.as_str(), "" | "host") && !of_container(&self.pid) {
            anyhow::bail!("--pid: invalid PID mode");
        }
        if !matches!(self.uts.as_str(), "" | "host") {
            anyhow::bail!("--uts: invalid UTS mode");
        }
        if !matches!(self.cgroupns.as_str(), "" | "host" | "private") {
            anyhow::bail!("--cgroupns: invalid CGROUP mode");
        }
        for (flag, text) in [
            ("interval", &self.health_interval),
            ("timeout", &self.health_timeout),
            ("start-period", &self.health_start_period),
        ] {
            if docker_format::until::duration(text).is_some_and(|nanos| nanos < 0) {
                anyhow::bail!("--health-{flag} cannot be negative");
            }
        }
        if self.network.as_deref() == Some("") {
            anyhow::bail!("no name set for network");
        }
        if self.health_retries < 0 {
            anyhow::bail!("--health-retries cannot be negative");
        }
        Ok(())
    }
}

/// Parameters of the kernel that each container has of its own (`opts/opts.go: ValidateSysctl`).
const PARAMETERS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Whether `NAME=VALUE` sets a parameter that may differ between containers.
pub(super) fn is_own_parameter(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        PARAMETERS.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
    })
}

/// `TYPE MAJOR:MINOR ACCESS`: `c 1:3 rwm`.
fn is_device_rule(text: &str) -> bool {
    let number = |text: &str| text == "*" || !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, device, access] = parts.as_slice() else { return false };
    matches!(*kind, "a" | "b" | "c")
        && device.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
        && (1..=3).contains(&access.len())
        && access.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm'))
}

/// Addresses of 6, 8 or 20 bytes, in pairs of digits or in fours, as Go's `net.ParseMAC` reads them.
fn is_mac_address(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        let is_group = |part: &&str| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        counts.contains(&parts.len()) && parts.iter().all(is_group)
    };
    groups(':', 2, [6, 8, 20]) || groups('-', 2, [6, 8, 20]) || groups('.', 4, [3, 4, 10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_addresses_have_docker_s_forms() {
        for good in ["a *:* rwm", "c 1:3 r", "b 8:* mw"] {
            assert!(is_device_rule(good), "{good}");
        }
        for bad in ["", "x 1:1 r", "c 1:1 x", "c 1 r", "c 1:1", "c  1:1 r", "c 1:1 rwmr", "c :1 r"] {
            assert!(!is_device_rule(bad), "{bad}");
        }
        for good in ["92:d0:c6:0a:29:33", "02-00-5e-10-00-00-00-01", "0000.5e00.5301"] {
            assert!(is_mac_address(good), "{good}");
        }
        for bad in ["x", "92:d0:c6:0a:29", "92:d0:c6:0a:29:3", "92:d0-c6:0a:29:33", "92d0c60a2933"] {
            assert!(!is_mac_address(bad), "{bad}");
        }
    }
}
