//! Containers of a data-root: made, started, watched, stopped and removed as dockerd does it, without a daemon.
//!
//! ```text
//! Request -> create -> the store's files -> Store::prepare_start -> monitor -> runtime
//!                                           Store::{stop, kill, wait, rename, remove, prune, attach}
//! ```
//!
//! The store's files are Docker's own, so that a dockerd that starts on the root adopts the containers. While one runs, a
//! [monitor](monitor::run) stays with it.

mod create;
mod error;
mod inside;
mod lifecycle;
mod log;
pub mod monitor;
mod mounts;
mod names;
mod place;
mod protocol;
mod settings;

pub use create::{Request, create};
pub use error::ContainerError;
pub use lifecycle::{Attached, Heard, MONITOR, Speaker, Store};
pub use names::find;
