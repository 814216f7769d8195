//! `layerfs volume`: `docker volume`, offline.

pub(crate) mod inspect;
pub(crate) mod list;

use snapshot::catalog::{Catalog, Volume};

/// Where a volume's content is.
pub(crate) fn mountpoint(catalog: &Catalog, volume: &Volume) -> String {
    use snapshot::schema::volume::{DATA, VOLUMES};
    catalog.root.join(VOLUMES).join(&volume.name).join(DATA).display().to_string()
}
