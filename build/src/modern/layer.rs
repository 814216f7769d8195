//! A layer that a step has made, or that was made before.

use std::sync::atomic::Ordering;

use images::export::{ExportError, ExportForm, Exporter};
use images::load::NewImage;
use images::pipe::LayerWriter;
use images::tree::{Tree, read_for};
use images::written::Written;
use jiff::Timestamp;
use layerfs::DiffId;
use layerfs::path::split;
use snapshot::schema::time::Time;
use tarsplit::pax::PaxTime;

use super::cache::{self, Keys, Record};
use super::secret;
use super::stage::{Built, Step};
use super::{Builder, lock};
use crate::BuildError;
use crate::upper::Upper;

impl Builder<'_, '_> {
    /// Takes a layer that was made before, if there is one. `below` are the layers that it must stand on.
    pub(super) fn take_cached(&mut self, built: &mut Built, key: &str, text: &str) -> bool {
        self.end_step();
        loop {
            let found = lock(&self.shared.records).find(key).cloned();
            if let Some(record) = found {
                let stands = record.layers.len() == built.layers.len() + 1 && record.layers.starts_with(&built.layers);
                if stands {
                    on_record(built, &record, text);
                }
                return stands;
            }
            let stopped = self.shared.place.interrupted;
            if !self.shared.options.cache || stopped.load(Ordering::Relaxed) {
                return false;
            }
            if !self.shared.once.begin_or_wait(key, stopped) {
                self.doing = Some(key.to_owned());
                // Another stage may have ended it just before.
                if lock(&self.shared.records).find(key).is_none() {
                    return false;
                }
                self.end_step();
            }
        }
    }

    /// The step that this stage does for all has ended.
    fn end_step(&mut self) {
        if let Some(key) = self.doing.take() {
            self.shared.once.end(&key);
        }
    }

    /// Stores the layer that `write` writes on top of a stage.
    pub(super) fn add_layer(
        &mut self,
        built: &mut Built,
        keys: &Keys,
        text: &str,
        write: impl FnOnce(LayerWriter) -> Result<(), ExportError> + Send,
    ) -> Result<(), BuildError> {
        let number = secret::read_or_make(&self.shared.store)?;
        let created = Time::from(Timestamp::now()).to_string();
        let mut layers = built.layers.clone();
        let describe = |layer: Option<DiffId>| {
            layers.extend(layer);
            let config = cache::config(built, keys, &number, &layers, text, &created);
            NewImage { config, parent: built.record, names: None }
        };
        let image = self.shared.store.add_written(&built.layers, write, describe)?;
        let record = Record { image, layers, created };
        if self.shared.options.cache {
            lock(&self.shared.records).add(keys, record.clone());
        }
        self.end_step();
        on_record(built, &record, text);
        Ok(())
    }

    /// Stores what was put together as a layer.
    pub(super) fn add_upper(
        &mut self,
        built: &mut Built,
        keys: &Keys,
        text: &str,
        mut upper: Upper<'_>,
    ) -> Result<(), BuildError> {
        if let Some(latest) = self.latest() {
            clamp(&mut upper.layer, latest);
        }
        let interrupted = self.shared.place.interrupted;
        self.add_layer(built, keys, text, |out| {
            let mut exporter = Exporter::new(out, ExportForm::Layer, interrupted);
            exporter.all(&upper.layer, &upper.picked)?;
            exporter.finish().map(drop)
        })
    }

    /// The latest time that a file of a new layer may have, in seconds.
    pub(super) fn latest(&self) -> Option<i64> {
        self.shared.options.reproducible.then(|| self.shared.options.epoch.unwrap_or_default())
    }

    /// What a stage has at some paths.
    pub(super) fn read_at(&mut self, built: &Built, paths: &[&[u8]]) -> Result<Tree, BuildError> {
        let Some(image) = built.image else { return Ok(Tree::empty()) };
        let moment = self.shared.store.moment();
        Ok(read_for(&moment.layers(image)?, paths)?)
    }
}

impl Drop for Builder<'_, '_> {
    fn drop(&mut self) {
        self.end_step();
    }
}

/// Directories that every container has; where a stage lacks one, its next layer has it.
pub(super) const POINTS: [&[u8]; 4] = [b"dev", b"etc", b"proc", b"sys"];

/// Takes out what was made only to be mounted at, and adds the directories that runc makes for its own mounts
/// (moby/buildkit `executor/stubs.go`).
pub(super) fn clean_stubs(written: &mut Written, base: &Tree, targets: &[Vec<u8>], now: i64) {
    for target in targets.iter().filter(|target| !target.is_empty()) {
        let mut path = target.as_slice();
        // The directories above it were made with it.
        while !path.is_empty() && base.at(path).is_none() && written.is_empty_at(path) {
            written.forget(path);
            path = split(path).0;
        }
    }
    for path in POINTS {
        if base.at(path).is_none() {
            written.add_directory(path, now);
        }
    }
}

/// A stage goes on from a record.
fn on_record(built: &mut Built, record: &Record, text: &str) {
    built.layers.clone_from(&record.layers);
    (built.record, built.image) = (Some(record.image), Some(record.image));
    built.history.push(Step::New { created: Some(record.created.clone()), text: text.to_owned() });
}

/// Gives everything that is later this time.
pub(super) fn clamp(tree: &mut Tree, latest: i64) {
    let mut walk = tree.walk_below(Tree::ROOT, b"");
    let mut late = Vec::new();
    while let Some((_, id)) = walk.next() {
        if tree.node(id).mtime.seconds >= latest {
            late.push(id);
        }
    }
    for id in late {
        tree.node_mut(id).mtime = PaxTime::from_seconds(latest);
    }
}
