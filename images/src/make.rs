//! Images made here: of a tar of files, and of what a container has written.
//!
//! The configs are those that dockerd 20.10 writes (moby v20.10.24 `daemon/images/image_import.go`, `daemon/commit.go`,
//! `image/image.go: NewChildImage`, `daemon/images/image_squash.go`), with sorted keys, but without `docker_version`
//! where no Docker took part in making the image.

use layerfs::DiffId;
use serde_json::{Map, Value, json};
use snapshot::ids::ImageId;
use snapshot::schema::config::{ImageConfig, InvalidConfig};
use snapshot::schema::runconfig::RunConfig;

use crate::source::Platform;

/// The config of an image that is one layer of files.
#[must_use]
pub fn imported_config(
    layer: DiffId,
    config: &RunConfig,
    comment: &str,
    created: &str,
    platform: &Platform,
) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("comment".into(), comment.into());
    object.insert("config".into(), value(config));
    object.insert("container_config".into(), value(&RunConfig::default()));
    object.insert("history".into(), json!([{"created": created, "comment": comment}]));
    object.insert("rootfs".into(), json!({"type": "layers", "diff_ids": [layer]}));
    finish(object, created, platform)
}

/// What is known of a container that is committed, and of the image to be made of it.
#[derive(Debug, Clone)]
pub struct Commit<'c> {
    /// The container's id; empty if there was none.
    pub container: &'c str,
    /// What the container ran with.
    pub container_config: &'c RunConfig,
    /// What containers of the image will run with.
    pub config: &'c RunConfig,
    /// Who made the image; empty if that is not known.
    pub author: &'c str,
    /// The comment on the image; empty if there is none.
    pub comment: &'c str,
    /// When the image was made.
    pub created: &'c str,
}

/// The config of the image that a commit makes of a container, on top of the image whose config is `parent`. `layer` is the
/// layer with what the container has written, if it has written anything.
///
/// # Errors
/// If the parent's config is not JSON.
pub fn committed_config(
    parent: &[u8],
    layer: Option<DiffId>,
    commit: &Commit<'_>,
    platform: &Platform,
) -> serde_json::Result<Vec<u8>> {
    let parent: Value = serde_json::from_slice(parent)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut diff_ids = list(&parent["rootfs"]["diff_ids"]);
    diff_ids.extend(layer.map(|layer| json!(layer)));
    let mut step = Map::new();
    step.insert("created".into(), commit.created.into());
    let mut text = |key: &str, text: &str| {
        if !text.is_empty() {
            step.insert(key.into(), text.into());
        }
    };
    text("author", commit.author);
    text("created_by", &commit.container_config.cmd.0.clone().unwrap_or_default().join(" "));
    text("comment", commit.comment);
    if layer.is_none() {
        step.insert("empty_layer".into(), true.into());
    }
    let mut history = list(&parent["history"]);
    history.push(step.into());
    let mut object = Map::new();
    if !commit.author.is_empty() {
        object.insert("author".into(), commit.author.into());
    }
    object.insert("config".into(), value(commit.config));
    if !commit.container.is_empty() {
        object.insert("container".into(), commit.container.into());
    }
    object.insert("container_config".into(), value(commit.container_config));
    object.insert("history".into(), history.into());
    let mut layers = Map::from_iter([("type".to_owned(), json!("layers"))]);
    if !diff_ids.is_empty() {
        layers.insert("diff_ids".into(), diff_ids.into());
    }
    object.insert("rootfs".into(), layers.into());
    let architecture = parent["architecture"].as_str().filter(|text| !text.is_empty());
    let platform = Platform {
        architecture: architecture.map_or_else(|| platform.architecture.clone(), str::to_owned),
        variant: parent["variant"].as_str().map(str::to_owned),
        ..platform.clone()
    };
    Ok(finish(object, commit.created, &platform))
}

/// The config of an image made here in the form in which docker keeps it in containerd's store: that of the image specification, with
/// what docker adds to `config` (moby v28.5.2 `daemon/containerd/image_commit.go: generateCommitImageConfig`, moby/docker-image-spec
/// v1.3.1). What is empty is left out.
#[must_use]
pub fn stored_config(config: &[u8]) -> Vec<u8> {
    let known: Map<String, Value> = serde_json::from_slice(config).expect("it was made here");
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    let pick = |from: &Map<String, Value>, keys: &[&str]| -> Map<String, Value> {
        let kept = keys.iter().filter_map(|key| Some(((*key).to_owned(), from.get(*key)?.clone())));
        kept.filter(|(_, value)| !is_empty(value)).collect()
    };
    let mut object = pick(
        &known,
        &["created", "author", "architecture", "os", "os.version", "os.features", "variant", "rootfs", "history"],
    );
    let run = known.get("config").and_then(Value::as_object).map(|config| pick(config, &STORED_CONFIG));
    object.insert("config".into(), run.unwrap_or_default().into());
    serde_json::to_vec(&object).expect("texts and numbers always serialise")
}

/// What the config of an image in containerd's store says of its containers.
const STORED_CONFIG: [&str; 13] = [
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
    "Shell",
];

