//! `build --cache-to` and `--cache-from`: records of the cache as a layout, in a directory or at a registry.

mod remote;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use build::Made;
use images::load::{ImportOptions, ImportRequest, Silent, import};
use images::save::{self, SaveDestination, SaveForm, SaveOptions, SavePlan};
use images::source::Select;
use layerfs::compress::encode::Encoding;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use crate::commands::layerfs::NAME;
use crate::registries::{SourceFlags, parse};
use crate::{input, output as out};

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Directory(PathBuf),
    Registry(Reference),
}

/// One `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheTo {
    pub(super) place: Place,
    /// Whether the steps of all stages are written, and not only those whose layers the image has.
    pub(super) all: bool,
}

/// Reads the value of `--cache-from`.
pub(super) fn from(text: &str) -> Result<Place, String> {
    let (place, mode) = fields("cache-from", "src", text)?;
    if mode.is_some() { Err("--cache-from: mode is of --cache-to alone".into()) } else { Ok(place) }
}

/// Reads the value of `--cache-to`.
pub(super) fn to(text: &str) -> Result<CacheTo, String> {
    let (place, mode) = fields("cache-to", "dest", text)?;
    let all = match mode {
        None | Some("min") => false,
        Some("max") => true,
        Some(other) => return Err(format!("--cache-to: mode {} is not known; min and max are", quoted(other))),
    };
    Ok(CacheTo { place, all })
}

fn quoted(text: &str) -> String {
    docker_format::quoted(text)
}

/// A directory, or `type=local` with the directory under `key`, or `type=registry` with a name under `ref`; and the mode.
fn fields<'t>(flag: &str, key: &str, text: &'t str) -> Result<(Place, Option<&'t str>), String> {
    if !text.contains('=') {
        return Ok((Place::Directory(text.into()), None));
    }
    let (mut kind, mut dir, mut name, mut mode) = ("local", None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value)) => kind = value,
            Some(("ref", value)) => name = Some(value),
            Some(("mode", value)) => mode = Some(value),
            Some((found, value)) if found == key => dir = Some(value),
            _ => return Err(format!("--{flag}: {field} is not known; type, {key}, ref and mode are")),
        }
    }
    let place = match (kind, dir, name) {
        ("local", Some(dir), None) => Place::Directory(dir.into()),
        ("local", None, _) => return Err(format!("--{flag}: {key}=DIR is missing")),
        ("registry", None, Some(name)) => {
            let parsed = parse(name).map_err(|error| format!("--{flag}: {error}"))?;
            Place::Registry(parsed.with_default_tag())
        }
        ("registry", _, None) => return Err(format!("--{flag}: ref=NAME is missing")),
        ("local" | "registry", ..) => {
            return Err(format!("--{flag}: ref is of type=registry, and {key} of type=local"));
        }
        _ => return Err(format!("--{flag}: type {} is not known; local and registry are", quoted(kind))),
    };
    Ok((place, mode))
}

/// The store that caches are written from and read into, and how registries are reached.
pub(super) struct Store<'s> {
    pub(super) root: &'s Path,
    pub(super) driver: Option<&'static str>,
    pub(super) sync: bool,
    pub(super) flags: &'s SourceFlags,
    pub(super) interrupted: &'s Arc<AtomicBool>,
}

impl Store<'_> {
    /// Writes the records of what was built.
    pub(super) fn write(&self, made: &Made, to: &CacheTo) -> anyhow::Result<()> {
        match &to.place {
            Place::Directory(dir) => self.save(made, to.all, dir, SaveForm::Docker).map(drop),
            Place::Registry(name) => {
                let dir = tempfile::Builder::new().prefix("layerfs-cache-").tempdir()?;
                let is_there = self.save(made, to.all, dir.path(), SaveForm::Oci)?;
                if is_there { self.push(dir.path(), name) } else { Ok(()) }
            }
        }
    }

    /// Takes a cache into the store, where the build finds it. Returns the ids of its records: none if it is not there yet.
    pub(super) fn read(&self, place: &Place) -> anyhow::Result<Vec<ImageId>> {
        match place {
            Place::Directory(dir) if !dir.exists() => Ok(Vec::new()),
            Place::Directory(dir) => self.import(dir),
            Place::Registry(name) => {
                let dir = tempfile::Builder::new().prefix("layerfs-cache-").tempdir()?;
                let is_there = self.pull(name, dir.path())?;
                if is_there { self.import(dir.path()) } else { Ok(Vec::new()) }
            }
        }
    }

    fn import(&self, dir: &Path) -> anyhow::Result<Vec<ImageId>> {
        let mut options = ImportOptions::new(self.interrupted);
        (options.driver, options.sync) = (self.driver, self.sync);
        let request = ImportRequest { archive: dir, select: &Select::default(), options: &options, observer: &Silent };
        let report = import(input::open(dir)?, self.root, &request).map_err(input::with_name(dir))?;
        Ok(report.images.iter().map(|image| image.id).collect())
    }

    /// Writes the records that an image stands on, or those of all stages, into a directory. Returns whether there are any: the
    /// build of an image without steps that make layers is as good as any other, for BuildKit as well.
    fn save(&self, made: &Made, all: bool, dir: &Path, form: SaveForm) -> anyhow::Result<bool> {
        let root = DataRoot::find(self.root, self.driver)?;
        let view = View::read_root(root, Needs::RECORDS)?;
        let tops = if all { made.records.as_slice() } else { &[made.image] };
        let mut records = BTreeMap::new();
        for &top in tops {
            let mut next = Some(top);
            while let Some(known) = next.and_then(|id| view.catalog().images().get(&id)) {
                if build::is_record(&known.config.container_config) && !known.diff_ids.is_empty() {
                    records.insert(known.id, BTreeSet::new());
                }
                next = known.parent_id().filter(|parent| !records.contains_key(parent));
            }
        }
        if records.is_empty() {
            out::complain(NAME, "no cache is written: no step of this image has made a layer");
            return Ok(false);
        }
        let plan = SavePlan::new(view.catalog(), &records, &BTreeSet::default());
        let options = SaveOptions {
            form,
            encoding: Encoding::None,
            skip_damaged: false,
            threads: layerfs::pool::processors().get(),
            interrupted: self.interrupted,
            observer: &Silent,
        };
        save::save(view.root(), &plan, SaveDestination::Directory(dir.to_owned()), &options)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_read() {
        for text in ["d", "type=local,src=d", "src=d,type=local"] {
            assert_eq!(from(text), Ok(Place::Directory("d".into())), "{text}");
        }
        let name = Place::Registry(Reference::parse("localhost:5000/cache:latest").unwrap());
        assert_eq!(from("type=registry,ref=localhost:5000/cache"), Ok(name.clone()));
        assert_eq!(to("type=registry,ref=localhost:5000/cache,mode=max"), Ok(CacheTo { place: name, all: true }));
        assert!(to("type=local,dest=d,mode=min").is_ok_and(|to| !to.all));
        for wrong in ["type=registry", "type=local", "type=gha", "type=registry,ref=X", "mode=max,src=d", "ref=x,src=d"]
        {
            assert!(from(wrong).is_err(), "{wrong}");
        }
        assert!(to("dest=d,mode=most").is_err());
    }
}
