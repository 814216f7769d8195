//! An image as `docker image inspect` shows it: field for field, in the order of docker's structs (moby v20.10.24
//! `api/types/types.go: ImageInspect`, `api/types/container/config.go`).

mod containerd;

use anyhow::Context;
use serde_json::{Map, Value, json};
use snapshot::catalog::{Catalog, Image};
use snapshot::driver::Driver;
use snapshot::root::DataRoot;
use snapshot::schema::time::Time;

use super::for_platform::Wanted;
use super::select::tag;

/// The document of an image.
///
/// # Errors
/// Where the driver's files of its top layer cannot be read, as docker fails there.
pub(crate) fn inspect_image(root: &DataRoot, catalog: &Catalog, image: &Image) -> anyhow::Result<Value> {
    if let Some(stored) = catalog.stored_image(image.id) {
        return Ok(containerd::inspect_image(catalog, image, stored, None));
    }
    let names = catalog.names_of(image.id);
    // A name with a tag and a digest counts as a tag here. In a listing it counts as both.
    let (tags, others): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| tag(name).is_some());
    let digests: Vec<&str> = others.into_iter().filter(|name| name.contains('@')).collect();
    let config = &image.config;
    let comment = match config.comment.as_str() {
        "" => image.history().last().map_or("", |step| step.comment.as_str()),
        comment => comment,
    };
    let size = catalog.image_size(image);
    let mut document = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": image.parent.as_deref().unwrap_or_default(),
        "Comment": comment,
        "Created": config.created.to_string(),
        "Container": config.container,
        "ContainerConfig": config.container_config,
        "DockerVersion": config.docker_version,
        "Author": config.author,
        "Config": config.config,
        "Architecture": config.architecture,
    });
    let object = document.as_object_mut().expect("written as an object");
    let mut add = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    if !config.variant.is_empty() {
        add("Variant", config.variant.as_str().into());
    }
    add("Os", if config.os.is_empty() { "linux" } else { &config.os }.into());
    if !config.os_version.is_empty() {
        add("OsVersion", config.os_version.as_str().into());
    }
    add("Size", size.into());
    add("VirtualSize", size.into());
    add("GraphDriver", json!({ "Data": driver_data(root, catalog, image)?, "Name": catalog.driver() }));
    add("RootFS", root_fs(image));
    add("Metadata", json!({ "LastTagTime": last_tagged(image)? }));
    Ok(document)
}

/// The document of an image for a platform. `reference` is what the user calls it.
///
/// # Errors
/// Those of [`inspect_image`], and where the image is not there for the platform.
pub(super) fn inspect_platform(
    root: &DataRoot,
    catalog: &Catalog,
    (reference, image): (&str, &Image),
    wanted: &Wanted,
) -> anyhow::Result<Value> {
    let Some(stored) = catalog.stored_image(image.id) else {
        wanted.expect(reference, image)?;
        return inspect_image(root, catalog, image);
    };
    let (image, part) = wanted.to_inspect(reference, catalog, stored)?;
    Ok(containerd::inspect_image(catalog, &image, stored, Some(part)))
}

/// When the image was tagged last; Go's zero time for never. docker fails where the file has no time.
fn last_tagged(image: &Image) -> anyhow::Result<String> {
    let Some(text) = &image.last_tagged else { return Ok(Time::ZERO.to_string()) };
    let time = Time::parse(text).with_context(|| format!("image {}: lastUpdated is {text:?}", image.id))?;
    Ok(time.to_string())
}

fn root_fs(image: &Image) -> Value {
    let rootfs = image.config.rootfs.as_ref();
    let mut root_fs = json!({ "Type": rootfs.map_or("", |rootfs| rootfs.kind.as_str()) });
    // docker shows the digests as they are written, even those that name no layer.
    let layers: Vec<String> = image.written_diff_ids().collect();
    if !layers.is_empty() {
        root_fs["Layers"] = json!(layers);
    }
    root_fs
}

/// `GraphDriver.Data`: the driver's paths of the top layer.
fn driver_data(root: &DataRoot, catalog: &Catalog, image: &Image) -> anyhow::Result<Value> {
    let Some(top) = image.chain.last().and_then(|top| catalog.layer(*top)) else { return Ok(Value::Null) };
    let Some(driver) = root.driver() else { return Ok(Value::Null) };
    let Some(pairs) = driver.metadata(&top.cache_id)? else { return Ok(Value::Null) };
    Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect::<Map<_, _>>().into())
}
