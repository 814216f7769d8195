//! Commands that remove and name images, and the store that they are for.

mod commands;
mod store;

pub(crate) use commands::{GROUPS, Group};
pub(crate) use store::RmStore;
