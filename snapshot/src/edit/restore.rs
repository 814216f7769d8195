//! Puts back what a quarantine holds.
//!
//! Directories come before their records, layers before images, images before names. So a restore that is killed leaves
//! a store that dockerd can start on; the next restore puts back the rest, which is still in the quarantine.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::changes::{Edit, WriteOptions};
use super::disposal::{CONTENTS, Contents, NAME, ensure, split};
use super::transaction::Transaction;
use crate::dir::{Dir, TEMPORARY};
use crate::driver::{DEFAULT, Driver, HomeLayout, WRITABLE};
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::reference::Reference;
use crate::schema::layer::cache_id_in;
use crate::schema::references::References;

/// What a restore has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// The paths, below the data-root, of what was put back.
    pub places: Vec<PathBuf>,
    /// Names that images have again.
    pub names: Vec<String>,
    /// The paths of what stays in the quarantine, because something else is in its place now, or because its layer was
    /// registered again with another directory.
    pub occupied: Vec<PathBuf>,
    /// Names that are not given back: another image has the name now, or the image does not exist.
    pub lost_names: Vec<String>,
}

/// Puts back what is in `quarantine`, which is removed once it is empty.
///
/// # Errors
/// [`StoreError`]. What was put back until then stays in its place; the rest is still in the quarantine.
pub fn restore(root: &Path, quarantine: &Path, options: WriteOptions) -> Result<Restored, StoreError> {
    let dir = Dir::open(quarantine)?;
    if is_unbegun(&dir)? {
        dir.remove_temporaries()?;
        remove_empty(quarantine);
        return Ok(Restored::default());
    }
    let contents = Contents::read(&dir)?;
    // A root from which everything was removed does not show its driver any more, so take the one that the quarantine
    // names.
    let kept = WRITABLE.into_iter().find(|name| *name == contents.driver && *name != DEFAULT);
    let options = WriteOptions { driver: options.driver.or(kept), ..options };
    let mut transaction = Transaction::begin(root, options)?;
    let driver = transaction.root().driver.name();
    if contents.driver != driver {
        let reason = format!("it holds things of the storage driver {}, not of {driver}", contents.driver);
        return Err(StoreError::Invalid { path: dir.join(CONTENTS), reason });
    }
    let mut restored = Restored::default();
    let skipped = unwanted(transaction.root().dir(), &dir, driver)?;
    for (place, mode) in places(driver) {
        let (mut parts, name) = split(&place);
        parts.push(name);
        let Some(from) = dir.descend(&parts)? else { continue };
        let to = ensure(transaction.root().dir(), &parts, mode)?;
        let mut names = from.names()?;
        names.sort();
        // Entries that are not moved as a whole: directories above the places of things, and the quarantine's
        // description.
        let inner: HashSet<PathBuf> = places(driver).into_iter().flat_map(|(place, _)| ancestors(&place)).collect();
        for name in names.into_iter().filter(|name| !inner.contains(&place.join(name))) {
            let own = place.join(&name);
            if to.stat(&name)?.is_some() || skipped.contains(&own) {
                restored.occupied.push(own);
            } else {
                from.rename(&name, &to, &name)?;
                restored.places.push(own);
            }
        }
        if options.sync {
            to.sync()?;
        }
    }
    give_names_back(&mut transaction, &contents, &mut restored)?;
    transaction.commit()?;
    if restored.occupied.is_empty() && restored.lost_names.is_empty() {
        dir.unlink(CONTENTS)?;
        remove_empty(quarantine);
    }
    Ok(restored)
}

/// Whether this is a quarantine whose maker was killed before it wrote the description. Nothing was moved into it then.
fn is_unbegun(dir: &Dir) -> Result<bool, StoreError> {
    let is_ours = dir.path().file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME));
    Ok(is_ours && dir.all_names()?.iter().all(|name| name.to_string_lossy().starts_with(TEMPORARY)))
}

/// The directories in which removed things can have been, in the order in which things are put back, each with the mode
/// with which it is made if it is missing.
fn places(driver: &str) -> Vec<(PathBuf, u32)> {
    let home: PathBuf = HomeLayout::home_path(driver).into_iter().collect();
    let links = HomeLayout::of_driver(driver).and_then(|layout| layout.links).map(|links| (home.join(links), 0o700));
    let image = |below: &str| (PathBuf::from("image").join(driver).join(below), 0o700);
    let mut places = vec![(home, 0o710)];
    places.extend(links);
    places.extend(
        [
            "layerdb/sha256",
            "layerdb/tmp",
            "layerdb/mounts",
            "distribution/diffid-by-digest/sha256",
            "distribution/v2metadata-by-diffid/sha256",
            "imagedb/metadata/sha256",
            "imagedb/content/sha256",
        ]
        .map(image),
    );
    places.push((PathBuf::from("image").join(driver), 0o700));
    places
}

fn ancestors(place: &Path) -> Vec<PathBuf> {
    place.ancestors().filter(|path| !path.as_os_str().is_empty()).map(Path::to_path_buf).collect()
}

/// The directories, with their short names, of layers that were registered again since. If they were put back, nobody
/// would own them.
fn unwanted(root: &Dir, quarantine: &Dir, driver: &str) -> Result<HashSet<PathBuf>, StoreError> {
    let records = ["image", driver, "layerdb", "sha256"];
    let mut skipped = HashSet::new();
    let (Some(kept), Some(there)) = (quarantine.descend(&records)?, root.descend(&records)?) else {
        return Ok(skipped);
    };
    let home: PathBuf = HomeLayout::home_path(driver).into_iter().collect();
    let layout = HomeLayout::of_driver(driver).and_then(|layout| layout.links);
    let links = layout.map_or(Ok(None), |links| {
        let mut parts = HomeLayout::home_path(driver);
        parts.push(links);
        quarantine.descend(&parts)
    })?;
    for name in kept.names()? {
        if there.stat(&name)?.is_none() {
            continue;
        }
        let Ok(Some(id)) = cache_id_in(&kept, &name) else { continue };
        skipped.insert(home.join(id.as_str()));
        let (Some(links), Some(place)) = (&links, layout) else { continue };
        for link in links.names()? {
            let leads_there =
                links.read_link(&link)?.is_some_and(|target| target.iter().any(|part| part == id.as_str()));
            if leads_there {
                skipped.insert(home.join(place).join(link));
            }
        }
    }
    Ok(skipped)
}

fn give_names_back(
    transaction: &mut Transaction,
    contents: &Contents,
    restored: &mut Restored,
) -> Result<(), StoreError> {
    let references = References::load(&transaction.root().images_dir)?;
    for (name, id) in &contents.names {
        let image: ImageId = *id;
        let is_there = transaction.root().images.config(image)?.is_some();
        match Reference::parse(name) {
            Ok(reference) if is_there && references.get(&reference).is_none_or(|other| other == image) => {
                if references.get(&reference).is_none() {
                    transaction.add(Edit::SetTag { reference, image });
                    restored.names.push(name.clone());
                }
            }
            _ => restored.lost_names.push(name.clone()),
        }
    }
    Ok(())
}

/// Removes directories that are empty, the deepest first.
fn remove_empty(path: &Path) {
    let Ok(dir) = Dir::open(path) else { return };
    for name in dir.names().unwrap_or_default() {
        let is_directory = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if dir.stat(&name).is_ok_and(|stat| stat.is_some_and(is_directory)) {
            remove_empty(&path.join(name));
        }
    }
    // This fails for a directory that is not empty, which then stays.
    let _ = rustix::fs::rmdir(path);
}
