//! JSON as the types of a specification, with the name of the field that does not fit.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::SpecError;

/// Characters of a value that an error shows.
const SHOWN: usize = 100;

/// Reads a value as `T`.
///
/// # Errors
/// [`SpecError::Unfit`], which names the field and its value.
pub(crate) fn fit<T: DeserializeOwned>(value: &Value) -> Result<T, SpecError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let found = error.path().iter().try_fold(value, |value, part| match part {
            Segment::Seq { index } => value.get(index),
            Segment::Map { key } => value.get(key),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let text = found.map_or_else(String::new, Value::to_string);
        let shown = match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        };
        SpecError::Unfit { field: error.path().to_string(), value: shown, reason: error.into_inner().to_string() }
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Spec;
    use serde_json::json;

    use super::*;

    fn told(value: Value) -> String {
        fit::<Spec>(&value).map_or_else(|error| error.to_string(), |_| "fits".to_owned())
    }

    #[test]
    fn an_error_names_the_field_and_its_value() {
        let period = json!({
            "ociVersion": "1.0.2-dev",
            "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "capabilities": {}, "rlimits": []},
            "root": {"path": "/r"},
            "linux": {"resources": {"cpu": {"shares": 0, "period": -5}, "memory": {"limit": 5}}},
        });
        assert_eq!(
            told(period),
            "linux.resources.cpu.period: -5 does not fit into an OCI specification: invalid value: integer `-5`, expected u64"
        );
        let action = json!({
            "ociVersion": "1.0.2-dev",
            "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["a"], "action": "SCMP_ACT_ALLOW"}, {"names": ["b"], "action": 7},
            ]}},
        });
        assert!(
            told(action).starts_with("linux.seccomp.syscalls[1].action: 7 does not fit into an OCI specification: "),
        );
        let sysctl = json!({"ociVersion": "1.0.2-dev", "linux": {"sysctl": {"a/b~c": 1, "d": "2"}}});
        assert!(told(sysctl).starts_with("linux.sysctl.a/b~c: 1 does not fit"));
        assert_eq!(told(json!({"ociVersion": "1.0.2-dev"})), "fits");
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = told(json!({"ociVersion": "1.0.2-dev", "hostname": vec![1; 100]}));
        assert!(long.len() < 300, "{long}");
        assert!(long.starts_with("hostname: [1,1,1,"), "{long}");
    }
}
