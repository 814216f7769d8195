//! An image as `docker image inspect` shows it: field for field, in the order of docker's structs (moby v20.10.24
//! `api/types/types.go: ImageInspect`, `api/types/container/config.go`).

use serde_json::{Map, Value, json};
use snapshot::catalog::{Catalog, Image};
use snapshot::driver::Driver;
use snapshot::root::DataRoot;
use snapshot::schema::config::get as field;

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What a field holds that is not given, or of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Flag,
    /// A list, or one text that stands for a list of one.
    List,
    Map,
    /// Number of seconds, or nothing.
    Number,
    Healthcheck,
}

/// Fields of `config`, and whether each is left out where it is empty.
const CONFIG: [(&str, Kind, bool); 25] = [
    ("Hostname", Kind::Text, false),
    ("Domainname", Kind::Text, false),
    ("User", Kind::Text, false),
    ("AttachStdin", Kind::Flag, false),
    ("AttachStdout", Kind::Flag, false),
    ("AttachStderr", Kind::Flag, false),
    ("ExposedPorts", Kind::Map, true),
    ("Tty", Kind::Flag, false),
    ("OpenStdin", Kind::Flag, false),
    ("StdinOnce", Kind::Flag, false),
    ("Env", Kind::List, false),
    ("Cmd", Kind::List, false),
    ("Healthcheck", Kind::Healthcheck, true),
    ("ArgsEscaped", Kind::Flag, true),
    ("Image", Kind::Text, false),
    ("Volumes", Kind::Map, false),
    ("WorkingDir", Kind::Text, false),
    ("Entrypoint", Kind::List, false),
    ("NetworkDisabled", Kind::Flag, true),
    ("MacAddress", Kind::Text, true),
    ("OnBuild", Kind::List, false),
    ("Labels", Kind::Map, false),
    ("StopSignal", Kind::Text, true),
    ("StopTimeout", Kind::Number, true),
    ("Shell", Kind::List, true),
];

/// Fields of a health check; all are left out where they are empty.
const HEALTHCHECK: [&str; 5] = ["Test", "Interval", "Timeout", "StartPeriod", "Retries"];

/// The document of an image.
///
/// # Errors
/// Where the driver's files of its top layer cannot be read, as docker fails there.
pub(super) fn of(root: &DataRoot, catalog: &Catalog, image: &Image) -> anyhow::Result<Value> {
    let names = catalog.names_of(image.id);
    let (digests, tags): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| name.contains('@'));
    let comment = match image.text("comment") {
        "" => image.history.last().map_or("", |step| step.comment.as_str()),
        comment => comment,
    };
    let size = catalog.image_size(image);
    let mut document = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": image.parent.as_deref().unwrap_or_default(),
        "Comment": comment,
        "Created": time(image.text("created")),
        "Container": image.text("container"),
        "ContainerConfig": config(image.object("container_config").unwrap_or(&Map::new())),
        "DockerVersion": image.text("docker_version"),
        "Author": image.text("author"),
        "Config": image.object("config").map(config),
        "Architecture": image.text("architecture"),
    });
    let object = document.as_object_mut().expect("written as an object");
    let mut add = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    if !image.text("variant").is_empty() {
        add("Variant", image.text("variant").into());
    }
    add("Os", if image.text("os").is_empty() { "linux" } else { image.text("os") }.into());
    if !image.text("os.version").is_empty() {
        add("OsVersion", image.text("os.version").into());
    }
    add("Size", size.into());
    add("VirtualSize", size.into());
    add("GraphDriver", json!({ "Data": driver_data(root, catalog, image)?, "Name": catalog.driver }));
    add("RootFS", root_fs(image));
    add("Metadata", json!({ "LastTagTime": time(image.last_tagged.as_deref().unwrap_or(NEVER)) }));
    Ok(document)
}

