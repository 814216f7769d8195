//! The records of containers and volumes as they are written, for commands that show all of them, as `docker inspect`
//! does.

use serde_json::{Map, Value};

use super::container::{self, CONFIG, HOST_CONFIG};
use super::database;
use super::volume::{DATABASE, VOLUMES};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::{ContainerId, VolumeName};

/// Bytes of the largest document that is read.
const MAX_DOCUMENT: usize = 16 << 20;

/// The documents of a container.
#[derive(Debug, Clone)]
pub struct ContainerDocuments {
    /// `config.v2.json`
    pub config: Map<String, Value>,
    /// `hostconfig.json`; `None` if there is none.
    pub host: Option<Map<String, Value>>,
}

/// Reads the documents of the container with this id.
///
/// # Errors
/// [`StoreError`] where a file cannot be read, or is no JSON object.
pub fn read_container(root: &Dir, id: &ContainerId) -> Result<ContainerDocuments, StoreError> {
    let path = || container::own_path(root.path(), id);
    let missing = || StoreError::Invalid { path: path().join(CONFIG), reason: "it is missing".into() };
    let own = container::open_own(root, id)?.ok_or_else(missing)?;
    let document = |name: &str| -> Result<Option<Map<String, Value>>, StoreError> {
        let Some(bytes) = own.read(name, MAX_DOCUMENT)? else { return Ok(None) };
        let invalid =
            |error: serde_json::Error| StoreError::Invalid { path: own.join(name), reason: error.to_string() };
        // dockerd reads the first value and ignores what follows it.
        let first = serde_json::Deserializer::from_slice(&bytes).into_iter().next();
        first.transpose().map_err(invalid)
    };
    Ok(ContainerDocuments { config: document(CONFIG)?.ok_or_else(missing)?, host: document(HOST_CONFIG)? })
}

/// What the database of volumes says about one volume: `Labels` and `Options` among others; `None` if it cannot be
/// read, or does not know the volume.
#[must_use]
pub fn read_volume(root: &Dir, name: &VolumeName) -> Option<Map<String, Value>> {
    let dir = root.sub(VOLUMES).ok()??;
    let record = database::read_all(&dir, DATABASE, |known| {
        known.root().bucket(b"volumes")?.map_or(Ok(None), |bucket| bucket.get(name.as_str().as_bytes()))
    });
    serde_json::from_slice(&record.ok()???).ok()
}
