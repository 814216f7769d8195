//! Volumes: made, and removed where nobody uses them.

use std::collections::BTreeMap;

use snapshot::catalog::{Catalog, Container};
use snapshot::edit::NewVolume;
use snapshot::ids::{CacheId, VolumeName};
use snapshot::usage::sizes::measure_volume;

use crate::volume_options::mounting;
use crate::{ContainerError, Store, names};

impl Store {
    /// Makes a volume with labels and options; one that exists stays as it is. Without a name, draws one.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn create_volume(
        &self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<VolumeName, ContainerError> {
        let drawn = CacheId::random().to_string();
        let name = name.unwrap_or(&drawn);
        names::check_volume(name)?;
        let mounting = mounting(&options);
        let (mut transaction, catalog) = self.open()?;
        let name: VolumeName = name.parse().map_err(|_| ContainerError::Invalid(format!("no name: {name}")))?;
        if !catalog.volumes().iter().any(|volume| volume.name == name) {
            let mounting = mounting.map_err(|why| ContainerError::Invalid(format!("create {name}: {why}")))?;
            transaction.add_volume(&NewVolume { name: name.clone(), labels, options, mounting })?;
        }
        Ok(name)
    }

    /// Removes a volume that nobody uses.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn remove_volume(&self, text: &str) -> Result<(), ContainerError> {
        let (mut transaction, catalog) = self.open()?;
        let volume = catalog.volumes().iter().find(|volume| volume.name == text);
        let volume = volume.ok_or_else(|| ContainerError::NoVolume(text.to_owned()))?;
        let users: Vec<&str> = users(&catalog, &volume.name).map(|container| container.id.as_str()).collect();
        if !users.is_empty() {
            return Err(ContainerError::Invalid(format!("remove {text}: volume is in use - [{}]", users.join(", "))));
        }
        Ok(transaction.remove_volumes(std::slice::from_ref(&volume.name))?)
    }

    /// Removes the volumes that `selects` takes and that nobody uses. `measure` is called with each one before; its answers
    /// are returned.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn prune_volumes(
        &self,
        selects: impl Fn(&snapshot::catalog::Volume) -> bool,
    ) -> Result<Vec<(VolumeName, u64)>, ContainerError> {
        let (mut transaction, catalog) = self.open()?;
        let unused = catalog.volumes().iter().filter(|volume| users(&catalog, &volume.name).next().is_none());
        let going: Vec<VolumeName> =
            unused.filter(|volume| selects(volume)).map(|volume| volume.name.clone()).collect();
        let root = transaction.root().dir();
        let measured = going.iter().map(|name| (name.clone(), measure_volume(root, name))).collect();
        transaction.remove_volumes(&going)?;
        Ok(measured)
    }
}

fn users<'c>(catalog: &'c Catalog, name: &'c VolumeName) -> impl Iterator<Item = &'c Container> {
    let uses = move |container: &&Container| container.mount_points.iter().any(|point| point.name == name.as_str());
    catalog.live_containers().filter(uses)
}