fn root_fs(image: &Image) -> Value {
    let kind = image.object("rootfs").and_then(|rootfs| field(rootfs, "type")).and_then(Value::as_str);
    let mut root_fs = json!({ "Type": kind.unwrap_or_default() });
    if !image.diff_ids.is_empty() {
        root_fs["Layers"] = image.diff_ids.iter().map(ToString::to_string).collect();
    }
    root_fs
}

/// `GraphDriver.Data`: the driver's paths of the top layer.
fn driver_data(root: &DataRoot, catalog: &Catalog, image: &Image) -> anyhow::Result<Value> {
    let Some(top) = image.chain.last().and_then(|top| catalog.layer(*top)) else { return Ok(Value::Null) };
    let Some(driver) = &root.driver else { return Ok(Value::Null) };
    let Some(pairs) = driver.metadata(&top.cache_id)? else { return Ok(Value::Null) };
    Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect::<Map<_, _>>().into())
}

/// A time as Go prints it after reading it: no zeros at the end of the fraction, `Z` for no offset.
fn time(text: &str) -> String {
    if text.is_empty() {
        return NEVER.to_owned();
    }
    let zone = text.rfind(['Z', 'z', '+']).or_else(|| text.rfind('-').filter(|at| *at > 10)).unwrap_or(text.len());
    let (local, zone) = text.split_at(zone);
    let local = if local.contains('.') { local.trim_end_matches('0').trim_end_matches('.') } else { local };
    let zone = if matches!(zone, "+00:00" | "-00:00" | "z") { "Z" } else { zone };
    format!("{local}{zone}")
}

/// Docker's struct of what a container runs with, from what a config says of it.
pub(super) fn config(given: &Map<String, Value>) -> Value {
    let mut config = Map::new();
    for (name, kind, optional) in CONFIG {
        let value = value(field(given, name).unwrap_or(&Value::Null), kind);
        if !(optional && is_empty(&value)) {
            config.insert(name.to_owned(), value);
        }
    }
    Value::Object(config)
}

fn value(given: &Value, kind: Kind) -> Value {
    match (kind, given) {
        (Kind::Text, Value::String(_)) | (Kind::Flag, Value::Bool(_)) | (Kind::Number, Value::Number(_)) => {
            given.clone()
        }
        (Kind::Text, _) => "".into(),
        (Kind::Flag, _) => false.into(),
        (Kind::List, Value::String(text)) => json!([text]),
        (Kind::List, Value::Array(_)) => given.clone(),
        (Kind::Map, Value::Object(map)) => sorted(map),
        (Kind::Healthcheck, Value::Object(check)) => {
            let field = |name: &&str| Some(((*name).to_owned(), field(check, name)?.clone()));
            Value::Object(HEALTHCHECK.iter().filter_map(field).filter(|(_, value)| !is_empty(value)).collect())
        }
        _ => Value::Null,
    }
}

fn sorted(map: &Map<String, Value>) -> Value {
    let mut pairs: Vec<_> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(pairs.into_iter().collect())
}

/// What Go leaves out where it may.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_prints_them() {
        for (text, printed) in [
            ("", NEVER),
            ("2024-06-19T19:22:45.120000000Z", "2024-06-19T19:22:45.12Z"),
            ("2024-06-19T19:22:45.000Z", "2024-06-19T19:22:45Z"),
            ("2024-06-10T19:22:40+00:00", "2024-06-10T19:22:40Z"),
            ("2024-06-10T19:22:40.50-07:00", "2024-06-10T19:22:40.5-07:00"),
        ] {
            assert_eq!(time(text), printed);
        }
    }

    #[test]
    fn a_config_has_all_fields_in_docker_s_order() {
        let given = json!({"Labels":{"b":"1","a":"2"},"cmd":"one","Healthcheck":{"Retries":0,"Test":["NONE"]},"x":1});
        let text = config(given.as_object().unwrap()).to_string();
        let expected = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["one"],"Healthcheck":{"Test":["NONE"]},"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{"a":"2","b":"1"}}"#;
        assert_eq!(text, expected);
    }
}