/// What an image is flattened onto.
#[derive(Debug, Clone)]
pub struct Onto<'b> {
    /// What it is called in the history: an image's or a layer's id; `None` if everything becomes one layer.
    pub name: Option<String>,
    /// The layers that stay.
    pub layers: &'b [DiffId],
    /// How many steps of the history stay as they are; those after them count as steps without a layer.
    pub steps: usize,
}

/// The config of an image whose layers above `onto` are one, `layer`. `image` and `config` are the image as it was, and
/// `parent` is the image it was made from, if that is known.
///
/// # Errors
/// Where the config is not one that dockerd shows.
pub fn flattened_config(
    image: ImageId,
    config: &[u8],
    parent: Option<ImageId>,
    onto: &Onto<'_>,
    layer: DiffId,
    created: &str,
) -> Result<Vec<u8>, InvalidConfig> {
    let known = ImageConfig::parse(config)?.fields;
    // `ImageConfig` has no fields for these keys. They were checked with the config, so a plain tree of values will do.
    let other: Value = serde_json::from_slice(config).unwrap_or_default();
    let mut object = Map::new();
    let mut text = |key: &str, text: &str| {
        if !text.is_empty() {
            object.insert(key.into(), text.into());
        }
    };
    text("author", &known.author);
    text("comment", &known.comment);
    text("container", &known.container);
    text("docker_version", &known.docker_version);
    text("id", other["id"].as_str().unwrap_or_default());
    text("os.version", &known.os_version);
    text("parent", &parent.map_or_else(String::new, |parent| parent.to_string()));
    text("variant", &known.variant);
    text("architecture", &known.architecture);
    text("os", &known.os);
    object.insert("created".into(), created.into());
    if let Some(features) = other["os.features"].as_array().filter(|features| !features.is_empty()) {
        object.insert("os.features".into(), features.clone().into());
    }
    if let Some(config) = &known.config {
        object.insert("config".into(), value(config));
    }
    object.insert("container_config".into(), value(&known.container_config));
    let mut history: Vec<Value> = Vec::with_capacity(known.history.0.len() + 1);
    for (at, step) in known.history.0.iter().enumerate() {
        let mut object = Map::new();
        object.insert("created".into(), step.created.to_string().into());
        for (key, text) in [("author", &step.author), ("created_by", &step.created_by), ("comment", &step.comment)] {
            if !text.is_empty() {
                object.insert(key.into(), text.clone().into());
            }
        }
        if step.empty_layer || at >= onto.steps {
            object.insert("empty_layer".into(), true.into());
        }
        history.push(object.into());
    }
    let comment = match &onto.name {
        Some(name) => format!("merge {image} to {name}"),
        None => format!("create new from {image}"),
    };
    history.push(json!({"created": created, "comment": comment}));
    object.insert("history".into(), history.into());
    let diff_ids: Vec<DiffId> = onto.layers.iter().copied().chain([layer]).collect();
    object.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
    Ok(sorted(object))
}

/// Fills the gaps of `config` from what the container ran with (moby v20.10.24 `daemon/commit.go: merge`).
pub fn merge(config: &mut RunConfig, from: &RunConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&from.user);
    }
    fill(&mut config.exposed_ports, &from.exposed_ports);
    fill(&mut config.labels, &from.labels);
    fill(&mut config.volumes, &from.volumes);
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    let env = config.env.get_or_insert_default();
    for variable in from.env.iter().flatten() {
        if !env.iter().any(|known| name(known) == name(variable)) {
            env.push(variable.clone());
        }
    }
    if config.entrypoint.0.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.0.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = from.cmd.clone();
        }
        if config.entrypoint.0.is_none() {
            config.entrypoint = from.entrypoint.clone();
        }
    }
    if let Some(theirs) = &from.healthcheck {
        let ours = config.healthcheck.get_or_insert_default();
        if ours.test.as_ref().is_none_or(Vec::is_empty) {
            ours.test.clone_from(&theirs.test);
        }
        for (ours, theirs) in [
            (&mut ours.interval, theirs.interval),
            (&mut ours.timeout, theirs.timeout),
            (&mut ours.start_period, theirs.start_period),
            (&mut ours.retries, theirs.retries),
        ] {
            if *ours == 0 {
                *ours = theirs;
            }
        }
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&from.working_dir);
    }
}

type Entries<T> = Option<std::collections::BTreeMap<String, T>>;

#[allow(clippy::ref_option, reason = "both are fields")]
fn fill<T: Clone>(ours: &mut Entries<T>, theirs: &Entries<T>) {
    for (key, value) in theirs.iter().flatten() {
        ours.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn finish(mut object: Map<String, Value>, created: &str, platform: &Platform) -> Vec<u8> {
    object.insert("architecture".into(), platform.architecture.clone().into());
    if let Some(variant) = &platform.variant {
        object.insert("variant".into(), variant.clone().into());
    }
    object.insert("created".into(), created.into());
    object.insert("os".into(), platform.os.clone().into());
    sorted(object)
}

fn sorted(object: Map<String, Value>) -> Vec<u8> {
    let mut entries: Vec<(String, Value)> = object.into_iter().collect();
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    let object: Map<String, Value> = entries.into_iter().collect();
    serde_json::to_vec(&object).expect("texts and numbers always serialise")
}

fn value(config: &RunConfig) -> Value {
    serde_json::to_value(config).expect("texts and numbers always serialise")
}
