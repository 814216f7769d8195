//! A container as `docker container inspect` shows it: field for field, in the order of docker's structs (moby v20.10.24
//! `api/types/types.go: ContainerJSON`, `daemon/inspect.go`).

use serde_json::{Map, Value, json};
use snapshot::catalog::{Catalog, Container};
use snapshot::driver::Driver;
use snapshot::root::DataRoot;
use snapshot::schema::documents::{self, ContainerDocuments};
use snapshot::usage::sizes;
use snapshot::view::View;

use super::row::state_word;

/// Fields that config.v2.json has under the same name, after `Path` and `Args`.
const STATE: [&str; 10] =
    ["Running", "Paused", "Restarting", "OOMKilled", "Dead", "Pid", "ExitCode", "Error", "StartedAt", "FinishedAt"];

/// Fields of a container's first network that stand beside its networks, for clients from before there were several.
const DEFAULT_NETWORK: [&str; 8] = [
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
];

/// The document of a container, with what it has written and what it shows in all if `sized`.
///
/// # Errors
/// Where its files cannot be read.
pub(crate) fn document(view: &View, container: &Container, sized: bool) -> anyhow::Result<Value> {
    let (root, catalog) = (view.root(), view.catalog());
    let ContainerDocuments { config, host } = documents::read_container(root.dir(), &container.id)?;
    let own = |key: &str| get(&config, key).cloned().unwrap_or(Value::Null);
    let graph = json!({ "Data": driver_data(root, container)?, "Name": own("Driver") });
    let mut document = json!({
        "Id": container.id.to_string(),
        "Created": own("Created"),
        "Path": own("Path"),
        "Args": own("Args"),
        "State": state(container, get(&config, "State")),
        "Image": own("Image"),
        "ResolvConfPath": own("ResolvConfPath"),
        "HostnamePath": own("HostnamePath"),
        "HostsPath": own("HostsPath"),
        "LogPath": own("LogPath"),
        "Name": own("Name"),
        "RestartCount": own("RestartCount"),
        "Driver": own("Driver"),
        "Platform": own("OS"),
        "MountLabel": own("MountLabel"),
        "ProcessLabel": own("ProcessLabel"),
        "AppArmorProfile": own("AppArmorProfile"),
        // Only a running daemon knows which processes were started in the container by `docker exec`.
        "ExecIDs": null,
        "HostConfig": host.map_or(Value::Null, Value::Object),
        "GraphDriver": graph,
    });
    let mut more = |key: &str, value: Value| document[key] = value;
    if sized {
        // As `GetContainerLayerSize` of moby v20.10.24 has it: -1 for what cannot be told.
        let size = sizes::measure_container(view, container);
        let whole = size.image.map_or(0, |image| image.saturating_add(size.written.unwrap_or(0)));
        more("SizeRw", size.written.map_or_else(|| (-1).into(), Value::from));
        more("SizeRootFs", whole.into());
    }
    more("Mounts", mounts(catalog, get(&config, "MountPoints")));
    more("Config", own("Config"));
    more("NetworkSettings", network(get(&config, "NetworkSettings")));
    Ok(document)
}

fn state(container: &Container, given: Option<&Value>) -> Value {
    let given = given.and_then(Value::as_object).cloned().unwrap_or_default();
    let mut state = Map::new();
    state.insert("Status".into(), state_word(container.status()).into());
    for name in STATE {
        state.insert(name.into(), get(&given, name).cloned().unwrap_or(Value::Null));
    }
    if let Some(health) = get(&given, "Health").filter(|health| health.is_object()) {
        let mut health = health.clone();
        // Docker copies the list, so that one that is not there is an empty one.
        if let Some(log @ Value::Null) = health.get_mut("Log") {
            *log = Value::Array(Vec::new());
        }
        state.insert("Health".into(), health);
    }
    state.into()
}

/// The driver's paths of the container's own layer.
fn driver_data(root: &DataRoot, container: &Container) -> anyhow::Result<Value> {
    let id = container.mount.as_ref().and_then(|mount| mount.mount_id.as_ref());
    let (Some(id), Some(driver)) = (id, root.driver()) else { return Ok(Value::Null) };
    let Some(pairs) = driver.metadata(id)? else { return Ok(Value::Null) };
    Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect::<Map<_, _>>().into())
}

/// Mounts, sorted by destination; docker lists them in the order of a Go map, which is random.
fn mounts(catalog: &Catalog, given: Option<&Value>) -> Value {
    let mount = |(_, point): (&String, &Value)| {
        let point = point.as_object()?;
        let text = |key: &str| get(point, key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut mount = Map::new();
        let mut optional = |key: &str| {
            let value = text(key);
            if !value.is_empty() {
                mount.insert(key.to_owned(), value.into());
            }
        };
        optional("Type");
        optional("Name");
        let named = catalog.volumes().iter().find(|volume| volume.name == *text("Name"));
        let source =
            named.map_or_else(|| text("Source"), |volume| crate::commands::volume::mountpoint(catalog, volume));
        mount.insert("Source".into(), source.into());
        mount.insert("Destination".into(), text("Destination").into());
        if !text("Driver").is_empty() {
            mount.insert("Driver".into(), text("Driver").into());
        }
        mount.insert("Mode".into(), text("Relabel").into());
        mount.insert("RW".into(), get(point, "RW").cloned().unwrap_or(false.into()));
        mount.insert("Propagation".into(), text("Propagation").into());
        Some(Value::Object(mount))
    };
    given.and_then(Value::as_object).into_iter().flatten().filter_map(mount).collect::<Vec<_>>().into()
}

fn network(given: Option<&Value>) -> Value {
    let given = given.and_then(Value::as_object).cloned().unwrap_or_default();
    let own = |key: &str| get(&given, key).cloned().unwrap_or(Value::Null);
    let networks: Map<String, Value> = own("Networks").as_object().into_iter().flatten().map(endpoint).collect();
    // dockerd looks for the network of this name, and for no other.
    let first = networks.get("bridge").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut settings = Map::new();
    for key in ["Bridge", "SandboxID", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen"] {
        settings.insert(key.into(), own(key));
    }
    settings.insert("Ports".into(), own("Ports").as_object().cloned().unwrap_or_default().into());
    for key in ["SandboxKey", "SecondaryIPAddresses", "SecondaryIPv6Addresses"] {
        settings.insert(key.into(), own(key));
    }
    for key in DEFAULT_NETWORK {
        let none = if key.ends_with("PrefixLen") { Value::from(0) } else { Value::from("") };
        settings.insert(key.into(), first.get(key).cloned().unwrap_or(none));
    }
    settings.insert("Networks".into(), networks.into());
    settings.into()
}

/// An endpoint without the fields that only the daemon's own record has.
fn endpoint((name, given): (&String, &Value)) -> (String, Value) {
    let mut endpoint = given.as_object().cloned().unwrap_or_default();
    endpoint.shift_remove("IPAMOperational");
    (name.clone(), endpoint.into())
}

/// A field as dockerd wrote it.
fn get<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    object.get(key)
}
