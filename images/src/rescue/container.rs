//! A container of a store, made anew in another one.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::{Source, Unpacking, copy_tree};
use snapshot::StoreError;
use snapshot::catalog::Container;
use snapshot::driver::MountGuard;
use snapshot::edit::{NewContainer, NewVolume, Transaction, WriteOptions};
use snapshot::ids::VolumeName;
use snapshot::root::DataRoot;
use snapshot::schema::container::{self, ContainerFiles};
use snapshot::schema::containerfile::MountPointFile;
use snapshot::schema::volume;
use snapshot::view::View;

use super::{INTO, RescueError, RescueOptions};
use crate::export::ExportError;
use crate::pipe::piped;
use crate::tree::LayersOfContainer;
use crate::written::Written;

/// Makes the container anew in the data-root at `into`, which has its image: its settings, what it has written, its log, and its
/// local volumes with what is in them. It does not run there. The caller should have a mount namespace of its own, so that
/// nothing stays mounted if it is killed.
///
/// # Errors
/// [`RescueError`]; nothing of the container is left in the new store then.
pub fn rescue_container(
    from: &View,
    container: &Container,
    into: &Path,
    options: &RescueOptions<'_>,
) -> Result<(), RescueError> {
    let mount = container.mount.as_ref().ok_or(RescueError::NoLayer)?;
    let missing = || StoreError::Invalid {
        path: container::own_path(from.root().dir().path(), &container.id),
        reason: "it is gone".into(),
    };
    let own = container::open_own(from.root().dir(), &container.id)?.ok_or_else(missing)?;
    let mut files = ContainerFiles::read(&own)?;
    files.config.driver = INTO.to_owned();
    let state = files.state();
    (state.running, state.paused, state.restarting, state.removing, state.dead) = (false, false, false, false, false);
    state.pid = 0;
    let layers = mount.init_id.iter().chain(&mount.mount_id).cloned().collect();
    let layers = LayersOfContainer::new(from.root(), from.catalog(), mount.parent, layers)?;
    let written = Written::read(&layers)?;

    let mut transaction = Transaction::begin(into, WriteOptions { driver: Some(INTO), sync: options.sync })?;
    let volumes = volumes_to_copy(from.root(), transaction.root().dir().path(), &mut files)?;
    let new = volumes.iter().cloned().map(NewVolume::plain).collect();
    let new = NewContainer { id: container.id.clone(), layer: mount.parent, volumes: new };
    transaction.add_container(&new, |mounted| {
        apply(&written, &layers, mounted, options)?;
        for name in &volumes {
            copy_volume(from.root(), into, name)?;
        }
        Ok::<_, RescueError>(files)
    })?;
    Ok(container::copy_rest(&own, transaction.root().dir(), &container.id)?)
}

/// Writes into the mounted layer of the new container what the old one has written.
fn apply(
    written: &Written,
    layers: &LayersOfContainer<'_>,
    mounted: &MountGuard,
    options: &RescueOptions<'_>,
) -> Result<(), RescueError> {
    if written.is_nothing() {
        return Ok(());
    }
    let failed = |source| RescueError::Export(ExportError::Write { source });
    let target = Target {
        root: mounted.dir().owned_fd()?,
        // Only a journal needs what would be kept there.
        scratch: mounted.dir().owned_fd()?,
        whiteouts: WhiteoutMode::Delete,
        ownership: Ownership::Layer,
        defer_directories: false,
    };
    let read = |tar: Box<dyn io::BufRead + Send>| {
        Unpacking::begin(Source::Plain(Box::new(tar)), target, None)
            .and_then(|unpacking| unpacking.run(options.threads))
    };
    let unpacked = piped(|out| written.write(layers, out, options.interrupted), read).map_err(failed)?;
    unpacked.map(drop).map_err(RescueError::Unpack)
}

/// The volumes that are to be made anew: local ones that are in the old store and not yet in the new one. The container
/// finds them at their new place.
fn volumes_to_copy(
    from: &DataRoot,
    into: &Path,
    files: &mut ContainerFiles,
) -> Result<BTreeSet<VolumeName>, StoreError> {
    let mut names = BTreeSet::new();
    for point in files.config.mount_points.values_mut().flatten() {
        let Some(name) = local_volume(point) else { continue };
        if volume::data(from.dir(), &name)?.is_none() {
            continue;
        }
        let place = volume::content_path(into, &name);
        point.source = place.display().to_string();
        if !place.exists() {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The local volume that a mount point shows.
fn local_volume(point: &MountPointFile) -> Option<VolumeName> {
    let is_local = point.driver == "local" && point.kind != "bind";
    point.name.parse().ok().filter(|_| is_local)
}

fn copy_volume(from: &DataRoot, into: &Path, name: &VolumeName) -> Result<(), RescueError> {
    let failed = |source: io::Error| RescueError::Volume { name: name.to_string(), source };
    let Some(old) = volume::data(from.dir(), name)? else { return Ok(()) };
    let new = std::fs::File::open(volume::content_path(into, name)).map_err(failed)?;
    copy_tree(&old, &new).map_err(|errno| failed(errno.into()))
}
