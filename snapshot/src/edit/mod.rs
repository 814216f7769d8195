//! Changes to a store: a transaction makes all of its edits or none.
//!
//! Every writer (import, `tag`, `rm`, `prune` and the others) adds [`Edit`]s to a [`Transaction`] and commits it. All
//! transactions share one order of durable steps, one form of record of what was begun, and one way back or forward
//! from that record, whether the process goes on, fails or is killed.
//!
//! | step | what happens | what a crash leaves, and what becomes of it |
//! |---|---|---|
//! | 1 | write-sets `layerdb/tmp/write-set-layerfs-*` with their `cache-id` | write-sets without a directory: removed |
//! | 2 | the layers' directories in the driver's home, their journals and records; then `syncfs` | directories that write-sets name: removed |
//! | 3 | the record `layerdb/tmp/layerfs-intent-*` | the same, and the record: removed |
//! | 4 | each write-set is renamed into place, parents first | layers without an image: removed, unless something stands on them |
//! | 5 | image configs, with the parents of new images | images without a name: removed, unless somebody uses them |
//! | 6 | `repositories.json` is replaced | **the change counts as made**: the steps that follow are finished |
//! | 7 | the record is renamed to `layerfs-commit-*`, if no name changed or if any of steps 8 to 13 follows | the change counts as made also where no name changed |
//! | 8 | metadata of images: parents of images that existed before, times of tagging | written again |
//! | 9 | configs, then metadata, of the images to be removed are unlinked | an image without a name, then metadata alone: unlinked |
//! | 10 | mounts without a container are cleared away, their directories first | a mount without its directory: cleared away |
//! | 11 | records of the layers to be removed are renamed to `layerdb/sha256/<chain>-<random>-removing`, children first | layers without an image: renamed |
//! | 12 | their directories are removed, then their records | dockerd finishes such removals itself; so do we |
//! | 13 | other remains are cleared away, each on its own | some of the remains: cleared away |
//! | 14 | the record is unlinked | nothing |
//! | 15 | where pulled layers came from is noted in `distribution/` | some of the notes: a cache, which a later push does without |
//!
//! A dockerd that starts after any of these steps works: it does not care about layers without images, it shows an
//! image without a name as `<none>`, and it makes entries that end in `-removing` itself (moby v20.10.24
//! `layer/filestore.go: Remove, getOrphan`). With `sync`, each step is durable before the next, so that a power cut is
//! a crash like any other. Only removals are not synced (of metadata in step 9, and in steps 10, 12 and 13): a power
//! cut can bring back some of what they removed. Nobody needs it, and [`crate::gc`] finds it.
//!
//! Recovery (`recovery.rs`) asks whether the commit point was passed: if the record is a `layerfs-commit-*`, or if it
//! changes names and `repositories.json` has them all as the record says, the remaining steps are done; otherwise
//! everything is taken back. If a step before the commit point fails, everything is taken back at once; if
//! `repositories.json` was replaced already, its old bytes are put back.
//!
//! Mending a damaged store (`mend.rs`) also goes through a [`Transaction`], which holds the store's lock. Each of its
//! steps is complete by itself and may be done twice, so it needs no record of intent: a file is replaced by a rename,
//! a layer is staged as any other, and a layer is removed as in steps 11 and 12.
//!
//! Containers and volumes (`containers.rs`) come, change and go by steps of their own, under the same lock and with
//! records of the same form. The writable layer of a build's command (`held.rs`) has the record of a new container for as long as it is
//! there, and the record a lock that says that the command's build lives. A container of containerd's store comes over by the same
//! record (`adopt.rs`).
//!
//! Nothing is deleted that anybody else may need: [`crate::liveness`] knows who claims what, and a record that cannot
//! be read counts as a claim on everything that it might name.

mod adopt;
mod changes;
mod clear;
mod containers;
mod disposal;
mod finish;
mod held;
mod image_removal;
mod init_layer;
mod mend;
mod record;
mod recovery;
mod remains;
mod reserve;
mod restore;
#[cfg(test)]
mod tests;
mod transaction;
mod undo;
mod volumes;

pub use adopt::AdoptedContainer;
pub use changes::{Edit, KeptLayer, Slot, Summary, WriteOptions};
pub use clear::{KeptRemains, RemainsStay};
pub use containers::NewContainer;
pub use held::HeldLayer;
pub(crate) use held::{held_mounts, without_held};
pub use image_removal::{Conflict, ImageRemoval, RemovalError, RemovedItem};
pub use init_layer::fill_init_layer;
pub(crate) use mend::Refill;
pub(crate) use record::{is_change_record, reread as reread_record};
pub(crate) use remains::TEMPORARY;
pub use remains::{Remains, TemporaryPlace};
pub use restore::{Restored, restore};
pub use transaction::Transaction;
pub use volumes::NewVolume;
