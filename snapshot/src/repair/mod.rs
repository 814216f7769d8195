//! Mends a store that a crash, a full disk or a clean-up script has damaged.
//!
//! [`RepairPlan::make`] reads a [view](crate::view::View) and says what can be mended, why and how, and what cannot. It
//! writes nothing. [`repair`] does what the plan says, under the writer's lock, and plans again until no further step
//! helps.
//!
//! What is wrong is what [a check](crate::check) finds, and a finding's [repair](crate::check::Repair) is what is done,
//! where nothing has to be proven first. Damage that no step mends is reported, with advice for the user. What only
//! takes up room is left to [`crate::gc`].
//!
//! Nothing is mended by guessing. A file that cannot be read proves nothing: as long as it may hold the proof that a
//! record lacks, the record stays as it is. A record's `diff` and `parent` are proven by the layer's chain id, which is
//! a hash of both. A `cache-id` is proven if journal and directory replay to the diff id, or if the layer's children or
//! containers stand on the directory. New content is proven by its diff id before it replaces anything.
//!
//! | step | what a crash in it leaves |
//! |---|---|
//! | a small file of a record, `link`, `lower`, a config, `repositories.json` | the old file or the new one: it is replaced by a rename |
//! | a symlink in `l/` | the old one or the new one, by a rename |
//! | single files of a layer | each is the old or the new one, and a write-set names the directory in which the others are |
//! | a layer's content | a write-set that names the directory in which the new content is made, or in which the old one is after both have changed places: recovery removes it |
//! | a layer that is added | a write-set, with the directory that it names: recovery removes both |
//! | the record of a mount | a write-set without a directory: recovery removes it |
//! | a record that is dropped | a record that ends in `-removing`: the next repair finishes the removal, and so does dockerd |
//!
//! Where the file system cannot exchange two directories in one step, a crash within the exchange can leave a layer
//! without content. Doing a step twice does no harm, so the next repair finishes a repair that was killed. A broken
//! `repositories.json` is kept beside the new one.

mod apply;
mod content;
mod donor;
mod error;
mod mending;
mod names;
mod planning;
mod root_donor;
mod unread;

pub use apply::{RepairOptions, Repaired, plan, repair};
pub use donor::{Donor, DonorError, Donors};
pub use error::RepairError;
pub use mending::{Advice, Mending, NameSource, RepairStep, Unmended};
pub use planning::{RepairPlan, Scope};
pub use root_donor::RootDonor;
