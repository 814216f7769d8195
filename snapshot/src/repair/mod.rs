//! Mending a store that a crash, a full disk or a clean-up script has damaged.
//!
//! [`Plan::make`] reads a [view](crate::view::View) and says what can be mended, why and how, and what cannot. Nothing is
//! written. [`repair`] does it, under the writer's lock, and plans again until nothing is left that helps.
//!
//! Nothing is mended by guessing. A record's `diff` and `parent` are proven by the layer's name, which is their hash; a
//! `cache-id` by replaying the journal over the directory to the diff id, or by what stands on it; content by its diff id,
//! before it replaces anything.
//!
//! | step | what a crash in it leaves |
//! |---|---|
//! | a small file of a record, `link`, `lower`, a config, `repositories.json` | the old file or the new one: it is replaced by a rename |
//! | a symlink in `l/` | the old one or the new one, by a rename |
//! | a layer's content | a write-set that names the directory in which the new content is made, or in which the old one is after both have changed places: recovery removes it |
//! | a record that is dropped | a record that ends in `-removing`: recovery finishes the removal, and so does dockerd |
//!
//! Each step may be done again, so a repair that was killed is finished by the next one. A broken `repositories.json` is
//! kept beside the new one.

mod apply;
mod content;
mod donor;
mod error;
mod mending;
mod names;
mod planning;
mod root_donor;

pub use apply::{RepairOptions, Repaired, plan, repair};
pub use donor::{Donor, DonorError, Donors};
pub use error::RepairError;
pub use mending::{Advice, Mending, NameSource, Step, Unmended};
pub use planning::{Plan, Scope};
pub use root_donor::RootDonor;
