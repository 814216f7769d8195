//! A block device that is given to LVM whole, for the pool of a store ("automatic direct-lvm").
//!
//! ```text
//! volume group docker                        the whole device
//!   thinpool                                 the pool docker-thinpool: 95 % of it data, in blocks of 512 KiB
//!   its metadata, and as much kept spare     1 % each
//! /etc/lvm/profile/docker-thinpool.profile   when LVM makes the pool larger by itself, and by how much
//! devicemapper/setup-config.json             what was chosen; written when all of that is there
//! ```
//!
//! LVM's programs do it, as dockerd has them do it (moby v20.10.24 `daemon/graphdriver/devmapper/device_setup.go`). What fails
//! half way is taken back, where dockerd leaves a volume group that it refuses at its next start.

use std::fmt::Write as _;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::options::{LvmOptions, PoolOptions};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::devicemapper::{MAX_DEVICE, SetupFile, encode};
use crate::schema::gojson;

/// The pool, by its name in the kernel.
pub(super) const POOL: &str = "docker-thinpool";

const SETUP: &str = "setup-config.json";

const GROUP: &str = "docker";

/// Where LVM looks for profiles.
const PROFILES: &str = "/etc/lvm/profile";

/// Without these nothing is begun; `thin_check` is what LVM calls before it makes a pool active.
const PROGRAMS: [&str; 6] = ["pvcreate", "vgcreate", "lvcreate", "lvconvert", "lvchange", "thin_check"];

/// What is noted of a store for which LVM was set up; `None` if it was not.
pub(super) fn noted(own: &Dir) -> Result<Option<SetupFile>, StoreError> {
    let Some(bytes) = own.read(SETUP, MAX_DEVICE)? else { return Ok(None) };
    let file: SetupFile = gojson::from_slice(&bytes)
        .map_err(|error| StoreError::Invalid { path: own.join(SETUP), reason: error.to_string() })?;
    Ok(Some(file).filter(|file| !file.device.is_empty()))
}

/// Sets LVM up as the user wants it, unless that was done before.
pub(super) fn set_up_if_new(own: &Dir) -> Result<(), StoreError> {
    let options = PoolOptions::chosen();
    let Some(wanted) = &options.lvm else { return Ok(()) };
    let file = SetupFile {
        device: wanted.device.display().to_string(),
        data_percent: wanted.data_percent,
        metadata_percent: wanted.metadata_percent,
        extend_percent: wanted.extend_percent,
        extend_threshold: wanted.extend_threshold,
    };
    match noted(own)? {
        Some(known) if known == file => return Ok(()),
        Some(known) => {
            let reason = format!("changing direct-lvm config is not supported: it was set up with {}", known.device);
            return Err(StoreError::Invalid { path: own.join(SETUP), reason });
        }
        None => {}
    }
    check(wanted)?;
    set_up(wanted)?;
    own.replace(SETUP, &encode(&file), 0o600, true)
}

/// A program in the directories of `PATH` and of the system.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// What a program printed, and whether it has succeeded.
fn run(name: &str, arguments: &[&str]) -> std::io::Result<(bool, String)> {
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "it is not installed");
    let output = Command::new(find(name).ok_or_else(missing)?).args(arguments).stdin(Stdio::null()).output()?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), said))
}

fn invalid(device: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Invalid { path: device.to_path_buf(), reason: reason.into() }
}

/// Whether the device may be given to LVM, by dockerd's questions. As with dockerd, what cannot be asked is no reason to refuse.
fn check(wanted: &LvmOptions) -> Result<(), StoreError> {
    let device = wanted.device.as_path();
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(invalid(
            device,
            format!("is not given to LVM, for its programs are not installed: {}", missing.join(", ")),
        ));
    }
    let found = std::fs::metadata(device).map_err(StoreError::io(device, "stat"))?;
    if !found.file_type().is_block_device() {
        return Err(invalid(device, "not a block device"));
    }
    let text = device.display().to_string();
    if let Ok((true, said)) = run("lvmdiskscan", &[])
        && !said.contains(&text)
    {
        return Err(invalid(
            device,
            "is not available for use with devicemapper: LVM does not see it, or somebody uses it",
        ));
    }
    if let Ok((true, said)) = run("pvdisplay", &[&text])
        && let Some(group) = said.lines().find_map(|line| line.trim().strip_prefix("VG Name"))
        && !group.trim().is_empty()
    {
        let group = group.trim();
        return Err(invalid(
            device,
            format!(
                "is already part of a volume group \"{group}\": must remove this device from any volume group or provide a different device"
            ),
        ));
    }
    if wanted.force {
        return Ok(());
    }
    let kind = |said: &str| said.split(" TYPE=\"").nth(1).and_then(|rest| rest.split('"').next().map(str::to_owned));
    if let Ok((true, said)) = run("blkid", &[&text])
        && let Some(kind) = kind(&said)
    {
        return Err(invalid(
            device,
            format!(
                "has a filesystem already ({kind}), use dm.directlvm_device_force=true if you want to wipe the device"
            ),
        ));
    }
    Ok(())
}

/// Has LVM make the volume group and the pool.
fn set_up(wanted: &LvmOptions) -> Result<(), StoreError> {
    let or = |value: u64, usual: u64| if value == 0 { usual } else { value };
    let device = wanted.device.display().to_string();
    let data = format!("{}%VG", or(wanted.data_percent, 95));
    let metadata = format!("{}%VG", or(wanted.metadata_percent, 1));
    let profile = format!(
        "activation{{\nthin_pool_autoextend_threshold={}\nthin_pool_autoextend_percent={}\n}}",
        or(wanted.extend_threshold, 80),
        or(wanted.extend_percent, 20)
    );
    let do_it = |name: &str, arguments: &[&str]| match run(name, arguments) {
        Ok((true, _)) => Ok(()),
        Ok((false, said)) => {
            let mut reason = format!("LVM was not set up: {name} {}", arguments.join(" "));
            let _ = write!(reason, ": {}", said.trim().replace('\n', "; "));
            Err(invalid(&wanted.device, reason))
        }
        Err(source) => Err(StoreError::io(name, "running")(source)),
    };
    do_it("pvcreate", &["-f", &device])?;
    if let Err(error) = do_it("vgcreate", &[GROUP, &device]) {
        let _ = run("pvremove", &["-f", &device]);
        return Err(error);
    }
    let made = || {
        do_it("lvcreate", &["-y", "--wipesignatures", "y", "-n", "thinpool", GROUP, "--extents", &data])?;
        do_it("lvcreate", &["-y", "--wipesignatures", "y", "-n", "thinpoolmeta", GROUP, "--extents", &metadata])?;
        let (pool, records) = (format!("{GROUP}/thinpool"), format!("{GROUP}/thinpoolmeta"));
        do_it("lvconvert", &["-y", "--zero", "n", "-c", "512K", "--thinpool", &pool, "--poolmetadata", &records])?;
        let path = Path::new(PROFILES).join(format!("{POOL}.profile"));
        std::fs::create_dir_all(PROFILES).map_err(StoreError::io(PROFILES, "making"))?;
        std::fs::write(&path, &profile).map_err(StoreError::io(&path, "writing"))?;
        do_it("lvchange", &["--metadataprofile", POOL, &pool])
    };
    made().inspect_err(|_| {
        // The group was made here, so nobody else has anything in it.
        let _ = run("vgremove", &["-f", GROUP]);
        let _ = run("pvremove", &["-f", &device]);
    })
}
