//! What a container runs with: in image configs and in container files (moby v20.10.24 `api/types/container/config.go`).
//!
//! It is written with docker's fields in docker's order, without the empty fields that docker leaves out.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::gojson::{Empty, StrSlice};
use crate::go_file;

/// A list that may be missing, which Go writes as `null`.
pub type List = Option<Vec<String>>;

/// A map that may be missing, which Go writes as `null`.
pub type Map<T> = Option<BTreeMap<String, T>>;

go_file! {
    /// What a container runs with (`container.Config`).
    #[derive(Eq, serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    pub struct RunConfig {
        /// The name of the host.
        pub hostname: String = "Hostname",
        /// The name of its domain.
        pub domainname: String = "Domainname",
        /// Who runs the command.
        pub user: String = "User",
        /// Whether the standard input is attached.
        pub attach_stdin: bool = "AttachStdin",
        /// Whether the standard output is attached.
        pub attach_stdout: bool = "AttachStdout",
        /// Whether the standard error is attached.
        pub attach_stderr: bool = "AttachStderr",
        /// Ports that it listens at: `80/tcp`.
        #[serde(skip_serializing_if = "is_empty_map")]
        pub exposed_ports: Map<Empty> = "ExposedPorts" omitnil,
        /// Whether it has a terminal.
        pub tty: bool = "Tty",
        /// Whether the standard input stays open.
        pub open_stdin: bool = "OpenStdin",
        /// Whether the standard input is closed when the first client detaches.
        pub stdin_once: bool = "StdinOnce",
        /// Environment variables: `NAME=value`.
        pub env: List = "Env",
        /// The command, or the arguments of the entry point.
        pub cmd: StrSlice = "Cmd",
        /// The health check.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig> = "Healthcheck" omitempty,
        /// Only used on Windows: whether the arguments are escaped already.
        #[serde(skip_serializing_if = "is_false")]
        pub args_escaped: bool = "ArgsEscaped" omitempty,
        /// The image, as it was named.
        pub image: String = "Image",
        /// Where volumes are mounted.
        pub volumes: Map<Empty> = "Volumes",
        /// Where the command starts.
        pub working_dir: String = "WorkingDir",
        /// What is run.
        pub entrypoint: StrSlice = "Entrypoint",
        /// Whether it has no network.
        #[serde(skip_serializing_if = "is_false")]
        pub network_disabled: bool = "NetworkDisabled" omitempty,
        /// The address of its network card.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub mac_address: String = "MacAddress" omitempty,
        /// Instructions that a build on this image runs first.
        pub on_build: List = "OnBuild",
        /// Labels.
        pub labels: Map<String> = "Labels",
        /// How it is stopped.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub stop_signal: String = "StopSignal" omitempty,
        /// How long it may take to stop, in seconds; 0 is not the same as a missing value.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64> = "StopTimeout" omitempty,
        /// The shell that runs commands given as one string.
        #[serde(skip_serializing_if = "is_empty_list")]
        pub shell: StrSlice = "Shell" omitempty,
    }
}

go_file! {
    /// How Docker checks the health of a container (`container.HealthConfig`).
    #[derive(Eq, serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    pub struct HealthConfig {
        /// The test; its first word says how it is run.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub test: List = "Test" omitnil,
        /// Time between two tests, in nanoseconds.
        #[serde(skip_serializing_if = "is_zero")]
        pub interval: i64 = "Interval" omitempty,
        /// How long a test may take, in nanoseconds.
        #[serde(skip_serializing_if = "is_zero")]
        pub timeout: i64 = "Timeout" omitempty,
        /// How long after the start of the container failures do not count, in nanoseconds.
        #[serde(skip_serializing_if = "is_zero")]
        pub start_period: i64 = "StartPeriod" omitempty,
        /// After how many failures in a row the container is unhealthy.
        #[serde(skip_serializing_if = "is_zero")]
        pub retries: i64 = "Retries" omitempty,
    }
}

impl Serialize for StrSlice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}

// The signatures are serde's.
#[allow(clippy::ref_option)]
fn is_empty_map<T>(map: &Map<T>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

#[allow(clippy::ref_option)]
fn is_none_or_empty(list: &List) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_empty_list(list: &StrSlice) -> bool {
    is_none_or_empty(&list.0)
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::super::gojson;
    use super::*;

    /// Checked against `docker image inspect` by the field cases `01-cmd-string-*`.
    #[test]
    fn a_config_has_all_fields_in_docker_s_order() {
        let given = br#"{"Labels":{"b":"1","a":"2"},"cmd":"one","Healthcheck":{"Retries":0,"Test":["NONE"]},"x":1}"#;
        let config: RunConfig = gojson::from_slice(given).unwrap();
        let expected = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["one"],"Healthcheck":{"Test":["NONE"]},"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{"a":"2","b":"1"}}"#;
        assert_eq!(serde_json::to_string(&config).unwrap(), expected);
    }

    #[test]
    fn what_is_there_and_zero_is_written() {
        let given = br#"{"Healthcheck":{},"StopTimeout":0,"ExposedPorts":{"80/tcp":{"x":1}},"Shell":[],"Env":[]}"#;
        let config: RunConfig = gojson::from_slice(given).unwrap();
        let written = serde_json::to_string(&config).unwrap();
        for part in [r#""Healthcheck":{}"#, r#""StopTimeout":0"#, r#""ExposedPorts":{"80/tcp":{}}"#, r#""Env":[]"#] {
            assert!(written.contains(part), "{written}");
        }
        assert!(!written.contains("Shell"), "{written}");
    }
}
