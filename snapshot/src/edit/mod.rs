//! Changes to a store: all of a transaction's edits land, or none.
//!
//! Whoever writes, an import, `tag`, `rm` or `prune`, adds [`Edit`]s to a [`Transaction`] and commits it. There is one order of
//! durable steps, one record of what was begun, and one way back or forward from it, whether the process goes on, fails or
//! is killed.
//!
//! | step | what happens | what a crash leaves, and what becomes of it |
//! |---|---|---|
//! | 1 | write-sets `layerdb/tmp/write-set-layerfs-*` with their `cache-id` | empty write-sets: removed |
//! | 2 | the layers' directories in the driver's home, their journals and records; one `syncfs` | directories that a write-set names: removed |
//! | 3 | the record `layerdb/tmp/layerfs-intent-*` | the same, and the record |
//! | 4 | each write-set is renamed into place, parents first | layers without an image: removed, if nothing stands on them |
//! | 5 | image configs, with the parents of new images | images without a name: removed, if nobody uses them |
//! | 6 | `repositories.json` is replaced | **the change counts as made**: what follows is finished |
//! | 7 | the record becomes `layerfs-commit-*`, unless steps 1 to 6 were all | the change counts as made also where no name changed |
//! | 8 | metadata of images that were there: parents, times of tagging | written again |
//! | 9 | configs and metadata of images on their way out are unlinked | an image without a name, then none: unlinked |
//! | 10 | mounts without a container are cleared away, their directories first | a mount without its directory: cleared away |
//! | 11 | layers on their way out are renamed to `layerdb/sha256/<chain>-<random>-removing`, children first | layers without an image: renamed |
//! | 12 | their directories are removed, then their records | dockerd finishes such removals itself; so do we |
//! | 13 | other remains are cleared away, each on its own | fewer of them: the rest follows |
//! | 14 | the record is unlinked | nothing |
//!
//! A dockerd that starts after any of these steps works: layers without images are none of its business, an image without a
//! name is shown as `<none>`, and entries that end in `-removing` are what it leaves itself (moby v20.10.24
//! `layer/filestore.go: Remove, getOrphan`). With `sync`, each step is durable before the next, so that a power cut is a crash
//! like any other.
//!
//! The commit point is where recovery decides (`recovery.rs`): if the record is a `layerfs-commit-*`, or all names read as it says
//! they would, the rest is done; otherwise all is taken back. A failure before the commit point takes all back at once, and
//! the bytes of the old `repositories.json` are put back where it was replaced already.
//!
//! Mending a damaged store (`mend.rs`) goes through the same door and the same lock. Each of its steps is whole by itself and may
//! be done again, so that it has no record: a file is replaced by a rename, a layer is staged as any other, and a record on its
//! way out goes as in steps 11 and 12.
//!
//! Nothing is deleted that anybody else may need: [`crate::liveness`] knows who claims what, and a record that cannot be read counts as
//! one that claims everything it might name.

mod changes;
mod clear;
mod disposal;
mod finish;
mod image_removal;
mod mend;
mod record;
mod recovery;
mod remains;
mod restore;
#[cfg(test)]
mod tests;
mod transaction;
mod undo;

pub use changes::{Edit, KeptLayer, Slot, Summary, WriteOptions};
pub use clear::{KeptRemains, RemainsStay};
pub use image_removal::{Conflict, ImageRemoval, RemovalError, Removed};
pub(crate) use mend::Refill;
pub(crate) use record::is_change_record;
pub(crate) use remains::TEMPORARY;
pub use remains::{Remains, TemporaryPlace};
pub use restore::{Restored, restore};
pub use transaction::Transaction;
