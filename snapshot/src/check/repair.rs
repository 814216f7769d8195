//! What would mend a finding. A check only names it; [`crate::repair`] mends.

use std::fmt;

use layerfs::ChainId;

pub use crate::schema::layer::RecordField;

use crate::ids::{CacheId, ContainerId, ImageId, MountName};

/// What would mend a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Write anew the file `link` of a layer's directory and the link in `l/` that leads to it, and then `lower` of all
    /// directories that stand on it.
    RelinkLayer {
        /// The directory.
        directory: CacheId,
    },
    /// Write `lower` of a layer's directory anew.
    RewriteLower {
        /// The directory.
        directory: CacheId,
        /// The directories of the layers below, by the records, the nearest first.
        below: Vec<CacheId>,
    },
    /// Make the directory `work` of a layer's directory.
    CreateWork {
        /// The directory.
        directory: CacheId,
    },
    /// Make the file `committed` of a layer's directory.
    MarkCommitted {
        /// The directory.
        directory: CacheId,
    },
    /// Remove a layer's record, so that the layer can be loaded again.
    DropRecord {
        /// The layer.
        layer: ChainId,
    },
    /// Write a file of a layer's record anew.
    RestoreField {
        /// The layer.
        layer: ChainId,
        /// The file.
        field: RecordField,
        /// The right content, which the layer's chain id or the configs of images prove. `None` for what has to be found
        /// in the driver's home: a size, and the directory; and for `parent` of a base layer, which has none.
        value: Option<String>,
    },
    /// Move a layer's record to the chain id that follows from its files.
    RenameRecord {
        /// The chain id that it is under.
        layer: ChainId,
        /// The chain id that it must be under.
        to: ChainId,
    },
    /// Make a layer's journal anew, from an archive or from the files.
    RebuildJournal {
        /// The layer.
        layer: ChainId,
    },
    /// Unpack a layer again, from an archive or another store.
    ReextractLayer {
        /// The layer.
        layer: ChainId,
    },
    /// Unpack some files of a layer again, from an archive or another store.
    ReextractFiles {
        /// The layer.
        layer: ChainId,
        /// Their names in the layer.
        files: Vec<Vec<u8>>,
    },
    /// Remove files of a layer's directory that are not the layer's.
    RemoveExtraFiles {
        /// The layer.
        layer: ChainId,
        /// Their paths in the layer.
        files: Vec<Vec<u8>>,
    },
    /// Write `repositories.json` anew, with the names that can be found elsewhere.
    RewriteReferences,
    /// Load an image's config again, from an archive or another store.
    ReloadImage {
        /// The image.
        image: ImageId,
    },
    /// Forget what an image was built from.
    DropImageParent {
        /// The image.
        image: ImageId,
    },
    /// Forget when an image was tagged last.
    DropImageTime {
        /// The image.
        image: ImageId,
    },
    /// Write a file of a mount anew: `mount-id`, `init-id` or `parent`.
    RestoreMountFile {
        /// The mount.
        mount: MountName,
        /// The file.
        file: &'static str,
        /// What it must say.
        value: String,
    },
    /// Write the mount of a container anew.
    RestoreMount {
        /// The container.
        container: ContainerId,
        /// The directory that it writes to.
        mount_id: String,
        /// The directory of its init files.
        init_id: String,
        /// The layer below.
        parent: ChainId,
    },
    /// Finish the removal of a layer.
    FinishRemoval {
        /// The name of its record in `layerdb/sha256`.
        record: String,
    },
    /// Collect garbage, which removes what nobody needs: the work of [`crate::gc`] and not of a repair.
    Collect,
    /// Give back what the thin pool does not use: devices that nobody names among it.
    TrimPool,
    /// Have the daemon remove the build cache, whose records nobody else writes.
    PruneBuildCache,
    /// Move the directory of the build cache away. dockerd does not start on a database that it cannot open, and begins
    /// a new one where there is none.
    MoveBuildCache,
}

