//! Docker's data-root, read and written without a daemon.
//!
//! | module | what it answers |
//! |---|---|
//! | [`root`] | may this directory be read or written, and who else is at work on it |
//! | [`schema`] | how each file on disk is spelled and decoded |
//! | [`driver`] | where a layer's content lives, and how it becomes visible |
//! | [`catalog`] | what images, layers, containers and volumes there are, as dockerd sees them, and what is damaged |
//! | [`liveness`] | who needs which directory, and what goes if something goes |
//! | [`view`] | all of this, read once, at one moment: begin here to read |
//! | [`check`] | what is wrong, whom it affects, and what would mend it |
//! | [`edit`] | changes, all of a transaction's or none: begin here to write |
//! | [`gc`] | what may go, and why: a plan |
//! | [`repair`] | what can be mended of a damaged store, and how |
//! | [`usage`] | where the bytes are |
//!
//! [`mod@reference`] and [`ids`] are the names of things, checked where they are read.

pub mod catalog;
pub mod check;
pub mod dir;
pub mod driver;
pub mod edit;
mod error;
pub mod gc;
pub mod ids;
pub mod liveness;
mod parallel;
pub mod reference;
pub mod repair;
pub mod root;
pub mod schema;
pub mod usage;
pub mod view;

pub use error::StoreError;
