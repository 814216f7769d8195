//! `layerdb/mounts`: layers that containers and builds write to.
//!
//! ```text
//! layerdb/mounts/<container id>/
//!   mount-id   the writable layer's directory in the driver's home: 64 hexadecimal digits, and perhaps -init
//!   init-id    <mount-id>-init; may be missing
//!   parent     sha256:<chain id> of the layer below; holds that layer; may be missing
//! ```
//!
//! Follows moby v20.10.24 `layer/filestore.go: GetMountID, GetInitID, GetMountParent`, `layer/layer_store.go: loadMount`.
//!
//! Docker 28 can mount an image into a container. It names such a mount after the image, the container and the mount
//! point, slashes included, so the entry is some directories further down, and its `mount-id` may be a path. Damage of
//! one entry is reported with that entry; it never keeps the others from being read.

use layerfs::ChainId;

use crate::catalog::MountDamage;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId, MountName};

const SMALL_FILE: usize = 4096;

pub(crate) const MOUNT_ID: &str = "mount-id";
pub(crate) const INIT_ID: &str = "init-id";
pub(crate) const PARENT: &str = "parent";

/// How many directories deep the name of a mount may be.
const MAX_DEPTH: usize = 32;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRecord {
    /// The container, or whatever asked for the mount.
    pub name: MountName,
    /// The writable layer; `None` where dockerd would not load the mount.
    pub mount_id: Option<CacheId>,
    /// The layer of init files.
    pub init_id: Option<CacheId>,
    /// The layer below.
    pub parent: Option<ChainId>,
    /// First names of a `mount-id` or `init-id` that is a path: the mount owns these directories of the driver's home
    /// as well.
    pub also_names: Vec<String>,
    /// What is wrong with it. dockerd does not load a mount with any damage.
    pub damage: Vec<MountDamage>,
}

impl MountRecord {
    /// Whether its directory is empty, so that it names nothing: to dockerd that is the same as if it were missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.damage == [MountDamage::Empty]
    }

    /// Why it is not known which directory is the writable layer's.
    pub(crate) fn unknown_layer(&self) -> Option<&MountDamage> {
        self.unknown(MOUNT_ID).filter(|_| self.mount_id.is_none() && self.also_names.is_empty())
    }

    /// Why it is not known which layer it stands on. One without a `parent` stands on none.
    pub(crate) fn unknown_parent(&self) -> Option<&MountDamage> {
        self.unknown(PARENT)
    }

    /// Why it is not known which directory has its init files. One without an `init-id` has none.
    pub(crate) fn unknown_init(&self) -> Option<&MountDamage> {
        self.unknown(INIT_ID)
    }

    fn unknown(&self, wanted: &str) -> Option<&MountDamage> {
        self.damage.iter().find(|damage| match damage {
            MountDamage::FileMissing { file }
            | MountDamage::FileUnreadable { file, .. }
            | MountDamage::FileInvalid { file, .. } => *file == wanted,
            MountDamage::Unreadable { .. } => true,
            MountDamage::NotADirectory | MountDamage::Empty => false,
        })
    }
}

impl MountDamage {
    /// There is no `mount-id`.
    pub(crate) fn mount_id_missing() -> Self {
        Self::FileMissing { file: MOUNT_ID }
    }

    /// There is no `parent`, although the mount stands on layers.
    pub(crate) fn parent_missing() -> Self {
        Self::FileMissing { file: PARENT }
    }
}

/// Replaces a file of a mount in one step.
pub(crate) fn set(mounts: &Dir, mount: &str, file: &str, text: &str, sync: bool) -> Result<(), StoreError> {
    let parts: Vec<&str> = mount.split('/').collect();
    let missing = || StoreError::Invalid { path: mounts.join(mount), reason: "missing".into() };
    let dir = mounts.descend(&parts)?.ok_or_else(missing)?;
    dir.remove_temporaries()?;
    dir.replace(file, text.as_bytes(), 0o644, sync)
}

