//! JSON as the types of a specification, with the name of the field that does not fit.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::SpecError;

/// Characters of a value that an error shows.
const SHOWN: usize = 100;

/// Reads a value as `T`.
///
/// # Errors
/// [`SpecError::Unfit`], which names the field and its value.
pub(crate) fn fit<T: DeserializeOwned>(value: &Value) -> Result<T, SpecError> {
    T::deserialize(value).map_err(|error| unfit::<T>(value, &error))
}

/// serde's error for a JSON value does not say where in it the fault is. It is the first one that is met, and a field that is missing is
/// noticed after all that are there: so it is in that part, and in that part of the part, without which there is another error or none.
fn unfit<T: DeserializeOwned>(whole: &Value, error: &serde_json::Error) -> SpecError {
    let reason = error.to_string();
    let (mut field, mut pointer) = (String::new(), String::new());
    let is_in =
        |part: &str| T::deserialize(&without(whole, part)).map_or_else(|error| error.to_string() != reason, |_| true);
    while let Some((name, part)) = parts(whole, &pointer).into_iter().find(|(_, part)| is_in(part)) {
        field += &name;
        pointer = part;
    }
    let value = whole.pointer(&pointer).map_or_else(String::new, Value::to_string);
    let shown = match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value,
    };
    SpecError::Unfit { field: field.trim_start_matches('.').to_owned(), value: shown, reason }
}

/// The parts of a part of `whole`, each with how it is written behind that, and where it is.
fn parts(whole: &Value, pointer: &str) -> Vec<(String, String)> {
    let below = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    match whole.pointer(pointer) {
        Some(Value::Object(map)) => map.keys().map(|key| (format!(".{key}"), below(key))).collect(),
        Some(Value::Array(list)) => (0..list.len()).map(|at| (format!("[{at}]"), below(&at.to_string()))).collect(),
        _ => Vec::new(),
    }
}

/// `whole` without one of its parts.
fn without(whole: &Value, pointer: &str) -> Value {
    let mut less = whole.clone();
    let Some((above, key)) = pointer.rsplit_once('/') else { return less };
    match less.pointer_mut(above) {
        Some(Value::Object(map)) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(list)) => drop(key.parse().map(|at: usize| list.remove(at))),
        _ => {}
    }
    less
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
