//! What may go from a store, and why: a plan, made from one [view](crate::view::View), for whoever deletes.
//!
//! ```text
//! policy.rs      what is wanted: which images, how old, how much is to be free
//! keep.rs        what must stay: names, ids, labels;  exclude.rs: docker-gc's file of what it must not remove
//! images.rs      which images go by the policy, least recently used first
//! layers.rs      which layers nobody needs then
//! remains.rs     what is left of things that are gone
//! measure.rs     the bytes that the file system gets back
//! item.rs        the plan's entries, and those that stay
//! plan.rs        all of it together, and the edits that carry it out;  planner.rs: how it is made;  trial.rs: what is freed so far
//! ```
//!
//! A plan is data: a dry run prints it, a real run adds its [edits](Plan::edits) to a [transaction](crate::edit::Transaction),
//! which looks once more at each thing before it goes.
//!
//! Invariant: while any owner's records cannot be read, nothing goes. Invariant: nothing goes that [`crate::liveness`] does not
//! call dead. Invariant: the bytes of a plan's items add up to what the file system gets back, where it does not share blocks
//! between files behind our back ([`Plan::may_share_blocks`]).

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
mod trial;

pub use exclude::{ExcludeError, Excludes};
pub use item::{Item, Reason, Spared, StayCause, Thing};
pub use keep::{Label, Pattern};
pub use plan::{Goal, Plan};
pub use policy::{Amount, DEFAULT_MIN_AGE, Policy, Target};
