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

use std::fmt;

use layerfs::ChainId;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;

/// More than any of the files may have.
const SMALL_FILE: usize = 4096;

const MOUNT_ID: &str = "mount-id";
const INIT_ID: &str = "init-id";
const PARENT: &str = "parent";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRecord {
    /// The container, or whatever asked for the mount.
    pub name: String,
    /// The writable layer; `None` where it is missing or invalid.
    pub mount_id: Option<CacheId>,
    /// The layer of init files; `None` where it is missing or invalid.
    pub init_id: Option<CacheId>,
    /// The layer below; `None` where it is missing or invalid.
    pub parent: Option<ChainId>,
    /// Why dockerd would not load the mount, whatever the layer below is; `None` if it would.
    pub fault: Option<MountFault>,
}

/// A file of a mount that dockerd would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFault {
    /// The file's name.
    pub file: &'static str,
    /// What it holds, or its beginning; `None` if it is missing.
    pub found: Option<String>,
}

impl fmt::Display for MountFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            None => write!(f, "{} is missing", self.file),
            Some(found) => write!(f, "{} is {found:?}", self.file),
        }
    }
}

/// Reads all mounts; `None` for a store without any.
///
/// # Errors
/// [`StoreError`]
pub fn list(mounts: Option<&Dir>) -> Result<Vec<MountRecord>, StoreError> {
    let Some(mounts) = mounts else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    for name in mounts.names()? {
        let Some(dir) = mounts.sub(&name)? else { continue };
        records.push(read(&dir, name)?);
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

fn read(dir: &Dir, name: String) -> Result<MountRecord, StoreError> {
    let mut fault = None;
    let mut text = |file: &'static str, required: bool, valid: fn(&str) -> bool| {
        let bytes = dir.read(file, SMALL_FILE)?;
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let bad = match &text {
            None => required,
            Some(text) => !valid(text),
        };
        if bad && fault.is_none() {
            let found = text.as_ref().map(|text| text.chars().take(100).collect());
            fault = Some(MountFault { file, found });
        }
        Ok::<_, StoreError>(text)
    };
    let mount_id = text(MOUNT_ID, true, is_mount_id)?.and_then(|text| text.parse().ok());
    let init_id = text(INIT_ID, false, is_mount_id)?.and_then(|text| text.parse().ok());
    let parent = text(PARENT, false, super::layer::is_digest)?.and_then(|text| text.parse().ok());
    Ok(MountRecord { name, mount_id, init_id, parent, fault })
}

/// Docker's `^[a-f0-9]{64}(-init)?$`.
fn is_mount_id(text: &str) -> bool {
    let hex = text.strip_suffix("-init").unwrap_or(text);
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    fn fault(files: &[(&str, &str)]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("c1")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join("c1").join(name), text).unwrap();
        }
        let records = list(Some(&Dir::open(dir.path()).unwrap())).unwrap();
        records[0].fault.as_ref().map(ToString::to_string)
    }

    #[test]
    fn mounts_that_dockerd_does_not_load_have_a_fault() {
        let (init, parent) = (format!("{ID}-init"), format!("sha256:{ID}\n"));
        assert_eq!(fault(&[("mount-id", ID), ("init-id", &init), ("parent", &parent)]), None);
        assert_eq!(fault(&[("mount-id", &format!(" {ID}\n"))]), None);
        assert_eq!(fault(&[]).unwrap(), "mount-id is missing");
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
}
