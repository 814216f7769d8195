//! The flags of an instruction.

use std::collections::BTreeMap;

use crate::parser::{Dialect, Line};
use crate::suggest::did_you_mean;

/// The values of the flags `known`, empty for those that are not given; of those in `several` any number may be given.
pub(super) fn flags(line: &Line, known: &[&str], several: &[&str], dialect: Dialect) -> Result<Vec<String>, String> {
    if dialect == Dialect::Modern {
        let mut values = modern_flags(line, known, several, &[])?;
        let mut value = |name: &&str| values.remove(*name).and_then(|mut all| all.pop()).unwrap_or_default();
        return Ok(known.iter().map(&mut value).collect());
    }
    let mut values = vec![None; known.len()];
    for flag in &line.flags {
        let flag = flag.strip_prefix("--").unwrap_or(flag);
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let Some(at) = known.iter().position(|known| *known == name) else {
            return Err(format!("Unknown flag: {name}"));
        };
        if values[at].is_some() && !several.contains(&name) {
            return Err(format!("Duplicate flag specified: {name}"));
        }
        values[at] = Some(value.ok_or_else(|| format!("Missing a value on flag: {name}"))?.to_owned());
    }
    Ok(values.into_iter().map(Option::unwrap_or_default).collect())
}

/// The values of the flags `known` by their names; of those in `several` any number may be given, and those in `switches` are
/// `true` without a value (moby/buildkit `frontend/dockerfile/instructions/bflag.go`).
pub(super) fn modern_flags(
    line: &Line,
    known: &[&str],
    several: &[&str],
    switches: &[&str],
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for flag in &line.flags {
        let flag = flag.strip_prefix("--").unwrap_or(flag);
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        if !known.contains(&name) {
            let meant = did_you_mean(name, known.iter().copied(), "");
            return Err(format!("unknown flag: --{name}{meant}"));
        }
        let is_switch = switches.contains(&name);
        let value = match value {
            None if is_switch => "true",
            None => return Err(format!("missing a value on flag: --{name}")),
            Some(value) => value,
        };
        if is_switch && !matches!(value, "true" | "false") {
            return Err(format!("expecting boolean value for flag --{name}, not: {value}"));
        }
        let given = values.entry(name.to_owned()).or_default();
        if !given.is_empty() && !several.contains(&name) {
            return Err(format!("duplicate flag specified: --{name}"));
        }
        given.push(value.to_owned());
    }
    Ok(values)
}
