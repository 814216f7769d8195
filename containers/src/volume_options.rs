//! Volumes with options: which there are, and how such a volume is mounted (moby v20.10.24 `volume/local/local.go, local_unix.go`,
//! and moby/sys `mount/flags_unix.go, mounter_linux.go`, as vendored there).
//!
//! dockerd mounts one for all of its containers at once; here each container has it mounted in the mount namespace of its monitor,
//! so that no mount stays when that ends.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use docker_format::size::ram_in_bytes;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use snapshot::dir::Dir;
use snapshot::ids::VolumeName;
use snapshot::schema::volume::{self, Mounting};

use crate::ContainerError;

/// The flags of mounts by their names, and whether a name takes its flag away.
const FLAGS: [(&str, bool, MsFlags); 31] = [
    ("ro", false, MsFlags::MS_RDONLY),
    ("rw", true, MsFlags::MS_RDONLY),
    ("suid", true, MsFlags::MS_NOSUID),
    ("nosuid", false, MsFlags::MS_NOSUID),
    ("dev", true, MsFlags::MS_NODEV),
    ("nodev", false, MsFlags::MS_NODEV),
    ("exec", true, MsFlags::MS_NOEXEC),
    ("noexec", false, MsFlags::MS_NOEXEC),
    ("sync", false, MsFlags::MS_SYNCHRONOUS),
    ("async", true, MsFlags::MS_SYNCHRONOUS),
    ("dirsync", false, MsFlags::MS_DIRSYNC),
    ("remount", false, MsFlags::MS_REMOUNT),
    ("mand", false, MsFlags::MS_MANDLOCK),
    ("nomand", true, MsFlags::MS_MANDLOCK),
    ("atime", true, MsFlags::MS_NOATIME),
    ("noatime", false, MsFlags::MS_NOATIME),
    ("diratime", true, MsFlags::MS_NODIRATIME),
    ("nodiratime", false, MsFlags::MS_NODIRATIME),
    ("bind", false, MsFlags::MS_BIND),
    ("rbind", false, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("unbindable", false, MsFlags::MS_UNBINDABLE),
    ("runbindable", false, MsFlags::MS_UNBINDABLE.union(MsFlags::MS_REC)),
    ("private", false, MsFlags::MS_PRIVATE),
    ("rprivate", false, MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
    ("shared", false, MsFlags::MS_SHARED),
    ("rshared", false, MsFlags::MS_SHARED.union(MsFlags::MS_REC)),
    ("slave", false, MsFlags::MS_SLAVE),
    ("rslave", false, MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
    ("relatime", false, MsFlags::MS_RELATIME),
    ("norelatime", true, MsFlags::MS_RELATIME),
    ("strictatime", false, MsFlags::MS_STRICTATIME),
];

/// Flags that say which mounts follow which; they are set by a call of their own.
const PROPAGATION: MsFlags =
    MsFlags::MS_SHARED.union(MsFlags::MS_PRIVATE).union(MsFlags::MS_SLAVE).union(MsFlags::MS_UNBINDABLE);

/// What the options of a new volume say of how it is mounted; `None` if there are none. An error is dockerd's message.
pub(crate) fn mounting(options: &BTreeMap<String, String>) -> Result<Option<Mounting>, String> {
    if options.is_empty() {
        return Ok(None);
    }
    if let Some(name) = options.keys().find(|name| !matches!(name.as_str(), "type" | "o" | "device" | "size")) {
        return Err(format!("invalid option: {name:?}"));
    }
    for (name, needs) in [("o", &["device", "type"][..]), ("device", &["type"]), ("type", &["device"])] {
        if options.contains_key(name)
            && let Some(missing) = needs.iter().find(|needed| !options.contains_key(**needed))
        {
            return Err(format!("missing required option: {missing:?}"));
        }
    }
    if let Some(size) = options.get("size") {
        let size = ram_in_bytes(size).ok_or_else(|| format!("invalid size: '{size}'"))?;
        if size > 0 {
            return Err("quota size requested but no quota support".into());
        }
    }
    let text = |name: &str| options.get(name).cloned().unwrap_or_default();
    Ok(Some(Mounting { kind: text("type"), options: text("o"), device: text("device") }))
}

/// A volume that is mounted until this is dropped.
#[derive(Debug)]
pub(crate) struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // It is in a mount namespace that goes with this process, at the latest.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
}

/// Mounts a volume that was made with options; `None` for a plain directory. To be called in a mount namespace of one's own.
pub(crate) fn mount_volume(root: &Path, name: &VolumeName) -> Result<Option<Mounted>, ContainerError> {
    let dir = Dir::open(root)?;
    let Some(mounting) = volume::mounting(&dir, name)? else { return Ok(None) };
    if mounting.device.is_empty() {
        return Err(ContainerError::Invalid("missing device in volume options".into()));
    }
    let path = volume::content_path(root, name);
    let options = if mounting.kind == "nfs" { resolved(&mounting.options)? } else { mounting.options.clone() };
    // Not by its path: what is mounted on is the directory, and nothing that a symlink in its place leads to.
    let data = volume::data(&dir, name)?.ok_or_else(|| ContainerError::NoVolume(name.to_string()))?.owned_fd()?;
    let target = PathBuf::from(format!("/proc/self/fd/{}", data.as_raw_fd()));
    let (flags, rest) = parse(&options);
    attempt(&mounting, &target, &path, flags, &rest).map_err(|errno| {
        let flags = if flags.is_empty() { String::new() } else { format!(", flags: {:#x}", flags.bits()) };
        let rest = if rest.is_empty() { String::new() } else { format!(", data: {rest}") };
        let (device, path, why) = (&mounting.device, path.display(), errno.desc().to_lowercase());
        let message = format!("failed to mount local volume: mount {device}:{path}{flags}{rest}: {why}");
        // docker's client finds the status in the text.
        let status = match errno {
            Errno::ENOENT => 127,
            Errno::EACCES | Errno::EISDIR => 126,
            _ => 125,
        };
        ContainerError::Start { status, message }
    })?;
    Ok(Some(Mounted(path)))
}

/// The flags and the rest of a mount's options.
fn parse(options: &str) -> (MsFlags, String) {
    let (mut flags, mut data) = (MsFlags::empty(), Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match FLAGS.iter().find(|(name, ..)| *name == option) {
            Some((_, true, flag)) => flags.remove(*flag),
            Some((_, false, flag)) => flags.insert(*flag),
            // moby gives the kernel what it has no flag for, `defaults` among them.
            None => data.push(option),
        }
    }
    (flags, data.join(","))
}

fn attempt(mounting: &Mounting, target: &Path, path: &Path, flags: MsFlags, data: &str) -> Result<(), Errno> {
    let none = None::<&str>;
    let text = Some(data).filter(|data| !data.is_empty());
    let own = flags - PROPAGATION;
    mount(Some(mounting.device.as_str()), target, Some(mounting.kind.as_str()), own, text)?;
    // From here on the path leads to the mount; the descriptor still leads to what is below it.
    if flags.intersects(PROPAGATION) {
        mount(none, path, none, flags & (PROPAGATION | MsFlags::MS_REC | MsFlags::MS_SILENT), none)?;
    }
    if own.contains(MsFlags::MS_BIND | MsFlags::MS_RDONLY) {
        mount(none, path, none, own | MsFlags::MS_REMOUNT, none)?;
    }
    Ok(())
}

/// Options of NFS with the server's name as an address, which is all that the kernel takes.
fn resolved(options: &str) -> Result<String, ContainerError> {
    let given = options.split(',').find_map(|option| option.strip_prefix("addr="));
    let Some(name) = given.filter(|name| !name.is_empty() && name.parse::<Ipv4Addr>().is_err()) else {
        return Ok(options.to_owned());
    };
    let invalid =
        |why: String| ContainerError::Invalid(format!("error resolving passed in network volume address: {why}"));
    let mut found = (name, 0).to_socket_addrs().map_err(|error| invalid(error.to_string()))?;
    let address: IpAddr = found.next().ok_or_else(|| invalid(format!("{name} has no address")))?.ip();
    Ok(options.replacen(&format!("addr={name}"), &format!("addr={address}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured with docker 20.10.24.
    #[test]
    fn options_are_checked_as_dockerd_checks_them() {
        let options = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            mounting(&pairs.collect())
        };
        for (pairs, expected) in [
            (&[("foo", "1")][..], "invalid option: \"foo\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("o", "size=1m")], "missing required option: \"device\""),
            (&[("device", "tmpfs")], "missing required option: \"type\""),
            (&[("size", "1m")], "quota size requested but no quota support"),
            (&[("size", "abc")], "invalid size: 'abc'"),
        ] {
            assert_eq!(options(pairs), Err(expected.to_owned()), "{pairs:?}");
        }
        assert_eq!(options(&[]), Ok(None));
        assert_eq!(options(&[("size", "0")]), Ok(Some(Mounting::default())));
        let all = Mounting { kind: "none".into(), options: "bind".into(), device: "/x".into() };
        assert_eq!(options(&[("type", "none"), ("o", "bind"), ("device", "/x")]), Ok(Some(all)));
    }

    #[test]
    fn flags_are_taken_out_of_the_options() {
        assert_eq!(parse("size=1m,ro,uid=7"), (MsFlags::MS_RDONLY, "size=1m,uid=7".into()));
        assert_eq!(parse("rbind,ro,rw"), (MsFlags::MS_BIND | MsFlags::MS_REC, String::new()));
        assert_eq!(parse("defaults"), (MsFlags::empty(), "defaults".into()));
        assert_eq!(resolved("addr=127.0.0.1,rw").unwrap(), "addr=127.0.0.1,rw");
    }
}