/// Reads all mounts, sorted by name. `mounts` is `None` for a store without any.
///
/// # Errors
/// [`StoreError`] if the directory itself cannot be listed.
pub(crate) fn list(mounts: Option<&Dir>) -> Result<Vec<MountRecord>, StoreError> {
    let Some(mounts) = mounts else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    for name in mounts.names()? {
        if let Ok(full_name) = name.parse() {
            read_entry(mounts, &name, full_name, 0, &mut records);
        }
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

/// The directory of a container's writable layer in the driver's home; `None` if the mount has none that can be read.
///
/// # Errors
/// [`StoreError`] if the file exists and cannot be read.
pub(crate) fn mount_id(mounts: Option<&Dir>, container: &ContainerId) -> Result<Option<CacheId>, StoreError> {
    let own = mounts.map_or(Ok(None), |mounts| mounts.sub(container.as_str()))?;
    let text = own.map_or(Ok(None), |own| own.read(MOUNT_ID, SMALL_FILE))?;
    Ok(text.and_then(|text| String::from_utf8_lossy(&text).trim().parse().ok()))
}

/// Reads the mount of a container; `None` if it has none.
pub(crate) fn get(mounts: &Dir, container: &ContainerId) -> Option<MountRecord> {
    let mut records = Vec::new();
    read_entry(mounts, container.as_str(), container.clone().into(), 0, &mut records);
    records.into_iter().next()
}

/// The mount of a container, in a list that is sorted by name as [`list`] sorts it.
pub(crate) fn find<'m>(mounts: &'m [MountRecord], container: &ContainerId) -> Option<&'m MountRecord> {
    let at = mounts.binary_search_by(|mount| mount.name.as_str().cmp(container.as_str())).ok()?;
    mounts.get(at)
}

/// Reads the entry `name` of `dir`. Where that is only the beginning of a name with slashes, reads the entries below
/// it.
fn read_entry(dir: &Dir, name: &str, full_name: MountName, depth: usize, records: &mut Vec<MountRecord>) {
    let mut record = MountRecord {
        name: full_name,
        mount_id: None,
        init_id: None,
        parent: None,
        also_names: Vec::new(),
        damage: Vec::new(),
    };
    let own = match (dir.stat(name), dir.sub(name)) {
        // The entry was removed since it was listed.
        (Ok(None), _) | (_, Ok(None)) => return,
        (_, Ok(Some(own))) => own,
        (Ok(Some(stat)), Err(_)) if !is_directory(&stat) => {
            record.damage.push(MountDamage::NotADirectory);
            return records.push(record);
        }
        (_, Err(error)) => {
            record.damage.push(MountDamage::Unreadable { cause: crate::catalog::with_causes(&error) });
            return records.push(record);
        }
    };
    let mount_id = text(&own, MOUNT_ID, &mut record.damage);
    if mount_id.is_none() && record.damage.is_empty() {
        if own.is_empty().unwrap_or(false) {
            record.damage.push(MountDamage::Empty);
            return records.push(record);
        }
        let below = own.names().unwrap_or_default();
        // An entry whose type cannot be found out is read like a directory, and its record then says what is wrong.
        let further = |name: &&String| !matches!(own.stat(name), Ok(Some(stat)) if !is_directory(&stat));
        let below: Vec<&String> = below.iter().filter(further).collect();
        if !below.is_empty() && depth < MAX_DEPTH {
            for name in below {
                if let Ok(full_name) = format!("{}/{name}", record.name).parse() {
                    read_entry(&own, name, full_name, depth + 1, records);
                }
            }
            return;
        }
        record.damage.push(MountDamage::FileMissing { file: MOUNT_ID });
    }
    record.mount_id = mount_id.and_then(|text| id(MOUNT_ID, &text, &mut record));
    record.init_id = text(&own, INIT_ID, &mut record.damage).and_then(|text| id(INIT_ID, &text, &mut record));
    if let Some(text) = text(&own, PARENT, &mut record.damage) {
        record.parent = text.parse().ok();
        if !super::layer::is_digest(&text) || record.parent.is_none() {
            record.damage.push(invalid(PARENT, &text));
        }
    }
    records.push(record);
}

/// The directories of a mount in the driver's home: the writable layer's, then that of the init files.
pub(crate) fn named_directories(record: &MountRecord) -> Vec<CacheId> {
    // Even where `init-id` is missing, `<mount-id>-init` belongs to the mount; [`crate::liveness`] counts it so as
    // well.
    let init = record.init_id.clone().or_else(|| format!("{}-init", record.mount_id.as_ref()?).parse().ok());
    record.mount_id.clone().into_iter().chain(init).collect()
}

/// Removes the record of a mount, whose name may have slashes, and the directories that are empty then.
pub(crate) fn remove(mounts: &Dir, name: &str) -> Result<(), StoreError> {
    let parts: Vec<&str> = name.split('/').collect();
    for depth in (0..parts.len()).rev() {
        let Some(dir) = mounts.descend(&parts[..depth])? else { continue };
        let below = dir.sub(parts[depth])?;
        let is_record = depth + 1 == parts.len();
        if is_record || below.is_some_and(|below| below.is_empty().unwrap_or(false)) {
            dir.remove_tree(parts[depth])?;
        }
    }
    Ok(())
}

fn invalid(file: &'static str, text: &str) -> MountDamage {
    MountDamage::FileInvalid { file, found: text.chars().take(100).collect() }
}

