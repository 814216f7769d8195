//! The cache: layers by what they were made from.
//!
//! A record is an image without a name, whose layers are those that a step has made and all below. Labels of its
//! `container_config`, which no container ever sees, say what it was made from. So whatever knows images knows the cache: who owns
//! a layer, what is removed with what, and dockerd. A record has the record of the step before as its parent, and the image at
//! the end has the last record: while the image is there, no prune takes them, and `images` does not list them.

use std::collections::{BTreeMap, HashMap};

use layerfs::{ChainId, DiffId, Digest};
use serde_json::{Map, Value, json};
use snapshot::catalog::Catalog;
use snapshot::ids::ImageId;
use snapshot::schema::gojson::StrSlice;
use snapshot::schema::runconfig::RunConfig;

use super::config::rootfs;
use super::secret;
use super::stage::Built;

/// The label with what a layer was made from: the layers below and the instruction.
const KEY: &str = "layerfs.build.key";
/// The label of one that was made from files of another stage: the same with the content of the files.
const CONTENT: &str = "layerfs.build.content";

/// The label that proves that the record was made here.
const PROOF: &str = "layerfs.build.proof";

/// A step that was done before.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) image: ImageId,
    pub(super) layers: Vec<DiffId>,
    /// When.
    pub(super) created: String,
}

/// All records of a store, by their keys.
#[derive(Debug, Default)]
pub(super) struct Records(HashMap<String, Record>);

/// What a layer is made from: one or two keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    pub(super) key: String,
    pub(super) content: String,
}

impl Records {
    /// The records of a store that were made there, as its `number` proves, or that are trusted; of several with one key, the newest.
    pub(super) fn read(catalog: &Catalog, number: Option<&str>, trusted: &[ImageId]) -> Self {
        let mut records = Self::default();
        let mut images: Vec<_> = catalog.images().values().collect();
        images.sort_by_key(|image| (image.config.created.moment(), image.id));
        for image in images {
            let labels = image.config.container_config.labels.clone().unwrap_or_default();
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            let keys = Keys { key: label(KEY), content: label(CONTENT) };
            let proven = number.is_some_and(|number| secret::proof(number, &keys, &image.diff_ids) == label(PROOF));
            if !proven && !trusted.contains(&image.id) {
                continue;
            }
            let created = image.config.created.to_string();
            records.add(&keys, Record { image: image.id, layers: image.diff_ids.clone(), created });
        }
        records
    }

    pub(super) fn add(&mut self, keys: &Keys, record: Record) {
        for key in [&keys.key, &keys.content] {
            if !key.is_empty() {
                self.0.insert(key.clone(), record.clone());
            }
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<&Record> {
        self.0.get(key)
    }
}

/// The key of a step: the layers below it, and everything else that it depends on.
pub(super) fn key(below: &[DiffId], parts: &[Value]) -> String {
    let chain = ChainId::chain(below).last().map(ToString::to_string).unwrap_or_default();
    let text = json!([chain, parts]).to_string();
    Digest::hash(text.as_bytes()).to_string()
}

/// The config of a record.
pub(super) fn config(
    built: &Built,
    keys: &Keys,
    number: &str,
    layers: &[DiffId],
    text: &str,
    created: &str,
) -> Vec<u8> {
    let mut labels = BTreeMap::from([(KEY.to_owned(), keys.key.clone())]);
    if !keys.content.is_empty() {
        labels.insert(CONTENT.into(), keys.content.clone());
    }
    labels.insert(PROOF.into(), secret::proof(number, keys, layers));
    let cmd = StrSlice(Some(vec!["layerfs build cache".into(), text.to_owned()]));
    let container = RunConfig { cmd, labels: Some(labels), ..RunConfig::default() };
    let step = |text: &str| json!({"created": created, "created_by": text, "comment": "layerfs build cache"});
    let mut history = vec![step(""); layers.len().saturating_sub(1)];
    history.push(step(text));
    let value = |config: &RunConfig| serde_json::to_value(config).expect("texts and numbers always serialise");
    let mut object = Map::new();
    object.insert("architecture".into(), built.platform.architecture.clone().into());
    object.insert("config".into(), value(&RunConfig::default()));
    object.insert("container_config".into(), value(&container));
    object.insert("created".into(), created.into());
    object.insert("history".into(), history.into());
    object.insert("os".into(), built.platform.os.clone().into());
    object.insert("rootfs".into(), rootfs(layers));
    if let Some(variant) = &built.platform.variant {
        object.insert("variant".into(), variant.clone().into());
    }
    serde_json::to_vec(&object).expect("texts and numbers always serialise")
}

/// Whether an image is a record of the cache.
#[must_use]
pub fn is_record(container_config: &RunConfig) -> bool {
    container_config.labels.as_ref().is_some_and(|labels| labels.contains_key(KEY))
}
