//! Profiles for system calls in Docker's form, and what remains of them for one container.
//!
//! A rule of a profile may depend on capabilities, on the processor and on the kernel; the runtime gets those that hold.
//! The default profile is `seccomp/default.json`, whose rules are those that dockerd 20.10.24 gives to its runtime.

use serde::Deserialize;
use serde_json::{Value, json};

use super::SpecError;

const DEFAULT: &str = include_str!("../seccomp/default.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Value>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// The processor as Go calls it, and as seccomp does.
const PROCESSOR: (&str, &str) =
    if cfg!(target_arch = "aarch64") { ("arm64", "SCMP_ARCH_AARCH64") } else { ("amd64", "SCMP_ARCH_X86_64") };

/// Docker's own profile for a container with these capabilities.
pub(super) fn default(capabilities: &[String]) -> Result<Value, SpecError> {
    parse(DEFAULT, capabilities)
}

/// A profile of the user.
pub(super) fn parse(text: &str, capabilities: &[String]) -> Result<Value, SpecError> {
    let profile: Profile = serde_json::from_str(text).map_err(|error| SpecError::Profile(error.to_string()))?;
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(SpecError::Profile("'architectures' and 'archMap' were specified, use either".to_owned()));
    }
    let mut architectures = profile.architectures;
    for entry in profile.arch_map.into_iter().filter(|entry| entry.architecture == PROCESSOR.1) {
        architectures.push(entry.architecture);
        architectures.extend(entry.sub_architectures);
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut rules = Vec::new();
    for rule in profile.syscalls {
        let includes = rule.includes.unwrap_or_default();
        let excludes = rule.excludes.unwrap_or_default();
        let has = |name: &String| capabilities.contains(name);
        let here = |list: &[String]| list.iter().any(|name| name == PROCESSOR.0);
        let new_enough =
            |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| version(&kernel) >= version(wanted));
        let holds = includes.caps.iter().all(has)
            && (includes.arches.is_empty() || here(&includes.arches))
            && new_enough(&includes.min_kernel)
            && !excludes.caps.iter().any(has)
            && !here(&excludes.arches)
            && excludes.min_kernel.as_ref().is_none_or(|wanted| version(&kernel) < version(wanted));
        if !holds {
            continue;
        }
        let names: Vec<String> = rule.name.into_iter().chain(rule.names).collect();
        let mut kept = json!({"names": names, "action": rule.action});
        if let Some(number) = rule.errno_ret {
            kept["errnoRet"] = number.into();
        }
        if let Some(args) = rule.args.filter(|args| !args.is_empty()) {
            kept["args"] = args.into();
        }
        rules.push(kept);
    }
    let mut filter = json!({"defaultAction": profile.default_action, "syscalls": rules});
    if !architectures.is_empty() {
        filter["architectures"] = architectures.into();
    }
    if let Some(number) = profile.default_errno_ret {
        filter["defaultErrnoRet"] = number.into();
    }
    Ok(filter)
}

/// The first two numbers of a version.
fn version(text: &str) -> (u64, u64) {
    let mut numbers = text.split(|char: char| !char.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
