//! The tiers of the testkit under their old name, for tests that are being moved to it.
#![allow(dead_code, unused_imports)]

pub(crate) use testkit::{is_root, tier};
