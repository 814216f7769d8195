//! One layer's content: decode, hash, apply to a directory.
#![deny(unsafe_code)]

pub mod apply;
mod bytes;
mod chain;
pub mod compress;
mod copy;
mod digest;
mod error;
pub mod flatten;
pub mod meter;
pub mod path;
pub mod pool;
mod replay;
mod source;
mod sys;
mod unpack;
mod usage;
mod warning;
pub mod whiteout;
mod xattr;

pub use copy::copy_tree;
pub use digest::{ChainId, DiffId, Digest, Hasher, HashingReader, InvalidDigest};
pub use error::{MemberError, UnpackError};
pub use replay::LayerFiles;
pub use source::{LayerStream, Source};
pub use sys::remove::remove_tree;
pub use unpack::{JournalFile, Step, Unpacked, Unpacking};
pub use usage::tree_size;
pub use warning::{Warning, Warnings};
