//! `build --cache-to` and `--cache-from`: the records of the cache that an image stands on, as a layout in a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use images::load::{ImportOptions, ImportRequest, Silent, import};
use images::save::{self, SaveDestination, SaveForm, SaveOptions, SavePlan};
use images::source::Select;
use layerfs::compress::encode::Encoding;
use snapshot::ids::ImageId;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use crate::input;

/// Reads the value of a flag: a directory, or `type=local` with the directory under `key`.
pub(super) fn directory(flag: &str, key: &str, text: &str) -> Result<PathBuf, String> {
    let (mut kind, mut dir) = ("local", None);
    if !text.contains('=') {
        dir = Some(text);
    }
    for field in text.split(',').filter(|_| text.contains('=')) {
        match field.split_once('=') {
            Some(("type", value)) => kind = value,
            Some((name, value)) if name == key => dir = Some(value),
            // What BuildKit exports besides the layers of the image is not kept here.
            Some(("mode", "min")) => {}
            _ => return Err(format!("--{flag}: {field} is not known; type=local and {key}=DIR are")),
        }
    }
    match (kind, dir) {
        ("local", Some(dir)) => Ok(dir.into()),
        ("local", None) => Err(format!("--{flag}: {key}=DIR is missing")),
        _ => Err(format!("--{flag}: type {} is not known; local is", docker_format::quoted(kind))),
    }
}

/// Writes the records that an image stands on.
pub(super) fn write(
    root: &Path,
    driver: Option<&str>,
    image: ImageId,
    dir: &Path,
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    let root = DataRoot::find(root, driver)?;
    let view = View::read_root(root, Needs::RECORDS)?;
    let mut records = BTreeMap::new();
    let mut next = Some(image);
    while let Some(known) = next.and_then(|id| view.catalog().images().get(&id)) {
        if build::is_record(&known.config.container_config) && !known.diff_ids.is_empty() {
            records.insert(known.id, BTreeSet::new());
        }
        next = known.parent_id().filter(|parent| !records.contains_key(parent));
    }
    if records.is_empty() {
        anyhow::bail!("there is no cache of this image to write to {}", dir.display());
    }
    let plan = SavePlan::new(view.catalog(), &records, &BTreeSet::default());
    let options = SaveOptions {
        form: SaveForm::Docker,
        encoding: Encoding::None,
        skip_damaged: false,
        threads: std::thread::available_parallelism().map_or(1, Into::into),
        interrupted,
        observer: &Silent,
    };
    save::save(view.root(), &plan, SaveDestination::Directory(dir.to_owned()), &options)?;
    Ok(())
}

/// Takes the records of a directory into a store, where the build finds them. Returns their ids.
pub(super) fn read(
    root: &Path,
    driver: Option<&'static str>,
    dir: &Path,
    sync: bool,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<ImageId>> {
    let mut options = ImportOptions::new(interrupted);
    (options.driver, options.sync) = (driver, sync);
    let request = ImportRequest { archive: dir, select: &Select::default(), options: &options, observer: &Silent };
    let report = import(input::open(dir)?, root, &request).map_err(input::with_name(dir))?;
    Ok(report.images.iter().map(|image| image.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read() {
        for text in ["d", "type=local,src=d", "src=d,type=local"] {
            assert_eq!(directory("cache-from", "src", text), Ok("d".into()), "{text}");
        }
        for wrong in ["type=registry,ref=x", "type=local", "type=gha", "mode=max,src=d"] {
            assert!(directory("cache-from", "src", wrong).is_err(), "{wrong}");
        }
    }
}
