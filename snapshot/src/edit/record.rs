//! The record of intent: a transaction writes down what it is about to change before it changes anything.
//!
//! ```text
//! layerdb/tmp/layerfs-intent-<random>     until the commit point
//! layerdb/tmp/layerfs-commit-<random>     after the commit point, while steps are left to do
//!
//!   {"layerfs-intent":2}                                  the version of this format
//!   {"add-layer":"sha256:<chain id>"}                     parents before children
//!   {"add-image":"sha256:<image id>"}                     only images that were not there
//!   {"name":{"name":"app:1","image":"sha256:..."}}        as `repositories.json` will have it; no image: the name goes
//!   {"parent":{"image":"sha256:...","parent":"sha256:..."}}
//!   {"last-updated":{"image":"sha256:...","time":"..."}}
//!   {"remove-image":"sha256:<image id>"}
//!   {"remove-layer":{"chain":"sha256:...","removing":"<name>"}}   children before parents
//!   {"quarantine":"<path>"}                               what is removed is moved there and not deleted
//!   {"clear":{"directory":"<name>"}}                      remains of things that are gone, of any kind
//!   {"add-container":{"container":"<id>","mount":"<name>"}}   with the directory of its writable layer
//!   {"add-volume":"<name>"}
//!   {"remove-container":"<id>"}
//!   {"remove-volume":"<name>"}
//!   {"end":12}                                            lines between the first and this one
//! ```
//!
//! The version before this one wrote only an array of the chain ids of the added layers; such a record is still read. A
//! record without its last line was cut short by a power cut, with durability turned off; its complete lines count.
//! An unknown version or an unknown line is an error, since nobody knows what the record asks for. A record that would
//! be too long to be read is not written, and the change fails.

use std::path::PathBuf;

use layerfs::ChainId;
use serde::{Deserialize, Serialize};

use super::containers::AddedContainer;
use super::remains::Remains;
use crate::dir::{Dir, modified};
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId, ImageId, VolumeName};
use crate::reference::Reference;

const INTENT: &str = "layerfs-intent-";
const COMMIT: &str = "layerfs-commit-";
const VERSION: u32 = 2;

/// Whether a file in `layerdb/tmp` is the record of a change that was not finished.
pub(crate) fn is_change_record(name: &str) -> bool {
    name.starts_with(INTENT) || name.starts_with(COMMIT)
}

/// Bytes of the largest record, which holds more than half a million layers.
const MAX_RECORD: usize = 64 << 20;

/// A line of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    LayerfsIntent(u32),
    AddLayer(ChainId),
    AddImage(ImageId),
    Name { name: String, image: Option<ImageId> },
    Parent { image: ImageId, parent: ImageId },
    LastUpdated { image: ImageId, time: String },
    RemoveImage(ImageId),
    RemoveLayer { chain: ChainId, removing: String },
    Quarantine(String),
    Clear(Remains),
    AddContainer(AddedContainer),
    AddVolume(VolumeName),
    RemoveContainer(ContainerId),
    RemoveVolume(VolumeName),
    End(usize),
}

/// A metadata file of an image that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// The image it was built from.
    Parent(ImageId),
    /// When it was tagged last.
    LastUpdated(String),
}

/// All that a transaction changes. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    /// Layers that are added, parents before children.
    pub(super) added_layers: Vec<ChainId>,
    /// Images that are added and did not exist before.
    pub(super) added_images: Vec<ImageId>,
    /// Names as they are afterwards.
    pub(super) names: Vec<(Reference, Option<ImageId>)>,
    /// Metadata to be written, by image.
    pub(super) notes: Vec<(ImageId, Note)>,
    /// Images that are removed.
    pub(super) removed_images: Vec<ImageId>,
    /// Layers that are removed, children before parents, each with the name of its record during the removal.
    pub(super) removed_layers: Vec<(ChainId, String)>,
    /// Remains that are cleared away, in this order.
    pub(super) cleared: Vec<Remains>,
    /// The path of the quarantine into which removed things are moved; `None` if they are deleted.
    pub(super) quarantine: Option<String>,
    /// Containers that are added.
    pub(super) added_containers: Vec<AddedContainer>,
    /// Volumes that are added with them.
    pub(super) added_volumes: Vec<VolumeName>,
    /// Containers that are removed.
    pub(super) removed_containers: Vec<ContainerId>,
    /// Volumes that are removed, unless somebody uses them.
    pub(super) removed_volumes: Vec<VolumeName>,
}

