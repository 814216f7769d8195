//! How many bytes each part of a data-root takes up.
//!
//! ```text
//! walk/       counts a tree into buckets, each inode once
//! parts.rs    the parts that are counted apart: images, layers, containers, ..., what nobody owns
//! place.rs    path -> part
//! account.rs  the sums of all parts, and what a removal would free
//! staying.rs  the layers of an image that stay when it is removed, and who needs them
//! steps.rs    the build cache that a builder keeps as images and volumes
//! report.rs   the report: images, layers, containers, the rest, and the sum
//! files/      the files of layers: the largest, the hidden, the identical
//! df.rs       the four rows of `docker system df`
//! sizes.rs    what containers have written and volumes hold, as docker measures it
//! cache.rs    the build cache with the sizes that BuildKit has not measured
//! in_containerd.rs  whose the blobs and snapshots of containerd's store are
//! pool.rs     the blocks of a thin pool, and which layer holds them
//! ```
//!
//! Invariant: parts do not overlap and leave nothing out. So they add up to what `du -x` says for the root, together
//! with the directories that are elsewhere and have a symlink or a mount point in the root.

mod account;
mod cache;
pub mod df;
pub mod files;
mod in_containerd;
mod parts;
mod place;
pub mod pool;
pub mod report;
pub mod sizes;
mod staying;
pub mod steps;
pub mod walk;

pub use account::{Account, Freed};
pub use cache::build_cache;
pub use parts::Part;
pub use staying::{NeededBy, StayingLayer, find_staying_layers};
