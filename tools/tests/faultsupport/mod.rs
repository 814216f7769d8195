//! The testkit under its old name, for tests that are being moved to it.
#![allow(dead_code, unused_imports)]

pub(crate) use testkit::tarfile as tar;
pub(crate) use testkit::*;
