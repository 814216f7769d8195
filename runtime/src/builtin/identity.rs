//! As whom the program runs, and what it may do.

use std::io;

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
};

use crate::capability::NAMES;
use crate::oci::{LinuxCapabilities, PosixRlimitType, Process};

/// Sets the limits of a process.
pub(super) fn limit(process: &Process) -> io::Result<()> {
    for limit in process.rlimits().iter().flatten() {
        let resource = match limit.typ() {
            PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
            PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
            PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
            PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
            PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
            PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
            PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
            PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
            PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
            PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
            PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
            PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
            PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
            PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
            PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
            PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
        };
        setrlimit(resource, limit.soft(), limit.hard())?;
    }
    Ok(())
}

/// Takes away what may never be had again.
pub(super) fn bound(capabilities: Option<&LinuxCapabilities>) -> io::Result<()> {
    let kept = set(capabilities.and_then(|all| all.bounding().as_ref()))?;
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The kernel does not know numbers after the last one.
        let Ok(is_in) = capability_is_in_bounding_set(one) else { break };
        if is_in && !kept.contains(one) {
            remove_capability_from_bounding_set(one)?;
        }
    }
    Ok(())
}

/// Becomes the user. Capabilities stay until [`restrict`] is called.
pub(super) fn become_user(process: &Process) -> io::Result<()> {
    let user = process.user();
    set_keep_capabilities(true)?;
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|&gid| Gid::from_raw(gid)).collect();
    let denied = || std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    match setgroups(&groups) {
        // In a user name space without the right to it, the groups are what they are.
        Err(nix::errno::Errno::EPERM) if denied() => {}
        result => result?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    set_keep_capabilities(false)?;
    let mask = rustix::fs::Mode::from_raw_mode(user.umask().unwrap_or(0o022));
    rustix::process::umask(mask);
    Ok(())
}

/// Makes the permitted capabilities effective again: the steps before [`restrict`] need them.
pub(super) fn raise() -> io::Result<()> {
    // After another user id was taken, the effective ones are gone, and the permitted ones were kept.
    let own = rustix::thread::capabilities(None)?;
    Ok(set_capabilities(None, CapabilitySets { effective: own.permitted, ..own })?)
}

/// Leaves the capabilities that are wanted.
pub(super) fn restrict(capabilities: Option<&LinuxCapabilities>) -> io::Result<()> {
    let pick = |which: fn(&LinuxCapabilities) -> &Option<crate::oci::Capabilities>| {
        set(capabilities.and_then(|all| which(all).as_ref()))
    };
    let sets = CapabilitySets {
        effective: pick(LinuxCapabilities::effective)?,
        permitted: pick(LinuxCapabilities::permitted)?,
        inheritable: pick(LinuxCapabilities::inheritable)?,
    };
    let failed = |error: rustix::io::Errno| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("unable to apply caps: {}", crate::words(&error)))
    };
    set_capabilities(None, sets).map_err(failed)?;
    clear_ambient_capability_set()?;
    let ambient = pick(LinuxCapabilities::ambient)?;
    for one in ambient.iter() {
        configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

fn set(names: Option<&crate::oci::Capabilities>) -> io::Result<CapabilitySet> {
    let mut all = CapabilitySet::empty();
    for capability in names.into_iter().flatten() {
        let name = format!("CAP_{}", capability.to_string().trim_start_matches("CAP_"));
        let number = NAMES.iter().position(|known| *known == name);
        let number = number.ok_or_else(|| io::Error::other(format!("the capability {name} is not known")))?;
        all |= CapabilitySet::from_bits_retain(1 << number);
    }
    Ok(all)
}
