//! Which volumes the containers of a root use.

use super::{open, raw_config};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::containerfile::ConfigFile;
use crate::schema::gojson;

/// Which volumes the containers of a root use.
#[derive(Debug, Default)]
pub(crate) struct UsedVolumes {
    names: std::collections::HashSet<String>,
    /// Configs that dockerd would not decode. A volume counts as used if its name stands anywhere in one of them.
    unread: Vec<Vec<u8>>,
    /// Whether a config could not even be read.
    unknown: bool,
}

impl UsedVolumes {
    /// Whether a container uses the volume, or may use it.
    pub(crate) fn is_used(&self, name: &str) -> bool {
        let named = |bytes: &Vec<u8>| bytes.windows(name.len()).any(|part| part == name.as_bytes());
        self.unknown || self.names.contains(name) || self.unread.iter().any(named)
    }
}

/// Reads which volumes are used. A directory without a config is no container.
pub(crate) fn used_volumes(root: &Dir) -> Result<UsedVolumes, StoreError> {
    let mut used = UsedVolumes::default();
    let Some(containers) = open(root)? else { return Ok(used) };
    for id in containers.all_names()? {
        match containers.sub(&id).and_then(|own| own.map_or(Ok(None), |own| raw_config(&own))) {
            Ok(Some(bytes)) => match gojson::first_value::<ConfigFile>(&bytes) {
                Ok(config) => used.names.extend(config.mount_points.into_values().flatten().map(|point| point.name)),
                Err(_) => used.unread.push(bytes),
            },
            Ok(None) => {}
            Err(_) => used.unknown = true,
        }
    }
    Ok(used)
}