impl Record {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the transaction does nothing but clear remains away, and deletes them.
    pub(super) fn only_clears(&self) -> bool {
        *self == Self { cleared: self.cleared.clone(), ..Self::default() } && self.quarantine.is_none()
    }

    /// Whether any of the steps 8 to 13 of the [order](super) follows the commit point.
    pub(super) fn has_sequel(&self) -> bool {
        !(self.notes.is_empty()
            && self.removed_images.is_empty()
            && self.removed_layers.is_empty()
            && self.cleared.is_empty())
    }

    /// The record's content.
    fn to_bytes(&self) -> Vec<u8> {
        let mut lines = vec![Line::LayerfsIntent(VERSION)];
        lines.extend(self.added_layers.iter().copied().map(Line::AddLayer));
        lines.extend(self.added_images.iter().copied().map(Line::AddImage));
        lines.extend(self.names.iter().map(|(name, image)| Line::Name { name: name.familiar(), image: *image }));
        lines.extend(self.notes.iter().map(|(image, note)| match note {
            Note::Parent(parent) => Line::Parent { image: *image, parent: *parent },
            Note::LastUpdated(time) => Line::LastUpdated { image: *image, time: time.clone() },
        }));
        lines.extend(self.removed_images.iter().copied().map(Line::RemoveImage));
        let removed = self.removed_layers.iter();
        lines.extend(removed.map(|(chain, removing)| Line::RemoveLayer { chain: *chain, removing: removing.clone() }));
        lines.extend(self.quarantine.clone().map(Line::Quarantine));
        lines.extend(self.cleared.iter().cloned().map(Line::Clear));
        lines.extend(self.added_containers.iter().cloned().map(Line::AddContainer));
        lines.extend(self.added_volumes.iter().cloned().map(Line::AddVolume));
        lines.extend(self.removed_containers.iter().cloned().map(Line::RemoveContainer));
        lines.extend(self.removed_volumes.iter().cloned().map(Line::RemoveVolume));
        lines.push(Line::End(lines.len() - 1));
        let mut bytes = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut bytes, line).expect("strings and digests always serialise");
            bytes.push(b'\n');
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut record = Self::default();
        // Where nothing is synced, a power cut may leave a file without content.
        if bytes.is_empty() || bytes.iter().all(|byte| *byte == 0) {
            return Ok(record);
        }
        if bytes.first() == Some(&b'[') {
            record.added_layers = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            return Ok(record);
        }
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        match serde_json::from_slice(first) {
            Ok(Line::LayerfsIntent(VERSION)) => {}
            Ok(Line::LayerfsIntent(version)) => return Err(format!("its version is {version}, not {VERSION}")),
            _ => return Err("its first line does not name a version".into()),
        }
        for (number, line) in lines.enumerate() {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            let invalid = |what: String| format!("line {}: {what}", number + 2);
            match serde_json::from_slice(line).map_err(|error| invalid(error.to_string()))? {
                Line::LayerfsIntent(_) => return Err(invalid("a second line that names a version".into())),
                Line::AddLayer(chain_id) => record.added_layers.push(chain_id),
                Line::AddImage(id) => record.added_images.push(id),
                Line::Name { name, image } => {
                    let name = Reference::parse(&name).map_err(|error| invalid(error.to_string()))?;
                    record.names.push((name, image));
                }
                Line::Parent { image, parent } => record.notes.push((image, Note::Parent(parent))),
                Line::LastUpdated { image, time } => record.notes.push((image, Note::LastUpdated(time))),
                Line::RemoveImage(id) => record.removed_images.push(id),
                Line::RemoveLayer { chain, removing } => {
                    let own = removing.strip_prefix(chain.0.hex().as_str()).is_some_and(|rest| rest.starts_with('-'));
                    if !own || removing.contains('/') {
                        return Err(invalid(format!("{removing:?} is not a name for layer {chain}")));
                    }
                    record.removed_layers.push((chain, removing));
                }
                Line::Quarantine(path) => record.quarantine = Some(path),
                Line::Clear(remains) if remains.is_valid() => record.cleared.push(remains),
                Line::Clear(remains) => return Err(invalid(format!("{remains:?} has a name that no such thing has"))),
                Line::AddContainer(added) => record.added_containers.push(added),
                Line::AddVolume(name) => record.added_volumes.push(name),
                Line::RemoveContainer(id) => record.removed_containers.push(id),
                Line::RemoveVolume(name) => record.removed_volumes.push(name),
                Line::End(count) if count == number => break,
                Line::End(count) => return Err(invalid(format!("{count} lines were written, {number} are here"))),
            }
        }
        Ok(record)
    }
}

