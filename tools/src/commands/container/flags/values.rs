//! How the values of flags are written: sizes, durations, devices, limits, mounts, ports.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use snapshot::schema::containerfile::{BindOptions, DeviceMapping, ServiceMount, TmpfsOptions, Ulimit, VolumeOptions};

/// docker's message about a flag's value.
pub(super) fn invalid(flag: &str, value: &str, why: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("invalid argument {value:?} for \"{flag}\" flag: {why}")
}

/// Bytes in powers of 1024, as docker's `-m` has them.
pub(crate) fn bytes(flag: &str, text: &str) -> anyhow::Result<i64> {
    docker_format::size::ram_in_bytes(text).ok_or_else(|| invalid(flag, text, format!("invalid size: '{text}'")))
}

/// A billionth of this many processors, as docker's client reads the number: `1.5`, `3/4`, `5e-1` (docker/cli v20.10.24
/// `opts/opts.go: ParseCPUs`).
pub(super) fn nano_cpus(text: &str) -> Result<i64, String> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (above, below) = rational(number).ok_or_else(|| format!("failed to parse {text} as a rational number"))?;
    let nanos = above.checked_mul(1_000_000_000).filter(|nanos| nanos % below == 0).map(|nanos| nanos / below);
    nanos.and_then(|nanos| i64::try_from(sign * nanos).ok()).ok_or_else(|| "value is too precise".into())
}

/// A number without a sign, as a fraction.
fn rational(text: &str) -> Option<(i128, i128)> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| is_number(text).then(|| text.parse::<i128>().ok()).flatten();
    if let Some((above, below)) = text.split_once('/') {
        return Some((number(above)?, number(below).filter(|below| *below > 0)?));
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, Some(0)), |(mantissa, exponent)| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        (mantissa, is_number(digits).then(|| exponent.parse::<i32>().ok()).flatten())
    });
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = number(&format!("{whole}{decimals}"))?;
    let exponent = exponent?.checked_sub(i32::try_from(decimals.len()).ok()?)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 { Some((digits, power)) } else { Some((digits.checked_mul(power)?, 1)) }
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

/// What is in a file; why it cannot be read is said in Go's words.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        let call = if error.kind() == ErrorKind::IsADirectory { "read" } else { "open" };
        let words = match error.raw_os_error() {
            Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
            None => error.to_string(),
        };
        format!("{call} {}: {words}", path.display())
    })
}

/// The `KEY=VALUE` of files, and of a key alone what `value_of` knows of it (docker/cli v20.10.24 `opts/file.go`).
pub(super) fn lines_of(files: &[PathBuf], value_of: impl Fn(&str) -> Option<String>) -> anyhow::Result<Vec<String>> {
    const WHITE: [char; 2] = [' ', '\t'];
    let mut all = Vec::new();
    for path in files {
        let bytes = read(path).map_err(anyhow::Error::msg)?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let Ok(line) = std::str::from_utf8(line) else {
                anyhow::bail!("env file {} contains invalid utf8 bytes at line {}", path.display(), number + 1);
            };
            let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value.to_owned())));
            if key.contains(WHITE) {
                anyhow::bail!("poorly formatted environment: variable '{key}' contains whitespaces");
            }
            if key.is_empty() {
                anyhow::bail!("poorly formatted environment: no variable name on line '{line}'");
            }
            if let Some(value) = value.or_else(|| value_of(key)) {
                all.push(format!("{key}={value}"));
            }
        }
    }
    Ok(all)
}

/// A label, without white space in front of its key.
pub(super) fn label(text: &str) -> anyhow::Result<String> {
    const WHITE: [char; 2] = [' ', '\t'];
    let trimmed = text.trim_start_matches(WHITE);
    let key = trimmed.split('=').next().unwrap_or_default();
    if key.is_empty() {
        return Err(invalid("-l, --label", text, format!("invalid label '{text}': empty name")));
    }
    if key.contains(WHITE) {
        return Err(invalid("-l, --label", text, format!("label '{key}' contains whitespaces")));
    }
    Ok(trimmed.to_owned())
}

