//! The steps of a repair, and what a repair cannot mend.

use std::fmt;

use layerfs::{ChainId, DiffId};

use crate::catalog::Subject;
use crate::driver::{Restacking, Wanted};
use crate::ids::{CacheId, ContainerId, ImageId, MountName};
use crate::reference::Reference;
use crate::schema::layer::RecordField;

/// Where a name of an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameSource {
    /// The damaged file itself, as far as it can be read.
    File,
    /// A file that dockerd or we were about to put in its place.
    TemporaryFile,
    /// A container that was made from the image, whose config has the name by which the user named the image.
    Container,
    /// A source of good content.
    Donor,
}

impl NameSource {
    /// A word for programs, which does not change between versions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::TemporaryFile => "temporary-file",
            Self::Container => "container",
            Self::Donor => "source",
        }
    }
}

/// One thing that a repair does. Each is complete by itself, and doing it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mending {
    /// Finishes the removal of a layer.
    FinishRemoval {
        /// The name of its record in `layerdb/sha256`.
        record: String,
    },
    /// Writes `repositories.json` anew and keeps the old one beside it.
    RewriteNames {
        /// The names, and where each comes from.
        names: Vec<(Reference, ImageId, NameSource)>,
    },
    /// Moves a layer's record to the chain id that follows from its files.
    RenameRecord {
        /// The chain id that it is under.
        from: ChainId,
        /// The chain id that it must be under.
        to: ChainId,
    },
    /// Removes a record that nothing can complete, with its directory if nothing else names that.
    DropRecord {
        /// The layer.
        layer: ChainId,
    },
    /// Writes a file of a layer's record.
    RestoreField {
        /// The layer.
        layer: ChainId,
        /// The file.
        field: RecordField,
        /// Its new content; `None` removes `parent`, which a base layer does not have.
        value: Option<String>,
    },
    /// Stores the config of an image again.
    RestoreConfig {
        /// The image.
        image: ImageId,
    },
    /// Registers a layer that has no record, with its content.
    AddLayer {
        /// The layer.
        layer: ChainId,
        /// Its diff id.
        diff_id: DiffId,
        /// The layer below.
        parent: Option<ChainId>,
    },
    /// Writes a layer's journal anew from what can be read of it.
    SalvageJournal {
        /// The layer.
        layer: ChainId,
    },
    /// Unpacks a layer again, and replaces its content, its journal, or both by the result, as far as they are not
    /// good.
    RefillLayer {
        /// The layer.
        layer: ChainId,
    },
    /// Unpacks a layer again beside its directory, and puts some files of the result in the place of those that are
    /// there. If they cannot be replaced one by one, it does what [`RefillLayer`](Self::RefillLayer) does.
    RefillFiles {
        /// The layer.
        layer: ChainId,
        /// The paths of the files in the layer.
        files: Vec<Vec<u8>>,
    },
    /// Removes files of a layer's directory that are not the layer's: journal and all other files make its diff id.
    RemoveExtraFiles {
        /// The layer.
        layer: ChainId,
        /// Their paths in the layer.
        files: Vec<Vec<u8>>,
    },
    /// Writes the record of a container's mount again.
    RestoreMount {
        /// The container.
        container: ContainerId,
        /// The directory that it writes to.
        mount_id: CacheId,
        /// The directory of its init files.
        init_id: CacheId,
        /// The layer below.
        parent: ChainId,
    },
    /// Writes a file of a mount's record.
    RestoreMountFile {
        /// The mount.
        mount: MountName,
        /// The file.
        file: &'static str,
        /// Its new content.
        value: String,
    },
    /// Writes what a layer's directory lacks to stand on its parents.
    Restack(Restacking),
    /// Forgets what an image was built from.
    ForgetImageParent {
        /// The image.
        image: ImageId,
    },
    /// Forgets when an image was tagged last.
    ForgetImageTime {
        /// The image.
        image: ImageId,
    },
}

impl Mending {
    /// A word for programs, which does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FinishRemoval { .. } => "finish-removal",
            Self::RewriteNames { .. } => "rewrite-references",
            Self::RenameRecord { .. } => "rename-record",
            Self::DropRecord { .. } => "drop-record",
            Self::RestoreField { .. } => "restore-field",
            Self::RestoreConfig { .. } => "reload-image",
            Self::AddLayer { .. } => "add-layer",
            Self::SalvageJournal { .. } => "rebuild-journal",
            Self::RefillLayer { .. } => "reextract-layer",
            Self::RefillFiles { .. } => "reextract-files",
            Self::RemoveExtraFiles { .. } => "remove-extra-files",
            Self::RestoreMount { .. } => "restore-mount",
            Self::RestoreMountFile { .. } => "restore-mount-file",
            Self::Restack(what) => match (&what.wanted, what.is_list_of_parents()) {
                (Wanted::Directory(_), _) => "create-work",
                (Wanted::Mark, _) => "mark-committed",
                (_, true) => "rewrite-lower",
                _ => "relink-layer",
            },
            Self::ForgetImageParent { .. } => "drop-image-parent",
            Self::ForgetImageTime { .. } => "drop-image-time",
        }
    }
}

