//! One image as its config and its metadata describe it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use layerfs::{ChainId, DiffId};

use super::with_causes;
use crate::ids::ImageId;
pub use crate::schema::config::History;
use crate::schema::config::{ImageConfig, ImageFields};
use crate::schema::image::ImageStore;
use crate::schema::layer::LayerRecord;

/// An image that dockerd would show.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its config.
    pub id: ImageId,
    /// What its config says.
    pub config: ImageFields,
    /// Its layers' own contents, base first.
    pub diff_ids: Vec<DiffId>,
    /// Its layers, base first.
    pub chain: Vec<ChainId>,
    /// When it was made; `None` where the config does not say.
    pub created: Option<Timestamp>,
    /// `metadata/parent`, whatever it says.
    pub parent: Option<String>,
    /// `metadata/lastUpdated`, whatever it says.
    pub last_tagged: Option<String>,
    /// Images whose parent it is.
    pub children: Vec<ImageId>,
}

impl Image {
    /// The steps by which it was made, oldest first.
    #[must_use]
    pub fn history(&self) -> &[History] {
        &self.config.history.0
    }

    /// Its labels. `None` where it has no `config`, which filters treat apart.
    #[must_use]
    pub fn labels(&self) -> Option<BTreeMap<String, String>> {
        Some(self.config.config.as_ref()?.labels.clone().unwrap_or_default())
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
    drop(bytes);
    let chain: Vec<ChainId> = ChainId::chain(&parsed.diff_ids);
    // Without layers dockerd does not ask for the operating system.
    if let Some(top) = chain.last() {
        match (parsed.check_os(), parsed.fields.os.as_str()) {
            (Ok(()), _) => {}
            (Err(_), os) if os.eq_ignore_ascii_case("linux") => {
                return Err(format!("os is {os:?}, not \"linux\": dockerd 20.10 crashes at its start"));
            }
            (Err(_), os) => return Err(format!("it is for the operating system {os}")),
        }
        match layers.get(top) {
            Some(Ok(_)) => {}
            Some(Err(reason)) => return Err(format!("its layer {top} is damaged: {reason}")),
            None => return Err(format!("its layer {top} is missing")),
        }
    }
    Ok(Image {
        id,
        diff_ids: parsed.diff_ids,
        chain,
        created: parsed.fields.created.moment(),
        parent: store.parent(id),
        last_tagged: store.last_updated(id),
        children: Vec::new(),
        config: parsed.fields,
    })
}
