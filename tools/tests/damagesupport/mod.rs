//! Shared by the tests of damaged stores: a small store, and every damage that a store can have.

pub(crate) mod small;
pub(crate) mod table;
