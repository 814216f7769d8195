//! `--storage-opt`: what dockerd's flag of that name says of a pool of devicemapper.

use docker_format::size::ram_in_bytes;
use snapshot::driver::{LvmOptions, PoolFileSystem, PoolOptions};

use crate::exit::UsageError;

/// The flag of the programs that do one thing. `layerfs` has it before its commands, and says so.
#[derive(Debug, clap::Args)]
pub(crate) struct StorageFlags {
    /// Options of the storage driver devicemapper as dockerd takes them, such as dm.thinpooldev=NAME
    #[arg(long, value_name = "KEY=VALUE")]
    storage_opt: Vec<String>,
}

impl StorageFlags {
    /// Has this process open all stores with these options.
    ///
    /// # Errors
    /// [`UsageError`] for what is no option of dockerd's, in its words.
    pub(crate) fn choose(&self) -> Result<(), UsageError> {
        choose(&self.storage_opt)
    }
}

/// Has this process open all stores with these options.
pub(crate) fn choose(options: &[String]) -> Result<(), UsageError> {
    if !options.is_empty() {
        parse(options).map_err(UsageError)?.choose();
    }
    Ok(())
}

/// Options as dockerd takes them, with its errors (moby v20.10.24 `daemon/graphdriver/devmapper/deviceset.go: NewDeviceSet`).
fn parse(options: &[String]) -> Result<PoolOptions, String> {
    let mut pool = PoolOptions::default();
    let (mut data, mut metadata) = (None, None);
    let mut lvm = LvmOptions::default();
    for option in options {
        let (key, value) =
            option.split_once('=').ok_or_else(|| format!("Unable to parse key/value option: {option}"))?;
        let (key, value) = (key.trim().to_lowercase(), value.trim());
        let size = || {
            let bytes = ram_in_bytes(value).and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
            bytes.ok_or_else(|| format!("{key}: invalid size: '{value}'"))
        };
        let truth = || match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!("{key}: invalid syntax: '{value}'")),
        };
        let percent = || {
            let number: u64 = value
                .strip_suffix('%')
                .unwrap_or(value)
                .parse()
                .map_err(|error| format!("could not parse `{key}={value}`: {error}"))?;
            if number >= 100 { Err(format!("{key} must be greater than 0 and less than 100")) } else { Ok(number) }
        };
        match key.as_str() {
            "dm.basesize" => pool.base_size = Some(size()?),
            "dm.loopdatasize" => pool.data_size = Some(size()?),
            "dm.loopmetadatasize" => pool.metadata_size = Some(size()?),
            "dm.fs" => {
                pool.file_system = Some(match value {
                    "ext4" => PoolFileSystem::Ext4,
                    "xfs" => PoolFileSystem::Xfs,
                    _ => return Err(format!("devmapper: Unsupported filesystem {value}")),
                });
            }
            "dm.mkfsarg" => pool.make_arguments.push(value.to_owned()),
            "dm.mountopt" => {
                pool.mount_options.extend(value.split(',').filter(|one| !one.is_empty()).map(str::to_owned));
            }
            "dm.datadev" => data = Some(value),
            "dm.metadatadev" => metadata = Some(value),
            "dm.thinpooldev" => {
                pool.thin_pool = Some(value.strip_prefix("/dev/mapper/").unwrap_or(value).to_owned());
            }
            "dm.blocksize" => {
                let bytes = size()?;
                // The kernel takes multiples of 64 KiB up to 1 GiB.
                if bytes % (64 << 10) != 0 || bytes > 1 << 30 {
                    return Err(format!("{key}: {bytes} is no multiple of 65536 up to {}", 1_u64 << 30));
                }
                pool.block = Some(bytes);
            }
            "dm.blkdiscard" => pool.discard = Some(truth()?),
            "dm.min_free_space" => {
                let number = value
                    .strip_suffix('%')
                    .ok_or_else(|| "devmapper: Option dm.min_free_space requires % suffix".to_owned())?;
                let percent = number.parse().ok().filter(|percent| *percent < 100);
                pool.min_free = Some(
                    percent.ok_or_else(|| format!("devmapper: Invalid value {number} for option dm.min_free_space"))?,
                );
            }
            "dm.xfs_nospace_max_retries" => {
                value.parse::<u64>().map_err(|error| format!("{key}: {error}: '{value}'"))?;
                pool.xfs_retries = Some(value.to_owned());
            }
            // What these choose is always so here: a device goes when it is closed, one that is in use is not deleted, and udev is
            // waited for where it runs, and not needed where it does not. dockerd refuses to start without it.
            "dm.use_deferred_removal" | "dm.use_deferred_deletion" | "dm.override_udev_sync_check" => drop(truth()?),
            "dm.libdm_log_level" => drop(value.parse::<u8>().map_err(|error| format!("{key}: {error}: '{value}'"))?),
            "dm.directlvm_device" => lvm.device = value.into(),
            "dm.directlvm_device_force" => lvm.force = truth()?,
            "dm.thinp_percent" => lvm.data_percent = percent()?,
            "dm.thinp_metapercent" => lvm.metadata_percent = percent()?,
            "dm.thinp_autoextend_percent" => lvm.extend_percent = percent()?,
            "dm.thinp_autoextend_threshold" => lvm.extend_threshold = percent()?,
            key => return Err(format!("devmapper: Unknown option {key}")),
        }
    }
    pool.devices = match (data, metadata) {
        (Some(data), Some(metadata)) => Some((data.into(), metadata.into())),
        (None, None) => None,
        _ => return Err("dm.datadev and dm.metadatadev name the two parts of one pool: give both".into()),
    };
    pool.lvm = checked_lvm(lvm)?;
    if pool.lvm.is_some() && pool.thin_pool.is_some() {
        return Err("cannot setup direct-lvm when `dm.thinpooldev` is also specified".into());
    }
    if pool.lvm.is_some() && pool.devices.is_some() {
        return Err("dm.directlvm_device has a pool made by LVM, and dm.datadev names the parts of another one".into());
    }
    if pool.thin_pool.is_some() && pool.devices.is_some() {
        return Err("dm.thinpooldev names a pool, and dm.datadev the parts of another one".into());
    }
    Ok(pool)
}

