//! An image of containerd's store as `docker image inspect` of Docker 28.5 shows it (moby v28.5.2
//! `daemon/containerd/image_inspect.go`, `api/server/router/image/image_routes.go`; API 1.51).

use serde_json::{Map, Value, json};
use snapshot::catalog::{Catalog, Image};
use snapshot::containerd::documents::{Descriptor, WrittenPlatform};
use snapshot::containerd::images::{StoredImage, StoredManifest};
use snapshot::reference::Reference;
use snapshot::schema::runconfig::RunConfig;

/// Keys of `Config` that are there whatever the image says, and what they are for an image that does not say it.
const ALWAYS: [(&str, Value); 8] = [
    ("Cmd", Value::Null),
    ("Entrypoint", Value::Null),
    ("Env", Value::Null),
    ("Labels", Value::Null),
    ("OnBuild", Value::Null),
    ("User", Value::String(String::new())),
    ("Volumes", Value::Null),
    ("WorkingDir", Value::String(String::new())),
];

/// Keys of `Config` that are there if the image says something.
const SOMETIMES: [&str; 5] = ["ArgsEscaped", "ExposedPorts", "Healthcheck", "Shell", "StopSignal"];

/// The document of an image, or of the image as `part` of it has it.
pub(super) fn inspect_image(
    catalog: &Catalog,
    image: &Image,
    stored: &StoredImage,
    part: Option<&StoredManifest>,
) -> Value {
    // A manifest without an index is the image itself.
    let part = part.filter(|part| part.digest != stored.target.digest);
    let id = part.map_or(stored.target.digest, |part| part.digest);
    let (tags, digests) = names(stored);
    let config = &image.config;
    let mut document = json!({
        "Id": id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": image.parent.as_deref().unwrap_or_default(),
        "Comment": image.history().last().map_or("", |step| step.comment.as_str()),
    });
    let object = document.as_object_mut().expect("written as an object");
    let mut add = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    if part.is_some() || stored.shown().is_some() {
        add("Created", config.created.to_string().into());
    }
    add("DockerVersion", "".into());
    add("Author", config.author.as_str().into());
    add("Architecture", config.architecture.as_str().into());
    for (key, text) in [("Variant", &config.variant), ("Os", &config.os), ("OsVersion", &config.os_version)] {
        if key == "Os" || !text.is_empty() {
            add(key, text.as_str().into());
        }
    }
    add("Size", part.map_or(stored.inspect_size, |part| stored.size_with(part)).into());
    add("GraphDriver", json!({ "Data": null, "Name": catalog.driver() }));
    add("RootFS", super::root_fs(image));
    add("Metadata", json!({ "LastTagTime": image.last_tagged }));
    add("Descriptor", part.map_or_else(|| descriptor(stored), descriptor_of));
    add("Config", run_config(image.config.config.as_ref()));
    document
}

/// Names with a tag, and each repository with the digest; a name that is not written in full has none.
fn names(stored: &StoredImage) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for name in stored.written_names() {
        match Reference::parse(name) {
            Ok(reference) if reference.canonical() == name => {
                digests.push(format!("{}@{}", reference.familiar_name(), stored.target.digest));
                tags.push(reference.familiar());
            }
            _ => tags.push(name.to_owned()),
        }
    }
    (tags, digests)
}

fn descriptor(stored: &StoredImage) -> Value {
    let target = &stored.target;
    let mut descriptor =
        json!({ "mediaType": target.media_type, "digest": target.digest.to_string(), "size": target.size });
    if !stored.annotations.is_empty() {
        descriptor["annotations"] = json!(stored.annotations);
    }
    descriptor
}

/// What an index says of a manifest.
fn descriptor_of(part: &StoredManifest) -> Value {
    let Descriptor { media_type, size, annotations, platform, .. } = &part.descriptor;
    let mut descriptor = json!({ "mediaType": media_type, "digest": part.digest.to_string(), "size": size });
    if !annotations.is_empty() {
        descriptor["annotations"] = json!(annotations);
    }
    if let Some(WrittenPlatform { architecture, os, variant }) = platform {
        descriptor["platform"] = json!({ "architecture": architecture, "os": os });
        if !variant.is_empty() {
            descriptor["platform"]["variant"] = variant.as_str().into();
        }
    }
    descriptor
}

/// `Config`, its keys in alphabetical order as from a map of Go.
fn run_config(config: Option<&RunConfig>) -> Value {
    let written = config.map_or(Value::Null, |config| json!(config));
    let said = |key: &str| written.get(key).filter(|value| !is_empty(value)).map(sorted);
    let always = ALWAYS.into_iter().map(|(key, nothing)| (key, said(key).unwrap_or(nothing)));
    let sometimes = SOMETIMES.into_iter().filter_map(|key| Some((key, said(key)?)));
    let mut keys: Vec<(&str, Value)> = always.chain(sometimes).collect();
    keys.sort_by_key(|(key, _)| *key);
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// What Go leaves out of a document.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(keys) => {
            let mut keys: Vec<(&String, &Value)> = keys.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            keys.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
