//! Garbage collection: plans what may be removed from a store, and why, from one [view](crate::view::View).
//!
//! ```text
//! policy.rs      what the user wants: which images, how old, how much is to be free
//! keep.rs        what must stay: names, ids, labels;  exclude.rs: docker-gc's file of images that must stay
//! images.rs      which images the policy removes, least recently used first
//! layers.rs      which layers nobody needs then
//! remains.rs     what is left of things that are gone
//! measure.rs     the bytes that the file system gets back
//! item.rs        the plan's entries, and those that stay
//! stored.rs      what containerd itself deletes of its store, which we do not write
//! plan.rs        the plan, and the edits that carry it out;  planner.rs: how it is made;  trial.rs: what is freed so far
//! ```
//!
//! A plan is data: a dry run prints it, a real run adds its [edits](GcPlan::edits) to a
//! [transaction](crate::edit::Transaction), which looks once more at each thing before it removes it.
//!
//! Invariant: while any owner's records cannot be read, nothing is removed. Invariant: nothing is removed that
//! [`crate::liveness`] does not call dead. Invariant: the bytes of a plan's items add up to what the file system gets
//! back, unless files share blocks there ([`GcPlan::may_share_blocks`]).

mod exclude;
mod images;
mod item;
mod keep;
mod layers;
mod measure;
mod plan;
mod planner;
mod policy;
mod remains;
mod stored;
mod trial;

pub use exclude::{ExcludeError, Excludes};
pub use item::{GcItem, Reason, Spared, StayCause, Thing};
pub use keep::{Label, Pattern};
pub use plan::{GcPlan, Goal};
pub use policy::{Amount, Policy, SpaceTarget};
pub use stored::{StoredGcItem, StoredGcPlan};
