//! Which images are needed, for code that takes images back. A container whose config cannot be read may use any image.

use std::collections::HashSet;

use rustix::fs::FileType;

use crate::error::StoreError;
use crate::ids::ImageId;
use crate::root::WritableRoot;
use crate::schema::container;
use crate::schema::references::References;

/// Those of `images` that a name, a container or an image outside of `images` needs.
pub(crate) fn needed(root: &WritableRoot, images: &[ImageId]) -> Result<HashSet<ImageId>, StoreError> {
    let asked: HashSet<ImageId> = images.iter().copied().collect();
    let mut needed = named_or_built_on(root, images)?;
    let Some(containers) = container::open(root.dir())? else { return Ok(needed) };
    for name in containers.names()? {
        // What is no directory is no container.
        let is_directory = |kind| kind == FileType::Directory;
        if !containers.stat(&name)?.is_some_and(|stat| is_directory(FileType::from_raw_mode(stat.st_mode))) {
            continue;
        }
        // A container that has gone since it was listed needs nothing.
        let Some(dir) = containers.sub(&name)? else { continue };
        let Ok(id) = name.parse() else { return Ok(asked) };
        match container::read(&dir, &id).ok().and_then(|container| container.image) {
            Some(id) if asked.contains(&id) => drop(needed.insert(id)),
            Some(_) => {}
            None => return Ok(asked),
        }
    }
    Ok(needed)
}

/// Those of `images` that have a name, or that an image outside of `images` was built from. Containers are not asked: an image
/// that was removed by force may have some.
pub(crate) fn named_or_built_on(root: &WritableRoot, images: &[ImageId]) -> Result<HashSet<ImageId>, StoreError> {
    let asked: HashSet<ImageId> = images.iter().copied().collect();
    let mut needed: HashSet<ImageId> =
        References::load(&root.images_dir)?.iter().map(|(_, id)| id).filter(|id| asked.contains(id)).collect();
    for id in root.images.list()?.into_iter().filter(|id| !asked.contains(id)) {
        let parent = root.images.metadata(id, "parent")?;
        needed.extend(parent.and_then(|text| text.parse().ok()).map(ImageId).filter(|id| asked.contains(id)));
    }
    Ok(needed)
}
