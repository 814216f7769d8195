//! Changes to a store: all of a transaction's edits land, or none.

mod transaction;

pub use transaction::{Edit, Slot, Transaction};