/// A search domain, without the dot at its end.
pub(super) fn domain(text: &str) -> anyhow::Result<String> {
    let trimmed = text.trim_matches(' ');
    let name = trimmed.strip_suffix('.').unwrap_or(trimmed);
    let is_part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    let has_letter = name.contains(|char: char| char.is_ascii_alphabetic());
    match trimmed {
        "." => Ok(trimmed.to_owned()),
        _ if has_letter && name.len() < 255 && name.split('.').all(is_part) => Ok(name.to_owned()),
        _ => Err(invalid("--dns-search", text, format!("{text} is not a valid domain"))),
    }
}

/// The variables of files and flags, in this order; a name alone takes the caller's value, and one of a file is left out where
/// there is none. Of flags with the same name the last one counts, in the place of the first; a variable of a file stays beside
/// them, as with docker 20.10 (which may begin anywhere in the flags' round).
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
    let key = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    let mut own: Vec<String> = Vec::new();
    for text in flags {
        let text = full(text)?;
        match own.iter_mut().find(|known| key(known) == key(&text)) {
            Some(known) => *known = text,
            None => own.push(text),
        }
    }
    let mut all = lines_of(files, |name| std::env::var(name).ok())?;
    all.extend(own);
    Ok(all)
}

/// Whether a text of `-v` has a source in front of its destination, as docker's client looks for one (docker/cli v20.10.24
/// `cli/compose/loader/volume.go`): a single letter and a colon are a drive of Windows.
pub(super) fn has_source(text: &str) -> bool {
    let is_drive = text.as_bytes().get(1) == Some(&b':') && text.starts_with(char::is_alphabetic);
    let colon = text.char_indices().skip(if is_drive { 2 } else { 0 }).find(|(_, char)| *char == ':');
    text.len() > 2 && colon.is_some_and(|(at, _)| at > 0)
}

/// Each text once.
pub(super) fn without_repeats<'t>(texts: impl Iterator<Item = &'t String>) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        if !all.contains(text) {
            all.push(text.clone());
        }
    }
    all
}

