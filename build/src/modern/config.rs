//! The config of the image at the end, with the fields that BuildKit's has, in its order (moby/buildkit
//! `exporter/containerimage/writer.go`, `util/.../docker/image.go`).

use layerfs::DiffId;
use serde_json::{Map, Value, json};

use super::stage::{Built, Step};

/// What BuildKit says of each of its steps.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Writes the config. With an epoch, no time of this build is later.
pub(super) fn write(built: &Built, epoch: Option<i64>) -> Vec<u8> {
    let history = history(built, epoch);
    let created = history.last().map(|step| step["created"].clone());
    let created = created.unwrap_or_else(|| built.created.clone().map_or(Value::Null, Value::from));
    let mut object = Map::new();
    object.insert("architecture".into(), built.platform.architecture.clone().into());
    if !built.author.is_empty() {
        object.insert("author".into(), built.author.clone().into());
    }
    object.insert("config".into(), run_config(built));
    object.insert("created".into(), created);
    if !history.is_empty() {
        object.insert("history".into(), history.into());
    }
    object.insert("os".into(), built.platform.os.clone().into());
    object.insert("rootfs".into(), rootfs(&built.layers));
    if let Some(variant) = &built.platform.variant {
        object.insert("variant".into(), variant.clone().into());
    }
    serde_json::to_vec(&object).expect("texts and numbers always serialise")
}

/// The layers as a config has them.
pub(super) fn rootfs(layers: &[DiffId]) -> Value {
    let layers = if layers.is_empty() { Value::Null } else { json!(layers) };
    json!({"type": "layers", "diff_ids": layers})
}

fn run_config(built: &Built) -> Value {
    let run = serde_json::to_value(&built.run).expect("texts and numbers always serialise");
    let mut object = Map::new();
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    const KEYS: [&str; 14] = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "ArgsEscaped",
        "Healthcheck",
        "OnBuild",
        "StopTimeout",
        "Shell",
    ];
    for key in KEYS {
        let mut value = run.get(key).cloned().unwrap_or_default();
        if is_empty(&value) {
            continue;
        }
        if key == "Healthcheck" && built.start_interval != 0 {
            value["StartInterval"] = built.start_interval.into();
        }
        object.insert(key.into(), value);
    }
    object.into()
}

/// The steps. One without a layer has the time of the layer before it; the first ones have that of the first new layer.
fn history(built: &Built, epoch: Option<i64>) -> Vec<Value> {
    let latest = epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let clamp = |time: &String| match (latest, time.parse::<jiff::Timestamp>()) {
        (Some(latest), Ok(time)) if time > latest => latest.to_string(),
        _ => time.clone(),
    };
    let time_of = |step: &Step| match step {
        Step::Old(value) => value["created"].as_str().map(str::to_owned),
        Step::New { created, .. } => created.as_ref().map(clamp),
    };
    let times: Vec<Option<String>> = built.history.iter().map(time_of).collect();
    let mut known = None;
    let mut missing = false;
    for time in &times {
        match time {
            Some(time) => {
                known = Some(time.clone());
                if missing {
                    break;
                }
            }
            None => missing = true,
        }
    }
    missing = false;
    let mut steps = Vec::new();
    for (step, time) in built.history.iter().zip(times) {
        let time = match time {
            Some(time) => {
                if missing {
                    known = Some(time.clone());
                }
                Some(time)
            }
            None => {
                missing = true;
                known.clone()
            }
        };
        steps.push(match step {
            Step::Old(value) => value.clone(),
            Step::New { created, text } => {
                let mut object = Map::new();
                if let Some(time) = time {
                    object.insert("created".into(), time.into());
                }
                object.insert("created_by".into(), text.clone().into());
                object.insert("comment".into(), COMMENT.into());
                if created.is_none() {
                    object.insert("empty_layer".into(), true.into());
                }
                object.into()
            }
        });
    }
    steps
}
