//! Docker's data-root: drivers, metadata stores, archives, import.

pub mod archive;
pub mod bolt;
pub mod buildkit;
pub mod catalog;
pub mod dir;
pub mod directories;
pub mod driver;
mod error;
pub mod findings;
pub mod ids;
pub mod import;
pub mod owner;
pub mod reference;
pub mod root;
pub mod store;
pub mod usage;

pub use error::StoreError;
