//! Images from a Dockerfile, without a daemon: as BuildKit makes them (`modern`), or as the classic builder of docker 20.10 does,
//! which the rest is about. Parser, context and the making of layers are shared.
//!
//! ```text
//! Dockerfile -> parser -> instruction -> execute -> dispatch -> one image a step
//! context, stage, image -> source (checksums) -> copy -> upper (the layer) ---^
//! RUN -> command: a container, run; what it has written is the layer ---------^
//! ```
//!
//! An image that dockerd has built is found in the cache here, and the other way round, for both look at the same fields.
//!
//! Invariant: no path of a context or an image is given to the system except relative to an open directory, and what is copied
//! never leaves the tree that it is from. Invariant: no layer is mounted for anything but `RUN`.
//!
//! [`build()`] is the function to meet first, [`Context`] what it builds from. [`apply_changes`] does what instructions say to a
//! config alone.

mod arguments;
mod cache;
mod change;
mod command;
mod context;
mod copy;
mod dispatch;
mod error;
mod execute;
mod expand;
mod follow;
mod ignore;
mod instruction;
mod key_volume;
mod modern;
mod output;
mod owner;
mod parser;
#[doc(hidden)]
pub mod parsers;
mod platform;
mod source;
mod state;
mod store;
mod suggest;
mod transfer;
mod untar;
mod upper;
mod workdir;

pub use change::{ChangeError, apply_changes};
pub use context::{Context, ContextError, Way, forget_contexts};
pub use copy::CopyError;
pub use error::BuildError;
pub use execute::{Download, Fetch, Made, Options, Place, build, build_shown};
pub use expand::ExpandError;
pub use ignore::IgnoreError;
pub use instruction::InstructionError;
pub use modern::{
    End, Secret, View, Warning, cache_last_used, cache_of_volume, check, digits_of_cache, is_cache_in_use, is_record,
};
pub use parser::ParseError;
pub use platform::parse as parse_platform;
pub use untar::UntarError;
