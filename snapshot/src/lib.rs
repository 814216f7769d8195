//! Docker's data-root: schemas, drivers, catalog, liveness, edits, usage.

pub mod catalog;
pub mod dir;
pub mod driver;
pub mod edit;
mod error;
pub mod findings;
pub mod ids;
pub mod liveness;
pub mod reference;
pub mod root;
pub mod schema;
pub mod usage;

pub use error::StoreError;
