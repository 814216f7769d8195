//! Where the bytes of a data-root are.
//!
//! ```text
//! walk/       counts a tree into buckets, each inode once
//! parts.rs    what the buckets are: images, layers, containers, ..., what nobody owns
//! place.rs    path -> part
//! account.rs  all of it together, and what a removal would free
//! staying.rs  what of an image stays when it is removed, and for whom
//! report.rs   what people are told: images, layers, containers, the rest, and the sum
//! files/      what files layers have: the largest, the hidden, the identical
//! df.rs       the four rows of `docker system df`
//! sizes.rs    what containers have written and volumes hold, as docker measures it
//! cache.rs    the build cache with the sizes that BuildKit has not measured
//! ```
//!
//! Invariant: parts do not overlap and leave nothing out, so that they add up to what `du -x` says of the root, and of
//! what stands in it and is elsewhere.

mod account;
mod cache;
pub mod df;
pub mod files;
mod parts;
mod place;
pub mod report;
pub mod sizes;
mod staying;
pub mod walk;

pub use account::{Account, Freed};
pub use cache::build_cache;
pub use parts::Part;
pub use staying::{NeededBy, StayingLayer, find_staying_layers};
