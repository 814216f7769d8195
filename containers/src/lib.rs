//! Containers of a data-root: made, started, watched, stopped and removed as dockerd does it, without a daemon.
//!
//! ```text
//! Request -> create -> the store's files -> Store::prepare_start -> monitor -> runtime
//!                                           Store::{stop, kill, wait, rename, remove, prune, attach}
//! ```
//!
//! The store's files are Docker's own, so that a dockerd that starts on the root adopts the containers. While one runs, a
//! [monitor](monitor::run) stays with it.
//!
//! [`Store`] is the type to meet first. A program that starts containers calls [`enter`] first of all in `main`, because
//! monitors are the same program, started once more.
//!
//! ```no_run
//! use std::path::PathBuf;
//!
//! use containers::Store;
//!
//! let store = Store { root: PathBuf::from("/var/lib/docker"), driver: None };
//! store.stop("web", Some(10))?;
//! println!("it ended with {}", store.wait("web")?);
//! # Ok::<(), containers::ContainerError>(())
//! ```

mod apart;
mod attached;
mod copy_in;
mod covers;
mod create;
mod damaged;
mod error;
mod etc;
mod exec;
mod helper;
mod inside;
mod lifecycle;
mod limits;
mod log;
pub mod monitor;
mod mounts;
mod names;
mod namespace;
mod output;
#[doc(hidden)]
pub mod parsers;
mod place;
pub mod ports;
mod protocol;
mod reading;
mod serving;
mod settings;
mod settle;
mod volume_options;
mod volumes;

pub use apart::{Apart, ApartCommand};
pub use attached::{Attached, Heard, Paused, Speaker};
pub use copy_in::CopyIn;
pub use covers::Covers;
pub use create::{Request, create};
pub use error::ContainerError;
pub use exec::Running;
pub use helper::enter;
pub use lifecycle::Store;
pub use names::find;
pub use namespace::{own_mounts, share_mounts};
pub use reading::{LogReader, LogRecord, MAX_RECORD, Next};
