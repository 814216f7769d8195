//! Whether the files of a layer are those of its tar.

mod fault;

pub use fault::{FaultKind, FileFault};
