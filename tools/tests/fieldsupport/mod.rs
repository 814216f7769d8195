//! For tests of damaged stores: patients, and what is done to them.

pub(crate) mod alone;
pub(crate) mod damage;
pub(crate) mod patient;
pub(crate) mod places;
pub(crate) mod siblings;
