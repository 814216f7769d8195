//! What is wrong with a store although dockerd would start on it and show its images: it does not look (docker-layout
//! section 14). Nothing of the content is read.

use std::path::PathBuf;

use layerfs::ChainId;

use crate::catalog::{Catalog, with_causes};
use crate::dir::Dir;
use crate::driver::Driver;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::root::DataRoot;
use crate::schema::layer::JOURNAL;

/// Something wrong with a layer that dockerd loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFinding {
    /// The layer.
    pub layer: ChainId,
    /// What is wrong, and what fails for it.
    pub what: String,
}

/// Looks at each layer that dockerd would load: its name, its journal, and whether the driver could mount it.
#[must_use]
pub fn of_layers(root: &DataRoot, catalog: &Catalog) -> Vec<LayerFinding> {
    let records = root.images_dir.as_ref().and_then(|dir| dir.descend(&["layerdb", "sha256"]).ok().flatten());
    let mut findings = Vec::new();
    for layer in catalog.layers.values().flatten() {
        let mut find = |what: String| findings.push(LayerFinding { layer: layer.chain_id, what });
        if ChainId::next(layer.parent, layer.diff_id) != layer.chain_id {
            find(
                "its name is not the chain id of what diff and parent say: one of the two files is wrong or missing"
                    .into(),
            );
        }
        if let Some(what) = records.as_ref().and_then(|records| journal(records, layer.chain_id)) {
            find(format!("{JOURNAL} {what}: it cannot be saved or pushed"));
        }
        match root.driver.as_ref().map(|driver| driver.damage(&layer.cache_id, &below(catalog, layer.parent))) {
            Some(Ok(Some(what))) => find(format!("it cannot be mounted: {what}")),
            Some(Err(error)) => find(format!("it cannot be mounted: {}", with_causes(&error))),
            Some(Ok(None)) | None => {}
        }
    }
    findings
}

/// The directories of a layer's parents, the nearest first, as far as their records can be read.
fn below(catalog: &Catalog, parent: Option<ChainId>) -> Vec<CacheId> {
    parent.map(|parent| catalog.chain(parent).map(|layer| layer.cache_id.clone()).collect()).unwrap_or_default()
}

fn journal(records: &Dir, chain: ChainId) -> Option<&'static str> {
    let stat = records.sub(&chain.0.hex()).ok().flatten()?.stat(JOURNAL).ok()?;
    match stat {
        None => Some("is missing"),
        Some(stat) if stat.st_size == 0 => Some("is empty"),
        Some(_) => None,
    }
}

/// Something that a crash has left and that dockerd never removes, or only when it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: &'static str,
}

/// Looks for what crashes leave among the records. Directories of the driver are [`crate::liveness`]'s.
///
/// # Errors
/// [`StoreError::Io`]
pub fn leftovers(root: &DataRoot) -> Result<Vec<Leftover>, StoreError> {
    const PLACES: [(&[&str], &str, &str); 5] = [
        (&["layerdb", "tmp"], "", "an unfinished registration"),
        (&["layerdb", "sha256"], "-removing", "an unfinished removal"),
        (&[], ".tmp-", "a temporary file"),
        (&["imagedb", "content", "sha256"], ".tmp-", "a temporary file"),
        (&["imagedb", "metadata", "sha256"], ".tmp-", "a temporary file"),
    ];
    let Some(images) = &root.images_dir else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (place, mark, what) in PLACES {
        let Some(dir) = images.descend(place)? else { continue };
        let mut names = dir.names()?;
        names.retain(|name| name.starts_with(mark) || name.ends_with(mark));
        names.sort();
        found.extend(names.into_iter().map(|name| Leftover { path: dir.join(&name), what }));
    }
    Ok(found)
}
