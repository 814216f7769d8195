//! One image as its config and its metadata describe it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use layerfs::{ChainId, DiffId};
use serde_json::{Map, Value};

use super::with_causes;
use crate::ids::ImageId;
use crate::schema::config::{ImageConfig, get};
use crate::schema::image::ImageStore;
use crate::schema::layer::LayerRecord;

/// An image that dockerd would show.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its config.
    pub id: ImageId,
    /// The config as it stands, keys in their order.
    pub config: Map<String, Value>,
    /// Its layers' own contents, base first.
    pub diff_ids: Vec<DiffId>,
    /// Its layers, base first.
    pub chain: Vec<ChainId>,
    /// When it was made; `None` where the config does not say.
    pub created: Option<Timestamp>,
    /// Its history, oldest first.
    pub history: Vec<History>,
    /// `metadata/parent`, whatever it says.
    pub parent: Option<String>,
    /// `metadata/lastUpdated`, whatever it says.
    pub last_tagged: Option<String>,
    /// Images whose parent it is.
    pub children: Vec<ImageId>,
}

/// One step by which an image was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// When; `None` where it does not say.
    pub created: Option<Timestamp>,
    /// By which command.
    pub created_by: String,
    /// By whom.
    pub author: String,
    /// What was said about it.
    pub comment: String,
    /// Whether it made no layer.
    pub empty_layer: bool,
}

impl Image {
    /// A text of the config; empty where it has none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        get(&self.config, key).and_then(Value::as_str).unwrap_or_default()
    }

    /// An object of the config.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        get(&self.config, key).and_then(Value::as_object)
    }

    /// Its labels. `None` where it has no `config`, which filters treat apart.
    #[must_use]
    pub fn labels(&self) -> Option<BTreeMap<String, String>> {
        let config = self.object("config")?;
        let labels = get(config, "Labels").and_then(Value::as_object);
        let pairs = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
        Some(pairs.collect())
    }

    /// The image it was built from, if that is an id at all. dockerd does not trim the file.
    #[must_use]
    pub fn parent_id(&self) -> Option<ImageId> {
        self.parent.as_deref()?.parse().ok().map(ImageId)
    }
}

/// Reads an image, or says why dockerd would not restore it.
pub(super) fn load(
    store: &ImageStore,
    id: ImageId,
    layers: &BTreeMap<ChainId, Result<LayerRecord, String>>,
) -> Result<Image, String> {
    let bytes = store.config(id).map_err(|error| with_causes(&error))?;
    let bytes = bytes.ok_or("its config is damaged: the content does not have the digest it is named after")?;
    let parsed = ImageConfig::parse(&bytes).map_err(|error| error.to_string())?;
    match parsed.os.as_str() {
        "" | "linux" => {}
        os if os.eq_ignore_ascii_case("linux") => {
            return Err(format!("os is {os:?}, not \"linux\": dockerd 20.10 crashes at its start"));
        }
        os => return Err(format!("it is for the operating system {os}")),
    }
    let chain: Vec<ChainId> = ChainId::chain(&parsed.diff_ids);
    if let Some(top) = chain.last() {
        match layers.get(top) {
            Some(Ok(_)) => {}
            Some(Err(reason)) => return Err(format!("its layer {top} is damaged: {reason}")),
            None => return Err(format!("its layer {top} is missing")),
        }
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let Value::Object(config) = value else { return Err("its config is not a JSON object".into()) };
    let created = time(&config, "created")?;
    let history = parsed.history.iter().filter_map(Value::as_object).map(step).collect::<Result<_, _>>()?;
    let text = |name: &str| store.metadata(id, name).ok().flatten();
    Ok(Image {
        id,
        diff_ids: parsed.diff_ids,
        chain,
        created,
        history,
        parent: text("parent").filter(|parent| !parent.is_empty()),
        last_tagged: text("lastUpdated").filter(|time| !time.is_empty()),
        children: Vec::new(),
        config,
    })
}

fn step(entry: &Map<String, Value>) -> Result<History, String> {
    let text = |key: &str| get(entry, key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(History {
        created: time(entry, "created")?,
        created_by: text("created_by"),
        author: text("author"),
        comment: text("comment"),
        empty_layer: get(entry, "empty_layer").and_then(Value::as_bool).unwrap_or_default(),
    })
}

/// A time; Go's zero time is no time.
fn time(object: &Map<String, Value>, key: &str) -> Result<Option<Timestamp>, String> {
    match get(object, key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.starts_with("0001-01-01T00:00:00") => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|error| format!("{key} is no time: {error}")),
        Some(_) => Err(format!("{key} is not a string")),
    }
}
