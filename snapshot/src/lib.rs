//! Docker's data-root: schemas, drivers, catalog, liveness, edits, usage.

pub mod catalog;
pub mod dir;
pub mod driver;
pub mod edit;
mod error;
pub mod ids;
pub mod liveness;
mod parallel;
pub mod reference;
pub mod root;
pub mod schema;
pub mod usage;
pub mod view;

pub use error::StoreError;