/// Docker's `^[a-f0-9]{64}(-init)?$`.
fn is_mount_id(text: &str) -> bool {
    let hex = text.strip_suffix("-init").unwrap_or(text);
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_directory(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
}

/// Reads a small file, trimmed as dockerd trims it; `None` if it is missing, or cannot be read, which adds to `damage`.
fn text(dir: &Dir, file: &'static str, damage: &mut Vec<MountDamage>) -> Option<String> {
    match dir.read(file, SMALL_FILE) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes?).trim().to_owned()),
        Err(error) => {
            damage.push(MountDamage::FileUnreadable { file, cause: crate::catalog::with_causes(&error) });
            None
        }
    }
}

/// Parses an id, also one that dockerd would refuse. Of a path below the driver's home, the mount owns the directory of
/// the first name.
fn id(file: &'static str, text: &str, record: &mut MountRecord) -> Option<CacheId> {
    if !is_mount_id(text) {
        record.damage.push(invalid(file, text));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let path = !text.starts_with('/') && !parts.iter().any(|part| matches!(*part, "." | ".."));
    if let ([first, _, ..], true) = (parts.as_slice(), path) {
        record.also_names.push((*first).to_owned());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    fn fault(files: &[(&str, &str)]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("c1")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join("c1").join(name), text).unwrap();
        }
        let records = list(Some(&Dir::open(dir.path()).unwrap())).unwrap();
        records[0].damage.first().map(ToString::to_string)
    }

    #[test]
    fn mounts_that_dockerd_does_not_load_have_a_fault() {
        let (init, parent) = (format!("{ID}-init"), format!("sha256:{ID}\n"));
        assert_eq!(fault(&[("mount-id", ID), ("init-id", &init), ("parent", &parent)]), None);
        assert_eq!(fault(&[("mount-id", &format!(" {ID}\n"))]), None);
        assert_eq!(fault(&[]).unwrap(), "it is an empty directory");
        assert_eq!(fault(&[("parent", &parent)]).unwrap(), "mount-id is missing");
        for (file, text) in [
            ("mount-id", ""),
            ("mount-id", "odd"),
            ("mount-id", &ID.to_uppercase()),
            ("init-id", ""),
            ("init-id", "x-init"),
            ("parent", ""),
            ("parent", "x"),
        ] {
            let good = [("mount-id", ID), (file, text)];
            assert_eq!(fault(&good).unwrap(), format!("{file} is {text:?}"));
        }
    }

    /// One odd entry never stops the others from being read.
    #[test]
    fn odd_entries_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let entry = |name: &str, files: &[(&str, &[u8])]| {
            let dir = root.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            for (file, content) in files {
                fs::write(dir.join(file), content).unwrap();
            }
        };
        entry("good", &[("mount-id", ID.as_bytes()), ("parent", format!("sha256:{ID}").as_bytes())]);
        entry("long", &[("mount-id", &[b'a'; 5000])]);
        entry("garbled", &[("mount-id", b"a2"), ("parent", b"md5:0")]);
        entry("binary", &[("mount-id", b"a3"), ("parent", b"\xff\xfe")]);
        entry("none", &[]);
        entry("path", &[("mount-id", b"a4-src=busybox-dst=/mnt/x")]);
        entry("image-src=busybox-dst=/mnt/x", &[("mount-id", b"a5")]);
        fs::write(root.path().join("stray"), "x").unwrap();
        entry("special", &[]);
        fs::create_dir(root.path().join("special/mount-id")).unwrap();
        let records = list(Some(&Dir::open(root.path()).unwrap())).unwrap();
        let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
        let expected =
            ["binary", "garbled", "good", "image-src=busybox-dst=/mnt/x", "long", "none", "path", "special", "stray"];
        assert_eq!(names, expected);
        let get = |name: &str| records.iter().find(|record| record.name == *name).unwrap();
        assert!(get("good").damage.is_empty() && get("good").parent.is_some());
        assert_eq!(get("image-src=busybox-dst=/mnt/x").mount_id.as_ref().unwrap().as_str(), "a5");
        assert_eq!(get("stray").damage, [MountDamage::NotADirectory]);
        assert!(get("stray").unknown_parent().is_none(), "a file holds no layer");
        assert!(get("none").is_empty() && get("none").unknown_layer().is_none(), "an empty directory names nothing");
        for name in ["long", "special"] {
            assert!(get(name).unknown_layer().is_some(), "{name}: {:?}", get(name));
        }
        for name in ["garbled", "binary"] {
            let record = get(name);
            assert!(record.mount_id.is_some() && record.unknown_parent().is_some(), "{record:?}");
        }
        assert_eq!(get("path").also_names, ["a4-src=busybox-dst="]);
        assert!(get("path").unknown_layer().is_none() && !get("path").damage.is_empty());
    }
}
