//! What users write: templates, patterns, points in time.

use docker_format::pattern::matches;
use docker_format::template::{MissingKey, Template, Value};
use docker_format::until;

/// Values of every kind that JSON has.
const DATA: &str = r#"{"ID":"sha256:1","Tags":["a:1","b"],"Size":1234,"Ratio":0.5,"On":true,"Nil":null,
    "Labels":{"a":"b","c":"<d>"},"Deep":{"List":[[1,2],[],["x"]]}}"#;

/// The longest output looked at: a template may ask for more than there is memory (`printf "%1000000d"`, in a range).
const MOST: usize = 64 << 20;

/// A template, evaluated over JSON: twice the same, whatever it is.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::parse(text) else { return };
    let data = Value::raw(&serde_json::from_str(DATA).unwrap());
    let first = template.execute_as_far(&data, MissingKey::Nothing);
    assert!(first.0.len() <= MOST, "{} bytes of output", first.0.len());
    assert_eq!(first, template.execute_as_far(&data, MissingKey::Nothing));
    let _ = template.execute(&data, MissingKey::Error);
}

/// A pattern and, behind a NUL, a name: a pattern without special characters matches itself and nothing else.
pub fn pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, name) = text.split_once('\0').unwrap_or((text, "library/busybox:latest"));
    let found = matches(pattern, name);
    if !pattern.contains(['*', '?', '[', '\\']) {
        assert_eq!(found, Ok(pattern == name));
    }
}

/// A point in time or a duration before now, as `--filter until=` takes it.
pub fn until(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = docker_format::ago::from_unix(1_700_000_000).unwrap();
    let _ = until::parse(text, now);
    if let Some(nanos) = until::duration(text) {
        let printed = until::go_duration(nanos);
        assert_eq!(until::duration(&printed), Some(nanos), "{text:?} is printed as {printed:?}");
    }
}