impl fmt::Display for Mending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FinishRemoval { record } => write!(f, "finish the removal of layerdb/sha256/{record}"),
            Self::RewriteNames { names } if names.is_empty() => {
                f.write_str("write repositories.json anew, without names")
            }
            Self::RewriteNames { names } => {
                let names: Vec<String> = names.iter().map(|(name, ..)| name.familiar()).collect();
                write!(f, "write repositories.json anew, with {}", names.join(", "))
            }
            Self::RenameRecord { to, .. } => write!(f, "move its record to {to}"),
            Self::DropRecord { .. } => f.write_str("drop its record, so that the layer can be loaded again"),
            Self::RestoreField { field, value: Some(value), .. } => write!(f, "write {value} to {}", field.file()),
            Self::RestoreField { field, value: None, .. } => write!(f, "remove {}", field.file()),
            Self::RestoreConfig { .. } => f.write_str("store its config again"),
            Self::AddLayer { .. } => f.write_str("unpack it and register it"),
            Self::SalvageJournal { .. } => f.write_str("make tar-split.json.gz whole from what is left of it"),
            Self::RefillLayer { .. } => f.write_str("unpack it again in the place of what is there"),
            Self::RefillFiles { files, .. } => write!(f, "unpack {} again", List(files)),
            Self::RemoveExtraFiles { files, .. } => write!(f, "remove {}", List(files)),
            Self::RestoreMount { mount_id, .. } => write!(f, "write its mount anew, with the directory {mount_id}"),
            Self::RestoreMountFile { file, value, .. } => write!(f, "write {value} to {file}"),
            Self::Restack(what) => {
                let place = what.place();
                match &what.wanted {
                    Wanted::File(text) => write!(f, "write {text} to {}", place.display()),
                    Wanted::Symlink(target) => write!(f, "make the link {} to {target}", place.display()),
                    Wanted::Mark => write!(f, "make the file {}", place.display()),
                    Wanted::Directory(_) => write!(f, "make the directory {}", place.display()),
                    Wanted::Nothing => write!(f, "remove {}", place.display()),
                }
            }
            Self::ForgetImageParent { .. } => f.write_str("forget which image it was built from"),
            Self::ForgetImageTime { .. } => f.write_str("forget when it was tagged"),
        }
    }
}

/// The first paths of a list, for people.
struct List<'l>(&'l [Vec<u8>]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let (first, more) = self.0.split_at(self.0.len().min(SHOWN));
        for (number, path) in first.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { ", " }, path.escape_ascii())?;
        }
        if more.is_empty() { Ok(()) } else { write!(f, " and {} more", more.len()) }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairStep {
    /// What is damaged.
    pub subject: Subject,
    /// How.
    pub cause: String,
    /// What mends it.
    pub mending: Mending,
}

/// What the user can do about something that a repair cannot mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Advice {
    /// Name a source that has it: an archive, a layout, another data-root.
    NameSource,
    /// Remove the image, and load or pull it again.
    LoadAgain,
    /// Remove the image: dockerd cannot use it.
    RemoveImage,
    /// Remove the container, and make it again.
    RemoveContainer,
    /// Have the build cache removed by the daemon.
    PruneBuildCache,
    /// Move the directory of the build cache away: dockerd does not start on it as it is.
    MoveBuildCache,
    /// Look at the file and move it away, or mend it by hand.
    LookAtFile,
    /// Collect garbage later: somebody may still need it.
    CollectLater,
}

impl Advice {
    /// A word for programs, which does not change between versions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NameSource => "name-source",
            Self::LoadAgain => "load-again",
            Self::RemoveImage => "remove-image",
            Self::RemoveContainer => "remove-container",
            Self::PruneBuildCache => "prune-build-cache",
            Self::MoveBuildCache => "move-build-cache",
            Self::LookAtFile => "look-at-file",
            Self::CollectLater => "collect-later",
        }
    }
}

/// Something that is damaged and that a repair cannot mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmended {
    /// What is damaged.
    pub subject: Subject,
    /// What is wrong with it, and why it cannot be mended.
    pub reason: String,
    /// What the user can do.
    pub advice: Advice,
}
