//! `layerfs volume`: `docker volume`, offline.

pub(crate) mod change;
pub(crate) mod inspect;
pub(crate) mod list;

use snapshot::catalog::{Catalog, Volume};

/// Where a volume's content is.
pub(crate) fn mountpoint(catalog: &Catalog, volume: &Volume) -> String {
    snapshot::schema::volume::content_path(catalog.root(), &volume.name).display().to_string()
}
