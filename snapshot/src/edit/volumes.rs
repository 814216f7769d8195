//! Local volumes: how they come and go, as `volume/local/local.go` and `volume/service/db.go` of moby v20.10.24 do it.

use std::collections::BTreeMap;

use super::containers::make_or_take_back;
use super::disposal::ensure;
use super::finish::twice;
use super::record::Record;
use super::transaction::Transaction;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::VolumeName;
use crate::root::WritableRoot;
use crate::schema::container;
use crate::schema::volume::{self, DATA, Mounting, Noted, OPTIONS, VOLUMES};

/// A volume that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name.
    pub name: VolumeName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The options with which it is made.
    pub options: BTreeMap<String, String>,
    /// What the options say of how it is mounted; `None` if there are no options.
    pub mounting: Option<Mounting>,
}

impl NewVolume {
    /// A volume that is a plain directory.
    #[must_use]
    pub fn plain(name: VolumeName) -> Self {
        Self { name, labels: BTreeMap::new(), options: BTreeMap::new(), mounting: None }
    }
}

impl Transaction {
    /// Adds an empty volume. It is made under a record of intent, since a kill between its two directories
    /// would leave a volume that dockerd lists and cannot mount.
    ///
    /// # Errors
    /// [`StoreError`], also if the volume exists.
    pub fn add_volume(&mut self, new: &NewVolume) -> Result<(), StoreError> {
        self.root.check_again()?;
        let volumes = ensure(self.root.dir(), &[VOLUMES], 0o701)?;
        if volumes.stat(new.name.as_str())?.is_some() {
            let path = volumes.path().join(new.name.as_str());
            return Err(StoreError::Invalid { path, reason: "it is there already".into() });
        }
        let record = Record { added_volumes: vec![new.name.clone()], ..Record::default() };
        make_or_take_back(self, &record, |transaction| {
            make(&transaction.root, std::slice::from_ref(new), transaction.sync)
        })
    }

    /// Removes volumes, as far as no container uses them.
    ///
    /// # Errors
    /// [`StoreError`]. If anything was removed by then, the next transaction removes the rest.
    pub fn remove_volumes(&mut self, names: &[VolumeName]) -> Result<(), StoreError> {
        self.remove(Record { removed_volumes: names.to_vec(), ..Record::default() })
    }
}

/// Makes volumes, with what dockerd notes of them. A volume of an earlier one's name does not get the earlier one's labels.
pub(super) fn make(root: &WritableRoot, new: &[NewVolume], sync: bool) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let volumes = ensure(root.dir(), &[VOLUMES], 0o701)?;
    for one in new {
        let own = volumes.create(one.name.as_str(), 0o701)?;
        own.create(DATA, 0o755)?;
        if let Some(mounting) = &one.mounting {
            own.write_new(OPTIONS, &mounting.to_json(), 0o600)?;
        }
        if sync {
            own.sync()?;
        }
    }
    if sync {
        volumes.sync()?;
    }
    let (noted, plain): (Vec<&NewVolume>, Vec<&NewVolume>) =
        new.iter().partition(|one| !one.labels.is_empty() || !one.options.is_empty());
    let plain: Vec<VolumeName> = plain.into_iter().map(|one| one.name.clone()).collect();
    forget(&volumes, &plain, sync)?;
    let noted: Vec<Noted<'_>> = noted.iter().map(|one| (&one.name, &one.labels, &one.options)).collect();
    if noted.is_empty() { Ok(()) } else { volume::note(&volumes, &noted, &[], sync) }
}

/// Removes volumes that no container uses.
pub(super) fn remove(root: &WritableRoot, names: &[VolumeName]) -> Result<(), StoreError> {
    if names.is_empty() {
        return Ok(());
    }
    let mut used = container::used_volumes(root.dir())?;
    if names.iter().any(|name| used.is_used(name)) {
        // A record that cannot be read counts as one that uses all: it may have been so only at that moment.
        used = container::used_volumes(root.dir())?;
    }
    let Some(volumes) = root.dir().sub(VOLUMES)? else { return Ok(()) };
    let gone: Vec<VolumeName> = names.iter().filter(|name| !used.is_used(name)).cloned().collect();
    for name in &gone {
        volumes.remove_tree(name.as_str())?;
    }
    forget(&volumes, &gone, true)
}

/// Removes volumes that are gone from the database of volumes, so that later volumes of the same names do not get their
/// labels.
fn forget(volumes: &Dir, names: &[VolumeName], sync: bool) -> Result<(), StoreError> {
    match twice(|| volume::note(volumes, &[], names, sync)) {
        // A database that cannot be read gives no volume any labels.
        Err(StoreError::Database { .. } | StoreError::Invalid { .. }) => Ok(()),
        result => result,
    }
}