/// Parses a record, and returns it as we would write it; `None` if it cannot be parsed.
pub(crate) fn reread(bytes: &[u8]) -> Option<Vec<u8>> {
    Record::parse(bytes).ok().map(|record| record.to_bytes())
}

/// A record in the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    name: String,
    /// When it was written; `None` for one that this process wrote.
    pub(super) written: Option<(i64, u64)>,
}

impl Stored {
    /// Draws a name for a record that is to be written.
    pub(super) fn new() -> Self {
        Self { name: format!("{INTENT}{}", &CacheId::random().as_str()[..20]), written: None }
    }

    /// All records in `tmp`.
    pub(super) fn list(tmp: &Dir) -> Result<Vec<Self>, StoreError> {
        let mut records = Vec::new();
        for name in tmp.names()? {
            if name.starts_with(INTENT) || name.starts_with(COMMIT) {
                let written = tmp.stat(&name)?.map(|stat| modified(&stat));
                records.push(Self { name, written });
            }
        }
        records.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(records)
    }

    /// Whether the record says that the commit point was passed.
    pub(super) fn is_committed(&self) -> bool {
        self.name.starts_with(COMMIT)
    }

    /// Writes the record. After a failure the file may exist.
    pub(super) fn write(&self, tmp: &Dir, record: &Record, sync: bool) -> Result<(), StoreError> {
        let bytes = record.to_bytes();
        if bytes.len() > MAX_RECORD {
            let reason = format!("too many changes at once: their record would be longer than {MAX_RECORD} bytes");
            return Err(StoreError::Invalid { path: tmp.join(&self.name), reason });
        }
        tmp.replace(&self.name, &bytes, 0o600, sync)
    }