impl Repair {
    /// A word for programs, which does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RelinkLayer { .. } => "relink-layer",
            Self::RewriteLower { .. } => "rewrite-lower",
            Self::CreateWork { .. } => "create-work",
            Self::MarkCommitted { .. } => "mark-committed",
            Self::DropRecord { .. } => "drop-record",
            Self::RestoreField { .. } => "restore-field",
            Self::RenameRecord { .. } => "rename-record",
            Self::RebuildJournal { .. } => "rebuild-journal",
            Self::ReextractLayer { .. } => "reextract-layer",
            Self::ReextractFiles { .. } => "reextract-files",
            Self::RemoveExtraFiles { .. } => "remove-extra-files",
            Self::RewriteReferences => "rewrite-references",
            Self::ReloadImage { .. } => "reload-image",
            Self::DropImageParent { .. } => "drop-image-parent",
            Self::DropImageTime { .. } => "drop-image-time",
            Self::RestoreMountFile { .. } => "restore-mount-file",
            Self::RestoreMount { .. } => "restore-mount",
            Self::FinishRemoval { .. } => "finish-removal",
            Self::Collect => "collect",
            Self::TrimPool => "trim-pool",
            Self::PruneBuildCache => "prune-build-cache",
            Self::MoveBuildCache => "move-build-cache",
        }
    }

    /// Whether it needs a source of good content: an archive, a layout or another store.
    #[must_use]
    pub fn needs_source(&self) -> bool {
        matches!(self, Self::ReextractLayer { .. } | Self::ReextractFiles { .. } | Self::ReloadImage { .. })
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelinkLayer { directory } => write!(f, "write the link of {directory} anew"),
            Self::RewriteLower { directory, .. } => write!(f, "write lower of {directory} anew"),
            Self::CreateWork { directory } => write!(f, "make work of {directory}"),
            Self::MarkCommitted { directory } => write!(f, "mark {directory} as committed"),
            Self::DropRecord { .. } => f.write_str("drop its record, so that it can be loaded again"),
            Self::RestoreField { field, value: Some(value), .. } => write!(f, "write {} anew: {value}", field.file()),
            Self::RestoreField {
                field: field @ (RecordField::Parent | RecordField::Descriptor), value: None, ..
            } => {
                write!(f, "remove {}", field.file())
            }
            Self::RestoreField { field, value: None, .. } => write!(f, "write {} anew", field.file()),
            Self::RenameRecord { to, .. } => write!(f, "move its record to {to}"),
            Self::RebuildJournal { .. } => f.write_str("make its journal anew"),
            Self::ReextractLayer { .. } => f.write_str("unpack it again from an archive or another store"),
            Self::ReextractFiles { files, .. } => match files.len() {
                1 => f.write_str("unpack the file again from an archive or another store"),
                _ => f.write_str("unpack the files again from an archive or another store"),
            },
            Self::RemoveExtraFiles { files, .. } if files.len() == 1 => f.write_str("remove the file"),
            Self::RemoveExtraFiles { .. } => f.write_str("remove the files"),
            Self::RewriteReferences => f.write_str("write repositories.json anew from what is known"),
            Self::ReloadImage { .. } => f.write_str("load the image again from an archive or another store"),
            Self::DropImageParent { .. } => f.write_str("forget what it was built from"),
            Self::DropImageTime { .. } => f.write_str("forget when it was tagged"),
            Self::RestoreMountFile { file, value, .. } => write!(f, "write {file} anew: {value}"),
            Self::RestoreMount { mount_id, .. } => write!(f, "write its mount anew, with {mount_id}"),
            Self::FinishRemoval { .. } => f.write_str("finish the removal"),
            Self::Collect => f.write_str("collect garbage"),
            Self::TrimPool => f.write_str("delete it from the pool"),
            Self::PruneBuildCache => f.write_str("have dockerd remove the build cache"),
            Self::MoveBuildCache => f.write_str("move the build cache away, so that dockerd begins a new one"),
        }
    }
}
