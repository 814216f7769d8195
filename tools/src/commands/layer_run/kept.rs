//! The directory of `--keep`: what was written, and what it stands on.
//!
//! ```text
//! DIR/diff             the upper directory of an overlay
//! DIR/work             overlayfs's own
//! DIR/made-from.json   the image, the command, and whether ids are mapped
//! ```

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use snapshot::ids::ImageId;

/// The file's name.
const FILE: &str = "made-from.json";

/// What the files of a directory of `--keep` stand on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The image; `None` for a plain directory.
    pub(crate) image: Option<ImageId>,
    /// The command that ran.
    pub(crate) command: Vec<String>,
    /// Whether the ids of the files are others than in the image.
    pub(crate) mapped: bool,
}

impl Kept {
    /// Reads what [`write`](Self::write) has written.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let bytes =
            fs::read(&path).with_context(|| format!("{} is no directory of layer-run --keep", dir.display()))?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// Writes it into a directory.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let path = dir.join(FILE);
        fs::write(&path, serde_json::to_vec(self)?).with_context(|| format!("writing {}", path.display()))
    }
}