/// A device of the host (docker/cli v20.10.24 `cli/command/container/opts.go: validateLinuxPath, parseDevice`).
pub(super) fn device(text: &str) -> anyhow::Result<DeviceMapping> {
    let is_mode = |text: &str| {
        let known = text.chars().all(|char| matches!(char, 'r' | 'w' | 'm'));
        known && !text.is_empty() && ['r', 'w', 'm'].iter().all(|access| text.matches(*access).count() < 2)
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] => (host, container, mode),
        _ => ("", "", ""),
    };
    if host.is_empty() {
        anyhow::bail!("bad format for path: {text}");
    }
    if !is_mode(mode) {
        anyhow::bail!("bad mode specified: {mode}");
    }
    if !container.starts_with('/') {
        anyhow::bail!("{container} is not an absolute path");
    }
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
    if hard.contains(':') {
        let why = format!("too many limit value arguments - {values}, can only have up to two, `soft[:hard]`");
        return Err(fail(why));
    }
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && soft == -1 {
        let why = "ulimit soft limit must be less than or equal to hard limit";
        return Err(fail(format!("{why}: soft: -1 (unlimited), hard: {hard}")));
    }
    if hard != -1 && soft > hard {
        return Err(fail(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

/// The fields of a line of values that commas separate, as Go's `encoding/csv` reads it; one in quotes may have commas in it, and
/// its quotes are doubled.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let fail = |at: usize, why: &str| Err(format!("parse error on line 1, column {}: {why}", at + 1));
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &line[at..];
        if let Some(quoted) = rest.strip_prefix('"') {
            let (mut field, mut end) = (String::new(), 0);
            loop {
                let Some(quote) = quoted[end..].find('"') else {
                    return fail(line.len(), "extraneous or missing \" in quoted-field");
                };
                field.push_str(&quoted[end..end + quote]);
                end += quote + 1;
                match quoted.as_bytes().get(end) {
                    Some(b'"') => field.push('"'),
                    None | Some(b',') => break,
                    Some(_) => return fail(at + end, "extraneous or missing \" in quoted-field"),
                }
                end += 1;
            }
            fields.push(field);
            at += 1 + end;
        } else {
            let field = rest.split(',').next().unwrap_or_default();
            if let Some(quote) = field.find('"') {
                return fail(at + quote, "bare \" in non-quoted-field");
            }
            fields.push(field.to_owned());
            at += field.len();
        }
        if at == line.len() {
            return Ok(fields);
        }
        at += 1;
    }
}

pub(super) fn mount(text: &str) -> anyhow::Result<ServiceMount> {
    let fail = |why: String| invalid("--mount", text, why);
    let mut mount = ServiceMount { kind: "volume".into(), ..ServiceMount::default() };
    let mut bind = BindOptions::default();
    let mut volume = VolumeOptions::default();
    let mut tmpfs = TmpfsOptions::default();
    if text.is_empty() {
        return Err(fail("EOF".into()));
    }
    for field in fields(text).map_err(fail)? {
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
            ("tmpfs-size", Some(value)) => {
                let size = docker_format::size::ram_in_bytes(value);
                tmpfs.size_bytes = size.ok_or_else(|| fail(format!("invalid value for {key}: {value}")))?;
            }
            ("tmpfs-mode", Some(value)) => {
                tmpfs.mode =
                    u32::from_str_radix(value, 8).map_err(|_| fail(format!("invalid value for {key}: {value}")))?;
            }
            (key, Some(_)) => return Err(fail(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if mount.kind.is_empty() {
        return Err(fail("type is required".into()));
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

    /// What `docker create` 20.10.24 leaves in `Config.Env`, before the variables of the image.
    #[test]
    fn variables_of_flags_and_files_are_docker_s() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "A=f\nB=f\nA=g\n").unwrap();
        let said = |files: &[PathBuf], flags: &[&str]| {
            environment(files, &flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(said(&[], &["A=1", "B=2", "PATH=/x", "A=3"]), ["A=3", "B=2", "PATH=/x"]);
        assert_eq!(said(&[], &["LAYERFS_UNSET", "B=1", "LAYERFS_UNSET=2"]), ["LAYERFS_UNSET=2", "B=1"]);
        assert_eq!(said(&[], &["LAYERFS_UNSET=1", "LAYERFS_UNSET"]), ["LAYERFS_UNSET"]);
        assert_eq!(said(std::slice::from_ref(&file), &[]), ["A=f", "B=f", "A=g"]);
        assert_eq!(said(&[file], &["A=3", "B=2"]), ["A=f", "B=f", "A=g", "A=3", "B=2"]);
    }

    #[test]
    fn sizes_and_durations_are_docker_s() {
        for (text, expected) in [("64m", 64 << 20), ("1.5k", 1536), ("7", 7), ("1GiB", 1 << 30), ("2b", 2)] {
            assert_eq!(bytes("-m", text).unwrap(), expected, "{text}");
        }
        assert!(bytes("-m", "abc").is_err() && bytes("-m", "").is_err() && bytes("-m", "-1k").is_err());
        for bad in ["1e3", "inf", "1.", ".5", "1.2.3", "1  k", "1kk", "1ki2", "99999999999999999999"] {
            assert!(bytes("-m", bad).is_err(), "{bad}");
        }
        for (text, nanos) in [("1.5", 1_500_000_000), (".5", 500_000_000), ("1/4", 250_000_000), ("5e-1", 500_000_000)]
        {
            assert_eq!(nano_cpus(text), Ok(nanos), "{text}");
        }
        assert_eq!(nano_cpus("-1"), Ok(-1_000_000_000));
        for bad in ["", "x", "1/0", "1/", "1e", "1.x", "1/3", "1e-10", "--1", "1e99"] {
            assert!(nano_cpus(bad).is_err(), "{bad}");
        }
        for (text, expected) in
            [("/a", false), ("a:b", false), ("vv:/b", true), (":/x", false), ("x:/c", false), ("a:/b:ro", true)]
        {
            assert_eq!(has_source(text), expected, "{text}");
        }
        for (text, expected) in [("1s", 1_000_000_000), ("1m30s", 90_000_000_000), ("1.5ms", 1_500_000), ("0", 0)] {
            assert_eq!(duration("--x", text).unwrap(), expected, "{text}");
        }
        let read = |text| fields(text).map(|fields| fields.join("|"));
        assert_eq!(read("a=b,\"c=d,\"\"e\"\"\",f").as_deref(), Ok("a=b|c=d,\"e\"|f"));
        assert_eq!(read("a,").as_deref(), Ok("a|"));
        assert_eq!(read("\"a\"").as_deref(), Ok("a"));
        assert!(duration("--x", "1").is_err() && duration("--x", "s").is_err() && duration("--x", "1x").is_err());
    }
}