/// dockerd's checks of the options for LVM (`device_setup.go: validateLVMConfig`).
fn checked_lvm(lvm: LvmOptions) -> Result<Option<LvmOptions>, String> {
    if (LvmOptions { force: false, ..lvm.clone() }) == LvmOptions::default() {
        return Ok(None);
    }
    if lvm.device.as_os_str().is_empty() {
        return Err("must provide device path in `dm.directlvm_device` in order to configure direct-lvm".into());
    }
    if (lvm.data_percent == 0) != (lvm.metadata_percent == 0) {
        return Err("must set both `dm.thinp_percent` and `dm.thinp_metapercent` if either is specified".into());
    }
    if lvm.data_percent + lvm.metadata_percent > 100 {
        return Err("combined `dm.thinp_percent` and `dm.thinp_metapercent` must not be greater than 100".into());
    }
    Ok(Some(lvm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> Result<PoolOptions, String> {
        parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_dockers() {
        let options = parsed(&[
            "dm.basesize=20G",
            "DM.FS=ext4",
            "dm.mkfsarg=-O",
            "dm.mkfsarg=^has_journal",
            "dm.mountopt=discard,nobarrier",
            "dm.thinpooldev=/dev/mapper/vg-pool",
            "dm.blocksize=512K",
            "dm.min_free_space=0%",
            "dm.use_deferred_removal=true",
        ]);
        let expected = PoolOptions {
            base_size: Some(20 << 30),
            file_system: Some(PoolFileSystem::Ext4),
            make_arguments: vec!["-O".into(), "^has_journal".into()],
            mount_options: vec!["discard".into(), "nobarrier".into()],
            thin_pool: Some("vg-pool".into()),
            block: Some(512 << 10),
            min_free: Some(0),
            ..PoolOptions::default()
        };
        assert_eq!(options, Ok(expected));
        // What dockerd 20.10.24 says of them.
        for (option, said) in [
            ("dm.frob=1", "devmapper: Unknown option dm.frob"),
            ("dm.fs=btrfs", "devmapper: Unsupported filesystem btrfs"),
            ("dm.min_free_space=10", "devmapper: Option dm.min_free_space requires % suffix"),
            ("dm.min_free_space=100%", "devmapper: Invalid value 100 for option dm.min_free_space"),
            ("dm.basesize", "Unable to parse key/value option: dm.basesize"),
        ] {
            assert_eq!(parsed(&[option]), Err(said.to_owned()));
        }
        for option in
            ["dm.blocksize=100", "dm.blkdiscard=maybe", "dm.basesize=x", "dm.datadev=/dev/vdb", "dm.thinp_percent=x"]
        {
            assert!(parsed(&[option]).is_err(), "{option}");
        }
    }

    #[test]
    fn options_for_lvm_are_dockers() {
        let device = "dm.directlvm_device=/dev/vdb";
        let given = [device, "dm.directlvm_device_force=1", "dm.thinp_percent=90%", "dm.thinp_metapercent=2"];
        let lvm = LvmOptions {
            device: "/dev/vdb".into(),
            force: true,
            data_percent: 90,
            metadata_percent: 2,
            ..LvmOptions::default()
        };
        assert_eq!(parsed(&given).unwrap().lvm, Some(lvm));
        assert_eq!(parsed(&["dm.directlvm_device_force=true"]).unwrap().lvm, None);
        // What dockerd 20.10.24 says of them.
        for (options, said) in [
            (
                &["dm.thinp_autoextend_percent=10"][..],
                "must provide device path in `dm.directlvm_device` in order to configure direct-lvm",
            ),
            (
                &[device, "dm.thinp_percent=90"],
                "must set both `dm.thinp_percent` and `dm.thinp_metapercent` if either is specified",
            ),
            (
                &[device, "dm.thinp_percent=90", "dm.thinp_metapercent=11"],
                "combined `dm.thinp_percent` and `dm.thinp_metapercent` must not be greater than 100",
            ),
            (&[device, "dm.thinp_percent=100"], "dm.thinp_percent must be greater than 0 and less than 100"),
            (&[device, "dm.thinpooldev=pool"], "cannot setup direct-lvm when `dm.thinpooldev` is also specified"),
        ] {
            assert_eq!(parsed(options), Err(said.to_owned()));
        }
    }
}