    /// Reads the record.
    pub(super) fn read(&self, tmp: &Dir) -> Result<Record, StoreError> {
        let bytes = tmp.read(&self.name, MAX_RECORD)?.unwrap_or_default();
        Record::parse(&bytes).map_err(|what| {
            let reason = format!(
                "this record of an unfinished change cannot be read ({what}); let the version of layerfs that wrote it finish \
                 the change, or remove the file: what it tells of is then left as it is"
            );
            StoreError::Invalid { path: self.path(tmp), reason }
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self, tmp: &Dir) -> PathBuf {
        tmp.join(&self.name)
    }

    /// Renames the record, in one step: to say that the commit point was passed, or that it was not.
    pub(super) fn rename(&mut self, tmp: &Dir, committed: bool) -> Result<(), StoreError> {
        let random = self.name.strip_prefix(INTENT).or_else(|| self.name.strip_prefix(COMMIT)).unwrap_or(&self.name);
        let name = format!("{}{random}", if committed { COMMIT } else { INTENT });
        tmp.rename(&self.name, tmp, &name)?;
        self.name = name;
        Ok(())
    }

    /// Removes the record, when nothing is left to do.
    pub(super) fn remove(&self, tmp: &Dir, sync: bool) -> Result<(), StoreError> {
        tmp.unlink(&self.name)?;
        if sync { tmp.sync() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use layerfs::Digest;

    use super::*;

    fn record() -> Record {
        let (chain, image) = (ChainId(Digest::hash(b"layer")), ImageId(Digest::hash(b"image")));
        Record {
            added_layers: vec![chain],
            added_images: vec![image],
            names: vec![(Reference::parse("app:1").unwrap(), Some(image)), (Reference::parse("b:2").unwrap(), None)],
            notes: vec![(image, Note::Parent(image)), (image, Note::LastUpdated("2026-01-01T00:00:00Z".into()))],
            removed_images: vec![image],
            removed_layers: vec![(chain, crate::schema::layer::LayerStore::removing_name(chain))],
            quarantine: Some("/away".into()),
            cleared: vec![Remains::Mount("c1".parse().unwrap()), Remains::Link("AB".into()), Remains::Metadata(image)],
            added_containers: vec![AddedContainer { container: "c2".parse().unwrap(), mount: CacheId::random() }],
            added_volumes: vec!["v1".parse().unwrap()],
            removed_containers: vec!["c3".parse().unwrap()],
            removed_volumes: vec!["v2".parse().unwrap()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = record().to_bytes();
        assert_eq!(Record::parse(&bytes).unwrap(), record_like(&bytes));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("{\"layerfs-intent\":2}\n") && text.ends_with("{\"end\":16}\n"), "{text}");
    }

    /// The [`record`] of these tests with the random names that are in `bytes`: only these differ between two records.
    fn record_like(bytes: &[u8]) -> Record {
        let mut expected = record();
        expected.removed_layers = Record::parse(bytes).unwrap().removed_layers;
        expected.added_containers = Record::parse(bytes).unwrap().added_containers;
        assert_eq!(expected.removed_layers[0].0, record().removed_layers[0].0);
        expected
    }

    /// The version before this one wrote records of any length, but refused to read more than 1 MiB.
    #[test]
    fn records_of_very_many_layers_are_read() {
        let layers: Vec<ChainId> = (0..20_000_u32).map(|number| ChainId(Digest::hash(&number.to_le_bytes()))).collect();
        let temp = tempfile::tempdir().unwrap();
        let tmp = Dir::open(temp.path()).unwrap();
        let stored = Stored::new();
        let record = Record { added_layers: layers.clone(), ..Record::default() };
        stored.write(&tmp, &record, false).unwrap();
        assert_eq!(stored.read(&tmp).unwrap(), record);
        // As the version before wrote it.
        std::fs::write(temp.path().join("layerfs-intent-old"), serde_json::to_vec(&layers).unwrap()).unwrap();
        let found = Stored::list(&tmp).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|stored| stored.read(&tmp).unwrap() == record && !stored.is_committed()));
    }

    #[test]
    fn records_that_were_cut_short_count_as_far_as_they_go() {
        let bytes = record().to_bytes();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in second..bytes.len() {
            assert!(Record::parse(&bytes[..length]).is_ok(), "{length}");
        }
        assert!(Record::parse(&bytes[..second]).unwrap().is_empty());
        assert!(Record::parse(b"").unwrap().is_empty() && Record::parse(&[0; 4096]).unwrap().is_empty());
    }

    #[test]
    fn what_nobody_can_say_the_meaning_of_is_an_error() {
        let hex = "0".repeat(64);
        let cases = [
            "{\"layerfs-intent\":3}\n".to_owned(),
            "{\"layerfs-intent\":2}\n{\"move-layer\":1}\n".to_owned(),
            "{\"layerfs-intent\":2}\n{\"end\":1}\n".to_owned(),
            "{\"layerfs-intent\":2}\n{\"layerfs-intent\":2}\n".to_owned(),
            "{\"layerfs-intent\":2}\n{\"clear\":{\"mount\":\"../x\"}}\n".to_owned(),
            "{\"layerfs-intent\":2}\n{\"clear\":{\"directory\":\"../x\"}}\n".to_owned(),
            "junk\n".to_owned(),
            "[1]".to_owned(),
            format!(
                "{{\"layerfs-intent\":2}}\n{{\"remove-layer\":{{\"chain\":\"sha256:{hex}\",\"removing\":\"../x\"}}}}\n"
            ),
            format!(
                "{{\"layerfs-intent\":2}}\n{{\"remove-layer\":{{\"chain\":\"sha256:{hex}\",\"removing\":\"{hex}-/x\"}}}}\n"
            ),
        ];
        for case in cases {
            assert!(Record::parse(case.as_bytes()).is_err(), "{case}");
        }
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("layerfs-intent-x"), "{\"layerfs-intent\":3}\n").unwrap();
        let tmp = Dir::open(temp.path()).unwrap();
        let error = Stored::list(&tmp).unwrap()[0].read(&tmp).unwrap_err().to_string();
        assert!(error.contains("layerfs-intent-x") && error.contains("or remove the file"), "{error}");
    }
}
