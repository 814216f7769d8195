//! How the values of flags are written: sizes, durations, devices, limits, mounts, ports.

use std::collections::BTreeMap;
use std::path::PathBuf;

use snapshot::schema::containerfile::{BindOptions, DeviceMapping, ServiceMount, TmpfsOptions, Ulimit, VolumeOptions};

/// docker's message about a flag's value.
pub(super) fn invalid(flag: &str, value: &str, why: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("invalid argument {value:?} for \"{flag}\" flag: {why}")
}

/// Bytes in powers of 1024, as docker's `-m` has them.
pub(crate) fn bytes(flag: &str, text: &str) -> anyhow::Result<i64> {
    docker_format::size::ram_in_bytes(text).ok_or_else(|| invalid(flag, text, format!("invalid size: '{text}'")))
}

/// A Go duration that is not negative, in nanoseconds.
pub(crate) fn duration(flag: &str, text: &str) -> anyhow::Result<i64> {
    let nanos = docker_format::until::duration(text).filter(|nanos| *nanos >= 0);
    nanos.ok_or_else(|| invalid(flag, text, format!("time: invalid duration {text:?}")))
}

/// `KEY=VALUE`, or a key alone, which has an empty value; the last of a key counts.
pub(crate) fn pairs(list: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(pair).collect()
}

pub(super) fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

pub(super) fn lines_of(files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        let text =
            std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("open {}: {}", path.display(), error))?;
        let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
        all.extend(lines.map(str::to_owned));
    }
    Ok(all)
}

/// The variables of files and flags, in this order; a name alone takes the caller's value.
pub(crate) fn environment(files: &[PathBuf], flags: &[String]) -> anyhow::Result<Vec<String>> {
    let full = |text: &String| {
        if text.is_empty() || text.starts_with('=') {
            return Err(invalid("-e, --env", text, format!("invalid environment variable: {text}")));
        }
        Ok(match (text.contains('='), std::env::var(text)) {
            (false, Ok(value)) => format!("{text}={value}"),
            _ => text.clone(),
        })
    };
    lines_of(files)?.iter().chain(flags).map(full).collect()
}

pub(super) fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && first > 0).then_some((first, last))
}

pub(super) fn exposed(text: &str) -> anyhow::Result<Vec<String>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range(ports).ok_or_else(|| anyhow::anyhow!("invalid range format for --expose: {text}"))?;
    Ok((first..=last).map(|number| format!("{number}/{protocol}")).collect())
}

pub(super) fn device(text: &str) -> anyhow::Result<DeviceMapping> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
    let (host, container, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] => (host, container, mode),
        _ => anyhow::bail!("invalid device specification: {text}"),
    };
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

pub(super) fn ulimit(text: &str) -> anyhow::Result<Ulimit> {
    let fail = |why: String| invalid("--ulimit", text, why);
    let (name, values) = text.split_once('=').ok_or_else(|| fail(format!("invalid ulimit argument: {text}")))?;
    if !runtime::spec::LIMITS.contains(&name) {
        return Err(fail(format!("invalid ulimit type: {name}")));
    }
    let number = |value: &str| {
        value.parse::<i64>().map_err(|_| fail(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")))
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && soft > hard {
        return Err(fail(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

/// The fields of a line of values that commas separate; one in quotes may have commas in it, and its quotes are doubled.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            char => field.push(char),
        }
    }
    fields.push(field);
    fields
}

pub(super) fn mount(text: &str) -> anyhow::Result<ServiceMount> {
    let fail = |why: String| invalid("--mount", text, why);
    let mut mount = ServiceMount { kind: "volume".into(), ..ServiceMount::default() };
    let mut bind = BindOptions::default();
    let mut volume = VolumeOptions::default();
    let mut tmpfs = TmpfsOptions::default();
    for field in fields(text) {
        let field = field.as_str();
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let key = key.to_lowercase();
        let flag = || match value {
            None => Ok(true),
            Some(value) => {
                crate::flags::parse_bool(value).map_err(|_| fail(format!("invalid value for {key}: {}", value)))
            }
        };
        match (key.as_str(), value) {
            ("readonly" | "ro", _) => mount.read_only = flag()?,
            ("volume-nocopy", _) => volume.no_copy = flag()?,
            ("bind-nonrecursive", _) => bind.non_recursive = flag()?,
            (_, None) => return Err(fail(format!("invalid field '{field}' must be a key=value pair"))),
            ("type", Some(value)) => mount.kind = value.to_lowercase(),
            ("source" | "src", Some(value)) => mount.source = value.to_owned(),
            ("target" | "dst" | "destination", Some(value)) => mount.target = value.to_owned(),
            ("consistency", Some(value)) => mount.consistency = value.to_lowercase(),
            ("bind-propagation", Some(value)) => bind.propagation = value.to_lowercase(),
            ("volume-label", Some(value)) => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                volume.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
            }
            ("volume-driver", Some(value)) => volume.driver_config.get_or_insert_default().name = value.to_owned(),
            ("volume-opt", Some(value)) => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                let driver = volume.driver_config.get_or_insert_default();
                driver.options.get_or_insert_default().insert(name.to_owned(), value.to_owned());
            }
            ("tmpfs-size", Some(value)) => tmpfs.size_bytes = bytes("--mount", value)?,
            ("tmpfs-mode", Some(value)) => {
                tmpfs.mode =
                    u32::from_str_radix(value, 8).map_err(|_| fail(format!("invalid value for {key}: {value}")))?;
            }
            (key, Some(_)) => return Err(fail(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if mount.target.is_empty() {
        return Err(fail("target is required".into()));
    }
    mount.bind_options = (bind != BindOptions::default()).then_some(bind);
    mount.volume_options = (volume != VolumeOptions::default()).then_some(volume);
    mount.tmpfs_options = (tmpfs != TmpfsOptions::default()).then_some(tmpfs);
    for (kind, is_set) in [
        ("bind", mount.bind_options.is_some()),
        ("volume", mount.volume_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ] {
        if is_set && mount.kind != kind {
            return Err(fail(format!("cannot mix '{kind}-*' options with mount type '{}'", mount.kind)));
        }
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_docker_s() {
        for (text, expected) in [("64m", 64 << 20), ("1.5k", 1536), ("7", 7), ("1GiB", 1 << 30), ("2b", 2)] {
            assert_eq!(bytes("-m", text).unwrap(), expected, "{text}");
        }
        assert!(bytes("-m", "abc").is_err() && bytes("-m", "").is_err() && bytes("-m", "-1k").is_err());
        for (text, expected) in [("1s", 1_000_000_000), ("1m30s", 90_000_000_000), ("1.5ms", 1_500_000), ("0", 0)] {
            assert_eq!(duration("--x", text).unwrap(), expected, "{text}");
        }
        assert_eq!(fields("a=b,\"c=d,\"\"e\"\"\",f"), ["a=b", "c=d,\"e\"", "f"]);
        assert!(duration("--x", "1").is_err() && duration("--x", "s").is_err() && duration("--x", "1x").is_err());
    }
}
